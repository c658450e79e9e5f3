"""When the operator is told of what, and in which words; pure, times are by the wall clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from tapewatch.store import Trouble
from tapewatch.telemetry.leap import Leap

HOUR_MS, DAY_MS = 3_600_000, 86_400_000


class Budget:
    """How many alerts to the operator go out in any hour, all together.

    Args:
        per_hour: so many.
        told_ms: when an earlier run wrote some.
    """

    def __init__(self, per_hour: int, told_ms: Iterable[int] = ()) -> None:
        self.per_hour = per_hour
        self._told_ms = list(told_ms)

    def room(self, now_ms: int) -> bool:
        """Whether another one may go out."""
        self._told_ms = [told_ms for told_ms in self._told_ms if now_ms - told_ms < HOUR_MS]
        return len(self._told_ms) < self.per_hour

    def told(self, now_ms: int) -> None:
        """One goes out."""
        self._told_ms.append(now_ms)

    def clock_set(self, leap: Leap) -> None:
        """The wall clock was set; an hour is one all the same."""
        self._told_ms = list(map(leap.moved, self._told_ms))


def moved(trouble: Trouble, leap: Leap) -> None:
    """The wall clock was set: it is as long ago as before that it began, was seen and was told."""
    trouble.since_ms, trouble.last_ms = leap.moved(trouble.since_ms), leap.moved(trouble.last_ms)
    if trouble.told_ms:
        trouble.told_ms = leap.moved(trouble.told_ms)


def due(trouble: Trouble, now_ms: int, every_ms: int) -> bool:
    """Whether the operator should be told of it now.

    The same is told at most once in `every_ms`; that it goes on, after waits that double, up to a day.
    """
    if not trouble.held and not (trouble.open and trouble.told):
        return False
    wait_ms = every_ms
    if trouble.open and trouble.told:
        wait_ms = max(every_ms, min(every_ms << min(trouble.told - 1, 30), DAY_MS))
    passed_ms = now_ms - trouble.told_ms
    return not trouble.told_ms or passed_ms >= wait_ms or passed_ms < 0  # or the clock was put back


def began(trouble: Trouble, text: str, now_ms: int) -> tuple[str, str]:
    """Subject and text of the first that is told of it, or of its being told again."""
    if trouble.open and trouble.told:
        lasted = span(now_ms - trouble.since_ms)
        return f"Still: {trouble.subject}", f"{text}\nIt began {lasted} ago, at {clock(trouble.since_ms)}."
    often = f"\nIt happened {trouble.held} times from {clock(trouble.since_ms)} to {clock(trouble.last_ms)}."
    return trouble.subject, text + (often if trouble.held > 1 else "")


def ended(trouble: Trouble, text: str) -> tuple[str, str]:
    """Subject and text of the notice that it is over: how long it lasted and how often it happened."""
    lasted = f"It lasted {span(trouble.last_ms - trouble.since_ms)}, from {clock(trouble.since_ms)}"
    often = f", and was seen {trouble.count} times" if trouble.count > 1 else ""
    return f"Over: {trouble.subject}", f"{text}\n{lasted}{often}.".lstrip()


def listed(troubles: Sequence[Trouble]) -> str:
    """A line for each: how often since the operator was told last, and whether it goes on."""
    return "\n".join(f"- {_line(trouble)}" for trouble in troubles) or "Nothing happened."


def _line(trouble: Trouble) -> str:
    state = f"since {clock(trouble.since_ms)}, not over" if trouble.open else f"last at {clock(trouble.last_ms)}"
    often = f"{trouble.held} times, " if trouble.held > 1 else ""
    return f"{trouble.subject} ({often}{state})"


def clock(ms: int) -> str:
    """A time as the operator reads it."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(ms: int) -> str:
    """A duration in words, in its two largest units."""
    seconds = max(0, round(ms / 1000))
    parts = [(seconds // 86_400, "d"), (seconds // 3_600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for place, (count, unit) in enumerate(parts) if place in {first, first + 1})
