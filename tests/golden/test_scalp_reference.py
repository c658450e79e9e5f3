"""`scalp` computed a second time, with pandas and TA-Lib, finds the same bars."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pandas as pd
import pytest
import talib

from core_samples import MONDAY_MS, candles_of
from engine_runs import candidates
from tapewatch import strategies
from tapewatch.archive import reader
from tapewatch.archive.candles import Candles
from tapewatch.archive.resample import build
from tapewatch.model import INTERVALS_MS, MINUTE_MS, Bar, Signal
from tapewatch.strategy import compile_program
from tapewatch.study.signals import Request, _of_program, find

HIGHER = {"1m": "5m", "5m": "1h"}
Found = list[tuple[int, str]]


def frame_of(candles: Candles) -> pd.DataFrame:
    """Candles as pandas would have them, indexed by their open."""
    names = ("open", "high", "low", "close", "volume")
    return pd.DataFrame({name: getattr(candles, name) for name in names}, pd.to_datetime(candles.open_ms, unit="ms"))


def built(minutes: pd.DataFrame, interval: str) -> pd.DataFrame:
    """Larger bars by pandas' own resampling; those that the data ends inside are left out."""
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    step = pd.Timedelta(INTERVALS_MS[interval], "ms")
    larger = minutes.resample(step).agg(how).dropna(subset=["open"])
    return larger[larger.index + step <= minutes.index[-1] + pd.Timedelta("1min")]


def reference(minutes: pd.DataFrame, timeframe: str) -> Found:
    """(close_ms, side) of every bar on which all five factors of `scalp` hold."""
    bars = built(minutes, timeframe)
    above = built(minutes, HIGHER[timeframe])
    close, volume = bars["close"], bars["volume"]
    day = bars.index.floor("D")
    paid = (bars["high"] + bars["low"] + close) / 3 * volume
    vwap = paid.groupby(day).cumsum() / volume.groupby(day).cumsum()
    fast, slow = (close.ewm(span=span, adjust=False).mean() for span in (9, 21))
    burst = volume > 1.5 * volume.rolling(20).mean()
    rsi = pd.Series(talib.RSI(close.to_numpy(), 6), bars.index).between(30, 70)
    trend = pd.DataFrame({"above": above["close"], "middle": above["close"].ewm(span=50, adjust=False).mean()})
    trend.index += pd.Timedelta(INTERVALS_MS[HIGHER[timeframe]], "ms")
    closes = pd.DataFrame(index=bars.index + pd.Timedelta(INTERVALS_MS[timeframe], "ms"))
    known = pd.merge_asof(closes, trend, left_index=True, right_index=True).set_axis(bars.index)
    found: Found = []
    for side, sign in (("long", 1), ("short", -1)):
        cross = (sign * fast > sign * slow) & (sign * fast.shift() <= sign * slow.shift())
        recent = cross | cross.shift(fill_value=False)
        agrees = sign * known["above"] > sign * known["middle"]
        fires = (sign * close > sign * vwap) & recent & burst & rsi & agrees
        found += [(int(at.value // 10**6), side) for at in closes.index[fires]]
    return sorted(found)


def keys(signals: list[Signal]) -> Found:
    """What the reference says of a signal."""
    return sorted((signal.close_ms, signal.side) for signal in signals)


@pytest.mark.parametrize(("timeframe", "count"), [("1m", 816), ("5m", 175)])
@pytest.mark.parametrize("evaluator", ["auto", "interpreted"])
def test_eight_months_of_btcusdt(timeframe: str, count: int, evaluator: str, market_data: Path) -> None:
    """Real minutes with an outage: pandas, TA-Lib and tapewatch agree on every bar, 816 of them on 1m."""
    root = market_data / "candles" / "long-1m"
    minutes = reader.load(root, "binance_spot", "BTCUSDT", "1m")
    wanted = reference(frame_of(minutes), timeframe)
    request = Request(root, "binance_spot", ["BTCUSDT"], [timeframe])
    if evaluator == "interpreted":  # the plain evaluator, a month of it
        minutes = minutes.slice(to_ms=int(minutes.open_ms[0]) + 31 * 86_400_000)
        wanted = reference(frame_of(minutes), timeframe)
        program = compile_program(strategies.load("scalp"), timeframe)
        frames = {frame_ms: build(minutes, frame_ms) for frame_ms in program.frames}
        assert keys(list(_of_program(program, frames, "binance_spot", "interpreted"))) == wanted
        assert len(wanted) > 10
        return
    assert keys(list(find(strategies.load("scalp"), request))) == wanted
    assert len(wanted) == count


def frozen_market() -> list[Bar]:
    """Two weeks of minutes with trends, bursts of volume and a hole; only `random.random`, so always the same."""
    draw = random.Random(20240101).random
    price, drift, bars = 40_000.0, 0.0, []
    for minute in range(14 * 1440):
        if draw() < 0.01:
            drift = (draw() - 0.5) * 0.0006
        opened, price = price, round(price * (1 + drift + (draw() - 0.5) * 0.002), 2)
        high, low = max(opened, price) + round(draw() * 10, 2), min(opened, price) - round(draw() * 10, 2)
        volume = round(draw() ** 3 * (30 if draw() < 0.1 else 6), 5)
        if not 3000 <= minute < 3077:
            bars.append(Bar("BTCUSDT", MINUTE_MS, MONDAY_MS + minute * MINUTE_MS, opened, high, low, price, volume))
    return bars


#: Minutes after Monday 00:00 at which the bar of each candidate of the frozen market closes.
FROZEN_1M = {
    "long": [
        1276, 1361, 1657, 1724, 4648, 5201, 5270, 5303, 5325, 5522, 5558, 5680, 6383, 9323, 10740, 11334, 12903, 12943,
        12986, 13064, 13065, 13292, 13627, 13630, 13631, 19210, 19395,
    ],
    "short": [
        353, 1855, 2111, 2112, 2475, 6819, 7997, 9781, 10117, 14513, 15212, 15503, 15504, 15859, 16305, 16436, 16694,
        16695,
    ],
}  # fmt: skip
FROZEN_5M = {"long": [12665, 12670], "short": []}


@pytest.mark.parametrize(("timeframe", "frozen"), [("1m", FROZEN_1M), ("5m", FROZEN_5M)])
def test_a_frozen_market(timeframe: str, frozen: dict[str, list[int]]) -> None:
    """Without any data: the reference, the engine and both evaluators find the frozen bars."""
    bars = frozen_market()
    wanted = sorted((MONDAY_MS + minute * MINUTE_MS, side) for side, minutes in frozen.items() for minute in minutes)
    assert reference(frame_of(candles_of(bars)), timeframe) == wanted
    scalp = strategies.load("scalp")
    assert keys([one for one in candidates("v", scalp, bars) if one.timeframe == timeframe]) == wanted
    program = compile_program(scalp, timeframe)
    frames = {frame_ms: build(candles_of(bars), frame_ms) for frame_ms in program.frames}
    for evaluator in ("interpreted", "columns"):
        assert keys(list(_of_program(program, frames, "v", evaluator))) == wanted


@pytest.mark.parametrize("skipped", [1, 777, 2880])
def test_other_starts_give_the_same_signals_once_settled(skipped: int) -> None:
    """Two series of one market that start at different bars: the same settled candidates, values to 1e-9."""
    bars, loose = frozen_market(), strategies.load("scalp", [("min_factors", 4)])
    late = {one.id: one for one in candidates("v", loose, bars[skipped:]) if one.settled and one.timeframe == "1m"}
    first_ms = min(one.close_ms for one in late.values())
    early = {one.id: one for one in candidates("v", loose, bars) if one.close_ms >= first_ms and one.timeframe == "1m"}
    assert len(late) > 50
    assert late.keys() == early.keys()
    for key, one in late.items():
        numbers = {name: value for name, value in one.indicators.items() if value is not None}
        assert numbers == pytest.approx({name: early[key].indicators[name] for name in numbers}, rel=1e-9)
        assert (one.entry, one.bias, one.confidence) == (early[key].entry, early[key].bias, early[key].confidence)
        assert one.stop == pytest.approx(early[key].stop, rel=1e-9)


def test_a_frozen_signal() -> None:
    """One signal whole, as it is printed: what every float is to its last digit changes only on purpose."""
    frozen = (Path(__file__).parent / "scalp_signal.json").read_bytes()
    (signal,) = (one for one in candidates("v", strategies.load("scalp"), frozen_market()) if one.id in frozen.decode())
    assert msgspec.json.encode(signal) == msgspec.json.encode(msgspec.json.decode(frozen))
