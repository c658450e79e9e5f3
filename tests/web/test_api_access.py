"""The API to others than this machine, of processes of one role, and what it costs a run."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from contextlib import ExitStack, suppress
from http.client import HTTPException
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from api_run import SYMBOLS, Answer, Served, ask, served

from run_harness import Process, command, configure, easy, eventually, health_url, running, simulated
from tapewatch.telemetry.metrics import STEP_BUCKETS_S
from tapewatch.web.api import PREFIX

TOKEN = "a-token-of-20-letters"
#: What pages may cost a run, resident bytes.
MOST_BYTES = 30_000_000
#: Bars a second: of a hundred symbols, a minute a second.
UPDATES = 100


@pytest.mark.slow
def test_others_must_show_the_token(tmp_path: Path) -> None:
    """Beyond this machine nothing is told without it; `status` shows it, and no file or log has it."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    web = {"host": "0.0.0.0", "port": 0, "token_file": "token"}
    with simulated(tmp_path, "--synthetic", "7", "--symbols", ",".join(SYMBOLS), "--at-end", "hold") as exchange:
        path = configure(tmp_path, exchange, SYMBOLS, web=web)
        with running(tmp_path) as run:
            url = health_url(run)

            def asked(where: str, **headers: str) -> Answer:
                return ask(f"{url}{where}", Host="tape.example.com", **headers)

            assert [asked(where).status for where in ("/livez", "/health", f"{PREFIX}/state")] == [200, 401, 401]
            assert asked(f"{PREFIX}/config", Authorization=f"Bearer {TOKEN}").json["web"]["token"] == "***"
            signed = asked(f"/?token={TOKEN}")
            assert (signed.status, signed.headers["location"]) == (303, "/")
            cookie = signed.headers["set-cookie"].partition(";")[0]
            for mine in (cookie, f'others={{"of": [1, 2]}}; {cookie}'):
                assert asked(f"{PREFIX}/state", Cookie=mine).status == 200
            port = url.rpartition(":")[2]
            eventually(lambda: command("status", "-c", str(path), "--port", port).returncode == 0)
        assert TOKEN not in run.log


def test_an_open_address_needs_a_token(tmp_path: Path) -> None:
    """The start stops and names the key."""
    path = configure(tmp_path, "127.0.0.1:1", SYMBOLS, web={"host": "0.0.0.0"})
    done = command("run", "-c", str(path))
    assert done.returncode == 2
    assert "web.token" in done.stderr


@pytest.mark.slow
def test_a_relay_tells_what_it_has(tmp_path: Path) -> None:
    """Signals and messages of the ledger; no symbols, and no candles."""
    with served(tmp_path) as one:
        config = str(tmp_path / "tapewatch.yaml")
        relay = Process(tmp_path, "relay", "run", "-c", config, "--role", "relay")
        try:
            other = Served(tmp_path, health_url(relay))
            assert other.get("/state")["role"] == "relay"
            assert other.get("/watchlist")["items"] == []
            assert other.get("/signals") == one.get("/signals")
            assert ask(f"{other.url}{PREFIX}/candles?symbol={SYMBOLS[0]}").status == 404
        finally:
            relay.kill()


@pytest.mark.slow
def test_roles_apart_each_tell_what_they_have(tmp_path: Path) -> None:
    """The scanner its symbols and candles, positions the account; signals are the ledger's, so everybody's."""
    market = ("--synthetic", "7", "--symbols", ",".join(SYMBOLS), "--speed", "600")
    with simulated(tmp_path, *market) as exchange, ExitStack() as started:
        paper = {"cash": 10_000}
        path = configure(tmp_path, exchange, SYMBOLS, strategies=easy(), paper=paper, web={"port": 0})
        processes = {}
        for role in ("scanner", "positions"):
            processes[role] = Process(tmp_path, role, "run", "-c", str(path), "--role", role)
            started.callback(processes[role].kill)
        scanner, positions = (Served(tmp_path, health_url(one)) for one in processes.values())
        eventually(lambda: len(scanner.get("/signals")["items"]) > 3)
        assert [one.get("/state")["role"] for one in (scanner, positions)] == ["scanner", "positions"]
        assert [one["symbol"] for one in scanner.get("/watchlist")["items"]] == list(SYMBOLS)
        assert scanner.get(f"/candles?symbol={SYMBOLS[0]}&interval=1m&strategy=scalp")["open_ms"]
        eventually(lambda: positions.get("/equity")["ms"])
        assert float(positions.get("/positions")["account"]["equity"]) > 0
        assert {one["id"] for one in scanner.get("/signals")["items"]} <= {
            one["id"] for one in positions.get("/signals?limit=500")["items"]
        }


def resident(run: Process) -> int:
    """The resident memory of a process in bytes."""
    status = Path(f"/proc/{run.process.pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def seconds(run: Process) -> float:
    """The processor time that a process has taken."""
    fields = Path(f"/proc/{run.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


class Cost(NamedTuple):
    """Of a run: resident bytes, processor seconds a second, and the time below which 99% of its steps stay."""

    bytes: int
    load: float
    step_p99_s: float


def steps(url: str) -> dict[float, float]:
    """How many steps took no longer than each bound, in seconds."""
    text = ask(f"{url}/metrics").body.decode()
    found = re.findall(r'^tapewatch_step_seconds_bucket\{le="([^"]+)"\} (\S+)', text, re.MULTILINE)
    return {float(bound): float(count) for bound, count in found}


def reading(stream: Any) -> None:
    """Take in a stream until it ends or is closed, as a page does."""
    with suppress(OSError, ValueError, AttributeError, HTTPException):
        while stream.read1(65_536):
            pass


def observed(folder: Path, pages: int, **web: Any) -> Cost:
    """What a run of a hundred symbols costs whose stream so many pages read."""
    names = [f"AA{letter}{other}USDT" for letter in "ABCDEFGHIJ" for other in "ABCDEFGHIJ"]
    assert len(names) == UPDATES
    with simulated(folder, "--synthetic", "7", "--symbols", ",".join(names), "--speed", "60") as exchange:
        configure(folder, exchange, names, web={"port": 0} | web)
        with running(folder) as run, ExitStack() as opened:
            url = health_url(run)
            eventually(lambda: ask(f"{url}/readyz").status == 200)
            for _ in range(pages):
                ask(f"{url}{PREFIX}/watchlist")
                stream = opened.enter_context(urllib.request.urlopen(f"{url}{PREFIX}/events", timeout=60))
                threading.Thread(target=reading, args=(stream,), daemon=True).start()
            time.sleep(3)
            before, earlier, began_s = seconds(run), steps(url), time.monotonic()
            time.sleep(20)
            spent_s, passed_s = seconds(run) - before, time.monotonic() - began_s
            since = {bound: count - earlier[bound] for bound, count in steps(url).items()}
            assert since[inf] >= 15
            p99_s = min(bound for bound, count in since.items() if count >= 0.99 * since[inf])
            return Cost(resident(run), spent_s / passed_s, p99_s)


@pytest.mark.alone
def test_pages_cost_a_run_little(tmp_path: Path) -> None:
    """Ten pages that read: some megabytes, less than a millisecond of processor time for each update, no slower steps.

    Steps are counted by bounds of which each is some twice the one before it. Two bounds more are the noise of a
    machine that others use as well; what waited for a page would be far beyond.
    """
    folders = [tmp_path / name for name in ("without", "with")]
    for folder in folders:
        folder.mkdir()
    bare, paged = observed(folders[0], 0, enabled=False), observed(folders[1], 10, enabled=True)
    told = f"without {bare}, with pages {paged}"
    assert paged.bytes - bare.bytes < MOST_BYTES, told
    assert (paged.load - bare.load) / UPDATES < 0.001, told
    bounds = [*STEP_BUCKETS_S, inf]
    assert bounds.index(paged.step_p99_s) <= bounds.index(bare.step_p99_s) + 2, told
