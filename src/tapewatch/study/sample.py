"""One alert of a strategy out of stored candles, with all that a run would know of it then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from tapewatch.archive.reader import series
from tapewatch.assets import split
from tapewatch.engine.settings import CANDLES
from tapewatch.model import INTERVALS_MS, Record, Signal, alert_id
from tapewatch.record import Kind, record_of
from tapewatch.strategy import Strategy
from tapewatch.study.around import LIVE_MS, surroundings
from tapewatch.study.outcomes import outcomes_of, tallies_of
from tapewatch.study.signals import Request, find

#: Further symbols that are looked at around it.
MOST_OTHERS = 8


class Sample(NamedTuple):
    """An alert: its signal, what had become of those like it, and its candles as open, high, low and close."""

    alert_id: str
    signal: Signal
    record: Record
    candles: tuple[tuple[float, float, float, float], ...]


def sample(
    strategy: Strategy, root: Path, venue: str, symbols: Sequence[str], at_ms: int | None, cost_bps: float
) -> Sample | None:
    """The newest signal that closed at `at_ms` or before; one that the gate lets pass before one that it does not.

    None where there is none.

    Args:
        strategy: whose.
        root: an archive.
        venue: in it.
        symbols: in which of its symbols.
        at_ms: None for the end of the candles.
        cost_bps: what a round trip costs, of the entry.

    Raises:
        SetupError: the archive does not hold what is needed.
    """
    watched = [symbol for symbol in symbols if strategy.watches(symbol)]
    before = None if at_ms is None else at_ms + 1
    found = list(find(strategy, Request(root, venue, watched, to_ms=before)))
    chosen = next(_newest(found), None)
    if chosen is None:
        return None
    earlier = [signal for signal in found if signal.close_ms < chosen.close_ms and signal.timeframe == chosen.timeframe]
    request = Request(root, venue, watched, [chosen.timeframe], until_ms=chosen.close_ms)
    known = outcomes_of(strategy, request, earlier, cost_bps)
    kind = Kind(chosen.strategy, chosen.side, chosen.timeframe)
    record = record_of(kind, tallies_of(known)[kind], known.baselines[kind], cost_bps)
    context = surroundings(strategy, root, chosen, _others(found, chosen))
    chosen = msgspec.structs.replace(chosen, context=context)
    identity = alert_id(chosen.venue, chosen.symbol, chosen.timeframe, chosen.close_ms)
    return Sample(identity, chosen, record, tuple(_candles(root, chosen)))


def _others(found: Sequence[Signal], chosen: Signal) -> list[str]:
    """BTC, and symbols in which the strategy found something lately."""
    since_ms = chosen.close_ms - LIVE_MS
    lately = [signal.symbol for signal in found if since_ms < signal.close_ms <= chosen.close_ms]
    return list(dict.fromkeys([f"BTC{split(chosen.symbol)[1]}", *reversed(lately)]))[:MOST_OTHERS]


def _newest(found: Sequence[Signal]) -> Iterator[Signal]:
    passed = (signal for signal in reversed(found) if all(verdict.passed for verdict in signal.verdicts))
    yield from passed
    yield from reversed(found)


def _candles(root: Path, signal: Signal) -> Iterator[tuple[float, float, float, float]]:
    stored = series(root, signal.venue, signal.symbol, signal.timeframe)
    interval_ms = INTERVALS_MS[signal.timeframe]
    end = int((stored.open_ms + interval_ms).searchsorted(signal.close_ms, "right"))
    columns = (stored.open, stored.high, stored.low, stored.close)
    yield from zip(*(column[max(0, end - CANDLES) : end].tolist() for column in columns), strict=True)
