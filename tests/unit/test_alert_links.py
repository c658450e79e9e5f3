"""The link to a chart: what it may be, and where it leads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from delivery_samples import CLOSE_MS, signal
from tapewatch.channels.links import chart_url
from tapewatch.config import load
from tapewatch.config.values import CHART_FIELDS
from tapewatch.errors import ConfigError


def configured(tmp_path: Path, value: str) -> str:
    """`alerts.chart_url` as a configuration says it."""
    path = tmp_path / "t.yaml"
    path.write_text(
        f"universe: {{include: [BTCUSDT]}}\nstrategies: {{scalp: {{}}}}\nalerts:\n  chart_url: {value}\n",
        encoding="utf-8",
    )
    return load([path], {}).alerts.chart_url


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({}, "https://www.tradingview.com/chart/?symbol=BINANCE:BTCUSDT&interval=1"),
        ({"timeframe": "4h"}, "https://www.tradingview.com/chart/?symbol=BINANCE:BTCUSDT&interval=240"),
        ({"venue": "binance_usdm"}, "https://www.tradingview.com/chart/?symbol=BINANCE:BTCUSDT.P&interval=1"),
        ({"venue": "kraken"}, None),
    ],
)
def test_without_a_word_the_link_leads_to_the_exchanges_chart(changes: dict[str, Any], address: str | None) -> None:
    """On the timeframe of the signal, where a site is known to have it; nowhere else."""
    assert chart_url("auto", signal(**changes)) == address
    assert chart_url("off", signal(**changes)) is None


def test_every_field_can_be_used(tmp_path: Path) -> None:
    """Each is replaced by its value."""
    template = "https://example.com/" + "/".join(f"{{{name}}}" for name in CHART_FIELDS)
    found = chart_url(configured(tmp_path, f"'{template}'"), signal(timeframe="1h"))

    assert found == f"https://example.com/binance_spot/BTCUSDT/BTC/USDT/1h/60/{CLOSE_MS}"


def test_no_name_changes_where_it_leads() -> None:
    """Whatever a symbol is called, it is one part of the address; one that is too long is none."""
    hostile = signal("x/../?a=b&c#\"'<>()[]\r\n@evil", strategy="s")
    found = chart_url("https://example.com/{symbol}", hostile)

    assert found is not None
    assert found.startswith("https://example.com/x%2F..%2F%3Fa%3Db%26c%23%22%27%3C%3E%28%29%5B%5D%0D%0A")
    assert "@" not in found
    assert chart_url("https://example.com/{symbol}", signal("X" * 5_000)) is None


@pytest.mark.parametrize("value", ["off", "false", "'off'"])
def test_it_can_be_left_out(tmp_path: Path, value: str) -> None:
    """By the word, or what YAML makes of it."""
    assert configured(tmp_path, value) == "off"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("http://example.com/{symbol}", "must be auto, off or an address"),
        ("javascript:alert(1)", "must be auto, off or an address"),
        ("'https://{symbol}.example.com/'", "must be auto, off or an address"),
        ("'https://you:secret@example.com/'", "must be auto, off or an address"),
        ("'https://example.com/{symbol'", "must be auto, off or an address"),
        ("'https://example.com/a b'", "must be auto, off or an address"),
        ("'https://example.com/{pair}'", "{pair} is no field; fields are {venue}, {symbol}"),
        ("on", "must be auto, off or an address"),
    ],
)
def test_what_is_no_address_is_refused(tmp_path: Path, value: str, said: str) -> None:
    """With its place and what it can be."""
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, value)
    [problem] = caught.value.problems
    assert "t.yaml:4: alerts.chart_url: " in problem
    assert said in problem
