"""A paper position of a live run: an entry that waits, or what is held, and what is told of it in exact money.

Everything that it needs is in it, so that it lives on whatever becomes of its strategy, its instrument or the settings.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import msgspec

from tapewatch.model import Leg, Position, Side
from tapewatch.paper.instruments import Instrument
from tapewatch.paper.money import NOTHING, add, multiply, subtract
from tapewatch.paper.rules import (
    AMBIGUOUS,
    BEST,
    ENTRY,
    LEG_STEPS,
    LEG_TICKS,
    SIDE,
    STEPS,
    STOP,
    WHOLE,
    WORST,
    Order,
    Terms,
)

SIDES: dict[int, Side] = {1: "long", -1: "short"}
State = Literal["pending", "open", "closed", "skipped"]


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """What a signal asks for, decided.

    Attributes:
        side: 1 long, -1 short.
        close_ms, close: of the signal's bar.
        decided_ms: it fills at the first base bar that opens then or later.
        expiry_ms: when its time is over.
        distances, levels, shares, at_fill, moves: as in `rules.Order`; `moves` are break-even and the two of trailing.
        risk_quote, notional_quote: what was set aside for it.
    """

    signal_id: str
    timeframe: str
    side: int
    close_ms: int
    close: float
    decided_ms: int
    expiry_ms: int
    distances: list[float]
    levels: list[float]
    shares: list[float]
    at_fill: bool
    moves: tuple[float, float, float] = (0.0, 0.0, 0.0)
    risk_quote: float = 0.0
    notional_quote: float = 0.0

    @property
    def trade_id(self) -> str:
        """Derived: a signal leads to one position."""
        return f"{self.signal_id}/trade"

    @property
    def order(self) -> Order:
        """As the rules read it."""
        risk, notional = self.risk_quote, self.notional_quote
        ways = self.distances, self.levels, self.shares
        return Order(self.side, *ways, self.at_fill, risk, notional, *self.moves)


class Life(msgspec.Struct, array_like=True):
    """What a symbol and a strategy have in hand: an entry that waits for its bar, or an open position.

    Attributes:
        terms: of the instrument in its account.
        wanted: what it came of.
        follows: what is entered when it closes for it.
        last_ms, at_ms, mark, turnover: of the last bar it was taken through: its open and its close, its closing price
            in ticks, quote units.
        state, legs: as in `rules`; empty while the entry waits.
        entry_ms: open of the bar it was filled in.
        first_stop: in ticks.
        fills: how many there were.
        closing_ms: it closes at the first bar that opens then or later; 0 for none.
        dues, due_ms: funding to be paid with the next bar, and the time of the last one.
    """

    symbol: str
    strategy: str
    instrument: Instrument
    terms: Terms
    wanted: Wanted
    follows: Wanted | None = None
    last_ms: int = -1
    at_ms: int = -1
    mark: int = 0
    turnover: float = 0.0
    state: list[int] = []
    legs: list[list[int]] = []
    entry_ms: int = 0
    first_stop: int = 0
    fills: int = 0
    gross: Decimal = NOTHING
    fees: Decimal = NOTHING
    funding: Decimal = NOTHING
    dues: list[tuple[int, float]] = []
    due_ms: int = -1
    closing_ms: int = 0

    @property
    def open(self) -> bool:
        """Whether it is a position already."""
        return bool(self.state)

    @property
    def side(self) -> int:
        """1 long, -1 short."""
        return self.wanted.side

    @property
    def notional(self) -> float:
        """What it takes of the limits, in quote units: what was set aside, or what is held at its entry's price."""
        if not self.state:
            return self.wanted.notional_quote
        return self.state[ENTRY] * (self.state[STEPS] * self.terms.value)

    @property
    def unrealised(self) -> Decimal:
        """What the position would bring at the last close, without costs."""
        if not self.state:
            return NOTHING
        return self.worth((self.mark - self.state[ENTRY]) * self.state[SIDE] * self.state[STEPS])

    @property
    def net(self) -> Decimal:
        """What it has brought."""
        return subtract(self.gross, add(self.fees, self.funding))

    def worth(self, tick_steps: int) -> Decimal:
        """Ticks times steps, in quote units."""
        return multiply(multiply(self.instrument.tick, self.instrument.step), Decimal(tick_steps))

    def price(self, ticks: int) -> Decimal:
        """In quote units."""
        return multiply(self.instrument.tick, Decimal(ticks))

    def quantity(self, steps: int) -> Decimal:
        """In base units."""
        return multiply(self.instrument.step, Decimal(steps))

    def copy(self) -> Life:
        """One that lives apart."""
        return msgspec.structs.replace(self, state=self.state[:], legs=[leg[:] for leg in self.legs], dues=self.dues[:])

    def owe(self, ms: int, rate: float) -> None:
        """Pay funding with the next bar that opens then or later."""
        if ms > self.due_ms:
            self.dues.append((ms, rate))
            self.due_ms = ms

    def told(self, state: State, reason: str | None = None, closed_ms: int | None = None) -> Position:
        """What is said of it; what it needs to live on is with an entry that waits, and with an open position."""
        said = told(self.symbol, self.strategy, self.wanted, state, reason)
        lives = state in {"pending", "open"}
        if not self.state:
            return msgspec.structs.replace(said, saved=self.saved() if lives else [])
        row = self.state
        return msgspec.structs.replace(
            said,
            at_ms=self.at_ms,
            entry_ms=self.entry_ms,
            closed_ms=closed_ms,
            entry=self.price(row[ENTRY]),
            stop=self.price(row[STOP]),
            targets=tuple(
                Leg(self.price(leg[LEG_TICKS]), self.quantity(leg[LEG_STEPS])) for leg in self.legs if leg[LEG_STEPS]
            ),
            quantity=self.quantity(row[WHOLE]),
            held=self.quantity(row[STEPS]),
            mark=self.price(self.mark),
            gross=self.gross,
            fees=self.fees,
            funding=self.funding,
            **self._in_r(),
            ambiguous=row[AMBIGUOUS] > 0,
            saved=self.saved() if lives else [],
        )

    def told_next(self) -> Position:
        """What is said of the entry that waits for this position to close."""
        assert self.follows is not None
        return told(self.symbol, self.strategy, self.follows, "pending")

    def saved(self) -> list[Any]:
        """What `restored` makes it again; plain values that any format can hold."""
        plain: list[Any] = msgspec.to_builtins(self)
        return plain

    @classmethod
    def restored(cls, saved: list[Any]) -> Life:
        """What was saved. Raises msgspec.ValidationError where it is none."""
        return msgspec.convert(saved, cls)

    def _in_r(self) -> dict[str, float]:
        """Net at the last close, best and worst price, in units of what the way to the first stop costs."""
        row = self.state
        at_risk = (row[ENTRY] - self.first_stop) * row[SIDE]
        net = float(add(self.net, self.unrealised))
        return {
            "r": net / (at_risk * (row[WHOLE] * self.terms.value)),
            "mfe_r": (row[BEST] - row[ENTRY]) * row[SIDE] / at_risk,
            "mae_r": (row[WORST] - row[ENTRY]) * row[SIDE] / at_risk,
        }


def told(symbol: str, strategy: str, wanted: Wanted, state: State, reason: str | None = None) -> Position:
    """What is said of a signal that has not been filled."""
    return Position(
        trade_id=wanted.trade_id,
        signal_id=wanted.signal_id,
        symbol=symbol,
        strategy=strategy,
        side=SIDES[wanted.side],
        timeframe=wanted.timeframe,
        state=state,
        reason=reason,
        decided_ms=wanted.decided_ms,
        at_ms=wanted.decided_ms,
    )


def refused(symbol: str, strategy: str, wanted: Wanted, why: str) -> Position:
    """What is said of a signal that leads to no position."""
    return told(symbol, strategy, wanted, "skipped", why)
