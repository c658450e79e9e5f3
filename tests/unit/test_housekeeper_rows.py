"""The housekeeper of a run removes rows by itself, and stops when it is told to."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from test_store_retention import DAY_MS, NOW_MS, alert, deliver, left

from tapewatch.config import load
from tapewatch.errors import StoreError
from tapewatch.live import housekeeping
from tapewatch.live.housekeeping import Bounds, Housekeeper, housekeeper_of
from tapewatch.store import Ledger


async def test_a_run_prunes_once_a_day_and_again_where_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else the housekeeper has to do."""
    monkeypatch.setattr(housekeeping, "EVERY_S", 0.01)
    said: list[str | None] = []
    calls = 0

    def removes(_stopping: object) -> dict[str, int]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise StoreError("it is locked")
        return {"alerts": 3}

    bounds = Bounds(tmp_path, tmp_path, "venue", False, 10**9, 10**9)
    work = asyncio.create_task(Housekeeper(bounds, said.append, removes).run())
    async with asyncio.timeout(60):
        while len(said) < 10:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.01)
        assert calls == 2
        monkeypatch.setattr(housekeeping, "LEDGER_EVERY_S", 0.0)
        while calls < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    work.cancel()
    await asyncio.wait([work])


async def test_a_stop_waits_for_the_rows_at_hand(tmp_path: Path) -> None:
    """And the work is told that it is to end: the ledger is closed after that."""
    began, ended = asyncio.Event(), False
    loop = asyncio.get_running_loop()

    def removes(stopping: object) -> dict[str, int]:
        nonlocal ended
        assert callable(stopping)
        loop.call_soon_threadsafe(began.set)
        while not stopping():
            pass
        ended = True
        return {}

    bounds = Bounds(tmp_path, tmp_path, "venue", False, 10**9, 10**9)
    work = asyncio.create_task(Housekeeper(bounds, lambda _text: None, removes).run())
    async with asyncio.timeout(60):
        await began.wait()
        work.cancel()
        await asyncio.wait([work])
    assert ended


async def test_the_housekeeper_of_a_run_keeps_what_its_configuration_says(tmp_path: Path) -> None:
    """In its ledger, by the wall clock."""
    config = tmp_path / "tapewatch.yaml"
    config.write_text(
        "universe: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\n"
        "ledger: {url: 'sqlite:///tapewatch.db', keep: {alerts: 3d}}\n"
    )
    ledger = Ledger.open(f"sqlite:///{tmp_path}/tapewatch.db")
    ages = {age: alert(ledger, f"A{age}USDT", NOW_MS - age * DAY_MS) for age in (0, 2, 4)}
    for one in ages.values():
        deliver(ledger, one)
    (tmp_path / "tapewatch.db.journal").mkdir()
    said: list[str | None] = []
    work = asyncio.create_task(housekeeper_of(load([config], {}), ledger, lambda: NOW_MS, said.append).run())
    async with asyncio.timeout(60):
        while not said:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.01)
    work.cancel()
    await asyncio.wait([work])
    assert left(ledger) == {ages[0], ages[2]}
    ledger.close()
