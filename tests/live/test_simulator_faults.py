"""Each scripted fault does what it says, is reported, and leaves REST whole."""

import json
from typing import Any

import aiohttp
import pytest
from simulated import START_MS, TableMarket, closed, connected, eventually, get, serving

from tapewatch.model import MINUTE_MS
from tapewatch.simulator import FaultRule, Limits, Simulator

MINUTE = MINUTE_MS
CHATTY = Limits(messages_per_s=1000)


def rule(**keys: Any) -> FaultRule:
    """A rule as the script would give it."""
    return FaultRule.model_validate(keys)


async def played(*rules: FaultRule, minutes: int = 10, path: str = "/ws/btcusdt@kline_1m", **options: Any) -> Any:
    """Frames that one client saw, what was reported, and the simulator."""
    reported: list[dict[str, Any]] = []
    options = {"faults": rules, "on_fault": reported.append, **options}
    async with serving(TableMarket(minutes=minutes), **options) as simulator, connected(simulator, path) as client:
        frames: list[Any] = []
        while (message := await client.socket.receive(5)).type is aiohttp.WSMsgType.TEXT:
            frames.append(message.data)
        return frames, reported, simulator


def minutes(frames: list[str]) -> list[int]:
    """The bars of the frames, as minutes from the start."""
    return [(kline["t"] - START_MS) // MINUTE for kline in closed([json.loads(frame) for frame in frames])]


async def test_a_duplicate_sends_the_closed_frame_twice() -> None:
    """The next boundary's after `at`, each time of `every`, all within `for`."""
    frames, reported, simulator = await played(rule(at="90s", kind="duplicate"))
    assert minutes(frames) == [0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert frames[1] == frames[2]
    assert [fault["fault"] for fault in reported] == ["duplicate"]
    assert reported[0]["stream"] == "btcusdt@kline_1m"
    assert reported[0]["open_ms"] == START_MS + MINUTE
    assert START_MS + 2 * MINUTE < reported[0]["at_ms"] <= START_MS + 2 * MINUTE + 300
    assert simulator.books.faults == {"duplicate": 1}
    frames, _, _ = await played(rule(every="3m", kind="duplicate"))
    assert minutes(frames) == [0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9]
    frames, _, _ = await played(rule(at="150s", kind="duplicate", **{"for": "3m"}))
    assert minutes(frames) == [0, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 9]


async def test_an_iso_time_and_symbols_say_when_and_whom() -> None:
    """Other symbols are left alone."""
    path = "/ws/btcusdt@kline_1m/ethusdt@kline_1m"
    frames, reported, _ = await played(
        rule(at="2024-01-02T12:02:30Z", kind="missing_close", symbols=["ETHUSDT"]), path=path, minutes=5
    )
    bars = closed([json.loads(frame) for frame in frames])
    assert len([bar for bar in bars if bar["s"] == "BTCUSDT"]) == 5
    assert [(bar["t"] - START_MS) // MINUTE for bar in bars if bar["s"] == "ETHUSDT"] == [0, 1, 3, 4]
    assert [fault["stream"] for fault in reported] == ["ethusdt@kline_1m"]


async def test_a_missing_close_is_in_rest() -> None:
    """The stream skips the bar, REST has it with the stored values."""
    market = TableMarket(minutes=5)
    async with serving(market, faults=[rule(at="150s", kind="missing_close")],
                       at_end="hold") as simulator:  # fmt: skip
        async with connected(simulator, "/ws/btcusdt@kline_1m") as client:
            seen = [(await client.hear())["k"]["t"] for _ in range(4)]
        _, rows, _ = await get(
            simulator, f"klines?symbol=BTCUSDT&interval=1m&startTime={START_MS + 2 * MINUTE}&limit=1"
        )
    missing = next(market.candles("BTCUSDT").slice(START_MS + 2 * MINUTE).bars())
    assert missing.open_ms not in seen
    assert [float(value) for value in rows[0][1:6]] == [
        missing.open, missing.high, missing.low, missing.close, missing.volume,
    ]  # fmt: skip


async def test_a_late_close_comes_after_its_delay() -> None:
    """`for` is the delay; the frame is otherwise the same."""
    frames, reported, _ = await played(rule(at="90s", kind="late_close", **{"for": "2m"}))
    assert minutes(frames) == [0, 2, 1, 3, 4, 5, 6, 7, 8, 9] or minutes(frames) == [0, 2, 3, 1, 4, 5, 6, 7, 8, 9]
    assert [fault["fault"] for fault in reported] == ["late_close"]


async def test_a_reorder_holds_a_closed_frame_back_behind_the_next() -> None:
    """Two bars come in the wrong order, none is lost."""
    frames, _, _ = await played(rule(at="90s", kind="reorder"))
    assert minutes(frames) == [0, 2, 1, 3, 4, 5, 6, 7, 8, 9]


async def test_a_reorder_at_a_slow_pace_puts_a_push_of_the_next_bar_first() -> None:
    """Then the running bar's frame overtakes the closed one."""
    frames, _, _ = await played(rule(at="10s", kind="reorder"), minutes=2, rate=50.0)
    events = [json.loads(frame)["k"] for frame in frames]
    place = next(index for index, kline in enumerate(events) if kline["x"])
    assert events[place]["t"] == START_MS
    assert events[place - 1]["t"] == START_MS + MINUTE


async def test_a_malformed_frame_stands_in_for_the_closed_one() -> None:
    """Truncated JSON, missing or wrong members, another type: each seed picks, and the bar is in none of them whole."""
    kinds = set()
    for seed in range(12):
        frames, reported, _ = await played(rule(at="30s", kind="malformed"), minutes=2, seed=seed)
        assert [fault["fault"] for fault in reported] == ["malformed"]
        assert len(frames) == 2
        broken = frames[0]
        assert broken != frames[1]
        try:
            body = json.loads(broken)
        except ValueError:
            kinds.add("truncated")
            continue
        if not isinstance(body, dict):
            kinds.add("no object")
        elif "c" not in body["k"]:
            kinds.add("no close")
        elif body["k"]["c"].startswith("x"):
            kinds.add("no number")
        else:
            assert float(body["k"]["h"]) < float(body["k"]["l"])
            kinds.add("upside down")
    assert len(kinds) >= 4


async def test_a_second_close_comes_later_with_other_values() -> None:
    """Both say that the bar is closed; REST has what the first one said."""
    market = TableMarket(minutes=3)
    async with serving(market, faults=[rule(at="90s", kind="second_close")], at_end="hold") as simulator:
        async with connected(simulator, "/ws/btcusdt@kline_1m") as client:
            frames = [await client.hear() for _ in range(4)]
        url = f"klines?symbol=BTCUSDT&interval=1m&startTime={START_MS + MINUTE}&limit=1"
        _, (row,), _ = await get(simulator, url)
    bars = closed(frames)
    assert sorted((bar["t"] - START_MS) // MINUTE for bar in bars) == [0, 1, 1, 2]
    first, second = (bar for bar in bars if bar["t"] == START_MS + MINUTE)
    assert {name for name in first if first[name] != second[name]} >= {"c", "v", "q", "n", "V", "Q", "L"}
    assert float(second["l"]) <= float(second["c"]) <= float(second["h"])
    assert float(second["v"]) > float(first["v"])
    assert second["n"] == second["L"] - second["f"] + 1
    assert [row[4], row[5]] == [first["c"], first["v"]]


async def test_a_second_close_of_a_bar_without_trades_has_some() -> None:
    """The price stays, for there is no other."""
    quiet = {("BTCUSDT", START_MS + MINUTE)}
    async with (
        serving(TableMarket(minutes=3, quiet=quiet), faults=[rule(at="90s", kind="second_close")]) as simulator,
        connected(simulator, "/ws/btcusdt@kline_1m") as client,
    ):
        bars = [bar for bar in closed(await client.rest()) if bar["t"] == START_MS + MINUTE]
    assert [(bar["n"], bar["v"]) for bar in bars] == [(0, "0"), (1, "1")]
    assert bars[0]["c"] == bars[1]["c"]


@pytest.mark.parametrize("path", ["/ws/btcusdt@kline_1m", "/stream?streams=btcusdt@kline_1m"])
async def test_an_event_may_come_in_an_array(path: str) -> None:
    """Where an object belongs."""
    frames, reported, _ = await played(rule(at="90s", kind="array"), path=path, minutes=3)
    events = [json.loads(frame) for frame in frames]
    events = [event["data"] if isinstance(event, dict) and "stream" in event else event for event in events]
    assert [type(event) for event in events] == [dict, list, dict]
    assert events[1][0]["k"]["t"] == START_MS + MINUTE
    assert [fault["fault"] for fault in reported] == ["array"]


async def test_unknown_members_come_on_every_event_for_a_while() -> None:
    """Closed frames, running bars and tickers have more in them, and are otherwise the same."""
    reported: list[dict[str, Any]] = []
    faults = [rule(at="61s", kind="extra", **{"for": "1m"})]
    streams = "/stream?streams=btcusdt@kline_1m/btcusdt@miniTicker/btcusdt@bookTicker/!miniTicker@arr"
    async with (
        serving(TableMarket(minutes=3), rate=50.0, faults=faults, on_fault=reported.append) as simulator,
        connected(simulator, streams) as client,
    ):
        frames = [frame for frame in await client.rest() if "data" in frame]
    kinds = {frame["stream"] for frame in frames if '"zz"' in json.dumps(frame)}
    assert kinds == set(streams.partition("=")[2].split("/"))
    extra = [frame["data"] for frame in frames if '"zz"' in json.dumps(frame) and "@kline" in frame["stream"]]
    assert {event["k"]["t"] for event in extra} == {START_MS + MINUTE}
    assert all("zz" in event and "zz" in event["k"] and event["k"]["i"] == "1m" for event in extra)
    assert any(event["k"]["x"] for event in extra)
    assert reported == [{"fault": "extra", "at_ms": START_MS + 61_000, "for_ms": 60_000}]


async def test_each_frame_has_its_own_chance_whatever_else_is_watched() -> None:
    """The same bars are lost for a client that watches one symbol and for one that watches two."""
    rules = rule(at="1s", kind="missing_close", probability=0.5, **{"for": "1h"})
    both = "/ws/ethusdt@kline_1m/btcusdt@kline_1m"
    alone, _, _ = await played(rules, minutes=40)
    among, _, _ = await played(rules, minutes=40, path=both)
    of_btc = [frame for frame in among if json.loads(frame)["s"] == "BTCUSDT"]
    assert minutes(alone) == minutes(of_btc)
    assert len(among) > len(of_btc)


async def test_faults_of_a_bar_and_of_its_rest_row_may_come_together() -> None:
    """A bar that never came, and that REST has wrong for a while."""
    rules = [rule(at="90s", kind="correction", **{"for": "1h"}), rule(at="90s", kind="missing_close")]
    frames, reported, _ = await played(*rules)
    assert minutes(frames) == [0, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [fault["fault"] for fault in reported] == ["correction", "missing_close"]


async def test_a_drop_resets_every_connection_and_refuses_new_ones_for_a_while() -> None:
    """No close frame is sent; during `for` a handshake is answered 503, then connections are served again."""
    reported: list[dict[str, Any]] = []
    faults = [rule(at="90s", kind="drop", **{"for": "60s"})]
    async with serving(TableMarket(minutes=10), rate=300.0, faults=faults, on_fault=reported.append) as simulator:
        async with connected(simulator, "/ws/btcusdt@kline_1m") as client:
            while (message := await client.socket.receive(5)).type is aiohttp.WSMsgType.TEXT:
                pass
            assert client.socket.close_code in {None, 1006}
            assert message.type is not aiohttp.WSMsgType.CLOSE
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            async with connected(simulator):
                pass
        await eventually(lambda: simulator.clock.now_ms() >= START_MS + 150_000)
        async with connected(simulator, "/ws/btcusdt@kline_1m") as client:
            assert (await client.hear())["e"] == "kline"
    assert reported == [{"fault": "drop", "at_ms": START_MS + 90_000, "connections": 1}]


async def test_a_stall_withholds_data_and_nothing_else() -> None:
    """Pings and replies go on, another symbol too when one is named, and a new connection is served."""
    limits = Limits(ping_s=0.05, messages_per_s=1000)
    faults = [rule(at="61s", kind="stall", symbols=["BTCUSDT"], **{"for": "10m"})]
    async with (
        serving(TableMarket(minutes=5), rate=200.0, faults=faults, limits=limits) as simulator,
        connected(simulator, "/ws/btcusdt@kline_1m/ethusdt@kline_1m", autoping=False) as client,
    ):
        await eventually(lambda: simulator.clock.now_ms() > START_MS + 62_000)
        await client.say({"method": "LIST_SUBSCRIPTIONS", "id": 5})
        async with connected(simulator, "/ws/btcusdt@kline_1m") as other:
            assert (await other.hear())["s"] == "BTCUSDT"
        kinds, bars, replies = set(), [], 0
        while (message := await client.socket.receive(5)).type is not aiohttp.WSMsgType.CLOSE:
            kinds.add(message.type)
            if message.type is aiohttp.WSMsgType.TEXT:
                frame = json.loads(message.data)
                replies += "id" in frame
                bars += closed([frame])
    assert kinds == {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.PING}
    assert replies == 1
    assert [(bar["t"] - START_MS) // MINUTE for bar in bars if bar["s"] == "BTCUSDT"] == [0]
    assert [(bar["t"] - START_MS) // MINUTE for bar in bars if bar["s"] == "ETHUSDT"] == [0, 1, 2, 3, 4]


async def test_data_comes_again_after_a_stall() -> None:
    """Without symbols everything is withheld; what was withheld is lost."""
    frames, reported, _ = await played(rule(at="61s", kind="stall", **{"for": "3m"}))
    assert minutes(frames) == [0, 4, 5, 6, 7, 8, 9]
    assert reported == [{"fault": "stall", "at_ms": START_MS + 61_000, "connections": 1, "for_ms": 180_000}]


@pytest.mark.parametrize("path", ["/ws", "/stream"])
async def test_a_shutdown_is_announced_in_both_shapes_then_closes(path: str) -> None:
    """The notice needs no subscription to it; after the lead time the connection is closed with 1001."""
    faults = [rule(at="61s", kind="shutdown", **{"for": "90s"})]
    async with serving(faults=faults, limits=CHATTY) as simulator, connected(simulator, path) as client:
        await client.ask("SUBSCRIBE", "btcusdt@kline_1m")
        frames = await client.rest()
        assert client.socket.close_code == 1001
    notice = {"e": "serverShutdown", "E": START_MS + 61_000}
    assert (notice if path == "/ws" else {"stream": "!serverShutdown", "data": notice}) in frames
    assert len(closed(frames)) >= 2


async def rest_faults(kind: str, **keys: Any) -> tuple[list[tuple[int, Any, Any]], Simulator]:
    """Answers to five requests after the fault has fired."""
    async with (
        serving(TableMarket(minutes=3), faults=[rule(at="30s", kind=kind, **keys)], at_end="hold") as simulator,
        connected(simulator, "/ws/btcusdt@kline_1m"),
    ):
        await simulator.wait_ended()
        return [await get(simulator, "ping") for _ in range(5)], simulator


async def test_a_scripted_429_is_answered_at_least_once() -> None:
    """Also when its time has passed before anybody asked: the next request gets it, with Retry-After."""
    answers, simulator = await rest_faults("http_429")
    assert [status for status, _, _ in answers] == [429, 200, 200, 200, 200]
    assert answers[0][1]["code"] == -1003
    assert int(answers[0][2]["Retry-After"]) >= 1
    assert simulator.books.faults == {"http_429": 1}


async def test_a_scripted_5xx_lasts_its_time() -> None:
    """Every request within `for` is answered 5xx with an error body."""
    answers, _ = await rest_faults("http_5xx", **{"for": "1h"})
    assert all(status in {500, 502, 503, 504} and body["code"] < 0 for status, body, _ in answers)


async def test_probability_decides_for_each_frame_by_seed() -> None:
    """The same seed loses the same bars; zero loses none."""
    rules = rule(at="1s", kind="missing_close", probability=0.5, **{"for": "1h"})
    first, _, _ = await played(rules, minutes=40, seed=3)
    again, _, _ = await played(rules, minutes=40, seed=3)
    other, _, _ = await played(rules, minutes=40, seed=4)
    assert minutes(first) == minutes(again)
    assert minutes(first) != minutes(other)
    assert 8 <= len(first) <= 32
    never, _, _ = await played(rule(at="1s", kind="missing_close", probability=0, **{"for": "1h"}))
    assert len(never) == 10
    undropped, _, _ = await played(rule(at="1s", kind="drop", probability=0))
    assert len(undropped) == 10


async def test_http_faults_with_probability_zero_do_nothing() -> None:
    """The request gets its own answer."""
    answers, simulator = await rest_faults("http_5xx", probability=0, **{"for": "1h"})
    assert [status for status, _, _ in answers] == [200] * 5
    assert not simulator.books.faults
