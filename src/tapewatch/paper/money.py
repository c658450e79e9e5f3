"""Exact money: whole ticks and steps as decimals, and what they come to, to the last unit."""

from __future__ import annotations

from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

import msgspec

#: Raises rather than rounds.
_EXACT = Context(prec=500, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
NOTHING = Decimal(0)

add = _EXACT.add
subtract = _EXACT.subtract
multiply = _EXACT.multiply


def share_of(bps: float) -> Decimal:
    """Basis points as a share, as they are written."""
    return Decimal(str(bps)).scaleb(-4, _EXACT)


class Purse(msgspec.Struct, array_like=True):
    """What was booked: `start` + `gross` - `fees` - `funding` is the cash."""

    start: Decimal
    gross: Decimal = NOTHING
    fees: Decimal = NOTHING
    funding: Decimal = NOTHING

    @property
    def cash(self) -> Decimal:
        """What is there, positions apart."""
        return subtract(add(self.start, self.gross), add(self.fees, self.funding))

    def book(self, gross: Decimal, fee: Decimal, funding: Decimal) -> None:
        """Add to it."""
        self.gross = add(self.gross, gross)
        self.fees = add(self.fees, fee)
        self.funding = add(self.funding, funding)

    @property
    def net(self) -> Decimal:
        """What came of it."""
        return subtract(self.cash, self.start)
