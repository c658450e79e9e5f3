"""Faults of REST, as a client sees them: statuses, bodies, clocks and rows."""

import json
import re
import time
from typing import Any

import aiohttp
import pytest
from simulated import START_MS, TableMarket, closed, connected, eventually, get, serving

from tapewatch.model import MINUTE_MS
from tapewatch.simulator import FaultRule, Simulator

MINUTE = MINUTE_MS
KLINES = "klines?symbol=BTCUSDT&interval=1m&limit=3"


def rule(**keys: Any) -> FaultRule:
    """A rule as the script would give it."""
    return FaultRule.model_validate(keys)


async def asked(path: str, *rules: FaultRule, times: int = 1, seed: int = 0) -> tuple[list[Any], Simulator]:
    """Status, text and headers of answers after three simulated minutes; an error of the client in their place."""
    answers: list[Any] = []
    async with (
        serving(TableMarket(minutes=3), faults=rules, at_end="hold", seed=seed) as simulator,
        connected(simulator, "/ws/btcusdt@kline_1m"),
        aiohttp.ClientSession() as session,
    ):
        await simulator.wait_ended()
        for _ in range(times):
            try:
                async with session.get(f"{simulator.rest_url}/api/v3/{path}") as answer:
                    answers.append((answer.status, await answer.text(), answer.headers))
            except aiohttp.ClientError as error:
                answers.append(error)
    return answers, simulator


@pytest.mark.parametrize(
    ("kind", "status", "code", "said"),
    [
        ("http_429", 429, -1003, "Too many requests queued"),
        ("http_418", 418, -1003, "IP banned until"),
        ("http_451", 451, 0, "Service unavailable from a restricted location"),
        ("http_busy", 503, -1008, "Server is currently overloaded"),
    ],
)
async def test_a_request_is_answered_with_the_error_of_the_rule(kind: str, status: int, code: int, said: str) -> None:
    """Once without `for`; the next request gets its own answer."""
    (first, second), simulator = await asked("ping", rule(at="30s", kind=kind), times=2)
    body = json.loads(first[1])
    assert (first[0], body["code"]) == (status, code)
    assert said in body["msg"]
    assert ("Retry-After" in first[2]) == (status in {418, 429})
    assert (second[0], second[1]) == (200, "{}")
    assert simulator.books.faults == {kind: 1}
    assert simulator.books.breaches == {}


async def test_a_ban_lasts_its_time_and_says_until_when() -> None:
    """The wait is in wall seconds, the end in the text is the wall clock's."""
    rules = rule(at="30s", kind="http_418", **{"for": "10m"})
    began_s = time.time()
    (first, second), _ = await asked("ping", rules, times=2)
    assert [first[0], second[0]] == [418, 418]
    match = re.search(r"banned until (\d+)\.", json.loads(first[1])["msg"])
    assert match is not None
    assert began_s - 2 < int(match[1]) / 1000 - int(first[2]["Retry-After"]) < time.time() + 2


async def test_a_block_by_the_firewall_is_a_page() -> None:
    """403 with HTML, not JSON."""
    ((status, text, headers),), _ = await asked("ping", rule(at="30s", kind="http_403"))
    assert status == 403
    assert headers["Content-Type"].startswith("text/html")
    assert "403 Forbidden" in text


async def test_truncated_json_ends_in_the_middle_of_the_text_or_of_the_connection() -> None:
    """Each seed picks; the client sees half of the answer, or none."""
    seen = set()
    for seed in range(8):
        (answer,), simulator = await asked(KLINES, rule(at="30s", kind="http_truncated"), seed=seed)
        assert simulator.books.faults == {"http_truncated": 1}
        if isinstance(answer, aiohttp.ClientPayloadError):
            seen.add("wire")
            continue
        assert answer[0] == 200
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(answer[1])
        assert answer[1].startswith("[[17041")
        seen.add("text")
    assert seen == {"text", "wire"}


async def test_the_servers_clock_is_wrong_for_a_while() -> None:
    """In `time` and `exchangeInfo`, not in what it serves."""
    reported: list[dict[str, Any]] = []
    faults = [rule(at="30s", kind="skew", offset="-90s", **{"for": "1h"})]
    async with (
        serving(TableMarket(minutes=3), faults=faults, at_end="hold", on_fault=reported.append) as simulator,
        connected(simulator, "/ws/btcusdt@kline_1m") as client,
    ):
        _, before, _ = await get(simulator, "time")
        await simulator.wait_ended()
        _, after, _ = await get(simulator, "time")
        _, info, _ = await get(simulator, "exchangeInfo?symbol=BTCUSDT")
        _, rows, _ = await get(simulator, KLINES)
        frame = await client.hear()
        now_ms = simulator.clock.now_ms()
    assert after["serverTime"] == info["serverTime"] == now_ms - 90_000
    assert before["serverTime"] >= START_MS
    assert rows[-1][0] == START_MS + 2 * MINUTE
    assert frame["E"] > START_MS + MINUTE
    assert reported == [{"fault": "skew", "at_ms": START_MS + 30_000, "offset_ms": -90_000, "for_ms": 3_600_000}]


async def test_the_clock_is_right_again_after_its_time() -> None:
    """Simulated time."""
    faults = [rule(at="30s", kind="skew", offset="5m", **{"for": "1m"})]
    async with (
        serving(TableMarket(minutes=3), faults=faults, at_end="hold") as simulator,
        connected(simulator, "/ws/btcusdt@kline_1m"),
    ):
        await simulator.wait_ended()
        _, after, _ = await get(simulator, "time")
    assert after["serverTime"] == simulator.clock.now_ms()


@pytest.mark.parametrize("lasting", [{}, {"for": "1h"}, {"for": "20s"}])
async def test_rest_differs_from_the_closed_frame_for_good_or_for_a_while(lasting: dict[str, str]) -> None:
    """The frame has the stored values; only the bars of the next boundary are concerned."""
    market = TableMarket(minutes=4)
    faults = [rule(at="90s", kind="correction", symbols=["BTCUSDT"], **lasting)]
    async with serving(market, faults=faults, at_end="hold") as simulator:
        async with connected(simulator, "/ws/btcusdt@kline_1m/btcusdt@kline_5m/ethusdt@kline_1m") as client:
            bars = closed([await client.hear() for _ in range(8)])
            await simulator.wait_ended()
        _, rows, _ = await get(simulator, f"klines?symbol=BTCUSDT&interval=1m&startTime={START_MS}")
        _, others, _ = await get(simulator, f"klines?symbol=ETHUSDT&interval=1m&startTime={START_MS}")
    stored = {bar.open_ms: bar for bar in market.candles("BTCUSDT").slice(START_MS).bars()}
    mine = [bar for bar in bars if bar["s"] == "BTCUSDT"]
    assert all(float(bar["c"]) == stored[bar["t"]].close for bar in mine)
    differing = [row for row in rows if float(row[5]) != stored[row[0]].volume]
    if lasting == {"for": "20s"}:
        assert differing == []
        return
    (row,) = differing
    assert row[0] == START_MS + MINUTE
    assert float(row[4]) != stored[row[0]].close
    assert float(row[3]) <= float(row[4]) <= float(row[2])
    assert float(row[5]) == pytest.approx(stored[row[0]].volume * 1.25)
    assert [float(row[5]) for row in others] == [bar.volume for bar in market.candles("ETHUSDT").slice(START_MS).bars()]


async def test_each_rule_has_a_request_however_fast_time_is() -> None:
    """Several rules that are over before anybody asked are served one after the other."""
    rules = [rule(at="10s", kind="http_403"), rule(at="20s", kind="http_451"), rule(at="30s", kind="http_busy")]
    answers, _ = await asked("ping", *rules, times=4)
    assert [status for status, _, _ in answers] == [403, 451, 503, 200]


async def test_a_rule_that_fires_again_before_anybody_asked_has_one_request() -> None:
    """Not one for each time it fired."""
    answers, _ = await asked("ping", rule(every="10s", kind="http_busy"), times=3)
    assert [status for status, _, _ in answers] == [503, 200, 200]


async def test_futures_have_the_same_faults() -> None:
    """Under /fapi/v1."""
    async with (
        serving(TableMarket(minutes=3), faults=[rule(at="30s", kind="http_451")], at_end="hold") as simulator,
        connected(simulator, "/ws/btcusdt@kline_1m"),
        aiohttp.ClientSession() as session,
    ):
        await eventually(lambda: simulator.clock.now_ms() > START_MS + 30_000)
        url = f"{simulator.rest_url}/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=2"
        async with session.get(url) as first, session.get(url) as second:
            assert (first.status, second.status) == (451, 200)
            assert len(await second.json()) == 2
