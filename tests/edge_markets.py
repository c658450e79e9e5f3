"""Markets of pure noise, and such in which something follows a certain volume; searches for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from core_samples import MONDAY_MS, mapping
from tapewatch.model import MINUTE_MS
from tapewatch.strategy import from_mapping
from tapewatch.study.backtest import Plan
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request
from tapewatch.study.sweep import Sweep
from tapewatch.study.trials import Trials

VENUE = "binance_spot"
#: An account that pays nothing, in which noise looks best.
FREE = Account(kind="perpetual", taker_bps=0.0, maker_bps=0.0, slippage_bps=0.0)
#: What `hashed` says of a volume: with this salt an edge follows, in a market that has one.
SALT = 13.0


def market(root: Path, seed: int, *, edge: float = 0.0, bars: int = 10_000, symbol: str = "AAAUSDT") -> Request:
    """A random walk whose volatility wanders; with an edge prices rise by it, in deviations a bar, for 20 bars."""
    rng = np.random.default_rng(seed)
    deviation = 0.001 * np.exp(np.clip(np.cumsum(rng.normal(0.0, 0.02, bars)), -1.0, 1.0))
    moves = rng.normal(0.0, 1.0, bars) * deviation
    volume = np.round(rng.exponential(100.0, bars), 3)
    for row in np.flatnonzero((volume * SALT) % 97.0 < 1.0) if edge else ():
        moves[row + 1 : row + 21] += edge * deviation[row]
    close = 100.0 * np.exp(np.cumsum(moves))
    opened = np.concatenate(([100.0], close[:-1]))
    reach = 1.0 + np.abs(rng.normal(0.0, 0.3, (2, bars))) * deviation
    frame = pl.DataFrame(
        {
            "open_time": MONDAY_MS + np.arange(bars) * MINUTE_MS,
            "open": opened,
            "high": np.maximum(opened, close) * reach[0],
            "low": np.minimum(opened, close) / reach[1],
            "close": close,
            "volume": volume,
        }
    )
    (root / VENUE / symbol).mkdir(parents=True, exist_ok=True)
    frame.write_parquet(root / VENUE / symbol / "1m.parquet")
    return Request(root, VENUE, [symbol])


def hashed(**changes: Any) -> dict[str, Any]:
    """A strategy whose entries are a hash of the volume: as good as random."""
    stop = "2 * sma(high - low, 50)"
    whole = {
        "long": {"hash": "(volume * salt) % 97 < 1"},
        "stop": stop,
        "targets": [{"at": stop, "share": "100%"}],
        "time_limit": 40,
        "higher": None,
        "params": {"salt": 7},
    }
    return mapping(**whole | changes)


def crossings() -> dict[str, Any]:
    """A strategy of averages that cross, on both sides: many sets of it are nearly the same."""
    return mapping(
        long={"cross": "crossover(ema(close, fast), ema(close, slow))"},
        short={"cross": "crossunder(ema(close, fast), ema(close, slow))"},
        stop="far * atr(14)",
        targets=[{"at": "far * atr(14)", "share": "100%"}],
        time_limit=60,
        higher=None,
        params={"fast": 5, "slow": 20, "far": 2},
    )


def salts(count: int) -> list[dict[str, float]]:
    """Sets of `hashed`."""
    return [{"salt": 3.0 + k} for k in range(count)]


def lengths(count: int) -> list[dict[str, float]]:
    """Sets of `crossings`."""
    rng = np.random.default_rng(0)
    drawn = zip(*(rng.integers(*ends, count).tolist() for ends in ((3, 15), (16, 50), (3, 7))), strict=True)
    return [{"fast": float(fast), "slow": float(slow), "far": far / 2} for fast, slow, far in drawn]


def searched(
    request: Request, whole: Mapping[str, Any], sets: Sequence[Mapping[str, float]], account: Account = FREE
) -> tuple[Sweep, Trials]:
    """Every set tried, for its SQN."""
    sweep = Sweep(whole, Plan(from_mapping("probe", whole), request, account))
    tried = list(sweep.tried(sets))
    trials = Trials(
        list(sets[0]),
        np.array([list(one.values()) for one in sets]),
        np.array([one.figures["sqn"] for one in tried]),
        np.array([int(one.figures["trades"]) for one in tried]),
        np.array([one.blocks for one in tried]),
    )
    return sweep, trials
