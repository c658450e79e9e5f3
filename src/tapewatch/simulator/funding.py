"""What perpetual futures pay: the archive's stored funding rates, otherwise rates made from the candles."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tapewatch.archive import funding
from tapewatch.simulator.market import ArchiveMarket, Market
from tapewatch.simulator.tape import Tape

INTERVAL_HOURS = 8
_INTERVAL_MS = INTERVAL_HOURS * 3_600_000
#: A rate made here: this much, and a hundredth of the last eight hours' change of price, within the cap.
BASE_RATE = 0.0001
CHANGE_SHARE = 0.01
CAP = 0.0075


@dataclass(frozen=True)
class Payment:
    """One funding payment; `mark_price` is 0 where it is not known."""

    time_ms: int
    rate: float
    mark_price: float
    interval_hours: int = INTERVAL_HOURS


class Payments:
    """The payments of a market's symbols.

    Args:
        market: an archive's stored rates are served as they are.
        tape: gives the tape of a symbol.
    """

    def __init__(self, market: Market, tape: Callable[[str], Tape]) -> None:
        self._market, self._tape = market, tape
        self._all = functools.cache(self._known)

    def until(self, symbol: str, to_ms: int) -> Sequence[Payment]:
        """The symbol's payments before `to_ms`, in order of time."""
        return [payment for payment in self._all(symbol) if payment.time_ms < to_ms]

    def next_ms(self, now_ms: int) -> int:
        """When the next payment is due."""
        return now_ms - now_ms % _INTERVAL_MS + _INTERVAL_MS

    def _known(self, symbol: str) -> list[Payment]:
        if isinstance(self._market, ArchiveMarket):
            stored = funding.load(self._market.root, self._market.venue, symbol)
            if len(stored):
                return [Payment(at, rate, mark or 0.0) for at, rate, mark in stored.rows()]
        base = self._tape(symbol).base
        first_ms = -(-int(base.open_ms[0]) // _INTERVAL_MS) * _INTERVAL_MS
        closes_ms = base.open_ms + base.interval_ms
        times = np.arange(first_ms, int(closes_ms[-1]) + 1, _INTERVAL_MS)
        now = np.searchsorted(closes_ms, times, "right") - 1
        before = np.searchsorted(closes_ms, times - _INTERVAL_MS, "right") - 1
        known = times[now >= 0]
        price, earlier = base.close[now[now >= 0]], base.close[np.maximum(before[now >= 0], 0)]
        rates = np.clip(np.round(BASE_RATE + CHANGE_SHARE * (price / earlier - 1), 8), -CAP, CAP)
        return [Payment(*values) for values in zip(known.tolist(), rates.tolist(), price.tolist(), strict=True)]
