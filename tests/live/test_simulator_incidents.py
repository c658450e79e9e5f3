"""Faults of connections, as a client sees them: who is cut, who hears nothing, who hears it late."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from simulated import START_MS, Client, TableMarket, closed, connected, eventually, serving

from tapewatch.model import MINUTE_MS
from tapewatch.simulator import FaultRule, Limits, Simulator

MINUTE = MINUTE_MS
CHATTY = Limits(messages_per_s=1000)
ONE = "/ws/btcusdt@kline_1m"
#: Half a minute before an incident is 50 ms of a busy machine: what was due before it has been sent.
CALM = 600.0


def rule(**keys: Any) -> FaultRule:
    """A rule as the script would give it."""
    return FaultRule.model_validate(keys)


@asynccontextmanager
async def clients(*paths: str, **options: Any) -> AsyncIterator[tuple[Simulator, list[Client], list[dict[str, Any]]]]:
    """A simulator whose time stands until all these connections are there, and what it reports."""
    reported: list[dict[str, Any]] = []
    options = {"on_fault": reported.append, "limits": CHATTY, **options}
    async with serving(options.pop("market", TableMarket()), **options) as simulator, AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(connected(simulator, "/stream")) for _ in paths]
        await opened[0].ask("TAPEWATCH_PACE", START_MS - MINUTE)
        for client, path in zip(opened, paths, strict=True):
            await client.ask("SUBSCRIBE", *path.removeprefix("/ws/").split("/"))
        await opened[0].say({"method": "TAPEWATCH_PACE", "params": [simulator.market.last_ms], "id": 0})
        yield simulator, opened, reported


def minutes(frames: list[Any]) -> list[int]:
    """The closed bars of the frames, as minutes from the start."""
    return [(kline["t"] - START_MS) // MINUTE for kline in closed(frames)]


async def test_one_connection_of_several_is_cut() -> None:
    """The other goes on without a gap."""
    faults = [rule(kind="drop", at="150s", connections=1)]
    async with clients(ONE, ONE, ONE, faults=faults, rate=CALM) as (_, opened, reported):
        heard = await asyncio.gather(*(client.rest() for client in opened))
        codes = [client.socket.close_code for client in opened]
    assert sorted(map(minutes, heard)) == [[0, 1], list(range(10)), list(range(10))]
    assert sorted(code == 1001 for code in codes) == [False, True, True]
    assert reported == [{"fault": "drop", "at_ms": START_MS + 150_000, "connections": 1}]


@pytest.mark.parametrize("symbol", ["ETHUSDT", "ßUSDT"])
async def test_only_the_connections_of_a_symbol_are_cut(symbol: str) -> None:
    """Those that have a stream of it, which may be one whose capitals are other letters."""
    faults = [rule(kind="drop", at="150s", symbols=[symbol])]
    market = TableMarket(("BTCUSDT", symbol))
    other = f"/ws/{symbol.lower()}@kline_1m"
    async with clients(ONE, other, faults=faults, market=market, rate=CALM) as (_, opened, _):
        heard = await asyncio.gather(*(client.rest() for client in opened))
    assert [len(minutes(frames)) for frames in heard] == [10, 2]


async def test_handshakes_are_refused_while_connections_stay() -> None:
    """With 429, 503 or no answer at all; afterwards they are served again."""
    faults = [rule(kind="refuse", at="61s", **{"for": "1h"})]
    limits = Limits(messages_per_s=1000, connections=1000)
    async with clients(ONE, faults=faults, limits=limits, rate=60_000.0) as (simulator, (client,), reported):
        await eventually(lambda: len(reported) > 0)
        seen = set()
        for _ in range(60):
            try:
                async with connected(simulator):
                    seen.add(101)
            except aiohttp.WSServerHandshakeError as error:
                seen.add(error.status)
            except (aiohttp.ClientConnectionError, ConnectionError):
                seen.add(0)
        assert seen - {101} == {0, 429, 503}
        assert len(minutes(await client.rest())) == 10
    assert reported == [{"fault": "refuse", "at_ms": START_MS + 61_000, "for_ms": 3_600_000}]


async def test_after_a_refusal_connections_are_served_again() -> None:
    """Once the time of the rule is over."""
    faults = [rule(kind="refuse", at="1s", **{"for": "30s"})]
    async with (
        serving(TableMarket(minutes=600), faults=faults, rate=2_000.0) as simulator,
        connected(simulator, ONE),
    ):
        await eventually(lambda: simulator.clock.now_ms() > START_MS + 31_000)
        async with connected(simulator, ONE) as client:
            assert (await client.hear())["e"] == "kline"


async def test_a_stall_of_one_connection_leaves_the_others() -> None:
    """What was withheld is lost."""
    faults = [rule(kind="stall", at="61s", connections=1, **{"for": "3m"})]
    async with clients(ONE, ONE, faults=faults) as (_, opened, _):
        heard = [minutes(frames) for frames in await asyncio.gather(*(client.rest() for client in opened))]
    assert sorted(heard, key=len) == [[0, 4, 5, 6, 7, 8, 9], list(range(10))]


async def test_a_silent_stream_brings_no_more_until_it_is_subscribed_anew() -> None:
    """Others of the connection go on; subscribing again without unsubscribing changes nothing."""
    faults = [rule(kind="silence", at="61s", symbols=["BTCUSDT"])]
    path = "/ws/btcusdt@kline_1m/ethusdt@kline_1m"
    market = TableMarket(minutes=30)
    async with clients(path, faults=faults, market=market, rate=60_000.0) as (simulator, (client,), reported):
        await client.say({"method": "TAPEWATCH_PACE", "params": [START_MS + 5 * MINUTE], "id": 0})
        await eventually(lambda: simulator.clock.now_ms() > START_MS + 4 * MINUTE)
        await client.say({"method": "SUBSCRIBE", "params": ["btcusdt@kline_1m"], "id": 8})
        await client.say({"method": "UNSUBSCRIBE", "params": ["btcusdt@kline_1m"], "id": 9})
        await client.say({"method": "SUBSCRIBE", "params": ["btcusdt@kline_1m"], "id": 10})
        frames = await client.rest()
    renewed = next(place for place, frame in enumerate(frames) if frame.get("id") == 10)
    events = [frame["data"] for frame in frames[:renewed] if "data" in frame]
    assert {event["k"]["t"] for event in events if event["s"] == "BTCUSDT"} == {START_MS}
    assert len([event for event in events if event["s"] == "ETHUSDT"]) > 2
    assert any(frame["data"]["s"] == "BTCUSDT" for frame in frames[renewed:] if "data" in frame)
    assert reported == [
        {"fault": "silence", "at_ms": START_MS + 61_000, "connections": 1, "symbols": ["BTCUSDT"]}
    ]  # fmt: skip


async def test_silence_without_symbols_takes_one_by_chance_and_ends_by_itself_with_for() -> None:
    """On another connection the stream is heard."""
    faults = [rule(kind="silence", at="61s", **{"for": "3m"})]
    path = "/ws/btcusdt@kline_1m/ethusdt@kline_1m"
    async with clients(path, faults=faults) as (_, (client,), reported):
        frames = await client.rest()
    (symbol,) = reported[0]["symbols"]
    assert minutes([frame for frame in frames if frame.get("data", {}).get("s") == symbol]) == [0, 4, 5, 6, 7, 8, 9]
    assert len(minutes(frames)) == 17


async def test_a_lagging_connection_is_overtaken_by_another_and_keeps_its_own_order() -> None:
    """Each of its frames comes `delay` later; when it has caught up nothing is lost."""
    faults = [rule(kind="lag", at="61s", connections=1, delay="90s", **{"for": "4m"})]
    async with clients(ONE, ONE, faults=faults, rate=6_000.0) as (simulator, opened, reported):
        order: list[tuple[int, int]] = []

        async def listen(number: int) -> None:
            order.extend([(number, minute) async for minute in heard(opened[number])])

        async def heard(client: Client) -> AsyncIterator[int]:
            while (frame := await client.hear()) is not None:
                for minute in minutes([frame]):
                    arrived.append((opened.index(client), minute, simulator.clock.now_ms()))
                    yield minute

        arrived: list[tuple[int, int, int]] = []
        await asyncio.gather(listen(0), listen(1))
    for number in (0, 1):
        assert [minute for one, minute in order if one == number] == list(range(10))
    late = {
        number: max(now_ms - START_MS - (minute + 1) * MINUTE for one, minute, now_ms in arrived if one == number)
        for number in (0, 1)
    }
    assert max(late.values()) >= 90_000
    assert min(late.values()) < 90_000
    assert reported[0] == {"fault": "lag", "at_ms": START_MS + 61_000, "connections": 1, "for_ms": 240_000}


async def test_a_choked_connection_hears_everything_at_once_afterwards() -> None:
    """Frames pile up for `for`; order and number stay."""
    faults = [rule(kind="choke", at="61s", **{"for": "5m"})]
    async with clients(ONE, faults=faults, rate=6_000.0) as (simulator, (client,), _):
        arrived: list[tuple[int, int]] = []
        while (frame := await client.hear()) is not None:
            arrived += [(minute, simulator.clock.now_ms() - START_MS) for minute in minutes([frame])]
    assert [minute for minute, _ in arrived] == list(range(10))
    assert all(now_ms >= 361_000 for minute, now_ms in arrived if 1 <= minute <= 5)


async def test_an_age_cut_says_goodbye_without_a_notice() -> None:
    """Closed with 1001, as at 24 hours."""
    faults = [rule(kind="age", at="150s", connections=1)]
    async with clients(ONE, ONE, faults=faults) as (_, opened, reported):
        heard = await asyncio.gather(*(client.rest() for client in opened))
        codes = [client.socket.close_code for client in opened]
    assert codes == [1001, 1001]
    assert sorted(len(minutes(frames)) for frames in heard) == [2, 10]
    assert not any("serverShutdown" in json.dumps(frame) for frames in heard for frame in frames)
    assert reported == [{"fault": "age", "at_ms": START_MS + 150_000, "connections": 1}]


async def test_a_shutdown_of_one_connection_leaves_the_others() -> None:
    """Only that one gets the notice."""
    faults = [rule(kind="shutdown", at="61s", connections=1, **{"for": "90s"})]
    async with clients(ONE, ONE, faults=faults) as (_, opened, _):
        heard = await asyncio.gather(*(client.rest() for client in opened))
    told = [any(frame.get("stream") == "!serverShutdown" for frame in frames) for frames in heard]
    assert sorted(told) == [False, True]
    assert len(minutes(heard[told.index(False)])) == 10
    assert len(minutes(heard[told.index(True)])) < 10


@pytest.mark.parametrize("probability", [0.0, 1.0])
async def test_a_connection_fault_happens_by_its_probability(probability: float) -> None:
    """Decided once, each time it is due."""
    faults = [rule(kind="age", at="150s", probability=probability)]
    async with clients(ONE, faults=faults) as (_, (client,), reported):
        assert len(minutes(await client.rest())) == (2 if probability else 10)
    assert len(reported) == int(probability)
