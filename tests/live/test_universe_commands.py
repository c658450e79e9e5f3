"""`tapewatch universe` and `tapewatch status`, and a run whose symbols are listed, delisted and halted meanwhile."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from command_line import Command
from run_harness import (
    Exchange,
    configure,
    easy,
    eventually,
    fetch,
    free_port,
    health_url,
    query,
    running,
    series_of,
    simulated,
    stored_signals,
)

MINUTE_MS = 60_000
SYMBOLS = "BTCUSDT,ETHUSDT,BNBUSDT,SOLUSDT,BTCUPUSDT,USDCUSDT,COMPUSDT,ETHBTC"
#: A simulated hour is over in seconds, so the list is asked for more often than every ten of them.
HASTY = "import tapewatch.live.universe as universe\nuniverse.REFRESH_S = 0.5\nuniverse.TICK_S = 0.1"


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    """An exchange of a few symbols that stands still."""
    with simulated(tmp_path_factory.mktemp("exchange"), "--synthetic", "3", "--symbols", SYMBOLS) as standing:
        yield standing


def test_universe_says_who_and_why(run: Command, exchange: Exchange, tmp_path: Path) -> None:
    """The most liquid first; who is left out with the rule; who was never meant only with --all."""
    config = configure(tmp_path, exchange, [], universe={"exclude": ["BNB*"], "min_volume_24h": 10_000_000})
    told = {one["symbol"]: one for one in run.objects("universe", "-c", config)}
    assert {symbol: one["rule"] for symbol, one in told.items()} == {
        "BTCUSDT": None, "ETHUSDT": None, "SOLUSDT": None, "BNBUSDT": "exclude", "BTCUPUSDT": "leveraged",
        "USDCUSDT": "stable", "COMPUSDT": "volume_24h",
    }  # fmt: skip
    assert [one["watched"] for one in told.values()] == [one["rule"] is None for one in told.values()]
    volumes = [one["quote_volume_24h"] for one in told.values()]
    assert volumes == sorted(volumes, reverse=True)
    assert told["BTCUSDT"]["quote_volume_1h"] == told["BTCUSDT"]["quote_volume_24h"] / 24
    everybody = {one["symbol"]: one["rule"] for one in run.objects("universe", "-c", config, "--all")}
    assert everybody.pop("ETHBTC") == "quote"
    assert everybody.keys() == told.keys()
    code, lines, err = run("universe", "-c", config)
    assert (code, err) == (0, "")
    assert lines[0].split()[0] == "BTCUSDT"
    assert any(line.startswith("COMPUSDT") and "of at least 10,000,000" in line for line in lines)
    assert lines[-1].startswith("3 watched, 3 of them liquid enough for alerts; 5 left out: ")


def test_universe_names_who_is_configured_and_cannot_be_watched(
    run: Command, exchange: Exchange, tmp_path: Path
) -> None:
    """A name that does not exist is told; when nobody is left it is a mistake in the configuration."""
    config = configure(tmp_path, exchange, ["BTCUSDT", "NOPEUSDT"])
    found = run.objects("universe", "-c", config)
    assert [(one["symbol"], one["rule"]) for one in found] == [("BTCUSDT", None), ("NOPEUSDT", "unknown")]
    assert found[1]["quote_volume_24h"] is None
    code, lines, err = run("universe", "-c", configure(tmp_path, exchange, ["NOPEUSDT"]))
    assert code == 2
    assert lines[0].split()[:1] == ["NOPEUSDT"]
    assert "universe.include" in err
    assert "NOPEUSDT" in err


def test_universe_without_an_exchange_says_so_in_time(run: Command, tmp_path: Path) -> None:
    """It does not go on trying as a run does; an address that is no exchange's is a mistake."""
    config = configure(tmp_path, "127.0.0.1:9", ["BTCUSDT"])
    code, lines, err = run("universe", "-c", config)
    assert (code, lines) == (1, [])
    assert "the exchange could not be asked" in err
    assert "127.0.0.1:9" in err
    assert run("universe", "-c", tmp_path / "none.yaml")[0] == 2


def test_universe_goes_on_without_coingecko(run: Command, exchange: Exchange, tmp_path: Path) -> None:
    """Without market capitalisations only names are left; that, and why, is said."""
    caps = {"min_usd": 1e9, "ids": {"BTC": "bitcoin"}, "url": "http://127.0.0.1:9/api/v3"}
    config = configure(tmp_path, exchange, [], universe={"include": ["ETHUSDT", "*"], "market_cap": caps})
    code, lines, err = run("universe", "-c", config)
    assert code == 0
    assert "market capitalisations" in err
    assert any(line.startswith("BTCUSDT") and "market_cap: its market cap is not known" in line for line in lines)
    assert lines[-1].startswith("1 watched")


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_when_nothing_runs(run: Command, tmp_path: Path) -> None:
    """Exit 1 with the address; a configuration that leaves the port open needs --port."""
    config = configure(tmp_path, "127.0.0.1:9", ["BTCUSDT"], web={"port": free_port()})
    code, lines, err = run("status", "-c", config)
    assert (code, lines) == (1, [])
    assert "nothing runs: http://127.0.0.1:" in err
    config = configure(tmp_path, "127.0.0.1:9", ["BTCUSDT"])
    assert "web.port" in run.refused("status", "-c", config)
    assert run("status", "-c", config, "--port", free_port())[0] == 1


class Stranger(BaseHTTPRequestHandler):
    """Some other program on that port."""

    body = b"<html>hello</html>"

    def do_GET(self) -> None:
        """The same for everybody."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_values: Any) -> None:
        """Say nothing."""


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b'{"checks": 7}', b"\xff"])
def test_status_of_something_else(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """Another program on that port is not taken for a run."""
    monkeypatch.setattr(Stranger, "body", body)
    server = HTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        config = configure(tmp_path, "127.0.0.1:9", ["BTCUSDT"], web={"port": server.server_port})
        code, _, err = run("status", "-c", config)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert code == 1
    assert "it is no tapewatch" in err


@contextmanager
def saying(answer: bytes, then: Callable[[socket.socket], object]) -> Iterator[int]:
    """The port of somebody who takes one connection, says this, and goes on with it somehow."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.recv(1_000)
                connection.sendall(answer)
                then(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def drip(connection: socket.socket) -> None:
    """A byte now and then, until nobody takes it any more."""
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


def reset(connection: socket.socket) -> None:
    """Gone, without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    ("answer", "then", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", lambda _: None, "answers, but it is no tapewatch"),
        (b"HTTP/1.1 200 OK\r\n\r\n", drip, "does not answer within 0.5 s"),
        (b"HTTP/1.1 200 OK\r\n\r\n{", reset, "broke off its answer"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"checks": {"a": 7}}', lambda _: None, "answers, but it is no tapewatch"),
        (b"x" * 40_000, lambda _: None, "answers, but it is no tapewatch"),
    ],
    ids=["banner", "drips", "resets", "other checks", "too much"],
)
def test_status_of_an_answer_that_is_none(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, then: Any, said: str
) -> None:
    """Whatever comes, in its time: one line that says what is wrong, and exit 1."""
    monkeypatch.setattr("tapewatch.cli.status.TIMEOUT_S", 0.5)
    monkeypatch.setattr("tapewatch.cli.status.MOST_BYTES", 30_000)
    with saying(answer, then) as port:
        code, lines, err = run("status", "-c", configure(tmp_path, "127.0.0.1:9", ["BTCUSDT"], web={"port": port}))
    assert (code, lines, err.count("\n")) == (1, [], 1)
    assert err.startswith(f"tapewatch: http://127.0.0.1:{port}/health {said}")


def test_status_loads_little(tmp_path: Path) -> None:
    """An answer at a glance, also where the machine has much to do: no other command, strategy, database or client."""
    config = configure(tmp_path, "127.0.0.1:9", ["BTCUSDT"], web={"port": free_port()})
    code = "import sys\nfrom tapewatch.__main__ import main\ntry: main()\nfinally: print(*sys.modules)"
    words = [sys.executable, "-c", code, "status", "-c", str(config)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    loaded = set(done.stdout.split())
    assert "tapewatch.cli.status" in loaded
    assert not loaded & {"tapewatch.cli.run", "tapewatch.strategies", "asyncio", "sqlalchemy", "http.client", "rich"}


def test_status_of_something_stuck(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who accepts and does not answer is not waited for."""
    monkeypatch.setattr("tapewatch.cli.status.TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = configure(tmp_path, "127.0.0.1:9", ["BTCUSDT"], web={"port": server.getsockname()[1]})
        code, _, err = run("status", "-c", config)
    assert code == 1
    assert "stuck" in err


def write_faults(folder: Path) -> Path:
    """One listed, one delisted, one halted for a while."""
    path = folder / "faults.yaml"
    path.write_text(
        "- {kind: list, at: 20m, symbols: [SOLUSDT]}\n"
        "- {kind: delist, at: 30m, symbols: [XRPUSDT]}\n"
        "- {kind: halt, at: 40m, for: 50m, symbols: [BNBUSDT]}\n"
    )
    return path


def test_symbols_come_and_go_while_a_run_is_on(run: Command, tmp_path: Path) -> None:
    """`status` shows each on its connection; who is halted comes back with its bars; a restart knows the new ones."""
    options = ("--synthetic", "4", "--symbols", "BTCUSDT,ETHUSDT,BNBUSDT,XRPUSDT,SOLUSDT", "--at-end", "hold")
    with simulated(tmp_path, *options, "--speed", "300", "--faults", str(write_faults(tmp_path))) as exchange:
        often = {"universe": {"refresh": "10m"}, "feeds": {"weight_share": "100%"}}
        config = configure(tmp_path, exchange, [], **often, strategies=easy("1m"))
        with running(tmp_path, "first", HASTY) as first:
            port = health_url(first).rpartition(":")[2]

            def status() -> dict[str, Any]:
                code, (line,), err = run("status", "-c", config, "--port", port, "--json")
                found: dict[str, Any] = json.loads(line)
                assert (code, err) == (3 if found["status"] == "fail" else 0, "")
                return found

            before = eventually(lambda: (s := status())["start_up"] == {"complete": 4, "watched": 4} and s, every_s=0.3)
            assert set(before["symbols"]) == {"BTCUSDT", "ETHUSDT", "BNBUSDT", "XRPUSDT"}
            names = {one["name"] for one in before["connections"]}
            assert set(before["symbols"].values()) <= names
            assert all(one["state"] == "live" for one in before["connections"])
            assert before["universe"]["watched"] == before["universe"]["listed"] == 4
            assert before["rest"]["used_weight"] > 0
            eventually(lambda: "SOLUSDT" in status()["symbols"], every_s=0.3)
            eventually(lambda: "XRPUSDT" not in status()["symbols"], every_s=0.3)
            eventually(lambda: "BNBUSDT" not in status()["symbols"], every_s=0.3)
            halted_ms = series_of(tmp_path)["BNBUSDT", MINUTE_MS][1] or 0
            eventually(lambda: "BNBUSDT" in status()["symbols"], every_s=0.3)
            eventually(lambda: (series_of(tmp_path)["BNBUSDT", MINUTE_MS][1] or 0) > halted_ms + 50 * MINUTE_MS)
            eventually(lambda: query(tmp_path, "SELECT 1 FROM signals WHERE symbol = 'SOLUSDT'"))
            eventually(lambda: status()["status"] != "fail", every_s=0.3)
            code, lines, _ = run("status", "-c", config, "--port", port)
            assert code == 0
            assert any(line.startswith("checks    ") for line in lines)
            assert any(line.startswith("universe  4 watched") for line in lines)
            _, figures = fetch(f"http://127.0.0.1:{port}/metrics")
            assert "\ntapewatch_universe_watched 4.0\n" in figures
            assert "\ntapewatch_universe_eligible 4.0\n" in figures
            first.kill()
        with running(tmp_path, "second", HASTY) as second:
            port = health_url(second).rpartition(":")[2]
            found = eventually(lambda: (s := status())["start_up"] == {"complete": 4, "watched": 4} and s, every_s=0.3)
            assert set(found["symbols"]) == {"BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT"}
            eventually(lambda: status()["status"] in {"pass", "warn"}, every_s=0.3)
            assert second.stop() == 0, second.log
    changes = [line for line in first.log.splitlines() if "universe_changed" in line]
    assert any("XRPUSDT" in line and "does not list it" in line for line in changes)
    assert any("BNBUSDT" in line and "its status is HALT" in line for line in changes)


def test_signals_of_symbols_with_too_little_volume_are_blocked(tmp_path: Path) -> None:
    """They are found and stored with the numbers; those of liquid ones pass."""
    with simulated(tmp_path, "--synthetic", "4", "--symbols", "BTCUSDT,XRPUSDT", "--speed", "3000") as exchange:
        configure(tmp_path, exchange, [], universe={"min_volume_1h": 30_000_000}, strategies=easy("1m"))
        with running(tmp_path) as run:
            wanted = "SELECT DISTINCT symbol, state FROM signals WHERE settled"
            eventually(lambda: {("BTCUSDT", "passed"), ("XRPUSDT", "blocked")} <= set(query(tmp_path, wanted)))
            assert run.stop() == 0, run.log
    for signal in stored_signals(tmp_path):
        (verdict,) = [one for one in signal["verdicts"] if one["check"] == "liquidity"]
        assert verdict["pass"] is (signal["symbol"] == "BTCUSDT")
        if not verdict["pass"]:
            assert "at least 30,000,000 are asked" in verdict["reason"]
            assert signal["state"] == "blocked"


def test_the_all_market_ticker_makes_a_symbol_eligible(tmp_path: Path) -> None:
    """Between two looks at REST: what is traded a hundred times as much is liquid within minutes, not after hours."""
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {kind: volume, at: 10m, symbols: [XRPUSDT], factor: 100}\n")
    options = ("--synthetic", "4", "--symbols", "BTCUSDT,XRPUSDT", "--speed", "600", "--faults", str(faults))
    with simulated(tmp_path, *options, "--at-end", "hold") as exchange:
        configure(tmp_path, exchange, [], universe={"min_volume_1h": 30_000_000, "refresh": "30d"})
        with running(tmp_path) as run:
            url = health_url(run)

            def eligible() -> int:
                return int(json.loads(fetch(f"{url}/health")[1])["universe"]["eligible"])

            assert eligible() == 1
            eventually(lambda: eligible() == 2)
            assert run.stop() == 0, run.log


def test_a_symbol_that_a_pattern_may_choose_can_be_muted(run: Command, tmp_path: Path) -> None:
    """A typing error is still one."""
    config = configure(tmp_path, "127.0.0.1:9", ["*"])
    assert run.objects("mute", "BTCUSDT", "-c", config)[0]["target"] == "BTCUSDT"
    assert "did you mean" in run.refused("mute", "scalpp", "-c", config)
    assert "neither a watched symbol" in run.refused("mute", "BTCEUR", "-c", config)
