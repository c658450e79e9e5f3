"""How numbers, times, symbols and indicators are written for people."""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tapewatch.channels.labels import (
    base_asset,
    compact,
    indicator_label,
    moment,
    number,
    percent,
    plain,
    quote_asset,
    rounded,
)


@pytest.mark.parametrize(
    ("expression", "label"),
    [
        ("ema(close, fast)", "EMA(9)"),
        ("rsi(close, 6)", "RSI(6)"),
        ("vwap()", "VWAP"),
        ("atr(14)", "ATR(14)"),
        ("sma(volume, 20)", "SMA(volume, 20)"),
        ("sma(volume, spike)", "SMA(volume, 1.5)"),
        ("higher(ema(close, 50))", "EMA(50) on the higher timeframe"),
        ('on("1h", ema(close, 50))', "EMA(50) on 1h"),
        ("macd(close, 12, 26, fast).hist", "MACD(12, 26, 9).hist"),
        ("ema(close, fast)[2]", "EMA(9)[2]"),
        ("barssince(crossover(ema(close, fast), vwap()))", "BARSSINCE(CROSSOVER(EMA(9), VWAP))"),
        ("spike * sma(volume, 20)", "1.5 * sma(volume, 20)"),
        ("close", "close"),
        ("not an expression (", "not an expression ("),
        ("a\nb(", "a b("),
        ("(" * 500 + ")" * 500, "(" * 500 + ")" * 500),
    ],
)
def test_indicators_have_their_usual_names(expression: str, label: str) -> None:
    """An indicator is labelled as people call it, with its parameters' values; what is not understood stays."""
    assert indicator_label(expression, {"fast": 9.0, "spike": 1.5}) == label


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (67012.5, "67012.5"),
        (67000.0, "67000"),
        (1e-7, "0.0000001"),
        (0.00001234, "0.00001234"),
        (1.5e22, "15000000000000000000000"),
        (-0.25, "-0.25"),
        (0.1 + 0.2, "0.30000000000000004"),
        (0.0, "0"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
    ],
)
def test_prices_have_all_their_digits(value: float, text: str) -> None:
    """Prices are written in full, as short as they are exact, and never in scientific notation."""
    assert number(value) == text


def test_computed_values_are_rounded_and_percentages_signed() -> None:
    """Indicators have 8 significant digits, percentages two decimals and a sign."""
    assert [rounded(value) for value in (0.1 + 0.2, 1 / 3e6, 123456789.0)] == ["0.3", "0.00000033333333", "123456790"]
    assert [percent(value) for value in (0.125, -1.0, 0.0, math.nan)] == ["+0.12%", "-1.00%", "+0.00%", "n/a"]


@pytest.mark.parametrize(
    ("symbol", "base", "quote"),
    [
        ("BTCUSDT", "BTC", "USDT"),
        ("ETHBTC", "ETH", "BTC"),
        ("BTC/USDT", "BTC", "USDT"),
        ("BTC/USDT:USDT", "BTC", "USDT"),
        ("BTCFDUSD", "BTC", "FDUSD"),
        ("USDT", "USDT", ""),
        ("X", "X", ""),
    ],
)
def test_a_symbol_is_its_base_and_its_quote_asset(symbol: str, base: str, quote: str) -> None:
    """Known quote assets are cut off, and nothing else."""
    assert (base_asset(symbol), quote_asset(symbol)) == (base, quote)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12_345_678.0, "12.3M"),
        (999_950.0, "1M"),
        (950_000.0, "950k"),
        (1_000.0, "1k"),
        (999.4, "999"),
        (7.254, "7.25"),
        (6.83e9, "6.83B"),
        (2.5e12, "2.5T"),
        (0.0, "0"),
        (-1_500.0, "-1.5k"),
        (math.nan, "n/a"),
    ],
)
def test_amounts_have_three_digits_and_a_unit(value: float, text: str) -> None:
    """As people say them."""
    assert compact(value) == text


@pytest.mark.parametrize(
    ("ms", "zone", "text"),
    [
        (1_747_750_020_000, "Europe/Berlin", "2025-05-20 14:07 UTC (16:07 CEST)"),
        (1_737_382_020_000, "Europe/Berlin", "2025-01-20 14:07 UTC (15:07 CET)"),
        (1_743_296_340_000, "Europe/Berlin", "2025-03-30 00:59 UTC (01:59 CET)"),
        (1_743_296_400_000, "Europe/Berlin", "2025-03-30 01:00 UTC (03:00 CEST)"),
        (1_747_750_020_000, "Asia/Tokyo", "2025-05-20 14:07 UTC (23:07 JST)"),
        (1_747_760_820_000, "Asia/Tokyo", "2025-05-20 17:07 UTC (2025-05-21 02:07 JST)"),
        (1_737_382_020_000, "Europe/London", "2025-01-20 14:07 UTC"),
        (1_747_750_020_000, "UTC", "2025-05-20 14:07 UTC"),
    ],
)
def test_times_are_in_utc_and_the_zone_of_the_user(ms: int, zone: str, text: str) -> None:
    """With daylight saving as on that day, the date where it is another one, once where both are the same."""
    assert moment(ms, ZoneInfo(zone)) == text


def test_the_base_assets_of_the_real_exchange_are_found(market_data: Path) -> None:
    """On Binance's own list of symbols the base asset is the one the exchange names."""
    listing = gzip.decompress((market_data / "raw/http/binance_spot_exchangeInfo_2021-10-12.txt.gz").read_bytes())
    pattern = rb'"symbol":"([^"]+)","status":"[A-Z]+","baseAsset":"([^"]+)"'
    pairs = [(symbol.decode(), base.decode()) for symbol, base in re.findall(pattern, listing)]

    assert len(pairs) > 1_000
    assert [(symbol, base) for symbol, base in pairs if base_asset(symbol) != base] == []


def test_plain_text_is_one_printable_line() -> None:
    """Characters that control, format, split lines or are halves of others become spaces; letters stay."""
    assert plain(" a\r\n\tb\x00\x1b\x85\u2028\u202e\ud800c 币ü ") == "a   b      c 币ü"
