"""The values people write in a configuration: durations and sizes with their units, and what must hold of addresses."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)")
_PERCENT = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s?%")
# Deliberately narrow: what SMTP accepts without quoting, and nothing that could end a header.
_ADDRESS = re.compile(r"[^\s@<>,;:\"'()\[\]\\\x00-\x1f\x7f]+@[^\s@<>,;:\"'()\\\x00-\x1f\x7f]+")


def parse_duration(value: object) -> int:
    """Milliseconds of `500ms`, `10s`, `5m`, `1h`, `1d`, also `1.5s`.

    Raises:
        ValueError: anything else, a number without a unit too.
    """
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a duration with its unit, such as 500ms, 10s, 5m, 1h or 1d")
    return round(float(match[1]) * _UNITS_MS[match[2]])


def parse_percent(value: object) -> float:
    """The fraction that a percentage such as `0.3%` is.

    Raises:
        ValueError: anything else, a number without the sign too.
    """
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a percentage with its sign, such as 0.3% or 50%")
    return float(match[1]) / 100


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host in {"localhost", "localhost."}:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _positive(value: int) -> int:
    if value <= 0:
        raise ValueError("must be longer than zero")
    return value


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a whole number")
    return value


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _url(plain: str, secure: str) -> Any:
    def check(value: str) -> str:
        text = value.strip().rstrip("/")
        try:
            parts = urlsplit(text)
            host, _port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"not a URL: {error}") from None
        if parts.scheme not in {plain, secure} or not host or parts.query or parts.fragment:
            raise ValueError(f"must be a URL such as {secure}://host or {secure}://host:port")
        if parts.username is not None:
            raise ValueError("must not carry a user name or password")
        if parts.scheme == plain and not is_loopback(host):
            raise ValueError(f"must begin with {secure}:// ({plain}:// is allowed to this machine only)")
        return text

    return AfterValidator(check)


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise ValueError("must be an e-mail address such as name@example.com")
    return value


def _name(value: str) -> str:
    if not value or value != value.strip() or any(ch.isspace() or not ch.isprintable() for ch in value):
        raise ValueError("must not be empty or contain spaces or control characters")
    return value


def _time_zone(value: str) -> str:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("not a known time zone; names are as in UTC, Europe/Berlin, Asia/Tokyo") from None
    return value


def _loopback(value: str) -> str:
    if not is_loopback(value):
        raise ValueError("must be an address of this machine, such as 127.0.0.1 (there is no access control yet)")
    return value


def _sqlite(value: str) -> str:
    if not value.startswith("sqlite:///") or value.endswith("/"):
        raise ValueError("must be sqlite:/// and a file, such as sqlite:///tapewatch.db")
    return value


DurationMs = Annotated[int, BeforeValidator(parse_duration), AfterValidator(_positive)]
Pause = Annotated[int, BeforeValidator(parse_duration)]
Amount = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Percent = Annotated[float, BeforeValidator(parse_percent)]
Whole = Annotated[int, BeforeValidator(_no_bool)]
Port = Annotated[Whole, Field(ge=0, le=65535)]
HttpUrl = Annotated[str, _url("http", "https")]
WsUrl = Annotated[str, _url("ws", "wss")]
Address = Annotated[str, AfterValidator(_address)]
Name = Annotated[str, AfterValidator(_name)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
LoopbackHost = Annotated[str, AfterValidator(_loopback)]
SqliteUrl = Annotated[str, AfterValidator(_sqlite)]
