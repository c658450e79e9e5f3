"""What `check --connect` finds of the machine itself: versions, limits of the process, the clock, proxies."""

from __future__ import annotations

import ctypes
import math
import platform
import resource
import sqlite3
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from tapewatch import __version__
from tapewatch.cli.finding import Finding, Status
from tapewatch.config.schema import Config
from tapewatch.errors import SetupError
from tapewatch.network import proxy_for

#: What the ledger's statements need (RETURNING); the SQLite of Debian 11 and Ubuntu 20.04 is older.
SQLITE_LEAST = (3, 35)
PYTHON_LEAST = (3, 11)
#: Files that are open whatever is configured: the program's own, the ledger, journal and log.
FILES_OWN = 64
#: Sockets of a channel: one under way, one that is being closed.
FILES_CHANNEL = 2
#: What `adjtimex` answers when nobody keeps the clock.
_UNKEPT = 5
#: Packages that only some configurations need, by the extra that brings them.
_EXTRAS = {"ccxt": "ccxt", "apprise": "apprise", "postgres": "psycopg"}


def machine(config: Config) -> list[Finding]:
    """Everything that can be known without asking anybody else."""
    return [*_versions(config), *_extras(config), *_limits(config), *_clock(config), *_proxies(config)]


def _versions(config: Config) -> Iterator[Finding]:
    yield Finding("version", "pass", "tapewatch", __version__, value=__version__)
    python = platform.python_version()
    yield Finding("version", "pass", "Python", python, value=python, limit=_dotted(PYTHON_LEAST))
    if config.ledger.file is not None:
        known, least = sqlite3.sqlite_version, _dotted(SQLITE_LEAST)
        enough = sqlite3.sqlite_version_info >= SQLITE_LEAST
        detail = known if enough else f"{known}, but {least} is needed; run it with a Python that brings a newer one"
        yield Finding("version", "pass" if enough else "fail", "SQLite", detail, value=known, limit=least)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def _extras(config: Config) -> Iterator[Finding]:
    """Packages that this configuration needs, and others do not."""
    needed = {
        "ccxt": config.exchange.ccxt is not None,
        "apprise": any(spec.type == "apprise" for spec in config.channels.values()),
        "postgres": config.ledger.file is None,
    }
    for extra in (extra for extra, is_needed in needed.items() if is_needed):
        package = _EXTRAS[extra]
        try:
            found = version(package)
        except PackageNotFoundError:
            detail = f"is not installed: pip install 'tapewatch[{extra}]'"
            yield Finding("extra", "fail", package, detail)
        else:
            yield Finding("extra", "pass", package, found, value=found)


def _limits(config: Config) -> Iterator[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = files_needed(config)
    status: Status = "pass" if soft >= 2 * needed else "warn" if soft >= needed else "fail"
    detail = f"{soft:,} may be open, some {needed:,} will be"
    if status != "pass":
        detail += "; raise it with `ulimit -n`, or LimitNOFILE= of the service"
    yield Finding("open files", status, detail=detail, value=soft, unit="files", limit=needed)
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size != resource.RLIM_INFINITY:
        least = config.journal.segment_bytes
        enough: Status = "warn" if size >= least else "fail"
        detail = f"no file may grow beyond {size / 1e6:,.1f} MB; `ulimit -f unlimited` lifts that"
        yield Finding("file size", enough, detail=detail, value=size, unit="bytes", limit=least)


def files_needed(config: Config) -> int:
    """About how many files and sockets a run has open at most, without who looks at its health paths."""
    connections = math.ceil((config.universe.max_symbols + 1) / config.feeds.streams_per_connection)
    overlapping = 2 * connections  # an old one stays until the new one works
    return FILES_OWN + overlapping + config.feeds.concurrency + FILES_CHANNEL * len(config.channels)


def _clock(config: Config) -> Iterator[Finding]:
    zone = time.strftime("%Z")
    alerts = config.alerts.time_zone
    yield Finding("time zone", "pass", detail=f"alerts are in {alerts}, this machine is in {zone}", value=alerts)
    kept = _is_kept()
    if kept is not None:
        detail = "something keeps it" if kept else "nothing keeps it, as NTP would; it will drift"
        yield Finding("clock", "pass" if kept else "warn", detail=detail, value="kept" if kept else "not kept")


def _is_kept() -> bool | None:
    """Whether the system says that its clock is kept by another one, NTP mostly; None where it does not say."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1024))  # all zero: nothing is changed
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _UNKEPT


def _proxies(config: Config) -> Iterator[Finding]:
    """By which proxy each host of the exchange is reached, without who logs in there."""
    exchange = config.exchange
    urls = [] if exchange.ccxt is not None else [exchange.rest_url, exchange.ws_url, *exchange.rest_hosts]
    if not urls:
        return
    found: dict[str | None, list[str]] = {}
    try:
        for url in urls:
            found.setdefault(proxy_for(url), []).append(url)
    except SetupError as error:
        yield Finding("proxy", "fail", detail=str(error))
        return
    for proxy, through in found.items():
        name = "none" if proxy is None else _nameless(proxy)
        detail = "reached directly" if proxy is None else f"reached through {name}"
        yield Finding("proxy", "pass", ", ".join(through), detail, value=name)


def _nameless(proxy: str) -> str:
    kind, _, rest = proxy.partition("://")
    return f"{kind}://{rest.rpartition('@')[2]}"
