"""The intervals an archive can hold: those that strategies use, and the exchange's longer ones with their calendars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapewatch.archive.candles import Times
from tapewatch.errors import SetupError
from tapewatch.model import DAY_MS, INTERVALS_MS

#: 1970-01-05 was a Monday.
_MONDAY_MS = 4 * DAY_MS


@dataclass(frozen=True)
class Interval:
    """One length of candles.

    Attributes:
        name: in options, folders and archive files; the month is `1mo`, as `1M` is `1m` on some file systems.
        rest: the exchange's name for it in requests.
        length_ms: how long a candle is; of a month the longest.
    """

    name: str
    rest: str
    length_ms: int

    @property
    def daily(self) -> bool:
        """Whether the exchange publishes a file a day of it: candles divide a day."""
        return self.length_ms <= DAY_MS

    def numbers(self, open_ms: Times) -> Times:
        """A number for each candle such that candles next to each other have numbers next to each other."""
        if self.name == "1mo":
            months: Times = open_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
            return months
        return open_ms // self.length_ms

    def aligned(self, open_ms: Times) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which of these opens can be of this interval. Three-day candles may begin on any day."""
        if self.name == "1mo":
            whole = open_ms.astype("datetime64[ms]").astype("datetime64[M]").astype("datetime64[ms]")
            return np.asarray((open_ms >= 0) & (whole.astype(np.int64) == open_ms))
        if self.name == "1w":
            return np.asarray((open_ms >= 0) & ((open_ms - _MONDAY_MS) % self.length_ms == 0))
        return np.asarray((open_ms >= 0) & (open_ms % min(self.length_ms, DAY_MS) == 0))

    def opens(self, from_ms: int, to_ms: int, like: Times) -> Times:
        """The opens of all candles in [from_ms, to_ms); three-day candles are in step with the ones in `like`."""
        if self.name == "1mo":
            first = np.datetime64(from_ms - 1, "ms").astype("datetime64[M]") + 1
            last = np.datetime64(to_ms - 1, "ms").astype("datetime64[M]") + 1
            months: Times = np.arange(first, last).astype("datetime64[ms]").astype(np.int64)
            return months
        step = {"1w": _MONDAY_MS, "3d": int(like[0]) if len(like) else from_ms}.get(self.name, 0) % self.length_ms
        first_ms = -(-(from_ms - step) // self.length_ms) * self.length_ms + step
        return np.arange(first_ms, to_ms, self.length_ms, dtype=np.int64)

    def floor(self, ms: int, like: Times) -> int:
        """The open of the candle in which `ms` lies."""
        return int(self.opens(ms - 2 * self.length_ms, ms + 1, like)[-1])

    def close_ms(self, open_ms: int) -> int:
        """The close of the candle that opens then."""
        if self.name != "1mo":
            return open_ms + self.length_ms
        month = np.datetime64(open_ms, "ms").astype("datetime64[M]") + 1
        return int(month.astype("datetime64[ms]").astype(np.int64))


_LONGER = (Interval("3d", "3d", 3 * DAY_MS), Interval("1w", "1w", 7 * DAY_MS), Interval("1mo", "1M", 31 * DAY_MS))
#: Name -> interval, in order of length.
INTERVALS: dict[str, Interval] = {name: Interval(name, name, length) for name, length in INTERVALS_MS.items()}
INTERVALS |= {interval.name: interval for interval in _LONGER}


def interval_of(name: str) -> Interval:
    """The interval of that name, `1M` is `1mo`.

    Raises:
        SetupError: there is none.
    """
    found = INTERVALS.get("1mo" if name == "1M" else name)
    if found is None:
        raise SetupError(f"unknown interval {name}; known are {' '.join(INTERVALS)}")
    return found
