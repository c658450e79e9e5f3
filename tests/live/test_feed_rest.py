"""REST through limits, bans, closed regions and dead hosts, on real sockets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from feed_exchange import START_MS, Exchange, Notes, quick, until

from tapewatch.errors import DataError, SetupError
from tapewatch.feeds import ExchangeClock, FeedObserver
from tapewatch.feeds.bans import LONGEST_MS, Bans, epoch_ms
from tapewatch.feeds.budget import Urgency
from tapewatch.feeds.rest import Rest
from tapewatch.model import MINUTE_MS

Answer = Callable[[web.Request], Awaitable[web.Response | None]]


def answering(status: int, text: str = "{}", **headers: str) -> Answer:
    """REST that always answers so."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


@pytest.fixture
async def two() -> AsyncIterator[tuple[Exchange, Exchange]]:
    """The first host and its alternate."""
    exchanges = Exchange(["BTCUSDT"]), Exchange(["BTCUSDT"])
    for exchange in exchanges:
        await exchange.start()
    yield exchanges
    for exchange in exchanges:
        await exchange.stop()


def both(two: tuple[Exchange, Exchange], **changes: Any) -> Any:
    """Settings that name both hosts."""
    return quick(two[0].port, rest_hosts=(f"http://127.0.0.1:{two[1].port}",), **changes)


async def test_a_ban_holds_across_restarts(two: tuple[Exchange, Exchange], tmp_path: Path) -> None:
    """A start during a ban makes no request at all until the very second at which the ban ends."""
    exchange = two[0]
    settings = quick(exchange.port, state_file=tmp_path / "bans.json")
    exchange.before_rest = answering(418, '{"code":-1003,"msg":"banned"}', Retry_After="2")
    notes, began_s = Notes(), time.monotonic()
    async with Rest(settings, ExchangeClock(), notes) as rest:
        asking = asyncio.create_task(rest.sync_clock())
        await until(lambda: notes.count("banned"))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert len(exchange.requests) == 1
    assert notes.of("banned")[0][:2] == (f"http://127.0.0.1:{exchange.port}", 2.0)
    asked_s: list[float] = []

    async def noted(_: web.Request) -> None:
        asked_s.append(time.monotonic())

    exchange.before_rest = noted
    notes = Notes()
    async with Rest(settings, ExchangeClock(), notes) as rest:
        assert 0 < notes.of("banned")[0][1] <= 2.0
        await rest.sync_clock()
    assert len(exchange.requests) == len(asked_s) + 1 == 2
    assert 2.0 <= asked_s[0] - began_s < 8.0
    async with Rest(settings, ExchangeClock(), notes) as rest:
        await rest.sync_clock()
    assert notes.count("banned") == 1


async def test_a_banned_host_is_replaced_by_its_alternate(two: tuple[Exchange, Exchange]) -> None:
    """While one host has banned this address the other answers; nothing more goes to the first."""
    two[0].before_rest = answering(418, Retry_After="60")
    async with Rest(both(two), ExchangeClock(), Notes()) as rest:
        for _ in range(3):
            await rest.sync_clock()
    assert len(two[0].requests) == 1
    assert len(two[1].requests) == 3


async def test_the_end_of_a_ban_stands_in_its_text_too(two: tuple[Exchange, Exchange]) -> None:
    """Without a Retry-After the epoch time in the message counts."""
    two[0].before_rest = answering(418, json.dumps({"code": -1003, "msg": f"IP banned until {epoch_ms() + 90_000}."}))
    notes = Notes()
    async with Rest(both(two), ExchangeClock(), notes) as rest:
        await rest.sync_clock()
    assert 80 < notes.of("banned")[0][1] <= 90


async def test_the_firewall_is_left_alone_for_long(two: tuple[Exchange, Exchange]) -> None:
    """A 403 closes its host for minutes; the alternate is asked."""
    two[0].before_rest = answering(403, "<html>denied</html>")
    notes = Notes()
    async with Rest(both(two), ExchangeClock(), notes) as rest:
        await rest.sync_clock()
    assert notes.of("banned")[0][1] == 300.0
    assert (len(two[0].requests), len(two[1].requests)) == (1, 1)


async def test_a_reached_limit_counts_for_every_host(two: tuple[Exchange, Exchange]) -> None:
    """Weights are counted per address: after a 429 of one host the other is not asked either."""
    refusals = [answering(429, Retry_After="1")]

    async def once(request: web.Request) -> web.Response | None:
        return await refusals.pop()(request) if refusals else None

    two[0].before_rest = once
    began_s = time.monotonic()
    async with Rest(both(two), ExchangeClock(), Notes()) as rest:
        await rest.sync_clock()
    assert time.monotonic() - began_s >= 1.0
    assert (len(two[0].requests), len(two[1].requests)) == (2, 0)


async def test_a_closed_region_moves_on_to_the_next_host(two: tuple[Exchange, Exchange]) -> None:
    """A host that refuses the region is asked once and never again."""
    two[0].before_rest = answering(451, '{"code":0,"msg":"Service unavailable from a restricted location"}')
    notes = Notes()
    async with Rest(both(two), ExchangeClock(), notes) as rest:
        for _ in range(3):
            await rest.sync_clock()
    assert (len(two[0].requests), len(two[1].requests)) == (1, 3)
    assert "refuses this region" in notes.of("warning")[0][0]


async def test_every_host_refuses_the_region(two: tuple[Exchange, Exchange]) -> None:
    """With no host left the set-up is wrong, and the message names the key."""
    for exchange in two:
        exchange.before_rest = answering(451)
    async with Rest(both(two), ExchangeClock(), Notes()) as rest:
        with pytest.raises(SetupError, match=r"exchange\.rest_hosts"):
            await rest.sync_clock()


async def test_a_region_that_closes_later_does_not_end_the_run(two: tuple[Exchange, Exchange]) -> None:
    """A host that has answered before is left alone for a while, since its streams may go on."""
    notes = Notes()
    async with Rest(quick(two[0].port), ExchangeClock(), notes) as rest:
        await rest.sync_clock()
        two[0].before_rest = answering(451)
        asking = asyncio.create_task(rest.sync_clock())
        await until(lambda: notes.count("banned"))
        assert not asking.done()
        assert rest.failing
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.alone
async def test_an_unreachable_host_is_replaced_and_preferred_again(two: tuple[Exchange, Exchange]) -> None:
    """The alternate answers at once when the first host is gone; back again, the first one is asked."""
    first, other = two
    port = first.port
    await first.stop()
    notes = Notes()
    async with Rest(both(two, breaker_s=(0.3,)), ExchangeClock(), notes) as rest:
        began_s = time.monotonic()
        await rest.sync_clock()
        assert time.monotonic() - began_s < 0.25
        assert len(other.requests) == 1
        await first.start(port)
        await asyncio.sleep(0.4)
        await rest.sync_clock()
        assert (len(first.requests), len(other.requests)) == (1, 1)
    assert notes.count("connection_lost") == 0


async def test_failures_in_a_row_close_the_door(two: tuple[Exchange, Exchange]) -> None:
    """After five failures few requests go however many wait; one of them finds out that the exchange is back."""
    exchange = two[0]
    exchange.before_rest = answering(503)
    notes = Notes()
    async with Rest(quick(exchange.port, breaker_s=(0.2,), concurrency=4), ExchangeClock(), notes) as rest:
        many = [
            asyncio.create_task(rest.bars("BTCUSDT", MINUTE_MS, START_MS - 5 * MINUTE_MS, None, Urgency.GAP))
            for _ in range(30)
        ]
        await until(lambda: ("open",) in notes.of("breaker"))
        opened, at_s = len(exchange.requests), time.monotonic()
        assert opened <= 8
        await asyncio.sleep(0.7)
        tried = len(exchange.requests) - opened
        assert tried <= (time.monotonic() - at_s) / 0.2 + 4
        exchange.before_rest = None
        pages = await asyncio.gather(*many)
    assert all(len(page.bars) >= 5 for page in pages)
    assert notes.of("breaker")[-1] == ("closed",)
    assert ("half-open",) in notes.of("breaker")


async def test_many_requests_that_fail_together_are_one_failure(two: tuple[Exchange, Exchange]) -> None:
    """Eight requests cut by one burst are no lost connection."""
    exchange = two[0]
    refusals = 8

    async def burst(_: web.Request) -> web.Response | None:
        nonlocal refusals
        refusals -= 1
        await asyncio.sleep(0.05)
        return web.Response(status=503) if refusals >= 0 else None

    exchange.before_rest = burst
    notes = Notes()
    async with Rest(quick(exchange.port, concurrency=8), ExchangeClock(), notes) as rest:
        await asyncio.gather(*(rest.sync_clock() for _ in range(8)))
    assert notes.count("connection_lost") == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"banned_until_ms":{"x":"soon"}}', b"\xff\xfe"])
def test_a_damaged_file_of_bans_is_as_none(content: bytes, tmp_path: Path) -> None:
    """What cannot be read is said and costs nothing but the memory of old bans."""
    (tmp_path / "bans.json").write_bytes(content)
    warnings: list[str] = []
    bans = Bans(tmp_path / "bans.json", warnings.append)
    assert bans.remaining_s("http://x") == 0
    assert len(warnings) == 1
    bans.keep({"http://x": 60.0})
    assert Bans(tmp_path / "bans.json", warnings.append).remaining_s("http://x") > 50
    assert [path.name for path in tmp_path.iterdir()] == ["bans.json"]


def test_a_ban_that_cannot_be_kept_holds_all_the_same(tmp_path: Path) -> None:
    """Where the file cannot be written this process still obeys, and says so."""
    warnings: list[str] = []
    bans = Bans(tmp_path / "nowhere" / "bans.json", warnings.append)
    bans.keep({"http://x": 60.0})
    assert bans.remaining_s("http://x") > 50
    assert "could not be kept" in warnings[0]


def test_a_ban_from_a_wrong_clock_ends(tmp_path: Path) -> None:
    """No ban is longer than three days; an end further away was written by a clock that was wrong. Ended ones go."""
    now_ms = [10 * LONGEST_MS]
    path = tmp_path / "bans.json"
    path.write_text(json.dumps({"banned_until_ms": {"http://x": 100 * LONGEST_MS, "http://y": 1}}))
    bans = Bans(path, print, lambda: now_ms[0])
    assert bans.remaining_s("http://x") == LONGEST_MS / 1000
    assert bans.remaining_s("http://y") == 0
    now_ms[0] += 2 * LONGEST_MS
    bans.keep({"http://z": 5.0})
    assert set(json.loads(path.read_text())["banned_until_ms"]) == {"http://z"}


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (451, '{"code":0,"msg":"Service unavailable from a restricted location"}', SetupError),
        (404, "<html>", SetupError),
        (400, '{"code":-1121,"msg":"Invalid symbol."}', DataError),
    ],
)
async def test_refusals_that_waiting_does_not_cure(
    exchange: Exchange, status: int, text: str, error: type[Exception]
) -> None:
    """A closed region and a wrong host are the set-up's fault, an unknown symbol the datum's: none is retried."""

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    exchange.before_rest = refuse
    async with Rest(quick(exchange.port), ExchangeClock(), FeedObserver()) as rest:
        with pytest.raises(error):
            await rest.bars("BTCUSDT", MINUTE_MS, START_MS, None, Urgency.GAP)
    assert len(exchange.requests) == 1


async def test_limits_are_obeyed_for_as_long_as_the_exchange_says(exchange: Exchange) -> None:
    """After a 429 no request of any kind goes before its Retry-After has passed."""
    times: list[float] = []

    async def refuse_once(_: web.Request) -> web.Response | None:
        times.append(time.monotonic())
        return web.Response(status=429, headers={"Retry-After": "1"}) if len(times) == 1 else None

    exchange.before_rest = refuse_once
    async with Rest(quick(exchange.port), ExchangeClock(), FeedObserver()) as rest:
        first = asyncio.create_task(rest.sync_clock())
        await until(lambda: times)
        await asyncio.sleep(0.05)
        await asyncio.gather(first, rest.exchange_info())
    assert all(later - times[0] >= 1.0 for later in times[1:])
    assert len(times) == 3


async def test_the_weight_used_is_what_the_exchange_says(exchange: Exchange) -> None:
    """The header's figure is taken over, and reported with each request."""
    exchange.headers = {"X-MBX-USED-WEIGHT-1M": "1234"}
    notes = Notes()
    async with Rest(quick(exchange.port), ExchangeClock(), notes) as rest:
        await rest.sync_clock()
        assert rest.used_weight == 1234
    assert notes.of("rest_request")[0][:2] == ("/api/v3/time", 200)


async def test_a_wrong_rate_is_not_believed(exchange: Exchange) -> None:
    """A rate that makes no sense is trouble to retry, not a clock to follow."""
    rates = ["zero", "0", "-1", "nan", "1"]

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"serverTime": START_MS}, headers={"X-Tapewatch-Rate": rates.pop(0)})

    exchange.before_rest = answer
    clock = ExchangeClock()
    async with Rest(quick(exchange.port), clock, FeedObserver()) as rest:
        assert START_MS <= await rest.sync_clock() < START_MS + 60_000  # it runs on
    assert rates == []
    assert not clock.paced
