"""What notebooks get of a backtest and of a search: frames of what it is made of, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import polars as pl

from tapewatch.errors import SetupError
from tapewatch.study.backtest import Backtest
from tapewatch.study.document import document, trades_frame
from tapewatch.study.judgement import Judged
from tapewatch.study.settings import Account
from tapewatch.study.trials import Trials

_CHOICES = {
    "kind": ("spot", "perpetual"),
    "levels": ("signal", "fill"),
    "on_opposite": ("ignore", "close", "reverse"),
}


class Traded:
    """What a backtest came to, as `Research.backtest` gives it.

    Attributes:
        document: everything that `tapewatch backtest --json` prints.
        metrics: its figures by name, those of docs/backtest.md; `by` has them of parts.
    """

    def __init__(self, backtest: Backtest) -> None:
        self._backtest = backtest
        self.document, self._result = document(backtest)
        self.metrics: Mapping[str, Any] = self.document["metrics"]

    @cached_property
    def trades(self) -> pl.DataFrame:
        """Closed trades by entry, with the columns of `backtest --trades`."""
        return trades_frame(self._result.trades)

    @cached_property
    def equity(self) -> pl.DataFrame:
        """The account at the beginning and at the end of each day: `ms` and `equity`."""
        first_ms = min(int(one.open_ms[0]) for one in self._backtest.candles)
        return pl.DataFrame({"ms": [first_ms, *self._result.days_ms], "equity": self._result.equity})


class Searched:
    """What a search came to, as `Research.optimize` gives it.

    Attributes:
        best: the parameters of the best set; empty where none has an objective.
        survives: whether nothing speaks against it.
        sentence: what is to be said first of it, in words.
        lines: the figures behind that, a line each.
    """

    def __init__(self, trials: Trials, judged: Judged) -> None:
        self._trials, self._judged = trials, judged
        self.best: Mapping[str, float] = trials.set_of(trials.best) if trials.best >= 0 else {}
        self.survives: bool = judged.survives
        self.sentence: str = judged.sentence
        self.lines: Sequence[str] = judged.lines

    @cached_property
    def trials(self) -> pl.DataFrame:
        """What was tried, in the order in which it was drawn: its parameters, `objective`, `trades`, and `why`.

        The last says why a set has no objective; the objective is then null.
        """
        tried = self._trials
        params = {name: tried.params[:, k] for k, name in enumerate(tried.names)}
        objective = pl.Series("objective", tried.objective, nan_to_null=True)
        return pl.DataFrame({**params, "objective": objective, "trades": tried.trades, "why": list(tried.why)})

    @property
    def document(self) -> dict[str, Any]:
        """Everything that was found out about the best set: `honesty` of `tapewatch optimize --json`."""
        return self._judged.document()


def checked(account: Account) -> Account:
    """The account. Raises SetupError where there can be none like it."""
    for name, known in _CHOICES.items():
        if getattr(account, name) not in known:
            raise SetupError(f"{name}: {getattr(account, name)!r} is none of {', '.join(known)}")
    if not account.cash > 0:
        raise SetupError(f"cash: {account.cash!r} is not above 0")
    if account.kind == "spot" and account.leverage != 1.0:
        raise SetupError("leverage: a spot account borrows nothing")
    return account
