"""Where the time of an alert goes, stage by stage; told the time, no clock runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.telemetry.stages import BOUNDARIES, RECENT, STAGES, WAITING, Stages, percentile

MINUTE_MS = 60_000


class Rig:
    """Stages and what they observed."""

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self.stages = Stages(lambda stage, span_s: self.seen[stage].append(span_s))

    def last(self) -> list[float]:
        """Of each stage what came last, in their order."""
        return [round(spans[-1], 6) for spans in self.seen.values()]


def test_each_stage_is_its_own_part_of_the_whole() -> None:
    """From a delay of 80 ms on, with context that took 400 ms, on two channels one after the other."""
    rig = Rig()
    rig.stages.came("AUSDT", MINUTE_MS, 0.08, 100.0)
    rig.stages.stored("a", "AUSDT", MINUTE_MS, 100.4, 100.41)
    rig.stages.delivered("a", 100.43, 100.5)
    assert rig.last() == [0.08, 0.4, 0.01, 0.02, 0.07, 0.58]
    rig.stages.delivered("a", 160.41, 160.5)
    assert rig.last() == [0.08, 0.4, 0.01, 60.0, 0.09, 60.58]
    assert rig.stages.percentiles()["queue"] == {"p50": pytest.approx(0.02), "p95": 60.0, "p99": 60.0}


def test_what_is_not_known_is_not_measured() -> None:
    """An alert of an earlier run, of a bar that came long ago, or of another symbol."""
    rig = Rig()
    rig.stages.delivered("earlier", 1.0, 2.0)
    rig.stages.stored("history", "AUSDT", MINUTE_MS, 1.0, 2.0)
    rig.stages.delivered("history", 1.0, 2.0)
    for minute in range(BOUNDARIES + 1):
        rig.stages.came("AUSDT", minute * MINUTE_MS, 0.1, minute * 60.0)
    rig.stages.stored("old", "AUSDT", 0, 500.0, 501.0)
    rig.stages.delivered("old", 502.0, 503.0)
    assert not any(rig.seen.values())
    assert rig.stages.percentiles() == {}
    rig.stages.stored("new", "AUSDT", MINUTE_MS, 500.0, 501.0)
    rig.stages.delivered("new", 502.0, 503.0)
    assert len(rig.seen["total"]) == 1


def test_memory_stays_flat() -> None:
    """Of bars without alerts, of alerts that are never delivered, and of deliveries without end."""
    rig = Rig()
    for number in range(WAITING + 10):
        rig.stages.came("AUSDT", number * MINUTE_MS, 0.1, 1.0)
        rig.stages.stored(f"a{number}", "AUSDT", number * MINUTE_MS, 2.0, 3.0)
    rig.stages.delivered("a0", 4.0, 5.0)
    assert rig.seen["total"] == []
    for _ in range(RECENT):
        rig.stages.delivered(f"a{WAITING}", 4.0, 5.0)
    rig.stages.delivered(f"a{WAITING + 1}", 4.0, 9.0)
    assert rig.stages.percentiles()["deliver"] == {"p50": 1.0, "p95": 1.0, "p99": 1.0}


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.integers(0, 100))
def test_a_percentile_is_a_value_that_was_seen(values: list[float], share: int) -> None:
    """The smallest that so many percent do not exceed."""
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert sum(value <= found for value in ordered) * 100 >= share * len(ordered)
    assert all(
        sum(value <= other for value in ordered) * 100 < share * len(ordered) for other in ordered if other < found
    )
