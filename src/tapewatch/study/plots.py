"""Drawings of a search's report: dots, bars and intervals, as places ready to be put into SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from tapewatch.study.charts import CARD_HEIGHT, CARD_WIDTH, FOOT, HEIGHT, WIDTH, Mark, Scale, number, round_values
from tapewatch.study.words import ratio

#: Dots in a drawing, at most; of more every so many are drawn, and always the best.
MOST_DOTS = 4_000
#: What is worse than all but so many of the values lies on the lower edge.
OUTLIERS = 0.05
#: Width and height of an interval, and the room of it on either side.
BAR_WIDTH, BAR_HEIGHT, BAR_ROOM = 220, 18, 6
#: Columns and rows of a map of two parameters: one for each value up to the first, else the second; and its shades.
MOST_CELLS, PARTS, SHADES = 12, 8, 4

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plot:
    """Dots or bars over a value; `dots` and `bars` are paths, and `chosen` is where the one lies that was chosen.

    `line` is a path beside them, or empty.
    """

    title: str
    text: str
    wide: int
    high: int
    dots: str
    bars: str
    line: str
    chosen: tuple[float, float] | None
    rows: Sequence[Mark]
    columns: Sequence[Mark]


@dataclass(frozen=True)
class Bar:
    """Where an interval lies, its value and nothing; `kind` is `up` or `down` where nothing is outside, else `open`."""

    start: float
    end: float
    at: float
    zero: float
    kind: str


def in_turn(title: str, text: str, values: Floats) -> Plot:
    """Values in the order in which they came, with a line of the best so far; NaN is not drawn, and one is known."""
    turns = np.arange(1.0, len(values) + 1.0)
    x, y = Scale(1.0, max(len(values), 2), 8, WIDTH - 8), _upwards(values, HEIGHT)
    known = np.flatnonzero(~np.isnan(values))
    best = list(accumulate(values[known].tolist(), max))
    steps = [0, *(k for k in range(1, len(best)) if best[k] > best[k - 1])]
    line = f"M{x(turns[known[0]])} {y(best[0])}" + "".join(f"H{x(turns[known[k]])}V{y(best[k])}" for k in steps)
    columns = [Mark(x(value), number(value, step)) for value, step in round_values(1.0, len(values)) if value >= 1.0]
    return Plot(
        title,
        text,
        WIDTH,
        HEIGHT,
        _dots(x, y, turns, values),
        "",
        f"{line}H{x(len(values))}",
        _place(x, y, turns, values),
        _levels(y),
        columns,
    )


def by_value(title: str, text: str, params: Floats, values: Floats) -> Plot:
    """Values over those of one parameter. At least one is known."""
    known = ~np.isnan(values)
    x, y = (
        Scale(float(params[known].min()), float(params[known].max()), 10, CARD_WIDTH - 10),
        _upwards(values, CARD_HEIGHT),
    )
    columns = [Mark(x(value), number(value, step)) for value, step in round_values(x.low, x.high, 4)]
    if not columns:
        columns = [Mark(x(x.low), ratio(x.low, 3))]
    dots, chosen = _dots(x, y, params, values), _place(x, y, params, values)
    return Plot(title, text, CARD_WIDTH, CARD_HEIGHT, dots, "", "", chosen, _levels(y), columns)


def histogram(title: str, text: str, edges: Sequence[float], counts: Sequence[int], own: float | None = None) -> Plot:
    """How many values lie between each two edges; `own` is a value beside them, marked by a line."""
    ends = [edges[0], edges[-1]] if own is None else [min(edges[0], own), max(edges[-1], own)]
    x, y = Scale(ends[0], ends[1], 8, CARD_WIDTH - 8), Scale(0, max(*counts, 1), CARD_HEIGHT - FOOT - 4, 10)
    bars = "".join(
        f"M{x(low)} {y(0)}V{y(n)}H{x(high)}V{y(0)}Z"
        for low, high, n in zip(edges, edges[1:], counts, strict=False)
        if n
    )
    line = "" if own is None else f"M{x(own)} {y(0)}V10"
    columns = [Mark(x(value), number(value, step)) for value, step in round_values(ends[0], ends[1], 4)]
    return Plot(title, text, CARD_WIDTH, CARD_HEIGHT, "", bars, line, None, [], columns)


def intervals(parts: Iterable[Mapping[str, float]]) -> list[Bar | None]:
    """Of each `{value, low, high}` a bar, on one scale with nothing in it; None where one is not known."""
    parts = list(parts)
    known = [part for part in parts if not any(math.isnan(part[name]) for name in ("value", "low", "high"))]
    if not known:
        return [None] * len(parts)
    low, high = min(0.0, *(part["low"] for part in known)), max(0.0, *(part["high"] for part in known))
    x = Scale(low, high, BAR_ROOM, BAR_WIDTH - BAR_ROOM)
    return [
        Bar(x(part["low"]), x(part["high"]), x(part["value"]), x(0.0), _kind(part["low"], part["high"]))
        if part in known
        else None
        for part in parts
    ]


def _kind(low: float, high: float) -> str:
    return "up" if low > 0.0 else "down" if high < 0.0 else "open"


def importance(params: Floats, values: Floats) -> Floats:
    """Of each column of parameters, the share of the values' variance that lies between its cells (eta squared).

    NaN among the values is left out; all are 0 where the rest does not vary.
    """
    known = ~np.isnan(values)
    left = values[known]
    whole = float(((left - left.mean()) ** 2).sum()) if len(left) else 0.0
    found = []
    for column in params[known].T:
        cells, _ = _cells(column)
        between = sum(
            float(mine.sum()) * (float(left[mine].mean()) - float(left.mean())) ** 2
            for mine in (cells == cell for cell in np.unique(cells))
        )
        found.append(between / whole if whole > 0.0 else 0.0)
    return np.array(found)


def heat(across: Floats, down: Floats, values: Floats) -> dict[str, Any]:
    """A map of two parameters: heads, and rows of cells with the mean of the values in each and its shade."""
    known = ~np.isnan(values)
    (column, heads), (row, names) = _cells(across[known]), _cells(down[known])
    left = values[known]
    cells: list[list[dict[str, Any] | None]] = []
    for r in range(len(names)):
        inside = [left[(row == r) & (column == c)] for c in range(len(heads))]
        cells.append([{"value": float(of.mean()), "sets": len(of)} if len(of) else None for of in inside])
    shown = [cell for line in cells for cell in line if cell]
    largest = max((abs(cell["value"]) for cell in shown), default=0.0)
    for cell in shown:
        cell["shade"] = round(cell["value"] / largest * SHADES) if largest > 0.0 else 0
        cell["text"] = ratio(cell["value"], 2, sign=True)
    return {"heads": heads, "rows": [{"name": name, "cells": line} for name, line in zip(names, cells, strict=True)]}


def _cells(values: Floats) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Of each value the number of its cell, and the cells' names: one for each value where there are few."""
    distinct = np.unique(values)
    if len(distinct) <= MOST_CELLS:
        return np.searchsorted(distinct, values), [f"{value:g}" for value in distinct.tolist()]
    edges = np.linspace(distinct[0], distinct[-1], PARTS + 1)
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, PARTS - 1)
    return place, [f"from {low:.3g}" for low in edges[:-1].tolist()]


def _upwards(values: Floats, high: int) -> Scale:
    """From the value that few are below to the largest."""
    known = values[~np.isnan(values)]
    low, top = float(np.quantile(known, OUTLIERS)), float(known.max())
    if low == top:
        low, top = low - max(abs(low) * 0.01, 1e-9), top + max(abs(top) * 0.01, 1e-9)
    return Scale(low, top, high - FOOT - 6, 14)


def _dots(x: Scale, y: Scale, across: Floats, values: Floats) -> str:
    known = np.flatnonzero(~np.isnan(values))
    drawn = known[:: -(-len(known) // MOST_DOTS)]
    places = zip(across[drawn].tolist(), np.maximum(values[drawn], y.low).tolist(), strict=True)
    return "".join(f"M{x(one)} {y(value)}h0" for one, value in places)


def _place(x: Scale, y: Scale, across: Floats, values: Floats) -> tuple[float, float]:
    best = int(np.nanargmax(values))
    return x(float(across[best])), y(float(values[best]))


def _levels(y: Scale) -> list[Mark]:
    return [Mark(y(value), number(value, step)) for value, step in round_values(y.low, y.high)]
