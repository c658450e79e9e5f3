"""Where each symbol's series start: where an earlier run had them start, else a window before now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tapewatch.engine import start_of, windows_of
from tapewatch.feeds import SeriesPlan
from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.store import SeriesState
from tapewatch.strategy import Strategy
from tapewatch.telemetry import get_logger

_log = get_logger("live")
#: A ledger whose last bar is older than this starts anew: what it missed is history, and perhaps it was a simulation's.
TOO_OLD_MS = 30 * DAY_MS


def plan_series(
    symbols: Sequence[str], strategies: Iterable[Strategy], known: Iterable[SeriesState], now_ms: int
) -> list[SeriesPlan]:
    """What the feed must bring for every symbol, so that this run's series start where the ledger says they do.

    All series of a first start are counted back from one moment, the last close of the largest interval, so that one
    start gives all the others (`signals --history-start`).
    """
    stored = {(state.symbol, state.interval_ms): state for state in known}
    for symbol in symbols:
        base = stored.get((symbol, MINUTE_MS))
        if base is not None and base.last_open_ms is not None and base.last_open_ms < now_ms - TOO_OLD_MS:
            _log.warning("series_start_anew", symbol=symbol, last_open_ms=base.last_open_ms)
            stored = {key: state for key, state in stored.items() if key[0] != symbol}
    strategies = list(strategies)
    return [_plan(symbol, [one for one in strategies if one.watches(symbol)], stored, now_ms) for symbol in symbols]


def _plan(
    symbol: str, strategies: Sequence[Strategy], stored: Mapping[tuple[str, int], SeriesState], now_ms: int
) -> SeriesPlan:
    windows = {MINUTE_MS: 0, **windows_of(strategies)}
    anchor_ms = now_ms // max(windows) * max(windows)
    starts = {interval_ms: start_of(anchor_ms, interval_ms, window) for interval_ms, window in windows.items()}
    for interval_ms, start_ms in starts.items():
        state = stored.get((symbol, interval_ms))
        if state is not None:
            starts[interval_ms] = min(start_ms, state.history_start_ms)
    base = stored.get((symbol, MINUTE_MS))
    return SeriesPlan(symbol, starts.pop(MINUTE_MS), starts, base.last_open_ms if base is not None else None)


def states_of(plans: Iterable[SeriesPlan]) -> list[SeriesState]:
    """The starts of all planned series, as the ledger keeps them."""
    return [
        SeriesState(plan.symbol, interval_ms, start_ms)
        for plan in plans
        for interval_ms, start_ms in {MINUTE_MS: plan.base_start_ms, **plan.larger}.items()
    ]
