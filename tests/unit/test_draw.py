"""Which bars are drawn as random entries."""

from __future__ import annotations

import numpy as np

from tapewatch import draw
from tapewatch.draw import drawn, mixed, salt_of, threshold_of
from tapewatch.model import MINUTE_MS

START_MS = 1_747_699_200_000


def drawn_of(symbol: str, one_in: int, bars: int = 200_000) -> list[int]:
    """The closes drawn of so many minutes."""
    salt, most = salt_of(symbol, "scalp", "1m", "long"), threshold_of(one_in)
    closes = range(START_MS, START_MS + bars * MINUTE_MS, MINUTE_MS)
    return [close_ms for close_ms in closes if mixed(close_ms) ^ salt <= most]


def test_one_in_so_many_bars_is_drawn_and_evenly_over_the_hours() -> None:
    """Within four deviations, also in each hour of the day."""
    closes = drawn_of("BTCUSDT", 20)
    assert abs(len(closes) - 10_000) < 4 * (200_000 * 0.05 * 0.95) ** 0.5
    hours = np.bincount(np.array(closes) // 3_600_000 % 24, minlength=24)
    mean = 200_000 / 24 / 20
    assert np.all(np.abs(hours - mean) < 4 * (mean * 0.95) ** 0.5)


def test_what_is_drawn_rarely_is_drawn_often_too() -> None:
    """So that a run's random entries are among those of research."""
    rare = drawn_of("BTCUSDT", 200)
    assert rare
    assert set(rare) <= set(drawn_of("BTCUSDT", 20))
    assert len(drawn_of("BTCUSDT", 1, 100)) == 100


def test_symbols_and_sides_draw_bars_of_their_own() -> None:
    """About as many in common as by chance."""
    mine, other = set(drawn_of("BTCUSDT", 20)), set(drawn_of("ETHUSDT", 20))
    assert len(mine & other) < len(mine) / 4
    sides = [drawn("BTCUSDT", "scalp", "1m", side, START_MS, 1) for side in ("long", "short")]
    assert sides == [True, True]
    assert salt_of("BTCUSDT", "scalp", "1m", "long") != salt_of("BTCUSDT", "scalp", "1m", "short")


def test_columns_draw_the_same_bars() -> None:
    """By unsigned 64-bit integers alone."""
    closes = np.arange(START_MS, START_MS + 50_000 * MINUTE_MS, MINUTE_MS, dtype=np.uint64)
    value = closes.copy()
    for shift, factor in draw.STEPS:
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
    value ^= value >> np.uint64(draw.LAST_SHIFT)
    found = closes[(value ^ np.uint64(salt_of("BTCUSDT", "scalp", "1m", "long"))) <= np.uint64(threshold_of(200))]
    assert found.tolist() == drawn_of("BTCUSDT", 200, 50_000)


def test_the_rule_is_pinned() -> None:
    """A ledger's baselines are of these bars; another rule would mix two draws."""
    assert drawn_of("BTCUSDT", 20, 200)[:3] == [1747700100000, 1747701780000, 1747703880000]
