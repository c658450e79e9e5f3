"""What the protections of an account do in a backtest: entries pause, and go on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paper_samples import START_MS, Minute, Wish, traded, trades_of
from tapewatch.model import MINUTE_MS
from tapewatch.paper import rules
from tapewatch.paper.account import PAUSES
from tapewatch.study import account
from tapewatch.study.settings import Account

FLAT = Minute(10_000, 10_010, 9_990, 10_000)
LOSES, WINS = Minute(10_000, 10_010, 9_900, 10_000), Minute(10_000, 10_100, 9_990, 10_000)
#: 100 quote units in each position, of which a stop costs one.
FREE = Account(kind="perpetual", cash=1_000.0, taker_bps=0, maker_bps=0, slippage_bps=0, size_quote=100.0)


def wishes(*places: int, limit: int = 99) -> list[Wish]:
    """Long signals at the closes of these bars, with stop and target 1 away."""
    return [Wish(at, 1, 100, (100,), limit) for at in places]


def entered(desk: account.Desk) -> list[int]:
    """Bars in which something was entered."""
    return [(row[account.T_ENTRY_MS] - START_MS) // MINUTE_MS for row in trades_of(desk)]


def pauses(desk: account.Desk) -> list[tuple[str, int, int]]:
    """Why, and from the close of which bar to that of which."""
    rows = desk.pauses[: desk.counts[account.PAUSES]].tolist()
    return [(PAUSES[why], *((ms - START_MS) // MINUTE_MS - 1 for ms in times)) for why, *times in rows]


def skipped(desk: account.Desk) -> dict[str, int]:
    """Reason -> count."""
    return {rules.SKIPPED[why]: int(n) for why, n in enumerate(desk.skipped) if n}


def each(how: Account, bars: list[Minute], **options: Any) -> account.Desk:
    """A signal at every close."""
    return traded([bars], [wishes(*range(len(bars)), **options)], (1.0,), how)


PAUSED = "entries were paused by a protection"


def test_losses_in_a_row_pause_for_their_time() -> None:
    """The second loss closes with bar 4; what is decided with bar 8 is entered again."""
    how = replace(FREE, losses=2, losses_pause_ms=4 * MINUTE_MS)
    desk = traded([[FLAT, FLAT, LOSES, FLAT, LOSES, *[FLAT] * 6]], [wishes(0, 2, 4, 5, 6, 7, 8)], (1.0,), how)
    assert entered(desk) == [1, 3, 9]
    assert pauses(desk) == [("losses", 4, 8)]
    assert skipped(desk) == {PAUSED: 4}


def test_a_days_loss_pauses_until_midnight() -> None:
    """The day ends with the close of bar 19."""
    how = replace(FREE, daily_loss=0.001)
    desk = each(how, [FLAT, FLAT, LOSES, *[FLAT] * 18])
    assert entered(desk) == [1, 20]
    assert pauses(desk) == [("daily_loss", 2, 19)]
    assert skipped(desk)[PAUSED] == 17


def test_a_drawdown_pauses_for_its_time_and_then_counts_from_there() -> None:
    """Two of a thousand; the third loss is the first of a new peak."""
    how = replace(FREE, max_drawdown=0.0019, drawdown_pause_ms=3 * MINUTE_MS)
    desk = each(how, [FLAT, LOSES, LOSES, FLAT, FLAT, LOSES, LOSES, *[FLAT] * 4])
    assert entered(desk) == [1, 2, 6, 7]
    assert pauses(desk) == [("max_drawdown", 2, 5)]


@pytest.mark.parametrize(
    ("bar", "changes", "cools"),
    [
        (LOSES, {}, True),
        (WINS, {}, False),
        (FLAT, {"limit": 1}, False),
        (FLAT, {"by": 5}, True),
        (replace(WINS, high=10_050), {"even": 1}, True),
    ],
)
def test_a_symbol_that_was_stopped_cools_down(bar: Minute, changes: dict[str, int], cools: bool) -> None:
    """Another one does not; a target or a time limit is no stop."""
    how = replace(FREE, after_stop_ms=3 * MINUTE_MS)
    first = [replace(wish, **changes) for wish in wishes(0)]
    bars = [FLAT, FLAT, bar, *[FLAT] * 6]
    desk = traded([bars, [FLAT] * 9], [[*first, *wishes(3, 4, 5)], wishes(4)], (1.0,), how)
    reason = {row[account.X_REASON] for row in desk.exits[: desk.counts[account.EXITS]].tolist()}
    assert len(reason) == 1
    assert (entered(desk) == [1, 5, 6]) == cools
    assert ("its symbol was stopped a short while ago" in skipped(desk)) == cools


def test_a_pause_leaves_alone_what_is_open_and_turns_nothing_round() -> None:
    """The other market's position goes on, and an opposite signal only closes it."""
    how = replace(FREE, losses=1, losses_pause_ms=9 * MINUTE_MS, on_opposite="reverse")
    other = [*wishes(0), replace(wishes(4)[0], side=-1)]
    desk = traded([[FLAT, LOSES, *[FLAT] * 6], [FLAT] * 8], [wishes(0), other], (1.0,), how)
    assert entered(desk) == [1, 1]
    exits = desk.exits[: desk.counts[account.EXITS]].tolist()
    assert [(row[account.X_MS] - START_MS) // MINUTE_MS for row in exits] == [1, 5]
    assert skipped(desk) == {PAUSED: 1}


@pytest.mark.parametrize("bars", [(4, 3, 5), (4, 4, 4)])
def test_what_closed_is_looked_at_in_the_order_of_time_and_then_of_names(bars: tuple[int, int, int]) -> None:
    """A loss of AAAUSDT, a gain of BBBUSDT and a loss of CCCUSDT are no two in a row, whatever their numbers are."""
    how = replace(FREE, losses=2, losses_pause_ms=9 * MINUTE_MS)
    ends = zip(bars, (WINS, LOSES, LOSES), strict=True)
    markets = [[*[FLAT] * at, end, *[FLAT] * (9 - at)] for at, end in ends]
    desk = traded(markets, [[*wishes(0), *wishes(7)], wishes(0), wishes(0)], (1.0,), how)
    assert pauses(desk) == []
    assert entered(desk) == [1, 1, 1, 8]
    again = traded(markets, [[*wishes(0), *wishes(7)], wishes(0), wishes(0)], (1.0,), replace(how, losses=1))
    assert [why for why, *_ in pauses(again)] == ["losses"] * (1 if len(set(bars)) == 1 else 2)
