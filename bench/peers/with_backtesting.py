"""backtesting.py: a class whose `next` is called for every bar."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from backtesting import Backtest, Strategy
from rule import FEE, STOP, TARGET, Candles, measure, signals


def prepare(candles: Candles) -> Callable[[], int]:
    frame = candles.frame("Open", "High", "Low", "Close", "Volume")

    class Yardstick(Strategy):
        def init(self) -> None:
            self.long, self.short, self.atr = signals(candles)

        def next(self) -> None:
            k = len(self.data) - 1
            if self.position or not (self.long[k] or self.short[k]):
                return
            close, atr, side = float(self.data.Close[-1]), self.atr[k], 1 if self.long[k] else -1
            order = self.buy if side > 0 else self.sell
            order(size=1, sl=close - side * STOP * atr, tp=close + side * TARGET * atr)

    def work() -> int:
        run = Backtest(frame, Yardstick, cash=1e9, commission=FEE, finalize_trades=False).run()
        return int(run["# Trades"])

    return work


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    measure("backtesting", "stop and target from the signal's close, which is the fill here", prepare)
