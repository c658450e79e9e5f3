"""Pumps and thin markets, written by hand: stops that follow, ladders and large orders, to the last cent."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from core_samples import MONDAY_MS, walk
from paper_markets import CALM, COIN, Tape, asked, entries, exits, run, write
from tapewatch import strategies
from tapewatch.model import MINUTE_MS
from tapewatch.strategy import from_mapping
from tapewatch.study.settings import Account
from tapewatch.study.signals import find

#: No costs, so that prices are those of the candles; 1,000 quote units in each position.
FREE = Account(kind="perpetual", taker_bps=0, maker_bps=0, slippage_bps=0, size_quote=1_000.0)


# --- pump ----------------------------------------------------------------------------------------------------------

FAR = [{"at": "60", "share": "100%"}]


def pump() -> Tape:
    """A signal at 100, then 110, 130, and a fall to 125 from 129."""
    return Tape().ask().calm(1).to(11_000).to(13_000).bar(12_900, 12_950, 12_500, 12_600).calm(5)


def test_a_trailing_stop_keeps_what_a_pump_gave(tmp_path: Path) -> None:
    """Out 3 below the best price of 130, in the bar after the one that made it."""
    result = run(write(tmp_path, [pump()]), asked(targets=FAR, trailing={"after": "5", "by": "3"}), FREE)
    assert entries(result) == [(CALM + 1, 100.0, 10.0)]
    assert exits(result) == [(CALM + 4, 127.0, "trailing_stop")]
    (trade,) = result.trades
    assert (trade.gross, trade.r, trade.mfe_r) == (270.0, 13.5, 15.0)


def test_a_trailing_stop_that_gaps_fills_at_the_open(tmp_path: Path) -> None:
    """From 130 the next open is 120: not the 127 of the stop."""
    tape = Tape().ask().calm(1).to(13_000).bar(12_000, 12_800, 11_900, 12_000)
    result = run(write(tmp_path, [tape]), asked(targets=FAR, trailing={"by": "3"}), FREE)
    assert exits(result) == [(CALM + 3, 120.0, "trailing_stop")]


def test_the_candle_of_the_top_does_not_know_it_was(tmp_path: Path) -> None:
    """It goes to 130 and closes at 110: the stop follows from the next bar on, which opens below it."""
    tape = Tape().ask().calm(1).bar(13_000, 9_990, 11_000).calm(3)
    result = run(write(tmp_path, [tape]), asked(targets=FAR, trailing={"by": "3"}), FREE)
    assert exits(result) == [(CALM + 3, 110.0, "trailing_stop")]


def test_break_even_saves_what_a_pump_and_dump_would_have_cost(tmp_path: Path) -> None:
    """To 101.50 and down to 95: out at the entry, where the stop has been since 101; without it, 2 are lost."""
    tape = Tape().ask().calm(1).to(10_150).bar(10_150, 9_500, 9_600).calm(3)
    request = write(tmp_path, [tape])
    saved = run(request, asked(break_even="1"), FREE)
    assert exits(saved) == [(CALM + 3, 100.0, "break_even")]
    assert saved.trades[0].net == 0
    assert exits(run(request, asked(), FREE)) == [(CALM + 3, 98.0, "stop")]
    not_yet = run(request, asked(break_even="1.51"), FREE)
    assert exits(not_yet) == [(CALM + 3, 98.0, "stop")]


def test_a_pump_past_the_targets_fills_them_at_their_prices(tmp_path: Path) -> None:
    """The open is at 115 already; the targets are limit orders at 102, 104 and 106 and get no better."""
    thirds = [{"at": "2", "share": "50%"}, {"at": "4", "share": "30%"}, {"at": "6", "share": "20%"}]
    tape = Tape().ask().calm(1).bar(11_500, 12_000, 11_400, 11_900).calm(3)
    how = replace(FREE, maker_bps=2, taker_bps=5)
    result = run(write(tmp_path, [tape]), asked(targets=thirds), how)
    assert exits(result) == [(CALM + 2, 102.0, "target"), (CALM + 2, 104.0, "target"), (CALM + 2, 106.0, "target")]
    (trade,) = result.trades
    assert [part.share for part in trade.exits] == [50.0, 30.0, 20.0]
    # 5 coins win 2, 3 win 4, 2 win 6: 34; the taker's fee is 1,000 * 5 bps, the makers' (510 + 312 + 212) * 2 bps
    assert trade.gross == pytest.approx(34.0, rel=1e-12)
    assert trade.fees == pytest.approx(0.5 + 0.2068, rel=1e-12)


def test_a_pump_stops_a_short_at_the_open_it_gapped_to(tmp_path: Path) -> None:
    """The stop is at 102; the next open is 115."""
    tape = Tape().ask(-1).calm(1).bar(11_500, 12_000, 11_400, 11_900).calm(3)
    result = run(write(tmp_path, [tape]), asked(), replace(FREE, slippage_bps=5))
    # Sold at 99.95, bought back at 115 + 5 bps = 115.0575, rounded up.
    assert entries(result) == [(CALM + 1, 99.95, 10.005)]
    assert exits(result) == [(CALM + 2, 115.06, "stop")]


def test_an_entry_that_the_pump_has_run_away_from_is_none(tmp_path: Path) -> None:
    """The next open is beyond the target: nothing is bought up there."""
    tape = Tape().ask().bar(10_500, 12_000, 10_400, 11_900).calm(3)
    result = run(write(tmp_path, [tape]), asked(), FREE)
    assert (list(result.trades), list(result.skipped.values())) == ([], [1])
    assert "target" in next(iter(result.skipped))


def uneven(tape: Tape, minutes: int) -> Tape:
    """Nothing happens, but volume is never quite the same."""
    for _ in range(minutes):
        tape.calm(1, volume=10 + tape.minute // 5 % 2)
    return tape


def surge(tape: Tape, percent: int, count: int) -> Tape:
    """So many times five minutes of so many percent each, on ten times the volume."""
    for _ in range(count):
        start, way = tape.price, tape.price * percent // 100
        for part in range(1, 6):
            tape.to(start + way * part // 5, volume=100)
    return tape


def test_momentum_tells_of_a_pump_and_of_the_crash_after_it_once_each(tmp_path: Path) -> None:
    """The fifth candle of a percent is the first one that makes 5%; what fires within half an hour is blocked."""
    begin, name = 10_500, "momentum"
    tape = surge(uneven(Tape(), begin - CALM), 1, 8)
    tape = uneven(surge(uneven(tape, 120), -1, 10), 60)
    momentum = from_mapping(name, strategies.mapping_of(name)[1] | {"timeframes": ["5m"]})
    request = write(tmp_path, [tape])
    told = [
        ((one.open_ms - MONDAY_MS) // MINUTE_MS + 5 - begin, one.side, [v.check for v in one.verdicts if not v.passed])
        for one in find(momentum, request)
    ]
    # 99 to the fifth is 4.9% down, and the sixth candle is not yet below the average of the larger one.
    assert told == [
        (25, "long", []),
        *((at, "long", ["cooldown"]) for at in (30, 35, 40)),
        (195, "short", []),
        *((at, "short", ["cooldown"]) for at in (200, 205, 210)),
    ]
    result = run(request, momentum, FREE, blocked=True)
    # ATR is 0.3163 at 105.10 and 0.4725 at 100.89; targets are rounded away to cents, minutes go 21 and 20 cents.
    assert [(at - begin, price) for at, price, _ in entries(result)] == [(25, 105.1), (195, 100.89)]
    assert [(at - begin, price, why) for at, price, why in exits(result)] == [
        (26, 105.42, "target"), (28, 105.74, "target"), (29, 106.05, "target"),
        (197, 100.41, "target"), (199, 99.94, "target"), (202, 99.47, "target"),
    ]  # fmt: skip


# --- thin market ---------------------------------------------------------------------------------------------------


def test_scalp_is_silent_where_nobody_trades(tmp_path: Path) -> None:
    """The same prices with volume and without, as an exchange's candles have it where only quotes change."""
    traded, quoted = Tape(), Tape()
    for one in walk(4_000):
        traded.to(round(one.close * 100), volume=one.volume)
        quoted.to(round(one.close * 100), volume=0)
    scalp = strategies.load("scalp")
    assert list(find(scalp, write(tmp_path / "traded", [traded])))
    assert not list(find(scalp, write(tmp_path / "quoted", [quoted])))


def test_an_entry_waits_for_the_next_candle_however_late(tmp_path: Path) -> None:
    """Nothing trades for five hours after the signal; the entry is at the open of what comes then."""
    tape = Tape().ask().silence(300).bar(10_010, 10_020, 10_000, 10_010).calm(5)
    result = run(write(tmp_path, [tape.to(10_500)]), asked(), FREE)
    assert entries(result) == [(CALM + 301, 100.1, 9.99)]
    assert exits(result) == [(CALM + 307, 104.0, "target")]


def test_a_stop_in_a_silence_fills_at_the_next_open(tmp_path: Path) -> None:
    """Nobody traded between 100 and 93, so nobody could have sold at 98."""
    tape = Tape().ask().calm(1).silence(240).bar(9_300, 9_400, 9_200, 9_300).calm(3)
    assert exits(run(write(tmp_path, [tape]), asked(), FREE)) == [(CALM + 242, 93.0, "stop")]


def test_time_runs_in_a_silence_too(tmp_path: Path) -> None:
    """Sixty minutes after the signal nothing trades; the first open after that ends the position."""
    tape = Tape().ask().calm(30).silence(60).bar(10_030, 10_040, 10_030, 10_040).calm(3)
    result = run(write(tmp_path, [tape]), asked(time_limit=60), FREE)
    assert exits(result) == [(CALM + 91, 100.3, "time")]


def test_an_entry_whose_time_is_over_before_anybody_trades_is_none(tmp_path: Path) -> None:
    """Sixty minutes after the signal it would be closed for its time: at that open nothing is bought for fees alone."""
    for silence, made in ((58, 1), (60, 0), (300, 0)):
        tape = Tape().ask().silence(silence).calm(2)
        result = run(write(tmp_path / str(silence), [tape]), asked(time_limit=60), FREE)
        assert (len(entries(result)) + result.still_open, sum(result.skipped.values())) == (made, 1 - made)
    assert result.skipped == {"its time was over before the next candle": 1}


def test_an_order_moves_a_thin_market_and_more_so_the_thinner_it_is(tmp_path: Path) -> None:
    """5 bps, and 100 bps times the root of the order's share of its candle's turnover."""
    # The entry's candle turns over 40 coins at 100 = 4,000: a quarter of it moves the price by 50 bps, with the spread
    # 55: bought at 100.55, which is 9.945 coins. The stop's candle has 90 coins at 98 = 8,820; 9.945 at 98 are 974.61,
    # a share of 0.1105, whose root is 0.33242: 33.242 bps and the spread's 5.
    tape = Tape().ask().calm(1, volume=40).bar(10_000, 9_800, 9_800, volume=90).calm(3)
    result = run(write(tmp_path, [tape]), asked(), replace(FREE, slippage_bps=5, impact_bps=100))
    assert entries(result) == [(CALM + 1, 100.55, 9.945)]
    lost = 0.0005 + 0.01 * (974.61 / 8_820) ** 0.5
    assert int(9_800 * (1 - lost)) == 9_762
    assert exits(result) == [(CALM + 2, 97.62, "stop")]


def test_nobody_to_trade_with_costs_the_most_there_is(tmp_path: Path) -> None:
    """Where orders have an impact, a candle without turnover takes a tenth; targets are limits and lose nothing."""
    impact = replace(FREE, impact_bps=1)
    tape = Tape().ask().calm(3, volume=0).bar(10_000, 9_800, 9_800, volume=0).calm(3)
    stopped = run(write(tmp_path / "a", [tape]), asked(targets=FAR), impact)
    assert entries(stopped) == [(CALM + 1, 110.0, 9.09)]
    assert exits(stopped) == [(CALM + 4, 88.2, "stop")]
    won = run(write(tmp_path / "b", [Tape().ask().calm(1).to(10_500, volume=0)]), asked(), impact)
    # 1,000 in a candle of 1,000: one basis point.
    assert (entries(won), exits(won)) == ([(CALM + 1, 100.01, 9.999)], [(CALM + 2, 104.0, "target")])


LADDER = [{"at": "1", "share": "50%"}, {"at": "2", "share": "30%"}, {"at": "3", "share": "20%"}]


@pytest.mark.parametrize(
    ("quote", "parts"),
    [
        (100.0, [(101.0, 50.0), (102.0, 30.0), (103.0, 20.0)]),
        (20.0, [(101.0, 50.0), (102.0, 50.0)]),  # 0.04 at 103 are 4.12, less than 5: with the one before
        (16.0, [(101.0, 50.0), (103.0, 50.0)]),  # 0.048 at 102 are 4.896: with the next
        (9.0, [(102.0, 100.0)]),  # 0.045 at 101 with the next, 0.018 at 103 with the one before
        (4.99, []),
    ],
)
def test_a_ladder_too_small_for_its_rungs_has_fewer(
    tmp_path: Path, quote: float, parts: list[tuple[float, float]]
) -> None:
    """No rung is worth less than 5, and what is worth less than that as a whole is not bought."""
    tape = Tape().ask().calm(1).to(10_500)
    result = run(write(tmp_path, [tape]), asked(targets=LADDER), replace(FREE, size_quote=quote))
    found = [(part.price, pytest.approx(part.share)) for trade in result.trades for part in trade.exits]
    assert parts == found
    assert result.skipped == ({} if parts else {"less than a step or the least notional": 1})


@pytest.mark.parametrize(("quote", "coins"), [(299.0, 2), (300.0, 3), (99.0, 0)])
def test_a_coin_that_is_sold_whole_is_bought_whole(tmp_path: Path, quote: float, coins: int) -> None:
    """Of a step of one coin never more than the money is good for, and of a third of a coin none."""
    whole = replace(COIN, step=Decimal(1))
    tape = Tape().ask().calm(1).to(10_500)
    request = write(tmp_path, [tape])
    result = run(request, asked(targets=LADDER), replace(FREE, size_quote=quote), whole)
    assert [trade.quantity for trade in result.trades] == ([coins] if coins else [])
    sold_at = [(part.price, part.share) for trade in result.trades for part in trade.exits]
    # Half of two is one, and 80% of two rounds down to the same one; of three every rung gets one.
    wanted = {0: [], 2: [(101.0, 50.0), (103.0, 50.0)], 3: [(at, pytest.approx(100 / 3)) for at in (101, 102, 103)]}
    assert wanted[coins] == sold_at
