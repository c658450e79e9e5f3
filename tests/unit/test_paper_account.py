"""What an account lets in: room under its limits, and what its protections do after closed positions."""

from __future__ import annotations

from array import array
from math import inf

import pytest

from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.paper import account, rules
from tapewatch.paper.account import Limits, Protections

LIMITS = Limits(risk=0.01, size_quote=0.0, cap_symbol=0.5, cap_side=0.8, cap_total=1.0, leverage=2.0, fee=0.0)
OFF = Protections(0.0, 0.0, 0, 0, 0, 0)
DAY = 19_000 * DAY_MS
HOUR_MS = 60 * MINUTE_MS


def begun(cash: float = 1_000.0) -> list[float]:
    """The row of an account in which nothing has closed."""
    guard = [7.0] * account.GUARD_PLACES
    account.begin_guard(guard, cash)
    return guard


def after(protections: Protections, *closed: tuple[int, float]) -> tuple[list[int], list[float]]:
    """What each (time, net) led to, and the row."""
    guard = begun()
    return [account.count_closed(guard, protections, ms, net) for ms, net in closed], guard


@pytest.mark.parametrize(
    ("others", "size", "expected"),
    [
        ((0.0, 0.0, 0.0), 0.0, (10.0, 500.0)),  # 1% of 1,000 over a stop of 2% of the close
        ((600.0, 600.0, 600.0), 0.0, (10.0, 400.0)),  # the symbol may have 1,000
        ((0.0, 1_350.0, 1_350.0), 0.0, (10.0, 250.0)),  # the side 1,600
        ((0.0, 0.0, 1_990.0), 0.0, (10.0, 10.0)),  # all 2,000
        ((0.0, 0.0, 2_100.0), 0.0, (10.0, -100.0)),
        ((0.0, 0.0, 0.0), 70.0, (inf, 70.0)),
        ((950.0, 950.0, 950.0), 70.0, (inf, 50.0)),
    ],
)
def test_room_is_what_the_tightest_limit_leaves(
    others: tuple[float, float, float], size: float, expected: tuple[float, float]
) -> None:
    """By risk or by size."""
    limits = LIMITS._replace(size_quote=size)
    assert account.room(limits, 1_000.0, *others, 2.0, 100.0) == pytest.approx(expected)


def test_what_is_bought_can_be_paid_with_its_fee() -> None:
    """Of 1,000 with a fee of 1%, 990.10 can be bought on spot; with a leverage of 2 it is 2,000 / 1.02."""
    limits = LIMITS._replace(size_quote=9_999.0, cap_symbol=2.0, cap_side=2.0, cap_total=2.0, fee=0.01)
    assert account.room(limits._replace(leverage=1.0), 1_000.0, 0.0, 0.0, 0.0, 2.0, 100.0)[1] == pytest.approx(
        1_000 / 1.01
    )
    assert account.room(limits, 1_000.0, 0.0, 0.0, 0.0, 2.0, 100.0)[1] == pytest.approx(2_000 / 1.02)
    assert account.room(limits, 1_000.0, 0.0, 0.0, 500.0, 2.0, 100.0)[1] == pytest.approx(2_000 / 1.02 - 500)


def test_what_closes_at_midnight_is_of_the_day_that_ends() -> None:
    """A loss in the last minute pauses nothing of the next day, and is no loss of that day."""
    guards = OFF._replace(daily_loss=0.05)
    said, guard = after(guards, (DAY, -60.0), (DAY + HOUR_MS, -46.0))
    assert said == [0, 0]  # 5% of the 940 that are left would be 47
    assert account.count_closed(guard, guards, DAY + 2 * HOUR_MS, -1.0) == account.DAILY_LOSS
    assert guard[account.G_UNTIL_MS] == DAY + DAY_MS


def test_a_days_losses_pause_until_the_next_day() -> None:
    """Of what the account had at the day's begin; gains of the day count, those of days before do not."""
    guards = OFF._replace(daily_loss=0.05)
    before = (DAY - HOUR_MS, 500.0)  # the day begins with 1,500: 75 may be lost
    said, guard = after(guards, before, (DAY + MINUTE_MS, -74.0), (DAY + HOUR_MS, 10.0), (DAY + 2 * HOUR_MS, -10.0))
    assert said == [0, 0, 0, 0]
    assert account.count_closed(guard, guards, DAY + 3 * HOUR_MS, -1.0) == account.DAILY_LOSS
    assert guard[account.G_SINCE_MS] == DAY + 3 * HOUR_MS
    assert account.count_closed(guard, guards, DAY + 4 * HOUR_MS, -1.0) == 0  # it is paused for as long already
    assert account.paused(guard, DAY + DAY_MS - 1)
    assert not account.paused(guard, DAY + DAY_MS)
    assert account.count_closed(guard, guards, DAY + DAY_MS, -1.0) == 0  # a new day with its own losses


def test_a_drawdown_pauses_and_starts_a_new_peak() -> None:
    """For its time from the close; only as much again pauses again."""
    guards = OFF._replace(max_drawdown=0.1, drawdown_pause_ms=5 * HOUR_MS)
    said, guard = after(guards, (DAY, 200.0), (DAY + 1, -119.0), (DAY + 2, -1.0), (DAY + 3, -107.0))
    assert said == [0, 0, account.MAX_DRAWDOWN, 0]
    assert guard[account.G_UNTIL_MS] == DAY + 2 + 5 * HOUR_MS
    assert account.count_closed(guard, guards, DAY + 4, -1.0) == account.MAX_DRAWDOWN
    assert guard[account.G_UNTIL_MS] == DAY + 4 + 5 * HOUR_MS


def test_losses_in_a_row_pause() -> None:
    """A position that neither lost nor won ends the row; the count starts anew."""
    guards = OFF._replace(losses=3, losses_pause_ms=HOUR_MS)
    rows = [(DAY + k, net) for k, net in enumerate([-1.0, -1.0, 0.0, -1.0, -1.0, -1.0, -1.0])]
    said, guard = after(guards, *rows)
    assert said == [0, 0, 0, 0, 0, account.LOSSES, 0]
    assert (guard[account.G_SINCE_MS], guard[account.G_UNTIL_MS]) == (DAY + 5, DAY + 5 + HOUR_MS)


def test_the_longest_pause_counts() -> None:
    """A shorter one says nothing, a longer one takes its place."""
    guards = Protections(0.01, 0.01, 3 * DAY_MS, 2, HOUR_MS, 0)
    said, guard = after(guards, (DAY, -10.0), (DAY + 1, -5.0))
    assert said == [account.MAX_DRAWDOWN, 0]
    assert guard[account.G_WHY] == account.MAX_DRAWDOWN
    said, guard = after(guards, (DAY, -5.0), (DAY + 1, -4.0), (DAY + 2, -4.0))
    assert said == [0, account.LOSSES, account.MAX_DRAWDOWN]


def test_nothing_pauses_where_nothing_is_asked_for() -> None:
    """Whatever is lost."""
    said, guard = after(OFF, *((DAY + k, -300.0) for k in range(9)))
    assert not any(said)
    assert not account.paused(guard, 0)


def test_a_symbol_cools_down_after_a_stop() -> None:
    """Of any kind, and after nothing else."""
    guards = OFF._replace(after_stop_ms=30)
    stops = {rules.AT_STOP, rules.AT_BREAK_EVEN, rules.AT_TRAIL, rules.AT_LIQUIDATION}
    for reason in rules.REASONS:
        assert account.cool_until_ms(guards, reason, 1_000) == (1_030 if reason in stops else 0)
        assert account.cool_until_ms(OFF, reason, 1_000) == 0


def test_a_position_has_no_more_steps_than_are_counted_exactly() -> None:
    """A million of a coin that costs 0.0000005, in steps of a hundred millionth, would be 2 x 10^20 of them."""
    order = rules.Order(1, [1e-7, 1e-7], [4e-7, 6e-7], [1.0], False, inf, 1e6, 0.0, 0.0, 0.0)
    state, legs = array("q", [0] * rules.PLACES), [array("q", [0, 0])]
    assert rules.enter(state, legs, 50, order, rules.Terms(1.0, 1e8, 1e-16, 5.0, 0.0, 0.0)) == 0
    assert state[rules.STEPS] == legs[0][rules.LEG_STEPS] == 2**53
