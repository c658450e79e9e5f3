"""A small market of known candles, and a client that speaks to a simulator of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np

from tapewatch.archive.candles import Candles
from tapewatch.model import MINUTE_MS
from tapewatch.simulator import Simulator

#: 2024-01-02 12:00 UTC.
START_MS = 1_704_196_800_000
FAST = 1e6


class TableMarket:
    """Candles of 1m from 25 hours before the start to `minutes` after it.

    Args:
        holes: (symbol, open_ms) that do not exist.
        quiet: (symbol, open_ms) without a trade.
        sparse: no quote volume, trades nor taker volume.
    """

    venue = "binance_spot"

    def __init__(
        self,
        symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT"),
        minutes: int = 10,
        *,
        holes: set[tuple[str, int]] | None = None,
        quiet: set[tuple[str, int]] | None = None,
        sparse: bool = False,
    ) -> None:
        self.symbols = symbols
        self.first_ms, self.last_ms = START_MS - 25 * 60 * MINUTE_MS, START_MS + minutes * MINUTE_MS
        self._holes, self._quiet, self._sparse = holes or set(), quiet or set(), sparse

    def candles(self, symbol: str) -> Candles:
        """The same candles each time."""
        rng = np.random.default_rng([7, self.symbols.index(symbol)])
        open_ms = np.arange(self.first_ms, self.last_ms, MINUTE_MS)
        size = len(open_ms)
        close = np.round(100 + np.cumsum(rng.normal(0, 0.05, size)), 2)
        opened = np.r_[close[0], close[:-1]]
        silent = np.array([(symbol, at) in self._quiet for at in open_ms.tolist()])
        close, volume = np.where(silent, opened, close), np.where(silent, 0.0, np.round(rng.uniform(1, 9, size), 5))
        reach = np.where(silent, 0.0, np.round(rng.uniform(0.01, 0.2, (2, size)), 2))
        high = np.round(np.maximum(opened, close) + reach[0], 2)
        low = np.round(np.minimum(opened, close) - reach[1], 2)
        unknown = np.full(size, np.nan)
        further = (np.round(volume * close, 8), np.ceil(volume * 3), np.round(volume / 3, 5))
        columns = (opened, high, low, close, volume, *((unknown,) * 3 if self._sparse else further))
        keep = np.array([(symbol, at) not in self._holes for at in open_ms.tolist()])
        return Candles(self.venue, symbol, MINUTE_MS, open_ms[keep], *(column[keep] for column in columns))


@asynccontextmanager
async def serving(market: TableMarket | None = None, **options: Any) -> AsyncIterator[Simulator]:
    """A started simulator, stopped afterwards."""
    options = {"rate": FAST, "start_ms": START_MS, **options}
    simulator = Simulator(market or TableMarket(), **options)
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()


class Client:
    """One WebSocket connection to a simulator; pings are not answered unless told."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, message: Any) -> None:
        """Send a control message, text as it is."""
        await self.socket.send_str(message if isinstance(message, str) else json.dumps(message))

    async def hear(self, timeout_s: float = 5.0) -> Any:
        """The next text frame, decoded; None when the connection has ended."""
        message = await self.socket.receive(timeout_s)
        return json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else None

    async def ask(self, method: str, *params: Any, identity: Any = 1) -> Any:
        """The reply to a control message; frames before it are dropped."""
        await self.say({"method": method, "params": list(params), "id": identity})
        return await self.until(lambda frame: "id" in frame)

    async def until(self, wanted: Callable[[Any], bool]) -> Any:
        """The first frame that is wanted."""
        while (frame := await self.hear()) is not None:
            if wanted(frame):
                return frame
        raise AssertionError("the connection ended before")

    async def rest(self) -> list[Any]:
        """All frames until the connection ends."""
        frames = []
        while (frame := await self.hear()) is not None:
            frames.append(frame)
        return frames

    async def silent(self, seconds: float) -> bool:
        """Whether nothing comes for a while."""
        try:
            await self.socket.receive(seconds)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def connected(simulator: Simulator, path: str = "/ws", **options: Any) -> AsyncIterator[Client]:
    """A WebSocket connection to a path of the simulator."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(simulator.ws_url + path, autoping=options.pop("autoping", True), **options) as socket,
    ):
        yield Client(socket)


async def get(simulator: Simulator, path: str, **options: Any) -> tuple[int, Any, Any]:
    """Status, decoded body and headers of a REST request."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{simulator.rest_url}/api/v3/{path}", **options) as answer,
    ):
        return answer.status, json.loads(await answer.read()), answer.headers


async def eventually(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the simulator offers no event for what tests watch
            await asyncio.sleep(0.005)


def closed(frames: list[Any]) -> list[Any]:
    """The bars of closed kline frames, raw or combined."""
    events = [frame.get("data", frame) for frame in frames if isinstance(frame, dict)]
    return [event["k"] for event in events if event.get("e") == "kline" and event["k"]["x"]]
