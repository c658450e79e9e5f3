"""How often the operator is told: not the same thing again and again, and not more than so much in an hour."""

from __future__ import annotations

HOUR_MS = 3_600_000


class OperatorLimit:
    """Decides which alerts to the operator go out, and counts those held back.

    Args:
        repeat_ms: the same key goes out at most once in this time.
        per_hour: how many go out in any hour, all keys together.
    """

    def __init__(self, repeat_ms: int, per_hour: int) -> None:
        self._repeat_ms = repeat_ms
        self._per_hour = per_hour
        self._last_ms: dict[str, int] = {}
        self._out_ms: list[int] = []
        self._held_back = 0

    def admit(self, key: str, now_ms: int) -> int | None:
        """None when the alert is held back, otherwise how many were held back since one last went out."""
        self._out_ms = [sent for sent in self._out_ms if now_ms - sent < HOUR_MS]
        self._last_ms = {known: at for known, at in self._last_ms.items() if now_ms - at < self._repeat_ms}
        if key in self._last_ms or len(self._out_ms) >= self._per_hour:
            self._held_back += 1
            return None
        self._last_ms[key] = now_ms
        self._out_ms.append(now_ms)
        held_back, self._held_back = self._held_back, 0
        return held_back
