"""The record that an alert carries: what had become of signals like it by the close of its bar.

It is kept in memory: the sums that the ledger held when the first alert came, and what has ended since. An outcome
counts from the close of the base bar in which it ended, so that no record knows what came after its alert's bar.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from heapq import heapify, heappop, heappush

from tapewatch.errors import StoreError
from tapewatch.live.makeup import Makeup
from tapewatch.model import MINUTE_MS, Alert, ControlDone, Effect, Outcome, Record, Signal
from tapewatch.outcomes import regime_of
from tapewatch.record import ENOUGH, Baseline, Kind, Sums, Tally, hour_of, record_of
from tapewatch.store import Ledger
from tapewatch.store.scores import Filled, Part, ScoreTables
from tapewatch.telemetry import get_logger

#: How often the ledger is looked at, whether somebody has filled it from an archive.
LOOK_EVERY_MS = 60_000
_log = get_logger("store")


class RecordKeeper:
    """The records of one venue.

    Args:
        tables: the ledger's; used in `executor` only.
        executor: where it is read.
        venue: whose signals.
        cost_bps: what a round trip costs, of the entry.
        now_ms: the wall clock.
    """

    def __init__(
        self, tables: ScoreTables, executor: Executor, venue: str, cost_bps: float, now_ms: Callable[[], int]
    ) -> None:
        self._tables, self._executor, self._venue = tables, executor, venue
        self._cost_bps, self._now_ms = cost_bps, now_ms
        self._tallies: dict[Part, Tally] = {}
        self._whole: dict[Kind, Tally] = {}
        self._baselines: dict[Kind, Baseline] = {}
        #: Outcomes by when they are known, that no record has counted yet.
        self._ahead: list[tuple[int, str, Outcome]] = []
        self._until_ms = 0
        self._looked_ms: int | None = None
        self._filled: Filled | None = None
        #: Whether what the ledger held is not all that it holds now.
        self._stale = True

    async def of(self, effects: Sequence[Effect]) -> dict[str, Record]:
        """Of each alert among the effects of a step its leading signal's record, by the alert's id.

        An alert that comes late, after alerts of younger bars have counted more, has none; no alert has one while the
        ledger cannot be read. What ended in earlier steps is stored.
        """
        alerts = [effect for effect in effects if isinstance(effect, Alert)]
        readable = bool(alerts) and await self._looked(min(alert.signals[0].close_ms for alert in alerts))
        found: dict[str, Record] = {}
        for effect in effects:
            if isinstance(effect, Outcome) and effect.state == "passed":
                self._stale |= effect.late  # it may take the place of one that was computed from an archive
                heappush(self._ahead, (effect.ms + MINUTE_MS, effect.signal_id, effect))
            elif isinstance(effect, ControlDone):
                kind = Kind(effect.strategy, effect.side, effect.timeframe)
                self._baselines.setdefault(kind, Baseline()).add(hour_of(effect.close_ms), _sums_of(effect))
            elif isinstance(effect, Alert) and readable and effect.signals[0].close_ms >= self._until_ms:
                found[effect.alert_id] = self._record(effect.signals[0])
        return found

    async def _looked(self, close_ms: int) -> bool:
        """Whether the sums are there: they are read at first, and now and then again where the ledger has others."""
        now_ms = self._now_ms()
        recent = self._looked_ms is not None and 0 <= now_ms - self._looked_ms < LOOK_EVERY_MS
        if recent or close_ms < self._until_ms:
            return True
        loop = asyncio.get_running_loop()
        try:
            read = await loop.run_in_executor(self._executor, self._read, close_ms)
        except StoreError as error:
            _log.warning("records_not_read", error=str(error))
            return False
        self._looked_ms = now_ms
        if read is not None:
            self._filled, (self._tallies, self._stale), self._baselines = read
            self._whole = {}
            for part, tally in self._tallies.items():
                self._whole[part.kind] = self._whole.get(part.kind, Tally()).plus(tally)
            self._until_ms = close_ms
            self._ahead = [one for one in self._ahead if one[0] > close_ms]
            heapify(self._ahead)
        return True

    def _read(self, until_ms: int) -> tuple[Filled, tuple[dict[Part, Tally], bool], dict[Kind, Baseline]] | None:
        """What the ledger holds; None where it is what is known."""
        filled = self._tables.filled(self._venue)
        if filled == self._filled and not self._stale:
            return None
        return filled, self._tables.tallies(self._venue, until_ms), self._tables.baselines(self._venue)

    def _record(self, signal: Signal) -> Record:
        while self._ahead and self._ahead[0][0] <= signal.close_ms:
            self._add(heappop(self._ahead)[2])
        self._until_ms = signal.close_ms
        kind, regime = Kind(signal.strategy, signal.side, signal.timeframe), regime_of(signal)
        baseline = self._baselines.get(kind, Baseline())
        part = self._tallies.get(Part(kind, regime)) if regime else None
        if part is not None and part.sums.n >= ENOUGH:
            return record_of(kind, part, baseline, self._cost_bps, regime)
        return record_of(kind, self._whole.get(kind, Tally()), baseline, self._cost_bps)

    def _add(self, outcome: Outcome) -> None:
        kind = Kind(outcome.strategy, outcome.side, outcome.timeframe)
        self._tallies.setdefault(Part(kind, outcome.regime), Tally()).add(outcome)
        self._whole.setdefault(kind, Tally()).add(outcome)


def _sums_of(control: ControlDone) -> Sums:
    return Sums(1, int(control.result == "target"), control.gross_pct, 0.0, control.risk_pct)


def keeper_of(ledger: Ledger, executor: Executor, makeup: Makeup, now_ms: Callable[[], int]) -> RecordKeeper | None:
    """The records of a run; None where no signal is followed."""
    if makeup.outcomes is None:
        return None
    return RecordKeeper(ledger.scores, executor, makeup.venue, makeup.outcomes.cost_bps, now_ms)
