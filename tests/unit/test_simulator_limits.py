"""Request weight is counted by the minute; going on after a refusal is a ban, each twice as long."""

import pytest

from tapewatch.simulator import Limits
from tapewatch.simulator import limits as counting
from tapewatch.simulator.limits import Meter, RollingWindow


class Wall:
    """A wall clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1_700_000_040.0  # on a minute
        monkeypatch.setattr(counting.time, "time", lambda: self.now_s)
        monkeypatch.setattr(counting.time, "monotonic", lambda: self.now_s)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """The wall clock of the counting code."""
    return Wall(monkeypatch)


def test_weight_is_free_again_in_the_next_clock_minute(wall: Wall) -> None:
    """A refusal tells the seconds until then."""
    meter = Meter(Limits(weight_per_minute=10))
    wall.now_s += 45
    assert meter.charge(10) is None
    refusal = meter.charge(1)
    assert refusal is not None
    assert (refusal.status, refusal.retry_after_s, refusal.limit) == (429, 16, "weight")
    assert "current limit is 10 request weight per 1 MINUTE" in refusal.message
    wall.now_s += 15
    assert meter.charge(3) is None
    assert meter.used == 3


def test_bans_double_up_to_three_days(wall: Wall) -> None:
    """Each time a client goes on after the refusals that are allowed; during a ban every request is 418."""
    meter = Meter(Limits(weight_per_minute=0, refusals_before_ban=1, ban_s=120, ban_max_s=500))
    lengths = []
    for _ in range(4):
        first, second = meter.charge(1), meter.charge(1)
        assert first is not None
        assert second is not None
        assert (first.status, second.status) == (429, 418)
        assert f"IP banned until {int((wall.now_s + second.retry_after_s - 1) * 1000)}" in second.message
        lengths.append(second.retry_after_s - 1)
        wall.now_s += second.retry_after_s - 2
        during = meter.charge(1)
        assert during is not None
        assert (during.status, during.retry_after_s, during.limit) == (418, 2, "ban")
        wall.now_s += 61
    assert lengths == [120, 240, 480, 500]


def test_raw_requests_are_counted_over_five_minutes(wall: Wall) -> None:
    """Whatever they weigh."""
    meter = Meter(Limits(requests_per_5m=2))
    assert [meter.charge(0), meter.charge(0)] == [None, None]
    refusal = meter.charge(0)
    assert refusal is not None
    assert (refusal.status, refusal.limit) == (429, "requests")
    assert "raw requests per 5 MINUTE" in refusal.message
    wall.now_s += 300
    assert meter.charge(0) is None


def test_a_rolling_window_admits_its_limit_in_any_window(wall: Wall) -> None:
    """Not a bucket that refills: a burst is forgotten only when it is a whole window old."""
    window = RollingWindow(2, 1.0)
    assert [window.admit(), window.admit(), window.admit()] == [True, True, False]
    wall.now_s += 0.99
    assert not window.admit()
    wall.now_s += 0.02
    assert [window.admit(), window.admit(), window.admit()] == [True, True, False]
