"""What entries on stored candles touched first: many at once, as columns, by the rules of `tapewatch.outcomes`."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from tapewatch.archive.candles import Candles
from tapewatch.model import Result

#: Results as codes; an `OPEN` entry is on its way when the candles end.
OPEN, TARGET, STOP, TIME = 0, 1, 2, 3
RESULTS: dict[int, Result | Literal["open"]] = {OPEN: "open", TARGET: "target", STOP: "stop", TIME: "time"}
#: Candles of an entry that are looked at together at first, and at most; the cells of one look, at most.
LEAST, MOST, CELLS = 16, 512, 1_000_000


class Entries(NamedTuple):
    """Entries to follow, a row each. Prices are times their side, 1 or -1, so that short ones are as long ones."""

    side: Any
    close_ms: Any
    expiry_ms: Any
    entry: Any
    stop: Any
    target: Any

    @classmethod
    def of(cls, side: Any, close_ms: Any, expiry_ms: Any, levels: tuple[Any, Any, Any]) -> Entries:
        """Of prices as they are: entry, stop and target."""
        return cls(side, close_ms, expiry_ms, *(side * level for level in levels))

    @property
    def sound(self) -> Any:
        """Whether stop and target are on their sides of the entry."""
        return (self.stop < self.entry) & (self.entry < self.target)

    def rows(self, chosen: Any) -> Entries:
        """Only these rows."""
        return Entries(*(column[chosen] for column in self))


class Ends(NamedTuple):
    """What became of entries, a row each.

    Attributes:
        result: a code.
        price, best, worst: times the side; the price of an open one is the last close.
        ms: open of the candle in which it ended, or of the last one; -1 where there was none.
        ambiguous: whether that candle touched both stop and target.
    """

    result: Any
    price: Any
    best: Any
    worst: Any
    ms: Any
    ambiguous: Any


def follow(candles: Candles, entries: Entries) -> Ends:
    """Follow sound entries from their bar's close to the stop, the target or the time limit."""
    entry, count = entries.entry, len(entries.side)
    prices = entry.copy(), entry.copy(), entry.copy()
    ends = Ends(np.full(count, OPEN), *prices, np.full(count, -1), np.zeros(count, np.bool_))
    places = np.searchsorted(candles.open_ms, entries.close_ms)
    rows, width = np.flatnonzero(places < len(candles)), LEAST
    while len(rows):
        for part in np.array_split(rows, -(-len(rows) * width // CELLS)):
            _look(candles, entries.rows(part), places[part, None] + np.arange(width), part, ends)
        places[rows] += width
        rows = rows[(ends.result[rows] == OPEN) & (places[rows] < len(candles))]
        width = min(MOST, 2 * width)
    return ends


def stops_ms(candles: Candles, entries: Entries, *, compiled: bool = False) -> Any:
    """When the candle that touched each entry's stop closed, 0 where none did; entries need not be sound.

    Where there are many entries in the end, a compiled loop is the faster way to the same.
    """
    sound = np.flatnonzero(entries.sound)
    if compiled:
        return _stops_ms(candles, entries, sound)
    ends = follow(candles, entries.rows(sound))
    stopped = ends.result == STOP
    found = np.zeros(len(entries.side), np.int64)
    found[sound[stopped]] = ends.ms[stopped] + candles.interval_ms
    return found


def _stops_ms(candles: Candles, entries: Entries, sound: Any) -> Any:
    from tapewatch.study.compiled import stop_times

    asked, missed = entries.rows(sound), -candles.interval_ms
    rows, ms = np.searchsorted(candles.open_ms, asked.close_ms), np.full(len(sound), missed, np.int64)
    bars = candles.open_ms, candles.high, candles.low
    stop_times()(bars, rows, asked.side, asked.expiry_ms, (asked.stop, asked.target), ms)
    found = np.zeros(len(entries.side), np.int64)
    found[sound] = ms + candles.interval_ms
    return found


def _look(candles: Candles, asked: Entries, at: Any, rows: Any, ends: Ends) -> None:
    """Take entries through their next candles, a row `at` of each; what they lead to is written into `ends`."""
    there = at < len(candles)
    at = np.minimum(at, len(candles) - 1)
    side, stop, target = (column[:, None] for column in (asked.side, asked.stop, asked.target))
    opened, high, low = candles.open[at] * side, candles.high[at], candles.low[at]
    high, low = np.where(side > 0, high, -low), np.where(side > 0, low, -high)
    time = candles.open_ms[at] >= asked.expiry_ms[:, None]
    stopped, reached = low <= stop, high >= target
    over = (time | stopped | reached) & there
    ended = over.any(axis=1)
    last = np.where(ended, over.argmax(axis=1), there.sum(axis=1) - 1)
    mine = np.arange(len(rows)), last
    result = np.select([~ended, time[mine], stopped[mine]], [OPEN, TIME, STOP], TARGET)
    price = np.select(
        [result == TARGET, result == STOP, result == TIME],
        [asked.target, np.minimum(opened[mine], asked.stop), opened[mine]],
        candles.close[at[mine]] * asked.side,
    )
    before = there & (np.arange(at.shape[1]) < (last + ~ended)[:, None])
    highest, lowest = np.where(before, high, -np.inf).max(axis=1), np.where(before, low, np.inf).min(axis=1)
    # Of the last candle only a target's other extreme came before it, for all that is known.
    lowest = np.where(result == TARGET, np.minimum(lowest, low[mine]), lowest)
    ways = [np.where(ended, price, side_of) for side_of in (highest, lowest)]
    ends.best[rows] = np.maximum.reduce([ends.best[rows], highest, ways[0]])
    ends.worst[rows] = np.minimum.reduce([ends.worst[rows], lowest, ways[1]])
    ends.result[rows], ends.price[rows], ends.ms[rows] = result, price, candles.open_ms[at[mine]]
    ends.ambiguous[rows] = (result == STOP) & (opened[mine] > asked.stop) & reached[mine]
