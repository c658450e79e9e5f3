"""What a backtest decides on: from signals with their evidence, or straight from the columns, the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from command_line import store
from core_samples import mapping, walk
from tapewatch.archive.reader import load
from tapewatch.engine.series import HOUR_MS
from tapewatch.model import INTERVALS_MS, Signal
from tapewatch.strategy import from_mapping
from tapewatch.study.backtest import Backtest, Plan
from tapewatch.study.evaluate import Evaluator
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request, find, quotes_24h

EVALUATORS: tuple[Evaluator, ...] = ("interpreted", "columns")
MOVES: dict[str, dict[str, Any]] = {
    "none": {},
    "break-even": {"break_even": "0.5 * atr(14)"},
    "trailing": {"trailing": {"by": "atr(3)"}},
    "all": {"break_even": "0.3", "trailing": {"after": "2 * atr(14)", "by": "close - sma(close, 5)"}},
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols that are the same market."""
    root = tmp_path_factory.mktemp("archive")
    bars = walk(3_000)
    for symbol in ("AAAUSDT", "BBBUSDT"):
        store(root, [msgspec.structs.replace(one, symbol=symbol) for one in bars])
    return root


@pytest.mark.parametrize("moves", MOVES)
def test_columns_and_signals_are_the_same_candidates(archive: Path, moves: str) -> None:
    """Every number of every candidate, to the bit: also how its stop moves."""
    sides = {"long": {"up": "close > open"}, "short": {"down": "close < open and close > sma(close, 9)"}}
    targets = [{"at": "atr(14)", "share": "50%"}, {"at": "2 * atr(14)", "share": "50%"}]
    whole = sides | {"stop": "1.5 * atr(14)", "targets": targets} | MOVES[moves]
    strategy = from_mapping("mover", mapping(timeframes=["5m", "1m"], higher=None, **whole))
    request = Request(archive, "binance_spot", ["AAAUSDT"])
    signals = sorted(find(strategy, request), key=lambda one: (one.close_ms, -INTERVALS_MS[one.timeframe], one.side))
    assert len(signals) > 500
    interpreted, compiled = (
        Backtest(Plan(strategy, request, Account(), gate=False), evaluator=evaluator)._candidates
        for evaluator in EVALUATORS
    )
    for name, slow, fast in zip(interpreted._fields, interpreted, compiled, strict=True):
        assert np.array_equal(slow, fast), name
    assert compiled.decided_ms.tolist() == [one.close_ms for one in signals]
    assert compiled.side.tolist() == [1 if one.side == "long" else -1 for one in signals]
    assert compiled.close.tolist() == [one.entry for one in signals]
    levels = [[one.stop, *(target.price for target in one.targets)] for one in signals]
    assert compiled.levels.tolist() == levels
    distances = [[abs(one.entry - level) for level in of_one] for one, of_one in zip(signals, levels, strict=True)]
    assert compiled.distances.tolist() == distances
    assert compiled.moves.tolist() == [list(one.moves) for one in signals]
    limits_ms = [one.close_ms + strategy.time_limit * INTERVALS_MS[one.timeframe] for one in signals]
    assert compiled.expiry_ms.tolist() == limits_ms
    present = [(interpreted.moves[:, k] > 0).all() for k in range(3)]
    assert present == [moves in ("break-even", "all"), moves == "all", moves in ("trailing", "all")]


@pytest.mark.parametrize("gate", [True, False])
def test_candles_in_memory_need_no_archive(archive: Path, tmp_path: Path, *, gate: bool) -> None:
    """The same trades as of candles that are stored."""
    changes = {"timeframes": ["1m"], "higher": None, "long": {"up": "close > open"}, "stop": "1.5 * atr(14)"}
    strategy = from_mapping("held", mapping(**changes))
    stored, nowhere = (Request(root, "binance_spot", ["AAAUSDT"]) for root in (archive, tmp_path))
    candles = [load(archive, "binance_spot", "AAAUSDT", "1m")]
    expected = Backtest(Plan(strategy, stored, Account(), gate=gate)).run()
    found = Backtest(Plan(strategy, nowhere, Account(), gate=gate), candles=candles).run()
    assert len(expected.trades) > 20
    assert list(found.trades) == list(expected.trades)


GATES: dict[str, dict[str, Any]] = {
    "settled": {},
    "cooldown": {"cooldown": "12m"},
    "duplicate": {"duplicate": {"window": "20m", "move": "0.2%"}},
    "regime": {"regime": {"require": ["low_volatility"], "avoid": ["ranging", "low_volatility"]}},
    "avoid": {"regime": {"avoid": ["ranging"]}},
    "budget": {"budget": {"alerts": 2, "window": "30m"}, "cooldown": "12m"},
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("gate", GATES)
def test_the_gate_lets_through_what_the_verdicts_of_signals_say(archive: Path, gate: str, workers: int) -> None:
    """Of two symbols and two timeframes, in a part of the time, of one timeframe only."""
    sides = {"long": {"up": "close > open"}, "short": {"down": "close < open"}}
    settings = {"timeframes": ["5m", "1m"], "higher": None, "duplicate": {"window": "1m"}, "cooldown": "0m"} | GATES[
        gate
    ]
    strategy = from_mapping("gated", mapping(**sides, **settings))
    opens_ms = load(archive, "binance_spot", "AAAUSDT", "1m").open_ms
    from_ms, to_ms = int(opens_ms[1_800]), int(opens_ms[2_600])
    request = Request(archive, "binance_spot", ["BBBUSDT", "AAAUSDT"], ["1m"], from_ms, to_ms)
    signals = list(find(strategy, request))
    tried = Backtest(Plan(strategy, request, Account()), workers=workers, evaluator="columns")
    wanted = {one.id for one in signals if all(verdict.passed for verdict in one.verdicts)}
    found = [tried._origins.identity(n) for n in range(len(tried._candidates.symbol))]
    assert set(found) == wanted
    assert len(found) == len(wanted)
    assert len(signals) > 400
    assert (gate == "settled") == (len(wanted) == len(signals))
    assert (gate == "regime") == (not wanted)


@pytest.mark.parametrize("fire", ["all", {"at_least": 2}])
def test_columns_and_signals_know_the_same_factors(archive: Path, fire: Any) -> None:
    """Met, not met and unknown: the last where an average of 900 bars has none yet."""
    sides = {
        "long": {"up": "close > open", "late": "close > sma(close, 900)", "calm": "on('5m', close > open)"},
        "short": {"down": "close < open", "late": "close < sma(close, 900)", "calm": "not close > hl2[2]"},
    }
    strategy = from_mapping("mover", mapping(higher=None, fire=fire, time_limit=1, **sides))
    account = Account(kind="perpetual", cash=1e9, size_quote=10.0)
    request = Request(archive, "binance_spot", ["AAAUSDT", "BBBUSDT"])
    signals: dict[str, Signal] = {one.id: one for one in find(strategy, request)}
    words = {True: "met", False: "not_met", None: "unknown"}
    found: dict[str, set[str]] = {}
    for evaluator in EVALUATORS:
        result = Backtest(Plan(strategy, request, account, gate=False), evaluator=evaluator).run()
        factors = [{one.name: one.met for one in signals[trade.signal_id].factors} for trade in result.trades]
        for name, met in result.factors.items():
            assert met == [words[of[name]] if name in of else "" for of in factors]
        found = {name: set(met) for name, met in result.factors.items()}
    wanted = {"met"} if fire == "all" else {"met", "not_met", "unknown"}
    assert found == {"up": found["up"], "down": found["down"], "late": wanted, "calm": found["calm"]}
    assert "" in found["up"]
    assert "" in found["down"]
    assert ("not_met" in found["calm"]) == (fire != "all")


def test_volumes_of_a_day_are_those_of_a_sum_bar_by_bar(archive: Path) -> None:
    """To the bit, at the begin, between, and with a quote volume that is not known."""
    candles = load(archive, "binance_spot", "AAAUSDT", "1m")
    quote_volume = candles.quote_volume.copy()
    quote_volume[100:200] = np.nan
    candles = dataclasses.replace(candles, quote_volume=quote_volume)
    closes_ms = candles.open_ms[::7] + 60_000
    wanted = []
    for close_ms in closes_ms.tolist():
        part = candles.slice(((close_ms - 1) // HOUR_MS - 23) * HOUR_MS, close_ms)
        quote = np.where(np.isnan(part.quote_volume), part.volume * part.close, part.quote_volume)
        wanted.append(float(quote.sum()))
    assert quotes_24h(candles, closes_ms).tolist() == wanted
    assert len(set(wanted)) > 400


def test_a_strategy_that_never_fires_is_traded_without_a_word(archive: Path) -> None:
    """No candidates, with the gate and without."""
    never = from_mapping("never", mapping(long={"up": "close > 1e9"}))
    for gate in (True, False):
        result = Backtest(Plan(never, Request(archive, "binance_spot", ["AAAUSDT"]), Account(), gate=gate)).run()
        assert (list(result.trades), result.skipped, result.equity[-1]) == ([], {}, 10_000.0)
