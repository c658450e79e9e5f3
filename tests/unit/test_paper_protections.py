"""Bad days: what pauses an account's entries, from when, until when, and what goes on meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from paper_markets import CALM, Tape, asked, entries, exits, run, write
from tapewatch.model import MINUTE_MS
from tapewatch.study.settings import Account

#: No costs; 2,500 of 10,000 quote units in each position.
FREE = Account(kind="perpetual", taker_bps=0, maker_bps=0, slippage_bps=0, size_quote=2_500.0, cap_symbol=1.0)
EAGER = {"duplicate": {"window": "0m"}}
PAUSED = "entries were paused by a protection"
COOLING = "its symbol was stopped a short while ago"
#: Minutes of a day; the tapes begin at midnight.
DAY = 1_440


def minutes_of(tape: Tape, minute: int) -> Tape:
    """Nothing happens until this minute."""
    return tape.calm(minute - tape.minute)


def crash(tape: Tape, fall: int) -> Tape:
    """A signal, the minute of its entry, and an open so many cents lower."""
    tape.ask().calm(1)
    low = tape.price - fall
    return tape.bar(low, low, low, low)


def test_a_daily_loss_pauses_until_midnight(tmp_path: Path) -> None:
    """250 of 10,000 do not, 55.554 more do; the first signal of the next day is entered."""
    tape = crash(Tape(), 1_000)
    tape = crash(tape, 200)  # the second one is stopped in the minute CALM + 5
    tape.ask().calm(30).ask()
    minutes_of(tape, DAY - 2).ask().ask().calm(3)
    result = run(write(tmp_path, [tape]), asked(**EAGER), replace(FREE, daily_loss=0.03))
    assert exits(result) == [(CALM + 2, 90.0, "stop"), (CALM + 5, 88.0, "stop")]
    assert [trade.gross for trade in result.trades] == pytest.approx([-250.0, -55.554])
    assert result.skipped == {PAUSED: 3}
    assert result.still_open == 1  # the one of the minute that ends the day


def test_a_daily_loss_starts_anew_each_day(tmp_path: Path) -> None:
    """2.5% are lost on Monday and 2.5% of what is left on Tuesday: neither is 3%."""
    tape = crash(Tape(), 1_000)
    tape = crash(minutes_of(tape, DAY + 60), 900).ask().calm(3)
    how = replace(FREE, daily_loss=0.03)
    result = run(write(tmp_path, [tape]), asked(**EAGER), how)
    # 27.777 coins lose 9.00 each.
    assert [trade.gross for trade in result.trades] == pytest.approx([-250.0, -249.993])
    assert (result.skipped, result.still_open) == ({}, 1)
    same_day = replace(how, daily_loss=0.025)
    assert run(write(tmp_path / "again", [tape]), asked(**EAGER), same_day).skipped == {PAUSED: 1}


def test_costs_are_part_of_a_daily_loss(tmp_path: Path) -> None:
    """49 of 10,000 would not do; with fees of 4.951 it is more than half a percent."""
    tape = crash(Tape(), 196).ask().calm(3)
    strategy = asked(stop="1.96", **EAGER)
    how = replace(FREE, daily_loss=0.005)
    assert run(write(tmp_path / "free", [tape]), strategy, how).skipped == {}
    dear = run(write(tmp_path / "dear", [tape]), strategy, replace(how, taker_bps=10))
    assert dear.trades[0].gross == pytest.approx(-49)
    assert dear.trades[0].fees == pytest.approx(2.5 + 2.451)
    assert dear.skipped == {PAUSED: 1}


def test_a_drawdown_pauses_for_its_time_and_is_counted_from_there_again(tmp_path: Path) -> None:
    """From a peak of 10,100 down to 9,523.088 is more than 5%: six hours without entries, then a new peak."""
    tape = Tape().ask().calm(1).to(10_400)  # wins 100
    tape = crash(tape, 2_400)  # 24.038 coins lose 24 each; closes in the minute CALM + 5
    assert tape.minute == CALM + 6
    tape.calm(100).ask()
    minutes_of(tape, CALM + 6 + 360 - 2).ask().ask()  # they close a minute before the pause is over, and as it is
    entered = tape.minute
    tape.calm(1).bar(8_000, 7_800, 7_850).calm(30)  # loses 31.25 * 2 = 62.5: 5.7% from the old peak
    tape.ask().calm(1).to(8_400)  # 31.847 coins win 4 each
    result = run(
        write(tmp_path, [tape]), asked(**EAGER), replace(FREE, max_drawdown=0.05, drawdown_pause_ms=360 * MINUTE_MS)
    )
    assert [trade.gross for trade in result.trades] == pytest.approx([100.0, -576.912, -62.5, 127.388])
    assert entries(result)[2][0] == entered
    assert result.skipped == {PAUSED: 2}


FADE = {
    "long": {"low": "close < lowest(low, 9)[1]"},
    "short": None,
    "stop": "3",
    "targets": [{"at": "0.2", "share": "100%"}],
}


def test_losses_in_a_row_pause_a_strategy_that_costs_eat_up(tmp_path: Path) -> None:
    """In a range every twenty minutes five cents a coin are lost after costs: five, three hours of pause, five more."""
    tape = Tape()
    for _ in range(20):
        tape.to(9_900).calm(9).to(10_000).calm(9)
    how = replace(FREE, taker_bps=10, maker_bps=10, slippage_bps=5, losses=5, losses_pause_ms=180 * MINUTE_MS)
    result = run(write(tmp_path, [tape]), asked(**FADE), how)
    # The fifth closes with the minute CALM + 91, the signals close with CALM + 20 k + 1: the fifteenth is the first one
    # of CALM + 271 or later. The tenth loss pauses again, before the twentieth signal.
    assert [(at - CALM - 1) // 20 for at, _, _ in entries(result)] == [0, 1, 2, 3, 4, 14, 15, 16, 17, 18]
    assert result.skipped == {PAUSED: 10}


def test_one_win_ends_a_row_of_losses(tmp_path: Path) -> None:
    """Two lost, one won, two lost: never three in a row."""
    tape = Tape()
    for step in (-200, -200, 400, -200, -200, -200):
        tape.ask().calm(1).to(tape.price + step)
    tape.ask().calm(2)
    result = run(write(tmp_path, [tape]), asked(**EAGER), replace(FREE, losses=3))
    assert [trade.exits[0].reason for trade in result.trades] == ["stop", "stop", "target", "stop", "stop", "stop"]
    assert result.skipped == {PAUSED: 1}


def test_a_position_turned_round_counts_before_the_one_that_follows_it(tmp_path: Path) -> None:
    """Both close in one candle, a win and then a loss: after the loss before them that is no row of two."""
    tape = crash(Tape(), 300).ask().calm(1).to(9_800)
    tape.ask(-1).bar(10_050, 9_800, 10_050).ask().calm(2)
    how = replace(FREE, losses=2, on_opposite="reverse")
    result = run(write(tmp_path, [tape]), asked(**EAGER), how)
    assert [(trade.side, round(trade.net, 2)) for trade in result.trades] == [
        ("long", -75.0),
        ("long", 25.77),
        ("short", -51.02),
    ]
    assert [trade.exits[0].reason for trade in result.trades] == ["stop", "opposite", "stop"]
    assert (result.skipped, result.still_open) == ({}, 1)


def test_a_symbol_that_was_stopped_rests_and_others_do_not(tmp_path: Path) -> None:
    """Thirty minutes from the close of the minute it was stopped in; a target is no reason to rest."""
    first = crash(Tape(), 300)  # stopped in the minute CALM + 2
    first.ask().calm(27).ask().ask()  # they close with CALM + 4, 32 and 33
    second = crash(Tape("BBBUSDT"), -500)  # the target
    second.ask().calm(29)
    how = replace(FREE, after_stop_ms=30 * MINUTE_MS)
    for tape in (first, second):
        tape.calm(5)
    result = run(write(tmp_path, [first, second]), asked(**EAGER), how)
    assert exits(result) == [(CALM + 2, 97.0, "stop"), (CALM + 2, 104.0, "target")]
    assert result.skipped == {COOLING: 2}
    assert result.still_open == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trailing": {"by": "1"}}, "trailing_stop"),
        ({"break_even": "1"}, "break_even"),
        ({"stop": "30"}, "liquidation"),
    ],
)
def test_every_kind_of_stop_lets_a_symbol_rest(tmp_path: Path, changes: dict[str, str], reason: str) -> None:
    """Also one that won."""
    tape = Tape().ask().calm(1).to(10_200).to(9_000).ask().calm(3)
    how = replace(FREE, leverage=20.0, after_stop_ms=5 * MINUTE_MS)
    result = run(write(tmp_path, [tape]), asked(**EAGER, **changes), how)
    assert [why for _, _, why in exits(result)] == [reason]
    assert result.skipped == {COOLING: 1}


def test_a_win_in_the_minute_of_a_liquidation_ends_no_rest(tmp_path: Path) -> None:
    """A long is liquidated at the open at which a signal turns it; the short that follows wins in that same minute."""
    tape = Tape().ask().calm(1).ask(-1).bar(9_000, 9_000, 8_600, 8_600).ask().calm(4).ask().calm(2)
    how = replace(FREE, leverage=20.0, after_stop_ms=5 * MINUTE_MS, on_opposite="reverse", levels="fill")
    result = run(write(tmp_path, [tape]), asked(**EAGER, stop="30"), how)
    assert exits(result) == [(CALM + 3, 95.0, "liquidation"), (CALM + 3, 86.0, "target")]
    assert result.skipped == {COOLING: 1}  # of the first; the second one is decided when the five minutes are over
    assert result.still_open == 1


def test_what_is_held_lives_on_while_entries_are_paused(tmp_path: Path) -> None:
    """One coin crashes and pauses the account; another one that was bought before goes to its target."""
    falls = crash(Tape(), 1_500).ask().calm(20)
    rises = Tape("BBBUSDT").ask().calm(10).to(10_500).ask().calm(11)
    result = run(write(tmp_path, [falls, rises]), asked(**EAGER), replace(FREE, daily_loss=0.03))
    assert exits(result) == [(CALM + 2, 85.0, "stop"), (CALM + 11, 104.0, "target")]
    assert result.skipped == {PAUSED: 2}
    assert result.equity[-1] == pytest.approx(10_000 - 375 + 100)


def test_an_entry_that_waits_while_a_pause_begins_is_made(tmp_path: Path) -> None:
    """It was decided before the loss was known: the minute in which one coin falls is that of the other's entry."""
    falls = crash(Tape(), 1_500).calm(5)
    late = Tape("BBBUSDT").calm(1).ask().calm(1).to(10_500)
    result = run(write(tmp_path, [falls, late]), asked(**EAGER), replace(FREE, daily_loss=0.03))
    assert [(trade.symbol, at) for trade, (at, _, _) in zip(result.trades, entries(result), strict=True)] == [
        ("AAAUSDT", CALM + 1),
        ("BBBUSDT", CALM + 2),
    ]
    assert result.skipped == {}
