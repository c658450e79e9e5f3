"""Planting a strategy's setups into a synthetic market: a seeded search until the engine itself finds exactly them.

Nothing here knows what a strategy looks at. Candidate paths (a drift, a pullback, a pop with a burst of volume) are put
into the candles and the engine is asked; a path is taken when the engine fires on the named bars and on no other of the
window around them, and the gate says of each what the script means.
"""

from __future__ import annotations

import copy
import itertools
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from tapewatch import strategies
from tapewatch.archive import resample
from tapewatch.archive.candles import Floats
from tapewatch.engine import Engine, windows_of
from tapewatch.errors import SetupError
from tapewatch.model import MINUTE_MS, BarClosed, History, Judged, Side, State
from tapewatch.outcomes import OutcomeSettings
from tapewatch.simulator.grid import VENUE, Grid
from tapewatch.simulator.script import Plant, PlantScript
from tapewatch.strategy import Strategy

#: Bars before a planted one that belong to it, and after the last of its bars.
BEFORE, AFTER = 60, 20
_ATTEMPTS = 5000
_LEG_ATTEMPTS = 40
_CHUNK = 60
_DAMPINGS = 60


@dataclass(frozen=True, order=True)
class Planted:
    """One planted candidate, and what the gate will say of it."""

    close_ms: int
    symbol: str
    strategy: str
    side: Side
    state: State


class Planter:
    """Carries out a planting script.

    Args:
        script: what to plant.
        watched: strategies that the window of each plant must be free of, and with `quiet` the whole market; when not
            given those that the script names, or scalp when it names none.

    Raises:
        SetupError: the script names a strategy that is not there.
    """

    def __init__(self, script: PlantScript, watched: Iterable[Strategy] | None = None) -> None:
        self._script = script
        if watched is None:
            names = {plant.strategy for plant in script.plants} or {"scalp"}
            watched = [strategies.load(name) for name in sorted(names)]
        self._strategies = {strategy.name: strategy for strategy in watched}
        for plant in script.plants:
            if plant.strategy not in self._strategies:
                raise SetupError(f"cannot plant {_named(plant)}: the strategies are {' '.join(self._strategies)}")
        self.planted: list[Planted] = []

    def changed(self, symbols: Sequence[str], start_ms: int, last_ms: int) -> list[str]:
        """The symbols whose candles planting changes.

        Raises:
            SetupError: the script names a symbol or a time that is not in the market.
        """
        for plant in self._script.plants:
            if plant.symbol not in symbols:
                raise SetupError(f"cannot plant in {plant.symbol}: it is not among the market's symbols")
            if not start_ms < plant.at <= last_ms - AFTER * MINUTE_MS:
                raise SetupError(f"cannot plant {_named(plant)}: the time is not between the market's start and end")
        named = {plant.symbol for plant in self._script.plants}
        return [symbol for symbol in symbols if self._script.quiet or symbol in named]

    def plant(self, grid: Grid, start_ms: int, seed: int) -> None:
        """Put the script's setups for one symbol into its candles; with `quiet`, leave no other from the start on.

        Raises:
            SetupError: no path was found, or two setups are too close.
        """
        plants = sorted((p for p in self._script.plants if p.symbol == grid.listing.symbol), key=lambda plant: plant.at)
        if not plants and not self._script.quiet:
            return
        windows = [(plant, *_window(plant, grid)) for plant in plants]
        for (plant, _, end), (later, first, _) in itertools.pairwise(windows):
            if first < end:
                raise SetupError(f"cannot plant {_named(later)}: it is too close to {_named(plant)}")
        if not self._script.quiet:
            for plant, first, end in windows:
                self._search(grid, self._engine(grid, first), plant, first, end, seed)
            return
        row = min([grid.row(start_ms), *(first for _, first, _ in windows)])
        engine = self._engine(grid, row)
        for plant, first, end in windows:
            engine = self._hush(grid, engine, row, first)
            engine = self._search(grid, engine, plant, first, end, seed)
            row = end
        self._hush(grid, engine, row, len(grid.open_ms))

    def _engine(self, grid: Grid, row: int) -> Engine:
        """An engine that has seen the windows before `row`, as a run that starts there would have fetched them."""
        engine = Engine(VENUE, self._strategies.values(), outcomes=OutcomeSettings())
        windows = windows_of(self._strategies.values())
        longest_ms = max(windows, default=MINUTE_MS)
        base_ms = int(grid.open_ms[row]) - windows.get(MINUTE_MS, 0) * MINUTE_MS
        base_ms = max(int(grid.open_ms[0]), base_ms - base_ms % longest_ms)
        candles = grid.candles().slice(to_ms=base_ms)
        larger = [
            bar
            for length, count in windows.items()
            if length > MINUTE_MS
            for bar in list(resample.build(candles, length).bars())[-count:]
        ]
        for bar in sorted(larger, key=lambda bar: (bar.close_ms, -bar.interval_ms)):
            engine.process(History(bar))
        for bar in grid.bars(max(0, grid.row(base_ms)), row):
            engine.process(History(bar))
        return engine

    def _hush(self, grid: Grid, engine: Engine, first: int, end: int) -> Engine:
        """The engine after rows [first, end), in which the volume of every bar that fired was damped until none did."""
        for start in range(first, end, _CHUNK):
            engine = self._hush_chunk(grid, engine, start, min(start + _CHUNK, end))
        return engine

    def _hush_chunk(self, grid: Grid, engine: Engine, first: int, end: int) -> Engine:
        for _ in range(_DAMPINGS):
            trial = copy.deepcopy(engine)
            fired = _fired(trial, grid, first, end)
            if not fired:
                return trial
            signal = fired[0].signal
            for row in range(max(first, grid.row(signal.open_ms)), grid.row(signal.close_ms)):
                grid.set_volume(row, float(np.ceil(grid.steps[row] / 2)))
        raise SetupError(
            f"{grid.listing.symbol} cannot be kept quiet: {signal.strategy} fires at {_iso(signal.close_ms)} "
            "whatever the volume"
        )

    def _search(self, grid: Grid, engine: Engine, plant: Plant, first: int, end: int, seed: int) -> Engine:
        """Change rows [first, end) until exactly the plant fires there; returns the engine after them."""
        rng = np.random.default_rng([seed, zlib.crc32(f"{plant.symbol} {plant.at}".encode())])
        level = float(grid.close[end - 1])
        legs = _legs(plant, first, grid.row(plant.at) - 1, end, self._strategies[plant.strategy].duplicate.window_ms)
        found = _grow(grid, engine, _Search(plant, rng, float(grid.steps[first - 20 : first].mean())), legs)
        if found is None:
            raise SetupError(f"cannot plant {_named(plant)}: no path found in {legs[0].attempts:,} attempts")
        after, closes = found
        self.planted += [
            Planted(close_ms, plant.symbol, plant.strategy, plant.side, leg.state)
            for close_ms, leg in zip(closes, legs, strict=False)
            if leg.state is not None
        ]
        grid.rescale(end, float(grid.close[end - 1]) / level)
        return after


@dataclass(frozen=True)
class _Leg:
    """Rows [first, end) of which the last must fire, with the verdict `state`; None where nothing may fire."""

    kind: Literal["opening", "repeat", "again", "rest"]
    first: int
    end: int
    state: State | None
    attempts: int


@dataclass
class _Search:
    """What a search carries from leg to leg: one unit of movement, the usual volume, the first bar's close."""

    plant: Plant
    rng: np.random.Generator
    usual_steps: float
    unit: float = 0.0
    entry: float = 0.0


def _window(plant: Plant, grid: Grid) -> tuple[int, int]:
    """The rows that belong to a plant, [first, end)."""
    row = grid.row(plant.at) - 1
    return row - BEFORE, row + max((plant.repeat_after or 0) // MINUTE_MS + 1, 4) + AFTER


def _legs(plant: Plant, first: int, row: int, end: int, window_ms: int) -> list[_Leg]:
    legs = [_Leg("opening", first, row + 1, "passed", _ATTEMPTS)]
    if plant.repeat_after is not None:
        state: State = "blocked" if plant.repeat_after < window_ms else "passed"
        legs.append(_Leg("repeat", row + 1, row + 1 + plant.repeat_after // MINUTE_MS, state, _LEG_ATTEMPTS))
    if plant.again_after_move is not None:  # at once after a repeat, so that it is still within the window
        last = legs[-1].end
        legs.append(_Leg("again", last, last + (1 if len(legs) > 1 else 3), "passed", _LEG_ATTEMPTS))
    return [*legs, _Leg("rest", legs[-1].end, end, None, _LEG_ATTEMPTS)]


def _grow(grid: Grid, engine: Engine, search: _Search, legs: Sequence[_Leg]) -> tuple[Engine, list[int]] | None:
    """The engine after all legs and the closes of the bars that fired, None when no path was found."""
    leg, plant = legs[0], search.plant
    wanted = [] if leg.state is None else [(plant.strategy, plant.side, "1m", leg.end - 1, leg.state)]
    for _ in range(leg.attempts):
        _draw(grid, search, leg)
        trial = copy.deepcopy(engine)
        judged = _fired(trial, grid, leg.first, leg.end)
        found = [
            (j.signal.strategy, j.signal.side, j.signal.timeframe, grid.row(j.signal.open_ms), j.state) for j in judged
        ]
        if found != wanted:
            continue
        closes = [j.signal.close_ms for j in judged]
        if len(legs) == 1:
            return trial, closes
        if leg.kind == "opening":
            search.entry = float(grid.close[leg.end - 1])
        further = _grow(grid, trial, search, legs[1:])
        if further is not None:
            return further[0], closes + further[1]
    return None


def _draw(grid: Grid, search: _Search, leg: _Leg) -> None:
    """Put one random path into the rows of a leg."""
    rng, size = search.rng, leg.end - leg.first
    sign = 1 if search.plant.side == "long" else -1
    before = float(grid.close[leg.first - 1])
    moves = rng.normal(0.0, 0.15, size)
    if leg.kind == "opening":
        search.unit = max(grid.listing.volatility, 2 / before) * float(rng.choice([1.0, 2.0, 3.0]))
        _opening(moves, rng)
    elif leg.kind != "rest":
        moves[:-1] -= rng.uniform(0.5, 3.0)
        moves[-1] += rng.uniform(0.0, 5.0)
    else:
        moves *= 0.5
    if leg.kind == "again":
        moved = (search.plant.again_after_move or 0.0) + rng.uniform(0.0003, 0.002)
        level = np.log(search.entry / before) * sign / search.unit
        moves[-1] = level + np.log1p(moved) / search.unit - moves[:-1].sum()
    close = np.maximum(np.rint(before * np.exp(np.cumsum(moves) * search.unit * sign)), 1.0)
    opened = np.r_[before, close[:-1]]
    reach = np.floor(np.abs(rng.normal(0.0, 0.2, (2, size))) * search.unit * close)
    part = slice(leg.first, leg.end)
    grid.open[part], grid.close[part] = opened, close
    grid.high[part] = np.maximum(opened, close) + reach[0]
    grid.low[part] = np.maximum(np.minimum(opened, close) - reach[1], 1.0)
    grid.average[part] = np.rint((grid.high[part] + grid.low[part]) / 2)
    steps = max(20.0, search.usual_steps) * rng.uniform(0.8, 1.2, size)
    if leg.state is not None:
        steps[-1] *= rng.uniform(2.0, 8.0)
    grid.steps[part] = np.rint(steps)
    grid.taken[part] = np.floor(grid.steps[part] * rng.uniform(0.42, 0.58, size))


def _opening(moves: Floats, rng: np.random.Generator) -> None:
    """A drift, a pullback, and a pop at the end."""
    back, pop = int(rng.integers(3, 16)), int(rng.integers(1, 4))
    turn = len(moves) - pop - back
    moves[:turn] += rng.uniform(5.0, 30.0) / turn
    moves[turn : turn + back] -= rng.uniform(2.5, 9.0) / back
    moves[turn + back :] += rng.uniform(1.0, 6.0) / pop


def _fired(engine: Engine, grid: Grid, first: int, end: int) -> list[Judged]:
    """Every candidate as the engine takes rows [first, end)."""
    return [
        effect
        for bar in grid.bars(first, end)
        for effect in engine.process(BarClosed(bar, bar.close_ms))
        if isinstance(effect, Judged)
    ]


def _named(plant: Plant) -> str:
    return f"{plant.strategy} {plant.side} on {plant.symbol} at {_iso(plant.at)}"


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")
