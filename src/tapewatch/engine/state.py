"""An engine's state as bytes and back, to the last bit: every series, every window, the gate's memory, what is held.

Symbol by symbol, so that whoever saves 2,000 of them can do other things in between: the engine may go on meanwhile,
as long as `Saving.before` sees every event first.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tapewatch.engine.engine import Engine
from tapewatch.errors import DataError
from tapewatch.model import BarClosed, Event, History, Universe

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Saving:
    """The state that an engine has now, handed out in pieces.

    Args:
        engine: may process events while this is under way.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._left = dict.fromkeys(engine.symbols())
        self._pieces = [_encode(engine.saved())]

    def before(self, event: Event) -> None:
        """Save what this event is going to change, unless that is done; call it before the engine has it."""
        if isinstance(event, BarClosed | History):
            self._save(event.bar.symbol)
        elif isinstance(event, Universe):
            for symbol in (*event.gone, *event.anew):
                self._save(symbol)

    def take(self, symbols: int) -> list[bytes]:
        """The next pieces, of at least so many symbols; empty when there are no more."""
        for symbol in list(self._left)[:symbols]:
            self._save(symbol)
        pieces, self._pieces = self._pieces, []
        return pieces

    def _save(self, symbol: str) -> None:
        if symbol in self._left:
            del self._left[symbol]
            self._pieces.append(_encode([symbol, self._engine.saved_series(symbol)]))


def load(engine: Engine, pieces: Iterable[bytes]) -> None:
    """Give a fresh engine, made of the same strategies and settings, a saved state.

    Raises:
        DataError: the pieces are no state, or another engine's; this engine cannot be used then.
    """
    try:
        for number, piece in enumerate(pieces):
            saved = _decode(piece)
            if number == 0:
                engine.restore(saved)
            else:
                symbol, of_symbol = saved
                engine.restore_series(symbol, of_symbol)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise DataError(f"the engine's state cannot be read: {error}") from None
