"""What the engine knows of the market around a signal: its outlook, and the symbols that move with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tapewatch.assets import split
from tapewatch.bars import Saved
from tapewatch.engine.rings import HOUR_SLOTS, SLOT_MS, correlation
from tapewatch.engine.series import Frame, Series
from tapewatch.engine.settings import MarketSettings
from tapewatch.gate import Kin
from tapewatch.model import (
    INTERVALS_MS,
    MINUTE_MS,
    Context,
    LastPassed,
    Mover,
    Outlook,
    Signal,
    Surroundings,
)
from tapewatch.strategy import Strategy

#: Symbols are alerted lately when a signal of theirs passed within this time; so many are looked at, and so many shown.
LATELY_MS = 15 * MINUTE_MS
LATELY = 50
SHOWN = 5
#: They move with a signal's symbol from this correlation on, either way.
MOVES_WITH = 0.5


class Market:
    """The market around signals, of one engine.

    Args:
        settings: what is wanted.
        series: what the engine keeps of each symbol; looked at, never changed.
        passed: signals that passed in an earlier run.
    """

    def __init__(
        self, settings: MarketSettings, series: Mapping[str, Series], passed: Iterable[LastPassed] = ()
    ) -> None:
        self.settings = settings
        self._series = series
        self._kept_ms = max(LATELY_MS, settings.correlated_window_ms if settings.correlated is not None else 0)
        #: (strategy, symbol, side) -> the last signal that passed, in order.
        self._lately: dict[tuple[str, str, str], LastPassed] = {}
        #: Vectors of one slot: what closes now lies in a later one, so they stay as they are.
        self._slot = -1
        self._vectors: dict[str, tuple[float, ...] | None] = {}
        #: Quote asset -> symbols of BTC.
        self._bitcoins: dict[str, list[str]] = {}
        for last in sorted(set(passed), key=lambda one: (one.close_ms, *msgspec.structs.astuple(one))):
            self.passed(last)

    def watch(self, symbol: str) -> bool:
        """A symbol has a series now; returns whether its volume must be counted, to choose among symbols of BTC."""
        base, quote = split(symbol)
        if base != "BTC" or not self.settings.correlation:
            return False
        if symbol not in (symbols := self._bitcoins.setdefault(quote, [])):
            symbols.append(symbol)
        return True

    def forget(self, symbol: str) -> None:
        """It has none any more."""
        self._vectors.pop(symbol, None)
        for symbols in self._bitcoins.values():
            if symbol in symbols:
                symbols.remove(symbol)

    def closed(self, symbol: str, slot: int) -> None:
        """A base bar of a symbol closed in a slot: what was made of that slot before is not true any more."""
        if slot <= self._slot:
            self._vectors.pop(symbol, None)

    def passed(self, last: LastPassed) -> None:
        """A signal passed."""
        lately = self._lately
        while lately and lately[oldest := next(iter(lately))].close_ms <= last.close_ms - self._kept_ms:
            del lately[oldest]
        lately.pop(_key(last), None)
        lately[_key(last)] = last

    def found(self, signal: Signal, series: Series, strategy: Strategy) -> Signal:
        """A candidate with the outlooks at its bar, larger bars that close with it included."""
        if not self.settings.outlooks:
            return signal
        names = [signal.timeframe, strategy.higher.get(signal.timeframe)]
        frames = [series.frames[INTERVALS_MS[name]] for name in names if name is not None]
        outlooks = tuple(_outlook(frame) for frame in frames)
        return msgspec.structs.replace(signal, context=Surroundings(outlooks=outlooks))

    def kin(self, signal: Signal) -> Kin | None:
        """Of the signals of the same strategy that passed within the window the one a candidate moves with most.

        Only of others' symbols, with the check's correlation at least: of the same side, or of the other side where
        the correlation is negative.
        """
        least = self.settings.correlated
        if least is None:
            return None
        since_ms = signal.close_ms - self.settings.correlated_window_ms
        passed = [
            last
            for last in self._lately.values()
            if last.strategy == signal.strategy and last.symbol != signal.symbol and last.close_ms > since_ms
        ]
        with_them, best = self._correlations(signal, [last.symbol for last in passed]), None
        for last in passed:
            found = with_them.get(last.symbol, 0.0)
            same = (found > 0) == (last.side == signal.side)
            if same and abs(found) >= least and (best is None or abs(found) > abs(best.correlation)):
                best = Kin(last, found, least)
        return best

    def surroundings(self, signal: Signal, context: Context | None, *, late: bool) -> Surroundings | None:
        """What is known around a candidate when it is decided; `late` says that its bar came late."""
        settings = self.settings
        if not settings.around:
            return None
        around = signal.context or Surroundings()
        known = _answered(signal, context, late=late) if settings.asks else {}
        return msgspec.structs.replace(
            around,
            btc_correlation=self._with_bitcoin(signal) if settings.correlation else None,
            movers=tuple(self._movers(signal)) if settings.movers else (),
            **known,
        )

    def mover(self, signal: Signal, correlated: float) -> Mover:
        """A candidate that another one's alert stands for."""
        return Mover(signal.symbol, correlated, self._move(signal, signal.symbol), listed=True)

    def _movers(self, signal: Signal) -> list[Mover]:
        """The symbols alerted lately that move with a candidate's, the most correlated first."""
        since_ms, symbols = signal.close_ms - LATELY_MS, dict[str, None]()
        for last in reversed(self._lately.values()):
            if len(symbols) == LATELY:
                break
            if last.symbol != signal.symbol and last.close_ms > since_ms:
                symbols[last.symbol] = None
        with_them = [one for one in self._correlations(signal, symbols).items() if abs(one[1]) >= MOVES_WITH]
        with_them.sort(key=lambda one: (-abs(one[1]), one[0]))
        return [Mover(symbol, found, self._move(signal, symbol)) for symbol, found in with_them[:SHOWN]]

    def _with_bitcoin(self, signal: Signal) -> float | None:
        most = self.bitcoin_for(signal.symbol)
        return None if most is None else self._correlations(signal, [most]).get(most)

    def bitcoin_for(self, symbol: str) -> str | None:
        """The symbol of BTC that another one is compared with: of the same quote asset, the most traded."""
        base, quote = split(symbol)
        symbols = self._bitcoins.get(quote) or [one for some in self._bitcoins.values() for one in some]
        if base == "BTC" or not symbols:
            return None
        return symbols[0] if len(symbols) == 1 else min(symbols, key=self._traded)

    def _traded(self, symbol: str) -> tuple[float, str]:
        """What orders symbols of one base asset, whatever their quotes: the volume in base units, then the name."""
        series = self._series[symbol]
        last = series.closes.last if series.closes is not None else 0.0
        return series.rank()[0] / (last or math.inf), symbol

    def _correlations(self, signal: Signal, others: Iterable[str]) -> dict[str, float]:
        """Of a candidate's symbol with others, where there is one, on the slots that had ended before its bar closed.

        Whoever else closes with it is in a later slot: in which order they come changes nothing.
        """
        slot = _slot_of(signal)
        if slot != self._slot:
            self._slot, self._vectors = slot, {}
        own = self._vector(signal.symbol)
        if own is None:
            return {}
        vectors = ((other, self._vector(other)) for other in others)
        return {other: correlation(own, vector) for other, vector in vectors if vector is not None}

    def _vector(self, symbol: str) -> tuple[float, ...] | None:
        if symbol in self._vectors:
            return self._vectors[symbol]
        series = self._series.get(symbol)
        closes = series.closes if series is not None else None
        vector = self._vectors[symbol] = None if closes is None else closes.vector(self._slot)
        return vector

    def _move(self, signal: Signal, symbol: str) -> float:
        """From the five-minute mark 55 to 60 minutes before a candidate to the last close of a symbol, in percent.

        Of a symbol whose correlation with it is known.
        """
        closes = self._series[symbol].closes
        before = closes.at(_slot_of(signal) - HOUR_SLOTS + 1) if closes is not None else None
        assert closes is not None
        assert before is not None
        return 100 * (closes.last / before - 1)

    def saved(self) -> Saved:
        """What `restore` makes it again; symbols are watched apart."""
        return [msgspec.structs.astuple(last) for last in self._lately.values()]

    def restore(self, saved: Saved) -> None:
        """Become what was saved."""
        lately = (LastPassed(*last) for last in saved)
        self._lately = {_key(last): last for last in lately}


def _key(last: LastPassed) -> tuple[str, str, str]:
    return last.strategy, last.symbol, last.side


def _slot_of(signal: Signal) -> int:
    return (signal.close_ms - 1) // SLOT_MS


def _answered(signal: Signal, context: Context | None, *, late: bool) -> dict[str, Any]:
    """What an answer says of a candidate, fields of `Surroundings`; without one, whether that is missed."""
    if context is None:
        return {"missing": ("quotes (the bar came late)",)} if late else {}
    depth = context.bids_quote + context.asks_quote
    slippage = context.buy_slippage_bps if signal.side == "long" else context.sell_slippage_bps
    return {
        "spread_bps": _known(10_000 * context.spread),
        "imbalance": _known((context.bids_quote - context.asks_quote) / depth) if depth else None,
        "slippage_bps": _known(slippage),
        "slippage_quote": _known(context.slippage_quote),
        "hourly_volume_quote": _known(context.hourly_volume_quote),
        "funding_rate": _known(context.funding_rate),
        "next_funding_ms": context.next_funding_ms or None,
        "missing": context.missing,
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _outlook(frame: Frame) -> Outlook:
    assert frame.outlook is not None
    return frame.outlook.outlook(frame.count)
