"""What an alert says, and what it leaves out."""

from __future__ import annotations

import html
import math
import re
from datetime import UTC
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest

from delivery_samples import CLOSE_MS, signal, stored, worded
from tapewatch.channels.port import Style
from tapewatch.channels.writer import Writer
from tapewatch.model import (
    Confidence,
    Factor,
    Mover,
    Outlook,
    Rate,
    Record,
    Signal,
    Surroundings,
    Target,
    Trailing,
)

BERLIN = ZoneInfo("Europe/Berlin")
STYLES: tuple[Style, ...] = get_args(Style)


def text_of(*signals: Signal, late: str | None = None, repeat: bool = False, **changes: Any) -> str:
    """The plain text of an alert."""
    return Writer(BERLIN).write(stored(*signals, **changes), "plain", late=late, repeat=repeat).text


def lines_of(*signals: Signal, **changes: Any) -> dict[str, str]:
    """Label -> value of every labelled line."""
    lines = (line.partition(": ") for line in text_of(*signals, **changes).splitlines())
    return {label: value for label, colon, value in lines if colon}


def shown(style: Style, body: str) -> str:
    """What a reader sees of a body."""
    if style in {"html", "telegram"}:
        return html.unescape(re.sub(r"<[^>]+>", "\n", body)).replace("\u2060", "")
    return re.sub(r"\\(.)", r"\1", body) if style == "markdown" else body


def momentum(**changes: Any) -> Signal:
    """A short of momentum on the 5m bar of a cheap symbol."""
    fields: dict[str, Any] = {
        "strategy": "momentum",
        "timeframe": "5m",
        "side": "short",
        "entry": 4.79e-05,
        "stop": 4.914161188235046e-05,
        "atr": 8.277412549003087e-07,
        "targets": (Target(4.707225874509969e-05, 50.0), Target(4.5416e-05, 50.0)),
        "volume": 6831866762.0,
        "volume_ratio": 1.5400541594402466,
        "factors": (
            Factor("move", True, "close / close[lookback] - 1 < -pct", -0.0823754789272031, "<", -0.05),
            Factor("volume", True, "zscore(volume, window) > vol_z", 2.022415197195177, ">", 2.0),
        ),
        "indicators": {"atr(14)": 8.27e-07, "zscore(volume, window)": 2.022415197195177},
        "params": {"lookback": 8.0, "pct": 0.05, "window": 96.0, "vol_z": 2.0},
    } | changes
    return signal("1000SATSUSDT", **fields)


def record(**changes: Any) -> Record:
    """The record of 816 signals that are no better than chance and lose after costs."""
    fields: dict[str, Any] = {
        "strategy": "momentum",
        "side": "short",
        "timeframe": "5m",
        "last": Rate(50, 31, 0.48, 0.74),
        "all": Rate(816, 488, 0.564, 0.631),
        "baseline": 0.58,
        "baseline_n": 4_000,
        "gross_r": 0.1,
        "net_r": -3.0,
        "net_quote": -1.98,
        "cost_bps": 20.0,
    } | changes
    return Record(**fields)


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


def surroundings(**changes: Any) -> Surroundings:
    """A market that trends down on two timeframes, of which everything but the funding is known."""
    fields: dict[str, Any] = {
        "spread_bps": 2.13,
        "imbalance": 0.24,
        "slippage_bps": 3.21,
        "slippage_quote": 10_000.0,
        "hourly_volume_quote": 12_345_678.0,
        "outlooks": (
            Outlook("5m", {"trending": True, "high_volatility": True}, "down"),
            Outlook("15m", {"trending": True, "high_volatility": None}, "down"),
        ),
        "btc_correlation": 0.82,
        "movers": (Mover("ETHUSDT", 0.91, -3.1, listed=True), Mover("SOLUSDT", 0.88, -2.2)),
        "missing": ("funding",),
    } | changes
    return Surroundings(**fields)


def test_what_surrounds_a_signal_is_told() -> None:
    """Regime with the timeframes that agree, movers with their moves, liquidity in a word; what is missing by name."""
    funded = surroundings(funding_rate=1e-4, next_funding_ms=CLOSE_MS + 3_600_000, missing=())
    lines = lines_of(momentum(context=funded))

    assert lines["Market"] == "trending down on 5m and 15m; high volatility on 5m"
    assert lines["Stands for"] == "ETHUSDT -3.10% (correlation 0.91)"
    assert lines["Moves with"] == "SOLUSDT -2.20% (correlation 0.88)"
    assert lines["Spread"] == "2.13 bps, high liquidity"
    assert lines["Order book"] == "62% bids, 38% asks; selling 10,000 USDT slips 3.21 bps"
    assert lines["Hourly volume"] == "12.3M USDT"
    assert lines["Funding"] == "+0.0100% (longs pay), next 2025-05-20 15:07 UTC (17:07 CEST)"
    assert lines["With BTC"] == "correlation 0.82"
    assert "Missing" not in lines
    assert lines_of(momentum(context=surroundings()))["Missing"] == "funding"
    assert "buying 10,000 USDT" in lines_of(signal(context=surroundings()))["Order book"]


def test_what_is_not_known_of_the_surroundings_is_left_out() -> None:
    """No line for what was not asked for, and none at all without any."""
    known = {"Market", "Stands for", "Moves with", "Spread", "Order book", "Hourly volume", "Funding", "With BTC"}

    assert not known & set(lines_of(signal()))
    assert not known & set(lines_of(signal(context=Surroundings())))
    assert known & set(lines_of(signal(context=Surroundings(spread_bps=1.0, btc_correlation=math.nan)))) == {"Spread"}


@pytest.mark.parametrize(
    ("outlooks", "words"),
    [
        ([("15m", {"trending": True}, "up"), ("1h", {"trending": True}, "up")], "trending up on 15m and 1h"),
        ([("15m", {"trending": True}, "up"), ("1h", {"ranging": True}, "flat")], "trending up on 15m; ranging on 1h"),
        ([("15m", {"ranging": True}, "down")], "ranging, leaning down on 15m"),
        ([("15m", {"trending": False}, "up")], "leaning up on 15m"),
        ([("15m", {"trending": False}, "flat")], "no trend on 15m"),
        ([("15m", {"trending": True}, "flat"), ("1h", {}, None)], "trending on 15m"),
        ([("15m", {"low_volatility": True}, None)], "low volatility on 15m"),
        ([("15m", {"trending": None}, None)], None),
    ],
)
def test_regimes_are_grouped_by_agreement(outlooks: list[Any], words: str | None) -> None:
    """Timeframes that say the same stand together; what is unknown is not guessed."""
    context = Surroundings(outlooks=tuple(Outlook(*outlook) for outlook in outlooks))
    assert lines_of(signal(context=context)).get("Market") == words


@pytest.mark.parametrize(
    ("bps", "word"), [(0.1, "high"), (5.0, "high"), (5.1, "medium"), (20.0, "medium"), (20.1, "low")]
)
def test_a_spread_is_called_what_it_is(bps: float, word: str) -> None:
    """Up to 5 bps high liquidity, up to 20 medium, above low."""
    assert lines_of(signal(context=Surroundings(spread_bps=bps)))["Spread"] == f"{bps:.3g} bps, {word} liquidity"


def test_every_symbol_an_alert_stands_for_is_named() -> None:
    """However many they are; of those that only move with it the first eight are."""
    movers = tuple(Mover(f"A{number}USDT", 0.9, 1.0, listed=number < 30) for number in range(60))
    lines = lines_of(signal(context=Surroundings(movers=movers)))

    assert all(f"A{number}USDT" in lines["Stands for"] for number in range(30))
    assert lines["Moves with"].count("USDT") == 8
    assert lines["Moves with"].endswith(", 22 more")


def test_a_record_stands_beside_chance_and_costs() -> None:
    """Hit rates with their intervals, of all and of the newest, then what that brought; and what it comes to."""
    text = text_of(momentum(), record=record())

    assert "\nRecord: target first 60% of 816 (56-63%), random entry 58%; last 50: 62% (48-74%)\n" in text
    assert "\nAfter costs of 20 bps: -3.00 R a signal, -1.98 per 1,000 USDT\n" in text
    assert "\nNo better than chance so far; loses after costs.\n" in text
    assert "Record" not in text_of(momentum())
    quiet = Writer(BERLIN, record=False).write(stored(momentum(), record=record()), "plain")
    assert "Record" not in quiet.text
    assert quiet.record is None


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"baseline": 0.5, "net_r": 0.1}, "More often right than random entries."),
        ({"baseline": 0.5}, "More often right than random entries, but loses after costs."),
        ({"baseline": 0.564, "net_r": 0.1}, "No better than chance so far."),
        ({"baseline": 0.7, "net_r": 0.1}, "Worse than chance."),
        ({"baseline": math.nan, "baseline_n": 0}, "Loses after costs."),
        ({"baseline": math.nan, "baseline_n": 0, "net_r": 0.1}, None),
    ],
)
def test_a_record_is_judged_by_chance_and_by_costs(changes: dict[str, Any], verdict: str | None) -> None:
    """An interval with the baseline in it is no better than chance; a loss after costs is said whatever the hits."""
    text = text_of(momentum(), record=record(**changes))
    found = [line for line in text.splitlines() if "chance" in line or "costs." in line or "random entries" in line]
    assert found == ([] if verdict is None else [verdict])


def test_a_short_record_makes_no_claims() -> None:
    """Fewer than ten outcomes have no percentage, few no verdict on chance, none at all no figures."""
    few = Rate(9, 7, 0.45, 0.94)
    lines = lines_of(momentum(), record=record(all=few, last=few, net_r=0.4, backfilled=4))
    assert lines["Record"] == "target first 7 of 9 (4 of them from history), random entry 58%"
    for short in (few, Rate(29, 18, 0.44, 0.77)):
        text = text_of(momentum(), record=record(all=short, last=short, net_r=0.4))
        assert "\nToo few to tell.\n" in text
        assert "chance" not in text
    assert "\nToo few to tell; loses after costs.\n" in text_of(momentum(), record=record(all=few, last=few))
    unknown = record(all=few, last=few, baseline=math.nan, baseline_n=0)
    assert lines_of(momentum(), record=unknown)["Record"].endswith(", random entry not known yet")
    none = Rate(0, 0, math.nan, math.nan)
    nothing = record(all=none, last=none, net_r=math.nan, net_quote=math.nan, baseline=math.nan, baseline_n=0)
    assert lines_of(momentum(), record=nothing)["Record"] == "no signal like this has ended yet"
    ten = Rate(10, 6, 0.31, 0.83)
    assert lines_of(momentum(), record=record(all=ten, last=ten, regime="trending+high_volatility"))[
        "Record (trending, high volatility)"
    ] == ("target first 60% of 10 (31-83%), random entry 58%")


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


HOSTILE = "A\r\nB\x1b[2J<script>alert(1)</script>{{ 7 * 7 }} **b** @everyone [x](https://example.com) `c` </b>&amp;"


@pytest.mark.parametrize("style", STYLES)
def test_names_cannot_break_out_of_their_place(style: Style) -> None:
    """Control characters become spaces, markup of the style is shown and not obeyed, nothing is evaluated."""
    hostile = signal(
        HOSTILE, strategy=HOSTILE, timeframe=HOSTILE, factors=(Factor(HOSTILE, True, HOSTILE),),
        indicators={HOSTILE: 1.0}, context=Surroundings(movers=(Mover(HOSTILE, 0.9, 1.0),), missing=(HOSTILE,)),
    )  # fmt: skip
    plain_alert, hostile_alert = stored(signal()), stored(hostile, signal(strategy=HOSTILE))
    writer = Writer(UTC)
    for alert in (hostile_alert, worded(HOSTILE, HOSTILE)):
        body = writer.write(alert, style, late=HOSTILE).body
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", body)
        assert "49" not in body
        if style == "html":
            assert "<script" not in body
        if style == "telegram":
            assert set(re.findall(r"<(/?\w+)", body)) <= {"b", "/b", "i", "/i", "a", "/a", "code", "/code"}
            assert "@everyone" not in body
        if style == "markdown":
            assert not re.search(r"(?<!\\)(\*\*b\*|@everyone|\[x\]\(|`c)", body)
    lines = writer.write(plain_alert, "plain").text.count("\n")
    assert writer.write(stored(hostile), "plain").text.count("\n") < lines + 5


@pytest.mark.parametrize("style", STYLES)
def test_names_of_any_length_leave_room_for_the_rest(style: Style) -> None:
    """They are shown in part; levels, factors and every symbol that an alert stands for are there all the same."""
    long = "_*<&@" * 2_000
    movers = tuple(Mover(f"A{number}USDT", 0.9, 1.0, listed=True) for number in range(300))
    lead = signal(
        long, strategy=long, timeframe=long, factors=(Factor(long, True, long),) * 8, indicators={long: 1.0},
        context=Surroundings(movers=(*movers, Mover(long, 0.9, 1.0)), missing=(long,)),
    )  # fmt: skip
    body = Writer(UTC).write(stored(lead, signal(strategy=long)), style).body
    seen = shown(style, body)

    assert all(f"A{number}USDT" in seen for number in range(300))
    assert "66950.25" in seen
    assert len(body) < 65_536
    assert len(Writer(UTC).write(worded("x", "\n".join([long] * 100)), style).body) > 100_000


def test_subjects_have_an_end() -> None:
    """However long a name is; with what says that it is late."""
    for alert in (stored(signal("X" * 5_000)), worded("X" * 5_000, "text")):
        assert len(Writer(UTC).write(alert, "plain").subject) <= 200
        late = Writer(UTC).write(alert, "plain", late="x").subject
        assert len(late) <= 200
        assert late.endswith(" (late)")


def test_a_notice_keeps_its_lines() -> None:
    """An alert in words keeps its lines and nothing else that controls."""
    lost = worded("Connection\nlost", "No data.\r\n\n\x07Still <trying>.")
    written = Writer(UTC).write(lost, "html", repeat=True)

    assert written.subject == "Connection lost"
    assert written.text.startswith("Possible repeat: ")
    assert written.text.endswith("\nNo data.\n\nStill <trying>.\n")
    assert "<div>&nbsp;</div>\n<div>Still &lt;trying&gt;.</div>" in written.body


@pytest.mark.parametrize("style", STYLES)
def test_a_digest_names_every_alert(style: Style) -> None:
    """Each on a line of its own, in order, with why they come together; hostile names stay names."""
    alerts = [stored(signal(f"A{number}USDT", strength=10 - number / 100)) for number in range(300)]
    alerts.append(worded("Lost <b>*connection*</b>", "text"))
    written = Writer(BERLIN).digest(
        alerts, style, why="30 a minute is the limit.", identity="digest/out/1", created_ms=CLOSE_MS
    )
    seen = shown(style, written.body)
    found = re.findall(r"A\d+USDT", seen.replace(written.subject, ""))

    assert found == [f"A{number}USDT" for number in range(300)]
    assert "30 a minute is the limit." in seen
    assert "Lost <b>*connection*</b>" in seen
    assert written.subject == "301 alerts: A0USDT, A1USDT, A2USDT and 297 more"
    assert "Lost <b>*connection*</b>, 2025-05-20 14:07 UTC (16:07 CEST)" in written.text
    assert "LONG A7USDT 9.9/10 scalp 1m at 67012.5, 2025-05-20 14:07 UTC (16:07 CEST)" in written.text
    assert Writer(BERLIN).line(alerts[7], style) in written.body
