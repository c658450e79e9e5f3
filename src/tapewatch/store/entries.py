"""What a journal holds beside events: where an engine began, and events that are not to be processed again."""

from __future__ import annotations

from typing import Any

import msgspec

from tapewatch.engine.memory import Memory
from tapewatch.errors import DataError
from tapewatch.model import BarClosed, Event, History, LastPassed
from tapewatch.store import codec
from tapewatch.store.segments import BrokenRecordError, Record


class Head(msgspec.Struct, frozen=True):
    """The first record of each segment: which journal it belongs to."""

    journal_id: str
    created_ms: int
    version: str


class Begin(msgspec.Struct, frozen=True):
    """An engine started fresh here: everything that it was made of.

    Attributes:
        fingerprint: of the engine; a snapshot or a journal is continued only by one with the same.
        version: of tapewatch.
        python: of the interpreter.
        venue, base_ms: the engine's.
        strategies: name -> mapping as `tapewatch.strategy.from_mapping` reads it.
        gate: the fields of `GateSettings`.
        passed: what the gate was told to remember.
        paper: the settings of the paper book, None where it has none.
        memory: what else it was told to remember.
        market: the settings of what is known around signals, None where nothing is.
        outcomes: how it is measured what becomes of signals, None where none is followed.
        scorings: models that score signals, as `Scoring.written` has them.
        python_files: files of strategies in Python, whose indicators the mappings may use.
    """

    fingerprint: str
    version: str
    python: str
    venue: str
    base_ms: int
    strategies: dict[str, dict[str, Any]]
    gate: dict[str, Any]
    passed: tuple[LastPassed, ...] = ()
    python_files: tuple[str, ...] = ()
    paper: dict[str, Any] | None = None
    memory: Memory | None = None
    market: dict[str, Any] | None = None
    outcomes: dict[str, Any] | None = None
    scorings: tuple[dict[str, Any], ...] = ()


class Skip(msgspec.Struct, frozen=True):
    """The event at `position` made the engine itself fail; whoever reads this journal leaves it out.

    `symbol`, `interval_ms` and `open_ms` name its bar, which is not accepted again; they are empty for other events.
    """

    position: int
    error: str
    symbol: str = ""
    interval_ms: int = 0
    open_ms: int = 0

    @property
    def bar(self) -> tuple[str, int, int]:
        """What names the bar."""
        return self.symbol, self.interval_ms, self.open_ms


class Failure(msgspec.Struct, frozen=True):
    """A strategy's step that failed on a bar of the events before it; whoever reads this journal lets it fail again."""

    strategy: str
    timeframe: str
    symbol: str
    interval_ms: int
    open_ms: int
    error: str

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """As `StepFailed.key`."""
        return self.strategy, self.timeframe, self.symbol, self.interval_ms, self.open_ms


def bar_of(event: Event) -> tuple[str, int, int] | None:
    """What names an event's bar, as `Skip.bar`; None where it has none."""
    if not isinstance(event, BarClosed | History):
        return None
    return event.bar.symbol, event.bar.interval_ms, event.bar.open_ms


def head_of(record: Record) -> Head:
    """The head in a record. Raises BrokenRecordError."""
    try:
        return msgspec.msgpack.decode(record.payload, type=Head)
    except msgspec.MsgspecError as error:
        raise BrokenRecordError(0, f"its head cannot be read: {error}") from None


def begin_of(record: Record) -> Begin:
    """The beginning in a record. Raises BrokenRecordError."""
    try:
        return msgspec.msgpack.decode(codec.stretch(record.payload), type=Begin)
    except (msgspec.MsgspecError, DataError) as error:
        raise BrokenRecordError(0, f"its beginning cannot be read: {error}") from None
