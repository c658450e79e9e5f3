"""The values people write in a configuration: durations and sizes with their units, and what must hold of addresses."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from tapewatch.network import is_loopback

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)")
TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
#: What a request says of itself.
_OWN_HEADERS = frozenset(
    {"content-type", "content-length", "content-encoding", "host", "connection", "transfer-encoding", "idempotency-key"}
)
PERCENT = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s?%")
# Deliberately narrow: what SMTP accepts without quoting, and nothing that could end a header.
_ADDRESS = re.compile(r"[^\s@<>,;:\"'()\[\]\\\x00-\x1f\x7f]+@[^\s@<>,;:\"'()\\\x00-\x1f\x7f]+")
#: What a chart's address can be made of.
CHART_FIELDS = ("venue", "symbol", "base", "quote", "timeframe", "minutes", "close_ms")
_FIELD = re.compile(r"\{([^{}]*)\}")
_CHART_URL = re.compile(r"https://[A-Za-z0-9.\-]+(:\d{1,5})?(/[A-Za-z0-9\-._~:/?#@!$&'*+,;=%{}]*)?")


def parse_duration(value: object) -> int:
    """Milliseconds of `500ms`, `10s`, `5m`, `1h`, `1d`, also `1.5s`.

    Raises:
        ValueError: anything else, a number without a unit too.
    """
    match = DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a duration with its unit, such as 500ms, 10s, 5m, 1h or 1d")
    return round(float(match[1]) * UNITS_MS[match[2]])


def parse_percent(value: object) -> float:
    """The fraction that a percentage such as `0.3%` is.

    Raises:
        ValueError: anything else, a number without the sign too.
    """
    match = PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a percentage with its sign, such as 0.3% or 50%")
    return float(match[1]) / 100


def parse_time_of_day(value: object) -> int:
    """Minutes after midnight of `07:00` or `22:30`.

    Raises:
        ValueError: anything else.
    """
    match = TIME_OF_DAY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a time of day from 00:00 to 23:59, such as 07:00 or 22:30")
    return int(match[1]) * 60 + int(match[2])


def parse_share_or_count(value: object) -> float | int:
    """A fraction of `60%`, a count of `3`.

    Raises:
        ValueError: anything else, or outside of 1% to 100%, and 1 to 100.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100:
        return value
    share = parse_percent(value) if isinstance(value, str) else 0.0
    if not 0.01 <= share <= 1:
        raise ValueError("must be a share of the factors asked, such as 80%, or how many of them, such as 4")
    return share


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


def _secret_url(path: str, example: str) -> Any:
    """A check of a URL that is a secret: what it says does not repeat it."""

    def check(value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value())
            host, _port = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError("is no URL") from None
        encrypted = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
        if not encrypted or not host or not re.fullmatch(path, parts.path):
            raise ValueError(f"must be a URL such as {example} (http:// is allowed to this machine only)")
        return value

    return AfterValidator(check)


def off(value: object) -> object:
    """A bare `off` is false to older readers of YAML."""
    return "off" if value is False else value


def _chart_url(value: str) -> str:
    """`auto`, `off`, or an https address with fields in braces, which stays an address whatever they are."""
    if value in {"auto", "off"}:
        return value
    unknown = [name for name in _FIELD.findall(value) if name not in CHART_FIELDS]
    if unknown:
        raise ValueError(
            f"{{{unknown[0]}}} is no field; fields are {', '.join(f'{{{name}}}' for name in CHART_FIELDS)}"
        )
    if not _CHART_URL.fullmatch(value) or set("{}") & set(_FIELD.sub("", value)):
        raise ValueError("must be auto, off or an address such as https://example.com/chart?symbol={symbol}")
    return value


def _bot_token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"\d+:[\w-]+", value.get_secret_value()):
        raise ValueError("is no token of a bot, which is as 123456:ABC-DEF")
    return value


def chat_id(value: object) -> str:
    """A Telegram chat's number as text, or its name. Raises ValueError."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"-?\d{1,20}|@\w{4,64}", text):
        raise ValueError("must be a chat's number, as -1001234567890, or the name of a public one, as @name")
    return text


def _header_name(value: str) -> str:
    lower = value.lower()
    if not re.fullmatch(r"[A-Za-z0-9-]+", value):
        raise ValueError("must be a header's name: letters, digits and hyphens")
    if lower in _OWN_HEADERS or lower.startswith("x-tapewatch-"):
        raise ValueError("is a header that tapewatch writes itself")
    return value


def _header_value(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable():
        raise ValueError("must be printable ASCII on one line")
    return value


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


def _access_token(value: SecretStr | None) -> SecretStr | None:
    # It is sent in a header, in a cookie and in an address.
    if value is not None and not re.fullmatch(r"[A-Za-z0-9._~-]{16,200}", value.get_secret_value()):
        raise ValueError("must have 16 to 200 characters, letters, digits and any of . _ ~ -")
    return value


def _ledger_url(value: str) -> str:
    if value.startswith("sqlite:///") and not value.endswith("/"):
        return value
    try:
        parts = urlsplit(value)
        whole = parts.scheme == "postgresql" and parts.port != 0 and bool(re.fullmatch(r"/[^/]+", parts.path))
    except ValueError:
        whole = False
    if not whole or parts.fragment:
        raise ValueError(
            "must be sqlite:/// and a file, such as sqlite:///tapewatch.db, or a PostgreSQL database, such as "
            "postgresql://tapewatch@127.0.0.1:5432/tapewatch"
        )
    if parts.password is not None or "password" in parse_qs(parts.query):
        raise ValueError("the password does not belong in the URL; write password: ${LEDGER_PASSWORD} beside it")
    return value


DurationMs = Annotated[int, BeforeValidator(parse_duration), AfterValidator(_positive)]
Pause = Annotated[int, BeforeValidator(parse_duration)]
Amount = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Percent = Annotated[float, BeforeValidator(parse_percent)]
TimeOfDay = Annotated[int, BeforeValidator(parse_time_of_day)]
ShareOrCount = Annotated[float | int, BeforeValidator(parse_share_or_count)]
Whole = Annotated[int, BeforeValidator(_no_bool)]
Port = Annotated[Whole, Field(ge=0, le=65535)]
HttpUrl = Annotated[str, _url("http", "https")]
WsUrl = Annotated[str, _url("ws", "wss")]
DiscordUrl = Annotated[
    SecretStr, _secret_url(r"/api(/v\d+)?/webhooks/\d+/[\w-]+", "https://discord.com/api/webhooks/123/abc")
]
SecretUrl = Annotated[SecretStr, _secret_url(r".*", "https://example.com/abc")]
BotToken = Annotated[SecretStr, AfterValidator(_bot_token)]
ChatId = Annotated[str, BeforeValidator(chat_id)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[SecretStr, AfterValidator(_header_value)]
Address = Annotated[str, AfterValidator(_address)]
ChartUrl = Annotated[str, BeforeValidator(off), AfterValidator(_chart_url)]
Name = Annotated[str, AfterValidator(_name)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
AccessToken = Annotated[SecretStr | None, AfterValidator(_access_token)]
LedgerUrl = Annotated[str, AfterValidator(_ledger_url)]
