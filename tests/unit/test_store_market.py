"""What a ledger holds of the market: candles of candidates, snapshots, and who is watched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from delivery_samples import CLOSE_MS, VENUE, signal
from ledger_rows import rows_of
from tapewatch.model import NAN, Bar, Judged, Listing, Outlook, Signal, Surroundings
from tapewatch.store import Ledger, market
from tapewatch.store.moments import Instrument, Snapshot

QUARTER_MS = 900_000
REGIMES = {"trending": True, "ranging": False, "high_volatility": True, "low_volatility": False}


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(ledger_url)
    yield opened
    opened.close()


def judged(one: Signal) -> Judged:
    """Blocked, with its candle, of which nobody counted the trades."""
    bar = Bar(one.symbol, 60_000, one.open_ms, 1.0, 3.0, 0.5, one.entry, 7.0, quote_volume=14.0)
    return Judged(one, "blocked", False, CLOSE_MS + 5, None, bar)


def test_a_candle_is_there_once_with_what_each_strategy_computed_on_it(ledger: Ledger) -> None:
    """However often it is stored."""
    found = [
        judged(signal(strategy=name, indicators={"ema(close, 9)": value, "up": None}))
        for name, value in (("scalp", 1.5), ("trend", 2.5))
    ]
    for _ in range(2):
        ledger.market.found(found)

    assert list(ledger.market.candles()) == [
        {
            "venue": VENUE, "symbol": "BTCUSDT", "timeframe": "1m", "open_ms": CLOSE_MS - 60_000, "open": 1.0,
            "high": 3.0, "low": 0.5, "close": 67012.5, "volume": 7.0, "quote_volume": 14.0, "trades": None,
            "taker_buy": None,
            "indicators": {"scalp": {"ema(close, 9)": 1.5, "up": None}, "trend": {"ema(close, 9)": 2.5, "up": None}},
        }
    ]  # fmt: skip
    assert len(rows_of(ledger, market.market_snapshots)) == 2
    assert json.loads(rows_of(ledger, market.market_data)[0]["indicators"]).keys() == {"scalp", "trend"}


def test_a_signal_has_a_snapshot_of_what_was_known_around_it(ledger: Ledger) -> None:
    """On its own timeframe; what was not asked for or did not come is NULL."""
    outlooks = (Outlook("1m", dict(REGIMES), "up"), Outlook("5m", dict.fromkeys(REGIMES), "flat"))
    around = Surroundings(spread_bps=1.5, hourly_volume_quote=100.0, outlooks=outlooks, btc_correlation=0.75)
    known, unknown = signal("ETHUSDT", entry=200.0, atr=4.0, context=around), signal("XRPUSDT", atr=NAN)
    ledger.market.found([judged(known), judged(unknown)])

    first, second = ledger.market.snapshots()
    assert first == {
        "at_ms": CLOSE_MS, "venue": VENUE, "symbol": "ETHUSDT", "signal_id": known.id, "price": 200.0,
        "quote_volume_24h": 2_400.0, "spread_bps": 1.5, "timeframe": "1m", "regime": "trending+high_volatility",
        "trend": "up", "volatility_pct": 2.0, "btc_correlation": 0.75,
    }  # fmt: skip
    nothing = dict.fromkeys(("quote_volume_24h", "spread_bps", "regime", "trend", "volatility_pct", "btc_correlation"))
    assert second == first | nothing | {"symbol": "XRPUSDT", "signal_id": unknown.id, "price": 67012.5}


def test_snapshots_of_the_clock_are_there_once(ledger: Ledger) -> None:
    """By time; of a regime that is not known whether it holds nothing is said."""
    full = Snapshot("AUSDT", 5.0, 24.0, 2.0, Outlook("15m", dict(REGIMES), "down"), 0.5, -0.25)
    unsure = Snapshot("BUSDT", outlook=Outlook("15m", REGIMES | {"ranging": None}))
    for at_ms in (2 * QUARTER_MS, QUARTER_MS, QUARTER_MS):
        ledger.market.keep(VENUE, at_ms, [full, unsure])
    ledger.market.keep(VENUE, 0, [])

    found = list(ledger.market.snapshots(symbols=["AUSDT"]))
    assert [one["at_ms"] for one in found] == [QUARTER_MS, 2 * QUARTER_MS]
    assert found[0] == {
        "at_ms": QUARTER_MS, "venue": VENUE, "symbol": "AUSDT", "signal_id": "", "price": 5.0,
        "quote_volume_24h": 24.0, "spread_bps": 2.0, "timeframe": "15m", "regime": "trending+high_volatility",
        "trend": "down", "volatility_pct": 0.5, "btc_correlation": -0.25,
    }  # fmt: skip
    later = [("AUSDT", 2 * QUARTER_MS, 5.0)]  # whose price is known
    assert ledger.market.prices(VENUE, QUARTER_MS + 1) == later
    [second] = ledger.market.snapshots(QUARTER_MS, 2 * QUARTER_MS, ["BUSDT"])
    assert [second[name] for name in ("price", "timeframe", "regime", "trend")] == [None, "15m", None, None]


def test_instruments_say_who_is_watched_and_when_that_changed(ledger: Ledger) -> None:
    """What the exchange does not tell any more stays known; the first time stays; a volume alone is no change."""
    pieces = Listing("AUSDT", Decimal("0.010"), Decimal("1E-8"), Decimal(5))
    watched = Instrument("AUSDT", "A", "USDT", "TRADING", quote_volume_24h=5.0, listing=pieces)
    other = Instrument("BUSDT", "B", "USDT", "TRADING", eligible=False, reason="too little", quote_volume_24h=1.0)
    ledger.market.watch(VENUE, [watched, other], 1_000, only=True)
    assert told(ledger, "AUSDT") == {
        "base_asset": "A", "quote_asset": "USDT", "status": "TRADING", "tick": "0.01", "step": "0.00000001",
        "least_notional": "5", "watched": True, "eligible": True, "reason": None, "quote_volume_24h": 5.0,
        "first_seen_ms": 1_000, "changed_ms": 1_000,
    }  # fmt: skip

    louder = Instrument("AUSDT", "A", "USDT", "TRADING", quote_volume_24h=9.0, listing=pieces)
    ledger.market.watch(VENUE, [louder], 2_000)
    assert [told(ledger, "AUSDT")[name] for name in ("quote_volume_24h", "changed_ms")] == [9.0, 1_000]
    ledger.market.watch(VENUE, [Instrument("AUSDT", watched=False, eligible=False, reason="gone")], 3_000)
    gone = told(ledger, "AUSDT")
    assert [gone[name] for name in ("base_asset", "tick", "status", "watched")] == ["A", "0.01", None, False]
    assert [gone[name] for name in ("reason", "first_seen_ms", "changed_ms")] == ["gone", 1_000, 3_000]

    ledger.market.watch(VENUE, [watched], 4_000, only=True)  # a run that was told to watch nobody else
    assert [told(ledger, "BUSDT")[name] for name in ("watched", "changed_ms")] == [False, 4_000]
    assert [told(ledger, "AUSDT")[name] for name in ("watched", "first_seen_ms", "changed_ms")] == [True, 1_000, 4_000]


def told(ledger: Ledger, symbol: str) -> dict[str, Any]:
    """What is known of an instrument."""
    [row] = [row for row in ledger.market.instruments(VENUE) if row["symbol"] == symbol]
    return {name: value for name, value in row.items() if name not in ("venue", "symbol")}
