"""Hours of the day during which a channel is silent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo

import msgspec

_DAY = timedelta(days=1)


class QuietHours(msgspec.Struct, frozen=True):
    """From one time of day to another, in minutes after midnight, by the clock on the wall of a time zone.

    Over midnight where `end` is not after `start`. A time that a change of the clock skips is the moment of the
    change's end by the earlier offset; of one that comes twice the first begins the hours and the last ends them.
    """

    start: int
    end: int
    zone: tzinfo

    def until(self, now_ms: int) -> int | None:
        """When the quiet that is on ends; None where none is on."""
        return next((end_ms for begin_ms, end_ms in self._around(now_ms) if begin_ms <= now_ms < end_ms), None)

    def last(self, now_ms: int) -> tuple[int, int] | None:
        """The quiet hours that ended last, as [from, to)."""
        over = [one for one in self._around(now_ms) if one[1] <= now_ms]
        return max(over, default=None)

    def _around(self, now_ms: int) -> Iterator[tuple[int, int]]:
        today = datetime.fromtimestamp(now_ms / 1000, self.zone).date()
        for day in (today - 2 * _DAY, today - _DAY, today):
            until = day if self.end > self.start else day + _DAY
            yield self._moment(day, self.start, fold=0), self._moment(until, self.end, fold=1)

    def _moment(self, day: date, minutes: int, fold: int) -> int:
        local = datetime.combine(day, time(minutes // 60, minutes % 60, fold=fold), self.zone)
        if fold and local.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) != local.replace(tzinfo=None):
            local = local.replace(fold=0)  # skipped, not repeated: the offset before the change
        return round(local.timestamp() * 1000)
