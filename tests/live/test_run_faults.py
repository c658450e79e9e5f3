"""`run` against `simulate` while everything goes wrong that can: it finds what `signals` finds, to the last bit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from run_harness import HOUR_MS, agree, archive, configure, easy, eventually, reached, running, series_of, simulated

FAULTS = """
- {kind: duplicate, every: 23m}
- {kind: drop, at: 10m}
- {kind: malformed, at: 15m, for: 2m}
- {kind: drop, at: 31m, for: 3m}
- {kind: reorder, at: 40m}
- {kind: late_close, at: 50m, for: 90s}
- {kind: missing_close, at: 60m, for: 4m, probability: 0.5}
- {kind: stall, at: 80m, for: 3m}
- {kind: http_429, at: 100m, for: 2m}
- {kind: missing_close, at: 101m}
- {kind: http_5xx, at: 120m, for: 5m}
- {kind: drop, at: 122m}
- {kind: shutdown, at: 140m}
- {kind: http_5xx, at: 160m, for: 10m, probability: 0.5}
- {kind: missing_close, at: 161m, for: 2m}
- {kind: stall, at: 180m, for: 4m, symbols: [BTCUSDT]}
- {kind: shutdown, at: 200m, for: 2m}
- {kind: drop, at: 200m, for: 1m}
"""


def parity(folder: Path, root: Path, symbols: tuple[str, ...], start_ms: int, end_ms: int) -> None:
    """Runs against the archive under faults, and compares what is stored with what `signals` finds."""
    (folder / "faults.yaml").write_text(FAULTS)
    options = ("--data", str(root), "--symbols", ",".join(symbols), "--start", str(start_ms), "--at-end", "hold")
    with simulated(folder, *options, "--speed", "60000", "--faults", str(folder / "faults.yaml")) as exchange:
        configure(folder, exchange, symbols, strategies=easy())
        with running(folder) as run:
            eventually(lambda: reached(folder, symbols, end_ms) or run.code is not None, every_s=0.2)
            assert run.stop() == 0, run.log
        assert exchange.faults == set(re.findall(r"kind: (\w+)", FAULTS))

    stored = agree(folder, root, symbols, start_ms)
    assert {one["timeframe"] for one in stored} == {"1m", "5m"}
    assert all(one["late"] == (one["recv_ms"] - one["close_ms"] > 10_000) for one in stored)
    for (_, interval_ms), (_, last_open_ms) in series_of(folder).items():
        assert last_open_ms == end_ms // interval_ms * interval_ms - interval_ms


@pytest.mark.slow
def test_faults_of_many_kinds_change_no_signal_and_no_bit_of_one(tmp_path: Path) -> None:
    """What a run under faults stores is what `signals` finds in the same candles, none more or less."""
    root, start_ms = archive(tmp_path, hours=5)
    parity(tmp_path, root, ("BTCUSDT", "ETHUSDT"), start_ms, start_ms + 5 * HOUR_MS)


@pytest.mark.slow
def test_faults_change_nothing_on_real_candles(tmp_path: Path, market_data: Path) -> None:
    """The same holds on the exchange's own candles."""
    end_ms = 1_693_526_400_000
    parity(tmp_path, market_data / "candles/long-1m", ("BTCUSDT",), end_ms - 8 * HOUR_MS, end_ms)
