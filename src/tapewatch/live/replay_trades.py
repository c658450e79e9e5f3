"""Paper trades that a replay led to, beside those in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tapewatch.model import Effect, Fill, Position
from tapewatch.store.paper import told_row

Row = Mapping[str, Any]
#: What differs: id, field, what the ledger has, what was replayed, the kind of difference.
Differ = Callable[[str, str | None, Any, Any, str], None]
_FINAL = frozenset({"closed", "skipped"})


class Trades:
    """Collects what replayed engines say of positions.

    Args:
        venue: whose.
        stored: what the ledger has, by id.
        asked: whether something decided then is to be compared.
    """

    def __init__(self, venue: str, stored: Mapping[str, Row], asked: Callable[[int], bool]) -> None:
        self._venue = venue
        self._stored = stored
        self._asked = asked
        self._positions: dict[str, Position] = {}
        self._fills: dict[str, dict[int, Fill]] = {}

    def take(self, effects: Iterable[Effect]) -> None:
        """Note what was said to an event; a state that nothing follows stays, and so does a fill."""
        for effect in effects:
            if isinstance(effect, Fill):
                self._fills.setdefault(effect.trade_id, {}).setdefault(effect.number, effect)
            elif isinstance(effect, Position):
                before = self._positions.get(effect.trade_id)
                if before is None or before.state not in _FINAL:
                    self._positions[effect.trade_id] = effect

    def compare(self, differ: Differ, covered: Callable[[str, int], bool]) -> int:
        """Tell every difference; returns how many trades were compared.

        Args:
            differ: told of each.
            covered: whether what a symbol led to then must have been replayed.
        """
        compared = 0
        for identity, position in self._positions.items():
            if self._asked(position.decided_ms):
                compared += 1
                self._compare(identity, position, differ)
        for identity, row in self._stored.items():
            missing = identity not in self._positions and self._asked(row["decided_ms"])
            if missing and covered(row["symbol"], row["decided_ms"]):
                differ(identity, None, row["state"], None, "missing_in_replay")
        return compared

    def _compare(self, identity: str, position: Position, differ: Differ) -> None:
        stored = self._stored.get(identity)
        if stored is None:
            differ(identity, None, None, position.state, "missing_in_ledger")
            return
        numbers = self._fills.get(identity, {})
        row = told_row(self._venue, position, [numbers[number] for number in sorted(numbers)])
        for name in row:
            live = stored[name]
            if name == "fills" and numbers:  # a journal that begins later knows only those after its begin
                live = [one for one in live if one["number"] >= min(numbers)]
            if repr(live) != repr(row[name]) and not (name == "fills" and not numbers):
                differ(identity, name, live, row[name], "value")
