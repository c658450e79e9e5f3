"""What an alert says, and what it leaves out."""

from __future__ import annotations

import math
import re
from datetime import UTC
from typing import Any

import pytest

from alert_samples import BERLIN, STYLES, lines_of, momentum, record, shown, surroundings, text_of
from delivery_samples import signal, stored
from tapewatch.channels.port import Style
from tapewatch.channels.writer import Writer
from tapewatch.model import (
    Confidence,
    Factor,
    Target,
    Trailing,
)


def test_an_alert_says_what_to_do_and_why() -> None:
    """Which market, from where to where, how sure, on what evidence and when, each on a line of its own."""
    text = text_of(signal())
    lines = lines_of(signal())

    assert {name: lines[name] for name in ("Type", "Symbol", "Timeframe", "Strategy", "Entry", "Stop", "Target")} == {
        "Type": "LONG",
        "Symbol": "BTCUSDT",
        "Timeframe": "1m",
        "Strategy": "scalp",
        "Entry": "67012.5",
        "Stop": "66950.25 (-0.09%)",
        "Target": "67054 (+0.06%)",
    }
    assert lines["Risk/reward"] == "1:0.67"
    assert (lines["Signal strength"], lines["Confidence"], lines["Market bias"]) == ("6.4/10", "5/5", "bullish")
    assert lines["Volume"] == "123 BTC (210% of its average)"
    assert lines["Bar close"] == "2025-05-20 14:07 UTC (16:07 CEST)"
    assert (lines["EMA(9)"], lines["VWAP"], lines["ATR(14)"]) == ("67001.123", "66990.125", "41.5")
    assert "  [met] vwap: close > vwap() (67012.5 > 66990.125)\n" in text
    assert "  [unknown] bias: higher(close > ema(close, 50))\n" in text
    assert "  [not met] rsi: rsi_lo <= rsi(close, 6) <= rsi_hi\n" in text
    assert lines["Trace"] == signal().trace_id


@pytest.mark.parametrize("style", STYLES)
def test_every_style_says_what_the_plain_text_says(style: Style) -> None:
    """Levels, summary, surroundings, record and factors are in each body, in its own escapes."""
    alert = stored(momentum(context=surroundings()), signal(strategy="trend"), record=record())
    written = Writer(BERLIN).write(alert, style, late="it waited.", repeat=True)
    seen = shown(style, written.body)
    wanted = [
        "1000SATSUSDT", "SHORT", "6.4/10", "-8.24% over 8 bars, -5.2 ATR", "0.0000479", "0.000049141612",
        "trending down on 5m and 15m", "ETHUSDT -3.10% (correlation 0.91)", "62% bids, 38% asks", "Missing",
        "60% of 816 (56-63%), random entry 58%", "-3.00 R a signal, -1.98 per 1,000 USDT", "loses after costs",
        "close / close[lookback] - 1 < -pct (-0.082375479 < -0.05)", "trend (LONG)", "it waited.", "Possible repeat",
        momentum().trace_id, "2025-05-20 14:07 UTC (16:07 CEST)",
    ]  # fmt: skip

    assert [words for words in wanted if words not in seen] == []
    assert written.html == (written.body if style == "html" else None)


def test_a_short_has_its_stop_above_and_its_signs_by_profit() -> None:
    """A short's stop is a loss and its lower targets are profits; several targets have their shares."""
    targets = (Target(66000.0, 60.0), Target(65000.0, 40.0))
    lines = lines_of(signal(side="short", stop=68000.0, stop_distance_pct=1.4736, targets=targets, bias="bearish"))

    assert lines["Type"] == "SHORT"
    assert lines["Stop"] == "68000 (-1.47%)"
    assert lines["Target 1"] == "66000 (+1.51%, 60% of the position)"
    assert lines["Target 2"] == "65000 (+3.00%, 40% of the position)"
    assert lines["Market bias"] == "bearish"


@pytest.mark.parametrize("style", STYLES)
def test_the_score_of_a_model_is_told(style: Style) -> None:
    """In every style; without a model nothing is said of one."""
    for score, told in ((0.634, True), (None, False)):
        body = Writer(BERLIN).write(stored(signal(score=score)), style, late=None, repeat=False).body
        assert ("63% to touch the target first" in shown(style, body)) is told


def test_what_moves_the_stop_is_told() -> None:
    """Where the price must be for it, with the profit there, and how far the stop follows; on either side."""
    moved = lines_of(signal(break_even=67.0125, trailing=Trailing(670.125, 134.025)))
    assert moved["Break-even after"] == "67079.512 (+0.10%)"
    assert moved["Trailing stop"] == "134.025 (0.20%) behind the best price, after 67682.625 (+1.00%)"
    short = lines_of(signal(side="short", break_even=67.0125, trailing=Trailing(None, 134.025)))
    assert short["Break-even after"] == "66945.488 (+0.10%)"
    assert short["Trailing stop"] == "134.025 (0.20%) behind the best price"
    assert not {"Break-even after", "Trailing stop"} & set(lines_of(signal()))


def test_subjects_fit_a_lock_screen() -> None:
    """The base asset, the strategy, the side, the timeframe and the strength, whatever the style."""
    alerts = (signal(), signal("ETHBTC", side="short", timeframe="5m", strategy="trend"), signal("1000SATSUSDC"))
    subjects = [Writer(UTC).write(stored(each), style).subject for each in alerts for style in ("plain", "html")]

    assert subjects[::2] == [
        "[BTC SCALP] LONG Signal - 1m, 6.4/10",
        "[ETH TREND] SHORT Signal - 5m, 6.4/10",
        "[1000SATS SCALP] LONG Signal - 1m, 6.4/10",
    ]
    assert subjects[1::2] == subjects[::2]


def test_a_momentum_alert_measures_its_move() -> None:
    """In percent over its bars and in ATR, with the volume in percent of its average and its z-score."""
    lines = lines_of(momentum())

    assert lines["Price move"] == "-8.24% over 8 bars, -5.2 ATR"
    assert lines["Volume"] == "6.83B 1000SATS (154% of its average, z-score +2.0 over 96 bars)"


RATIO = Factor("up", True, "close / close[3] > 1.02", 1.05, ">", 1.02)


@pytest.mark.parametrize(
    ("changes", "move"),
    [
        (
            {"factors": (RATIO,)},
            "+5.00% over 3 bars, +2.4 ATR",
        ),
        ({"factors": (), "indicators": {"roc(close, 5)": -2.0}}, "-2.00% over 5 bars, -1.0 ATR"),
        ({"factors": (), "indicators": {"roc(close, n)": 2.0}, "atr": 0.0}, "+2.00%"),
        ({"factors": (Factor("other", True, "close / open[3] > 1.02", 1.05, ">", 1.02),)}, None),
        ({"factors": (Factor("none", None, "close / close[3] - 1 > 0.02"),)}, None),
        ({"factors": (Factor("odd", True, "close / close[3", 1.0, ">", 0.5),)}, None),
        ({"factors": (Factor("nan", None, "close / close[3] - 1 > 0.02", math.nan, ">", 0.02),)}, None),
    ],
)
def test_the_move_is_read_from_what_the_strategy_compared(changes: dict[str, Any], move: str | None) -> None:
    """Of a ratio of closes or a rate of change; where the values do not provide one nothing is said."""
    lines = lines_of(signal(**({"entry": 100.0, "stop": 99.0, "atr": 2.0, "indicators": {}} | changes)))
    assert lines.get("Price move") == move


@pytest.mark.parametrize("style", STYLES)
def test_a_broken_signal_without_an_entry_is_written_all_the_same(style: Style) -> None:
    """What would be in percent of it is not said."""
    targets = (Target(67_000.0, 50.0), Target(68_000.0, 50.0))
    broken = signal(entry=0.0, targets=targets, break_even=120.0, trailing=Trailing(by=150.0, after=None))
    text = shown(style, Writer(BERLIN).write(stored(broken), style).text)
    assert "67000" in text
    assert "150 behind the best price" in text
    assert not re.search(r"\b(nan|inf)\b", text, re.IGNORECASE)


def test_what_is_unknown_is_said_to_be() -> None:
    """Numbers that are none are shown as n/a, an unknown ratio not at all, and no indicator without a value."""
    nothing = signal(
        atr=math.nan, risk_reward=math.nan, stop=math.nan, stop_distance_pct=math.nan, strength=math.nan,
        volume_ratio=math.nan, indicators={"vwap()": None, "flag": True}, confidence=Confidence(3, 5),
    )  # fmt: skip
    text, lines = text_of(nothing), lines_of(nothing)

    assert lines["Stop"] == "n/a (n/a)"
    assert (lines["Risk/reward"], lines["Signal strength"], lines["ATR(14)"]) == ("n/a", "n/a", "n/a")
    assert lines["Volume"] == "123 BTC"
    assert lines["Confidence"] == "3/5"
    assert "VWAP" not in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert Writer(UTC).write(stored(nothing), "plain").subject == "[BTC SCALP] LONG Signal - 1m"


def test_the_other_strategies_late_and_repeat_are_told() -> None:
    """An alert names who else fired, why it is late and that it may be a repeat; the subject tells of late."""
    alert = (signal(), signal(strategy="trend", side="short"), signal(strategy="momentum"))
    text = text_of(*alert, late="this alert waited 25 min before it could be delivered.", repeat=True)

    assert text.startswith("Late: this alert waited 25 min before it could be delivered.\nPossible repeat: ")
    assert "\nAlso fired on this bar: trend (SHORT), momentum (LONG)\n" in text
    assert Writer(UTC).write(stored(*alert), "plain", late="x").subject == "[BTC SCALP] LONG Signal - 1m, 6.4/10 (late)"
    assert "Late" not in text_of(*alert)
    assert "repeat" not in text_of(*alert)
