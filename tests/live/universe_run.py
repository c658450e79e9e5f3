"""A feed and the service that chooses for it, against an exchange that lists, delists, halts and errs as it is told."""

from __future__ import annotations

import asyncio
import io
import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from feed_exchange import Exchange, Notes, Sink, quick

from tapewatch.feeds import BinanceFeed, Instrument, SeriesPlan
from tapewatch.live import universe
from tapewatch.live.universe import UniverseService
from tapewatch.model import MINUTE_MS, Event, Universe
from tapewatch.telemetry import LogSetup
from tapewatch.universe import Rules

RICH = 1e9


@dataclass
class Board:
    """What the exchange lists: base asset -> status and 24 h volume, all priced in USDT."""

    status: dict[str, str] = field(default_factory=dict)
    volume: dict[str, float] = field(default_factory=dict)
    #: Sent in place of the list, as it is.
    garbage: bytes | None = None
    asked: int = 0

    def list(self, *bases: str, status: str = "TRADING", volume: float = RICH) -> None:
        """Add or change them."""
        self.status.update(dict.fromkeys(bases, status))
        self.volume.update(dict.fromkeys(bases, volume))

    async def answer(self, request: web.Request) -> web.Response | None:
        """In place of the exchange's own."""
        what = request.path.removeprefix("/api/v3/")
        if what == "exchangeInfo":
            self.asked += 1
            if self.garbage is not None:
                return web.Response(body=self.garbage)
            rows = [
                {"symbol": f"{base}USDT", "status": status, "baseAsset": base, "quoteAsset": "USDT"}
                for base, status in self.status.items()
            ]
            return web.json_response({"symbols": rows})
        if what == "ticker/24hr":
            known = {f"{base}USDT": volume for base, volume in self.volume.items() if not math.isnan(volume)}
            return web.json_response([{"symbol": s, "quoteVolume": f"{volume:.8f}"} for s, volume in known.items()])
        return None


class Run:
    """A feed, the service that chooses for it, and what both said."""

    def __init__(self, board: Board, exchange: Exchange, log: io.StringIO) -> None:
        self.board, self.exchange, self._log = board, exchange, log
        self.events: list[Event] = []
        self.planned: list[list[str]] = []
        self.plan_fails: Exception | None = None
        self.sink, self.notes = Sink(), Notes()

    def start(self, rules: Rules, held: Sequence[str] = (), **options: Any) -> None:
        """Both, as the live shell starts them."""
        self.service = UniverseService(
            rules, take=self.take, begin=self.plan, plan=self.plan, **{"refresh_ms": 100, **options}
        )
        self.feed = BinanceFeed(quick(self.exchange.port), self.take, self.notes, on_tickers=self.service.on_tickers)
        self.tasks = [asyncio.create_task(self.feed.run()), asyncio.create_task(self.service.run(self.feed, held))]

    def take(self, events: Sequence[Event]) -> None:
        """As the pipeline does."""
        self.events += events
        self.sink(list(events))

    async def plan(self, instruments: Sequence[Instrument], now_ms: int) -> list[SeriesPlan]:
        """Two bars of history."""
        if self.plan_fails is not None:
            raise self.plan_fails
        self.planned.append([one.symbol for one in instruments])
        first_ms = now_ms // MINUTE_MS * MINUTE_MS - 2 * MINUTE_MS
        return [SeriesPlan(one.symbol, first_ms, quote_volume_24h=one.quote_volume_24h) for one in instruments]

    async def stop(self) -> None:
        """Both."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @property
    def changes(self) -> list[Universe]:
        """What the engine was told."""
        return [event for event in self.events if isinstance(event, Universe)]

    @property
    def watched(self) -> int:
        """How many the feed brings."""
        return self.feed.progress[1]

    def said(self, event: str) -> list[dict[str, Any]]:
        """What the log has of one kind."""
        lines = [json.loads(line) for line in self._log.getvalue().splitlines()]
        return [line["data"] for line in lines if line["event"] == event]


@asynccontextmanager
async def running(rules: Rules, board: Board, **options: Any) -> AsyncIterator[Run]:
    """A run against an exchange with this board; what waits for seconds waits for hundredths."""
    exchange, log = Exchange([]), io.StringIO()
    exchange.before_rest = board.answer
    await exchange.start()
    logs = LogSetup(form="json", stream=log)
    run = Run(board, exchange, log)
    with pytest.MonkeyPatch.context() as pace:
        pace.setattr(universe, "TICK_S", 0.01)
        pace.setattr(universe, "REFRESH_S", 0.03)
        pace.setattr(universe, "CAPS_WAIT_S", (0.03,))
        try:
            run.start(rules, **options)
            yield run
        finally:
            await run.stop()
            await exchange.stop()
            logs.close()


def board(*bases: str) -> Board:
    """An exchange that trades these."""
    made = Board()
    made.list(*bases)
    return made
