"""What the charts of a report are made of: paths and places, ready to be put into SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from tapewatch.archive.candles import Candles
from tapewatch.model import DAY_MS
from tapewatch.study.words import ratio, utc

#: Of a curve over time, and of a trade's candles; the units are about a pixel of a desktop's screen.
WIDTH, HEIGHT, FOOT = 960, 260, 22
CARD_WIDTH, CARD_HEIGHT = 400, 220
_HOUR_MS = 3_600_000
#: What may lie between two marks of a time axis, and how they are written.
_STEPS = [
    *((hours * _HOUR_MS, "%m-%d %H:%M") for hours in (1, 3, 6, 12)),
    *((days * DAY_MS, "%Y-%m-%d") for days in (1, 2, 5, 10, 20)),
]
_MOST_MARKS = 6


@dataclass(frozen=True)
class Mark:
    """A labelled place on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """A line; `kind` is its style."""

    name: str
    kind: str
    path: str


@dataclass(frozen=True)
class Stripe:
    """A part of a chart with a text of its own."""

    x: float
    width: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Curves over time. `rows` are marks of the values, `columns` of the time; `area` is filled, or empty."""

    title: str
    text: str
    curves: Sequence[Curve]
    area: str
    rows: Sequence[Mark]
    columns: Sequence[Mark]
    stripes: Sequence[Stripe]


@dataclass(frozen=True)
class Line:
    """A level of a trade, from its entry to its end."""

    name: str
    kind: str
    y: float
    x: float
    end: float


@dataclass(frozen=True)
class Dot:
    """A fill."""

    name: str
    kind: str
    x: float
    y: float


@dataclass(frozen=True)
class Card:
    """Candles around a trade: those that rose and those that fell, as paths."""

    rising: str
    falling: str
    lines: Sequence[Line]
    dots: Sequence[Dot]
    rows: Sequence[Mark]
    columns: Sequence[Mark]


@dataclass(frozen=True)
class Scale:
    """From values to places: `low` lies at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value, to a tenth."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + share * (self.end - self.start), 1)


def over_time(
    title: str,
    text: str,
    times_ms: Sequence[int],
    curves: Sequence[tuple[str, str, Sequence[float]]],
    said: Sequence[str],
    *,
    filled: bool = False,
) -> Chart:
    """A chart of curves with a value for each time.

    Args:
        title: what it shows.
        text: the same in a sentence with its main figures, for who cannot see it.
        times_ms: ascending.
        curves: name, kind and values of each.
        said: a text for each time, shown where somebody points at it.
        filled: whether the first curve's area to zero is filled.
    """
    values = [value for _, _, of_curve in curves for value in of_curve]
    low, high = min(values), max(values)
    if low == high:
        low, high = low - max(abs(low) * 0.01, 1e-9), high + max(abs(high) * 0.01, 1e-9)
    x = Scale(times_ms[0], times_ms[-1], 0, WIDTH)
    y = Scale(low, high, HEIGHT - FOOT - 4, 18)
    places = [x(ms) for ms in times_ms]
    drawn = [Curve(name, kind, _path(zip(places, map(y, of_curve), strict=True))) for name, kind, of_curve in curves]
    area = f"{drawn[0].path}L{places[-1]} {y(0.0)}L{places[0]} {y(0.0)}Z" if filled else ""
    edges = [places[0], *((before + after) / 2 for before, after in pairwise(places)), places[-1]]
    stripes = [
        Stripe(round(start, 1), round(end - start, 1), words)
        for (start, end), words in zip(pairwise(edges), said, strict=True)
    ]
    rows = [Mark(y(value), number(value, step)) for value, step in round_values(low, high)]
    columns = [Mark(x(ms), words) for ms, words in time_marks(times_ms[0], times_ms[-1])]
    return Chart(title, text, drawn, area, rows, columns, stripes)


def card(
    candles: Candles,
    levels: Iterable[tuple[str, str, float]],
    fills: Iterable[tuple[str, str, int, float]],
    entry_ms: int,
    end_ms: int,
) -> Card:
    """Candles with a trade on them.

    Args:
        candles: at least one.
        levels: name, kind and price.
        fills: name, kind, time and price.
        entry_ms: from when the levels are drawn.
        end_ms: until when.
    """
    levels, fills = list(levels), list(fills)
    prices = [price for *_, price in levels] + [price for *_, price in fills]
    low, high = min(float(candles.low.min()), *prices), max(float(candles.high.max()), *prices)
    first_ms, last_ms = int(candles.open_ms[0]), int(candles.open_ms[-1]) + candles.interval_ms
    x = Scale(first_ms, last_ms, 0, CARD_WIDTH)
    y = Scale(low, high, CARD_HEIGHT - FOOT - 4, 10)
    wide = CARD_WIDTH * candles.interval_ms / (last_ms - first_ms)
    rising: list[str] = []
    falling: list[str] = []
    columns = (getattr(candles, name).tolist() for name in ("open_ms", "open", "high", "low", "close"))
    for ms, *bar in zip(*columns, strict=True):
        (rising if bar[3] >= bar[0] else falling).append(_candle(x(ms), wide, [y(price) for price in bar]))
    start, end = x(entry_ms), x(end_ms)
    return Card(
        rising="".join(rising),
        falling="".join(falling),
        lines=[Line(name, kind, y(price), start, end) for name, kind, price in levels],
        dots=[Dot(name, kind, x(ms), y(price)) for name, kind, ms, price in fills],
        rows=[Mark(y(value), number(value, step)) for value, step in round_values(low, high)],
        columns=[Mark(x(ms), words) for ms, words in time_marks(first_ms, last_ms, 2)],
    )


def _candle(x: float, wide: float, bar: Sequence[float]) -> str:
    """A candle as a path: the wick above the body, the body, the wick below."""
    opened, high, low, close = bar
    top, bottom = min(opened, close), max(opened, close)
    left, right, middle = round(x + wide * 0.15, 1), round(x + wide * 0.85, 1), round(x + wide / 2, 1)
    return f"M{middle} {high}V{top}M{left} {top}H{right}V{bottom}H{left}ZM{middle} {bottom}V{low}"


def _path(places: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in places)


def round_values(low: float, high: float, most: int = 5) -> list[tuple[float, float]]:
    """Round numbers between two values, each with the step between them."""
    rough = (high - low) / most
    if not rough > 0:
        return []
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * part for part in (1, 2, 2.5, 5, 10) if power * part >= rough * 0.999)
    return [(k * step, step) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def number(value: float, step: float) -> str:
    """A round value with as many decimals as its step needs."""
    decimals = next((d for d in range(12) if abs(step * 10**d - round(step * 10**d)) < 1e-6), 12)
    return ratio(value, decimals)


def time_marks(first_ms: int, last_ms: int, most: int = _MOST_MARKS) -> list[tuple[int, str]]:
    """Round moments between two, with how they are written."""
    for step_ms, form in _STEPS:
        if (last_ms - first_ms) // step_ms <= most:
            marks = range(-(-first_ms // step_ms) * step_ms, last_ms + 1, step_ms)
            return [(ms, utc(ms).strftime(form)) for ms in marks]
    begun, ended = utc(first_ms), utc(last_ms)
    months = range(begun.year * 12 + begun.month, ended.year * 12 + ended.month)
    every = next(step for step in (1, 2, 3, 6, 12, 24, 60, 120, 1_200) if len(months) // step <= most)
    firsts = (datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in months if month % every == 0)
    return [(int(first.timestamp()) * 1000, first.strftime("%Y-%m")) for first in firsts]
