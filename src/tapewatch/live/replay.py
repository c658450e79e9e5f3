"""A journal through fresh engines: what they say to it, and whether that is what the ledger holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from tapewatch import __version__
from tapewatch.engine import Engine
from tapewatch.engine.state import load
from tapewatch.errors import DataError, SetupError
from tapewatch.live.makeup import PYTHON, Makeup, unlike
from tapewatch.live.replay_outcomes import Ends
from tapewatch.live.replay_trades import Trades
from tapewatch.model import BarClosed, Effect, Event, Judged
from tapewatch.store import Ledger
from tapewatch.store.entries import Begin
from tapewatch.store.reading import JournalDamageError, batches, failures, segments, skips, unreadable
from tapewatch.store.rows import digest, signal_row
from tapewatch.store.snapshot import head_of, snapshot_paths, state_in

#: Parts of a signal that the gate decides.
_DECIDED = ("verdicts", "state", "late", "recv_ms", "alert_id")

#: Why another engine may say something else; see the documentation of `replay`.
Other = Literal["version", "configuration"]


@dataclass(frozen=True)
class Start:
    """Where a replay of a journal can begin: at its beginning, or at a snapshot of it."""

    journal_id: str
    position: int
    begin: Begin
    snapshot: Path | None = None

    def engine(self) -> Engine:
        """The engine as it was there.

        Raises:
            SetupError: its strategies mean nothing to this version.
            DataError: the snapshot cannot be read, or is of an engine of another make.
        """
        engine = Makeup.of(self.begin).engine(self.begin.passed, self.begin.memory)
        if self.snapshot is not None:
            load(engine, state_in(self.snapshot))
        return engine


@dataclass(frozen=True)
class Said:
    """What an engine said to one event, and why it might have said something else when it was journaled.

    `begin` is what it was made of.
    """

    event: Event
    effects: list[Effect]
    other: Other | None
    begin: Begin


class Player:
    """Plays the journals of a folder in their order, each from where that is possible.

    Args:
        folder: the journal's.
        ends: journal -> where to stop; those without are played to their end.

    Attributes:
        gaps: what could not be played, in words.
        events: how many were.
    """

    def __init__(self, folder: Path, ends: Mapping[str, int] | None = None) -> None:
        self._folder = folder
        self._ends = ends or {}
        self._skipped = {skip.position for skip in skips(folder)}
        self.gaps: list[str] = []
        self.events = 0

    def play(self) -> Iterator[Said]:
        """What is said to every event. Raises SetupError where there is nothing to play."""
        journals = dict.fromkeys(segment.journal_id for segment in segments(self._folder))
        self.gaps.extend(f"journal {path}: its beginning cannot be read" for path in unreadable(self._folder))
        if not journals and not self.gaps:
            raise SetupError(f"{self._folder} holds no journal; `tapewatch run` writes one")
        for journal_id in journals:
            yield from self._journal(journal_id)

    def _journal(self, journal_id: str) -> Iterator[Said]:
        reached = -1
        for start in self._starts(journal_id):
            if start.position <= reached:
                continue
            try:
                engine = start.engine()
            except (DataError, SetupError) as error:
                self._miss(f"journal {journal_id}, from {start.position}: {error}")
                continue
            other = _other(start.begin, engine)
            engine.expect(failures(self._folder, journal_id))
            try:
                for place, event in self._events(start):
                    reached = place
                    self.events += 1
                    effects = self._process(engine, place, event)
                    yield Said(event, effects, other, start.begin)
            except JournalDamageError as damage:
                self._miss(str(damage))
                reached = damage.position
                continue
            return

    def _miss(self, gap: str) -> None:
        if gap not in self.gaps:  # every start before the same damage ends at it
            self.gaps.append(gap)

    def _process(self, engine: Engine, place: int, event: Event) -> list[Effect]:
        if place in self._skipped:
            return []
        try:
            return engine.process(event)
        except Exception as error:
            raise JournalDamageError(f"event {place} makes the engine fail: {error}", place) from error

    def _events(self, start: Start) -> Iterator[tuple[int, Event]]:
        end = self._ends.get(start.journal_id)
        for batch in batches(self._folder, start.journal_id, start.position):
            for place, event in enumerate(batch.events, batch.first):
                if end is not None and place >= end:
                    return
                yield place, event

    def _starts(self, journal_id: str) -> Iterator[Start]:
        """The first place that can be begun at, then those after it, for when something is missing in between."""
        first_position = None
        for segment in segments(self._folder):
            if segment.journal_id == journal_id:
                first_position = segment.first if first_position is None else first_position
                if segment.begin is not None:
                    yield Start(journal_id, segment.first, segment.begin)
        for path in reversed(snapshot_paths(self._folder)):
            try:
                head = head_of(path)
            except DataError:
                continue
            if head.journal_id == journal_id and first_position is not None and head.position >= first_position:
                yield Start(journal_id, head.position, head.begin, path)


@dataclass
class Verification:
    """Whether a ledger holds what its journals lead to.

    Attributes:
        events, signals, verdicts, trades, outcomes: how many were processed and compared.
        differences: as `replay --verify --json` prints them.
        pruned: signals in the ledger that the journal does not reach back to, so that nothing can be said of them.
        gaps: what of the journal could not be read.
    """

    events: int = 0
    signals: int = 0
    verdicts: int = 0
    trades: int = 0
    outcomes: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list)
    pruned: int = 0
    gaps: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether no difference was found."""
        return not self.differences


class _Spans:
    """The times [from, to], by symbol, whose bars were decided while a journal was written."""

    def __init__(self) -> None:
        self._spans: dict[str, list[tuple[int, int]]] = {}

    def add(self, event: Event) -> None:
        """An event was journaled."""
        if not isinstance(event, BarClosed):
            return
        bar = event.bar
        spans = self._spans.setdefault(bar.symbol, [])
        if spans and spans[-1][1] == bar.open_ms:
            spans[-1] = (spans[-1][0], bar.close_ms)
        else:
            spans.append((bar.close_ms, bar.close_ms))

    def has(self, symbol: str, close_ms: int) -> bool:
        """Whether what a symbol led to then must have been replayed."""
        return any(first <= close_ms <= last for first, last in self._spans.get(symbol, []))

    def first(self, symbol: str) -> float:
        """The first close of a symbol, infinite where there is none."""
        return self._spans[symbol][0][0] if symbol in self._spans else math.inf


class _Verifier:
    def __init__(self, ledger: Ledger, venue: str, from_ms: int | None, to_ms: int | None) -> None:
        self._ledger = ledger
        self._from_ms, self._to_ms = from_ms, to_ms
        self.positions, self._left, trades, ends = ledger.decisions(venue, from_ms, to_ms)
        self._trades = Trades(venue, trades, lambda ms: not self._outside(ms))
        self._ends = Ends(venue, ends, lambda ms: not self._outside(ms))
        self._seen: set[str] = set()
        self._searched, self._traded = _Spans(), _Spans()
        self._other: Other | None = None
        self.result = Verification()

    def take(self, said: Said) -> None:
        """Compare what was said to one event with the ledger."""
        if said.begin.strategies:
            self._searched.add(said.event)
        if said.begin.paper is not None:
            self._traded.add(said.event)
        self._other = self._other or said.other
        for effect in said.effects:
            if isinstance(effect, Judged):
                self.compare(effect, said.other)
        self._trades.take(said.effects)
        self._ends.take(said.effects)

    def _outside(self, close_ms: int) -> bool:
        before = self._from_ms is not None and close_ms < self._from_ms
        return before or (self._to_ms is not None and close_ms >= self._to_ms)

    def compare(self, judged: Judged, other: Other | None) -> None:
        """Compare one decision with the ledger's."""
        signal = judged.signal
        if self._outside(signal.close_ms) or signal.id in self._seen:
            return
        self._seen.add(signal.id)
        self.result.signals += 1
        self.result.verdicts += len(signal.verdicts)
        stored = self._left.pop(signal.id, None)
        row = signal_row(judged)
        if stored is None:
            self._differ("signal", signal.id, None, None, judged.state, "missing_in_ledger", other)
        elif stored["digest"] != digest(row):
            self._fields(signal.id, row, other)

    def _fields(self, signal_id: str, replayed: Mapping[str, Any], other: Other | None) -> None:
        live = self._ledger.decision(signal_id)
        before, after = (
            msgspec.json.decode(row["body"]) | {key: row[key] for key in _DECIDED[1:]} for row in (live, replayed)
        )
        for name in sorted({*before, *after}):
            if repr(before.get(name)) != repr(after.get(name)):
                decided = name in _DECIDED
                what, reason = ("verdict", "verdict") if decided else ("signal", "value")
                self._differ(what, signal_id, name, before.get(name), after.get(name), reason, other)

    def _differ(
        self, what: str, identity: str, name: str | None, live: Any, replayed: Any, reason: str, other: Other | None
    ) -> None:
        line = {"what": what, "id": identity, "field": name, "live": live, "replayed": replayed}
        self.result.differences.append(line | {"reason": other or reason})

    def finish(self, events: int, gaps: list[str]) -> Verification:
        """What is in the ledger and was not said by any engine."""
        self.result.events, self.result.gaps = events, gaps
        for gap in gaps:
            self._differ("journal", gap, None, None, None, "journal_gap", None)
        for identity, row in self._left.items():
            symbol, close_ms = row["symbol"], row["close_ms"]
            if self._searched.has(symbol, close_ms):
                self._differ("signal", identity, None, "stored", None, "missing_in_replay", self._other)
            elif gaps and close_ms > self._searched.first(symbol):
                self._differ("signal", identity, None, "stored", None, "journal_gap", None)
            else:
                self.result.pruned += 1
        self.result.trades = self._trades.compare(partial(self._differ_in, "trade"), self._traded.has)
        self.result.outcomes = self._ends.compare(partial(self._differ_in, "outcome"), self._searched.has)
        return self.result

    def _differ_in(self, what: str, identity: str, name: str | None, live: Any, replayed: Any, reason: str) -> None:
        self._differ(what, identity, name, live, replayed, reason, self._other)


def verify(
    folders: Sequence[Path],
    ledger: Ledger,
    venue: str,
    *,
    from_ms: int | None = None,
    to_ms: int | None = None,
    progress: Callable[[int], None] = lambda _events: None,
) -> Verification:
    """Play the journals of folders and compare every decision with the ledger's, bit for bit.

    Args:
        folders: the journals of every role that decides something.
        ledger: what was stored; a run may be writing it.
        venue: whose signals.
        from_ms: of bars that close then or later.
        to_ms: of bars that close before.
        progress: called with the number of events played, now and then.

    Raises:
        SetupError: there is no journal in one of them.
        StoreError: something cannot be read.
    """
    verifier = _Verifier(ledger, venue, from_ms, to_ms)
    events, gaps = 0, []
    for folder in folders:
        ends = {segment.journal_id: 0 for segment in segments(folder)} | verifier.positions
        player = Player(folder, ends)
        for said in player.play():
            verifier.take(said)
            if player.events % 1_000 == 0:
                progress(events + player.events)
        events += player.events
        gaps += player.gaps
    return verifier.finish(events, gaps)


def _other(begin: Begin, engine: Engine) -> Other | None:
    """In what an engine of today that was made of a journal's beginning is another one than began there."""
    if unlike(begin, engine) is None:
        return None
    here = begin.version == __version__ and begin.python == PYTHON
    return "configuration" if here and begin.python_files else "version"
