"""What became of candidates on stored candles: columns against a plain loop, random entries, and real figures."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command_line import store
from core_samples import MONDAY_MS, candles_of, packed, walk
from tapewatch import strategies
from tapewatch.archive.candles import Candles
from tapewatch.draw import drawn, mixed
from tapewatch.engine.outlook import outlook_step
from tapewatch.model import MINUTE_MS, Bar
from tapewatch.outcomes import bars_of, end_on, measured, path_of
from tapewatch.record import Kind
from tapewatch.strategy import compile_program
from tapewatch.study import outcomes, touches
from tapewatch.study.backtest import Backtest, Plan
from tapewatch.study.evaluate import values_at
from tapewatch.study.outcomes import Known, fates_of, outcomes_of, scores_of
from tapewatch.study.regimes import regimes_at
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request, find
from tapewatch.study.touches import Entries, follow

LIMIT_MS = 40 * MINUTE_MS


class End(NamedTuple):
    """What a plain loop found."""

    result: str
    price: float | None
    ms: int
    best: float
    worst: float
    ambiguous: bool


def told(bars: Sequence[Bar], side: int, close_ms: int, levels: tuple[float, float, float], expiry_ms: int) -> End:
    """One entry followed bar by bar, as the page says it."""
    entry, stop, target = levels
    best = worst = entry
    furthest, nearest = (max, min) if side > 0 else (min, max)
    last_ms = -1
    for bar in bars:
        if bar.open_ms < close_ms:
            continue
        last_ms = bar.open_ms
        for_us, against = (bar.high, bar.low) if side > 0 else (bar.low, bar.high)
        if bar.open_ms >= expiry_ms:
            return End("time", bar.open, bar.open_ms, furthest(best, bar.open), nearest(worst, bar.open), False)
        stopped = against <= stop if side > 0 else against >= stop
        reached = for_us >= target if side > 0 else for_us <= target
        if stopped:
            beyond = bar.open <= stop if side > 0 else bar.open >= stop
            price = bar.open if beyond else stop
            return End("stop", price, bar.open_ms, best, nearest(worst, price), reached and not beyond)
        if reached:
            return End("target", target, bar.open_ms, target, nearest(worst, against), False)
        best, worst = furthest(best, for_us), nearest(worst, against)
    return End("open", None, last_ms, best, worst, False)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 3), st.floats(0.05, 4.0), st.floats(0.05, 4.0))
def test_columns_follow_as_a_plain_loop_does(seed: int, look: int, stop: float, target: float) -> None:
    """On any walk with holes, for both sides, however few candles are looked at together; to the bit."""
    draw = random.Random(seed)
    bars = walk(150, seed, holes=draw.sample(range(150), 20))
    chosen = [(draw.choice((1, -1)), draw.choice(bars)) for _ in range(20)]
    side = np.array([sign for sign, _ in chosen])
    closes_ms = np.array([bar.close_ms for _, bar in chosen])
    close = np.array([bar.close for _, bar in chosen])
    levels = close, close - side * stop, close + side * target
    entries = Entries.of(side, closes_ms, closes_ms + LIMIT_MS, levels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(touches, "LEAST", look)
        patch.setattr(touches, "CELLS", 8)
        ends = follow(candles_of(bars), entries)
    for row, (sign, bar) in enumerate(chosen):
        of_row = tuple(float(level[row]) for level in levels)
        wanted = told(bars, sign, bar.close_ms, (of_row[0], of_row[1], of_row[2]), bar.close_ms + LIMIT_MS)
        found = [touches.RESULTS[int(ends.result[row])], int(ends.ms[row]), bool(ends.ambiguous[row])]
        assert found == [wanted.result, wanted.ms, wanted.ambiguous]
        assert packed([sign * ends.best[row], sign * ends.worst[row]]) == packed([wanted.best, wanted.worst])
        if wanted.price is not None:
            assert packed([sign * ends.price[row]]) == packed([wanted.price])


def test_the_columns_of_the_draw_are_the_draw() -> None:
    """For any close, its 64 bits are those by which a run draws."""
    closes_ms = np.arange(MONDAY_MS, MONDAY_MS + 3_000 * MINUTE_MS, MINUTE_MS)
    assert outcomes.mixed(closes_ms).tolist() == [mixed(ms) for ms in closes_ms.tolist()]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols, five days of minutes each, with a hole."""
    root = tmp_path_factory.mktemp("archive")
    store(root, walk(7_200, 1, holes=range(2_000, 2_030)))
    store(root, [msgspec.structs.replace(one, symbol="BBBUSDT") for one in walk(7_200, 2)])
    return root


def known(root: Path, evaluator: str = "auto", workers: int = 1) -> Known:
    """What became of a loose `scalp`'s candidates."""
    scalp = strategies.load("scalp", [("min_factors", 3)])
    request = Request(root, "binance_spot", ["AAAUSDT", "BBBUSDT"])
    return outcomes_of(scalp, request, find(scalp, request), 20.0, evaluator, workers)  # type: ignore[arg-type]


def test_values_on_some_bars_are_those_of_both_evaluators(archive: Path) -> None:
    """Of a stop and a target, also where nothing fires."""
    scalp = strategies.load("scalp")
    program = compile_program(scalp, "5m")
    minutes = candles_of(walk(7_200, 1))
    from tapewatch.archive.resample import build

    frames: dict[int, Candles] = {frame_ms: build(minutes, frame_ms) for frame_ms in program.frames}
    rows = np.array([0, 3, 20, 500, 501, 1_439])
    plan = program.sides[0]
    nodes = [plan.stop, plan.targets[0][0]]
    first, second = (values_at(program, frames, rows, nodes, name) for name in ("columns", "interpreted"))
    assert [packed(column.tolist()) for column in first] == [packed(column.tolist()) for column in second]
    assert np.isfinite(first[0][2:]).all()
    nothing = values_at(program, frames, rows[:0], nodes, "interpreted")
    assert [len(column) for column in nothing] == [0, 0]


def test_evaluators_and_workers_agree_on_everything(archive: Path) -> None:
    """Fates and random entries are the same, to the bit."""
    plain = known(archive)
    assert plain.signals
    for other in (known(archive, "columns"), known(archive, "interpreted"), known(archive, workers=2)):
        assert msgspec.json.encode(other.signals) == msgspec.json.encode(plain.signals)
        assert {kind: of_kind.hours for kind, of_kind in other.baselines.items()} == {
            kind: of_kind.hours for kind, of_kind in plain.baselines.items()
        }


def test_random_entries_are_the_bars_that_a_run_draws(archive: Path) -> None:
    """Of settled bars, one in twenty; each has ended or the candles ended first."""
    found = known(archive).baselines[Kind("scalp", "long", "1m")].all
    settled = {one.close_ms for one, _ in known(archive).signals if one.settled and one.timeframe == "1m"}
    first_ms = min(settled)
    closes = [bar.close_ms for bar in walk(7_200, 1, holes=range(2_000, 2_030)) if bar.close_ms >= first_ms]
    closes_of = {"AAAUSDT": closes, "BBBUSDT": [bar.close_ms for bar in walk(7_200, 2) if bar.close_ms >= first_ms]}
    expected = sum(drawn(symbol, "scalp", "1m", "long", ms, 20) for symbol, every in closes_of.items() for ms in every)
    assert abs(found.n - expected) < 20  # the settling ends a little before the first settled signal
    assert 0 < found.hits < found.n


def test_a_strategy_on_larger_bars_is_followed_on_the_smallest_candles(tmp_path: Path) -> None:
    """A minute that touches the stop before the one that touches the target decides, though one bar holds both."""
    root = tmp_path / "archive"
    store(root, walk(7_200, 1))
    scalp = strategies.load("scalp", [("min_factors", 3)])
    request = Request(root, "binance_spot", ["AAAUSDT"], ["5m"])
    fine = outcomes_of(scalp, request, find(scalp, request), 20.0)
    assert any(fate is not None and fate.ms is not None and fate.ms % (5 * MINUTE_MS) for _, fate in fine.signals)


def test_candles_that_begin_later_are_not_followed_from_before(tmp_path: Path) -> None:
    """Where minutes reach less far back than what they make, what was before them is followed on the larger candles."""
    minutes = walk(7_200, 1)
    from tapewatch.archive.resample import build

    larger = list(build(candles_of(minutes), 5 * MINUTE_MS).bars())
    begin_ms = minutes[5_000].open_ms
    store(tmp_path / "both", [bar for bar in minutes if bar.open_ms >= begin_ms])
    for root in ("both", "larger"):
        store(tmp_path / root, larger, "5m")
    store(tmp_path / "minutes", minutes)
    scalp = strategies.load("scalp", [("min_factors", 3)])
    requests = {
        root: Request(tmp_path / root, "binance_spot", ["AAAUSDT"], ["5m"]) for root in ("both", "larger", "minutes")
    }
    told: dict[str, list[tuple[int, str]]] = {}
    for root, request in requests.items():
        followed = outcomes_of(scalp, request, find(scalp, request), 20.0).signals
        told[root] = [(one.close_ms, f"{fate.result} {fate.ms} {fate.price}") for one, fate in followed if fate]
    before, after = (
        {root: [one for one in of_root if (one[0] < begin_ms) == early] for root, of_root in told.items()}
        for early in (True, False)
    )
    assert before["both"] == before["larger"] != before["minutes"]
    assert after["both"] == after["minutes"] != after["larger"]
    plan = Plan(scalp, requests["both"], Account(kind="perpetual"), gate=False)
    trades = Backtest(plan).run().trades
    assert trades
    assert all(trade.entry_ms == int(trade.signal_id.rpartition("/")[2]) >= begin_ms for trade in trades)


# --- real candles ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_1m(market_data: Path) -> Known:
    """`scalp` on 1m of BTCUSDT on the set `long-1m`."""
    root = market_data / "candles" / "long-1m"
    scalp = strategies.load("scalp")
    request = Request(root, "binance_spot", ["BTCUSDT"], ["1m"])
    return outcomes_of(scalp, request, find(scalp, request), 20.0)


def test_the_known_figures_of_long_1m(long_1m: Known) -> None:
    """816 candidates, 488 of which (59.8%) touch the target first; -3.0 R after 20 bps; chance is no worse."""
    ((score, ends),) = scores_of(long_1m)
    assert (score.n, score.hits, ends["stop"], ends["time"], ends["open"], ends["ambiguous"]) == (
        816,
        488,
        328,
        0,
        0,
        5,
    )
    assert f"{100 * score.rate:.1f}" == "59.8"
    assert score.net_r == pytest.approx(-3.0, abs=0.01)
    assert score.net_quote == pytest.approx(-2.01, abs=0.01)
    assert score.baseline == pytest.approx(0.58, abs=0.01)
    assert score.skill == "none"
    assert np.isnan(score.break_even_rate)


def test_long_1m_by_an_independent_count(long_1m: Known, market_data: Path) -> None:
    """Candles read by polars, ATR by TA-Lib, every bar an entry on both sides, no code of ours: 57.6% hit, and the
    drawn ones are within what a sample of theirs may be off.
    """
    import talib

    path = market_data / "candles" / "long-1m" / "binance_spot" / "BTCUSDT" / "1m.parquet"
    frame = pl.read_parquet(path)
    close, high, low = (frame[name].to_numpy() for name in ("close", "high", "low"))
    atr = talib.ATR(high, low, close, 14)
    every = np.arange(300, len(close) - 300)
    hits = 0
    for side, best, worst in ((1, high, low), (-1, -low, -high)):
        stop, target, going = side * close - 1.5 * atr, side * close + atr, every
        for later in range(1, 241):
            stopped = worst[going + later] <= stop[going]
            hits += int(np.count_nonzero(~stopped & (best[going + later] >= target[going])))
            going = going[~stopped & (best[going + later] < target[going])]
    chance = hits / (2 * len(every))
    assert chance == pytest.approx(0.576, abs=0.001)
    ((score, _),) = scores_of(long_1m)
    assert score.baseline == pytest.approx(chance, abs=0.006)


def test_regimes_of_bars_are_those_of_both_evaluators() -> None:
    """On every bar of a walk, and none before all of it is settled."""
    candles = candles_of(walk(3_000, 4))
    every = np.arange(3_000)
    found = regimes_at(candles, every, "columns")
    assert found == regimes_at(candles, every, "interpreted")
    assert set(found[: outlook_step(MINUTE_MS).settled_at]) == {""}
    assert len(set(found)) > 3
    some = np.array([700, 1_500, 2_999])
    assert regimes_at(candles, some, "columns") == [found[700], found[1_500], found[2_999]]
    assert regimes_at(candles, some, "interpreted") == [found[700], found[1_500], found[2_999]]


def test_what_is_known_by_a_moment_does_not_change_with_later_candles(archive: Path, tmp_path: Path) -> None:
    """Fates and random entries up to it are those of an archive that ends there."""
    until_ms = MONDAY_MS + 5_000 * MINUTE_MS
    store(tmp_path, [bar for bar in walk(7_200, 1, holes=range(2_000, 2_030)) if bar.close_ms <= until_ms])
    scalp = strategies.load("scalp", [("min_factors", 3)])
    cut = Request(tmp_path, "binance_spot", ["AAAUSDT"], ["1m"])
    whole = Request(archive, "binance_spot", ["AAAUSDT"], ["1m"], until_ms=until_ms)
    first, second = (outcomes_of(scalp, request, find(scalp, request), 20.0) for request in (cut, whole))
    assert [fate for _, fate in first.signals if fate is not None and fate.result == "open"]
    assert msgspec.json.encode(first.signals) == msgspec.json.encode(second.signals)
    kind = Kind("scalp", "long", "1m")
    assert first.baselines[kind].hours == second.baselines[kind].hours


def test_what_is_computed_is_what_a_run_would_have_told() -> None:
    """The functions by which a run follows a signal, bar by bar, give the same fates to the bit."""
    bars = walk(3_000, 5, holes=range(900, 960))
    closes = bars[:2_900:7]
    sides = [1 if n % 2 else -1 for n in range(len(closes))]
    ways = [(0.2 + n % 5 * 0.1, 0.15 + n % 7 * 0.1) for n in range(len(closes))]
    side, close = np.array(sides), np.array([bar.close for bar in closes])
    stop, target = (
        close - way * side * np.array(part) for way, part in ((1, [w[0] for w in ways]), (-1, [w[1] for w in ways]))
    )
    closes_ms = np.array([bar.close_ms for bar in closes])
    entries = Entries.of(side, closes_ms, closes_ms + LIMIT_MS, (close, stop, target))
    found = list(fates_of(candles_of(bars), entries, [""] * len(closes), MINUTE_MS, 20.0))
    seen = set()
    for n, fate in enumerate(found):
        levels = float(close[n]), float(stop[n]), float(target[n])
        path = path_of("long" if sides[n] > 0 else "short", closes[n].close_ms, MINUTE_MS, 40, levels)
        assert path is not None
        later = (bar for bar in bars if bar.open_ms >= closes[n].close_ms)
        end = next(end for bar in later if (end := end_on(path, bar, late=False, recv_ms=bar.close_ms)) is not None)
        wanted = measured(path, end, 20.0)
        assert packed([getattr(fate, name) for name in wanted._fields]) == packed(list(wanted))
        assert packed([fate.price]) == packed([path.sign * end.price])
        assert (fate.result, fate.ms, fate.bars, fate.ambiguous) == (
            end.result,
            end.ms,
            bars_of(path, end),
            end.ambiguous,
        )
        seen.add(fate.result)
    assert seen == {"target", "stop", "time"}
