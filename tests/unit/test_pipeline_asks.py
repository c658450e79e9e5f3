"""What the engine wants to know is asked for while the rest of what has come waits, not after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from typing import Any, cast

from tapewatch.live.pipeline import SLICE, Pipeline
from tapewatch.live.recorder import Recorder
from tapewatch.live.telling import Teller
from tapewatch.model import Boundary, Effect, Event, FetchContext


class Asking:
    """An engine that wants something at its first event, and counts them."""

    venue, asking = "binance_spot", ()

    def __init__(self) -> None:
        self.processed = 0

    def process(self, event: Event) -> list[Effect]:
        """What follows from an event."""
        self.processed += 1
        return [FetchContext("BTCUSDT", 60_000)] if self.processed == 1 else []


class Storing:
    """Takes everything, and keeps the effects of each step."""

    snapshot_due = False

    def __init__(self) -> None:
        self.stored: list[Sequence[Effect]] = []

    def admitted(self, events: Sequence[Event]) -> Sequence[Event]:
        """All of them."""
        return events

    def before(self, event: Event) -> None:
        """Nothing."""

    def store(self, step: Any, events: Sequence[Event], *, position: bool) -> None:
        """Keep what a step led to."""
        self.stored.append(step.effects)


async def test_a_question_does_not_wait_for_what_came_with_it() -> None:
    """Of many events that came together, the first asks: it has its answer under way long before the last is done."""
    engine, storing, asked = Asking(), Storing(), list[tuple[int, Sequence[FetchContext]]]()
    done = asyncio.Event()
    with ThreadPoolExecutor(1) as executor:
        pipeline = Pipeline(
            recorder=cast("Recorder", storing),
            executor=executor,
            teller=Teller("binance_spot", (), UTC),
            now_ms=lambda: 0,
            on_step=lambda _report: done.set(),
            on_trouble=lambda _error: None,
            on_waiting=lambda _since_ms: None,
            on_ask=lambda wanted: asked.append((engine.processed, list(wanted))),
        )
        pipeline.resume(cast("Any", engine), [])
        running = asyncio.create_task(pipeline.run())
        pipeline.take([Boundary(number) for number in range(5 * SLICE)])
        async with asyncio.timeout(10):
            await done.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert asked == [(SLICE, [FetchContext("BTCUSDT", 60_000)])]
    assert engine.processed == 5 * SLICE
    assert storing.stored == [[FetchContext("BTCUSDT", 60_000)]]
