"""How connections are made to where the user sends this program: TLS, and the proxies of the environment."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tapewatch.errors import SetupError

if TYPE_CHECKING:
    import ssl

#: Kinds of proxies, and what the library calls them; names of hosts are always looked up by the proxy.
PROXIES = {
    "http": "http",
    "https": "https",
    "socks": "socks5",
    "socks5": "socks5",
    "socks5h": "socks5",
    "socks4": "socks4",
    "socks4a": "socks4",
}
SOCKS_PORT = 1080
_USER = re.compile(r"//[^/\s]*@")


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host in {"localhost", "localhost."}:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def http_url(host: str, port: object) -> str:
    """The address of a server, without a path."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def check_url(url: str, schemes: tuple[str, str], key: str) -> str:
    """The URL without a trailing slash.

    Args:
        url: where to connect to.
        schemes: the plain and the TLS scheme; the plain one is allowed on loopback only.
        key: the configuration key, for the message.

    Raises:
        SetupError: it is no such URL, or it is not encrypted and leaves this machine.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not known:
        raise SetupError(f"{key}: {url!r} is not a {schemes[1]}:// URL")
    if parts.scheme == schemes[0] and not is_loopback(parts.hostname or ""):
        raise SetupError(f"{key}: {url!r} must be {schemes[1]}://; unencrypted connections are for loopback only")
    return url.rstrip("/")


def tls_context(ca_file: str | Path | None, key: str = "exchange.ca_file") -> ssl.SSLContext:
    """A context that checks certificates against the system's authorities and those of `ca_file`.

    Raises:
        SetupError: the file cannot be read or holds no certificate.
    """
    import ssl

    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SetupError(f"{key}: {ca_file}: no certificates could be read ({error})") from None
    return context


def tls_for_http(ca_file: str | Path | None, key: str = "exchange.ca_file") -> ssl.SSLContext | bool:
    """What aiohttp is to check certificates with, as `tls_context`.

    Without a file that is True, its own context: it has read the system's authorities when it was loaded, and once more
    would cost a twentieth of a second.
    """
    return True if ca_file is None else tls_context(ca_file, key)


def proxy_for(url: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY give for this URL; none on loopback.

    Raises:
        SetupError: what they give is no proxy that can be used.
    """
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    if is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    proxy = proxies.get(scheme) or proxies.get("all")
    if proxy is None:
        return None
    kind, separator, rest = proxy.partition("://")
    if not separator:
        kind, rest = "http", proxy
    kind = kind.lower()
    proxy = f"{PROXIES.get(kind, kind)}://{rest}"
    try:
        parts = urlsplit(proxy)
        known = kind in PROXIES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not known:
        where = rest.rpartition("@")[2]  # without the password
        raise SetupError(f"proxy of the environment for {url}: {kind}://{where} is no URL of a proxy")
    return f"{proxy.rstrip('/')}:{SOCKS_PORT}" if "socks" in kind and parts.port is None else proxy


def told(error: BaseException) -> str:
    """What an error of a connection says, without the user and password of a URL in it: proxies have some."""
    return _USER.sub("//", str(error)) or type(error).__name__
