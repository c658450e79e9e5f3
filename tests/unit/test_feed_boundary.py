"""When a missing bar is asked for, and when a simulated clock may go on; told the time, no clock runs."""

from __future__ import annotations

from tapewatch.feeds.boundary import IMPATIENCE_S, KEPT, PATIENCE_S, Boundaries, Series
from tapewatch.feeds.sequence import Sequence
from tapewatch.feeds.settings import FeedSettings
from tapewatch.model import MINUTE_MS, Bar

START_MS = 1_700_000_040_000
SETTINGS = FeedSettings(settle_ms=3_000, settle_wall_s=0.5, recheck_s=(2.0, 5.0))


def bar(symbol: str, open_ms: int) -> Bar:
    """Any sound bar."""
    return Bar(symbol, MINUTE_MS, open_ms, 1.0, 1.0, 1.0, 1.0, 1.0)


class Watched:
    """Two started symbols at a boundary that just came."""

    def __init__(self) -> None:
        self.series = {name: Series(name, Sequence(START_MS), 0, {}, asked=True, started=True) for name in ("A", "B")}
        self.boundaries = Boundaries(SETTINGS)
        self.boundaries.open(START_MS, 0.0)
        for series in self.series.values():
            self.boundaries.add(series)
        self.boundary_ms = START_MS + MINUTE_MS

    def arrive(self, name: str, wall_s: float) -> None:
        """The symbol's next bar goes out."""
        series = self.series[name]
        series.sequence.offer(bar(name, series.sequence.next_ms))
        series.sequence.release()
        self.boundaries.moved(series, wall_s)

    def to_fetch(self, now_ms: int, wall_s: float) -> list[str]:
        """The names of the symbols to ask for."""
        return [series.symbol for series in self.boundaries.to_fetch(now_ms, wall_s)]


def test_nothing_is_asked_for_before_the_settling_delay() -> None:
    """A bar is missing only when both the exchange's clock and the wall clock have given it time."""
    watched = Watched()
    watched.arrive("A", 10.0)
    assert watched.to_fetch(watched.boundary_ms + 2_999, 20.0) == []
    assert watched.to_fetch(watched.boundary_ms + 3_000, 10.4) == []
    assert watched.to_fetch(watched.boundary_ms + 3_000, 10.5) == ["B"]


def test_the_clock_opens_a_boundary_that_no_frame_told_of() -> None:
    """When nothing at all arrives the boundary still comes."""
    watched = Watched()
    watched.boundaries.open(watched.boundary_ms, 10.0)
    assert watched.to_fetch(watched.boundary_ms + 3_000, 11.0) == ["A", "B"]


def test_a_symbol_being_asked_for_is_not_asked_for_again() -> None:
    """One request a symbol at a time."""
    watched = Watched()
    watched.boundaries.open(watched.boundary_ms, 10.0)
    watched.series["A"].busy = True
    assert watched.to_fetch(watched.boundary_ms + 3_000, 11.0) == ["B"]


def test_what_rest_did_not_have_is_asked_for_again_later_and_later() -> None:
    """The waiting times follow the schedule and its last one repeats; a bar that came starts it anew."""
    watched = Watched()
    watched.arrive("A", 10.0)
    now_ms, wall_s = watched.boundary_ms + 3_000, 11.0
    for wait_s in (2.0, 5.0, 5.0):
        assert watched.to_fetch(now_ms, wall_s) == ["B"]
        watched.boundaries.checked(watched.series["B"], wall_s)
        assert watched.to_fetch(now_ms, wall_s + wait_s - 0.01) == []
        wall_s += wait_s
    watched.arrive("B", wall_s)
    assert watched.series["B"].checks == 0
    assert watched.to_fetch(now_ms, wall_s) == []


def test_a_new_connection_hurries() -> None:
    """After a reconnect nobody waits for the next check."""
    watched = Watched()
    watched.arrive("A", 10.0)
    watched.boundaries.checked(watched.series["B"], 11.0)
    watched.boundaries.hurry(["B", "NOPE"])
    assert watched.to_fetch(watched.boundary_ms + 3_000, 11.0) == ["B"]


def test_the_clock_may_go_on_when_every_bar_is_out() -> None:
    """The boundary is handled with the last symbol's bar, without any waiting."""
    watched = Watched()
    watched.arrive("A", 10.0)
    assert not watched.boundaries.handled(10.0)
    watched.arrive("B", 10.0)
    assert watched.boundaries.handled(10.0)


def test_the_clock_may_go_on_without_a_bar_that_cannot_be_had_yet() -> None:
    """A bar missing at the newest boundary holds the clock for the wall delay only: REST needs the clock to go on."""
    watched = Watched()
    watched.arrive("A", 10.0)
    assert not watched.boundaries.handled(10.4)
    assert watched.boundaries.handled(10.5)


def test_the_clock_waits_for_older_bars_but_not_for_ever() -> None:
    """A symbol that is a minute behind holds the clock until REST answers, or patience ends."""
    watched = Watched()
    watched.arrive("A", 10.0)
    watched.arrive("A", 11.0)
    assert not watched.boundaries.handled(12.0)
    assert watched.boundaries.handled(11.0 + PATIENCE_S)
    assert not watched.boundaries.handled(11.0 + IMPATIENCE_S - 0.1, failing=True)
    assert watched.boundaries.handled(11.0 + IMPATIENCE_S, failing=True)
    watched.boundaries.checked(watched.series["B"], 12.0)
    assert watched.boundaries.handled(12.0)


def test_the_first_windows_are_asked_for_at_once() -> None:
    """A symbol that was never asked for is, whatever the time; then it is asked for like the others."""
    series = Series("A", Sequence(START_MS), 0, {})
    boundaries = Boundaries(SETTINGS)
    boundaries.open(START_MS, 0.0)
    boundaries.add(series)
    assert boundaries.to_fetch(START_MS, 0.0) == [series]
    series.asked = True
    assert boundaries.to_fetch(START_MS, 0.0) == []


def test_a_symbol_that_is_dropped_is_not_waited_for() -> None:
    """Neither asked for nor in the clock's way."""
    watched = Watched()
    watched.arrive("A", 10.0)
    watched.boundaries.remove(watched.series["B"])
    assert watched.boundaries.handled(10.0)
    assert watched.to_fetch(watched.boundary_ms + 3_000, 20.0) == []


def test_nothing_is_handled_before_the_first_windows() -> None:
    """A symbol whose history is still coming is waited for."""
    watched = Watched()
    watched.series["B"].started = False
    watched.arrive("A", 10.0)
    assert not watched.boundaries.handled(11.0)


def test_it_is_known_for_how_long_a_boundary_has_been_known() -> None:
    """Also of boundaries that were passed over, and of those too old to be remembered."""
    watched = Watched()
    watched.boundaries.open(START_MS + MINUTE_MS, 10.0)
    watched.boundaries.open(START_MS + 3 * MINUTE_MS, 12.0)
    known = watched.boundaries.known_for_s
    assert [known(START_MS + minute * MINUTE_MS, 15.0) for minute in (1, 2, 3, 4)] == [5.0, 3.0, 3.0, 0.0]
    for minute in range(4, 2 * KEPT):
        watched.boundaries.open(START_MS + minute * MINUTE_MS, 12.0 + minute)
    newest_s = 12.0 + 2 * KEPT - 1
    assert known(START_MS + (2 * KEPT - 2) * MINUTE_MS, newest_s) == 1.0
    assert known(START_MS + MINUTE_MS, newest_s) == KEPT - 1.0
    watched.boundaries.open(START_MS + 10**6 * MINUTE_MS, newest_s)
    assert known(START_MS + 10**6 * MINUTE_MS, newest_s + 1.0) == 1.0


def test_a_boundary_that_is_only_reckoned_is_not_waited_for() -> None:
    """Bars of a boundary that the exchange has not shown yet come when its clock goes on, which must not wait."""
    watched = Watched()
    watched.arrive("A", 10.0)
    watched.boundaries.open(watched.boundary_ms + MINUTE_MS, 10.1)
    assert not watched.boundaries.handled(11.0)
    assert watched.boundaries.handled(11.0, reached_ms=watched.boundary_ms)
    assert not watched.boundaries.handled(11.0, reached_ms=watched.boundary_ms + MINUTE_MS)
