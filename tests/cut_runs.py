"""Runs on a folder that may end without any care, and what must be found there as if nothing had happened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from core_samples import mapping, walk
from engine_runs import save
from journal_samples import opened
from ledger_rows import baseline_sums, outcomes_of
from tapewatch.engine import Engine, MarketSettings
from tapewatch.engine.scorers import Scoring
from tapewatch.feeds.port import Instrument
from tapewatch.gate import GateSettings
from tapewatch.live.makeup import Makeup, memory_of
from tapewatch.live.recorder import Recorder
from tapewatch.live.recovery import Recoverer, Recovery
from tapewatch.live.replay import verify
from tapewatch.model import Alert, BarClosed, ControlDone, Effect, Event, History, Judged, Outcome
from tapewatch.outcomes import OutcomeSettings
from tapewatch.store import Ledger, Message, Step
from tapewatch.store.outcomes import outcome_row
from tapewatch.store.rows import Row

VENUE = "venue"
OFTEN = {"often": mapping(long={"up": "close > open"}, duplicate={"window": "1m", "move": "0%"})}
BARS = walk(900)
#: A random entry on one bar in five, so that many are under way at each cut.
OUTCOMES = OutcomeSettings(one_in=5)
#: The windows, then what is decided on.
EVENTS: list[Event] = [History(one) for one in BARS[:800]] + [BarClosed(one, one.close_ms + 5) for one in BARS[800:]]


class Run:
    """One run on a folder: what a start finds there, and a recorder that stores what follows."""

    def __init__(
        self,
        folder: Path,
        mappings: dict[str, Any],
        market: MarketSettings | None = None,
        scorings: tuple[Scoring, ...] = (),
    ) -> None:
        self.journal = opened(folder / "journal", segment_bytes=20_000)
        self.ledger = Ledger.open(f"sqlite:///{folder}/ledger.db")
        self.executor = ThreadPoolExecutor(1)
        self.recorder = Recorder(self.journal, self.ledger, self.executor, 3600.0)
        makeup = Makeup(VENUE, mappings, GateSettings(), market=market, outcomes=OUTCOMES, scorings=scorings)
        passed = lambda: self.ledger.gate_passed(VENUE)  # noqa: E731
        memory = partial(memory_of, self.ledger, makeup)
        found = asyncio.run(Recoverer(self.journal, self.ledger, makeup, passed, lambda: False, memory).recover())
        assert found is not None
        self.found: Recovery = found
        self.engine: Engine = found.engine
        self.recorder.started(found.begin)
        if found.leftover:
            self.recorder.store(self._step(found.leftover), [])

    def _step(self, effects: Sequence[Effect]) -> Step:
        alerts = [effect for effect in effects if isinstance(effect, Alert)]
        return Step(VENUE, effects, [Message(alert.alert_id, "out", 1) for alert in alerts])

    def feed(self, events: Sequence[Event], *, committed: bool = True) -> None:
        """Process events, a step for every seven; without `committed` they only come into the journal."""
        for first in range(0, len(events), 7):
            some = self.recorder.admitted(events[first : first + 7])
            effects = [effect for event in some for effect in self.engine.process(event)]
            if committed:
                self.recorder.store(self._step(effects), some)
            else:
                self.journal.append(some)

    def save(self) -> None:
        """A snapshot, as at a clean stop."""
        asyncio.run(self.recorder.finish(self.engine))

    @property
    def state(self) -> list[bytes]:
        """The engine's state."""
        return list(save(self.engine))

    def position(self) -> int | None:
        """What the ledger holds of this journal."""
        return self.ledger.journal_position(self.journal.journal_id)


@contextmanager
def run(
    folder: Path,
    mappings: dict[str, Any] | None = None,
    market: MarketSettings | None = None,
    scorings: tuple[Scoring, ...] = (),
) -> Iterator[Run]:
    """A run that ends without any care."""
    one = Run(folder, mappings or OFTEN, market, scorings)
    try:
        yield one
    finally:
        one.executor.shutdown()
        one.recorder.close()
        one.ledger.close()


def uninterrupted(events: Sequence[Event]) -> tuple[list[bytes], list[Effect]]:
    """The state, and what was said, of an engine that took all events in one go."""
    engine = Makeup(VENUE, OFTEN, GateSettings(), outcomes=OUTCOMES).engine()
    effects = [effect for event in events for effect in engine.process(event)]
    return list(save(engine)), effects


def judged_of(effects: Sequence[Effect]) -> list[Judged]:
    """What was decided."""
    return [effect for effect in effects if isinstance(effect, Judged)]


def whole(folder: Path, one: Run, events: Sequence[Event] = EVENTS) -> None:
    """Assert that run and ledger are as if nothing had ever happened, and that a replay says so."""
    state, effects = uninterrupted(events)
    judged = judged_of(effects)
    ends = [outcome_row(VENUE, effect) for effect in effects if isinstance(effect, Outcome)]
    controls = [effect for effect in effects if isinstance(effect, ControlDone)]
    assert one.state == state
    assert sorted(outcomes_of(one.ledger), key=by_id) == sorted(ends, key=by_id)
    assert sum(row["entries"] for row in baseline_sums(one.ledger)) == len(controls)
    stored = {signal["id"]: signal for signal in one.ledger.stored_signals()}
    assert set(stored) == {effect.signal.id for effect in judged}
    assert len(stored) > 30
    result = verify([folder / "journal"], one.ledger, VENUE)
    assert result.equal, result.differences
    assert (result.signals, result.outcomes, result.pruned) == (len(stored), len(ends), 0)


def by_id(row: Row) -> str:
    """What orders outcomes."""
    return str(row["signal_id"])


def instrument(symbol: str = "AAAUSDT") -> Instrument:
    """A traded symbol."""
    return Instrument(symbol, "AAA", "USDT", "TRADING", trading=True)
