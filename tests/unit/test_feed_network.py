"""URLs, proxies, certificates and waiting times of the feed's connections."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from tapewatch.errors import SetupError
from tapewatch.feeds.network import JITTER, backoff
from tapewatch.network import check_url, proxy_for, tls_context, told

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_waits_double_and_stay_at_the_last() -> None:
    """1, 2, 4, 8, 16, 16 … seconds, never less and at most a quarter more."""
    for number, least_s in enumerate((1, 2, 4, 8, 16, 16, 16), start=1):
        for _ in range(50):
            assert least_s <= backoff(number, (1.0, 2.0, 4.0, 8.0, 16.0)) <= least_s * (1 + JITTER)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9000", "http://localhost", "http://[::1]:1/", "https://example.com/"]
)
def test_good_urls_pass(url: str) -> None:
    """TLS anywhere, plain text on loopback; a trailing slash is dropped."""
    assert check_url(url, ("http", "https"), "exchange.rest_url") == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    ["http://example.com", "ftp://example.com", "https://", "example.com", "", "https://example.com:99999",
     "http://127.0.0.1.example.com"],
)  # fmt: skip
def test_bad_urls_name_their_key(url: str) -> None:
    """Plain text beyond loopback, other schemes and missing hosts are the user's mistake, told by key."""
    with pytest.raises(SetupError, match=r"exchange\.rest_url"):
        check_url(url, ("http", "https"), "exchange.rest_url")


def test_proxies_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY serves https and wss, HTTP_PROXY http and ws; a bare host means http://."""
    monkeypatch.setenv("https_proxy", "http://proxy.example.com:3128")
    monkeypatch.setenv("http_proxy", "plain.example.com:80")
    assert proxy_for("https://data.example.com") == "http://proxy.example.com:3128"
    assert proxy_for("wss://stream.example.com:9443") == "http://proxy.example.com:3128"
    assert proxy_for("ws://stream.example.com") == "http://plain.example.com:80"


def test_all_proxy_is_the_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    """ALL_PROXY serves what no other names."""
    monkeypatch.setenv("all_proxy", "socks5://socks.example.com:1080")
    assert proxy_for("wss://stream.example.com") == "socks5://socks.example.com:1080"


@pytest.mark.parametrize(
    ("proxy", "meant"),
    [("socks5h://a:1080", "socks5://a:1080"), ("SOCKS://u:p@a", "socks5://u:p@a:1080"), ("socks4a://a:1", "socks4://a:1"),
     ("HTTPS://a:1", "https://a:1"), ("u:p@a:1", "http://u:p@a:1")],
)  # fmt: skip
def test_kinds_of_proxies_have_many_names(proxy: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the proxy looks names up is not asked: it always does."""
    monkeypatch.setenv("all_proxy", proxy)
    assert proxy_for("wss://stream.example.com") == meant


@pytest.mark.parametrize(
    "proxy", ["ftp://me:secret@a:1", "http://", "http://me:secret@:80", "http://a:99999", "http://a:b"]
)
def test_a_proxy_that_is_none_is_a_wrong_setup(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named without its password."""
    monkeypatch.setenv("all_proxy", proxy)
    with pytest.raises(SetupError, match="proxy of the environment") as told:
        proxy_for("wss://stream.example.com")
    assert "secret" not in str(told.value)


def test_exceptions_and_loopback_go_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts of NO_PROXY, and this machine always, are reached without the proxy."""
    monkeypatch.setenv("https_proxy", "http://proxy.example.com:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    monkeypatch.setenv("no_proxy", "example.org")
    assert proxy_for("wss://stream.example.org:443") is None
    assert proxy_for("http://127.0.0.1:9000") is None
    assert proxy_for("https://localhost") is None


def test_extra_authorities_are_trusted_beside_the_systems(tmp_path: Path) -> None:
    """`ca_file` adds to what is trusted."""
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    assert len(tls_context(str(path)).get_ca_certs()) == len(tls_context(None).get_ca_certs()) + 1


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_unreadable_authorities_are_a_wrong_setup(tmp_path: Path, text: str | None) -> None:
    """A missing file or one without certificates is named."""
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SetupError, match=r"exchange\.ca_file"):
        tls_context(str(path))


def test_errors_are_told_without_passwords() -> None:
    """Whatever a library writes about a proxy, nobody reads how one gets in."""
    text = "407, message='Proxy Authentication Required', url='http://me:p%40ss@proxy.example.com:1/x'"
    assert told(OSError(text)) == text.replace("me:p%40ss@", "")
    assert told(TimeoutError()) == "TimeoutError"
