"""A signal in numbers: names, scales, what is not known, and that it says the same in every market."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_samples import MONDAY_MS, bar, strategy, walk
from engine_runs import candidates
from tapewatch import strategies
from tapewatch.features import FeatureSet, features_of
from tapewatch.model import Bar, Outlook, Signal, Surroundings
from tapewatch.record import HOUR_MS
from tapewatch.strategy import Graph, compile_program
from tapewatch.strategy.expression import Reader
from tapewatch.strategy.scale import Scale, scale_of

WIDE = {
    "average": "close > ema(close, 5)",
    "band": "close > bb(close, 10, 2).lower",
    "hist": "macd(close, 3, 8, 4).hist > 0",
    "volume": "volume > sma(volume, 9)",
    "weighted": "close > vwma(close, 9)",
    "money": "sma(quote_volume, 5) > 0",
    "obv": "obv() > ema(obv(), 3)",
    "osc": "rsi(close, 6) > 50",
    "log": "log(close) > 1",
    "turn": "crossover(close, ema(close, 5))",
    "often": "close > 0",
}


def found(bars: list[Bar], **changes: Any) -> tuple[list[Signal], FeatureSet]:
    """The candidates of a strategy over bars, and the features that it has."""
    probe = strategy(**{"long": WIDE, "fire": "any", **changes})
    return candidates("venue", probe, bars), FeatureSet.of(compile_program(probe, "1m"))


def scale(text: str) -> Scale | None:
    """How an expression grows with its market."""
    return scale_of(Reader(Graph(), {"k": 3.0}, {60_000: 300_000}).read(text, 60_000, "number", "test"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("close", (1, 0, 1)),
        ("2 * hl2", (1, 0, 2)),
        ("hl2 / 2", (1, 0, 0.5)),
        ("(high + low) / 2", (1, 0, 1)),
        ("high - low", (1, 0, 0)),
        ("-close", (1, 0, -1)),
        ("close + 5", (1, 0, 1)),
        ("close[3]", (1, 0, 1)),
        ("higher(ema(close, 5))", (1, 0, 1)),
        ("stdev(close, 5)", (1, 0, 0)),
        ("bb(close, 20, k).upper", (1, 0, 1)),
        ("supertrend(3, 10).line", (1, 0, 1)),
        ("vwma(close, 5)", (1, 0, 1)),
        ("volume ** 2 / volume", (0, 1, 0)),
        ("close * volume", (1, 1, 1)),
        ("sqrt((close - open) ** 2)", (1, 0, 0)),
        ("correlation(close, volume, 5) * 0", (0, 0, 0)),
        ("zscore(volume, 5)", (0, 0, 0)),
        ("obv() - obv()[3]", (0, 1, 0)),
        ("obv()", (0, 1, 1)),
        ("rsi(close, 5)", (0, 0, 0)),
        ("close / open", (0, 0, 1)),
        ("hour", (0, 0, 0)),
        ("k", (0, 0, 0)),
    ],
)
def test_an_expression_grows_with_prices_and_volumes_as_its_parts_do(text: str, wanted: tuple[float, ...]) -> None:
    """Powers of price and volume, and how far it moves with all prices."""
    assert scale(text) == pytest.approx(wanted)


@pytest.mark.parametrize(
    "text", ["log(close)", "close + volume", "exp(close)", "close ** volume", "sma(log(close), 5)"]
)
def test_what_grows_in_no_such_way_has_no_scale(text: str) -> None:
    """A sum of unlike things and logarithms of prices cannot be told in units of their market."""
    assert scale(text) is None


def test_names_are_the_same_on_every_timeframe_and_unlike_each_other() -> None:
    """A model of a strategy is of all its timeframes."""
    for name in ("scalp", "momentum", "trend"):
        one = strategies.load(name, [])
        sets = [FeatureSet.of(compile_program(one, timeframe)) for timeframe in one.timeframes]
        assert len({known.names for known in sets}) == 1
        assert len(set(sets[0].names)) == len(sets[0].names)


def test_what_depends_on_where_the_series_began_and_what_is_always_1_is_left_out() -> None:
    """Of obv() there is neither the value nor the margin, of log(close) no value; ATR(14) is the unit itself."""
    _, known = found(walk(5), stop="2 * atr(14)")

    assert "value.obv()" not in known.names
    assert "margin.obv" not in known.names
    assert "factor.obv" in known.names
    assert "value.log(close)" not in known.names
    assert "value.atr(14)" not in known.names


def test_prices_are_told_from_the_entry_in_atr_and_volumes_in_their_mean() -> None:
    """By hand, of bars whose ATR(14) is 2 and whose mean volume is 10."""
    bars = [bar(k, open=99.0) for k in range(39)] + [bar(39, open=99.0, close=100.0, volume=40.0)]
    (*_, last), known = found(bars, long={"a": "ema(close, 5) > 0", "s": "sma(volume, 2) > 0", "d": "tr() > 0"})

    told = features_of(last, known)

    assert told["value.ema(close, 5)"] == pytest.approx((100 - 100) / 2)
    assert told["value.tr()"] == pytest.approx(1.0)
    assert told["value.sma(volume, 2)"] == pytest.approx(25 / 11.5)
    assert told["volume_ratio"] == pytest.approx(40 / 11.5)
    assert told["atr_pct"] == pytest.approx(2.0)
    assert (told["side"], told["timeframe"], told["hour"], told["weekday"]) == (1.0, 1.0, 0.0, 0.0)


def test_what_is_not_known_is_nan() -> None:
    """Before anything has a value, and without surroundings."""
    (first, *_), known = found(walk(3))

    told = features_of(first, known)

    assert list(told) == list(known.names)
    unknown = {name for name, value in told.items() if math.isnan(value)}
    assert {"value.bb(close, 10, 2).lower", "factor.band", "margin.band", "atr_pct", "volume_ratio"} <= unknown
    assert all(name in unknown for name in told if name.startswith(("context.", "regime.", "higher.")))


def test_surroundings_are_told_where_they_are_known() -> None:
    """Regimes and trends of both timeframes, and what is not candles."""
    (*_, last), known = found(walk(40))
    own = Outlook("1m", {"trending": True, "ranging": False}, "up")
    higher = Outlook("5m", {"trending": None, "high_volatility": True}, "down")
    around = Surroundings(
        spread_bps=2.0, imbalance=-0.5, funding_rate=0.0001, outlooks=(own, higher), btc_correlation=0.7,
        next_funding_ms=last.close_ms + HOUR_MS,
    )  # fmt: skip

    told = features_of(msgspec.structs.replace(last, context=around), known)

    assert (told["regime.trending"], told["regime.ranging"], told["regime.trend"]) == (1.0, 0.0, 1.0)
    assert (told["higher.high_volatility"], told["higher.trend"]) == (1.0, -1.0)
    assert math.isnan(told["higher.trending"])
    assert (told["context.spread_bps"], told["context.imbalance"]) == (2.0, -0.5)
    assert (told["context.funding_rate"], told["context.funding_minutes"]) == (0.0001, 60.0)
    assert told["context.btc_correlation"] == 0.7
    assert math.isnan(told["context.slippage_bps"])


def test_the_regimes_a_strategy_filters_by_are_known_without_surroundings() -> None:
    """As the signal has them; of others nothing."""
    (*_, last), known = found(walk(40))

    told = features_of(msgspec.structs.replace(last, regime={"ranging": True, "trending": None}), known)

    assert told["regime.ranging"] == 1.0
    assert math.isnan(told["regime.trending"])
    assert math.isnan(told["regime.low_volatility"])


def test_hour_and_weekday_are_those_of_the_close() -> None:
    """A bar that closes at midnight on Tuesday is Tuesday's."""
    (last,), known = found([bar(24 * 60 - 1)], long={"often": "close > 0"})

    told = features_of(last, known)

    assert last.close_ms == MONDAY_MS + 24 * HOUR_MS
    assert (told["hour"], told["weekday"]) == (0.0, 1.0)


@settings(max_examples=15)
@given(st.integers(0, 50), st.sampled_from([2.0**k for k in (-9, -1, 3, 12)]), st.sampled_from([0.25, 8.0, 1024.0]))
def test_a_market_in_other_units_has_the_same_features(seed: int, price: float, volume: float) -> None:
    """Prices and volumes times powers of two: everything but the hourly volume in quote units is as before."""
    bars = walk(60, seed)
    grown = [
        msgspec.structs.replace(
            one, open=one.open * price, high=one.high * price, low=one.low * price, close=one.close * price,
            volume=one.volume * volume, quote_volume=one.quote_volume * price * volume,
            taker_buy=one.taker_buy * volume,
        )
        for one in bars
    ]  # fmt: skip
    long = {name: text for name, text in WIDE.items() if name != "log"}
    levels = {"stop": "2 * atr(14)", "targets": [{"at": "atr(14)", "share": "100%"}]}

    (plain, known), (other, _) = found(bars, long=long, **levels), found(grown, long=long, **levels)

    assert len(plain) == len(other) > 0
    for one, two in zip(plain, other, strict=True):
        assert features_of(one, known) == pytest.approx(features_of(two, known), nan_ok=True, rel=1e-9, abs=1e-9)


def test_factors_of_one_side_are_not_known_of_the_other() -> None:
    """The names are those of both sides, long's first; what short does not ask is NaN for it."""
    sides = {
        "long": {"up": "close > open", "both": "close > 1"},
        "short": {"down": "close < open", "both": "close > 1"},
    }
    signals, known = found(walk(30), fire={"at_least": 1}, **sides)

    assert [name for name in known.names if name.startswith("factor.")] == ["factor.up", "factor.both", "factor.down"]
    for one in signals:
        told = features_of(one, known)
        own, other = ("up", "down") if one.side == "long" else ("down", "up")
        assert not math.isnan(told[f"factor.{own}"] + told[f"margin.{own}"] + told["factor.both"])
        assert math.isnan(told[f"factor.{other}"])
        assert math.isnan(told[f"margin.{other}"])
    assert {one.side for one in signals} == {"long", "short"}
