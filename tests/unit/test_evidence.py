"""What a signal says about why it is one: factors, indicators, bias, strength, prices."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest

from core_samples import MONDAY_MS, bar, candles_of, strategy, walk
from engine_runs import candidates
from tapewatch.archive.resample import build
from tapewatch.model import MINUTE_MS, NAN, Bar, Factor, Signal, Trailing
from tapewatch.strategy import compile_program
from tapewatch.study.signals import _of_program

#: Ten bars at 100 with a range of 2 each: ATR(1) is 2, ATR(14) is not known yet.
SHORT = [bar(k, open=99.0) for k in range(10)]
#: Twenty of them, then ATR(14) is 2.
LONG = [bar(k, open=99.0) for k in range(20)]


def last(bars: list[Bar], **changes: Any) -> Signal:
    """The candidate on the last bar; a factor that always holds makes it fire."""
    long = {"often": "close > 0", **changes.pop("factors", {})}
    return candidates("venue", strategy(long=long, fire="any", **changes), bars)[-1]


def factor(text: str, bars: list[Bar] = LONG) -> Factor:
    """A factor as it is on the last bar."""
    return last(bars, factors={"f": text}).factors[1]


def compared(text: str, bars: list[Bar] = LONG) -> tuple[Any, ...]:
    """(met, left, op, right) of a factor on the last bar, NaN as text."""
    one = factor(text, bars)
    values = (None if value is None else "nan" if value != value else value for value in (one.left, one.right))
    left, right = values
    return one.met, left, one.op, right


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("close > open", (True, 100.0, ">", 99.0)),
        ("close < open + 1", (False, 100.0, "<", 100.0)),
        ("99 <= open", (True, 99.0, "<=", 99.0)),
        ("close != 100", (False, 100.0, "!=", 100.0)),
        ("trades > 1", (None, "nan", ">", 1.0)),
        ("atr(30) > 1", (None, "nan", ">", 1.0)),
        ("1 < open <= 99 < close", (True, 99.0, "<", 100.0)),
        ("1 < open < 99 < close < 7", (False, 99.0, "<", 99.0)),
        ("trades < 5 < 7", (None, "nan", "<", 5.0)),
        ("trades < 5 < 1", (False, 5.0, "<", 1.0)),
        ("1 < 2 < trades < 9", (None, 2.0, "<", "nan")),
        ("close > 1 and open > 100", (False, 99.0, ">", 100.0)),
        ("crossover(close, 5)", (False, 100.0, "<=", 5.0)),
        ("higher(close > 1)", (True, 100.0, ">", 1.0)),
        ("higher(1 < close < 50)", (False, 100.0, "<", 50.0)),
        ("close > 1 or open > 1", (True, None, None, None)),
        ("not close > 1", (False, None, None, None)),
        ("(close > 1)[1]", (True, None, None, None)),
        ("close > 1 and (open > 1 or low > 1)", (True, None, None, None)),
    ],
)
def test_a_factor_shows_the_comparison_that_decides_it(text: str, wanted: tuple[Any, ...]) -> None:
    """The outermost; of a chain the first false link, else the first unknown, else the last; else none."""
    assert compared(text) == wanted


def test_unknown_is_not_unmet() -> None:
    """A factor whose input has no value yet shows neither true nor false, and is not counted."""
    one = last(SHORT, factors={"later": "sma(close, 50) > 1", "false": "close < 1"})
    assert [factor.met for factor in one.factors] == [True, None, False]
    assert (one.confidence.met, one.confidence.asked) == (1, 3)


def test_indicators_have_their_names_as_written() -> None:
    """Every call of every side and distance under its own text; what has no value is None, conditions are bools."""
    one = last(
        LONG,
        factors={"a": "close > ema(close,9) and rsi(close, slow) > 3", "b": "barssince(crossover(close, 5)) < 2"},
        params={"slow": 19, "n": 2},
        stop="1.5 * atr( n )",
        targets=[{"at": "higher(sma(close, 3))", "share": "100%"}],
    )
    assert one.indicators == {
        "ema(close,9)": 100.0,
        "rsi(close, slow)": 0.0,
        "crossover(close, 5)": False,
        "barssince(crossover(close, 5))": None,
        "atr( n )": 2.0,
        "higher(sma(close, 3))": 100.0,
    }


def test_prices_follow_from_entry_and_distances() -> None:
    """Long below and above, short mirrored; the ratio is the share-weighted distance over the stop's."""
    targets = [{"at": "1", "share": "50%"}, {"at": "4", "share": "30%"}, {"at": "10", "share": "20%"}]
    both = candidates("venue", strategy(short={"down": "close > 0"}, stop="2.5", targets=targets), LONG)[-2:]
    long, short = both
    assert (long.side, short.side) == ("long", "short")
    assert (long.entry, long.stop, short.stop) == (100.0, 97.5, 102.5)
    assert [(target.price, target.share) for target in long.targets] == [(101.0, 50.0), (104.0, 30.0), (110.0, 20.0)]
    assert [target.price for target in short.targets] == [99.0, 96.0, 90.0]
    assert long.risk_reward == short.risk_reward == pytest.approx((0.5 * 1 + 0.3 * 4 + 0.2 * 10) / 2.5)
    assert (long.stop_distance_pct, long.profit_distance_pct) == (2.5, 1.0)
    assert (long.atr, long.volume, long.volume_ratio) == (pytest.approx(2.0), 10.0, 1.0)


def test_moves_of_the_stop_are_distances_on_both_sides() -> None:
    """In the price's unit, whatever the side; what the strategy does not have is None."""
    moves = {"break_even": "close - open", "trailing": {"after": "atr(1)", "by": "0.5 * atr(1)"}}
    for one in candidates("venue", strategy(short={"down": "close > 0"}, **moves), LONG)[-2:]:
        assert (one.break_even, one.trailing) == (1.0, Trailing(2.0, 1.0))
    assert last(LONG, trailing={"by": "3"}).trailing == Trailing(None, 3.0)
    assert (last(LONG).break_even, last(LONG).trailing) == (None, None)


def test_a_side_without_a_distance_does_not_fire() -> None:
    """Where a stop, a target or a move is unknown or not above 0 there is no trade, and so no candidate."""
    for distance in ("atr(30)", "close - high - 1", "volume - 10", "trades"):
        for changes in (
            {"stop": distance},
            {"targets": [{"at": distance, "share": "100%"}]},
            {"break_even": distance},
            {"trailing": {"by": distance}},
            {"trailing": {"after": distance, "by": "1"}},
        ):
            assert candidates("venue", strategy(long={"up": "close > 0"}, **changes), LONG) == []


@pytest.mark.parametrize(
    ("closes", "bias"),
    [
        ([100.0 + k for k in range(60)], "bullish"),
        ([200.0 - k for k in range(60)], "bearish"),
        ([100.0] * 60, "neutral"),
        ([100.0 + k for k in range(60)] + [130.0], "neutral"),
        ([200.0 - k for k in range(60)] + [170.0], "neutral"),
    ],
)
def test_bias(closes: list[float], bias: str) -> None:
    """Bullish above EMA(50) with EMA(9) above EMA(21), bearish mirrored, else neutral."""
    assert last([bar(k, close) for k, close in enumerate(closes)]).bias == bias


def strength(*texts: str, bars: list[Bar] = LONG, **changes: Any) -> float:
    """The strength when these are all the factors asked."""
    long = {f"f{k}": text for k, text in enumerate(texts)}
    return candidates("venue", strategy(long=long, fire="any", **changes), bars)[-1].strength


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["close > 100 - 2"], 10.0),  # prices 2 apart, which is one ATR
        (["close > open"], 7.5),  # 1 of an ATR of 2
        (["close > 0"], 10.0),  # never more than 1
        (["close >= 100"], 5.0),  # met, by nothing
        (["rsi(close, 2) <= 0"], 5.0),  # no scale: both sides are 0
        (["volume > 5"], 7.5),  # 5 of 10
        (["5 < volume"], 7.5),
        (["volume > 5", "close > 500"], 3.75),  # one of two
        (["volume > 5", "trades > 5"], 3.75),  # unknown counts as not met
        (["volume > 5 and close > 98"], 7.5),  # the smallest
        (["volume > 5 or close > 98"], 10.0),  # the largest of what is true
        (["volume > 5 or close > 500"], 7.5),
        (["not volume > 20"], 7.5),
        (["not (volume > 20 or close > 102)"], 7.5),  # both must be false: the smallest
        (["not (volume > 20 and close > 102)"], 10.0),  # one is enough: the largest
        (["not (volume > 20 and close > 98)"], 7.5),
        (["not not volume > 5"], 7.5),
        (["higher(volume > 25)"], 7.5),
        (["higher(close > 99)"], 7.5),
        (["(volume > 5)[1]"], 5.0),  # what was has no margin
        (["(close + open) / 2 > 98.5"], 7.5),  # still a price
        (["sma(close, 3) - ema(open, 2)[1] > -1"], 10.0),
        (["close / (open + 1) > 0.5"], 7.5),  # a ratio of prices is none
        (["higher(close) > 99"], 7.5),
        (["-close < -99"], 7.5),
        (["atr(2) > 1"], 7.5),
        (["close % 3 > 0.5"], 7.5),
    ],
)
def test_strength(texts: list[str], wanted: float) -> None:
    """Ten times the mean of 0 for what is not met, else half and half the margin."""
    assert strength(*texts) == wanted


def test_strength_without_an_atr_has_no_margin_of_prices() -> None:
    """Before ATR(14) is known a price comparison counts as just met."""
    assert strength("close > 50", bars=SHORT) == 5.0


def test_nan_is_null_in_json() -> None:
    """Everything that has no value is null; the rest are numbers, and the keys are those that are pinned."""
    line = json.loads(msgspec.json.encode(last(SHORT, factors={"f": "trades > 1", "g": "close > open or open > 1"})))
    assert line["atr"] is None
    assert line["volume_ratio"] is None
    assert line["factors"][1] == {
        "name": "f",
        "met": None,
        "text": "trades > 1",
        "left": None,
        "op": ">",
        "right": 1.0,
        "margin": None,
    }
    assert line["factors"][2]["op"] is None
    assert line["targets"] == [{"price": 101.0, "share": 100.0}]


def test_a_volume_average_of_nothing_has_no_ratio() -> None:
    """Twenty bars without volume: the ratio is unknown, not infinite."""
    assert math.isnan(last([bar(k, volume=0.0) for k in range(25)]).volume_ratio)


def test_settled_is_the_first_bar_past_every_settling_length() -> None:
    """Bar by bar on both timeframes, live and in research: false up to the last bar that is needed, then true."""
    plan = strategy(long={"often": "close > 0", "slow": "higher(sma(close, 200)) != 0"}, fire="any")
    bars = walk(1003)
    live = candidates("venue", plan, bars)
    program = compile_program(plan, "1m")
    frames = {frame_ms: build(candles_of(bars), frame_ms) for frame_ms in program.frames}
    for found in (live, *(list(_of_program(program, frames, "venue", kind)) for kind in ("interpreted", "columns"))):
        assert [one.settled for one in found] == [False] * 999 + [True] * 4


def test_a_move_of_the_stop_counts_for_settled() -> None:
    """A window of 900 bars that only the trailing stop reads."""
    found = candidates("venue", strategy(trailing={"by": "highest(high, 900) - lowest(low, 900)"}), walk(903))
    assert [one.settled for one in found if one.close_ms > found[0].close_ms] == [True] * (len(found) - 1)
    assert found[0].open_ms >= MONDAY_MS + 899 * MINUTE_MS
    whole = compile_program(
        strategy(break_even="sma(close, 800)", trailing={"after": "2", "by": "sma(close, 900)"}), "1m"
    )
    assert whole.settled_at == {MINUTE_MS: 899}


def test_parameters_are_in_the_signal() -> None:
    """As they were when it fired."""
    assert last(SHORT, params={"level": 3, "other": -0.5}).params == {"level": 3.0, "other": -0.5}
    assert last([bar(0, trades=NAN)]).indicators == {}
