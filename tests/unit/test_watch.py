"""What is looked at by itself: disks, memory, clocks, the event loop, and candles that stay away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from journal_samples import begun, minutes
from tapewatch.config.alerts import Operator
from tapewatch.live import housekeeping
from tapewatch.live.housekeeping import Bounds, Housekeeper
from tapewatch.live.operator import OperatorDesk
from tapewatch.live.watch import Clocks, Limits, Watch, free_bytes
from tapewatch.store import Ledger, Notice, Step
from tapewatch.telemetry.health import Health

T0 = 1_750_000_000_000
MB = 1_000_000


class Rig:
    """A watch whose clocks are turned by hand."""

    def __init__(self, ledger: Ledger, memory: int | None = 200 * MB) -> None:
        self.wall_ms, self.passed_ms, self.asleep_ms = T0, 50_000, 0
        self.exchange_ms: int | None = None
        self.notices: list[Notice] = []
        self.health = Health(T0, ["AUSDT", "BUSDT"])
        self.desk = OperatorDesk(Operator(channels=["out"], per_hour=1_000), self._take, lambda: self.wall_ms)
        limits = Limits({"ledger": Path("/data"), "log": Path("/logs")}, 500 * MB, memory, 2_000, 300_000)
        clocks = Clocks(lambda: self.wall_ms, lambda: self.passed_ms, lambda: self.passed_ms + self.asleep_ms)
        self.watch = Watch(
            self.desk, self.health, limits, clocks, lambda: self.exchange_ms, ledger, ThreadPoolExecutor(1)
        )

    def _take(self, step: Step) -> None:
        self.notices += step.notices

    def seconds(self, count: int, lag_s: float = 0.0) -> None:
        """So many pass."""
        for _ in range(count):
            self.wall_ms += 1_000
            self.passed_ms += 1_000
            if self.exchange_ms is not None:
                self.exchange_ms += 1_000
            self.watch.each_second(lag_s)

    def told(self) -> list[str]:
        """Subjects since the last call."""
        subjects = [notice.subject.removeprefix("[tapewatch] ") for notice in self.notices]
        self.notices = []
        return subjects


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A watch over a new ledger."""
    ledger = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    yield Rig(ledger)
    ledger.close()


def test_a_disk_that_fills_up_is_named_and_its_end_is_said(rig: Rig) -> None:
    """Each folder with what is left; over only when there is clearly more than the limit again."""
    rig.watch.look_at_disks([900 * MB, 900 * MB])
    assert rig.told() == []
    rig.watch.look_at_disks([900 * MB, 12 * MB])
    assert rig.health.disk_free == {"ledger": 900 * MB, "log": 12 * MB}
    assert "log (/logs) has 12 MB left" in rig.notices[0].text
    assert "ledger" not in rig.notices[0].text
    assert rig.told() == ["A disk is nearly full"]
    rig.watch.look_at_disks([900 * MB, 510 * MB])
    assert rig.told() == []
    rig.watch.look_at_disks([900 * MB, 600 * MB])
    assert rig.told() == ["Over: A disk is nearly full"]
    rig.wall_ms += 300_000
    rig.watch.look_at_disks([OSError(5, "Input/output error"), 600 * MB])
    assert "ledger (/data) cannot be looked at: Input/output error" in rig.notices[0].text


def test_free_space_is_that_of_the_folder_or_of_where_it_will_be(tmp_path: Path) -> None:
    """A folder that is not there yet is made on the disk of the one above it."""
    found = free_bytes([tmp_path, tmp_path / "not" / "yet"])
    assert all(isinstance(free, int) and free > 0 for free in found)


def test_memory_beyond_its_limit_is_a_trouble_where_there_is_one(rig: Rig, tmp_path: Path) -> None:
    """Over below nine tenths of it."""
    rig.watch.look_at_memory(199 * MB)
    rig.watch.look_at_memory(201 * MB)
    rig.watch.look_at_memory(190 * MB)
    assert rig.told() == ["tapewatch needs too much memory"]
    rig.watch.look_at_memory(170 * MB)
    assert rig.told() == ["Over: tapewatch needs too much memory"]
    ledger = Ledger.open(f"sqlite:///{tmp_path}/other.db")
    free = Rig(ledger, memory=None)
    free.watch.look_at_memory(10**12)
    assert free.told() == []
    ledger.close()


@pytest.mark.parametrize(("by_ms", "side"), [(3_600_000, "forward by 1 h 0 min"), (-90_000, "back by 1 min 30 s")])
def test_a_clock_that_is_set_is_said(rig: Rig, by_ms: int, side: str) -> None:
    """By how much and to which side; the second that passes beside it does not count."""
    rig.seconds(5)
    rig.wall_ms += by_ms
    rig.seconds(1)
    assert f"It was put {side}" in rig.notices[0].text
    rig.seconds(5)
    assert rig.told() == ["This machine's clock was changed"]


@pytest.mark.parametrize("by_ms", [300_000, -300_000])
@pytest.mark.parametrize("bar_since", [False, True])
def test_nothing_is_older_or_younger_because_the_clock_was_set(rig: Rig, by_ms: int, bar_since: bool) -> None:
    """Candles that come are no reason for an alert, those that stay away are, as soon as ever; the uptime is the same.

    One that comes in the moment before anybody has noticed is as young as it is.
    """
    health = rig.health
    health.connected()
    health.caught_up(rig.wall_ms)
    rig.seconds(40)
    health.bar("AUSDT", T0, rig.wall_ms)
    health.waiting_since_ms = rig.wall_ms
    rig.seconds(20)
    rig.wall_ms += by_ms
    if bar_since:
        health.bar("BUSDT", T0, rig.wall_ms + 500)
    rig.seconds(1)
    assert rig.told() == ["This machine's clock was changed"]
    assert health.stale(rig.wall_ms) == []
    assert health.live(rig.wall_ms).ok
    assert rig.wall_ms - health.started_ms == pytest.approx(61_000, abs=1_000)
    rig.seconds(39)
    assert "events have waited for the engine" not in " ".join(health.ready(rig.wall_ms).reasons)
    rig.seconds(2)
    assert "events have waited for the engine" in " ".join(health.ready(rig.wall_ms).reasons)
    rig.seconds(260)
    assert rig.told() == ["No candles come"]


def test_a_clock_that_is_slewed_is_not(rig: Rig) -> None:
    """A service that keeps time moves it by little."""
    for _ in range(20):
        rig.wall_ms += 400
        rig.seconds(1)
    assert rig.told() == []


def test_a_machine_that_slept_is_told_from_one_whose_clock_was_set(rig: Rig) -> None:
    """The time that passes here stands still meanwhile; what is reckoned of the exchange's clock is not believed."""
    rig.exchange_ms = rig.wall_ms
    rig.seconds(5)
    rig.wall_ms += 600_000
    rig.asleep_ms += 600_000
    rig.seconds(120)
    assert "For 10 min 0 s" in rig.notices[0].text
    assert rig.told() == ["This machine was asleep"]


def test_a_clock_that_is_off_the_exchanges_is_a_trouble(rig: Rig) -> None:
    """After half a minute, not for one slow answer; over when it is right again; nothing where none is known."""
    rig.seconds(120)
    rig.exchange_ms = rig.wall_ms - 5_000
    rig.seconds(20)
    rig.exchange_ms = rig.wall_ms
    rig.seconds(20)
    assert rig.told() == []
    rig.exchange_ms = rig.wall_ms + 5_000
    rig.seconds(30)
    assert "It is 5.0 s behind the exchange's" in rig.notices[0].text
    assert rig.health.clock_ahead_s == -5.0
    assert rig.told() == ["This machine's clock is wrong"]
    rig.exchange_ms = rig.wall_ms
    rig.seconds(1)
    assert rig.told() == ["Over: This machine's clock is wrong"]
    rig.exchange_ms = None
    rig.seconds(1)
    assert rig.health.clock_ahead_s is None


def test_an_event_loop_that_loses_time_is_a_trouble(rig: Rig) -> None:
    """A quarter of a minute at least, at once or in pieces; over when a minute was nearly clean."""
    rig.seconds(30, 0.2)
    assert rig.told() == []
    rig.seconds(1, 20.0)
    assert "It lost 26 s" in rig.notices[0].text
    assert rig.told() == ["tapewatch cannot keep up"]
    rig.seconds(70)
    assert rig.told() == ["Over: tapewatch cannot keep up"]


def test_candles_that_stay_away_are_a_trouble_while_the_exchange_is_reached(rig: Rig) -> None:
    """Of all symbols, for the configured time; without a connection it is another trouble."""
    rig.seconds(400)
    rig.health.caught_up(rig.wall_ms)
    rig.seconds(400)
    assert rig.told() == []
    rig.health.connected()
    rig.seconds(1)
    assert "no bar of any symbol has come for 6 min 41 s (connections: 1)." in rig.notices[0].text
    assert rig.told() == ["No candles come"]
    rig.health.bar("AUSDT", rig.wall_ms, rig.wall_ms)
    rig.seconds(1)
    assert rig.told() == ["Over: No candles come"]


def test_housekeeping_that_fails_is_a_trouble_until_it_works(rig: Rig) -> None:
    """However often it is tried."""
    for failed in ("no room", "no room", None, None):
        rig.watch.housekeeping(failed)
    assert rig.told() == [
        "Journal or archive cannot be kept in order",
        "Over: Journal or archive cannot be kept in order",
    ]


async def test_a_child_that_fails_is_told_by_the_housekeeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive's folder is a file: the child's words are handed on, and when it is a folder again, that."""
    monkeypatch.setattr(housekeeping, "AFTER_FAILURE_S", 0.05)
    monkeypatch.setattr(housekeeping, "EVERY_S", 0.05)
    begun(tmp_path / "j", [minutes(50, first) for first in (0, 50)], segment_bytes=1).close()
    archive = tmp_path / "archive"
    archive.write_text("")
    said: list[str | None] = []
    bounds = Bounds(tmp_path / "j", archive, "venue", True, 10**9, 10**9)
    work = asyncio.create_task(Housekeeper(bounds, said.append).run())
    async with asyncio.timeout(60):
        while not said:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.05)
        assert "could not be moved into the archive" in (said[0] or "")
        archive.unlink()
        while said[-1] is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    work.cancel()
    await asyncio.wait([work])
