"""A paper account's books: what was filled and paid, what positions would bring, its days and its protections."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from tapewatch.model import (
    DAY_MS,
    AccountState,
    DayDone,
    EntriesPaused,
    EntriesResumed,
    Fill,
    FundingPaid,
    Position,
)
from tapewatch.paper.account import (
    G_BEGUN,
    G_LOST,
    G_PEAK,
    G_REALISED,
    G_SINCE_MS,
    G_UNTIL_MS,
    G_WHY,
    GUARD_PLACES,
    MAX_DRAWDOWN,
    PAUSES,
    Protections,
    begin_guard,
    cool_until_ms,
    count_closed,
    paused,
)
from tapewatch.paper.living import Booked
from tapewatch.paper.money import NOTHING, Purse, add, subtract
from tapewatch.paper.position import Life
from tapewatch.paper.rules import COOLING, PAUSED, REASONS

_CODES = {reason: code for code, reason in REASONS.items()}


class Day(msgspec.Struct, array_like=True):
    """A UTC day: what was so at its begin, and how often what has happened since."""

    ms: int
    equity: Decimal
    purse: Purse
    entered: int = 0
    closed: int = 0
    won: int = 0


class Account(msgspec.Struct, array_like=True):
    """Everything booked, and what open positions would bring at their last closes.

    Attributes:
        at_ms: the newest close.
        guard: of the protections, as in `paper.account`; `paused` is what was told.
        closed: positions that no protection has looked at yet: when, symbol, strategy, net.
        cool_until_ms: symbol -> strategy -> until when it is not entered.
        heard: the number of the last signal that another process has passed on, -1 where there is none such.
    """

    purse: Purse
    unrealised: Decimal = NOTHING
    started_ms: int = -1
    at_ms: int = -1
    open: int = 0
    day: Day | None = None
    guard: list[float] = []
    paused: bool = False
    closed: list[tuple[int, str, str, float]] = []
    cool_until_ms: dict[str, dict[str, int]] = {}
    heard: int = -1

    @classmethod
    def begun(cls, cash: Decimal) -> Account:
        """One that has done nothing yet."""
        guard = [0.0] * GUARD_PLACES
        begin_guard(guard, float(cash))
        return cls(Purse(cash), guard=guard)

    @property
    def equity(self) -> Decimal:
        """Cash, and every open position at its last close."""
        return add(self.purse.cash, self.unrealised)

    def book(self, found: Iterable[Booked], before: Life, after: Life | None, protections: Protections) -> None:
        """Take what became of a position, which was `before` and is `after`."""
        self._count(before, -1)
        if after is not None:
            self._count(after, 1)
        day = self.day
        for one in found:
            if isinstance(one, Fill):
                self.purse.book(one.gross, one.fee, NOTHING)
                if day is not None and not one.number:
                    day.entered += 1
            elif isinstance(one, FundingPaid):
                self.purse.book(NOTHING, NOTHING, one.amount)
            elif one.state == "closed":
                self._close(one, protections)

    def _close(self, position: Position, protections: Protections) -> None:
        symbol, strategy, closed_ms = position.symbol, position.strategy, position.at_ms
        net = subtract(position.gross, add(position.fees, position.funding))
        if self.day is not None:
            self.day.closed += 1
            self.day.won += net > 0
        self.closed.append((closed_ms, symbol, strategy, float(net)))
        until_ms = cool_until_ms(protections, _CODES.get(position.reason or "", 0), closed_ms)
        if until_ms > self.cool_until_ms.get(symbol, {}).get(strategy, 0):
            self.cool_until_ms.setdefault(symbol, {})[strategy] = until_ms

    def protect(self, upto_ms: int, protections: Protections) -> list[EntriesPaused]:
        """Show the protections what has closed by then, in the order of time, then of symbols."""
        if not self.closed:
            return []
        due = sorted((one for one in self.closed if one[0] <= upto_ms), key=lambda one: one[:3])
        self.closed = [one for one in self.closed if one[0] > upto_ms]
        found = []
        for closed_ms, _, _, net in due:
            peak, lost = self.guard[G_PEAK], int(self.guard[G_LOST])
            why = count_closed(self.guard, protections, closed_ms, net)
            if why:
                self.paused = True
                since_ms, until_ms = int(self.guard[G_SINCE_MS]), int(self.guard[G_UNTIL_MS])
                before = peak if why == MAX_DRAWDOWN else self.guard[G_BEGUN]
                realised, lost = self.guard[G_REALISED], lost + 1 if net < 0.0 else 0
                found.append(EntriesPaused(PAUSES[why], since_ms, until_ms, realised, before, lost))
        return found

    def resume(self, now_ms: int) -> EntriesResumed | None:
        """Whether a pause is over."""
        if not self.paused or paused(self.guard, now_ms):
            return None
        self.paused = False
        return EntriesResumed(int(self.guard[G_SINCE_MS]), now_ms)

    def barred(self, symbol: str, strategy: str, close_ms: int) -> int:
        """Why a signal that is decided at that close opens nothing, 0 where nothing pauses it."""
        if paused(self.guard, close_ms):
            return PAUSED
        return COOLING if close_ms < self.cool_until_ms.get(symbol, {}).get(strategy, 0) else 0

    def count(self, lives: Iterable[Life]) -> None:
        """Take these positions for all there are."""
        self.unrealised, self.open = NOTHING, 0
        for life in lives:
            self._count(life, 1)

    def _count(self, life: Life, sign: int) -> None:
        if life.open:
            self.open += sign
            self.unrealised = (add if sign > 0 else subtract)(self.unrealised, life.unrealised)

    def see(self, close_ms: int) -> bool:
        """Note that bars which close then are known; whether they are the first ones."""
        self.at_ms = max(self.at_ms, close_ms)
        if self.started_ms >= 0:
            return False
        self.started_ms = close_ms
        return True

    def pass_midnight(self, now_ms: int) -> DayDone | None:
        """Begin a day where a new one has come; what the one that has ended brought."""
        day, day_ms = self.day, now_ms // DAY_MS * DAY_MS
        if day is not None and day_ms <= day.ms:
            return None
        self.day = Day(day_ms, self.equity, msgspec.structs.replace(self.purse))
        return None if day is None else self._day_done(day)

    def _day_done(self, day: Day) -> DayDone:
        return DayDone(
            day_ms=day.ms,
            equity_before=day.equity,
            equity=self.equity,
            entered=day.entered,
            closed=day.closed,
            won=day.won,
            gross=subtract(self.purse.gross, day.purse.gross),
            fees=subtract(self.purse.fees, day.purse.fees),
            funding=subtract(self.purse.funding, day.purse.funding),
            open=self.open,
        )

    def told(self) -> AccountState:
        """What is said of it."""
        purse = self.purse
        return AccountState(
            started_ms=self.started_ms,
            at_ms=self.at_ms,
            start_cash=purse.start,
            cash=purse.cash,
            gross=purse.gross,
            fees=purse.fees,
            funding=purse.funding,
            equity=self.equity,
            open=self.open,
            paused_until_ms=int(self.guard[G_UNTIL_MS]) if self.paused else 0,
            paused_why=PAUSES[int(self.guard[G_WHY])] if self.paused else None,
            saved=msgspec.to_builtins(self),
        )
