"""Identities of signals and alerts, and what makes a candle unsound."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_samples import MONDAY_MS, bar
from delivery_samples import signal
from tapewatch.model import (
    INTERVALS_MS,
    MINUTE_MS,
    Trailing,
    Verdict,
    alert_id,
    fault_of,
    signal_from,
    signal_id,
    trace_id,
)
from tapewatch.store.rows import signal_of

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def test_a_signal_id_has_its_parts_in_order() -> None:
    """Venue, symbol, timeframe, strategy, side, close."""
    wanted = "binance_spot/BTCUSDT/1m/scalp/long/1704067260000"
    assert signal_id("binance_spot", "BTCUSDT", "1m", "scalp", "long", 1_704_067_260_000) == wanted
    assert alert_id("binance_spot", "BTCUSDT", "1m", 1_704_067_260_000) == "binance_spot/BTCUSDT/1m/1704067260000"


def test_parts_of_an_id_are_percent_encoded() -> None:
    """A slash, a percent sign, a blank or a letter outside ASCII stays inside its part."""
    assert signal_id("v", "A/B", "1m", "s", "long", 1) == "v/A%2FB/1m/s/long/1"
    assert signal_id("v", "50% off", "1m", "s", "long", 1) == "v/50%25%20off/1m/s/long/1"
    assert alert_id("v", "币安人生USDT", "1m", 1) == "v/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT/1m/1"


@given(st.tuples(words, words, words, words), st.tuples(words, words, words, words))
def test_ids_are_ascii_and_never_the_same_for_different_parts(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """An id can be split and decoded back into exactly its parts."""
    first = signal_id(one[0], one[1], one[2], one[3], "long", 5)
    second = signal_id(other[0], other[1], other[2], other[3], "long", 5)
    assert first.isascii()
    assert tuple(unquote(part) for part in first.split("/")) == (*one, "long", "5")
    assert (first == second) is (one == other)


def test_a_trace_id_is_derived_and_short() -> None:
    """The same id gives the same 16 hex digits in every run."""
    assert trace_id("binance_spot/BTCUSDT/1m/scalp/long/1704067260000") == "6734a5ab25814ecc"
    assert trace_id("ü") != trace_id("u")


def test_a_verdict_is_written_with_pass() -> None:
    """The JSON key is `pass`, which Python keeps for itself."""
    assert msgspec.json.decode(msgspec.json.encode(Verdict("fresh", True))) == {
        "check": "fresh", "pass": True, "reason": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "moves"),
    [
        ({}, (0.0, 0.0, 0.0)),
        ({"break_even": 0.1}, (0.1, 0.0, 0.0)),
        ({"trailing": Trailing(None, 0.3)}, (0.0, 0.0, 0.3)),
        ({"break_even": 0.1, "trailing": Trailing(0.2, 0.3)}, (0.1, 0.2, 0.3)),
    ],
)
def test_a_signal_comes_back_from_plain_values_and_from_its_json(
    changes: dict[str, Any], moves: tuple[float, float, float]
) -> None:
    """As an engine's state and a ledger's row hold it; also one of a version that had no stops that move."""
    whole = signal(**changes)
    assert whole.moves == moves
    assert signal_from(msgspec.to_builtins(whole)) == whole
    assert signal_of(msgspec.json.encode(whole).decode()) == whole
    older = {key: value for key, value in msgspec.to_builtins(whole).items() if key not in ("break_even", "trailing")}
    assert signal_from(older) == signal_of(msgspec.json.encode(older).decode()) == signal()


def test_a_bar_is_known_at_the_next_bars_open() -> None:
    """Its close is its open and its interval."""
    for interval_ms in INTERVALS_MS.values():
        assert bar(0, interval_ms=interval_ms).close_ms == MONDAY_MS + interval_ms
    assert all(86_400_000 % interval_ms == 0 for interval_ms in INTERVALS_MS.values())


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"volume": 0.0, "high": 100.0, "low": 100.0, "open": 100.0}, None),
        ({"quote_volume": math.nan}, None),
        ({"low": 0.0}, "price not above zero"),
        ({"open": -1.0}, "price not above zero"),
        ({"high": math.nan}, "price not above zero"),
        ({"high": 98.0}, "high below low"),
        ({"open": 102.0}, "open or close outside high and low"),
        ({"low": 100.5}, "open or close outside high and low"),
        ({"volume": -1.0}, "volume negative or not a number"),
        ({"volume": math.nan}, "volume negative or not a number"),
        ({"volume": math.inf}, "volume negative or not a number"),
        ({"start_ms": MONDAY_MS + 1}, "open time not on the interval"),
    ],
)
def test_an_unsound_candle_is_told_apart(changes: dict[str, float], fault: str | None) -> None:
    """One reason, or None for a sound candle; NaN is never sound where a number is needed."""
    assert fault_of(bar(0, **changes)) == fault  # type: ignore[arg-type]


def test_an_endless_price_is_unsound() -> None:
    """Infinity is refused though it is above everything."""
    assert fault_of(bar(0, high=math.inf)) is not None
    assert bar(3).open_ms == MONDAY_MS + 3 * MINUTE_MS
