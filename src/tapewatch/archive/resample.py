"""Larger candles from smaller ones, whole columns at a time: the same bits as bar by bar in `tapewatch.bars`."""

from __future__ import annotations

import numpy as np

from tapewatch.archive.candles import Candles, Floats, Times
from tapewatch.bars import ExactSum
from tapewatch.errors import SetupError

#: Volumes have 8 decimals; their sums are exact integers of 1e-8 below 2**53 and exact in two parts above.
_PARTS = 100_000_000
_EXACT_BELOW = 2**53


def build(candles: Candles, interval_ms: int) -> Candles:
    """The candles of `interval_ms` that the given ones make up.

    A bucket with holes is built from what exists and one without candles gives none. The first is left out when the
    data starts inside it, the last when the data stops before its end.

    Raises:
        SetupError: the interval is not a multiple of the candles' own.
    """
    if interval_ms == candles.interval_ms:
        return candles
    if interval_ms % candles.interval_ms:
        raise SetupError(f"candles of {interval_ms} ms cannot be built from candles of {candles.interval_ms} ms")
    if not len(candles):
        return _columns(candles, interval_ms, candles.open_ms, np.zeros(0, np.int64), np.zeros(0, np.int64))
    buckets = candles.open_ms - candles.open_ms % interval_ms
    starts = np.flatnonzero(np.r_[True, buckets[1:] != buckets[:-1]])
    ends = np.r_[starts[1:], len(candles)]
    if candles.open_ms[0] != buckets[0]:
        starts, ends = starts[1:], ends[1:]
    if len(ends) and candles.open_ms[-1] + candles.interval_ms < buckets[-1] + interval_ms:
        starts, ends = starts[:-1], ends[:-1]
    return _columns(candles, interval_ms, buckets[starts], starts, ends)


def _columns(candles: Candles, interval_ms: int, open_ms: Times, starts: Times, ends: Times) -> Candles:
    last = int(ends[-1]) if len(ends) else 0
    return Candles(
        candles.venue,
        candles.symbol,
        interval_ms,
        open_ms,
        candles.open[starts],
        np.maximum.reduceat(candles.high[:last], starts) if last else candles.high[:0],
        np.minimum.reduceat(candles.low[:last], starts) if last else candles.low[:0],
        candles.close[ends - 1],
        _totals(candles.volume[:last], starts, ends),
        _totals(candles.quote_volume[:last], starts, ends),
        np.add.reduceat(candles.trades[:last], starts) if last else candles.trades[:0],
        _totals(candles.taker_buy[:last], starts, ends),
        candles.refused,
    )


def _totals(values: Floats, starts: Times, ends: Times) -> Floats:
    """The exact total of each bucket, rounded once; NaN where a value is unknown."""
    if not len(values):
        return values
    unknown = ~(values < np.inf)
    known = np.where(unknown, 0.0, values)
    if float(known.max()) * len(known) >= 2**62:  # whole units would not fit an int64
        return np.array([_total(values[a:b]) for a, b in zip(starts.tolist(), ends.tolist(), strict=True)])
    floor = np.floor(known)
    whole = np.add.reduceat(floor.astype(np.int64), starts)
    known -= floor
    known *= _PARTS
    parts = np.add.reduceat(np.rint(known, out=known).astype(np.int64), starts)
    whole += parts // _PARTS
    parts %= _PARTS
    exact = whole < _EXACT_BELOW // _PARTS  # so that whole * _PARTS + parts stays below 2**53
    edge = whole == _EXACT_BELOW // _PARTS
    exact |= edge & (parts < _EXACT_BELOW % _PARTS)
    scaled = np.where(exact, whole, 0) * _PARTS + parts
    totals = np.where(exact, scaled / _PARTS, whole + parts / _PARTS)
    return np.where(np.logical_or.reduceat(unknown, starts), np.nan, totals)


def _total(values: Floats) -> float:
    total = ExactSum()
    for value in values.tolist():
        total.add(value)
    return total.value()
