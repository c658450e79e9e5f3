"""vectorbt: signals as arrays, one call."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import vectorbt as vbt
from rule import FEE, STOP, TARGET, Candles, measure, signals


def prepare(candles: Candles) -> Callable[[], int]:
    frame = candles.frame("open", "high", "low", "close", "volume")

    def work() -> int:
        long, short, atr = signals(candles)
        long, short = (np.concatenate(([False], side[:-1])) for side in (long, short))
        away = np.concatenate(([np.nan], atr[:-1])) / candles.open
        portfolio = vbt.Portfolio.from_signals(
            frame["close"],
            entries=long,
            short_entries=short,
            price=candles.open,
            open=candles.open,
            high=candles.high,
            low=candles.low,
            sl_stop=STOP * away,
            tp_stop=TARGET * away,
            stop_entry_price="fillprice",
            upon_opposite_entry="ignore",
            size=1.0,
            init_cash=1e9,
            fees=FEE,
            freq="1min",
        )
        return int((portfolio.trades.records["status"] == 1).sum())

    return work


if __name__ == "__main__":
    measure("vectorbt", "does not look at the stop within the entry's own bar", prepare)
