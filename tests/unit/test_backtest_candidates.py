"""What a backtest decides on: from signals with their evidence, or straight from the columns, the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from command_line import store
from core_samples import mapping, walk
from tapewatch.strategy import from_mapping
from tapewatch.study import backtest
from tapewatch.study.backtest import Backtest, Plan
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request

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
def test_columns_and_signals_are_the_same_candidates(
    archive: Path, monkeypatch: pytest.MonkeyPatch, moves: str
) -> None:
    """Every number of every candidate, to the bit: also how its stop moves."""
    sides = {"long": {"up": "close > open"}, "short": {"down": "close < open and close > sma(close, 9)"}}
    targets = [{"at": "atr(14)", "share": "50%"}, {"at": "2 * atr(14)", "share": "50%"}]
    whole = sides | {"stop": "1.5 * atr(14)", "targets": targets} | MOVES[moves]
    strategy = from_mapping("mover", mapping(timeframes=["5m", "1m"], higher=None, **whole))

    def candidates(*symbols: str) -> Any:
        plan = Plan(strategy, Request(archive, "binance_spot", symbols), Account(), gate=False)
        return Backtest(plan)._candidates

    of_both = candidates("AAAUSDT", "BBBUSDT")
    of_signals = [column[of_both.symbol == 0] for column in of_both]
    assert len(of_signals[0]) > 500
    interpreted = candidates("AAAUSDT")
    monkeypatch.setattr(backtest, "SMALL_JOB", 0)
    compiled = candidates("AAAUSDT")
    for name, wanted, slow, fast in zip(of_both._fields, of_signals, interpreted, compiled, strict=True):
        assert np.array_equal(wanted, slow), name
        assert np.array_equal(wanted, fast), name
    present = [(interpreted.moves[:, k] > 0).all() for k in range(3)]
    assert present == [moves in ("break-even", "all"), moves == "all", moves in ("trailing", "all")]


@pytest.mark.parametrize("fire", ["all", {"at_least": 2}])
def test_columns_and_signals_know_the_same_factors(archive: Path, monkeypatch: pytest.MonkeyPatch, fire: Any) -> None:
    """Met, not met and unknown: the last where an average of 900 bars has none yet."""
    sides = {
        "long": {"up": "close > open", "late": "close > sma(close, 900)", "calm": "on('5m', close > open)"},
        "short": {"down": "close < open", "late": "close < sma(close, 900)", "calm": "not close > hl2[2]"},
    }
    strategy = from_mapping("mover", mapping(higher=None, fire=fire, time_limit=1, **sides))

    def factors(*symbols: str) -> tuple[list[str], Any]:
        account = Account(kind="perpetual", cash=1e9, size_quote=10.0)
        result = Backtest(Plan(strategy, Request(archive, "binance_spot", symbols), account, gate=False)).run()
        mine = [k for k, trade in enumerate(result.trades) if trade.symbol == "AAAUSDT"]
        return [result.trades[k].trade_id for k in mine], {
            name: [met[k] for k in mine] for name, met in result.factors.items()
        }

    of_signals = factors("AAAUSDT", "BBBUSDT")
    interpreted = factors("AAAUSDT")
    monkeypatch.setattr(backtest, "SMALL_JOB", 0)
    assert factors("AAAUSDT") == interpreted == of_signals
    found = {name: set(met) for name, met in interpreted[1].items()}
    wanted = {"met"} if fire == "all" else {"met", "not_met", "unknown"}
    assert found == {"up": found["up"], "down": found["down"], "late": wanted, "calm": found["calm"]}
    assert "" in found["up"]
    assert "" in found["down"]
    assert ("not_met" in found["calm"]) == (fire != "all")


def test_a_strategy_that_never_fires_is_traded_without_a_word(archive: Path) -> None:
    """No candidates, with the gate and without."""
    never = from_mapping("never", mapping(long={"up": "close > 1e9"}))
    for gate in (True, False):
        result = Backtest(Plan(never, Request(archive, "binance_spot", ["AAAUSDT"]), Account(), gate=gate)).run()
        assert (list(result.trades), result.skipped, result.equity[-1]) == ([], {}, 10_000.0)
