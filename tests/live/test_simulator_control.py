"""The simulator answers control messages, and breaks connections, as the exchange does."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from simulated import START_MS, TableMarket, closed, connected, eventually, get, serving

from tapewatch.simulator import Limits

#: Room for tests that say more than five things a second.
CHATTY = Limits(messages_per_s=1000)


async def test_subscriptions_come_and_go() -> None:
    """Subscribing twice is once, the list keeps the order, what is unsubscribed falls silent."""
    async with serving(TableMarket(minutes=5), limits=CHATTY, rate=0.001) as simulator, connected(simulator) as client:
        assert await client.ask("SUBSCRIBE", "btcusdt@kline_1m", "ethusdt@kline_1m") == {"result": None, "id": 1}
        assert await client.ask("SUBSCRIBE", "btcusdt@kline_1m", "btcusdt@miniTicker") == {"result": None, "id": 1}
        listed = await client.ask("LIST_SUBSCRIPTIONS", identity="a-1")
        assert listed == {"result": ["btcusdt@kline_1m", "ethusdt@kline_1m", "btcusdt@miniTicker"], "id": "a-1"}
        assert await client.ask("UNSUBSCRIBE", "ethusdt@kline_1m", "never@kline_1m", identity=None) == {
            "result": None,
            "id": None,
        }
        assert (await client.ask("LIST_SUBSCRIPTIONS"))["result"] == ["btcusdt@kline_1m", "btcusdt@miniTicker"]


async def test_an_unsubscribed_symbol_sends_no_more() -> None:
    """Frames of the others go on."""
    async with serving(TableMarket(minutes=30), limits=CHATTY) as simulator, connected(simulator) as client:
        await client.ask("TAPEWATCH_PACE", START_MS)
        await client.ask("SUBSCRIBE", "btcusdt@kline_1m", "ethusdt@kline_1m")
        await client.until(lambda frame: frame.get("s") == "ETHUSDT")
        await client.ask("UNSUBSCRIBE", "ethusdt@kline_1m")
        await client.say({"method": "TAPEWATCH_PACE", "params": [simulator.market.last_ms], "id": 5})
        frames = await client.rest()
    assert {kline["s"] for kline in closed(frames)} == {"BTCUSDT"}


async def test_combined_is_a_property_of_the_connection() -> None:
    """False on /ws, true on /stream, and settable; it wraps events, never replies."""
    async with serving(TableMarket(minutes=2), limits=CHATTY) as simulator:
        async with connected(simulator, "/stream") as client:
            assert await client.ask("GET_PROPERTY", "combined") == {"result": True, "id": 1}
        async with connected(simulator) as client:
            assert await client.ask("GET_PROPERTY", "combined") == {"result": False, "id": 1}
            assert await client.ask("SET_PROPERTY", "combined", True) == {"result": None, "id": 1}
            assert await client.ask("GET_PROPERTY", "combined") == {"result": True, "id": 1}
            await client.ask("SUBSCRIBE", "btcusdt@kline_1m")
            assert (await client.hear())["stream"] == "btcusdt@kline_1m"


@pytest.mark.parametrize(
    ("message", "code", "said"),
    [
        ('{"method":', 3, "Invalid JSON: expected value at line 1 column"),
        ("hello", 3, "Invalid JSON"),
        ("[1]", 2, "missing field `method`"),
        ('{"id":1}', 2, "missing field `method` at line 1 column 8"),
        ('{"method":"DANCE","id":1}', 2, "unknown variant `DANCE`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`"),
        ('{"method":"SUBSCRIBE","params":["a@b"]}', 2, "request ID must be an unsigned integer"),
        ('{"method":"SUBSCRIBE","params":["a@b"],"id":1.5}', 2, "request ID must be"),
        ('{"method":"SUBSCRIBE","params":["a@b"],"id":true}', 2, "request ID must be"),
        ('{"method":"SUBSCRIBE","params":["a@b"],"id":"' + "x" * 37 + '"}', 2, "request ID must be"),
        ('{"method":"SUBSCRIBE","params":["a@b"],"id":9223372036854775808}', 2, "request ID must be"),
        ('{"method":"SUBSCRIBE","params":"a@b","id":1}', 2, "params"),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2, "stream names must be strings"),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0, "Unknown property"),
        ('{"method":"GET_PROPERTY","params":[7],"id":1}', 2, "property name must be a string"),
        ('{"method":"GET_PROPERTY","id":1}', 2, "property name must be a string"),
        ('{"method":"GET_PROPERTY","params":["combined",1],"id":1}', 2, "too many parameters"),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}', 1, "Invalid value type: expected Boolean"),
        ('{"method":"SET_PROPERTY","params":["combined"],"id":1}', 1, "expected Boolean"),
        ('{"method":"SET_PROPERTY","params":["combined",true,1],"id":1}', 2, "too many parameters"),
        ('{"method":"TAPEWATCH_PACE","params":["x"],"id":1}', 2, "close time"),
    ],
)
async def test_a_bad_message_gets_the_documented_error_and_the_connection_stays(
    message: str, code: int, said: str
) -> None:
    """The flat form `{code, msg, id}`."""
    async with serving(limits=CHATTY) as simulator, connected(simulator) as client:
        await client.say(message)
        error = await client.hear()
        assert set(error) == {"code", "msg", "id"}
        assert error["code"] == code
        assert said in error["msg"]
        assert (await client.ask("LIST_SUBSCRIPTIONS"))["result"] == []


async def test_too_many_streams_is_refused_in_the_nested_shape() -> None:
    """Nothing of the message is subscribed."""
    limits = Limits(streams=3, messages_per_s=1000)
    async with serving(limits=limits, rate=0.001) as simulator, connected(simulator) as client:
        await client.ask("SUBSCRIBE", "a@b", "b@b")
        reply = await client.ask("SUBSCRIBE", "b@b", "c@b", "d@b", identity=19)
        assert reply == {"error": {"code": 4, "msg": "Too many subscriptions"}, "id": 19}
        assert (await client.ask("LIST_SUBSCRIPTIONS"))["result"] == ["a@b", "b@b"]
        assert simulator.books.breaches["127.0.0.1", "streams"] == 1
        with pytest.raises(aiohttp.WSServerHandshakeError, match="400"):
            async with connected(simulator, "/ws/a@b/b@b/c@b/d@b"):
                pass


async def test_a_message_over_4096_bytes_is_swallowed() -> None:
    """No reply, no subscription; one of exactly 4096 bytes is answered."""
    async with serving(limits=CHATTY, rate=0.001) as simulator, connected(simulator) as client:
        frame = '{"method":"SUBSCRIBE","params":["%s"],"id":1}'
        await client.say(frame % ("x" * (4097 - len(frame) + 2)))
        assert await client.silent(0.15)
    async with serving(limits=CHATTY, rate=0.001) as simulator, connected(simulator) as client:
        await client.say(frame % ("x" * (4096 - len(frame) + 2)))
        assert await client.hear() == {"result": None, "id": 1}
        assert simulator.books.breaches["127.0.0.1", "control"] == 0


async def test_the_sixth_message_within_a_second_closes_with_1008() -> None:
    """Text, pings and unsolicited pongs all count; five are answered."""
    async with serving() as simulator, connected(simulator, autoping=False) as client:
        await client.socket.ping(b"x")
        await client.socket.pong(b"")
        for identity in (1, 2, 3):
            await client.say({"method": "LIST_SUBSCRIPTIONS", "id": identity})
        kinds = [(await client.socket.receive(5)).type for _ in range(4)]
        assert kinds == [aiohttp.WSMsgType.PONG] + [aiohttp.WSMsgType.TEXT] * 3
        await client.say({"method": "LIST_SUBSCRIPTIONS", "id": 6})
        ending = await client.socket.receive(5)
        assert (ending.data, ending.extra) == (1008, "Too many requests")
        assert simulator.books.breaches["127.0.0.1", "messages"] == 1


async def test_five_messages_in_every_second_are_allowed() -> None:
    """The window rolls; pace messages do not count at all."""
    async with serving(rate=0.001) as simulator, connected(simulator) as client:
        for burst in range(2):
            for _ in range(5):
                await client.say({"method": "LIST_SUBSCRIPTIONS", "id": burst})
                await client.say({"method": "TAPEWATCH_PACE", "params": [START_MS], "id": burst})
            for _ in range(10):
                assert (await client.hear())["id"] == burst
            await asyncio.sleep(1.05)


async def test_who_sends_too_much_again_and_again_is_refused_for_a_while() -> None:
    """The handshake is answered 429 during the penalty, and that is counted."""
    limits = Limits(messages_per_s=1, penalty_after=2, penalty_s=0.3)
    async with serving(limits=limits) as simulator:
        for _ in range(2):
            async with connected(simulator) as client:
                await client.say({"method": "LIST_SUBSCRIPTIONS", "id": 1})
                await client.say({"method": "LIST_SUBSCRIPTIONS", "id": 2})
                await client.rest()
        with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
            async with connected(simulator):
                pass
        await asyncio.sleep(0.3)
        async with connected(simulator) as client:
            assert await client.ask("LIST_SUBSCRIPTIONS") == {"result": [], "id": 1}
        assert simulator.books.breaches == {("127.0.0.1", "messages"): 2, ("127.0.0.1", "penalty"): 1}


async def test_a_url_that_is_too_long_is_refused() -> None:
    """One of 8,004 characters is served."""
    async with serving() as simulator:
        for length, served in ((8004, True), (8005, False)):
            path = "/stream?streams=btcusdt@kline_1m/"
            path += "x" * (length - len(path))
            if served:
                async with connected(simulator, path) as client:
                    assert await client.hear() is not None
                continue
            with pytest.raises(aiohttp.WSServerHandshakeError, match="414"):
                async with connected(simulator, path):
                    pass
        assert simulator.books.breaches == {("127.0.0.1", "url"): 1}


async def test_the_books_can_be_read_from_outside() -> None:
    """What was sent, asked, injected and broken, as JSON."""
    async with serving(limits=Limits(streams=1), rate=0.001) as simulator, connected(simulator) as client:
        await client.ask("SUBSCRIBE", "a@b", "c@d")
        await get(simulator, "ping")
        async with aiohttp.ClientSession() as session, session.get(f"{simulator.rest_url}/tapewatch/books") as answer:
            books = await answer.json()
    assert books["requests"] == [{"path": "ping", "status": 200, "count": 1}]
    assert books["breaches"] == [{"client": "127.0.0.1", "limit": "streams", "count": 1}]
    assert (books["frames"], books["faults"]) == ({}, {})


async def test_too_many_connection_attempts_are_refused() -> None:
    """The handshake of the third is answered 429, and counted."""
    async with serving(limits=Limits(connections=2)) as simulator:
        for _ in range(2):
            async with connected(simulator):
                pass
        with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
            async with connected(simulator):
                pass
        assert simulator.books.breaches["127.0.0.1", "connections"] == 1


async def test_a_client_that_echoes_pings_stays_and_one_that_does_not_is_cut() -> None:
    """Only the ping's own payload counts as an answer."""
    limits = Limits(ping_s=0.05, pong_s=0.25, messages_per_s=1000)

    async def live(answer: bool) -> tuple[int, Any]:
        pings = 0
        async with serving(limits=limits) as simulator, connected(simulator, autoping=False) as client:
            while pings < 12:
                message = await client.socket.receive(5)
                if message.type is not aiohttp.WSMsgType.PING:
                    return pings, message
                pings += 1
                await client.socket.pong(message.data if answer else b"something else")
            return pings, simulator.books.breaches

    assert await live(answer=True) == (12, {})
    pings, ending = await live(answer=False)
    assert pings < 12
    assert (ending.data, ending.extra) == (1008, "Pong timeout")


async def test_a_connection_is_cut_at_its_age() -> None:
    """24 hours, or what is set."""
    async with serving(limits=Limits(max_age_s=0.1)) as simulator, connected(simulator) as client:
        ending = await client.socket.receive(5)
        assert ending.data == 1001
        assert simulator.books.breaches["127.0.0.1", "age"] == 1


async def test_time_begins_with_the_first_subscription() -> None:
    """Neither REST nor a bare connection starts it, and the first stream does."""
    async with serving(rate=1000.0) as simulator, connected(simulator, "/ws/0") as client:
        await asyncio.sleep(0.05)
        _, before, _ = await get(simulator, "time")
        await client.ask("SUBSCRIBE", "btcusdt@kline_1m")
        await asyncio.sleep(0.05)
        _, after, _ = await get(simulator, "time")
    assert before["serverTime"] == START_MS
    assert after["serverTime"] >= START_MS + 50 * 1000


async def test_time_waits_for_a_paced_client_and_goes_on_without_one_that_sleeps() -> None:
    """It stands a second past the boundary until it is acknowledged, or patience is over."""
    limits = Limits(patience_s=0.4, messages_per_s=1000)
    async with serving(limits=limits) as simulator, connected(simulator) as client:
        reply = await client.ask("TAPEWATCH_PACE", START_MS)
        assert reply["result"] == {"serverTime": START_MS, "rate": 1e6}
        await client.ask("SUBSCRIBE", "btcusdt@kline_1m")
        for minute in (1, 2):
            await client.until(lambda frame: frame.get("e") == "kline")
            await asyncio.sleep(0.1)
            assert simulator.clock.now_ms() == START_MS + minute * 60_000 + 1000
            await client.say({"method": "TAPEWATCH_PACE", "params": [START_MS + minute * 60_000], "id": 1})
        await client.until(lambda frame: frame.get("e") == "kline")
        await eventually(lambda: simulator.clock.now_ms() == START_MS + 4 * 60_000 + 1000)


async def test_time_waits_for_a_paced_client_to_come_back() -> None:
    """A reconnect loses no bars; without one, time goes on after its patience."""
    limits = Limits(patience_s=0.4, messages_per_s=1000)
    async with serving(limits=limits) as simulator:
        async with connected(simulator) as client:
            await client.ask("TAPEWATCH_PACE", START_MS)
            await client.ask("SUBSCRIBE", "btcusdt@kline_1m")
            await client.until(lambda frame: frame.get("e") == "kline")
        await asyncio.sleep(0.1)
        held_ms = START_MS + 60_000 + 1000
        assert simulator.clock.now_ms() == held_ms
        async with connected(simulator) as client:
            await client.ask("TAPEWATCH_PACE", START_MS)
            await asyncio.sleep(0.2)
            assert simulator.clock.now_ms() == held_ms
        await eventually(lambda: simulator.clock.now_ms() > held_ms)


async def test_a_reader_that_stands_still_is_cut_and_time_goes_on() -> None:
    """Simulated time waits for a full queue, then the connection is reset."""
    limits = Limits(queue_frames=50, patience_s=0.2)
    symbols = tuple(f"S{number:03d}USDT" for number in range(40))
    async with serving(TableMarket(symbols, minutes=900), limits=limits) as simulator:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.rest_url.rpartition(":")[2]), limit=1)
        streams = "/".join(f"{symbol.lower()}@kline_1m" for symbol in symbols)
        handshake = (
            f"GET /stream?streams={streams} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        writer.write(handshake.encode())
        await writer.drain()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await eventually(lambda: simulator.books.breaches["127.0.0.1", "slow"] == 1, timeout_s=20)
        writer.transport.abort()
        del reader


async def test_a_reply_is_never_wrapped() -> None:
    """Also on /stream a reply is the bare object."""
    async with serving(limits=CHATTY, rate=0.001) as simulator, connected(simulator, "/stream") as client:
        await client.say({"method": "SUBSCRIBE", "params": ["btcusdt@kline_1m"], "id": 3})
        message = await client.socket.receive(5)
        assert json.loads(message.data) == {"result": None, "id": 3}
