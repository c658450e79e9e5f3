"""Where the time between a bar's close and the delivery of its alert goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import ceil

#: The stages in their order, and the whole of them.
STAGES = ("receive", "decide", "commit", "queue", "deliver", "total")
#: Percentiles that are shown.
SHOWN = (50, 95, 99)
#: Boundaries of which it is known when their bars came; what is decided later is not measured.
BOUNDARIES = 3
#: Alerts that wait for their delivery; of more only the newest are measured.
WAITING = 2_000
#: Deliveries that the percentiles are of: the newest.
RECENT = 2_000


class Stages:
    """Follows alerts from their bar's arrival to their delivery.

    `receive` is from the bar's close to its arrival, as the feed measures it (by the exchange's clock; in a simulation
    that waits for this program, from the moment its boundary was known here). The others are of this machine's
    monotonic clock: `decide` until the engine has decided, with the context it waits for; `commit` until the alert is
    in the outbox, on disk; `queue` until the attempt begins that delivers it; `deliver` that attempt. `total` is their
    sum. Each delivery of an alert of signals counts, on each channel.

    Args:
        observe: called with each stage and its seconds.
    """

    def __init__(self, observe: Callable[[str, float], None]) -> None:
        self._observe = observe
        self._came: dict[int, dict[str, tuple[float, float]]] = {}
        self._committed: dict[str, tuple[float, tuple[float, float, float]]] = {}
        self._recent: dict[str, deque[float]] = {stage: deque(maxlen=RECENT) for stage in STAGES}

    def came(self, symbol: str, close_ms: int, delay_s: float, at_s: float) -> None:
        """A live bar came, `delay_s` after its close."""
        at_close = self._came.get(close_ms)
        if at_close is None:
            at_close = self._came[close_ms] = {}
            if len(self._came) > BOUNDARIES:
                del self._came[min(self._came)]
        at_close[symbol] = delay_s, at_s

    def delay_s(self, symbol: str, close_ms: int) -> float | None:
        """How long after its close a live bar came; None where that is not known any more."""
        came = self._came.get(close_ms, {}).get(symbol)
        return None if came is None else came[0]

    def stored(self, alert_id: str, symbol: str, close_ms: int, decided_s: float, committed_s: float) -> None:
        """An alert about this symbol's bar was decided and is in the outbox."""
        came = self._came.get(close_ms, {}).get(symbol)
        if came is None:
            return
        delay_s, at_s = came
        spans = (delay_s, max(0.0, decided_s - at_s), committed_s - decided_s)
        self._committed[alert_id] = committed_s, spans
        if len(self._committed) > WAITING:
            del self._committed[next(iter(self._committed))]

    def delivered(self, alert_id: str, started_s: float, ended_s: float) -> Mapping[str, float]:
        """An attempt delivered it, on one of its channels: the seconds of each stage, none where they are not known."""
        known = self._committed.get(alert_id)
        if known is None:
            return {}
        committed_s, before = known
        spans = (*before, max(0.0, started_s - committed_s), max(0.0, ended_s - started_s))
        found = dict(zip(STAGES, (*spans, sum(spans)), strict=True))
        for stage, span_s in found.items():
            self._observe(stage, span_s)
            self._recent[stage].append(span_s)
        return found

    def percentiles(self) -> dict[str, dict[str, float]]:
        """Stage -> `p50`, `p95` and `p99` in seconds of the newest deliveries; empty before the first."""
        found = {stage: sorted(recent) for stage, recent in self._recent.items() if recent}
        return {stage: {f"p{share}": percentile(spans, share) for share in SHOWN} for stage, spans in found.items()}


def percentile(ordered: Sequence[float], share: int) -> float:
    """The smallest of ordered values that `share` percent of them do not exceed."""
    return ordered[max(0, ceil(len(ordered) * share / 100) - 1)]
