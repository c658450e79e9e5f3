"""One line of a fault script: what goes wrong, when, for how long and for whom."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tapewatch.strategy.definition import duration_ms


def _duration_ms(value: object) -> int:
    try:
        return duration_ms(str(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is not a duration; write it like 10s, 5m or 1h") from error


def _offset_ms(value: object) -> int:
    text = str(value).strip()
    behind = text.startswith("-")
    return -_duration_ms(text[1:]) if behind else _duration_ms(text.removeprefix("+"))


def time_ms(value: object) -> int:
    """Milliseconds UTC of an ISO time; without an offset it is UTC.

    Raises:
        ValueError: it is not a time.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise ValueError(f"{value!r} is not a time; write it like 2025-05-20T14:07Z") from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _moment(value: object) -> tuple[bool, int]:
    """Whether it counts from the start, and the milliseconds."""
    try:
        return True, _duration_ms(value)
    except ValueError:
        pass
    try:
        if isinstance(value, int) and abs(value) < _SMALLEST_MS:
            raise ValueError("no unit")
        return False, time_ms(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is neither an offset from the start like 10m nor an ISO time") from error


#: A bare number below is an offset whose unit was left out, and no time in 1970.
_SMALLEST_MS = 10**9

Duration = Annotated[int, BeforeValidator(_duration_ms)]
Offset = Annotated[int, BeforeValidator(_offset_ms)]
Time = Annotated[int, BeforeValidator(time_ms)]
Moment = Annotated[tuple[bool, int], BeforeValidator(_moment)]

#: What happens to connections, to frames, to REST, and to the market itself.
ConnectionFault = Literal["drop", "refuse", "stall", "silence", "lag", "choke", "age", "shutdown"]
FrameFault = Literal[
    "duplicate", "second_close", "reorder", "late_close", "missing_close", "malformed", "array", "extra"
]
RestFault = Literal[
    "http_429",
    "http_418",
    "http_403",
    "http_451",
    "http_5xx",
    "http_busy",
    "http_truncated",
    "http_slow",
    "skew",
    "correction",
]
MarketFault = Literal["outage", "list", "delist", "halt", "volume", "spread", "depth"]
#: What goes wrong with files of the archive: no event of the clock, but how they are while a rule is in force.
ArchiveFault = Literal["archive_missing", "archive_corrupt", "archive_stale_checksum", "archive_hole"]
FaultKind = Literal[ConnectionFault, FrameFault, RestFault, MarketFault, ArchiveFault]
CONNECTION_FAULTS, FRAME_FAULTS = get_args(ConnectionFault), get_args(FrameFault)
REST_FAULTS, MARKET_FAULTS, ARCHIVE_FAULTS = get_args(RestFault), get_args(MarketFault), get_args(ArchiveFault)

#: The keys that have a meaning for a kind, besides `kind at every probability`.
_TAKEN: dict[str, frozenset[str]] = {
    **dict.fromkeys(CONNECTION_FAULTS, frozenset({"for", "symbols", "connections"})),
    **dict.fromkeys(FRAME_FAULTS, frozenset({"for", "symbols"})),
    **dict.fromkeys(REST_FAULTS, frozenset({"for", "endpoints"})),
    **dict.fromkeys(MARKET_FAULTS, frozenset({"for", "symbols"})),
    **dict.fromkeys(ARCHIVE_FAULTS, frozenset({"for", "symbols", "files"})),
    "refuse": frozenset({"for"}),
    "silence": frozenset({"for", "symbols"}),
    "lag": frozenset({"for", "symbols", "connections", "delay"}),
    "age": frozenset({"symbols", "connections"}),
    "http_slow": frozenset({"for", "endpoints", "delay"}),
    "skew": frozenset({"for", "offset"}),
    "correction": frozenset({"for", "symbols"}),
    "list": frozenset({"symbols"}),
    "delist": frozenset({"symbols"}),
    "volume": frozenset({"for", "symbols", "factor"}),
    "spread": frozenset({"for", "symbols", "factor"}),
    "depth": frozenset({"for", "symbols", "factor"}),
}
#: Those of them that must be given.
_NEEDED: dict[str, tuple[str, ...]] = {
    "http_slow": ("delay",),
    "skew": ("offset",),
    "list": ("symbols",),
    "delist": ("symbols",),
    "halt": ("symbols",),
    "volume": ("symbols", "factor"),
    "spread": ("symbols", "factor"),
    "depth": ("symbols", "factor"),
}
_ONCE = ("list", "delist", *ARCHIVE_FAULTS)


class FaultRule(BaseModel):
    """One line of a fault script.

    `at` (offset from the start, or ISO time) and `every` say when; `for` how long, and for `late_close` how late;
    `symbols` whom (all when empty), `connections` how many of their connections; `probability` how likely each time,
    for frames, requests and files each of them. `delay`, `offset` and `factor` say how much, for `lag`, `http_slow`,
    `skew`, `volume`, `spread` and `depth`; `endpoints` which requests (all when empty); `files` which files of the
    archive (both when left out).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: FaultKind
    at: Moment | None = None
    every: Duration | None = Field(default=None, gt=0)
    lasting: Duration | None = Field(default=None, alias="for", gt=0)
    symbols: tuple[str, ...] = ()
    connections: int | None = Field(default=None, gt=0)
    probability: float = Field(default=1.0, ge=0, le=1)
    delay: Duration | None = Field(default=None, gt=0)
    offset: Offset | None = None
    endpoints: tuple[str, ...] = ()
    factor: float | None = Field(default=None, gt=0, le=1e6)
    files: Literal["monthly", "daily"] | None = None

    @model_validator(mode="after")
    def _sensible(self) -> FaultRule:
        if self.at is None and self.every is None:
            raise ValueError("needs at or every")
        if self.every is not None and self.kind in _ONCE:
            raise ValueError(f"every has no meaning for {self.kind}")
        given = {
            "for": self.lasting,
            "symbols": self.symbols or None,
            "connections": self.connections,
            "delay": self.delay,
            "offset": self.offset,
            "factor": self.factor,
            "endpoints": self.endpoints or None,
            "files": self.files,
        }
        for key, value in given.items():
            if value is not None and key not in _TAKEN[self.kind]:
                raise ValueError(f"{key} has no meaning for {self.kind}")
            if value is None and key in _NEEDED.get(self.kind, ()):
                raise ValueError(f"{self.kind} needs {key}")
        return self

    def first_ms(self, start_ms: int) -> int:
        """When it happens first: at `at`, or after `every` where that is all there is."""
        if self.at is None:
            return start_ms + (self.every or 0)
        relative, ms = self.at
        return start_ms + ms if relative else ms
