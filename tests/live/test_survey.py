"""What a run tells its ledger of the market beside signals."""

from __future__ import annotations

from pathlib import Path

from run_harness import (
    MINUTE_MS,
    UNASKED,
    archive,
    command,
    configure,
    easy,
    eventually,
    query,
    running,
    simulated,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")


def test_a_run_stores_who_is_watched_and_every_so_often_what_each_market_is_like(tmp_path: Path) -> None:
    """With the exchange's spread and volume, regimes, volatility and correlation; the next run watches one symbol."""
    root, start_ms = archive(tmp_path, SYMBOLS, hours=2)
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "120")
    ledger = {"url": "sqlite:///tapewatch.db", "snapshots": "1m"}
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), alerts=UNASKED, ledger=ledger)
        with running(tmp_path) as run:
            eventually(lambda: len(moments(tmp_path)) > 8 or run.code is not None)
            assert run.stop() == 0, run.log
        watched = query(tmp_path, "SELECT symbol, base_asset, tick, watched, eligible FROM instruments ORDER BY symbol")
        assert [row[:2] for row in watched] == [("BTCUSDT", "BTC"), ("ETHUSDT", "ETH")]
        assert all(float(tick) > 0 and on and eligible for _, _, tick, on, eligible in watched)

        configure(
            tmp_path, exchange, SYMBOLS[:1], strategies=easy(), alerts=UNASKED, ledger=ledger | {"snapshots": "0m"}
        )
        before = len(moments(tmp_path))
        with running(tmp_path) as run:
            eventually(lambda: gone(tmp_path) == ["ETHUSDT"] or run.code is not None)
            assert run.stop() == 0, run.log
    found = moments(tmp_path)
    assert len(found) == before
    assert {at_ms % MINUTE_MS for _, at_ms, *_ in found} == {0}
    by_symbol = {symbol: [row for row in found if row[0] == symbol] for symbol in SYMBOLS}
    for symbol, rows in by_symbol.items():
        assert len(rows) > 2
        for _, _, price, volume, spread, timeframe, regime, trend, volatility, correlation in rows:
            assert price > 0
            assert volume > 0
            assert 0 < spread < 100
            assert (timeframe, trend in {"up", "down", "flat"}, regime is not None) == ("5m", True, True)
            assert 0 < volatility < 10
            assert (correlation is None) == (symbol == "BTCUSDT")
    done = command("export", "snapshots", "-c", str(tmp_path / "tapewatch.yaml"), "--symbols", "ETHUSDT")
    assert done.stdout.splitlines()[0].startswith("time,venue,symbol,signal_id,price,")
    assert len(done.stdout.splitlines()) > len(by_symbol["ETHUSDT"])


def moments(folder: Path) -> list[tuple[object, ...]]:
    """Snapshots of the clock."""
    columns = "symbol, at_ms, price, quote_volume_24h, spread_bps, timeframe, regime, trend, volatility_pct"
    return query(
        folder,
        f"SELECT {columns}, btc_correlation FROM market_snapshots WHERE signal_id = '' ORDER BY at_ms, symbol",
    )


def gone(folder: Path) -> list[str]:
    """Who is not watched any more."""
    return [symbol for (symbol,) in query(folder, "SELECT symbol FROM instruments WHERE NOT watched")]
