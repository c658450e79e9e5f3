"""What the feed does when the exchange misbehaves: every bar still comes once, in order."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from feed_exchange import START_MS, candle, frame, until
from feed_run import SYMBOLS, running

from tapewatch.model import MINUTE_MS


async def test_missing_close_is_fetched() -> None:
    """A bar whose frame never comes is fetched after the settling delay, without waiting for the next one."""
    async with running(SYMBOLS) as run:
        await run.minute(["BTCUSDT", "SOLUSDT"])
        await run.all_out()
        assert run.notes.of("gap")[0][0] == "ETHUSDT"
        assert run.notes.count("filled") == 1
        sources = {(bar.symbol, source) for bar, source, _ in run.notes.of("released")}
        assert sources == {("BTCUSDT", "ws"), ("SOLUSDT", "ws"), ("ETHUSDT", "rest")}


async def test_reset_connection_comes_back_and_loses_nothing() -> None:
    """Bars closed while the connection was down are fetched in order after it is back."""
    async with running(SYMBOLS) as run:
        await run.minute()
        await run.all_out()
        run.exchange.cut()
        await until(lambda: run.notes.count("disconnected") == 1)
        for _ in range(3):
            await run.minute()
        await until(lambda: run.notes.count("connected") == 2)
        await run.minute()
        await run.all_out()
        assert run.notes.count("attempt") >= 1


async def test_two_reconnects_in_a_row() -> None:
    """A connection cut again right after it came back costs nothing but time."""
    async with running(SYMBOLS) as run:
        for round_number in (1, 2, 3):
            run.exchange.cut()
            await until(lambda n=round_number: run.notes.count("connected") == n + 1)
        await run.minute()
        await run.all_out()


async def test_cut_in_the_middle_of_a_frame() -> None:
    """Half a frame followed by a reset is no bar; the bar comes over REST."""
    async with running(SYMBOLS) as run:
        run.exchange.write_raw(b"\x81\x7e\x01\x80" + frame(candle("BTCUSDT", START_MS), START_MS).encode()[:100])
        await asyncio.sleep(0.02)
        run.exchange.cut()
        await run.minute(["ETHUSDT"])
        await run.all_out()


async def test_garbage_is_counted_and_does_no_harm() -> None:
    """Frames that are no JSON, lack members, have the wrong type or are not text are counted; bars go on."""
    bar = frame(candle("BTCUSDT", START_MS), START_MS)
    garbage = [
        "", "{", "null", "[]", '"x"', '{"e":"kline"}', "\x00", "[1,2" * 1000,
        '{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1,"s":"BTCUSDT","k":{"t":"x"}}}',
        bar.replace('"x": true', '"x": "maybe"'), bar.replace('"o": "', '"o": "z'), bar.replace('"1m"', '"7m"'),
    ]  # fmt: skip
    harmless = [
        '{"stream":"!miniTicker@arr","data":[{"e":"24hrMiniTicker"}]}', '{"u":1,"s":"BTCUSDT","b":"1"}', "{}",
        '{"stream":"x","data":null}', frame(candle("XRPUSDT", START_MS), START_MS + MINUTE_MS),
    ]  # fmt: skip
    async with running(SYMBOLS) as run:
        for text in garbage + harmless:
            await run.exchange.send(text)
        await run.exchange.sockets[-1].send_bytes(b"binary")
        await run.minute()
        await run.all_out()
        assert run.feed.counts.malformed == len(garbage) + 1
        assert run.feed.counts.unexpected == len(harmless)
        assert run.feed.counts.malformed == run.notes.count("malformed")
        assert run.notes.count("disconnected") == 0


async def test_huge_frame_is_outlived() -> None:
    """A message beyond all bounds costs the connection, not the feed."""
    async with running(SYMBOLS) as run:
        await run.exchange.send("x" * (3 << 20))
        await until(lambda: run.notes.count("connected") == 2)
        await run.minute()
        await run.all_out()


async def test_fragmented_message_is_put_together() -> None:
    """A bar whose message comes in three frames, with a ping between, is read like any other."""
    async with running(["BTCUSDT"]) as run:
        run.minute_ms += MINUTE_MS
        run.exchange.set_time(run.minute_ms + 50)
        data = frame(candle("BTCUSDT", START_MS), run.minute_ms + 50).encode()
        parts = [data[:50], data[50:100], data[100:]]
        heads = [b"\x01", b"\x00", b"\x80"]
        wire = [
            head + (bytes([len(part)]) if len(part) < 126 else b"\x7e" + len(part).to_bytes(2, "big")) + part
            for head, part in zip(heads, parts, strict=True)
        ]
        run.exchange.write_raw(wire[0] + b"\x89\x03abc" + wire[1] + wire[2])
        await run.all_out()
        assert run.notes.of("released")[0][1] == "ws"


async def test_duplicates_corrections_and_stale_frames_release_nothing() -> None:
    """A closed bar that comes again, changed or running, is counted and never sent on again."""
    async with running(["BTCUSDT"]) as run:
        await run.minute()
        await run.all_out()
        bar = candle("BTCUSDT", START_MS)
        event_ms = run.minute_ms + 200
        await run.exchange.send(frame(bar, event_ms))
        await run.exchange.send(frame(bar, event_ms, closed=False))
        await run.exchange.send(frame(bar, event_ms).replace(f'"n": {int(bar.trades)}', '"n": 777'))
        await run.exchange.send(frame(bar, event_ms, combined=False))
        await run.minute()
        await run.all_out()
        assert run.feed.counts.duplicates == run.notes.count("duplicate") == 2
        assert run.feed.counts.corrections == run.notes.count("correction") == 1
        [correction] = run.sink.corrections
        assert (correction.before, correction.after.trades) == (bar, 777.0)


async def test_bad_candle_is_refused() -> None:
    """A candle that makes no sense is refused with its reason, and the sound one of REST comes instead."""
    async with running(["BTCUSDT"]) as run:
        bar = candle("BTCUSDT", START_MS)
        run.exchange.set_time(START_MS + MINUTE_MS + 10)
        bad = frame(bar, START_MS + MINUTE_MS + 10).replace(f'"l": "{bar.low:.8f}"', '"l": "-1"')
        await run.exchange.send(bad)
        await run.exchange.send(frame(bar, START_MS + 30_000))  # closed in the middle of its minute
        run.minute_ms += MINUTE_MS
        await run.all_out()
        assert [reason for _, _, reason in run.notes.of("refused")] == [
            "price not above zero",
            "closed before its time",
        ]
        assert run.feed.counts.refused == 2


async def test_reordered_frames_come_out_in_order() -> None:
    """A bar that overtakes its predecessor waits for it."""
    async with running(["BTCUSDT"]) as run:
        run.exchange.set_time(START_MS + 2 * MINUTE_MS + 50)
        await run.exchange.send(frame(candle("BTCUSDT", START_MS + MINUTE_MS), START_MS + 2 * MINUTE_MS + 10))
        await run.exchange.send(frame(candle("BTCUSDT", START_MS), START_MS + 2 * MINUTE_MS + 20))
        run.minute_ms += 2 * MINUTE_MS
        await run.all_out()


async def test_outage_is_confirmed_and_left_out() -> None:
    """Minutes the exchange has no candles for are reported as an outage; what follows is released after them."""
    async with running(SYMBOLS) as run:
        await run.minute()
        run.exchange.holes = {(s, START_MS + m * MINUTE_MS) for s in SYMBOLS for m in range(1, 6)}
        for _ in range(6):
            await run.minute()
            await asyncio.sleep(0.02)
        await run.all_out()
        outages = {symbol: (from_ms, to_ms) for symbol, from_ms, to_ms in run.notes.of("outage")}
        assert outages == dict.fromkeys(SYMBOLS, (START_MS + MINUTE_MS, START_MS + 6 * MINUTE_MS))
        assert run.notes.count("replaced") == run.notes.count("disconnected") == 0


async def test_stalled_connection_is_replaced() -> None:
    """A connection that stands but brings nothing is replaced as soon as REST shows what it kept back."""
    async with running(SYMBOLS) as run:
        await run.minute()
        run.exchange.set_time(run.minute_ms + 2 * MINUTE_MS + 500)
        run.minute_ms += 2 * MINUTE_MS
        await run.exchange.send(frame(candle("BTCUSDT", START_MS), START_MS + MINUTE_MS + 1, closed=False))
        await run.told_time()
        await until(lambda: run.notes.count("replaced") == 1)
        await run.minute()
        await run.all_out()
        assert "silent" in run.notes.of("replaced")[0][0]


async def test_silence_by_the_wall_clock_replaces_the_connection() -> None:
    """With no frame for longer than allowed a new connection takes over."""
    async with running(["BTCUSDT"], silence_s=0.2) as run:
        await run.minute()
        await until(lambda: run.notes.count("replaced") == 1)
        await run.minute()
        await run.all_out()


async def test_old_connection_is_replaced_with_overlap() -> None:
    """Before its age limit a connection is replaced by one that is subscribed before the old one is closed."""
    async with running(["BTCUSDT"], max_age_s=0.3, silence_s=0.4) as run:
        overlapped: list[int] = []
        run.exchange.before_ack = lambda _: overlapped.append(len(run.exchange.sockets))
        await run.minute()
        replaced = run.notes.count("replaced")  # on a busy machine one may have been so early that it was not seen
        await until(lambda: overlapped and run.notes.count("replaced") > replaced)
        assert set(overlapped) == {2}
        assert run.notes.count("disconnected") == 0
        await run.minute()
        await run.all_out()


@pytest.mark.parametrize("combined", [True, False])
async def test_shutdown_notice_replaces_the_connection(combined: bool) -> None:
    """`serverShutdown` in either shape brings a new connection at once."""
    event: dict[str, Any] = {"e": "serverShutdown", "E": START_MS}
    async with running(["BTCUSDT"]) as run:
        await run.minute()
        await run.exchange.send(json.dumps({"stream": "!serverShutdown", "data": event} if combined else event))
        await until(lambda: run.notes.count("replaced") == 1)
        await run.minute()
        await run.all_out()


async def test_five_failed_attempts_are_an_alert_and_connecting_goes_on() -> None:
    """After five failures in a row connection_lost is said once; the feed still comes back."""
    async with running(["BTCUSDT"], backoff_s=(0.01, 0.02)) as run:
        port = run.exchange.port
        await run.exchange.stop()
        await until(lambda: run.notes.count("attempt") >= 8)
        assert run.notes.count("connection_lost") == 1
        assert run.notes.of("connection_lost")[0][0] == 5
        await run.exchange.start(port)
        await until(lambda: run.notes.count("connected") == 2)
        await run.minute()
        await run.all_out()


@pytest.mark.parametrize("refusal", ['{"code":2,"msg":"no","id":%d}', '{"error":{"code":4,"msg":"many"},"id":%d}'])
async def test_refused_subscription_is_a_failed_attempt(refusal: str) -> None:
    """An error in either shape to SUBSCRIBE makes the feed try again."""
    async with running(["BTCUSDT"]) as run:
        run.exchange.before_ack = lambda asked: refusal % asked["id"]
        run.exchange.cut()
        await until(lambda: any("refused" in error for _, _, error, *_ in run.notes.of("attempt")))
        run.exchange.before_ack = None
        await run.minute()
        await run.all_out()


async def test_rest_trouble_during_gap_fill() -> None:
    """429, 418, 500, cut-off JSON, a wrong rate and a hang delay the gap fill and lose nothing."""

    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    answers: list[Any] = [
        web.Response(status=500),
        web.Response(status=429, headers={"Retry-After": "0"}, text='{"code":-1003,"msg":"weight"}'),
        web.Response(status=418, headers={"Retry-After": "0"}, text='{"code":-1003,"msg":"banned"}'),
        web.Response(status=400, text='{"code":-1008,"msg":"busy"}'),
        web.Response(text='[[1,"2'),
        web.Response(text="{}"),
        web.Response(status=301, headers={"Location": "http://127.0.0.1:1/"}),
        hang,
    ]

    async def trouble(request: web.Request) -> web.Response | None:
        if not answers or "klines" not in request.path:
            return None
        answer = answers.pop(0)
        return await answer(request) if callable(answer) else answer

    async with running(["BTCUSDT"], request_timeout_s=0.3, backoff_s=(0.01, 0.02)) as run:
        run.exchange.before_rest = trouble
        run.exchange.cut()
        for _ in range(3):
            await run.minute()
        await run.all_out()
        assert not answers


async def test_symbol_refused_by_rest_leaves_the_others_alone() -> None:
    """`Invalid symbol` for one symbol is said, and the others go on."""

    async def refuse(request: web.Request) -> web.Response | None:
        if request.query.get("symbol") == "ETHUSDT":
            return web.Response(status=400, text='{"code":-1121,"msg":"Invalid symbol."}')
        return None

    async with running(SYMBOLS) as run:
        run.exchange.before_rest = refuse
        await run.minute(["BTCUSDT", "SOLUSDT"])
        await until(lambda: run.notes.count("warning"))
        run.exchange.before_rest = None
        await run.minute()
        await run.all_out()


def flaky(chance: random.Random) -> Callable[[web.Request], Any]:
    """REST that fails a quarter of the time."""

    async def answer(request: web.Request) -> web.Response | None:
        roll = chance.random()
        if roll < 0.15:
            return web.Response(status=chance.choice([500, 502, 503]))
        if roll < 0.2:
            return web.Response(status=429, headers={"Retry-After": "0"})
        return web.Response(text="[[17") if roll < 0.25 else None

    return answer


def mangled(text: str, chance: random.Random, kept: list[str]) -> list[str]:
    """What is sent in place of a frame: nothing, nothing yet, half of it, it twice, or it."""
    roll = chance.random()
    if roll < 0.15:
        return []
    if roll < 0.3:
        kept.append(text)
        return []
    if roll < 0.35:
        return [text[: chance.randrange(len(text))]]
    return [text] * (2 if roll < 0.45 else 1)


@pytest.mark.parametrize("seed", range(6))
async def test_random_trouble(seed: int) -> None:
    """Whatever is dropped, doubled, reordered, garbled, cut or answered wrongly: every bar comes once, in order."""
    chance = random.Random(seed)
    async with running(SYMBOLS, backoff_s=(0.01, 0.03), recheck_s=(0.05,), settle_wall_s=0.02) as run:
        run.exchange.before_rest = flaky(chance)
        run.exchange.holes = {
            (s, START_MS + m * MINUTE_MS) for s in SYMBOLS for m in range(60) if chance.random() < 0.03
        }
        kept: list[str] = []
        for _ in range(60):
            open_ms, run.minute_ms = run.minute_ms, run.minute_ms + MINUTE_MS
            run.exchange.set_time(run.minute_ms + 150)
            for symbol in SYMBOLS:
                if (symbol, open_ms) not in run.exchange.holes:
                    text = frame(candle(symbol, open_ms), run.minute_ms + 100)
                    for sent in mangled(text, chance, kept):
                        await run.exchange.send(sent)
            chance.shuffle(kept)
            while kept and chance.random() < 0.5:
                await run.exchange.send(kept.pop())
            if chance.random() < 0.05:
                run.exchange.cut()
            await asyncio.sleep(0.005)
        await run.all_out(30.0)
