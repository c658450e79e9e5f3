from __future__ import annotations

import gzip
import html
import math
import re
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from delivery_samples import signal
from tapewatch.channels.labels import base_asset, indicator_label, number, percent, plain, rounded
from tapewatch.channels.render import render_notice, render_signals
from tapewatch.model import Confidence, Signal, Target, Trailing

BERLIN = ZoneInfo("Europe/Berlin")


def text_of(*signals: Signal, late: str | None = None, repeat: bool = False) -> str:
    """The plain text of an alert."""
    return render_signals(signals, BERLIN, late=late, repeat=repeat).text


def test_a_long_alert_has_every_part() -> None:
    """The whole text of an alert, line by line."""
    assert text_of(signal()) == (
        "Type: LONG\n"
        "Symbol: BTCUSDT\n"
        "Timeframe: 1m\n"
        "Strategy: scalp\n"
        "Entry: 67012.5\n"
        "Stop: 66950.25 (-0.09%)\n"
        "Target: 67054 (+0.06%)\n"
        "Risk/reward: 1:0.67\n"
        "\n"
        "Market bias: bullish\n"
        "Confidence: 5/5\n"
        "Strength: 6.4/10\n"
        "Volume: 123.4 (2.1x average)\n"
        "\n"
        "ATR(14): 41.5\n"
        "EMA(9): 67001.123\n"
        "EMA(21): 66995.5\n"
        "VWAP: 66990.125\n"
        "RSI(6): 61.25\n"
        "\n"
        "Factors:\n"
        "  [met] vwap: close > vwap() (67012.5 > 66990.125)\n"
        "  [unknown] bias: higher(close > ema(close, 50))\n"
        "  [not met] rsi: rsi_lo <= rsi(close, 6) <= rsi_hi\n"
        "\n"
        "Time: 2025-05-20 14:07:00 UTC\n"
        "Local time: 2025-05-20 16:07:00 CEST (Europe/Berlin)\n"
        f"Trace: {signal().trace_id}\n"
    )


def test_html_says_what_the_text_says() -> None:
    """Every label and value of the text is in the HTML, escaped."""
    written = render_signals([signal(), signal(strategy="trend")], BERLIN, late="it waited.", repeat=True)
    shown = html.unescape(re.sub(r"<[^>]+>", "\n", written.html))
    words = [
        part for line in written.text.splitlines() for part in re.split(r": |:$| \(|[\[\])]", line) if part.strip()
    ]
    missing = [word for word in words if word.strip() not in shown]

    assert missing == []
    assert "close &gt; vwap()" in written.html


def test_a_short_has_its_stop_above_and_its_signs_by_profit() -> None:
    """A short's stop is a loss and its lower targets are profits; several targets have their shares."""
    targets = (Target(66000.0, 60.0), Target(65000.0, 40.0))
    short = signal(side="short", stop=68000.0, stop_distance_pct=1.4736, targets=targets, bias="bearish")
    text = text_of(short)

    assert "Type: SHORT\n" in text
    assert "Stop: 68000 (-1.47%)\n" in text
    assert "Target 1: 66000 (+1.51%, 60% of the position)\n" in text
    assert "Target 2: 65000 (+3.00%, 40% of the position)\n" in text
    assert "Market bias: bearish\n" in text


def test_what_moves_the_stop_is_told() -> None:
    """Where the price must be for it, with the profit there, and how far the stop follows; on either side."""
    moved = signal(break_even=67.0125, trailing=Trailing(670.125, 134.025))
    assert (
        "Target: 67054 (+0.06%)\n"
        "Break-even after: 67079.512 (+0.10%)\n"
        "Trailing stop: 134.025 (0.20%) behind the best price, after 67682.625 (+1.00%)\n"
        "Risk/reward: "
    ) in text_of(moved)
    short = text_of(signal(side="short", break_even=67.0125, trailing=Trailing(None, 134.025)))
    assert "Break-even after: 66945.488 (+0.10%)\nTrailing stop: 134.025 (0.20%) behind the best price\n" in short
    assert "Break-even" not in text_of(signal())
    assert "Trailing" not in text_of(signal())


def test_subjects_name_the_base_asset_the_strategy_and_the_side() -> None:
    """The subject is short and says what it is about."""
    subjects = [
        render_signals([each], UTC).subject
        for each in (signal(), signal("ETHBTC", side="short", timeframe="5m", strategy="trend"), signal("1000SATSUSDC"))
    ]

    assert subjects == [
        "[BTC SCALP] LONG Signal - 1m",
        "[ETH TREND] SHORT Signal - 5m",
        "[1000SATS SCALP] LONG Signal - 1m",
    ]


def test_what_is_unknown_is_said_to_be() -> None:
    """Numbers that are none are shown as n/a, an unknown ratio not at all, and no indicator without a value."""
    nothing = signal(
        atr=math.nan, risk_reward=math.nan, stop=math.nan, stop_distance_pct=math.nan, strength=math.nan,
        volume_ratio=math.nan, indicators={"vwap()": None, "flag": True}, confidence=Confidence(3, 5),
    )  # fmt: skip
    text = text_of(nothing)

    assert "Stop: n/a (n/a)\n" in text
    assert "Risk/reward: n/a\n" in text
    assert "Strength: n/a\n" in text
    assert "Volume: 123.4\n" in text
    assert "ATR(14): n/a\n" in text
    assert "Confidence: 3/5\n" in text
    assert "VWAP" not in text
    assert "nan" not in text.lower()


def test_the_other_strategies_late_and_repeat_are_told() -> None:
    """An alert names who else fired, why it is late and that it may be a repeat; the subject tells of late."""
    alert = (signal(), signal(strategy="trend", side="short"), signal(strategy="momentum"))
    text = text_of(*alert, late="this alert waited 25 min before it could be delivered.", repeat=True)

    assert text.startswith("Late: this alert waited 25 min before it could be delivered.\nPossible repeat: ")
    assert "\nAlso fired on this bar: trend (SHORT), momentum (LONG)\n" in text
    assert render_signals(alert, UTC, late="x").subject == "[BTC SCALP] LONG Signal - 1m (late)"
    assert "Late" not in text_of(*alert)
    assert "repeat" not in text_of(*alert)


def test_names_cannot_break_lines_or_html() -> None:
    """Control characters in names become spaces, markup is shown and not obeyed, a subject has an end."""
    hostile = "A\r\nB\x1b[2J<script>alert(1)</script>{{ 7 * 7 }}"
    written = render_signals([signal(hostile, strategy=hostile, timeframe=hostile)], UTC)

    assert "Strategy: A  B [2J<script>alert(1)</script>{{ 7 * 7 }}\n" in written.text
    assert "<script>" not in written.html
    assert "49" not in written.subject
    assert not re.search(r"[\x00-\x1f]", written.subject)
    assert len(render_signals([signal("X" * 5_000)], UTC).subject) <= 200
    assert len(render_notice("X" * 5_000, "text").subject) <= 200


def test_a_notice_keeps_its_lines() -> None:
    """The operator's text keeps its lines and nothing else that controls."""
    written = render_notice("Connection\nlost", "No data.\r\n\x07Still <trying>.", repeat=True)

    assert written.subject == "Connection lost"
    assert written.text.startswith("No data.\nStill <trying>.\nPossible repeat: ")
    assert "<div>Still &lt;trying&gt;.</div>" in written.html


@pytest.mark.parametrize(
    ("expression", "label"),
    [
        ("ema(close, fast)", "EMA(9)"),
        ("rsi(close, 6)", "RSI(6)"),
        ("vwap()", "VWAP"),
        ("atr(14)", "ATR(14)"),
        ("sma(volume, 20)", "SMA(volume, 20)"),
        ("sma(volume, spike)", "SMA(volume, 1.5)"),
        ("higher(ema(close, 50))", "EMA(50) on the higher timeframe"),
        ('on("1h", ema(close, 50))', "EMA(50) on 1h"),
        ("macd(close, 12, 26, fast).hist", "MACD(12, 26, 9).hist"),
        ("ema(close, fast)[2]", "EMA(9)[2]"),
        ("barssince(crossover(ema(close, fast), vwap()))", "BARSSINCE(CROSSOVER(EMA(9), VWAP))"),
        ("spike * sma(volume, 20)", "1.5 * sma(volume, 20)"),
        ("close", "close"),
        ("not an expression (", "not an expression ("),
        ("a\nb(", "a b("),
        ("(" * 500 + ")" * 500, "(" * 500 + ")" * 500),
    ],
)
def test_indicators_have_their_usual_names(expression: str, label: str) -> None:
    """An indicator is labelled as people call it, with its parameters' values; what is not understood stays."""
    assert indicator_label(expression, {"fast": 9.0, "spike": 1.5}) == label


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (67012.5, "67012.5"),
        (67000.0, "67000"),
        (1e-7, "0.0000001"),
        (0.00001234, "0.00001234"),
        (1.5e22, "15000000000000000000000"),
        (-0.25, "-0.25"),
        (0.1 + 0.2, "0.30000000000000004"),
        (0.0, "0"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
    ],
)
def test_prices_have_all_their_digits(value: float, text: str) -> None:
    """Prices are written in full, as short as they are exact, and never in scientific notation."""
    assert number(value) == text


def test_computed_values_are_rounded_and_percentages_signed() -> None:
    """Indicators have 8 significant digits, percentages two decimals and a sign."""
    assert [rounded(value) for value in (0.1 + 0.2, 1 / 3e6, 123456789.0)] == ["0.3", "0.00000033333333", "123456790"]
    assert [percent(value) for value in (0.125, -1.0, 0.0, math.nan)] == ["+0.12%", "-1.00%", "+0.00%", "n/a"]


@pytest.mark.parametrize(
    ("symbol", "base"),
    [
        ("BTCUSDT", "BTC"),
        ("ETHBTC", "ETH"),
        ("BTC/USDT:USDT", "BTC"),
        ("BTCFDUSD", "BTC"),
        ("USDT", "USDT"),
        ("X", "X"),
    ],
)
def test_the_base_asset_is_the_symbol_without_its_quote(symbol: str, base: str) -> None:
    """Known quote assets are cut off, and nothing else."""
    assert base_asset(symbol) == base


def test_the_base_assets_of_the_real_exchange_are_found(market_data: Path) -> None:
    """On Binance's own list of symbols the base asset is the one the exchange names."""
    listing = gzip.decompress((market_data / "raw/http/binance_spot_exchangeInfo_2021-10-12.txt.gz").read_bytes())
    pattern = rb'"symbol":"([^"]+)","status":"[A-Z]+","baseAsset":"([^"]+)"'
    pairs = [(symbol.decode(), base.decode()) for symbol, base in re.findall(pattern, listing)]

    assert len(pairs) > 1_000
    assert [(symbol, base) for symbol, base in pairs if base_asset(symbol) != base] == []


def test_plain_text_is_one_printable_line() -> None:
    """Characters that control, format, split lines or are halves of others become spaces; letters stay."""
    assert plain(" a\r\n\tb\x00\x1b\x85\u2028\u202e\ud800c 币ü ") == "a   b      c 币ü"
