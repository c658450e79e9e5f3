"""What a backtest trades with, as it is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from tapewatch.paper.rules import OPTIMISTIC, PESSIMISTIC
from tapewatch.paper.settings import TradingSettings
from tapewatch.study import account

ON_OPPOSITE = {"ignore": account.IGNORE, "close": account.CLOSE, "reverse": account.REVERSE}


@dataclass(frozen=True)
class Account(TradingSettings):
    """The account of a backtest, as that of a run."""

    def settings(self, *, optimistic: bool) -> account.Settings:
        """As the loop reads it."""
        return account.Settings(
            cash=self.cash,
            taker=self.taker_bps / 1e4,
            maker=self.maker_bps / 1e4,
            shorts=self.kind == "perpetual",
            at_fill=self.levels == "fill",
            on_opposite=ON_OPPOSITE[self.on_opposite],
            reading=OPTIMISTIC if optimistic else PESSIMISTIC,
            limits=self.limits,
            friction=self.costs.friction,
            protections=self.protections,
        )
