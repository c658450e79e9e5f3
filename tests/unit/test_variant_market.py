"""More names than there are series: each differs, each is the same every time, each can be exported."""

from pathlib import Path

import numpy as np
import pytest

from tapewatch.archive import reader
from tapewatch.archive.candles import VALUES
from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.simulator import ArchiveMarket, Market, SyntheticMarket, VariantMarket, export

DAYS = 3


def market(symbols: tuple[str, ...] = ("BTCUSDT", "ETHBTC", "币安人生USDT")) -> SyntheticMarket:
    """Three days of a few symbols."""
    return SyntheticMarket(1, symbols, history_ms=2 * DAY_MS, live_ms=DAY_MS)


def test_the_markets_own_symbols_come_first_then_rounds_of_variants() -> None:
    """The round stands before the quote asset."""
    assert VariantMarket(market(), 2).symbols == ("BTCUSDT", "ETHBTC")
    assert VariantMarket(market(), 8).symbols == (
        "BTCUSDT", "ETHBTC", "币安人生USDT", "BTC01USDT", "ETH01BTC", "币安人生01USDT", "BTC02USDT", "ETH02BTC",
    )  # fmt: skip


def test_a_variant_is_moved_by_days_and_to_other_prices() -> None:
    """Round 1 is two days later and an eighth dearer; the last days come first; nothing is lost."""
    base = market().candles("BTCUSDT")
    variant = VariantMarket(market(), 4).candles("BTC01USDT")
    assert np.array_equal(variant.open_ms, base.open_ms)
    assert np.array_equal(variant.volume, np.roll(base.volume, 2 * 1440))
    assert np.allclose(variant.close, np.roll(base.close, 2 * 1440) * 1.125, rtol=1e-12)
    assert (variant.symbol, variant.interval_ms) == ("BTC01USDT", MINUTE_MS)
    inside = (variant.low <= variant.open) & (variant.close <= variant.high) & (variant.low <= variant.close)
    assert inside.all()


def test_names_differ_and_come_out_the_same_each_time() -> None:
    """Whatever else is asked for before."""
    first, again = VariantMarket(market(), 9), VariantMarket(market(), 9)
    closes = {symbol: first.candles(symbol).close.tobytes() for symbol in first.symbols}
    assert len(set(closes.values())) == 9
    for symbol in reversed(again.symbols):
        assert again.candles(symbol).close.tobytes() == closes[symbol]


@pytest.mark.parametrize("wrap", [lambda plain: plain, lambda plain: VariantMarket(plain, 5)])
def test_an_export_is_an_archive_with_the_same_bits(tmp_path: Path, wrap: "type[Market]") -> None:
    """Folders of symbols in any script are percent-encoded."""
    made = wrap(market())
    count = export(made, tmp_path)
    served = ArchiveMarket(tmp_path)
    assert set(served.symbols) == set(made.symbols)
    assert (tmp_path / "binance_spot/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT/1m").is_dir()
    for symbol in made.symbols:
        wanted, stored = made.candles(symbol), served.candles(symbol)
        assert np.array_equal(wanted.open_ms, stored.open_ms)
        for name in VALUES:
            assert getattr(wanted, name).tobytes() == getattr(stored, name).tobytes()
    assert count == len(made.symbols) * DAYS * 1440


def test_real_series_become_three_hundred_names(market_data: Path) -> None:
    """Two outages of the exchange are in each, at times of its own; every candle is sound and survives an archive."""
    source = ArchiveMarket(market_data / "candles/scan-1m-2021-04")
    made = VariantMarket(source, 300)
    assert len(made.symbols) == len(set(made.symbols)) == 300
    for symbol in made.symbols[::29]:
        candles = made.candles(symbol)
        assert 21_000 < len(candles) <= 21_600
        assert (np.diff(candles.open_ms) > 0).all()
        assert (np.diff(candles.open_ms) > MINUTE_MS).sum() >= 1
        assert reader._sound(candles.open_ms, {name: getattr(candles, name) for name in VALUES}, MINUTE_MS).all()
