"""The watch list that pages are shown, made of what a run has on its event loop and what its ledger remembers."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

from tapewatch.config import load
from tapewatch.engine.tape import Tape
from tapewatch.model import DAY_MS, MINUTE_MS, Bar
from tapewatch.store import Ledger
from tapewatch.store.moments import Snapshot
from tapewatch.telemetry.health import Health
from tapewatch.web.site import Site

NOW_MS = 20_000 * DAY_MS
VENUE = "binance_spot"


async def test_the_day_before_a_restart_is_known_by_the_ledgers_snapshots(tmp_path: Path) -> None:
    """Of symbols that are watched; of one without a bar as yet there is no price."""
    config = tmp_path / "tapewatch.yaml"
    config.write_text(
        "universe: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\nledger: {url: 'sqlite:///tapewatch.db'}\n"
    )
    loaded = load([config], {})
    with closing(Ledger.open(loaded.ledger.address)) as ledger:
        for at_ms, price in ((NOW_MS - 2 * DAY_MS, 1.0), (NOW_MS - DAY_MS, 100.0), (NOW_MS - DAY_MS // 2, 90.0)):
            ledger.market.keep(VENUE, at_ms, [Snapshot(name, price) for name in ("BTCUSDT", "ETHUSDT", "GONEUSDT")])
    tape = Tape()
    tape.take(Bar("BTCUSDT", MINUTE_MS, NOW_MS - MINUTE_MS, 125.0, 125.0, 125.0, 125.0, 1.0))
    scene = SimpleNamespace(
        role="all", config=loaded, tapes={"BTCUSDT": tape}, market_ms=lambda: NOW_MS, outlook=lambda *_: None
    )
    site = Site(scene, Health(NOW_MS, ["BTCUSDT", "ETHUSDT"], []), lambda: NOW_MS)
    try:
        for _ in range(2):
            rows = {row["symbol"]: row for row in await site.rows()}
            assert (rows["BTCUSDT"]["price"], rows["BTCUSDT"]["change_pct"]) == (125.0, 25.0)
            assert (rows["ETHUSDT"]["price"], rows["ETHUSDT"]["change_pct"]) == (None, None)
        assert scene.tapes.keys() == {"BTCUSDT", "ETHUSDT"}
    finally:
        site.reads.close()
