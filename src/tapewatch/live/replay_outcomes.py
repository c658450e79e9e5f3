"""What became of signals as a replay has it, beside what is in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tapewatch.live.replay_trades import Differ, Row
from tapewatch.model import MINUTE_MS, Effect, Outcome
from tapewatch.store.outcomes import outcome_row


class Ends:
    """Collects the outcomes that replayed engines tell.

    Args:
        venue: whose.
        stored: what the ledger has of a run, by signal id.
        asked: whether the outcome of a signal that closed then is to be compared.
    """

    def __init__(self, venue: str, stored: Mapping[str, Row], asked: Callable[[int], bool]) -> None:
        self._venue = venue
        self._stored = stored
        self._asked = asked
        self._outcomes: dict[str, Outcome] = {}

    def take(self, effects: Iterable[Effect]) -> None:
        """Note what was said to an event; what was said first stays."""
        for effect in effects:
            if isinstance(effect, Outcome):
                self._outcomes.setdefault(effect.signal_id, effect)

    def compare(self, differ: Differ, covered: Callable[[str, int], bool]) -> int:
        """Tell every difference; returns how many outcomes were compared.

        Args:
            differ: told of each.
            covered: whether what a symbol's bar that closed then led to must have been replayed.
        """
        compared = [one for one in self._outcomes.values() if self._asked(one.close_ms)]
        for one in compared:
            stored = self._stored.get(one.signal_id)
            if stored is None:
                differ(one.signal_id, None, None, one.result, "missing_in_ledger")
                continue
            for name, value in outcome_row(self._venue, one).items():
                if repr(stored[name]) != repr(value):
                    differ(one.signal_id, name, stored[name], value, "value")
        for identity, row in self._stored.items():
            missing = identity not in self._outcomes and self._asked(row["close_ms"])
            if missing and covered(row["symbol"], row["ms"] + MINUTE_MS):
                differ(identity, None, row["result"], None, "missing_in_replay")
        return len(compared)
