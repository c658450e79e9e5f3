"""The API to others than this machine, of processes of one role, and what it costs a run."""

from __future__ import annotations

import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from api_run import SYMBOLS, Answer, Served, ask, served

from run_harness import Process, command, configure, eventually, health_url, running, simulated
from tapewatch.web.api import PREFIX

TOKEN = "a-token-of-20-letters"
#: What pages may cost a run, resident bytes.
MOST_BYTES = 30_000_000


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
            assert asked(f"{PREFIX}/state", Cookie=signed.headers["set-cookie"].partition(";")[0]).status == 200
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


def resident(run: Process) -> int:
    """The resident memory of a process in bytes."""
    status = Path(f"/proc/{run.process.pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def seconds(run: Process) -> float:
    """The processor time that a process has taken."""
    fields = Path(f"/proc/{run.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def observed(folder: Path, pages: int, **web: Any) -> tuple[int, float, float]:
    """Resident bytes, processor seconds and updates a second of a run whose stream so many pages have open."""
    names = [f"AA{letter}{other}USDT" for letter in "ABCDEFGHIJ" for other in "ABCDEFGHIJ"]
    with simulated(folder, "--synthetic", "7", "--symbols", ",".join(names), "--speed", "60") as exchange:
        configure(folder, exchange, names, web={"port": 0} | web)
        with running(folder) as run, ExitStack() as opened:
            url = health_url(run)
            eventually(lambda: ask(f"{url}/readyz").status == 200)
            for _ in range(pages):
                ask(f"{url}{PREFIX}/watchlist")
                opened.enter_context(urllib.request.urlopen(f"{url}{PREFIX}/events", timeout=60))
            time.sleep(3)
            before, began_s = seconds(run), time.monotonic()
            time.sleep(15)
            spent_s, passed_s = seconds(run) - before, time.monotonic() - began_s
            return resident(run), spent_s / passed_s, len(names)


@pytest.mark.alone
def test_pages_cost_a_run_little(tmp_path: Path) -> None:
    """Ten open pages: some megabytes, and less than a millisecond of processor time for each update of a symbol."""
    folders = [tmp_path / name for name in ("without", "with")]
    for folder in folders:
        folder.mkdir()
    bare_bytes, bare, _ = observed(folders[0], 0, enabled=False)
    bytes_, load, updates = observed(folders[1], 10, enabled=True)
    assert bytes_ - bare_bytes < MOST_BYTES, f"{(bytes_ - bare_bytes) / 1e6:.1f} MB"
    assert (load - bare) / updates < 0.001, f"{1e6 * (load - bare) / updates:.0f} us an update"
