"""Closed trades as columns; a trade is made of its row where one is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, overload

import msgspec
import numpy as np
import numpy.typing as npt

from tapewatch.paper.instruments import Instrument
from tapewatch.paper.rules import REASONS, Terms
from tapewatch.study import account


class Exit(msgspec.Struct, frozen=True):
    """A part of a position closed: `ms` is the open of the base bar it happened in, `share` is in percent."""

    ms: int
    price: float
    share: float
    reason: str


class Trade(msgspec.Struct, frozen=True):
    """A position's whole life. `r` is `net` over what the way from the entry to the first stop would have cost.

    `mfe_r` and `mae_r` are the best and the worst price it lived through, in the same unit; of the bar in which it was
    stopped only the stop counts.
    """

    trade_id: str
    signal_id: str
    symbol: str
    side: str
    timeframe: str
    entry_ms: int
    entry_price: float
    exits: tuple[Exit, ...]
    quantity: float
    fees: float
    funding: float
    gross: float
    net: float
    r: float
    mfe_r: float
    mae_r: float
    ambiguous: bool


_REASONS = np.array(["", *(REASONS[k] for k in range(1, len(REASONS) + 1))])


@dataclass(frozen=True)
class Columns:
    """What figures are made of, a row per trade: as the attributes of `Trade`, and when and why it was over."""

    symbol: npt.NDArray[np.str_]
    side: npt.NDArray[np.str_]
    entry_ms: npt.NDArray[np.int64]
    exit_ms: npt.NDArray[np.int64]
    exit_reason: npt.NDArray[np.str_]
    fees: npt.NDArray[np.float64]
    funding: npt.NDArray[np.float64]
    gross: npt.NDArray[np.float64]
    net: npt.NDArray[np.float64]
    r: npt.NDArray[np.float64]
    mfe_r: npt.NDArray[np.float64]
    mae_r: npt.NDArray[np.float64]
    ambiguous: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.entry_ms)

    def rows(self, chosen: npt.NDArray[Any]) -> Columns:
        """Only these rows, chosen by number or by a mask."""
        return Columns(**{one.name: getattr(self, one.name)[chosen] for one in fields(self)})


def columns_of(trades: Sequence[Trade]) -> Columns:
    """The columns of any trades."""
    if isinstance(trades, Trades):
        return trades.columns
    known = {"exit_ms": [one.exits[-1].ms for one in trades], "exit_reason": [one.exits[-1].reason for one in trades]}
    kinds: dict[str, type] = {
        **dict.fromkeys(("symbol", "side", "exit_reason"), np.str_),
        **dict.fromkeys(("entry_ms", "exit_ms"), np.int64),
        "ambiguous": np.bool_,
    }
    names = [one.name for one in fields(Columns)]
    values = {name: known.get(name) or [getattr(one, name) for one in trades] for name in names}
    return Columns(**{name: np.array(values[name], kinds.get(name, np.float64)) for name in names})


class Trades(Sequence[Trade]):
    """The closed trades of a desk after its last candle, by entry, then symbol.

    Args:
        desk: whose.
        symbols, instruments, terms: by the desk's number of a symbol.
        identity: of a candidate's number, its signal's id.
    """

    def __init__(
        self,
        desk: account.Desk,
        symbols: Sequence[str],
        instruments: Sequence[Instrument],
        terms: Sequence[Terms],
        identity: Callable[[int], str],
    ) -> None:
        self._symbols, self._instruments, self._terms, self._identity = symbols, instruments, terms, identity
        self._asked = desk.asked
        rows, exits = desk.trades[: desk.counts[account.TRADES]], desk.exits[: desk.counts[account.EXITS]]
        names = np.array(symbols)[self._asked[rows[:, account.T_CANDIDATE], account.A_SYMBOL]]
        order = np.lexsort((names, rows[:, account.T_ENTRY_MS]))
        order = order[rows[order, account.T_HELD] == 0]
        self.still_open = len(rows) - len(order)
        self._rows, self._exits = rows[order], exits[np.argsort(exits[:, account.X_TRADE], kind="stable")]
        count = np.bincount(exits[:, account.X_TRADE], minlength=len(rows))
        self._ends = np.cumsum(count)[order]
        self._firsts = self._ends - count[order]
        self.columns = self._columns(names[order], desk.charged[order])

    @property
    def candidates(self) -> list[int]:
        """Of each trade, the number of the candidate that it came of."""
        numbers: list[int] = self._rows[:, account.T_CANDIDATE].tolist()
        return numbers

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Trade: ...
    @overload
    def __getitem__(self, index: slice) -> list[Trade]: ...
    def __getitem__(self, index: int | slice) -> Trade | list[Trade]:
        if isinstance(index, slice):
            return [self._trade(k) for k in range(len(self))[index]]
        return self._trade(range(len(self))[index])

    def _columns(self, names: Any, charged: Any) -> Columns:
        rows, n = self._rows, self._rows[:, account.T_CANDIDATE]
        side, entry = self._asked[n, account.A_SIDE], rows[:, account.T_ENTRY]
        value = np.array([of.value for of in self._terms])[self._asked[n, account.A_SYMBOL]]
        at_risk = (entry - rows[:, account.T_STOP]) * side
        gross, fees, funding = (charged[:, place] for place in (account.C_GROSS, account.C_FEES, account.C_FUNDING))
        last = self._exits[self._ends - 1]
        net = gross - fees - funding
        return Columns(
            symbol=names,
            side=np.where(side > 0, "long", "short"),
            entry_ms=rows[:, account.T_ENTRY_MS],
            exit_ms=last[:, account.X_MS],
            exit_reason=_REASONS[last[:, account.X_REASON]],
            fees=fees,
            funding=funding,
            gross=gross,
            net=net,
            r=net / (at_risk * (rows[:, account.T_STEPS] * value)),
            mfe_r=(rows[:, account.T_BEST] - entry) * side / at_risk,
            mae_r=(rows[:, account.T_WORST] - entry) * side / at_risk,
            ambiguous=rows[:, account.T_AMBIGUOUS] > 0,
        )

    def _trade(self, k: int) -> Trade:
        row, of_row = self._rows[k].tolist(), self.columns
        n, steps = row[account.T_CANDIDATE], row[account.T_STEPS]
        s = int(self._asked[n, account.A_SYMBOL])
        of, identity = self._terms[s], self._identity(n)
        return Trade(
            trade_id=f"{identity}/trade",
            signal_id=identity,
            symbol=self._symbols[s],
            side=str(of_row.side[k]),
            timeframe=identity.split("/")[2],
            entry_ms=row[account.T_ENTRY_MS],
            entry_price=row[account.T_ENTRY] * of.unit / of.per,
            exits=tuple(
                Exit(
                    one[account.X_MS],
                    one[account.X_TICKS] * of.unit / of.per,
                    one[account.X_STEPS] / steps * 100,
                    REASONS[one[account.X_REASON]],
                )
                for one in self._exits[self._firsts[k] : self._ends[k]].tolist()
            ),
            quantity=float(steps * self._instruments[s].step),
            fees=float(of_row.fees[k]),
            funding=float(of_row.funding[k]),
            gross=float(of_row.gross[k]),
            net=float(of_row.net[k]),
            r=float(of_row.r[k]),
            mfe_r=float(of_row.mfe_r[k]),
            mae_r=float(of_row.mae_r[k]),
            ambiguous=bool(of_row.ambiguous[k]),
        )
