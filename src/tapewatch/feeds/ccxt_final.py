"""Whether a candle of REST is final. Pure: it is told what REST and the stream showed.

REST's newest candles change after their end on many exchanges, and the library has no flag that says when they are
done. A candle is final when REST and the stream agree on it and the stream has begun the next one; or when it has
settled and the stream has not seen more trades in it than REST; or when REST says the same twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tapewatch.model import Bar

#: So many settled candles in a row that REST repeated unchanged against the stream: their figures are of two kinds.
UNLIKE = 5


class Witness(Protocol):
    """What a stream showed."""

    def newest_ms(self, symbol: str) -> int: ...  # noqa: D102

    def last_seen(self, symbol: str, open_ms: int) -> Bar | None: ...  # noqa: D102


def figures(bar: Bar) -> tuple[float, ...]:
    """What every source of candles has."""
    return (bar.open, bar.high, bar.low, bar.close, bar.volume)


class Finality:
    """Judges one candle of REST after the other.

    Args:
        witness: the stream, None where there is none: then what has settled is final.
        unlike: told once when the stream's figures are found to be of another kind than REST's; it is no witness then.
    """

    def __init__(self, witness: Witness | None, unlike: Callable[[], None]) -> None:
        self._witness = witness
        self._unlike = unlike
        self._doubted: dict[str, Bar] = {}
        self._overruled = 0

    def is_final(self, bar: Bar, settled_ms: int) -> bool:
        """Whether a candle that REST just gave can go out.

        Args:
            bar: the candle; one that is not final may be asked about again with REST's next answer.
            settled_ms: candles that end up to this have settled.
        """
        settled = bar.close_ms <= settled_ms
        seen = self._witness.last_seen(bar.symbol, bar.open_ms) if self._witness is not None else None
        if self._witness is None or seen is None:
            return settled
        if figures(seen) == figures(bar):
            self._overruled = 0
            return settled or self._witness.newest_ms(bar.symbol) > bar.open_ms
        if not settled:
            return False
        if seen.volume < bar.volume:  # it missed the end
            return True
        return self._said_twice(bar)

    def forget(self, symbol: str) -> None:
        """Nothing more is asked of this symbol."""
        self._doubted.pop(symbol, None)

    def _said_twice(self, bar: Bar) -> bool:
        before = self._doubted.get(bar.symbol)
        if before is None or before.open_ms != bar.open_ms or figures(before) != figures(bar):
            self._doubted[bar.symbol] = bar
            return False
        del self._doubted[bar.symbol]
        self._overruled += 1
        if self._overruled >= UNLIKE:
            self._witness = None
            self._unlike()
        return True
