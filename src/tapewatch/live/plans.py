"""Where each symbol's series start: where an earlier run had them start, else a window before now."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tapewatch.engine import Engine, MarketSettings, start_of, windows_of
from tapewatch.feeds import Instrument, SeriesPlan
from tapewatch.model import DAY_MS, MINUTE_MS, Universe
from tapewatch.store import SeriesState
from tapewatch.strategy import Strategy
from tapewatch.telemetry import get_logger

_log = get_logger("live")
#: A ledger whose last bar is older than this starts anew: what it missed is history, and perhaps it was a simulation's.
TOO_OLD_MS = 30 * DAY_MS


def resumed(engine: Engine, symbols: Iterable[str], now_ms: int) -> tuple[dict[str, int], Universe | None]:
    """With an engine that has recovered: symbol -> last base bar, of those it goes on with; and which ones it does not.

    Not those that are watched no more, whose last bar is too old, or whose first windows were not complete.
    """
    positions = engine.positions()
    chosen = set(symbols)
    wanted = chosen - set(engine.unfinished())
    kept = {symbol: ms for symbol, ms in positions.items() if symbol in wanted and ms >= now_ms - TOO_OLD_MS}
    lost = set(engine.symbols()) - set(kept)
    held = lost | set(engine.traded()) | set(engine.followed())
    gone, anew = held - chosen, lost & chosen
    return kept, Universe(now_ms, (), tuple(sorted(gone)), anew=tuple(sorted(anew))) if gone or anew else None


def plan_series(
    instruments: Sequence[Instrument],
    strategies: Iterable[Strategy],
    known: Iterable[SeriesState],
    now_ms: int,
    positions: Mapping[str, int] | None = None,
    market: MarketSettings | None = None,
) -> list[SeriesPlan]:
    """What the feed must bring for every instrument, so that this run's series start where the ledger says they do.

    All series of a first start are counted back from one moment, the last close of the largest interval, so that one
    start gives all the others (`signals --history-start`). A series that the engine has in `positions` only goes on.
    `market` is what they are to know beside what strategies read.
    """
    positions = positions or {}
    stored = {(state.symbol, state.interval_ms): state for state in known}
    for symbol in [instrument.symbol for instrument in instruments]:
        base = stored.get((symbol, MINUTE_MS))
        if base is not None and base.last_open_ms is not None and base.last_open_ms < now_ms - TOO_OLD_MS:
            _log.warning("series_start_anew", symbol=symbol, last_open_ms=base.last_open_ms)
            stored = {key: state for key, state in stored.items() if key[0] != symbol}
    strategies = list(strategies)
    return [
        _continued(instrument, stored.get((instrument.symbol, MINUTE_MS)), positions[instrument.symbol])
        if instrument.symbol in positions
        else _plan(instrument, [one for one in strategies if one.watches(instrument.symbol)], stored, now_ms, market)
        for instrument in instruments
    ]


def _continued(instrument: Instrument, base: SeriesState | None, position_ms: int) -> SeriesPlan:
    # What the ledger knows as decided stays so, though the journal's end may have been lost.
    decided_ms = max(position_ms, (base.last_open_ms if base is not None else None) or 0)
    return SeriesPlan(instrument.symbol, position_ms + MINUTE_MS, {}, decided_ms, _volume(instrument))


def _volume(instrument: Instrument) -> float:
    return 0.0 if math.isnan(instrument.quote_volume_24h) else instrument.quote_volume_24h


def _plan(
    instrument: Instrument,
    strategies: Sequence[Strategy],
    stored: Mapping[tuple[str, int], SeriesState],
    now_ms: int,
    market: MarketSettings | None,
) -> SeriesPlan:
    symbol = instrument.symbol
    windows = {MINUTE_MS: 0, **windows_of(strategies, market)}
    anchor_ms = now_ms // max(windows) * max(windows)
    starts = {interval_ms: start_of(anchor_ms, interval_ms, window) for interval_ms, window in windows.items()}
    for interval_ms, start_ms in starts.items():
        state = stored.get((symbol, interval_ms))
        if state is not None:
            starts[interval_ms] = min(start_ms, state.history_start_ms)
    base = stored.get((symbol, MINUTE_MS))
    last_open_ms = base.last_open_ms if base is not None else None
    return SeriesPlan(symbol, starts.pop(MINUTE_MS), starts, last_open_ms, _volume(instrument))


def states_of(plans: Iterable[SeriesPlan], positions: Mapping[str, int] | None = None) -> list[SeriesState]:
    """The starts of all planned series, as the ledger keeps them; those that only go on have theirs already."""
    return [
        SeriesState(plan.symbol, interval_ms, start_ms)
        for plan in plans
        if plan.symbol not in (positions or {})
        for interval_ms, start_ms in {MINUTE_MS: plan.base_start_ms, **plan.larger}.items()
    ]


def seen_by(account: Mapping[str, Any] | None, instruments: Iterable[Instrument]) -> list[SeriesState]:
    """How far a paper account, as the ledger shows it, has seen the bars of these; what came since it must see."""
    if account is None or account["at_ms"] < 0:
        return []
    last_open_ms = account["at_ms"] - MINUTE_MS
    return [SeriesState(one.symbol, MINUTE_MS, last_open_ms, last_open_ms) for one in instruments]


def base_of(plan: SeriesPlan) -> SeriesPlan:
    """The plan without larger intervals, which a paper book has no use for."""
    return replace(plan, larger={})
