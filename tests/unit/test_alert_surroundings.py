"""What an alert says of the market around its signal, and of the record of the signals like it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from alert_samples import BERLIN, lines_of, momentum, record, surroundings, text_of
from delivery_samples import CLOSE_MS, signal, stored
from tapewatch.channels.writer import Writer
from tapewatch.model import (
    Mover,
    Outlook,
    Rate,
    Surroundings,
)


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
