"""A whole market on the worst of days: nothing is lost or doubled, no limit is broken, and it can be proved.

`TAPEWATCH_DAYS=10` plays ten days, which takes an hour, instead of one that fits into a test run.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from run_harness import MINUTE_MS, Line, command, expected_signals, query, stored_signals, values_of
from scripted_day import DISPUTED, KINDS, SEED, Day, had, journaled, play
from tapewatch.model import Bar
from tapewatch.simulator import ArchiveMarket, Market, SyntheticMarket, VariantMarket, names

#: 2021-04-29; the recording has outages of its own before, which the variants bring into the played day.
PLAYED_TO_MS = 1_619_654_400_000
STRATEGIES = {"scalp": {"timeframes": ["1m", "5m"], "params": {"min_factors": 4}}}
#: In a simulation the two seconds of availability are those of this machine.
pytestmark = pytest.mark.alone
DAYS = float(os.environ.get("TAPEWATCH_DAYS", "1"))


def recorded(data: Path) -> tuple[Market, int, int]:
    """300 names out of 45 recorded series; where the day begins, and its minutes."""
    market = VariantMarket(ArchiveMarket(data / "candles/scan-1m-2021-04", "binance_spot"), 300)
    minutes = int(DAYS * 1440)
    return market, PLAYED_TO_MS - minutes * MINUTE_MS, minutes


def synthetic() -> tuple[Market, int, int]:
    """Thirty names out of a seed, for three hours."""
    market = SyntheticMarket(SEED, names(30))
    return market, market.start_ms, 180


@pytest.mark.timeout(900 + DAYS * 3600)
async def test_a_day_on_which_something_breaks_every_minute(tmp_path: Path, market_data: Path) -> None:
    """300 symbols of recorded candles, 1,440 faults."""
    market, start_ms, minutes = recorded(market_data)
    day = await play(tmp_path, market, start_ms, minutes, 300 + DAYS * 1200, strategies=STRATEGIES)
    judge(tmp_path, day, market, start_ms)
    assert day.availability >= 0.995


async def test_a_morning_on_which_something_breaks_every_minute(tmp_path: Path) -> None:
    """The same without recorded candles."""
    market, start_ms, minutes = synthetic()
    day = await play(tmp_path, market, start_ms, minutes, 400, strategies=STRATEGIES)
    judge(tmp_path, day, market, start_ms)
    assert day.availability >= 0.9  # two of thirty symbols, in every other minute


def judge(folder: Path, day: Day, market: Market, start_ms: int) -> None:
    """Everything that must hold of such a day."""
    assert day.code == 0, day.log
    assert "Traceback" not in day.log
    assert set(day.faults) == KINDS
    assert not day.breaches
    verify = ("replay", "-c", str(folder / "tapewatch.yaml"), "--verify", "--json")
    with ThreadPoolExecutor() as beside:  # a core for each; nothing is measured any more
        verifying = beside.submit(command, *verify, timeout_s=600)
        each_bar_once(folder, day, market, start_ms)
        stored = agreed_signals(folder, day, market, start_ms)
        verified = verifying.result()
    assert verified.returncode == 0, verified.stdout + verified.stderr
    result = json.loads(verified.stdout)
    assert result["equal"] is True
    assert result["signals"] == len(stored)


def agreed_signals(folder: Path, day: Day, market: Market, start_ms: int) -> list[Line]:
    """The stored signals, asserted to be those of the same candles, but for symbols of which two things were said."""
    stored = stored_signals(folder)
    agreed = market.symbols[:-DISPUTED]
    expected = expected_signals(day.served, folder, agreed, start_ms, market.last_ms, "--set", "min_factors=4")
    assert len(expected) > 50
    assert values_of([one for one in stored if one["symbol"] in set(agreed)]) == values_of(expected)
    assert {symbol for (symbol,) in query(folder, "SELECT symbol FROM corrections")} - set(agreed)
    return stored


def each_bar_once(folder: Path, day: Day, market: Market, start_ms: int) -> None:
    """What the engine was given is what the exchange had: every bar, in order, once, with its values."""
    given: dict[str, list[Bar]] = defaultdict(list)
    for event in journaled(folder):
        given[event.bar.symbol].append(event.bar)
    for symbol in market.symbols:
        bars = [(bar.open_ms, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in given[symbol]]
        wanted = had(day.served, symbol, start_ms, market.last_ms)
        assert [bar[0] for bar in bars] == [bar[0] for bar in wanted], symbol
        if symbol in market.symbols[:-DISPUTED]:
            assert bars == wanted, symbol
