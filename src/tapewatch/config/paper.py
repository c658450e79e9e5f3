"""The paper account's section: how it trades what passes the gate, what pauses it, and what it tells."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tapewatch.config.section import Section
from tapewatch.config.values import Amount, DurationMs, Percent, Whole
from tapewatch.paper.settings import TradingSettings


class Drawdown(Section):
    """Closed trades that bring the account `limit` below its peak pause entries for `pause`."""

    limit: Annotated[Percent, Field(gt=0, le=1)]
    pause: DurationMs = 604_800_000


class Losses(Section):
    """So many losing trades in a row pause entries for `pause`."""

    count: Annotated[Whole, Field(ge=1, le=1_000)]
    pause: DurationMs = 43_200_000


class Protections(Section):
    """What pauses paper entries; all off unless given.

    `daily_loss`: trades closed in a UTC day that lose this share of the account at its begin pause until the next day.
    `after_stop`: a symbol whose position was stopped is not entered again for so long.
    """

    daily_loss: Annotated[Percent, Field(gt=0, le=1)] | None = None
    max_drawdown: Drawdown | None = None
    losses: Losses | None = None
    after_stop: DurationMs | None = None


class PaperAlerts(Section):
    """Which events of a paper position are told, and whether a summary is at each UTC day's end."""

    entry: bool = False
    partial: bool = False
    exit: bool = True
    summary: bool = False


class Paper(Section):
    """The paper account that trades what passes the gate; without this section there is none.

    `risk`: share of the equity that the way from fill to stop may cost; `size`: quote units in each position instead.
    `cap_symbol`, `cap_side`, `cap_total`: most that may be open, of equity times `leverage`. `slippage_bps` is half the
    spread, `impact_bps` what an order as large as a candle's whole turnover adds, by the square root of its share.
    """

    account: Literal["spot", "perpetual"] = "spot"
    cash: Annotated[Amount, Field(gt=0, le=1e15)] = 10_000.0
    risk: Annotated[Percent, Field(gt=0, le=1)] = 0.01
    size: Annotated[Amount, Field(gt=0, le=1e15)] | None = None
    cap_symbol: Annotated[Percent, Field(gt=0, le=1)] = 0.25
    cap_side: Annotated[Percent, Field(gt=0, le=1)] = 1.0
    cap_total: Annotated[Percent, Field(gt=0, le=1)] = 1.0
    leverage: Annotated[Amount, Field(ge=1, le=125)] = 1.0
    taker_bps: Annotated[Amount, Field(ge=0, le=1_000)] = 10.0
    maker_bps: Annotated[Amount, Field(ge=0, le=1_000)] = 10.0
    slippage_bps: Annotated[Amount, Field(ge=0, le=1_000)] = 2.0
    impact_bps: Annotated[Amount, Field(ge=0, le=10_000)] = 0.0
    levels: Literal["signal", "fill"] = "signal"
    on_opposite: Literal["ignore", "close", "reverse"] = "ignore"
    protections: Protections = Protections()
    alerts: PaperAlerts = PaperAlerts()

    @property
    def trading(self) -> TradingSettings:
        """As the book and a backtest read it."""
        guard = self.protections
        drawdown, losses = guard.max_drawdown, guard.losses
        pauses_ms = {
            "drawdown_pause_ms": None if drawdown is None else drawdown.pause,
            "losses_pause_ms": None if losses is None else losses.pause,
        }
        return TradingSettings(
            kind=self.account,
            cash=self.cash,
            risk=self.risk,
            size_quote=self.size,
            cap_symbol=self.cap_symbol,
            cap_side=self.cap_side,
            cap_total=self.cap_total,
            leverage=self.leverage,
            taker_bps=self.taker_bps,
            maker_bps=self.maker_bps,
            slippage_bps=self.slippage_bps,
            impact_bps=self.impact_bps,
            levels=self.levels,
            on_opposite=self.on_opposite,
            daily_loss=guard.daily_loss or 0.0,
            max_drawdown=0.0 if drawdown is None else drawdown.limit,
            losses=0 if losses is None else losses.count,
            after_stop_ms=guard.after_stop or 0,
            **{name: ms for name, ms in pauses_ms.items() if ms is not None},
        )
