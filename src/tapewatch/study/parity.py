"""Trades that a live run stored, beside a backtest of the same candles and settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from tapewatch.config.paper import Paper
from tapewatch.study.settings import Account
from tapewatch.study.trades import Trade

#: Prices, quantities, times and reasons are equal; sums of money are to this share, for a backtest's are doubles.
NEAR = 1e-9


@dataclass(frozen=True)
class Difference:
    """What is not equal; None stands for a trade that one side does not have."""

    trade_id: str
    field: str
    live: Any
    backtest: Any


@dataclass(frozen=True)
class Parity:
    """How many trades either side has, and what is not equal."""

    checked: int
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> int:
        """How many trades are equal in everything."""
        return self.checked - len({one.trade_id for one in self.differences})


def account_of(paper: Paper) -> Account:
    """The account of a configuration, as a backtest has it."""
    return Account(**asdict(paper.trading))


def compare(live: Iterable[Mapping[str, Any]], trades: Iterable[Trade]) -> Parity:
    """Trade by trade, by id.

    Args:
        live: closed positions as `Ledger.paper.positions` reads them.
        trades: those of the backtest.
    """
    stored, found = {row["trade_id"]: row for row in live}, {one.trade_id: one for one in trades}
    differences: list[Difference] = []
    for identity in sorted(stored.keys() | found.keys()):
        if identity not in found:
            differences.append(Difference(identity, "trade", stored[identity]["entry_ms"], None))
        elif identity not in stored:
            differences.append(Difference(identity, "trade", None, found[identity].entry_ms))
        else:
            differences += _unequal(stored[identity], found[identity])
    return Parity(len(stored.keys() | found.keys()), tuple(differences))


def _unequal(row: Mapping[str, Any], trade: Trade) -> Iterator[Difference]:
    for field, live, backtest, exact in _pairs(row, trade):
        same = live == backtest if exact else math.isclose(live, backtest, rel_tol=NEAR, abs_tol=NEAR)
        if not same:
            yield Difference(trade.trade_id, field, live, backtest)


def _pairs(row: Mapping[str, Any], trade: Trade) -> Iterator[tuple[str, Any, Any, bool]]:
    """(field, live, backtest, whether they must be equal to the last bit)."""
    closing = [fill for fill in row["fills"] if fill["number"]]
    whole = Decimal(row["quantity"])
    for field in ("signal_id", "symbol", "side", "timeframe", "entry_ms", "ambiguous"):
        yield field, row[field], getattr(trade, field), True
    yield "entry_price", float(row["entry"]), trade.entry_price, True
    yield "quantity", float(whole), trade.quantity, True
    for field in ("ms", "reason"):
        yield f"exits.{field}", [fill[field] for fill in closing], [getattr(one, field) for one in trade.exits], True
    yield "exits.price", [float(fill["price"]) for fill in closing], [one.price for one in trade.exits], True
    parts = [round(float(Decimal(fill["quantity"]) / whole * 100), 6) for fill in closing]
    yield "exits.share", parts, [round(one.share, 6) for one in trade.exits], True
    for field in ("gross", "fees", "funding", "net", "r", "mfe_r", "mae_r"):
        yield field, float(row[field]), getattr(trade, field), False
