"""What becomes of signals in an account: limits, opposite signals, spot and perpetual, funding, fees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from paper_samples import COIN, START_MS, Minute, Wish, candidates_of, candles_of, exits_of, traded, trades_of
from tapewatch.model import MINUTE_MS
from tapewatch.paper import rules
from tapewatch.paper.settings import MAINTENANCE
from tapewatch.study import account, loop
from tapewatch.study.desk import desk_of, market_of
from tapewatch.study.settings import Account

FLAT = Minute(10_000, 10_010, 9_990, 10_000)
FREE = Account(kind="perpetual", cash=1_000.0, taker_bps=0, maker_bps=0, slippage_bps=0, cap_symbol=1.0)


def long(at: int = 0, stop: int = 100, target: int = 100, limit: int = 99) -> Wish:
    """A long signal with one target, distances in cents."""
    return Wish(at, 1, stop, (target,), limit)


def short(at: int = 0, stop: int = 100, target: int = 100, limit: int = 99) -> Wish:
    """The other way round."""
    return replace(long(at, stop, target, limit), side=-1)


def life(bars: list[Minute], wishes: list[Wish], how: Account = FREE, **options: Any) -> list[tuple[int, int, str]]:
    """(bar, ticks, reason) of every exit."""
    desk = traded([bars], [wishes], (1.0,), how, **options)
    return [((ms - START_MS) // MINUTE_MS, ticks, rules.REASONS[why]) for _, ms, ticks, _, why in exits_of(desk)]


def skipped(desk: account.Desk) -> dict[str, int]:
    """Reason -> count."""
    return {rules.SKIPPED[why]: int(n) for why, n in enumerate(desk.skipped) if n}


@pytest.mark.parametrize(
    ("bar", "expected"),
    [
        (Minute(10_000, 10_100, 9_950, 10_000), (2, 10_100, "target")),
        (Minute(10_000, 10_050, 9_900, 10_000), (2, 9_900, "stop")),
        (Minute(10_000, 10_100, 9_900, 10_000), (2, 9_900, "stop")),  # both: the worse one
        (Minute(9_700, 10_100, 9_700, 10_000), (2, 9_700, "stop")),  # gaps past the stop
        (Minute(10_300, 10_400, 10_250, 10_300), (2, 10_100, "target")),  # gaps past the target: not better
    ],
)
def test_a_long_position_ends_where_its_bar_says(bar: Minute, expected: tuple[int, int, str]) -> None:
    """And a short one where the mirrored bar says."""
    assert life([FLAT, FLAT, bar, FLAT], [long()]) == [expected]
    at, ticks, why = expected
    mirrored = Minute(20_000 - bar.open, 20_000 - bar.low, 20_000 - bar.high, 20_000 - bar.close)
    assert life([FLAT, FLAT, mirrored, FLAT], [short()]) == [(at, 20_000 - ticks, why)]


def test_a_bar_with_both_is_the_targets_in_the_other_bound() -> None:
    """And it is marked; one whose open shows the stop is not ambiguous."""
    both = Minute(10_000, 10_100, 9_900, 10_000)
    assert life([FLAT, FLAT, both], [long()], optimistic=True) == [(2, 10_100, "target")]
    assert trades_of(traded([[FLAT, FLAT, both]], [[long()]], (1.0,), FREE))[0][account.T_AMBIGUOUS] == 1
    gap = Minute(9_800, 10_100, 9_800, 10_000)
    assert life([FLAT, FLAT, gap], [long()], optimistic=True) == [(2, 9_800, "stop")]
    assert trades_of(traded([[FLAT, FLAT, gap]], [[long()]], (1.0,), FREE))[0][account.T_AMBIGUOUS] == 0


def test_the_entrys_own_bar_counts() -> None:
    """A stop touched after the open of the entry's bar is a stop."""
    assert life([FLAT, Minute(10_000, 10_010, 9_800, 9_900), FLAT], [long()]) == [(1, 9_900, "stop")]


def test_time_ends_a_position_at_the_next_open() -> None:
    """Two bars of its timeframe after the signal's."""
    assert life([FLAT] * 5, [long(limit=2)]) == [(3, 10_000, "time")]


def test_an_entry_beyond_its_levels_is_none() -> None:
    """Nothing is bought where the stop or the target has been passed."""
    for opened in (9_900, 9_850, 10_100, 10_200):
        desk = traded([[FLAT, replace(FLAT, open=opened, high=10_300, low=9_800)]], [[long()]], (1.0,), FREE)
        assert trades_of(desk) == []
        assert skipped(desk) == {"the open was beyond its stop or its target": 1}


@pytest.mark.parametrize(
    ("what", "exits", "trades"),
    [("ignore", [], 1), ("close", [(4, 10_000, "opposite")], 1), ("reverse", [(4, 10_000, "opposite")], 2)],
)
def test_an_opposite_signal_does_what_it_is_told(what: str, exits: list[Any], trades: int) -> None:
    """Closed at the next open; turned round at the same one."""
    bars, wishes = [FLAT] * 6, [long(), long(2), short(3)]
    assert life(bars, wishes, replace(FREE, on_opposite=what)) == exits
    desk = traded([bars], [wishes], (1.0,), replace(FREE, on_opposite=what))
    rows = trades_of(desk)
    assert len(rows) == trades
    assert rows[-1][account.T_ENTRY_MS] == START_MS + (4 if trades == 2 else 1) * MINUTE_MS


def test_spot_sells_nothing_short_but_closes() -> None:
    """A short signal opens nothing, and ends a long position if asked."""
    spot = replace(FREE, kind="spot", on_opposite="reverse")
    desk = traded([[FLAT] * 6], [[short(), long(1), short(3)]], (1.0,), spot)
    assert [row[account.T_HELD] for row in trades_of(desk)] == [0]
    assert skipped(desk) == {"a spot account sells nothing short": 1, "a position was open": 1}


def test_risk_is_what_the_way_to_the_stop_costs() -> None:
    """1% of 1,000 over a stop of 1 is 10 coins of 100, and the cap of the whole equity just allows that."""
    desk = traded([[FLAT] * 3], [[long()]], (1.0,), FREE)
    assert trades_of(desk)[0][account.T_STEPS] == 10_000
    desk = traded([[FLAT] * 3], [[long()]], (1.0,), replace(FREE, cap_symbol=0.5))
    assert trades_of(desk)[0][account.T_STEPS] == 5_000
    desk = traded([[FLAT] * 3], [[long()]], (1.0,), replace(FREE, size_quote=77.7))
    assert trades_of(desk)[0][account.T_STEPS] == 777


def test_limits_hold_over_symbols_with_the_first_first() -> None:
    """Of three entries of half the equity the second has what is left, and the third nothing."""
    markets, wishes = [[FLAT] * 3] * 3, [[long()]] * 3
    desk = traded(markets, wishes, (1.0,), replace(FREE, cap_symbol=0.6))
    assert [row[account.T_STEPS] for row in trades_of(desk)] == [6_000, 4_000]
    assert skipped(desk) == {"no room under a limit": 1}
    sides = traded(markets, [[long()], [long()], [short()]], (1.0,), replace(FREE, cap_symbol=0.3, cap_side=0.3))
    assert [row[account.T_STEPS] for row in trades_of(sides)] == [3_000, 3_000]


def test_what_is_too_small_is_not_bought() -> None:
    """Less than the least notional."""
    desk = traded([[FLAT] * 3], [[long()]], (1.0,), replace(FREE, size_quote=4.9))
    assert skipped(desk) == {"less than a step or the least notional": 1}


def test_a_small_leg_is_merged_into_the_next() -> None:
    """Of 30 quote units a tenth is 3, less than 5: it goes with the second target; a small last one with the first."""
    for shares, legs in (((0.1, 0.9), [300]), ((0.9, 0.1), [300]), ((0.5, 0.5), [150, 150])):
        wish = Wish(0, 1, 100, (100, 200), 99)
        run = [FLAT, FLAT, Minute(10_000, 10_300, 9_990, 10_300)]
        desk = traded([run], [[wish]], shares, replace(FREE, size_quote=30.0))
        assert [row[account.X_STEPS] for row in exits_of(desk)] == legs
        assert exits_of(desk)[0][account.X_TICKS] == (10_200 if shares[0] == 0.1 else 10_100)


def test_leverage_liquidates_before_a_stop_further_away() -> None:
    """At 50 times a fall of 1.5% is too much, though the stop is 3% away; the loss stays within the margin."""
    how = replace(FREE, leverage=50.0, cap_symbol=0.1)
    fall = Minute(10_000, 10_000, 9_500, 9_600)
    ((_, ticks, why),) = life([FLAT, FLAT, fall], [long(stop=300)], how)
    assert why == "liquidation"
    assert ticks == rules.liquidation_ticks(10_000, 1, COIN.terms(50.0, MAINTENANCE)) == 9_850
    gap = Minute(9_000, 9_000, 8_900, 9_000)
    assert life([FLAT, FLAT, gap], [long(stop=300)], how) == [(2, 9_800, "liquidation")]


def test_fees_and_slippage_are_paid_by_role() -> None:
    """Bought at 100.10 for a taker's fee, sold at the target of 101 for a maker's."""
    how = replace(FREE, taker_bps=10, maker_bps=5, slippage_bps=10, size_quote=100.1)
    desk = traded([[FLAT, FLAT, Minute(10_000, 10_100, 9_990, 10_000)]], [[long()]], (1.0,), how)
    (row,), ((_, _, ticks, steps, _),) = trades_of(desk), exits_of(desk)
    assert (row[account.T_ENTRY], ticks, steps) == (10_010, 10_100, 1_000)
    money = desk.money
    assert money[account.FEES] == pytest.approx(100.10 * 0.001 + 101 * 0.0005, rel=1e-12)
    assert money[account.GROSS] == pytest.approx(0.90, rel=1e-12)


def test_a_stop_goes_to_the_entry_once_the_price_went_far_enough() -> None:
    """From the next bar on; the bar that went so far still has the first stop."""
    wish = replace(long(target=500), even=50)
    far, back = Minute(10_000, 10_050, 9_950, 10_000), Minute(10_010, 10_020, 9_980, 9_990)
    assert life([FLAT, FLAT, far, back], [wish]) == [(3, 10_000, "break_even")]
    assert life([FLAT, FLAT, replace(far, high=10_049), back], [wish]) == []
    assert life([FLAT, FLAT, replace(far, low=9_900)], [wish]) == [(2, 9_900, "stop")]
    mirrored = [Minute(20_000 - bar.open, 20_000 - bar.low, 20_000 - bar.high, 10_000) for bar in (far, back)]
    assert life([FLAT, FLAT, *mirrored], [replace(wish, side=-1)]) == [(3, 10_000, "break_even")]


def test_a_trailing_stop_follows_the_best_price() -> None:
    """By its distance, from the bar after the one that started it, and never back; a gap fills at the open."""
    wish = replace(long(target=500), after=60, by=40)
    up, higher = Minute(10_000, 10_060, 9_990, 10_050), Minute(10_050, 10_100, 10_021, 10_090)
    assert life([FLAT, FLAT, up, Minute(10_050, 10_055, 10_020, 10_030)], [wish]) == [(3, 10_020, "trailing_stop")]
    down = Minute(10_070, 10_070, 10_061, 10_065)
    assert life([FLAT, FLAT, up, higher, down], [wish]) == []
    assert life([FLAT, FLAT, up, higher, replace(down, low=10_060)], [wish]) == [(4, 10_060, "trailing_stop")]
    assert life([FLAT, FLAT, up, higher, down, replace(down, open=9_800, low=9_800)], [wish]) == [
        (5, 9_800, "trailing_stop")
    ]
    always = replace(wish, after=0)
    assert life([FLAT, replace(FLAT, low=9_950), replace(FLAT, low=9_965)], [always]) == [(2, 9_970, "trailing_stop")]


def test_a_large_order_loses_more() -> None:
    """By the root of its share of the candle's turnover; as much as there can be where nothing is known of that."""
    how = replace(FREE, slippage_bps=10, impact_bps=100, size_quote=400.0)
    for volume, quote_volume, fill in (
        (4.0, float("nan"), 10_110),
        (9.0, 1_600.0, 10_060),
        (0.0, float("nan"), 11_000),
    ):
        bars = [FLAT, replace(FLAT, volume=volume, quote_volume=quote_volume)]
        desk = traded([bars], [[long(stop=2_000, target=2_000)]], (1.0,), how)
        assert trades_of(desk)[0][account.T_ENTRY] == fill


def test_funding_is_paid_on_what_is_held_when_it_is_due() -> None:
    """Not before the entry; by longs where the rate is positive, to shorts."""
    minute = [START_MS + k * MINUTE_MS for k in range(6)]
    paid = (np.array([minute[1], minute[3], minute[4]]), np.array([0.5, 0.001, 0.002]))
    for wish, sign in ((long(), 1), (short(), -1)):
        asked = candidates_of([[FLAT] * 6], [[wish]], 1)
        market = market_of([candles_of([FLAT] * 6)], [paid])
        terms, settings = [COIN.terms(1.0, MAINTENANCE)], FREE.settings(optimistic=False)
        desk = desk_of(market, asked, (1.0,), terms, settings, [minute[5]])
        loop.simulate(desk)
        assert desk.money[account.FUNDING] == pytest.approx(sign * 10 * 100 * 0.003, rel=1e-12)


def test_equity_has_open_positions_at_their_last_close() -> None:
    """And a trade that the candles end in says what it still holds."""
    desk = traded([[FLAT, FLAT, Minute(10_000, 10_060, 10_000, 10_050)]], [[long()]], (1.0,), FREE)
    assert desk.equity[-1] == pytest.approx(1_000 + 10 * 0.5)
    assert trades_of(desk)[0][account.T_HELD] == 10_000
