"""A picture of an alert: its candles with entry, stop and targets. Needs the extra `chart` (Pillow)."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from tapewatch.channels.labels import percent, plain, rounded
from tapewatch.channels.view import Candle
from tapewatch.model import INTERVALS_MS, MINUTE_MS, Signal

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

#: With fewer there is nothing to see.
FEWEST = 5
WIDTH, HEIGHT = 800, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 96, 172, 52, 34
#: Free room behind the last candle, where the levels are, as a part of the width.
_AHEAD = 0.12
_INK, _SOFT, _GRID, _PAPER = "#1b1f24", "#57606a", "#e3e6ea", "#ffffff"
#: Told apart by those who do not see red and green apart (Okabe and Ito's palette), and their tints.
_SIDES = {"long": "#0072b2", "short": "#d55e00"}
_GAIN, _GAIN_TINT, _LOSS, _LOSS_TINT = "#007a5a", "#dff1ea", "#b3004f", "#fae3ec"


class _Level(NamedTuple):
    price: float
    label: str
    color: str
    dashed: bool


def available() -> bool:
    """Whether pictures can be drawn here."""
    return find_spec("PIL") is not None


def chart_png(signal: Signal, candles: Sequence[Candle], zone: tzinfo) -> bytes | None:
    """A PNG of `WIDTH` by `HEIGHT` pixels; None where there are too few candles or a price that cannot be drawn.

    Args:
        signal: whose levels are drawn.
        candles: open, high, low and close up to its bar, the last one.
        zone: in which times are shown.
    """
    from PIL import Image, ImageDraw

    levels = [level for level in _levels(signal) if math.isfinite(level.price)]
    prices = [price for candle in candles for price in candle] + [level.price for level in levels]
    if len(candles) < FEWEST or not all(map(math.isfinite, prices)) or max(prices) <= min(prices):
        return None
    image = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
    plot = _Plot(ImageDraw.Draw(image), candles, prices)
    plot.grid()
    plot.times(signal, zone)
    plot.zones(signal, levels)
    plot.candles(candles)
    plot.levels(levels)
    plot.title(signal, zone)
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def _levels(signal: Signal) -> Iterator[_Level]:
    direction = 1 if signal.side == "long" else -1
    for place, target in enumerate(signal.targets, 1):
        name = f"Target {place}" if len(signal.targets) > 1 else "Target"
        gain = percent(direction * (target.price / signal.entry - 1) * 100)
        yield _Level(target.price, f"{name} {gain}", _GAIN, dashed=True)
    yield _Level(signal.entry, "Entry", _INK, dashed=False)
    yield _Level(signal.stop, f"Stop {percent(-signal.stop_distance_pct)}", _LOSS, dashed=True)


class _Plot:
    """Where prices and candles are on the picture."""

    def __init__(self, draw: ImageDraw, candles: Sequence[Candle], prices: Sequence[float]) -> None:
        self._draw = draw
        self._low, self._high = min(prices), max(prices)
        margin = (self._high - self._low) * 0.04
        self._low, self._high = self._low - margin, self._high + margin
        self._count = len(candles)
        self._end = WIDTH - _RIGHT
        self._step = (self._end - _LEFT) * (1 - _AHEAD) / len(candles)

    def y(self, price: float) -> int:
        """The row of a price."""
        share = (price - self._low) / (self._high - self._low)
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM))

    def x(self, place: int) -> int:
        """The column of a candle's middle."""
        return round(_LEFT + (place + 0.5) * self._step)

    def grid(self) -> None:
        """Lines at round prices, with the prices."""
        for price in _ticks(self._low, self._high):
            row = self.y(price)
            self._draw.line([(_LEFT, row), (self._end, row)], fill=_GRID)
            self._text((_LEFT - 8, row), rounded(float(f"{price:.6g}")), _SOFT, "rm")

    def times(self, signal: Signal, zone: tzinfo) -> None:
        """The times at which some of the candles closed."""
        interval_ms = INTERVALS_MS.get(signal.timeframe, MINUTE_MS)
        every = max(1, round(120 / self._step))
        for place in range(self._count - 1, -1, -every):
            close = datetime.fromtimestamp((signal.close_ms - (self._count - 1 - place) * interval_ms) / 1000, UTC)
            column = self.x(place)
            if column < _LEFT + 26:
                break
            said = f"{close.astimezone(zone):%d %b}" if interval_ms >= 86_400_000 else f"{close.astimezone(zone):%H:%M}"
            self._draw.line([(column, HEIGHT - _BOTTOM), (column, HEIGHT - _BOTTOM + 4)], fill=_SOFT)
            self._text((column, HEIGHT - _BOTTOM + 7), said, _SOFT, "mt")
        self._draw.line([(_LEFT, HEIGHT - _BOTTOM), (self._end, HEIGHT - _BOTTOM)], fill=_SOFT)

    def zones(self, signal: Signal, levels: Sequence[_Level]) -> None:
        """What can be won and lost, behind the last candle."""
        begin = self.x(self._count - 1)
        for level in levels:
            if level.label.startswith("Entry"):
                continue
            rows = sorted((self.y(signal.entry), self.y(level.price)))
            tint = _LOSS_TINT if level.color == _LOSS else _GAIN_TINT
            self._draw.rectangle([(begin, rows[0]), (self._end, rows[1])], fill=tint)

    def candles(self, candles: Sequence[Candle]) -> None:
        """Hollow where the close is above the open, filled where it is not."""
        half = max(1, int(self._step * 0.34))
        for place, (opened, high, low, close) in enumerate(candles):
            column = self.x(place)
            self._draw.line([(column, self.y(high)), (column, self.y(low))], fill=_INK)
            top, bottom = sorted((self.y(opened), self.y(close)))
            body = [(column - half, top), (column + half, max(bottom, top + 1))]
            self._draw.rectangle(body, fill=_PAPER if close > opened else _INK, outline=_INK)

    def levels(self, levels: Sequence[_Level]) -> None:
        """Each as a line to the right edge, with its name and price; names that would overlap move apart."""
        rows = _apart([self.y(level.price) for level in sorted(levels, key=lambda level: -level.price)])
        begin = self.x(self._count - 1)
        for level, row in zip(sorted(levels, key=lambda level: -level.price), rows, strict=True):
            at = self.y(level.price)
            self._line(begin, at, level)
            self._draw.line([(self._end, at), (self._end + 8, row)], fill=level.color)
            self._text((self._end + 12, row - 9), level.label, level.color, "lm")
            self._text((self._end + 12, row + 9), rounded(float(f"{level.price:.6g}")), _INK, "lm")

    def _line(self, begin: int, row: int, level: _Level) -> None:
        if not level.dashed:
            self._draw.line([(begin, row), (self._end, row)], fill=level.color, width=2)
            return
        for column in range(begin, self._end, 9):
            self._draw.line([(column, row), (min(column + 5, self._end), row)], fill=level.color, width=2)

    def title(self, signal: Signal, zone: tzinfo) -> None:
        """Side, symbol, timeframe and strategy, and when the bar closed."""
        side = signal.side.upper()
        self._draw.rectangle([(12, 13), (19, 37)], fill=_SIDES[signal.side])
        self._text((28, 25), side, _SIDES[signal.side], "lm", 24)
        column = 28 + self._width(f"{side}  ", 24)
        named = f"{plain(signal.symbol)[:24]}  {plain(signal.timeframe)[:6]}"
        self._text((column, 25), named, _INK, "lm", 24)
        local = datetime.fromtimestamp(signal.close_ms / 1000, UTC).astimezone(zone)
        said = f"{plain(signal.strategy)[:16]}, {local:%d %b %H:%M %Z}"
        self._text((WIDTH - 12, 25), said, _SOFT, "rm")

    def _text(self, at: tuple[int, int], text: str, color: str, anchor: str, size: int = 17) -> None:
        self._draw.text(at, text, fill=color, anchor=anchor, font=_font(size))

    def _width(self, text: str, size: int) -> int:
        return round(self._draw.textlength(text, font=_font(size)))


def _ticks(low: float, high: float) -> list[float]:
    """Some round prices between the two."""
    rough = (high - low) / 6
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def _apart(rows: Sequence[int], gap: int = 40) -> list[int]:
    """The rows, from the top, moved so that each is `gap` below the one before and all are on the picture."""
    moved: list[int] = []
    for row in rows:
        moved.append(max(row, moved[-1] + gap) if moved else max(row, _TOP + 16))
    over = moved[-1] - (HEIGHT - _BOTTOM - 16)
    if over > 0:
        moved[-1] -= over
        for place in range(len(moved) - 2, -1, -1):
            moved[place] = min(moved[place], moved[place + 1] - gap)
    return moved


@cache
def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont as Fonts

    return Fonts.load_default(size)
