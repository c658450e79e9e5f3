"""What became of alerts: each one's signal followed from its close to its stop, its first target or its time limit.

Traded or not, without costs: a position with one leg, by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from tapewatch.model import Bar, LevelTouched, Side, Signal
from tapewatch.paper.instruments import Instrument
from tapewatch.paper.rules import (
    AMBIGUOUS,
    AT_STOP,
    AT_TARGET,
    AT_TIME,
    BEST,
    ENTRY,
    EXPIRY_MS,
    FILL_REASON,
    FILL_TICKS,
    LEFT_BY,
    PESSIMISTIC,
    PLACES,
    SIDE,
    STEPS,
    STOP,
    WHOLE,
    WORST,
    Friction,
    Terms,
    on_bar,
    stop_ticks,
    target_ticks,
    tick_of,
)

_LEVELS: dict[int, Literal["stop", "target", "time"]] = {AT_STOP: "stop", AT_TARGET: "target", AT_TIME: "time"}
_NO_FRICTION = Friction(0.0, 0.0)


class Followed(msgspec.Struct, array_like=True):
    """A signal on its way."""

    signal_id: str
    strategy: str
    timeframe: str
    side: Side
    close_ms: int
    terms: Terms
    state: list[int]
    legs: list[list[int]]


class Follower:
    """The signals that are followed, by symbol."""

    def __init__(self) -> None:
        self._followed: dict[str, list[Followed]] = {}

    def follow(self, signal: Signal, expiry_ms: int, instrument: Instrument) -> None:
        """Follow a signal from its close on."""
        terms, side = instrument.terms(0.0, 0.0), 1 if signal.side == "long" else -1
        state = [0] * PLACES
        state[SIDE], state[STEPS], state[WHOLE], state[EXPIRY_MS], state[LEFT_BY] = side, 1, 1, expiry_ms, AT_STOP
        state[ENTRY] = state[BEST] = state[WORST] = tick_of(signal.entry, terms)
        state[STOP] = stop_ticks(signal.stop, side, terms)
        legs = [[target_ticks(signal.targets[0].price, side, terms), 1]]
        followed = Followed(
            signal.id, signal.strategy, signal.timeframe, signal.side, signal.close_ms, terms, state, legs
        )
        self._followed.setdefault(signal.symbol, []).append(followed)

    def on_bar(self, bar: Bar, *, late: bool, recv_ms: int) -> Iterable[LevelTouched]:
        """What a base bar touches."""
        mine = self._followed.get(bar.symbol)
        if mine is None:
            return ()
        found, left = [], []
        for one in mine:
            touched = _touched(one, bar, late=late, recv_ms=recv_ms) if bar.open_ms >= one.close_ms else None
            if touched is None:
                left.append(one)
            else:
                found.append(touched)
        if left:
            self._followed[bar.symbol] = left
        else:
            del self._followed[bar.symbol]
        return found

    def forget(self, symbol: str) -> None:
        """Follow nothing of a symbol any more."""
        self._followed.pop(symbol, None)

    def saved(self) -> Any:
        """What `restore` makes it again."""
        return msgspec.to_builtins(self._followed)

    def restore(self, saved: Any) -> None:
        """Become what was saved. Raises msgspec.ValidationError where that is nothing of the kind."""
        self._followed = msgspec.convert(saved, dict[str, list[Followed]])


def _touched(one: Followed, bar: Bar, *, late: bool, recv_ms: int) -> LevelTouched | None:
    terms, fills = one.terms, [[0, 0, 0], [0, 0, 0]]
    prices = bar.open_ms, tick_of(bar.open, terms), tick_of(bar.high, terms), tick_of(bar.low, terms), 0.0
    if not on_bar(one.state, one.legs, prices, terms, _NO_FRICTION, PESSIMISTIC, fills):
        return None
    fill = fills[0]
    return LevelTouched(
        signal_id=one.signal_id,
        symbol=bar.symbol,
        strategy=one.strategy,
        side=one.side,
        timeframe=one.timeframe,
        level=_LEVELS[fill[FILL_REASON]],
        price=fill[FILL_TICKS] * terms.unit / terms.per,
        ms=bar.open_ms,
        ambiguous=one.state[AMBIGUOUS] > 0,
        late=late,
        recv_ms=recv_ms,
    )
