"""A synthetic market is the same for the same seed, sound, and has what real markets have."""

import time

import numpy as np
import pytest

from tapewatch.archive.candles import VALUES, Candles
from tapewatch.model import MINUTE_MS, fault_of
from tapewatch.simulator import SyntheticMarket, names
from tapewatch.simulator.decimals import text
from tapewatch.simulator.listings import KNOWN, listing

DAY = 1440


def log_moves(candles: Candles) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Each minute's log return."""
    return np.diff(np.log(candles.close))


def test_the_same_seed_gives_the_same_candles_whatever_else_is_listed() -> None:
    """Another seed, or another symbol, gives others."""
    alone = SyntheticMarket(5, ["SOLUSDT"], live_ms=DAY * MINUTE_MS).candles("SOLUSDT")
    among = SyntheticMarket(5, names(9), live_ms=DAY * MINUTE_MS)
    among.candles("BTCUSDT")
    for name in ("open_ms", *VALUES):
        assert np.array_equal(getattr(alone, name), getattr(among.candles("SOLUSDT"), name))
    other = SyntheticMarket(6, ["SOLUSDT"], live_ms=DAY * MINUTE_MS).candles("SOLUSDT")
    assert not np.array_equal(alone.close, other.close)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "PEPEUSDT", "DOTUSDT", "SYN001USDT", "币安人生USDT"])
def test_every_candle_is_sound_and_on_its_ticks(symbol: str) -> None:
    """Prices have the tick's decimals, quantities the step's, opens follow closes, takers took no more than all."""
    market = SyntheticMarket(3, [symbol], history_ms=2 * DAY * MINUTE_MS, live_ms=DAY * MINUTE_MS)
    candles = market.candles(symbol)
    spec = listing(symbol)
    assert [fault_of(bar) for bar in candles.bars()] == [None] * (3 * DAY)
    assert candles.open_ms[0] == market.first_ms
    assert candles.open_ms[-1] + MINUTE_MS == market.last_ms
    for name in ("open", "high", "low", "close"):
        assert max(len(text(value).partition(".")[2]) for value in getattr(candles, name).tolist()) <= spec.price_places
    assert max(len(text(value).partition(".")[2]) for value in candles.volume.tolist()) <= spec.quantity_places
    assert np.array_equal(candles.open[1:], candles.close[:-1])
    assert (candles.taker_buy <= candles.volume).all()
    assert ((candles.trades == 0) == (candles.volume == 0)).all()
    assert np.allclose(candles.quote_volume, candles.volume * (candles.high + candles.low) / 2, rtol=0.5)


def test_symbols_move_together() -> None:
    """Returns of liquid symbols correlate through the market."""
    market = SyntheticMarket(1, names(4))
    moves = np.array([log_moves(market.candles(symbol)) for symbol in market.symbols])
    correlations = np.corrcoef(moves)[np.triu_indices(4, 1)]
    assert correlations.min() > 0.25
    assert correlations.max() < 0.9


def test_volatility_clusters_and_volume_bursts() -> None:
    """A wild hour follows a wild hour; volume follows moves; some minutes have many times the usual volume."""
    candles = SyntheticMarket(2, ["BTCUSDT"]).candles("BTCUSDT")
    moves = np.abs(log_moves(candles))
    hourly = moves[: len(moves) // 60 * 60].reshape(-1, 60).mean(axis=1)
    assert np.corrcoef(hourly[1:], hourly[:-1])[0, 1] > 0.5
    assert np.corrcoef(moves, candles.volume[1:])[0, 1] > 0.3
    assert np.quantile(candles.volume, 0.999) > 6 * np.median(candles.volume)


def test_quiet_symbols_have_minutes_without_a_trade() -> None:
    """Such a bar is flat at the last close with no volume."""
    quiet = next(symbol for symbol, spec in KNOWN.items() if spec.activity < 1)
    candles = SyntheticMarket(2, [quiet], live_ms=DAY * MINUTE_MS).candles(quiet)
    silent = candles.volume == 0
    assert 0.4 < silent.mean() < 0.8
    assert (candles.high[silent] == candles.low[silent]).all()
    assert (candles.quote_volume[silent] == 0).all()


def test_fifty_symbols_have_names_and_more_can_be_had() -> None:
    """Familiar ones first, then numbered ones, none twice."""
    assert names(3) == ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    assert len(KNOWN) >= 50
    assert len(set(names(120))) == 120
    assert names(120)[-1].startswith("SYN")


def test_forty_five_days_of_five_symbols_take_well_under_a_second() -> None:
    """CPU time, so that other work on the machine does not matter."""
    started_s = time.process_time()
    market = SyntheticMarket(4, names(5))
    assert sum(len(market.candles(symbol)) for symbol in market.symbols) == 5 * 52 * DAY
    assert time.process_time() - started_s < 1.0
