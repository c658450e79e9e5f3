"""Numbers as people read them; what is no number is a dash."""

from __future__ import annotations

import math
from datetime import UTC, datetime

_MINUTE_MS = 60_000


def percent(value: float, decimals: int, *, sign: bool = False) -> str:
    """`12.3%`."""
    return ratio(value, decimals, "%", sign=sign)


def money(value: float, *, sign: bool = False) -> str:
    """Two decimals, with thousands."""
    return ratio(value, 2, sign=sign)


def ratio(value: float, decimals: int = 2, unit: str = "", *, sign: bool = False) -> str:
    """A number with so many decimals; whole ones have none."""
    if math.isnan(value):
        return "-"
    if isinstance(value, int):
        return f"{value:,}{unit}"
    text = f"{value:{'+' if sign else ''},.{decimals}f}"
    return text.replace("-", "−") + unit  # noqa: RUF001  (a minus, as wide as a plus)


def count(number: int, what: str) -> str:
    """`1 trade`, `2 trades`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def price(value: float) -> str:
    """As many digits as it has, up to ten."""
    return f"{value:.10g}" if value >= 1e-4 else f"{value:.12f}".rstrip("0")


def moment(ms: int) -> str:
    """`2025-05-20 14:07`, UTC."""
    return utc(ms).strftime("%Y-%m-%d %H:%M")


def utc(ms: int) -> datetime:
    """The same as a moment to calculate with."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def span(ms: int) -> str:
    """`3 d 4 h`, `4 h 5 min` or `5 min`."""
    minutes = ms // _MINUTE_MS
    days, hours = minutes // 1_440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
