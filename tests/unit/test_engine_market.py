"""What a signal says of the market around it, what is asked for it, and the chart of its alert."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest

from core_samples import walk
from market_samples import HISTORY, alerts, closing, firing, market, said, signals, warmed
from tapewatch.assets import split
from tapewatch.engine import Engine, MarketSettings, windows_of
from tapewatch.engine.windows import PAGE_BARS
from tapewatch.model import (
    INTERVALS_MS,
    MINUTE_MS,
    Alert,
    BarClosed,
    Boundary,
    Context,
    FetchContext,
    History,
    Judged,
    LastPassed,
    Mute,
    Signal,
    Surroundings,
    Universe,
)

ROWS = market(40)
ASKS = MarketSettings(asks=True)
ROW = ROWS[HISTORY]


def context(signal: Signal | None) -> Surroundings:
    """What surrounds a signal."""
    assert signal is not None
    assert signal.context is not None
    return signal.context


def answer(event: BarClosed, **known: Any) -> Context:
    """An answer about a bar."""
    return Context(event.bar.symbol, event.bar.close_ms, **known)


# --- outlooks ------------------------------------------------------------------------------------------------------


def test_outlooks_are_the_languages_regimes_and_the_bias_on_both_timeframes() -> None:
    """Each as at its own last closed bar: what a strategy on that timeframe found there."""
    regimes = ("trending", "ranging", "high_volatility", "low_volatility")
    plan = firing(timeframes=["1m", "5m"], higher={"1m": "5m"}, regime={"avoid": list(regimes)})
    engine = Engine("venue", [plan], market=MarketSettings(outlooks=True))
    bars, seen, trends = walk(5_000, seed=4), {}, set()
    for one in bars[:4_200]:
        engine.process(History(one))
    last: Signal | None = None
    for one in bars[4_200:]:
        effects = engine.process(BarClosed(one, one.close_ms))
        by_frame = {effect.signal.timeframe: effect.signal for effect in effects if isinstance(effect, Judged)}
        last = by_frame.get("5m", last)
        if last is None:
            continue
        first, second = context(by_frame["1m"]).outlooks
        assert context(last).outlooks == (second,)
        for outlook, signal in ((first, by_frame["1m"]), (second, last)):
            assert outlook.timeframe == signal.timeframe
            assert outlook.regimes == {name: signal.regime[name] for name in regimes}
            assert outlook.trend == {"bullish": "up", "bearish": "down", "neutral": "flat"}[signal.bias]
            seen |= {name: seen.get(name, set()) | {held} for name, held in outlook.regimes.items()}
            trends.add(outlook.trend)
    assert all(held == {True, False} for held in seen.values())
    assert trends == {"up", "down", "flat"}


def test_an_outlook_that_is_not_settled_says_nothing() -> None:
    """Neither of regimes nor of the trend; and there is none on a timeframe that no `higher` names."""
    engine = Engine("venue", [firing(higher={})], market=MarketSettings(outlooks=True))
    for one in walk(780):
        for signal in signals(engine.process(BarClosed(one, one.close_ms))).values():
            (outlook,) = context(signal).outlooks
            known = {*outlook.regimes.values(), outlook.trend} != {None}
            assert known is (one.open_ms >= walk(775)[-1].open_ms)


# --- correlations --------------------------------------------------------------------------------------------------


def numpys(one: str, other: str, close_ms: int) -> float:
    """The correlation of two symbols at a close, the straight way."""
    ends = range((close_ms - 1) // 300_000 * 300_000 - 96 * 300_000, close_ms, 300_000)
    closes = {(each.symbol, each.close_ms): each.close for row in ROWS for each in row}
    series = [np.array([closes[symbol, end] for end in ends]) for symbol in (one, other)]
    assert all(len(each) == 97 for each in series)
    return float(np.corrcoef(*(each[1:] / each[:-1] - 1 for each in series))[0, 1])


def test_the_correlation_with_bitcoin_and_movers() -> None:
    """Of eight hours until the last five-minute mark before; movers are who was alerted, the most correlated first."""
    engine = warmed(MarketSettings(correlation=True, movers=True), ROWS)
    for minute in range(8):
        row = ROWS[HISTORY + minute]
        found = signals(said(engine, closing(row)))
        for symbol, signal in found.items():
            known = context(signal).btc_correlation
            if symbol == "BTCUSDT":
                assert known is None
            else:
                assert known == pytest.approx(numpys(symbol, "BTCUSDT", signal.close_ms), abs=1e-9)
    movers = context(found["BTCUSDT"]).movers
    assert {mover.symbol for mover in movers} == {"ETHUSDT", "SOLUSDT", "XRPUSDT"}  # nor itself, nor who moves apart
    assert not any(mover.listed for mover in movers)
    for mover in movers:
        assert mover.correlation == pytest.approx(numpys("BTCUSDT", mover.symbol, row[0].close_ms), abs=1e-9)
    strengths = [abs(mover.correlation) for mover in movers]
    assert strengths == sorted(strengths, reverse=True)


def test_movers_are_those_alerted_within_the_last_quarter_of_an_hour_five_at_most() -> None:
    """Who passed longer ago is none, nor who was blocked."""
    many = {f"S{k}USDT": (1.0, 0.1 * k) for k in range(8)}
    rows = market(20, many)
    engine = warmed(MarketSettings(movers=True), rows, [firing(cooldown="1h")])
    engine.process(Mute("S7USDT", rows[-1][0].close_ms))
    assert not context(signals(said(engine, closing(rows[HISTORY])))["S0USDT"]).movers
    for minute in range(1, 16):
        movers = context(signals(said(engine, closing(rows[HISTORY + minute])))["S7USDT"]).movers
        assert [mover.symbol for mover in movers] == ([f"S{k}USDT" for k in (6, 5, 4, 3, 2)] if minute < 15 else [])


@pytest.mark.parametrize(
    ("volumes", "symbol", "chosen"),
    [
        ({"BTCUSDT": 1e6, "BTCEUR": 9e6}, "ETHUSDT", "BTCUSDT"),
        ({"BTCUSDT": 1e6, "BTCEUR": 2e6}, "ETHTRY", "BTCEUR"),
        ({"BTC/USDT": 1e6, "BTC/USDT:USDT": 2e6}, "ETH/USDT", "BTC/USDT:USDT"),
        ({"WBTCUSDT": 1e6}, "ETHUSDT", None),
        ({"BTCUSDT": 1e6}, "BTCEUR", None),
    ],
)
def test_bitcoin_is_that_of_the_same_quote_then_the_most_traded(
    volumes: Mapping[str, float], symbol: str, chosen: str | None
) -> None:
    """Where nobody trades bitcoin, or it is bitcoin itself, there is no correlation with it."""
    rows = market(1, {**{name: (1.0, 0.5 * place) for place, name in enumerate(volumes)}, symbol: (1.0, 1.0)})
    rows = [[msgspec.structs.replace(one, quote_volume=volumes.get(one.symbol, 1.0)) for one in row] for row in rows]
    engine = warmed(MarketSettings(correlation=True, movers=True, correlated=1.0), rows)
    found = signals(said(engine, closing(rows[HISTORY])))[symbol]
    known = context(found).btc_correlation
    if chosen is None:
        assert known is None
    else:
        movers = {mover.symbol: mover.correlation for mover in context(found).movers}
        assert known == movers[chosen]


@pytest.mark.parametrize(
    ("symbol", "parts"),
    [
        ("BTCUSDT", ("BTC", "USDT")),
        ("ETHBTC", ("ETH", "BTC")),
        ("BTC/USDT:USDT", ("BTC", "USDT")),
        ("BTC/EUR", ("BTC", "EUR")),
        ("USDT", ("USDT", "")),
        ("???", ("???", "")),
    ],
)
def test_symbols_are_split_into_base_and_quote(symbol: str, parts: tuple[str, str]) -> None:
    """With a separator at it, else at the longest quote asset they end with."""
    assert split(symbol) == parts


def test_what_passed_in_an_earlier_run_counts() -> None:
    """A fresh engine that is told of it finds the same movers and the same kin."""
    last = LastPassed("BTCUSDT", "probe", "1m", "long", ROW[0].open_ms, 100.0)
    settings = MarketSettings(movers=True, correlated=0.8)
    engine = Engine("venue", [firing()], market=settings).renewed([last])
    for row in ROWS[:HISTORY]:
        said(engine, map(History, row))
    signal = signals(said(engine, closing(ROW[1:2])))["ETHUSDT"]
    assert [mover.symbol for mover in context(signal).movers] == ["BTCUSDT"]
    assert not next(one for one in signal.verdicts if one.check == "correlated").passed


# --- what is asked for ---------------------------------------------------------------------------------------------

KNOWN = {
    "bid": 99.9,
    "ask": 100.1,
    "bids_quote": 3_000.0,
    "asks_quote": 1_000.0,
    "buy_slippage_bps": 4.0,
    "sell_slippage_bps": 7.0,
    "slippage_quote": 5_000.0,
    "hourly_volume_quote": 60_000.0,
    "funding_rate": -0.0001,
    "next_funding_ms": 1_704_096_000_000,
}


@pytest.mark.parametrize(("side", "slippage"), [("long", 4.0), ("short", 7.0)])
def test_an_answer_is_put_into_the_signals_words(side: str, slippage: float) -> None:
    """Spread and imbalance as defined, slippage in the direction of the signal."""
    plan = firing() if side == "long" else firing(long={"up": "close > 1e9"}, short={"down": "close > 0"})
    engine = warmed(ASKS, ROWS, [plan])
    event = BarClosed(ROW[0], ROW[0].close_ms)
    assert engine.process(event) == [FetchContext("BTCUSDT", ROW[0].close_ms)]
    effects = engine.process(answer(event, **KNOWN))
    around = context(signals(effects)["BTCUSDT"])
    assert around.spread_bps == pytest.approx(20.0)
    assert around == Surroundings(
        spread_bps=around.spread_bps,
        imbalance=0.5,
        slippage_bps=slippage,
        slippage_quote=5_000.0,
        hourly_volume_quote=60_000.0,
        funding_rate=-0.0001,
        next_funding_ms=1_704_096_000_000,
    )
    assert [alert.signals[0].context for alert in alerts(effects)] == [around]


def test_what_did_not_come_is_unknown_and_named() -> None:
    """Also a book that is empty, and a quote of nothing."""
    engine = warmed(ASKS, ROWS)
    event = BarClosed(ROW[0], ROW[0].close_ms)
    engine.process(event)
    silent = engine.process(answer(event, missing=("quotes", "order book")))
    assert context(signals(silent, "passed")["BTCUSDT"]) == Surroundings(missing=("quotes", "order book"))
    event = BarClosed(ROW[1], ROW[1].close_ms)
    engine.process(event)
    empty = engine.process(answer(event, bid=0.0, ask=0.0, bids_quote=0.0, asks_quote=0.0, buy_slippage_bps=math.inf))
    assert context(signals(empty, "passed")["ETHUSDT"]) == Surroundings()


@pytest.mark.parametrize("blocked", [{"cooldown": "1h"}, {"regime": {"require": ["trending", "ranging"]}}, "muted"])
def test_nothing_is_asked_for_what_is_blocked_anyhow(blocked: Any) -> None:
    """A thousand blocked candidates cost the exchange nothing, and are decided at once; they carry what is known."""
    plan = firing() if blocked == "muted" else firing(**blocked)
    engine = warmed(MarketSettings(asks=True, correlation=True), ROWS, [plan], max_spread=0.1)
    if blocked == "muted":
        engine.process(Mute("probe", ROWS[-1][0].close_ms))
    first = BarClosed(ROW[1], ROW[1].close_ms)
    if engine.process(first):
        engine.process(answer(first))
    one = ROWS[HISTORY + 1][1]
    (judged, _) = engine.process(BarClosed(one, one.close_ms))
    assert isinstance(judged, Judged)
    assert judged.state == "blocked"
    spread = next(each for each in judged.signal.verdicts if each.check == "spread")
    assert (spread.passed, spread.reason) == (True, "no quote was asked for: another check blocks")
    assert context(judged.signal).btc_correlation is not None
    assert not context(judged.signal).missing


def test_bars_of_two_timeframes_that_close_together_are_one_question() -> None:
    """Its answer is for both."""
    both = Engine("venue", [firing(timeframes=["1m", "5m"])], market=ASKS)
    bars = walk(5_000)
    for one in bars[:-5]:
        both.process(History(one))
    for one in bars[-5:-1]:
        said(both, [BarClosed(one, one.close_ms), Context(one.symbol, one.close_ms)])
    last = BarClosed(bars[-1], bars[-1].close_ms)
    assert both.process(last) == [FetchContext("AAAUSDT", last.bar.close_ms)]
    assert both.asking == [FetchContext("AAAUSDT", last.bar.close_ms)]
    assert [alert.signals[0].timeframe for alert in alerts(both.process(answer(last)))] == ["5m", "1m"]


@pytest.mark.parametrize("late_ms", [10_000, 10_001])
def test_nothing_is_asked_for_a_bar_that_came_late(late_ms: int) -> None:
    """A quote of now says nothing of then; the signal and the verdict say so."""
    engine = warmed(ASKS, ROWS, max_spread=0.1)
    effects = engine.process(BarClosed(ROW[0], ROW[0].close_ms + late_ms))
    if late_ms == 10_000:
        assert [type(effect) for effect in effects] == [FetchContext]
        return
    (alert,) = alerts(effects)
    assert alert.late
    assert context(alert.signals[0]).missing == ("quotes (the bar came late)",)
    spread = next(one for one in alert.signals[0].verdicts if one.check == "spread")
    assert (spread.passed, spread.reason) == (True, "no quote was asked for: the bar came late")


def test_boundary_and_answer_are_waited_for_at_the_same_time() -> None:
    """Whichever comes last decides at once; what has an earlier close goes first."""
    settings = MarketSettings(asks=True, correlated=0.8)
    for boundary_first in (True, False):
        engine = warmed(settings, ROWS)
        event, boundary = BarClosed(ROW[0], ROW[0].close_ms), Boundary(ROW[0].close_ms)
        assert said(engine, [event]) == [FetchContext("BTCUSDT", ROW[0].close_ms)]
        steps = [boundary, answer(event)] if boundary_first else [answer(event), boundary]
        assert engine.process(steps[0]) == []
        assert alerts(engine.process(steps[1]))


def test_an_answer_that_is_still_missing_holds_up_later_closes() -> None:
    """Where who was alerted before matters, decisions are made in the order of time."""
    engine = warmed(MarketSettings(asks=True, correlated=0.8), ROWS)
    first, second = BarClosed(ROW[0], ROW[0].close_ms), BarClosed(ROWS[HISTORY + 1][1], ROWS[HISTORY + 1][1].close_ms)
    said(engine, [first, Boundary(first.bar.close_ms), second, Boundary(second.bar.close_ms)])
    assert engine.process(answer(second)) == []
    effects = engine.process(answer(first))
    assert [one.signal.symbol for one in effects if isinstance(one, Judged)] == ["BTCUSDT", "ETHUSDT"]
    assert set(signals(effects, "blocked")) == {"ETHUSDT"}


# --- the chart -----------------------------------------------------------------------------------------------------


def test_an_alert_carries_the_last_bars_of_its_timeframe() -> None:
    """Its own the last of them, with the values that the bars had; none where they are not wanted."""
    engine = warmed(MarketSettings(candles=3), ROWS)
    for minute in range(3):
        (alert,) = alerts(engine.process(BarClosed(ROWS[HISTORY + minute][0], ROWS[HISTORY + minute][0].close_ms)))
        bars = [row[0] for row in ROWS[HISTORY + minute - 2 : HISTORY + minute + 1]]
        assert alert.candles == tuple((one.open, one.high, one.low, one.close) for one in bars)
    (plain,) = alerts(warmed(MarketSettings(), ROWS).process(BarClosed(ROW[0], ROW[0].close_ms)))
    assert plain.candles == ()


def test_a_chart_ends_with_the_alerts_bar_however_long_it_waited() -> None:
    """Bars that came while an answer was awaited are not in it; a series that began anew has no chart for it."""
    for anew in (False, True):
        engine = warmed(MarketSettings(asks=True, candles=4), ROWS)
        event, later = BarClosed(ROW[0], ROW[0].close_ms), ROWS[HISTORY + 1][0]
        said(engine, [event, BarClosed(later, later.close_ms)])
        if anew:
            said(engine, [Universe(0, anew=("BTCUSDT",)), *(History(row[0]) for row in ROWS[500:HISTORY])])
        (alert,) = alerts(engine.process(answer(event)))
        assert isinstance(alert, Alert)
        assert [candle[3] for candle in alert.candles] == (
            [] if anew else [row[0].close for row in ROWS[HISTORY - 2 : HISTORY + 1]]
        )


# --- what it needs -------------------------------------------------------------------------------------------------


def test_history_is_long_enough_for_what_is_to_be_known() -> None:
    """Of the higher timeframe for outlooks, of minutes for correlations; without them only what strategies read."""
    plan = firing(timeframes=["15m"], higher={"15m": "1h"})
    quarter, hour = INTERVALS_MS["15m"], INTERVALS_MS["1h"]
    assert windows_of([plan]) == {quarter: PAGE_BARS}
    assert windows_of([plan], MarketSettings(outlooks=True)) == {quarter: PAGE_BARS, hour: PAGE_BARS}
    assert windows_of([plan], MarketSettings(movers=True)) == {quarter: PAGE_BARS, MINUTE_MS: PAGE_BARS}
    assert windows_of([], MarketSettings(movers=True, outlooks=True)) == {}


def test_knowing_the_market_changes_nothing_else() -> None:
    """The same signals pass with the same numbers; only what surrounds them is added."""
    full = MarketSettings(outlooks=True, correlation=True, movers=True, candles=8)
    with_it, without = warmed(full, ROWS), warmed(MarketSettings(), ROWS)
    for row in ROWS[HISTORY:]:
        one, other = said(with_it, closing(row)), said(without, closing(row))
        bare = [
            msgspec.structs.replace(effect, signal=msgspec.structs.replace(effect.signal, context=None))
            for effect in one
            if isinstance(effect, Judged)
        ]
        assert bare == [effect for effect in other if isinstance(effect, Judged)]


# --- a glance ------------------------------------------------------------------------------------------------------
