"""Options that are percentages and durations: 1%, 30m, 15%:7d."""

from __future__ import annotations

from tapewatch.errors import SetupError
from tapewatch.strategy.definition import fraction


def share(text: str, option: str, most: float = float("inf")) -> float:
    """`1%` as 0.01. Raises SetupError where it is not above 0, or above `most`."""
    try:
        found = fraction(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= most:
        limit = "" if most == float("inf") else f" up to {most:.0%}"
        raise SetupError(f"{option}: {text!r} is no percentage above 0{limit} as 1%")
    return found


def duration_ms(text: str, option: str) -> int:
    """`30m` in milliseconds. Raises SetupError where it is no duration, or none at all."""
    from tapewatch.config.values import parse_duration

    try:
        found = parse_duration(text)
    except ValueError:
        found = 0
    if found <= 0:
        raise SetupError(f"{option}: {text!r} is no duration as 30m, 12h or 7d")
    return found


def share_and_pause(text: str, option: str, pause_ms: int) -> tuple[float, int]:
    """`15%:7d` as a share and milliseconds; `15%` pauses for the default."""
    first, colon, pause = text.partition(":")
    return share(first, option, 1.0), duration_ms(pause, option) if colon else pause_ms


def count_and_pause(text: str, option: str, pause_ms: int) -> tuple[int, int]:
    """`5:12h` as a number and milliseconds; `5` pauses for the default."""
    first, colon, pause = text.partition(":")
    if not (first.strip().isascii() and first.strip().isdecimal() and 1 <= int(first) <= 1_000):
        raise SetupError(f"{option}: {text!r} is no number from 1 to 1000 as 5, nor one with its pause as 5:12h")
    return int(first), duration_ms(pause, option) if colon else pause_ms
