"""Candles of one series as columns, the form in which stored history is read and served."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tapewatch.model import Bar

Floats: TypeAlias = npt.NDArray[np.float64]
Times: TypeAlias = npt.NDArray[np.int64]

#: The value columns, in the order of `model.Bar`.
VALUES = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy")


@dataclass(frozen=True, eq=False)
class Candles:
    """Sound candles of one venue, symbol and interval, ascending by open, no open twice.

    All columns have the same length: `open_ms` int64, the others float64 with NaN where the source has no value.
    `refused` counts candles of the source that made no sense and were left out.
    """

    venue: str
    symbol: str
    interval_ms: int
    open_ms: Times
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    quote_volume: Floats
    trades: Floats
    taker_buy: Floats
    refused: int = 0

    def __len__(self) -> int:
        return len(self.open_ms)

    def slice(self, from_ms: int | None = None, to_ms: int | None = None) -> Candles:
        """The candles that open in [from_ms, to_ms); None leaves that end open. The columns are views."""
        first = 0 if from_ms is None else int(np.searchsorted(self.open_ms, from_ms))
        end = len(self) if to_ms is None else int(np.searchsorted(self.open_ms, to_ms))
        return replace(
            self, open_ms=self.open_ms[first:end], **{name: getattr(self, name)[first:end] for name in VALUES}
        )

    def bar(self, row: int) -> Bar:
        """One candle as a bar."""
        values = (float(getattr(self, name)[row]) for name in VALUES)
        return Bar(self.symbol, self.interval_ms, int(self.open_ms[row]), *values)

    def bars(self) -> Iterator[Bar]:
        """Each candle as a bar, oldest first."""
        columns = [getattr(self, name).tolist() for name in VALUES]
        for open_ms, *values in zip(self.open_ms.tolist(), *columns, strict=True):
            yield Bar(self.symbol, self.interval_ms, open_ms, *values)
