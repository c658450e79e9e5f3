"""Troubles that the feed reports: when they begin and end for the operator."""

from __future__ import annotations

import asyncio

from tapewatch.config.alerts import Operator
from tapewatch.live.operator import OperatorDesk
from tapewatch.live.reporter import Reporter
from tapewatch.model import Bar
from tapewatch.store import Notice, Step
from tapewatch.telemetry.health import HOUR_MS, Health
from tapewatch.telemetry.metrics import Metrics

T0 = 1_750_000_000_000


class Rig:
    """A reporter, and what the operator was told."""

    def __init__(self) -> None:
        self.now_ms = T0
        self.notices: list[Notice] = []
        desk = OperatorDesk(Operator(channels=["out"]), self._take, lambda: self.now_ms)
        self.health = Health(T0, [])
        self.reporter = Reporter(Metrics(), self.health, desk, 10, lambda: self.now_ms)

    def _take(self, step: Step) -> None:
        self.notices += step.notices

    def told(self) -> list[str]:
        """Subjects since the last call."""
        subjects = [notice.subject.removeprefix("[tapewatch] ") for notice in self.notices]
        self.notices = []
        return subjects

    async def a_second(self) -> None:
        """The reporter looks after itself once a second."""
        running = asyncio.create_task(self.reporter.run(60.0))
        await asyncio.sleep(1.1)
        running.cancel()
        await asyncio.wait([running])


async def test_bad_data_is_a_trouble_until_an_hour_was_clean() -> None:
    """Beyond ten an hour, frames and candles together; told once."""
    rig = Rig()
    for number in range(5):
        rig.reporter.refused("BTCUSDT", number, "high below low")
        rig.reporter.malformed("no JSON")
    assert rig.told() == []
    rig.reporter.malformed("no JSON")
    rig.reporter.malformed("no JSON")
    assert "11 candles or frames refused in an hour" in rig.notices[0].text
    assert rig.told() == ["Bad market data"]
    await rig.a_second()
    assert rig.told() == []
    rig.now_ms += HOUR_MS + 60_000
    await rig.a_second()
    assert rig.told() == ["Over: Bad market data"]


async def test_streams_and_rest_that_are_lost_together_are_one_trouble() -> None:
    """Over when both work again; one of an earlier run is over when all windows are complete."""
    rig = Rig()
    rig.reporter.connection_lost(5, "no answer", "REST")
    rig.reporter.connection_lost(5, "no answer")
    assert rig.told() == ["Connection to the exchange lost"]
    rig.reporter.connection_found("REST")
    rig.reporter.caught_up()
    assert rig.told() == []
    rig.reporter.connection_found("stream")
    assert rig.told() == ["Over: Connection to the exchange lost"]


async def test_polling_is_a_trouble_until_streams_are_back() -> None:
    """Complete windows do not end it while it lasts."""
    rig = Rig()
    rig.reporter.emergency_began()
    rig.reporter.caught_up()
    assert rig.told() == ["Streams cannot be had: candles come by polling"]
    rig.reporter.emergency_ended()
    assert rig.told() == ["Over: Streams cannot be had: candles come by polling"]


async def test_a_run_after_one_that_was_killed_says_what_it_caught_up() -> None:
    """Candles that came over REST until all windows were complete; live ones are none of them."""
    rig = Rig()
    rig.reporter.goes_on_after(185_000)
    for number, source in enumerate(("rest", "rest", "ws", "rest")):
        bar = Bar("BTCUSDT", 60_000, number * 60_000, 1.0, 1.0, 1.0, 1.0, 1.0)
        rig.reporter.released(bar, source, 100)  # type: ignore[arg-type]
    assert rig.told() == []
    rig.reporter.caught_up()
    assert (
        "down for 3 min 5 s. Candles that were missed, have come since and were decided on: 3." in rig.notices[0].text
    )
    assert rig.told() == ["tapewatch goes on"]
    rig.reporter.caught_up()
    assert rig.told() == []
