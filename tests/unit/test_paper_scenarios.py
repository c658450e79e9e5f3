"""Markets of a kind, each written by hand: what strategy, book and account make of it, to the last cent.

Expected figures are worked out beside each test from whole cents and thousandths of a coin.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from core_samples import mapping
from paper_markets import CALM, Tape, asked, backtest_of, entries, exits, run, write
from tapewatch.strategy import Strategy, from_mapping
from tapewatch.study.document import document
from tapewatch.study.metrics import metrics
from tapewatch.study.settings import Account
from tapewatch.study.signals import find

#: No costs, so that prices are those of the candles; 1,000 quote units in each position.
FREE = Account(kind="perpetual", taker_bps=0, maker_bps=0, slippage_bps=0, size_quote=1_000.0)
#: Ten bps for every order, five for those at the market.
COSTLY = replace(FREE, taker_bps=10, maker_bps=10, slippage_bps=5)


def breakout(**changes: object) -> Strategy:
    """Buys above the nine bars before, sells below them, for 80 cents, with a stop of 2."""
    sides = {"long": {"up": "close > highest(high, 9)[1]"}, "short": {"down": "close < lowest(low, 9)[1]"}}
    targets = [{"at": "0.8", "share": "100%"}]
    whole = sides | {"stop": "2", "targets": targets, "time_limit": 10_000, "higher": None} | changes
    return from_mapping("breakout", mapping(**whole))


def stairs(step: int, count: int = 12) -> Tape:
    """Ten calm bars and a step of so many cents, twelve times."""
    tape = Tape()
    for _ in range(count):
        tape.calm(10).to(tape.price + step)
    return tape.calm(10)


def bought(cents: int, bps: int = 5) -> int:
    """What a market order that buys pays, in cents rounded up."""
    return -(-cents * (10_000 + bps) // 10_000)


def sold(cents: int, bps: int = 5) -> int:
    """What one that sells gets, rounded down."""
    return cents * (10_000 - bps) // 10_000


def thousandths(cents: int, quote: int = 1_000) -> int:
    """How many thousandths of a coin this buys."""
    return quote * 100_000 // cents


# --- bull ----------------------------------------------------------------------------------------------------------


def test_a_bull_market_pays_a_breakout_step_by_step_and_the_holder_more(tmp_path: Path) -> None:
    """Twelve steps of 1: eleven entries take 80 cents each, nothing is sold short, and holding earns all of it."""
    backtest = backtest_of(write(tmp_path, [stairs(100)]), breakout(), COSTLY)
    found, result = document(backtest)
    gross = fees = Fraction(0)
    wanted = []
    for step in range(1, 12):
        close = 10_000 + 100 * step
        fill, target = bought(close), close + 80
        steps = thousandths(fill)
        wanted.append((CALM + 11 * step, fill / 100, steps / 1_000))
        gross += Fraction(steps * (target - fill), 100_000)
        fees += Fraction(steps * (fill + target), 100_000) / 1_000
    assert entries(result) == wanted
    assert [(at, why) for at, _, why in exits(result)] == [(CALM + 11 * (k + 1) - 1, "target") for k in range(1, 12)]
    assert [trade.exits[0].price for trade in result.trades] == [(10_180 + 100 * k) / 100 for k in range(11)]
    assert {trade.side for trade in result.trades} == {"long"}
    assert result.still_open == 1
    last = bought(11_200)
    fees += Fraction(thousandths(last) * last, 100_000) / 1_000
    assert (result.gross, result.fees) == (
        pytest.approx(float(gross), rel=1e-12),
        pytest.approx(float(fees), rel=1e-12),
    )
    open_loss = Fraction(thousandths(last) * (11_200 - last), 100_000)
    assert result.equity[-1] == pytest.approx(float(10_000 + gross - fees + open_loss), rel=1e-12)
    held = Fraction(112, 100) * Fraction(10_000 - 15, 10_000 + 15)
    assert found["buy_and_hold"]["net_pct"] == pytest.approx(float(held - 1) * 100, rel=1e-12)
    assert found["metrics"]["net_pct"] < 1 < 11 < found["buy_and_hold"]["net_pct"]
    assert found["metrics"]["win_rate_pct"] == 100


# --- bear ----------------------------------------------------------------------------------------------------------


def test_a_bear_market_alerts_a_spot_account_and_costs_it_nothing(tmp_path: Path) -> None:
    """Twelve shorts pass the gate, none is opened, and the money stays what it was."""
    request = write(tmp_path, [stairs(-100)])
    signals = [one for one in find(breakout(), request) if all(verdict.passed for verdict in one.verdicts)]
    assert [one.side for one in signals] == ["short"] * 12
    found, result = document(backtest_of(request, breakout(), replace(COSTLY, kind="spot")))
    assert (list(result.trades), result.still_open) == ([], 0)
    assert result.skipped == {"a spot account sells nothing short": 12}
    assert result.equity == [10_000.0, 10_000.0]
    assert found["buy_and_hold"]["net_pct"] < -12


def test_a_bear_market_pays_shorts_of_a_perpetual_and_their_funding(tmp_path: Path) -> None:
    """Eleven shorts earn 80 cents; one is paid 0.1% for being short, one pays 0.2%, before the first nobody pays."""
    # The third is held in the minutes CALM + 33 to 43, the seventh in CALM + 77 to 87.
    payments = [(100, 0.5), (CALM + 40, 0.001), (CALM + 80, -0.002)]
    result = run(write(tmp_path, [stairs(-100)], payments), breakout(), COSTLY)
    funding = {3: -Fraction(1, 1_000), 7: Fraction(2, 1_000)}
    for step, trade in enumerate(result.trades, 1):
        close = 10_000 - 100 * step
        fill, target = sold(close), close - 80
        steps = thousandths(fill)
        paid = Fraction(steps * close, 100_000) * funding.get(step, 0)
        gross = Fraction(steps * (fill - target), 100_000)
        fees = Fraction(steps * (fill + target), 100_000) / 1_000
        assert (trade.side, trade.entry_price, trade.exits[0].price) == ("short", fill / 100, target / 100)
        assert trade.quantity == steps / 1_000
        assert trade.funding == pytest.approx(float(paid), rel=1e-12)
        assert trade.net == pytest.approx(float(gross - fees - paid), rel=1e-9)
    assert len(result.trades) == 11
    # 10.314 coins at 97 are paid 0.1%, 10.758 at 93 pay 0.2%.
    assert result.funding == pytest.approx(-1.000458 + 2.000988, rel=1e-9)


# --- range ---------------------------------------------------------------------------------------------------------


def zigzag(cycles: int) -> Tape:
    """Down to 99 and up to 100 again, ten minutes each."""
    tape = Tape()
    for _ in range(cycles):
        tape.to(9_900).calm(9).to(10_000).calm(9)
    return tape


FADE = {
    "long": {"low": "close < lowest(low, 9)[1]"},
    "short": None,
    "stop": "3",
    "targets": [{"at": "0.2", "share": "100%"}],
}


def test_in_a_range_costs_are_more_than_what_is_won(tmp_path: Path) -> None:
    """Twenty dips are bought and sold 20 cents higher: each wins before costs and loses after them."""
    result = run(write(tmp_path, [zigzag(20)]), breakout(**FADE), COSTLY)
    # Bought at 99.00 + 5 bps = 99.05 (rounded up), sold at 99.20: 15 cents a coin; fees 0.1% of 198.25 = 19.825 cents.
    assert entries(result) == [(CALM + 20 * k + 1, 99.05, 10.095) for k in range(20)]
    assert exits(result) == [(CALM + 20 * k + 10, 99.2, "target") for k in range(20)]
    assert result.gross == pytest.approx(20 * 10.095 * 0.15, rel=1e-12)
    assert result.fees == pytest.approx(20 * 10.095 * 0.19825, rel=1e-12)
    found = metrics(result)
    assert (found["win_rate_pct"], found["profit_factor"], found["trades"]) == (0, 0, 20)
    assert found["net"] == pytest.approx(-20 * 10.095 * 0.04825, rel=1e-9)
    assert result.gross > 0 > found["net"]


def test_in_a_range_a_breakout_is_whipsawed_at_its_stop(tmp_path: Path) -> None:
    """Its stop of 80 cents lies inside the range: every entry, long or short, is stopped by the other side."""
    whipsaw = breakout(stop="0.8", targets=[{"at": "5", "share": "100%"}])
    result = run(write(tmp_path, [zigzag(6)]), whipsaw, FREE)
    # Short at 99.00 stopped at 99.80 by the rise, long at 100.00 stopped at 99.20 by the fall: the bar that stops one
    # is the signal of the other.
    wanted = [(CALM + 10 * k + 10, 99.8 if k % 2 == 0 else 99.2, "stop") for k in range(11)]
    assert exits(result) == wanted
    assert [trade.side for trade in result.trades] == ["short", "long"] * 5 + ["short"]
    assert {trade.r for trade in result.trades} == {-1.0}
    coins = 6 * 10.101 + 5 * 10
    assert result.gross == pytest.approx(-0.8 * coins, rel=1e-12)
    assert metrics(result)["max_drawdown_days"] == 1


# --- crash ---------------------------------------------------------------------------------------------------------


def test_a_crash_fills_the_stop_at_the_open_it_gapped_to(tmp_path: Path) -> None:
    """1% of the account was to be lost from 100 to 98; the next open is 90, and five times that is lost."""
    tape = Tape().ask().calm(3).bar(9_000, 9_100, 8_800, 8_900).calm(5)
    how = replace(COSTLY, size_quote=None, risk=0.01, cap_symbol=1.0)
    result = run(write(tmp_path, [tape]), asked(), how)
    # Bought at 100.05; 100 / 2.05 are 48.780 coins. Sold at 90 - 5 bps = 89.955, rounded down 89.95.
    assert entries(result) == [(CALM + 1, 100.05, 48.78)]
    assert exits(result) == [(CALM + 4, 89.95, "stop")]
    (trade,) = result.trades
    fees = 48.78 * (100.05 + 89.95) / 1_000
    assert trade.net == pytest.approx(-48.78 * 10.1 - fees, rel=1e-12)
    assert trade.r == pytest.approx((-48.78 * 10.1 - fees) / (48.78 * 2.05), rel=1e-12)
    assert result.equity[-1] == pytest.approx(10_000 + trade.net, rel=1e-12)


def test_a_crash_inside_a_candle_fills_the_stop_at_its_level(tmp_path: Path) -> None:
    """A candle that opens above the stop passes it on the way down: 98, not the 88 it fell to."""
    tape = Tape().ask().calm(3).bar(10_000, 10_000, 8_800, 8_900).calm(5)
    assert exits(run(write(tmp_path, [tape]), asked(), FREE)) == [(CALM + 4, 98.0, "stop")]


@pytest.mark.parametrize(
    ("bar", "price", "lost"),
    [
        ((9_800, 9_800, 9_400, 9_450), 95.48, 45.2),  # through the level: 95 / 0.995 = 95.477, rounded up
        ((9_530, 9_600, 9_400, 9_450), 95.30, 47.0),  # gaps to between liquidation and the loss of the margin
        ((9_000, 9_100, 8_000, 8_100), 95.0, 50.0),  # gaps past both: the rest is the exchange's loss
    ],
)
def test_a_leveraged_account_never_loses_more_than_the_margin_in_a_crash(
    tmp_path: Path, bar: tuple[int, ...], price: float, lost: float
) -> None:
    """At 20 times, 1,000 quote units have a margin of 50; the stop, 8 below, comes too late."""
    tape = Tape().ask().calm(3).bar(*bar).calm(5)
    how = replace(FREE, leverage=20.0, taker_bps=10)
    result = run(write(tmp_path, [tape]), asked(stop="8"), how)
    assert exits(result) == [(CALM + 4, price, "liquidation")]
    (trade,) = result.trades
    assert trade.gross == pytest.approx(-lost, rel=1e-12)
    assert trade.fees == pytest.approx((1_000 + 10 * price) / 1_000, rel=1e-12)


def test_a_crash_of_everything_costs_no_more_than_the_limits_let_in(tmp_path: Path) -> None:
    """Three coins are bought at once, the third with what the limit on longs leaves; all gap 10% down together."""
    tapes = [
        Tape(symbol).ask().calm(3).bar(9_000, 9_000, 9_000, 9_000).calm(5)
        for symbol in ("AAAUSDT", "BBBUSDT", "CCCUSDT")
    ]
    how = replace(FREE, size_quote=4_000.0, cap_symbol=0.4, cap_side=0.9, cap_total=1.0)
    result = run(write(tmp_path, tapes), asked(), how)
    assert [(trade.symbol, trade.quantity) for trade in result.trades] == [
        ("AAAUSDT", 40.0),
        ("BBBUSDT", 40.0),
        ("CCCUSDT", 10.0),
    ]
    assert {(trade.exits[0].price, trade.exits[0].reason) for trade in result.trades} == {(90.0, "stop")}
    assert result.equity[-1] == pytest.approx(10_000 - 900, rel=1e-12)
    assert metrics(result)["max_drawdown_pct"] == pytest.approx(9.0, rel=1e-12)
