"""The connection pool on real sockets: what it carries where, and how it follows what is wanted."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import Any

import pytest
from feed_exchange import START_MS, quick, until
from pool_exchange import Streams, Wire, pooling

from tapewatch.errors import SetupError
from tapewatch.feeds import ExchangeClock, FeedObserver, FrameCounts
from tapewatch.feeds.pool import Pool
from tapewatch.feeds.port import Ticker
from tapewatch.feeds.wire import TICKERS, kline_stream
from tapewatch.model import MINUTE_MS

NINE = [f"s{n}usdt@kline_1m" for n in range(9)]


def held(wire: Wire) -> set[str]:
    """What one connection carries."""
    return set(wire.names)


async def test_streams_are_spread_over_as_few_connections_as_they_need() -> None:
    """Nine streams at four a connection take three connections of three, and each bar comes once."""
    async with pooling(NINE, streams_per_connection=4) as run:
        await until(lambda: run.settled)
        assert sorted(len(wire.names) for wire in run.streams.wires) == [3, 3, 3]
        open_ms = await run.minute()
        await until(lambda: len(run.bars) == 9)
        assert Counter(run.bars) == {(f"S{n}USDT", open_ms): 1 for n in range(9)}
        assert frozenset().union(*run.started) == frozenset(NINE)
        assert run.notes.count("connected") == 3
        assert run.streams.breaches == []


async def test_states_are_the_map_of_streams_to_connections() -> None:
    """Each connection says what it carries, how old it is and when it last brought data."""
    async with pooling(NINE, streams_per_connection=4) as run:
        assert [state.state for state in run.pool.states()] == ["connecting"] * 3
        await until(lambda: run.settled)
        await run.minute()
        await until(lambda: all(state.last_frame_s_ago is not None for state in run.pool.states()), 20)
        states = run.pool.states()
        assert [(state.name, state.state, state.streams) for state in states] == [
            (f"ws{n}", "live", 3) for n in (1, 2, 3)
        ]
        assert sorted(symbol for state in states for symbol in state.symbols) == [f"S{n}USDT" for n in range(9)]
        assert all(state.frames == 3 and state.reconnects == 0 and 0 < state.age_s < 60 for state in states)
        run.streams.wires[0].cut()
        await until(lambda: run.notes.count("connected") == 4)
        assert sorted(state.reconnects for state in run.pool.states()) == [0, 0, 1]


async def test_symbols_come_and_go_while_it_runs() -> None:
    """New names go to the connection with the fewest, dropped ones are unsubscribed from, the others left alone."""
    async with pooling(NINE[:5], streams_per_connection=4) as run:
        await until(lambda: run.settled)
        run.pool.drop([*NINE[:3], "never@kline_1m"])
        run.pool.want([*NINE[3:], *NINE[3:]])
        await until(lambda: run.settled)
        assert run.streams.names == sorted(NINE[3:])
        assert len(run.streams.every_wire) == 2
        await run.minute()
        await until(lambda: len(run.bars) == 6)
        assert {symbol for symbol, _ in run.bars} == {f"S{n}USDT" for n in range(3, 9)}
        assert run.streams.breaches == []


async def test_a_connection_without_streams_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """When its last stream is dropped a connection is closed politely, a little later; a new name makes a new one."""
    monkeypatch.setattr("tapewatch.feeds.pool.EMPTY_S", 0.1)
    async with pooling(NINE[:4], streams_per_connection=2, silence_s=0.4) as run:
        await until(lambda: run.settled)
        run.pool.drop(NINE[:4:2])
        await until(lambda: len(run.pool.states()) == 1)
        await until(lambda: len(run.streams.wires) == 1)
        assert run.notes.of("disconnected") == [("no stream is left for it", "ws1")]
        run.pool.drop(run.streams.wires[0].names)
        await until(lambda: run.pool.states() == [] and not run.streams.wires)
        assert not run.pool.down
        run.pool.want(NINE[:1])
        await until(lambda: run.streams.names == NINE[:1])


async def test_hundreds_of_changes_in_a_second_cost_a_few_messages() -> None:
    """Only the difference between what is wanted and what is subscribed to is sent, within the limits."""
    names = [f"sym{n}usdt@kline_1m" for n in range(600)]
    async with pooling(names[:300], streams_per_connection=200) as run:
        await until(lambda: run.settled)
        before = sum(len(wire.asked) for wire in run.streams.wires)
        for n in range(300):  # each step replaces one symbol
            run.pool.drop([names[n]])
            run.pool.want([names[300 + n]])
            run.pool.want([names[n]])
            run.pool.drop([names[n]])
            await asyncio.sleep(0.002)
        await until(lambda: run.settled, 20)
        assert run.streams.names == sorted(names[300:])
        assert sum(len(wire.asked) for wire in run.streams.wires) - before < 40
        assert run.streams.breaches == []
        assert len(run.streams.every_wire) == 2


async def test_a_thousand_long_names_are_subscribed_to_within_the_limits() -> None:
    """1,024 streams on one connection: no message over 4 KiB, no more than three a second."""
    names = [f"averylongname{n}usdt@kline_1m" for n in range(1024)]
    began_s = time.monotonic()
    async with pooling(names, streams_per_connection=1024) as run:
        await until(lambda: run.settled, 30)
        assert len(run.streams.every_wire) == 1
        assert time.monotonic() - began_s > 1.0
        assert run.streams.breaches == []


async def test_the_window_of_messages_outlives_connections() -> None:
    """A connection cut again and again right after its subscription never sends a fourth message in a second."""
    names = [f"averylongname{n}usdt@kline_1m" for n in range(260)]  # two messages each time
    sent_s: list[float] = []

    def note(_wire: Wire, _asked: dict[str, Any]) -> None:
        sent_s.append(time.monotonic())

    async with pooling(names, Streams(before_reply=note), backoff_s=(0.01,), attempts_per_5m=1000) as run:
        for _ in range(4):
            await until(lambda: run.settled)
            run.streams.cut()
            await until(lambda: not run.streams.wires)
        await until(lambda: run.settled)
    assert len(sent_s) >= 10
    assert all(late - early > 0.8 for early, late in zip(sent_s, sent_s[3:], strict=False))  # as they arrived


async def test_names_of_any_alphabet() -> None:
    """A symbol that is not ASCII is lower-cased, sent as UTF-8 and counted in bytes."""
    symbols = [f"币安人生{n}USDT" for n in range(300)] + ["ÄÖÜUSDT"]
    names = [kline_stream(symbol, MINUTE_MS) for symbol in symbols]
    async with pooling(names) as run:
        await until(lambda: run.settled)
        assert "äöüusdt@kline_1m" in run.streams.names
        await run.minute()
        await until(lambda: len(run.bars) == 301)
        assert {symbol for symbol, _ in run.bars} == set(symbols)
        assert set(run.pool.states()[0].symbols) == set(symbols)
        assert run.streams.breaches == []


def ticker(symbol: str, **changes: Any) -> dict[str, Any]:
    """A mini ticker as the exchange sends it."""
    values = dict.fromkeys("cohlv", "1.50000000")
    return {"e": "24hrMiniTicker", "E": START_MS, "s": symbol, **values, "q": "42.00000000", **changes}


async def test_tickers_of_the_whole_market_are_handed_on() -> None:
    """A frame of hundreds of kilobytes with 2,500 tickers, unknown members in it, comes out as one list."""
    async with pooling([*NINE[:2], TICKERS]) as run:
        await until(lambda: run.settled)
        rows = [ticker(f"S{n}币USDT", new={"a": [1]}) for n in range(2_500)] + [ticker("BAD", c="x")]
        text = json.dumps({"stream": TICKERS, "data": rows, "more": None}, ensure_ascii=False)
        assert 300_000 < len(text) < 2 << 20
        await run.streams.wires[0].send(text)
        await until(lambda: run.tickers)
        assert run.tickers == [[Ticker(f"S{n}币USDT", 1.5, 42.0, START_MS) for n in range(2_500)]]
        assert run.counts.malformed == 1
        assert run.pool.states()[0].symbols == ("S0USDT", "S1USDT")


async def test_every_connection_is_paced() -> None:
    """A simulator's clock is told on each connection, on later ones and on those that come back too."""
    async with pooling(NINE[:4], streams_per_connection=2) as run:
        run.pool.pace(START_MS)
        await until(lambda: run.settled)
        await until(lambda: [wire.paced[-1:] for wire in run.streams.wires] == [[START_MS]] * 2)
        run.pool.want(NINE[4:6])
        await until(lambda: [wire.paced[-1:] for wire in run.streams.wires] == [[START_MS]] * 3)
        run.pool.pace(START_MS + MINUTE_MS)
        await until(lambda: [wire.paced[-1:] for wire in run.streams.wires] == [[START_MS + MINUTE_MS]] * 3)
        run.streams.wires[0].cut()
        await until(lambda: len(run.streams.every_wire) == 4 and run.streams.every_wire[3].paced)
        assert run.streams.every_wire[3].paced == [START_MS + MINUTE_MS]


@pytest.mark.parametrize("count", [0, 1025])
def test_no_more_streams_than_the_exchange_allows(count: int) -> None:
    """A connection of none, or of more than 1,024 streams, is a wrong setting, named."""
    nothing = (ExchangeClock(), FrameCounts(), FeedObserver(), *[lambda _: None] * 4)
    with pytest.raises(SetupError, match="streams_per_connection"):
        Pool(quick(1, streams_per_connection=count), *nothing)


async def test_a_bug_in_a_callback_comes_out() -> None:
    """What handling a bar raises ends the pool with that very exception."""
    streams = Streams()
    await streams.start()

    def broken(_: object) -> None:
        raise ZeroDivisionError

    ignored = lambda _: None  # noqa: E731
    pool = Pool(quick(streams.port), ExchangeClock(), FrameCounts(), FeedObserver(), broken, ignored, ignored, ignored)
    pool.want(NINE)
    task = asyncio.create_task(pool.run())
    await until(lambda: streams.names == sorted(NINE))
    await streams.close_minute(START_MS)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(task, 60)
    await streams.stop()
