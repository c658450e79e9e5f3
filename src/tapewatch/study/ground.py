"""What is the same for everything that is tried over one period: candles, funding, and when equity is noted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tapewatch.archive import funding
from tapewatch.archive.candles import Candles, Times
from tapewatch.archive.reader import intervals_of, missing, series
from tapewatch.errors import SetupError
from tapewatch.model import DAY_MS
from tapewatch.study.desk import Market, market_of
from tapewatch.study.membership import Membership, membership
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request
from tapewatch.universe import Rules

#: A symbol without candles for so long is traded no more; one that few trade may have none for hours.
GONE_AFTER_MS = DAY_MS
#: Steps in which the account's returns are counted: the longest of which there are enough, else the shortest.
STEPS_MS = (DAY_MS, DAY_MS // 6, DAY_MS // 24)
ENOUGH_STEPS = 120


@dataclass(frozen=True)
class Ground:
    """A period of the symbols of a request.

    Attributes:
        whole: of each symbol the smallest candles, also those before and after the period.
        candles: those of the period.
        payments: of each symbol, times and rates of its funding in the period.
        account: what is traded with.
    """

    whole: Sequence[Candles]
    candles: Sequence[Candles]
    payments: Sequence[tuple[Any, Any]]
    account: Account
    _memberships: dict[Rules, Membership] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request, account: Account, candles: Sequence[Candles] | None = None) -> Ground:
        """The ground of a request, whose smallest candles are read where they are not given.

        Raises:
            SetupError: the archive does not hold what is needed.
        """
        whole = [_known(request, one) for one in candles or (_smallest(request, name) for name in request.symbols)]
        inside = [_asked(request, one) for one in whole]
        return cls(whole, inside, [_payments(request, account, one) for one in inside], account)

    @cached_property
    def span_ms(self) -> tuple[int, int]:
        """From the open of the first candle to the close of the last."""
        firsts = (int(candles.open_ms[0]) for candles in self.candles)
        return min(firsts), max(int(candles.open_ms[-1]) + candles.interval_ms for candles in self.candles)

    @cached_property
    def days_ms(self) -> list[int]:
        """The end of each day that the candles touch; the last is the end of the candles."""
        return self._ends_ms(DAY_MS)

    @cached_property
    def step_ms(self) -> int:
        """How long the equal steps are in which the account's returns are counted, one of `STEPS_MS`."""
        first_ms, end_ms = self.span_ms
        enough = (step_ms for step_ms in STEPS_MS if (end_ms - first_ms) // step_ms >= ENOUGH_STEPS)
        return next(enough, STEPS_MS[-1])

    @cached_property
    def steps_ms(self) -> list[int]:
        """The end of each step; the ends of days are among them."""
        return self._ends_ms(self.step_ms)

    @cached_property
    def day_steps(self) -> Times:
        """Which steps end a day."""
        return np.searchsorted(self.steps_ms, self.days_ms)

    @cached_property
    def gone(self) -> list[bool]:
        """Of each symbol, whether it has left the market: it has no candles in the period's last `GONE_AFTER_MS`."""
        last_ms = self.span_ms[1] - GONE_AFTER_MS
        return [int(one.open_ms[-1]) + one.interval_ms <= last_ms for one in self.whole]

    @cached_property
    def market(self) -> Market:
        """As the loop reads it."""
        turnover = self.account.costs.friction.impact > 0.0
        return market_of(self.candles, self.payments, self.gone, turnover=turnover)

    def membership(self, rules: Rules) -> Membership:
        """Who is watched by these rules, day by day."""
        if rules not in self._memberships:
            self._memberships[rules] = membership(self.whole, rules)
        return self._memberships[rules]

    def _ends_ms(self, step_ms: int) -> list[int]:
        first_ms, end_ms = self.span_ms
        return [*range(first_ms // step_ms * step_ms + step_ms, end_ms, step_ms), end_ms]


def _smallest(request: Request, symbol: str) -> Candles:
    """The smallest stored candles of a symbol."""
    held = intervals_of(request.root, request.venue, symbol)
    if not held:
        raise missing(request.root, request.venue, symbol, "")
    return series(request.root, request.venue, symbol, held[0])


def _known(request: Request, candles: Candles) -> Candles:
    """Those that have closed by `until_ms`."""
    until_ms = request.until_ms
    return candles if until_ms is None else candles.slice(None, until_ms - candles.interval_ms + 1)


def _asked(request: Request, candles: Candles) -> Candles:
    inside = candles.slice(request.from_ms, request.to_ms)
    if not len(inside):
        raise SetupError(f"{candles.symbol}: no candles between --from and --to")
    return inside


def _payments(request: Request, account: Account, candles: Candles) -> tuple[Any, Any]:
    """When funding was paid while there are candles, and at what rate; nothing on spot."""
    if account.kind == "spot":
        return np.zeros(0, np.int64), np.zeros(0)
    rates = funding.load(request.root, request.venue, candles.symbol)
    times = rates["time"].to_numpy()
    inside = (times >= candles.open_ms[0]) & (times < candles.open_ms[-1] + candles.interval_ms)
    return times[inside], rates["rate"].to_numpy()[inside]
