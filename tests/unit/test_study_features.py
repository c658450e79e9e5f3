"""Surroundings of candidates on stored candles: those that a run knows."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from command_line import store
from core_samples import MONDAY_MS, candles_of, walk
from tapewatch import strategies
from tapewatch.features import FeatureSet
from tapewatch.model import MINUTE_MS, Signal
from tapewatch.strategy import compile_program
from tapewatch.study.around import surroundings
from tapewatch.study.features import features_dataset, surrounded
from tapewatch.study.labels import labels_of, outcomes_dataset
from tapewatch.study.outcomes import outcomes_of
from tapewatch.study.regimes import outlooks_at
from tapewatch.study.signals import Request, find

SCALP = strategies.load("scalp", [("min_factors", 2)])


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five days of two symbols, one of them BTC's with a hole."""
    root = tmp_path_factory.mktemp("archive")
    store(root, walk(7_000, 1))
    bitcoin = [msgspec.structs.replace(one, symbol="BTCUSDT") for one in walk(7_000, 2, holes=range(5_900, 5_990))]
    store(root, bitcoin)
    return root


def found(root: Path, until_ms: int | None = None, workers: int = 1) -> list[Signal]:
    """Candidates of a minute with their surroundings."""
    request = Request(root, "binance_spot", ["AAAUSDT", "BTCUSDT"], ["1m"], until_ms=until_ms)
    return list(surrounded(SCALP, request, find(SCALP, request), workers=workers))


def test_surroundings_are_those_of_a_run(archive: Path) -> None:
    """Outlooks and correlation, bit for bit, of signals all over the last two days."""
    late = [one for one in found(archive) if one.close_ms > MONDAY_MS + 5_600 * MINUTE_MS]
    chosen = late[:: len(late) // 8]

    for one in chosen:
        run = surroundings(SCALP, archive, one, ["AAAUSDT", "BTCUSDT"])

        assert run is not None
        assert one.context is not None
        assert one.context.outlooks == run.outlooks
        assert one.context.btc_correlation == run.btc_correlation
    assert {one.symbol for one in chosen} == {"AAAUSDT", "BTCUSDT"}
    known = [one.context.btc_correlation for one in late if one.context and one.symbol == "AAAUSDT"]
    assert len(set(known)) > 10
    assert None not in known
    trends = {outlook.trend for one in late if one.context for outlook in one.context.outlooks}
    assert trends == {"up", "down", "flat"}


def test_surroundings_know_nothing_of_later_candles(archive: Path) -> None:
    """What is known by a moment is the same in an archive that goes on."""
    until_ms = MONDAY_MS + 6_000 * MINUTE_MS

    whole, cut = found(archive), found(archive, until_ms)

    assert cut == [one for one in whole if one.close_ms <= until_ms]
    assert len(whole) > len(cut) > 50


def test_without_a_higher_timeframe_or_bitcoin_they_are_not_known(tmp_path: Path) -> None:
    """And before anything is settled there is nothing of the own timeframe either."""
    store(tmp_path, walk(300, 1))
    probe = strategies.load("scalp", [("min_factors", 2)])
    request = Request(tmp_path, "binance_spot", ["AAAUSDT"], ["1m"])

    (first, *_) = surrounded(probe, request, find(probe, request))

    assert first.context is not None
    assert first.context.btc_correlation is None
    assert [(one.timeframe, set(one.regimes.values()), one.trend) for one in first.context.outlooks] == [
        ("1m", {None}, None), ("5m", {None}, None)
    ]  # fmt: skip


def test_outlooks_of_bars_are_those_of_both_evaluators() -> None:
    """On every bar of a walk, with what is unknown."""
    candles, every = candles_of(walk(3_000, 4)), np.arange(3_000)

    assert outlooks_at(candles, every, "columns") == outlooks_at(candles, every, "interpreted")


def test_tables_of_real_candles_do_not_change_with_later_ones(market_data: Path) -> None:
    """Features and ended outcomes, weights too, of perpetuals on 15m, cut after two thirds."""
    momentum = strategies.load("momentum", [("pct", 0.02)])
    known = FeatureSet.of(compile_program(momentum, "15m"))

    def tables(until_ms: int | None) -> tuple[pl.DataFrame, pl.DataFrame]:
        root, symbols = market_data / "candles" / "usdm-15m-2025", ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
        request = Request(root, "binance_usdm", symbols, ["15m"], until_ms=until_ms)
        signals = list(find(momentum, request))
        fates = outcomes_of(momentum, request, signals, 20.0, one_in=None)
        features = features_dataset(known, surrounded(momentum, request, signals), {})
        return features.frame, outcomes_dataset(labels_of(fates), {}).frame

    features, outcomes = tables(None)
    until_ms = int(features["close_ms"][len(features) * 2 // 3])
    earlier, had = tables(until_ms)

    assert earlier.equals(features.filter(pl.col("close_ms") <= until_ms))
    assert earlier.height > 30
    ended = had.filter(pl.col("end_ms").is_not_null())
    assert ended.equals(outcomes.filter(pl.col("end_ms") <= until_ms))
    assert ended.height < had.height
