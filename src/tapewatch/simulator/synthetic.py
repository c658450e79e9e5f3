"""A market out of a seed: correlated moves, clusters of volatility, bursts of volume, symbols that hardly trade.

Prices are whole ticks and quantities whole steps, so every value is written exactly with few decimals. The same seed,
symbol and times give the same candles, whatever else is in the market.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence

import numpy as np

from tapewatch.archive.candles import Candles, Floats
from tapewatch.errors import SetupError
from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.simulator.grid import VENUE, Grid
from tapewatch.simulator.listings import Listing, listing
from tapewatch.simulator.plants import Planted, Planter

#: 1,080 hours: enough for the windows of hourly averages.
HISTORY_MS = 45 * DAY_MS
LIVE_MS = 7 * DAY_MS
#: Candles that are held, where the planter has not changed them: they can be made again.
_HELD = 64
#: Monday 2025-06-02 00:00 UTC.
START_MS = 1_748_822_400_000

_HOUR = 60


class SyntheticMarket:
    """Candles of 1m for any symbols.

    Args:
        seed: the same seed is the same market.
        symbols: any names in upper case; those of `listings.KNOWN` have the prices one expects.
        start_ms: where the history ends and the played part begins, on a minute.
        history_ms: how much comes before.
        live_ms: how much comes after.
        planter: plants setups into the candles.

    Raises:
        SetupError: a symbol is not upper case, as no stream would have it.
    """

    venue = VENUE

    def __init__(
        self,
        seed: int,
        symbols: Sequence[str],
        *,
        start_ms: int = START_MS,
        history_ms: int = HISTORY_MS,
        live_ms: int = LIVE_MS,
        planter: Planter | None = None,
    ) -> None:
        for symbol in symbols:
            if symbol != symbol.upper():
                raise SetupError(f"symbols are upper case, not {symbol!r}")
        self.seed, self.symbols, self.start_ms = seed, tuple(symbols), start_ms
        self.first_ms, self.last_ms = start_ms - history_ms, start_ms + live_ms
        self._planter = planter
        self.candles = functools.cache(self._candles) if planter else functools.lru_cache(_HELD)(self._candles)
        self._market = functools.cache(self._common_moves)

    def places(self, symbol: str) -> tuple[int, int]:
        """Decimals of a symbol's prices and quantities."""
        spec = listing(symbol)
        return spec.price_places, spec.quantity_places

    def plant(self) -> tuple[Planted, ...]:
        """Make all candles that the planter changes, now; returns what is planted, in order of time.

        Raises:
            SetupError: something cannot be planted.
        """
        if self._planter is None:
            return ()
        for symbol in self._planter.changed(self.symbols, self.start_ms, self.last_ms):
            self.candles(symbol)
        return tuple(sorted(self._planter.planted, key=lambda planted: (planted.close_ms, planted.symbol)))

    def _candles(self, symbol: str) -> Candles:
        grid = self._grid(symbol)
        if self._planter is not None:
            self._planter.plant(grid, self.start_ms, self.seed)
        return grid.candles()

    def _grid(self, symbol: str) -> Grid:
        spec = listing(symbol)
        rng = np.random.default_rng([self.seed, zlib.crc32(symbol.encode())])
        size = len(self._market())
        calm = _volatility(rng, size)
        own = rng.standard_normal(size) * calm
        moves = spec.volatility * (spec.beta * 0.7 * self._market() + 0.7 * own)
        traded = rng.random(size) < spec.activity
        moves[~traded] = 0.0
        path = np.exp(np.cumsum(moves))
        scale = 10**spec.price_places
        close = np.maximum(np.rint(spec.price * path / path[0] * scale), 1.0)
        opened = np.r_[close[0], close[:-1]]
        reach = np.floor(np.abs(rng.standard_normal((2, size))) * spec.volatility * calm * close * 0.5 * traded)
        high = np.maximum(opened, close) + reach[0]
        low = np.maximum(np.minimum(opened, close) - reach[1], 1.0)
        steps = _volume(rng, spec, moves, calm, close / scale) * traded
        taken = np.clip(rng.normal(np.where(opened < close, 0.56, 0.44), 0.06), 0.05, 0.95)
        average = np.rint(low + (high - low) * rng.uniform(0.3, 0.7, size))
        open_ms = self.first_ms + np.arange(size, dtype=np.int64) * MINUTE_MS
        return Grid(spec, open_ms, opened, high, low, close, average, steps, np.floor(steps * taken))

    def _common_moves(self) -> Floats:
        rng = np.random.default_rng([self.seed, 0])
        size = (self.last_ms - self.first_ms) // MINUTE_MS
        return rng.standard_normal(size) * _volatility(rng, size)


def _volatility(rng: np.random.Generator, size: int) -> Floats:
    """Deviation of each minute around one: hours that cluster, and a daily wave."""
    hours = size // _HOUR + 2
    level, levels = 0.0, np.empty(hours)
    for hour, shock in enumerate(rng.standard_normal(hours).tolist()):
        level = 0.93 * level + 0.2 * shock
        levels[hour] = level
    minutes = np.arange(size)
    wave = 0.25 * np.sin(2 * np.pi * (minutes / 1440 - 0.35))
    return np.asarray(np.exp(np.interp(minutes / _HOUR, np.arange(hours), levels) + wave - 0.15))


def _volume(rng: np.random.Generator, spec: Listing, moves: Floats, calm: Floats, price: Floats) -> Floats:
    """Volume in steps: more where the price moves, and now and then a burst."""
    stir = np.abs(moves) / (spec.volatility * calm)
    burst = np.where(rng.random(len(moves)) < 0.01, rng.uniform(2, 8, len(moves)), 1.0)
    quote = spec.quote_per_minute * calm * (0.5 + 0.6 * stir) * np.exp(0.35 * rng.standard_normal(len(moves))) * burst
    return np.asarray(np.maximum(np.rint(quote / price * 10**spec.quantity_places), 1.0))
