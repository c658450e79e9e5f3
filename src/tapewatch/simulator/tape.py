"""One symbol's past and present: closed candles of every interval, the running one, and the last 24 hours."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec
import numpy as np

from tapewatch.archive import resample
from tapewatch.archive.candles import VALUES, Candles
from tapewatch.model import DAY_MS
from tapewatch.simulator.decimals import places

#: Shares of a bar's time at which its state changes before it closes, and how much volume it has then.
_STEPS = (0.04, 0.28, 0.55, 0.80)
_SHARES = (0.0, 0.15, 0.4, 0.65, 0.9)
#: Up to this share of a bar's time the steps are shifted, so that not all symbols move at once.
_JITTER = 0.02


class Kline(msgspec.Struct, frozen=True, gc=False):
    """One candle as served: whole trades, trade ids (-1 without trades), all volumes known."""

    open_ms: int
    interval_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    taker_buy: float
    trades: int
    first_id: int

    @property
    def last_id(self) -> int:
        """The id of the last trade."""
        return self.first_id + self.trades - 1 if self.trades else -1

    @property
    def taker_quote(self) -> float:
        """The quote volume of taker buys, at the bar's average price."""
        return self.quote_volume * self.taker_buy / self.volume if self.volume else 0.0


class Day(msgspec.Struct, frozen=True, gc=False):
    """The last 24 hours as one candle, and the close before them; prices are 0 for a symbol that never traded."""

    before: float
    span: Kline


class Stretch(NamedTuple):
    """From and to when a market is out of the ordinary, and by how much."""

    from_ms: int
    to_ms: float
    factor: float


class Tape:
    """Serves one symbol's candles as they are known at a time.

    Attributes:
        spreads: when its ask is `factor` ticks above the bid, where it is not one.
        depths: when its order book holds `factor` times what it would.

    Args:
        candles: its smallest interval. Quote and taker volume that the source lacks become volume x close and half the
            volume; a trade count that it lacks becomes one where there was volume.
        decimals: of its prices and quantities; by default as many as the last candles have.
    """

    def __init__(self, candles: Candles, decimals: tuple[int, int] | None = None) -> None:
        self.spreads: Sequence[Stretch] = ()
        self.depths: Sequence[Stretch] = ()
        price_places, quantity_places = decimals or decimals_of(candles)
        self._load(_filled(candles), price_places, quantity_places, 1, 0.0)

    def part(self, from_ms: int, to_ms: int) -> Tape:
        """The tape of the candles that open in [from_ms, to_ms) alone, with nothing else about them changed."""
        candles = self.base.slice(from_ms, to_ms)
        columns = {name: getattr(candles, name).copy() for name in VALUES}
        first = int(np.searchsorted(self.base.open_ms, from_ms))
        tape = Tape.__new__(Tape)
        tape.spreads, tape.depths = self.spreads, self.depths
        tape._load(  # noqa: SLF001 - its own kind
            replace(candles, open_ms=candles.open_ms.copy(), **columns),
            self.price_places,
            self.quantity_places,
            int(self._ids[first]),
            float(self.base.close[first - 1]) if first else self._before,
        )
        return tape

    def _load(self, base: Candles, price_places: int, quantity_places: int, first_id: int, before: float) -> None:
        self._before = before
        self.base, self.price_places, self.quantity_places = base, price_places, quantity_places
        self.salt = zlib.crc32(base.symbol.encode())
        self._ids = np.r_[first_id, first_id + np.cumsum(base.trades, dtype=np.int64)]
        flows = (base.volume, base.quote_volume, base.taker_buy)
        self._flows = np.array([np.r_[0.0, np.cumsum(column)] for column in flows]).T.copy()
        self._series: dict[tuple[int, int], Candles] = {(base.interval_ms, 0): base}
        jitter = self.salt % 1000 / 1000 * _JITTER
        self._steps_ms = [int((share + jitter) * base.interval_ms) for share in _STEPS]

    def serves(self, interval_ms: int) -> bool:
        """Whether candles of this interval can be had."""
        return interval_ms % self.base.interval_ms == 0

    def series(self, interval_ms: int, offset_ms: int = 0) -> Candles:
        """All candles of an interval, whenever they close; days begin at `-offset_ms` past midnight UTC."""
        key = (interval_ms, offset_ms)
        if key not in self._series:
            shifted = replace(self.base, open_ms=self.base.open_ms + offset_ms)
            built = resample.build(shifted, interval_ms)
            self._series[key] = replace(built, open_ms=built.open_ms - offset_ms)
        return self._series[key]

    def steps(self, open_ms: int, count: int) -> list[int]:
        """Times within the base bar that opens at `open_ms` at which up to `count` of its states are pushed."""
        chosen = {0: (), 1: (2,), 2: (1, 3)}.get(count, (0, 1, 2, 3))
        row = self._row(open_ms)
        return [open_ms + self._steps_ms[step] for step in chosen] if row is not None and self._traded(row) else []

    def closed(self, interval_ms: int, offset_ms: int, close_ms: int) -> Kline | None:
        """The candle that closes at `close_ms`, None where there is none."""
        if not self.serves(interval_ms):
            return None
        candles = self.series(interval_ms, offset_ms)
        opens = candles.open_ms
        row = int(opens.searchsorted(close_ms - interval_ms))
        if row == len(opens) or opens[row] != close_ms - interval_ms:
            return None
        return self._one(candles, row)

    def known(self, candles: Candles, now_ms: int) -> int:
        """How many of the candles are closed at `now_ms`."""
        return int(candles.open_ms.searchsorted(now_ms - candles.interval_ms, "right"))

    def rows(self, candles: Candles, first: int, end: int) -> list[Kline]:
        """The candles [first, end) of one of this tape's series."""
        part = slice(first, end)
        ids = self._ids[np.searchsorted(self.base.open_ms, candles.open_ms[part])].tolist()
        columns = (candles.open, candles.high, candles.low, candles.close, candles.volume, candles.quote_volume)
        prices = zip(*(column[part].tolist() for column in (*columns, candles.taker_buy)), strict=True)
        trades = candles.trades[part].astype(np.int64).tolist()
        return [
            Kline(open_ms, candles.interval_ms, a, b, c, d, e, f, g, traded, first_id if traded else -1)
            for open_ms, (a, b, c, d, e, f, g), traded, first_id in zip(
                candles.open_ms[part].tolist(), prices, trades, ids, strict=True
            )
        ]

    def _one(self, candles: Candles, row: int) -> Kline:
        open_ms, trades = int(candles.open_ms[row]), int(candles.trades[row])
        first = row if candles is self.base else int(self.base.open_ms.searchsorted(open_ms))
        return Kline(
            open_ms,
            candles.interval_ms,
            float(candles.open[row]),
            float(candles.high[row]),
            float(candles.low[row]),
            float(candles.close[row]),
            float(candles.volume[row]),
            float(candles.quote_volume[row]),
            float(candles.taker_buy[row]),
            trades,
            int(self._ids[first]) if trades else -1,
        )

    def running(self, interval_ms: int, offset_ms: int, now_ms: int) -> Kline | None:
        """The candle that has begun and not closed at `now_ms`; None in a hole."""
        bucket_ms = (now_ms + offset_ms) // interval_ms * interval_ms - offset_ms
        return self._since(bucket_ms, interval_ms, now_ms)

    def day(self, now_ms: int) -> Day:
        """The 24 hours up to `now_ms`."""
        first = int(self.base.open_ms.searchsorted(now_ms - DAY_MS))
        before = float(self.base.close[first - 1]) if first else self._before
        span = self._since(now_ms - DAY_MS, DAY_MS, now_ms)
        if span is None:
            return Day(before, Kline(now_ms - DAY_MS, DAY_MS, before, before, before, before, 0.0, 0.0, 0.0, 0, -1))
        return Day(before or span.open, span)

    def quote(self, now_ms: int) -> tuple[float, float, float, float]:
        """Best bid, its quantity, best ask, its quantity; zeros for a symbol that never traded."""
        last = self._last(now_ms)
        if not last:
            return (0.0, 0.0, 0.0, 0.0)
        tick, unit = 10.0**-self.price_places, 10.0**-self.quantity_places
        state = self.salt + now_ms // 1000
        depth = self.depth_factor(now_ms)
        bid_units, ask_units = (max(1, round(depth * (1 + state * by % 997))) for by in (7919, 104_729))
        ask = round(last + max(1, round(_factor(self.spreads, now_ms))) * tick, self.price_places)
        return last, round(bid_units * unit, self.quantity_places), ask, round(ask_units * unit, self.quantity_places)

    def depth_factor(self, now_ms: int) -> float:
        """What the quantities of its order book are multiplied by."""
        return _factor(self.depths, now_ms)

    def _last(self, now_ms: int) -> float:
        """The last price, 0 for a symbol that never traded."""
        begun = self._begun(now_ms)
        if begun is not None:
            return begun.close
        end = self.known(self.base, now_ms)
        return float(self.base.close[end - 1]) if end else self._before

    def _since(self, from_ms: int, interval_ms: int, now_ms: int) -> Kline | None:
        """One candle of all that happened from `from_ms` to `now_ms`, None when nothing did."""
        base = self.base
        first = int(base.open_ms.searchsorted(from_ms))
        end = max(first, self.known(base, now_ms))
        begun = self._begun(now_ms)
        if first == end:
            return None if begun is None else msgspec.structs.replace(begun, open_ms=from_ms, interval_ms=interval_ms)
        high, low = float(base.high[first:end].max()), float(base.low[first:end].min())
        volume, quote_volume, taker_buy = (self._flows[end] - self._flows[first]).tolist()
        trades = int(self._ids[end] - self._ids[first])
        close = float(base.close[end - 1])
        if begun is not None:
            high, low, close = max(high, begun.high), min(low, begun.low), begun.close
            volume, quote_volume = volume + begun.volume, quote_volume + begun.quote_volume
            taker_buy, trades = taker_buy + begun.taker_buy, trades + begun.trades
        return Kline(
            from_ms,
            interval_ms,
            float(base.open[first]),
            high,
            low,
            close,
            round(volume, 8),
            round(quote_volume, 8),
            round(taker_buy, 8),
            trades,
            int(self._ids[first]) if trades else -1,
        )

    def _row(self, open_ms: int) -> int | None:
        row = int(self.base.open_ms.searchsorted(open_ms))
        return row if row < len(self.base.open_ms) and self.base.open_ms[row] == open_ms else None

    def _traded(self, row: int) -> bool:
        return bool(self.base.volume[row] > 0)

    def _begun(self, now_ms: int) -> Kline | None:
        """The base candle as far as it has come: its open, then one extreme, then the other, then near its close."""
        open_ms = now_ms - now_ms % self.base.interval_ms
        row = self._row(open_ms)
        if row is None:
            return None
        whole = self._one(self.base, row)
        step = sum(open_ms + step_ms <= now_ms for step_ms in self._steps_ms)
        first, second = (whole.low, whole.high) if whole.close >= whole.open else (whole.high, whole.low)
        path = (whole.open, whole.open, first, second, whole.close)[: step + 1]
        share = _SHARES[step]
        return msgspec.structs.replace(
            whole,
            high=max(path),
            low=min(path),
            close=path[-1],
            volume=_part(whole.volume, share),
            quote_volume=_part(whole.quote_volume, share),
            taker_buy=_part(whole.taker_buy, share),
            trades=math.ceil(whole.trades * share),
            first_id=whole.first_id if share else -1,
        )


def decimals_of(candles: Candles) -> tuple[int, int]:
    """How many decimals the latest prices and volumes have."""
    return places(candles.close[-500:].tolist()), places(candles.volume[-500:].tolist())


def _factor(stretches: Sequence[Stretch], now_ms: int) -> float:
    """The factor of the first one that is on, 1 where none is."""
    return next((one.factor for one in stretches if one.from_ms <= now_ms < one.to_ms), 1.0)


def _filled(candles: Candles) -> Candles:
    volume = candles.volume
    traded = np.where(np.isnan(candles.trades), volume > 0, candles.trades)
    return replace(
        candles,
        quote_volume=np.where(np.isnan(candles.quote_volume), volume * candles.close, candles.quote_volume),
        taker_buy=np.where(np.isnan(candles.taker_buy), volume / 2, candles.taker_buy),
        trades=np.where(volume > 0, np.maximum(traded, 1), 0.0),
    )


def _part(value: float, share: float) -> float:
    return math.floor(value * share * 1e8) / 1e8
