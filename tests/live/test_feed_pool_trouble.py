"""The connection pool when connections fall silent, are refused, cut, or about to go: what is wanted flows again."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from feed_exchange import START_MS, candle, frame, until
from pool_exchange import Pooling, Streams, Wire, pooling

from tapewatch.feeds.wire import TICKERS
from tapewatch.model import MINUTE_MS

SIX = [f"s{n}usdt@kline_1m" for n in range(6)]


async def whole(run: Pooling, seconds: float = 20.0) -> None:
    """Everything wanted is streamed, once, and a minute's bars come."""
    await until(lambda: run.settled, seconds)
    open_ms = await run.minute()
    wanted = {(name.partition("@")[0].upper(), open_ms) for name in run.pool._places if name != TICKERS}
    await until(lambda: wanted <= set(run.bars), seconds)
    assert run.streams.breaches == []


@pytest.mark.parametrize("combined", [True, False])
async def test_a_shutdown_notice_hands_over_one_connection(combined: bool) -> None:
    """`serverShutdown` in either shape: that connection's streams are up elsewhere before it is closed."""
    event: dict[str, Any] = {"e": "serverShutdown", "E": START_MS}
    async with pooling(SIX, streams_per_connection=2) as run:
        await whole(run)
        leaving = run.streams.wires[1]
        carried = set(leaving.names)
        seen: list[bool] = []
        run.streams.before_reply = lambda *_: seen.append(leaving in run.streams.wires)
        await leaving.send(json.dumps({"stream": "!serverShutdown", "data": event} if combined else event))
        await until(lambda: leaving not in run.streams.wires)
        assert seen == [True]
        assert set(run.streams.every_wire[3].names) == carried
        assert run.notes.count("replaced") == 1
        assert "shutdown" in run.notes.of("replaced")[0][0]
        assert run.notes.count("disconnected") == 0
        await whole(run)


async def test_ages_are_staggered_and_handed_over_with_overlap() -> None:
    """Connections made together are replaced before their age limit, one after the other, none of them missing."""
    async with pooling(SIX, streams_per_connection=1, max_age_s=4.0, silence_s=1.0, attempts_per_5m=1000) as run:
        await until(lambda: run.settled)
        missing: list[set[str]] = []
        for _ in range(40):
            await run.minute()
            missing.append(set(SIX) - set(run.streams.names))
            await asyncio.sleep(0.1)
            if run.notes.count("replaced") >= 6:
                break
        assert run.notes.count("replaced") >= 6
        assert set().union(*missing) == set()
        assert run.notes.count("disconnected") == 0
        replaced_s = [at_s - run.streams.handshakes_s[0] for at_s in run.streams.handshakes_s[6:12]]
        assert 2.9 < min(replaced_s) < max(replaced_s) < 5.5
        assert max(replaced_s) - min(replaced_s) > 0.15  # looked at every 0.25 s, between 3 and 4 s
        assert all("old" in reason for reason, _ in run.notes.of("replaced"))
        await whole(run)


async def test_a_silent_connection_is_replaced_and_the_others_stay() -> None:
    """No data for too long is the end of a connection, though it answers and pings."""
    async with pooling(SIX, streams_per_connection=2, silence_s=1.0) as run:
        await until(lambda: run.settled)
        sick = run.streams.wires[0]
        run.streams.mute = set(sick.names)

        async def flow() -> None:
            while True:
                await run.minute()
                await sick.socket.ping()
                await asyncio.sleep(0.1)

        task = asyncio.create_task(flow())
        await until(lambda: run.notes.count("replaced") == 1)
        run.streams.mute = set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert "silent" in run.notes.of("replaced")[0][0]
        assert sick not in run.streams.wires
        assert len(run.streams.every_wire) == 4
        await whole(run)


async def test_tickers_do_not_prove_that_bars_flow() -> None:
    """A connection that brings the whole market's ticker and no bar is silent."""
    async with pooling([*SIX[:2], TICKERS], silence_s=0.8) as run:
        await until(lambda: run.settled)
        for _ in range(100):
            for wire in list(run.streams.wires):
                await wire.send(json.dumps({"stream": TICKERS, "data": []}))
            await asyncio.sleep(0.05)
            if run.notes.count("replaced"):
                break
        assert run.notes.count("replaced") == 1


async def test_a_ticker_that_falls_silent_is_subscribed_to_anew_and_then_moved() -> None:
    """REST cannot tell that the all-market ticker is missing: the pool does."""
    async with pooling([*SIX[:2], TICKERS], silence_s=0.8, streams_per_connection=3) as run:
        await until(lambda: run.settled)
        first = run.streams.wires[0]
        for _ in range(100):
            await run.minute()
            await asyncio.sleep(0.05)
            if len(run.streams.wires) == 2 and run.settled:
                break
        asked = [(asked["method"], asked["params"]) for asked in first.asked[1:]]
        assert asked == [("UNSUBSCRIBE", [TICKERS]), ("SUBSCRIBE", [TICKERS]), ("UNSUBSCRIBE", [TICKERS])]
        assert run.streams.wires[1].names == {TICKERS: None}
        assert run.notes.count("replaced") == 0


async def test_a_silent_stream_is_subscribed_to_anew_then_moved() -> None:
    """First UNSUBSCRIBE and SUBSCRIBE; when it stays silent another connection takes it; then it begins again."""
    async with pooling(SIX[:4], streams_per_connection=3) as run:
        await whole(run)
        here, there = run.streams.wires
        name = next(iter(here.names))
        run.started.clear()
        run.pool.silent(name)
        run.pool.silent(name)  # it is being done
        await until(lambda: len(here.asked) == 3)
        assert [(asked["method"], asked["params"]) for asked in here.asked[1:]] == [
            ("UNSUBSCRIBE", [name]),
            ("SUBSCRIBE", [name]),
        ]
        await until(lambda: run.started == [frozenset([name])])
        run.pool.silent(name)
        await until(lambda: run.settled and name in there.names)
        assert name not in here.names
        assert len(run.streams.wires) == 2
        await until(lambda: run.started == [frozenset([name])] * 2)
        run.pool.silent(name)
        await until(lambda: len(there.asked) == 4 and run.settled)
        assert name in there.names
        await whole(run)


async def test_a_silent_stream_moves_to_a_new_connection_when_there_is_no_other() -> None:
    """With one connection a second one is made for it; unknown names are nobody's trouble."""
    async with pooling(SIX[:2]) as run:
        await whole(run)
        run.pool.silent("unknown@kline_1m")
        run.pool.silent(SIX[0])
        await until(lambda: len(run.started) == 2)
        run.pool.silent(SIX[0])
        await until(lambda: run.settled and len(run.streams.wires) == 2)
        assert [list(wire.names) for wire in run.streams.wires] == [[SIX[1]], [SIX[0]]]
        await whole(run)


async def test_only_the_suspects_connection_is_replaced() -> None:
    """REST has a bar that a connection silent since before did not bring; others of that time are left alone."""
    async with pooling(SIX[:4], streams_per_connection=2) as run:
        await whole(run)
        sick, well = run.streams.wires
        run.pool._clock.sync(run.minute_ms, 0, 0, 1.0)
        close_ms = run.minute_ms + MINUTE_MS
        symbol = next(iter(well.names)).partition("@")[0].upper()
        await well.send(frame(candle(symbol, close_ms - MINUTE_MS), close_ms + 50))
        await until(lambda: (symbol, close_ms - MINUTE_MS) in run.bars)
        run.pool.suspect(next(iter(well.names)), close_ms)
        run.pool.suspect(next(iter(sick.names)), close_ms)
        run.pool.suspect("unknown@kline_1m", close_ms)
        await until(lambda: run.notes.count("replaced") == 1)
        await until(lambda: sick not in run.streams.wires)
        assert well in run.streams.wires
        assert len(run.streams.every_wire) == 3


@pytest.mark.parametrize("flat", [True, False])
async def test_too_many_subscriptions_go_elsewhere(flat: bool) -> None:
    """Code 4 in either shape: what was acknowledged stays, the rest is carried by another connection."""
    names = [f"averylongname{n}usdt@kline_1m" for n in range(400)]
    error = {"code": 4, "msg": "Too many subscriptions"}

    def refuse(wire: Wire, asked: dict[str, Any]) -> str | None:
        if asked["method"] == "SUBSCRIBE" and len(wire.names) + len(asked["params"]) > 250:
            return json.dumps({**error, "id": asked["id"]} if flat else {"error": error, "id": asked["id"]})
        return None

    async with pooling(names, Streams(before_reply=refuse)) as run:
        await until(lambda: run.settled, 20)
        assert len(run.streams.wires) > 1
        assert run.notes.count("warning") >= 1
        assert "Too many" in run.notes.of("warning")[0][0]
        assert run.notes.count("disconnected") == run.notes.count("replaced") == run.notes.count("attempt") == 0
        await whole(run)


@pytest.mark.parametrize("answer", ["", '{"code":2,"msg":"Invalid request","id":%d}'])
async def test_a_change_that_is_not_acknowledged_replaces_the_connection(answer: str) -> None:
    """Neither silence nor an error after a later SUBSCRIBE leaves a stream behind."""
    answers: list[str] = []

    def once(_: Wire, asked: dict[str, Any]) -> str | None:
        return (answers.pop() % asked["id"] if "%" in answers[-1] else answers.pop()) if answers else None

    async with pooling(SIX[:2], Streams(before_reply=once), connect_timeout_s=0.5) as run:
        await whole(run)
        answers.append(answer)
        run.pool.want(SIX[2:])
        await until(lambda: run.notes.count("replaced") == 1)
        await whole(run)


async def test_cut_in_the_middle_of_subscribing() -> None:
    """A connection cut between the messages of its subscription comes back with what is wanted then, each once."""
    names = [f"averylongname{n}usdt@kline_1m" for n in range(500)]
    left = [3]

    def cut(wire: Wire, _: dict[str, Any]) -> str | None:
        if left[0] and len(wire.asked) == 2:
            left[0] -= 1
            wire.cut()
            return ""
        return None

    async with pooling(names, Streams(before_reply=cut), streams_per_connection=500) as run:
        await until(lambda: left[0] == 1)
        run.pool.drop(names[:100])
        run.pool.want(SIX)
        await whole(run)
        assert left == [0]
        assert run.streams.names == sorted([*names[100:], *SIX])
        assert all("connection lost" in error for _, _, error, _ in run.notes.of("attempt"))


async def test_reset_in_the_middle_of_a_frame() -> None:
    """Half a frame and a reset: no bar of it, and the streams come back."""
    async with pooling(SIX[:2]) as run:
        await whole(run)
        wire = run.streams.wires[0]
        assert wire.request.transport is not None
        half = frame(candle("S0USDT", START_MS + MINUTE_MS), START_MS + 2 * MINUTE_MS).encode()[:100]
        wire.request.transport.write(b"\x81\x7e\x01\x80" + half)
        await asyncio.sleep(0.02)
        count = len(run.bars)
        wire.cut()
        await until(lambda: run.notes.count("disconnected") == 1)
        assert len(run.bars) == count
        await whole(run)


async def test_all_cut_at_once_and_refused_for_a_while() -> None:
    """While the exchange cannot be reached one connection tries for all; one alert goes out, and all come back."""
    names = [f"s{n}usdt@kline_1m" for n in range(10)]
    async with pooling(names, streams_per_connection=2, backoff_s=(0.1, 0.2), down_after_s=0.5) as run:
        await whole(run)
        assert not run.pool.down
        run.streams.refusing = True
        before = len(run.streams.handshakes_s)
        run.streams.cut()
        await until(lambda: run.pool.down)
        assert {state.state for state in run.pool.states()} <= {"down", "connecting"}
        await until(lambda: run.notes.count("connection_lost") == 1)
        await asyncio.sleep(2.0)
        tried = run.streams.handshakes_s[before:]
        # Five at once at first; from then on about one for each waiting time, not five.
        assert 10 <= len(tried) <= 5 + 3.5 / 0.2
        assert run.notes.count("connection_lost") == 1
        run.streams.refusing = False
        await whole(run)
        await until(lambda: not run.pool.down)
        assert run.notes.count("connected") == 10
        assert len(run.streams.wires) == 5
        assert run.notes.count("attempt") >= 10


async def test_attempts_never_exceed_their_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often connections are cut, no window sees more attempts than allowed."""
    monkeypatch.setattr("tapewatch.feeds.attempts.WINDOW_S", 1.0)
    monkeypatch.setattr("tapewatch.feeds.attempts.MARGIN_S", 0.1)
    async with pooling(SIX, streams_per_connection=1, backoff_s=(0.01,), attempts_per_5m=8) as run:
        end_s = time.monotonic() + 4
        while time.monotonic() < end_s:
            run.streams.cut()
            await asyncio.sleep(0.05)
        made_s = run.streams.handshakes_s
        assert len(made_s) >= 20
        assert all(late - early > 0.8 for early, late in zip(made_s, made_s[8:], strict=False))  # as they arrived
        await whole(run)


async def test_a_connection_that_never_brings_data_is_no_connection() -> None:
    """Acknowledged and silent again and again: the pool is down, backs off and says so."""
    async with pooling(SIX[:1], silence_s=0.2, backoff_s=(0.05,), down_after_s=0.4, attempts_per_5m=1000) as run:
        run.streams.mute = set(SIX)
        await until(lambda: run.notes.count("connection_lost") == 1)
        assert run.pool.down
        assert run.streams.names
        run.streams.mute = set()
        for _ in range(100):
            await run.minute()
            await asyncio.sleep(0.05)
            if not run.pool.down:
                break
        assert not run.pool.down


async def test_a_connection_of_sleeping_symbols_is_no_alarm() -> None:
    """While others bring bars, one whose few symbols never trade is replaced ever more rarely, and nobody is told."""
    async with pooling(SIX, streams_per_connection=3, silence_s=0.2, backoff_s=(0.01,), attempts_per_5m=1000) as run:
        await until(lambda: run.settled)
        run.streams.mute = set(run.streams.wires[0].names)
        for _ in range(60):
            await run.minute()
            await asyncio.sleep(0.05)
        assert 2 <= run.notes.count("replaced") <= 5  # after 0.2, 0.4, 0.8, 1.6 s
        assert run.notes.count("connection_lost") == run.notes.count("attempt") == 0
        assert not run.pool.down
        run.streams.mute = set()
        await whole(run)


@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.01, 0.03, 0.1, 0.4])
async def test_a_stop_at_any_moment_leaves_nothing_behind(after_s: float) -> None:
    """Cancelled while connecting, subscribing, handing over or running: no task and no socket stays."""
    streams = Streams()
    async with pooling(SIX, streams, streams_per_connection=1, max_age_s=0.3, attempts_per_5m=1000):
        await asyncio.sleep(after_s)
    assert not streams.wires
