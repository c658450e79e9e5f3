"""What the paper book of a run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from tapewatch.model import DAY_MS
from tapewatch.paper.account import Limits, Protections
from tapewatch.paper.instruments import Instrument
from tapewatch.paper.living import Costs
from tapewatch.paper.money import share_of
from tapewatch.paper.rules import Friction, Terms

#: Share of a perpetual position that its margin must cover; the exchange's lowest bracket has less.
MAINTENANCE = 0.005


@dataclass(frozen=True)
class TradingSettings:
    """What is traded with. Shares of one, money in quote units, costs in basis points of the notional.

    Attributes:
        kind: `spot`, which never sells short, or `perpetual`.
        cash: at the start.
        risk: share of equity that the way from the fill to the stop may cost.
        size_quote: what each position is worth instead; None sizes by risk.
        cap_symbol, cap_side, cap_total: the most that may be open, as shares of equity times leverage.
        leverage: of a perpetual.
        taker_bps, maker_bps: fees; only targets are made.
        slippage_bps: half of the spread, of every fill that is not a target's.
        impact_bps: of an order as large as its candle's turnover besides; less by the square root of its share of it.
        levels: `signal` leaves stop and targets where the alert said, `fill` measures them from the fill.
        on_opposite: what an opposite signal does to an open position: `ignore`, `close` or `reverse`.
        daily_loss: pauses entries until the next UTC day, as a share of the equity at its begin; 0 does not.
        max_drawdown: pauses them for `drawdown_pause_ms`, as a share of the peak; 0 does not.
        losses: so many in a row pause them for `losses_pause_ms`; 0 do not.
        after_stop_ms: a symbol that was stopped is not entered for so long.
    """

    kind: str = "spot"
    cash: float = 10_000.0
    risk: float = 0.01
    size_quote: float | None = None
    cap_symbol: float = 0.25
    cap_side: float = 1.0
    cap_total: float = 1.0
    leverage: float = 1.0
    taker_bps: float = 10.0
    maker_bps: float = 10.0
    slippage_bps: float = 2.0
    impact_bps: float = 0.0
    levels: str = "signal"
    on_opposite: str = "ignore"
    daily_loss: float = 0.0
    max_drawdown: float = 0.0
    drawdown_pause_ms: int = 7 * DAY_MS
    losses: int = 0
    losses_pause_ms: int = DAY_MS // 2
    after_stop_ms: int = 0

    @property
    def costs(self) -> Costs:
        """What its fills cost."""
        friction = Friction(self.slippage_bps / 1e4, self.impact_bps / 1e4)
        return Costs(share_of(self.taker_bps), share_of(self.maker_bps), friction)

    @property
    def limits(self) -> Limits:
        """What may be risked and held."""
        caps = self.cap_symbol, self.cap_side, self.cap_total
        return Limits(self.risk, self.size_quote or 0.0, *caps, self.leverage, self.taker_bps / 1e4)

    @property
    def protections(self) -> Protections:
        """What pauses entries."""
        drawdown, losses = (self.max_drawdown, self.drawdown_pause_ms), (self.losses, self.losses_pause_ms)
        return Protections(self.daily_loss, *drawdown, *losses, self.after_stop_ms)

    def terms(self, instrument: Instrument) -> Terms:
        """Of an instrument in this account."""
        return instrument.terms(self.leverage if self.kind == "perpetual" else 0.0, MAINTENANCE)
