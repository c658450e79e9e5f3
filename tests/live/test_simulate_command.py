"""`tapewatch simulate` says where it serves, plays to its end, and ends well when told to."""

import asyncio
import json
import signal
from functools import partial
from pathlib import Path

import aiohttp
import polars as pl
import pytest
import trustme
from command_process import command

from tapewatch.archive import reader
from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.simulator.server import AFTER_MS

simulate = partial(command, "simulate")


async def line(process: asyncio.subprocess.Process) -> str:
    """The next line on stdout."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await process.stdout.readline()).decode()


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """Exit code, and what was said on stderr."""
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    return process.returncode, errors.decode()


def archive(folder: Path) -> Path:
    """Twenty minutes of one symbol, and a fault script that names another."""
    path = folder / "candles/binance_spot/AAAUSDT/1m.parquet"
    path.parent.mkdir(parents=True)
    opens = [1_704_196_800_000 + minute * MINUTE_MS for minute in range(20)]
    prices = {name: [float(10 + minute) for minute in range(20)] for name in ("open", "high", "low", "close", "volume")}
    pl.DataFrame({"open_time": opens, **prices}).write_parquet(path)
    (folder / "candles/other.yaml").write_text("- {at: 1m, kind: stall, symbols: [AAAUSDT, NOPEUSDT]}\n")
    return folder / "candles"


async def test_json_names_the_addresses_then_each_fault_and_exits_0_at_the_end(tmp_path: Path) -> None:
    """The played part is from `--start` to the end of the data."""
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {at: 90s, kind: duplicate}\n- {at: 150s, kind: missing_close}\n")
    arguments = ("--data", str(archive(tmp_path)), "--start", "2024-01-02T12:10:30", "--speed", "100000", "--json")
    async with simulate(*arguments, "--port", "0", "--faults", str(faults)) as process:
        head = json.loads(await line(process))
        assert head["rest_url"].startswith("http://127.0.0.1:")
        assert head["ws_url"].startswith("ws://127.0.0.1:")
        assert (head["rate"], head["symbols"], head["planted"]) == (100000.0, ["AAAUSDT"], [])
        assert head["first_ms"] == 1_704_196_800_000 + 10 * MINUTE_MS
        assert head["last_ms"] == 1_704_196_800_000 + 20 * MINUTE_MS
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(head["ws_url"] + "/ws/aaausdt@kline_1m") as ws,
        ):
            frames = [message.data async for message in ws]
        told = [json.loads(await line(process)) for _ in range(2)]
        assert await ended(process) == (0, "")
    assert len(frames) == 10
    assert [(fault["fault"], fault["stream"]) for fault in told] == [
        ("duplicate", "aaausdt@kline_1m"),
        ("missing_close", "aaausdt@kline_1m"),
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_synthetic_market_with_plants_is_served_until_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    """The first line is for people; the exit code of a wanted end is 0."""
    plants = tmp_path / "plants.yaml"
    plants.write_text("- {side: short, symbol: ETHUSDT, at: 2025-06-02T02:30}\n")
    async with simulate("--synthetic", "3", "--symbols", "2", "--plants", str(plants), "--port", "0") as process:
        said = await line(process)
        assert "serve BTCUSDT, ETHUSDT: 2025-06-02 00:00" in said
        assert "1 planted setup." in said
        process.send_signal(number)
        assert await ended(process) == (0, "")


async def test_hold_keeps_serving_after_the_end_over_tls(tmp_path: Path) -> None:
    """The process stays until it is told to end."""
    certificate = trustme.CA().issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    tls = ("--tls-cert", str(chain), "--tls-key", str(key))
    arguments = ("--data", str(archive(tmp_path)), "--speed", "1e6", "--at-end", "hold", "--port", "0", "--json")
    async with simulate(*arguments, *tls) as process:
        head = json.loads(await line(process))
        assert head["rest_url"].startswith("https://")
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(head["ws_url"] + "/ws/aaausdt@kline_1m", ssl=False) as ws:
                for _ in range(10):
                    assert (await ws.receive(10)).type is aiohttp.WSMsgType.TEXT
            async with session.get(head["rest_url"] + "/api/v3/time", ssl=False) as answer:
                assert (await answer.json())["serverTime"] == head["last_ms"] + AFTER_MS
        assert process.returncode is None
        process.send_signal(signal.SIGTERM)
        assert (await ended(process))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "either --data DIR or --synthetic SEED"),
        (("--data", "{data}", "--synthetic", "1"), "either --data DIR or --synthetic SEED"),
        (("--data", "{data}", "--symbols", "AAB"), "did you mean AAAUSDT"),
        (("--data", "{data}", "--start", "2020-01-01"), "outside the candles"),
        (("--data", "{data}", "--plants", "x.yaml"), "--plants is for a synthetic market only"),
        (("--data", "{data}", "--history", "3d"), "--history is for a synthetic market only"),
        (("--synthetic", "4", "--history", "soon"), "--history: 'soon' is no duration"),
        (("--synthetic", "4", "--names", "9"), "--names is for --data"),
        (("--data", "{data}", "--faults", "none.yaml"), "none.yaml cannot be read"),
        (("--data", "{data}", "--faults", "{data}/other.yaml"), "the market has no NOPEUSDT"),
        (("--data", "{data}", "--speed", "0"), "--speed"),
        (("--data", "{data}", "--tls-key", "k.pem"), "--tls-cert and --tls-key go together"),
        (("--data", "{data}", "--tls-key", "k.pem", "--tls-cert", "c.pem"), "cannot be used"),
        (("--synthetic", "-4"), "a seed is a whole number"),
        (("--synthetic", "4", "--symbols", "0"), "0 symbols make no market"),
        (("--synthetic", "4", "--symbols", "-5"), "-5 symbols make no market"),
    ],
)
async def test_a_mistake_is_said_and_exits_2(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Never a traceback."""
    data = str(archive(tmp_path))
    async with simulate(*(argument.format(data=data) for argument in arguments), "--port", "0") as process:
        code, errors = await ended(process)
    assert code == 2
    assert said in errors
    assert "Traceback" not in errors


async def test_a_port_in_use_is_said_and_exits_1() -> None:
    """With the address in the text, and the options that change it."""
    async with simulate("--synthetic", "1", "--port", "0", "--json") as first:
        port = json.loads(await line(first))["rest_url"].rpartition(":")[2]
        async with simulate("--synthetic", "1", "--port", port) as second:
            code, errors = await ended(second)
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port} (--host, --port): " in errors
    assert "Traceback" not in errors


async def test_an_archive_is_exported_as_it_would_be_served(tmp_path: Path) -> None:
    """Variants and what the fault script does to the market are in it, and volumes that the source lacks."""
    faults = tmp_path / "faults.yaml"
    faults.write_text(
        "- {at: 2024-01-02T12:05, kind: outage, for: 3m}\n"
        "- {at: 2024-01-02T12:10, kind: delist, symbols: [AAA01USDT]}\n"
    )
    folder = tmp_path / "served"
    arguments = ("--data", str(archive(tmp_path)), "--names", "3", "--faults", str(faults), "--export", str(folder))
    async with simulate(*arguments, "--json") as process:
        told = json.loads(await line(process))
        assert await ended(process) == (0, "")
    assert told == {"folder": str(folder), "candles": 17 + 7 + 17, "symbols": 3}
    stored = {name: reader.load(folder, "binance_spot", name, "1m") for name in ("AAAUSDT", "AAA01USDT", "AAA02USDT")}
    assert [len(candles) for candles in stored.values()] == [17, 7, 17]
    plain, variant = stored["AAAUSDT"], stored["AAA02USDT"]
    assert plain.quote_volume.tolist() == (plain.volume * plain.close).tolist()
    assert variant.close.tolist() == (plain.close * 1.25).tolist()


async def test_a_synthetic_market_has_as_much_history_as_asked(tmp_path: Path) -> None:
    """Less by itself where there are many symbols."""
    for arguments, days in (
        (("--symbols", "3"), 45),
        (("--symbols", "101"), 3),
        (("--symbols", "3", "--history", "2d"), 2),
    ):
        async with simulate("--synthetic", "1", "--port", "0", "--json", *arguments) as process:
            head = json.loads(await line(process))
            async with aiohttp.ClientSession() as session:
                url = f"{head['rest_url']}/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime=0&limit=1"
                async with session.get(url) as answer:
                    ((first_ms, *_),) = await answer.json()
            assert head["first_ms"] - first_ms == days * DAY_MS
