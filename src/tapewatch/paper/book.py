"""The paper book of a run: signals that pass become positions, and base bars move them. Pure; O(1) a bar.

Signals of one close are decided together, at its boundary, in an order that does not depend on which symbol's bar came
first. What `tapewatch.study.account` does with the same candles leads to the same fills.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any

import msgspec

from tapewatch.errors import DataError, in_words
from tapewatch.model import (
    Bar,
    BookFailed,
    BookSaved,
    Effect,
    EntriesPaused,
    Funding,
    Judged,
    Listing,
    Passed,
    Position,
    Universe,
)
from tapewatch.paper.account import room
from tapewatch.paper.bookkeeping import Account
from tapewatch.paper.instruments import Instrument
from tapewatch.paper.living import Booked, leave, take_bar
from tapewatch.paper.position import SIDES, Life, Wanted, refused
from tapewatch.paper.rules import HELD, NO_BAR, NO_ROOM, NO_SHORTS, SKIPPED
from tapewatch.paper.settings import TradingSettings

#: A risk without bound is written as this: not every format of a number can say infinite.
UNBOUNDED = 1e300
#: Where the exchange has not said how a symbol is traded.
DEFAULT = Instrument()


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """A signal that passed and is not decided yet; `rank` orders symbols, the most traded first."""

    symbol: str
    strategy: str
    interval_ms: int
    rank: tuple[float, str]
    wanted: Wanted

    @property
    def turn(self) -> tuple[int, float, str, int, str, str]:
        """When it is decided among others."""
        wanted = self.wanted
        return wanted.close_ms, *self.rank, -self.interval_ms, self.strategy, SIDES[wanted.side]


class State(msgspec.Struct, array_like=True):
    """Everything that a book remembers; lives by symbol, then by strategy.

    `seen_ms`: symbol -> every base bar of it that closed by then has come.
    """

    account: Account
    lives: dict[str, dict[str, Life]] = {}
    queue: list[Asked] = []
    instruments: dict[str, Instrument] = {}
    seen_ms: dict[str, int] = {}


class Book:
    """An account and its positions.

    Args:
        settings: what is traded with.
        late_after_ms: what comes later than this after its close is told as late.
    """

    def __init__(self, settings: TradingSettings, late_after_ms: int) -> None:
        self._settings = settings
        self._late_after_ms = late_after_ms
        self._costs, self._limits, self._protections = settings.costs, settings.limits, settings.protections
        self._state = State(Account.begun(Decimal(str(settings.cash))))
        self._boundary_ms = 0
        self._changed = False

    # Events.

    def on_bar(self, bar: Bar, recv_ms: int | None) -> list[Effect]:
        """Move what its symbol has in hand through a base bar, one of history too; what is overdue is decided first."""
        state = self._state
        found: list[Effect] = []
        state.seen_ms[bar.symbol] = bar.open_ms  # all that closed by then has come
        if state.queue and recv_ms is not None:
            found += self._decide(bar.close_ms - 1)
        if recv_ms is not None:
            self._changed = state.account.see(bar.close_ms) or self._changed
        late = recv_ms is None or recv_ms - bar.close_ms > self._late_after_ms
        came_ms = bar.close_ms if recv_ms is None else recv_ms
        for strategy in list(state.lives.get(bar.symbol, ())):
            if bar.open_ms > state.lives[bar.symbol][strategy].last_ms:
                found += self._live_on(bar, strategy, late=late, recv_ms=came_ms)
        state.seen_ms[bar.symbol] = bar.close_ms
        return found

    def want(self, judged: Judged, rank: tuple[float, str], time_limit: int) -> list[Effect]:
        """Take a signal that passed; it is decided with the others of its close."""
        signal = judged.signal
        try:
            self._want(judged, rank, time_limit)
        except Exception as error:  # one signal that makes the book fail must not stop anything else (I7)
            return [_failed(signal.symbol, signal.strategy, signal.close_ms, error)]
        return []

    def hear(self, passed: Passed, rank: tuple[float, str]) -> list[Effect]:
        """The same for a signal of another process; one that is known already is none."""
        if passed.number <= self.heard:
            return []
        self.skip(passed.number)
        return self.want(passed.judged, rank, passed.time_limit)

    def skip(self, number: int) -> list[Effect]:
        """Signals of another process up to this number are known, or none of the book's."""
        self._state.account.heard, self._changed = max(self.heard, number), True
        return []

    def _want(self, judged: Judged, rank: tuple[float, str], time_limit: int) -> None:
        signal, interval_ms = judged.signal, judged.signal.close_ms - judged.signal.open_ms
        levels = [signal.stop, *(target.price for target in signal.targets)]
        wanted = Wanted(
            signal.id,
            signal.timeframe,
            1 if signal.side == "long" else -1,
            signal.close_ms,
            signal.entry,
            judged.recv_ms if judged.late else signal.close_ms,
            signal.close_ms + time_limit * interval_ms,
            [abs(signal.entry - level) for level in levels],
            levels,
            [target.share / 100 for target in signal.targets],
            self._settings.levels == "fill",
            signal.moves,
        )
        self._state.queue.append(Asked(signal.symbol, signal.strategy, interval_ms, rank, wanted))

    def on_funding(self, event: Funding) -> list[Effect]:
        """Note what is to be paid with the next bar."""
        for life in self._state.lives.get(event.symbol, {}).values():
            life.owe(event.ms, event.rate)
        return []

    def on_universe(self, event: Universe) -> list[Effect]:
        """Learn how symbols are traded; whose symbol is gone has its positions closed."""
        for one in event.listings:
            self._state.instruments[one.symbol] = Instrument(one.tick, one.step, one.least_notional)
        found: list[Effect] = []
        for symbol in event.gone:
            waiting = [asked for asked in self._state.queue if asked.symbol == symbol]
            self._state.queue = [asked for asked in self._state.queue if asked.symbol != symbol]
            self._state.seen_ms.pop(symbol, None)
            found += [refused(symbol, asked.strategy, asked.wanted, SKIPPED[NO_BAR]) for asked in waiting]
            for life in self._state.lives.pop(symbol, {}).values():
                found += self._left(life, event.now_ms)
        return found

    def end(self, boundary_ms: int, settled_ms: int) -> list[Effect]:
        """What is due when an event is done: decisions, what a boundary brings, the account.

        Up to `settled_ms` the gate has decided on everything, so that all who want something of a close are there.
        """
        found: list[Effect] = []
        if self._state.queue:
            found += self._decide(settled_ms)
        if boundary_ms > self._boundary_ms:
            self._boundary_ms = boundary_ms
            found += self._at_boundary(boundary_ms)
        if self._changed:
            self._changed = False
            found.append(self._state.account.told())
        return found

    # What is remembered.

    def saved(self) -> Any:
        """What `restore` makes it again."""
        return [msgspec.to_builtins(self._state), self._boundary_ms]

    def restore(self, saved: Any) -> None:
        """Become what was saved. Raises msgspec.ValidationError where that is nothing of the kind."""
        state, self._boundary_ms = saved
        self._state = msgspec.convert(state, State)

    def remember(self, told: BookSaved) -> None:
        """Go on with what was told of an account and its positions, in another make of the engine.

        Raises:
            DataError: nobody told that.
        """
        try:
            lives = [Life.restored(saved) for saved in told.positions if saved]
            self._state.account = msgspec.convert(told.account, Account)
        except msgspec.ValidationError as error:
            raise DataError(f"what is stored of paper positions cannot be read: {error}") from None
        for life in lives:
            self._state.lives.setdefault(life.symbol, {})[life.strategy] = life
        self._state.account.count(lives)

    @property
    def listings(self) -> list[Listing]:
        """In which pieces symbols are traded, as it was told last."""
        known = self._state.instruments.items()
        return [Listing(symbol, one.tick, one.step, one.least_notional) for symbol, one in known]

    @property
    def heard(self) -> int:
        """The number of the last signal of another process."""
        return self._state.account.heard

    @property
    def symbols(self) -> list[str]:
        """Who has a position, or an entry that waits."""
        return list(self._state.lives)

    @property
    def open_since(self) -> dict[str, int]:
        """Symbol -> open of the bar in which the oldest of its open positions was entered."""
        return {
            symbol: min(life.entry_ms for life in mine.values() if life.open)
            for symbol, mine in self._state.lives.items()
            if any(life.open for life in mine.values())
        }

    # Positions.

    def _live_on(self, bar: Bar, strategy: str, *, late: bool, recv_ms: int) -> Sequence[Effect]:
        mine = self._state.lives[bar.symbol]
        life = mine[strategy]
        try:
            found, after = take_bar(life, bar, self._costs, late=late, recv_ms=recv_ms)
        except Exception as error:  # as above, one position
            return [_failed(bar.symbol, strategy, bar.open_ms, error)]
        if after is not None:
            mine[strategy] = after
        else:
            self._drop(bar.symbol, strategy)
        return self._booked(found, life, after)

    def _left(self, life: Life, now_ms: int) -> Sequence[Effect]:
        try:
            found = leave(life, self._costs, now_ms)
        except Exception as error:  # as above
            return [_failed(life.symbol, life.strategy, now_ms, error)]
        return self._booked(found, life, None)

    def _drop(self, symbol: str, strategy: str) -> None:
        mine = self._state.lives[symbol]
        del mine[strategy]
        if not mine:
            del self._state.lives[symbol]

    def _booked(self, found: Sequence[Booked], before: Life, after: Life | None) -> Sequence[Effect]:
        self._state.account.book(found, before, after, self._protections)
        self._changed = self._changed or bool(found)
        return found

    # Decisions.

    def _decide(self, upto_ms: int) -> list[Effect]:
        """Decide what closed by then, close by close."""
        state = self._state
        due = sorted((asked for asked in state.queue if self._is_due(asked, upto_ms)), key=lambda one: one.turn)
        if not due:
            return []
        state.queue = [asked for asked in state.queue if not self._is_due(asked, upto_ms)]
        found: list[Effect] = []
        for close_ms, of_close in groupby(due, key=lambda one: one.wanted.close_ms):
            found += self._protect(close_ms)
            for asked in of_close:
                try:
                    found += self._decided(asked)
                except Exception as error:  # as above: the signal is traded no more, everything else goes on
                    found.append(_failed(asked.symbol, asked.strategy, close_ms, error))
        return found

    def _is_due(self, asked: Asked, upto_ms: int) -> bool:
        """Whether it closed by then, and the bars of its symbol have come as far; after a gap some are behind."""
        close_ms = asked.wanted.close_ms
        return close_ms <= upto_ms and close_ms <= self._state.seen_ms.get(asked.symbol, close_ms)

    def _protect(self, upto_ms: int) -> list[EntriesPaused]:
        account = self._state.account
        self._changed = self._changed or bool(account.closed)
        return account.protect(upto_ms, self._protections)

    def _decided(self, asked: Asked) -> list[Position]:
        """What becomes of a signal: an entry that waits for the next bar, or nothing, and why."""
        trading, wanted = self._settings, asked.wanted
        symbol, strategy = asked.symbol, asked.strategy
        life = self._state.lives.get(symbol, {}).get(strategy)
        if wanted.side < 0 and trading.kind == "spot":
            barred = NO_SHORTS
        else:
            barred = self._state.account.barred(symbol, strategy, wanted.close_ms)
        if life is not None:
            return self._against(life, asked, barred)
        planned = None if barred else self._planned(asked)
        if planned is None:
            return [refused(symbol, strategy, wanted, SKIPPED[barred or NO_ROOM])]
        instrument = self._instrument(symbol)
        life = Life(symbol, strategy, instrument, trading.terms(instrument), planned)
        self._state.lives.setdefault(symbol, {})[strategy] = life
        return [life.told("pending")]

    def _against(self, life: Life, asked: Asked, barred: int) -> list[Position]:
        """A signal while one is in hand: an opposite one may close it, and follow it."""
        on_opposite, why = self._settings.on_opposite, HELD
        if not life.open or life.side == asked.wanted.side or on_opposite == "ignore":
            return [refused(life.symbol, life.strategy, asked.wanted, SKIPPED[why])]
        life = life.copy()
        life.closing_ms = life.closing_ms or asked.wanted.decided_ms
        planned = None
        if on_opposite == "reverse" and life.follows is None and barred != NO_SHORTS:
            planned = None if barred else self._planned(asked)
            life.follows, why = planned, barred or why
        self._state.lives[life.symbol][life.strategy] = life
        if planned is not None:
            return [life.told("open"), life.told_next()]
        return [life.told("open"), refused(life.symbol, life.strategy, asked.wanted, SKIPPED[why])]

    def _planned(self, asked: Asked) -> Wanted | None:
        """With what is set aside for it, None where there is no room under the limits."""
        wanted = asked.wanted
        of_symbol = of_side = of_all = 0.0
        for symbol, mine in self._state.lives.items():
            for strategy, life in mine.items():
                if (symbol, strategy) != (asked.symbol, asked.strategy):
                    held = life.notional
                    of_all += held
                    of_side += held if life.side == wanted.side else 0.0
                    of_symbol += held if symbol == asked.symbol else 0.0
        equity = float(self._state.account.equity)
        risk, notional = room(self._limits, equity, of_symbol, of_side, of_all, wanted.distances[0], wanted.close)
        if not notional > 0.0:
            return None
        return msgspec.structs.replace(wanted, risk_quote=min(risk, UNBOUNDED), notional_quote=notional)

    def _instrument(self, symbol: str) -> Instrument:
        return self._state.instruments.get(symbol, DEFAULT)

    # The account.

    def _at_boundary(self, close_ms: int) -> list[Effect]:
        """Positions as they are now, and a day that has ended."""
        found: list[Effect] = []
        account = self._state.account
        self._changed = account.see(close_ms) or self._changed
        found += self._protect(close_ms)
        for event in (account.resume(close_ms), account.pass_midnight(close_ms)):
            if event is not None:
                found.append(event)
                self._changed = True
        for mine in self._state.lives.values():
            for life in mine.values():
                if life.open and life.at_ms == close_ms:
                    found.append(life.told("open"))
                    self._changed = True
        return found


def _failed(symbol: str, strategy: str, ms: int, error: Exception) -> BookFailed:
    return BookFailed(symbol, strategy, ms, *in_words(error))
