"""`run` takes up a changed configuration: by SIGHUP or by itself, between two bars, and never a bad one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

from run_harness import (
    MINUTE_MS,
    TO_FILE,
    Exchange,
    Line,
    Process,
    archive,
    configure,
    easy,
    eventually,
    expected_signals,
    fetch,
    json_lines,
    lines_of,
    notices,
    query,
    reached,
    running,
    simulated,
    stored_signals,
    values_of,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
LOUD: dict[str, Any] = {"alerts": TO_FILE, "strategies": easy("1m"), "logging": {"format": "json"}}
SYNTHETIC = ("--synthetic", "3", "--symbols", "BTCUSDT,ETHUSDT", "--at-end", "hold")


def said(run: Process, event: str) -> list[Line]:
    """What the run has logged of an event."""
    return [line for line in lines_of(run.err) if line["event"] == event]


def applied(run: Process) -> list[list[str]]:
    """The changes that were taken up, each time."""
    return [line["data"]["changes"] for line in said(run, "configuration_applied")]


class Reloads:
    """A run, and its configuration as it is changed."""

    def __init__(self, run: Process, folder: Path, exchange: Exchange) -> None:
        self.run, self.folder, self.exchange = run, folder, exchange
        self.symbols, self.sections = SYMBOLS, LOUD

    def until(self, event: str, count: int = 1) -> list[Line]:
        """Waits until something was logged so often."""
        found = eventually(lambda: self.run.code is not None or len(said(self.run, event)) >= count)
        assert self.run.code is None, self.run.log
        assert found
        return said(self.run, event)

    def write(self, **sections: Any) -> None:
        """Change some sections, and nothing else."""
        self.sections = self.sections | sections
        configure(self.folder, self.exchange, self.symbols, **self.sections)

    def change(self, **sections: Any) -> list[str]:
        """Change some sections and say so; what was taken up."""
        before = len(applied(self.run))
        self.write(**sections)
        self.hup()
        self.until("configuration_applied", before + 1)
        return applied(self.run)[before]

    def hup(self) -> None:
        """Say that it was changed."""
        self.run.process.send_signal(signal.SIGHUP)

    def health(self) -> dict[str, Any]:
        """The health document."""
        found: dict[str, Any] = json.loads(fetch(f"{self.url}/health")[1])
        return found

    @property
    def url(self) -> str:
        """Of the health paths."""
        return str(self.until("health_served")[0]["data"]["url"]).removesuffix("/health")


def test_another_threshold_decides_from_one_bar_on(tmp_path: Path) -> None:
    """Before it the signals are those of the old one, after it of the new one, to the bit, and a replay verifies it."""
    root, start_ms = archive(tmp_path, SYMBOLS, hours=4)
    end_ms = start_ms + 4 * 60 * MINUTE_MS
    options = ("--data", str(root), "--venue", "binance_spot", "--start", str(start_ms), "--at-end", "hold")
    with simulated(tmp_path, *options, "--speed", "3600") as exchange:
        configure(tmp_path, exchange, SYMBOLS, **LOUD | {"strategies": easy()})
        with running(tmp_path) as run:
            reloads = Reloads(run, tmp_path, exchange)
            reloads.until("caught_up")
            eventually(lambda: len(query(tmp_path, "SELECT 1 FROM signals")) > 10)
            strict = {"scalp": {"timeframes": ["1m", "5m"], "params": {"min_factors": 4}}}
            told = reloads.change(strategies=strict)
            assert told == ["strategies.scalp.params.min_factors: 3 -> 4"]
            reloads.until("caught_up", 2)
            eventually(lambda: reached(tmp_path, SYMBOLS, end_ms))
            assert run.stop() == 0
    stored = values_of(stored_signals(tmp_path))
    easier, stricter = (
        values_of(expected_signals(root, tmp_path, SYMBOLS, start_ms, end_ms, "--set", f"min_factors={count}"))
        for count in (3, 4)
    )

    def mixed(close_ms: int) -> dict[str, str]:
        early = {key: one for key, one in easier.items() if closed(key) <= close_ms}
        return early | {key: one for key, one in stricter.items() if closed(key) > close_ms}

    borders = [close_ms for close_ms in range(start_ms, end_ms, MINUTE_MS) if mixed(close_ms) == stored]
    assert borders, "no bar from which on the new threshold decides"
    assert stored not in (easier, stricter)
    (result,) = json_lines("replay", "-c", str(tmp_path / "tapewatch.yaml"), "--verify", "--json")
    assert result["equal"], result["differences"]
    assert result["signals"] == len(stored)


def closed(signal_id: str) -> int:
    """The close of a signal's bar."""
    return int(signal_id.rpartition("/")[2])


def test_what_can_be_is_taken_up_and_the_rest_waits_for_a_start(tmp_path: Path) -> None:
    """Universe, logging and limits at once, with the engine as it is; what is open from the start on is named."""
    with simulated(tmp_path, *SYNTHETIC, "--speed", "300") as exchange:
        configure(tmp_path, exchange, SYMBOLS, **LOUD)
        with running(tmp_path) as run:
            reloads = Reloads(run, tmp_path, exchange)
            reloads.until("caught_up")
            assert reloads.change(universe={"include": ["BTCUSDT"]}) == [
                "universe.include: ['BTCUSDT', 'ETHUSDT'] -> ['BTCUSDT']"
            ]
            (gone,) = reloads.until("universe_changed")
            assert gone["data"]["removed"] == {"ETHUSDT": "no pattern matches it"}
            reloads.change(universe={"include": ["ETHUSDT", "BTCUSDT"]})
            assert reloads.until("universe_changed", 2)[1]["data"]["added"] == ["ETHUSDT"]

            assert not said(run, "configuration_unchanged")
            reloads.change(logging={"format": "json", "level": "debug", "file": "run.log"})
            reloads.hup()
            reloads.until("configuration_unchanged")
            assert any(line["event"] == "configuration_unchanged" for line in lines_of(tmp_path / "run.log"))

            web = {"enabled": False, "port": 1}
            told = reloads.change(web=web, telemetry={"health_every": "100ms"}, feeds={"settle": "4s"})
            assert told == ["telemetry.health_every: 5m -> 100ms"]
            reloads.until("health")
            waits = ["feeds.settle", "web.port"]
            assert reloads.until("configuration_needs_restart")[0]["data"]["changes"] == [
                "feeds.settle: 3s -> 4s",
                "web.port: 0 -> 1",
            ]
            assert reloads.health()["configuration"]["needs_restart"] == waits
            eventually(lambda: [one for one in notices(tmp_path) if "waits for a restart" in one["subject"]])
            assert len(said(run, "engine_starts_fresh")) == 1
            assert run.stop() == 0
    history = json_lines("config", "history", "-c", str(tmp_path / "tapewatch.yaml"), "--diff", "--json")
    keys = [[change["key"] for change in one["changes"]] for one in history]
    assert keys == [
        [],
        ["universe.include"],
        ["universe.include"],
        ["logging.file", "logging.level"],
        ["telemetry.health_every"],
    ]
    assert [one["first_ms"] for one in history] == sorted(one["first_ms"] for one in history)
    assert all(one["last_ms"] == after["first_ms"] for one, after in pairwise(history))


def test_a_bad_file_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    """Half written, gone, wrong or watching nobody: the run goes on; when it is good again the trouble is over."""
    with simulated(tmp_path, *SYNTHETIC, "--speed", "300") as exchange:
        path = configure(tmp_path, exchange, SYMBOLS, **LOUD)
        with running(tmp_path) as run:
            reloads = Reloads(run, tmp_path, exchange)
            reloads.until("caught_up")
            good = path.read_text()
            path.write_text(good[: len(good) // 2])  # nobody says so: it is found
            reloads.until("configuration_refused")
            path.unlink()
            reloads.hup()
            assert "no such file" in reloads.until("configuration_refused", 2)[1]["data"]["problems"][0]
            reloads.write(gate={"expiry": "soon"}, strategies={"scalp": {"stop": "2 * art(14)"}})
            reloads.hup()
            assert len(reloads.until("configuration_refused", 3)[2]["data"]["problems"]) == 2
            assert len(reloads.health()["configuration"]["problems"]) == 2
            reloads.write(gate={}, strategies=easy("1m"), universe={"include": ["NOBODY"]})
            reloads.hup()
            refused = reloads.until("configuration_refused", 4)[3]["data"]["problems"]
            assert "no symbol is left to watch" in refused[0]
            path.write_text(good)
            reloads.hup()
            (over,) = reloads.until("trouble_over")
            assert over["data"]["key"] == "configuration"
            assert reloads.health()["configuration"]["problems"] == []
            told = eventually(lambda: [one for one in notices(tmp_path) if "onfiguration" in one["subject"]])
            assert "tapewatch.yaml" in told[0]["text"]
            for _ in range(50):
                os.kill(run.process.pid, signal.SIGHUP)
            eventually(lambda: len(query(tmp_path, "SELECT 1 FROM signals")) > 3)
            assert applied(run) == []
            assert len(said(run, "engine_starts_fresh")) == 1
            assert run.stop() == 0
    subject = "The changed configuration cannot be used"
    assert [one["subject"] for one in notices(tmp_path)] == [f"[tapewatch] {subject}", f"[tapewatch] Over: {subject}"]


@contextmanager
def hook_server(path: str) -> Iterator[tuple[str, list[str]]]:
    """A server that is gone but for one path: its address, and the bodies that it took there."""
    taken: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            known = self.path == path
            taken.extend([body] * known)
            self.send_response(200 if known else 410)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_channels_come_and_go_and_a_secret_is_mended(tmp_path: Path) -> None:
    """A channel that refused everything delivers by another secret; the engine is left alone, secrets unsaid."""
    secret = tmp_path / "hook"
    with simulated(tmp_path, *SYNTHETIC, "--speed", "600") as exchange, hook_server("/swordfish") as (url, taken):
        secret.write_text(f"{url}/mackerel")
        secret.chmod(0o600)
        hook = {"type": "webhook", "url_file": "hook"}
        alerts = {"routes": [{"channels": ["out", "hook"]}], "operator": {"channels": ["out"]}}
        sections = {"channels": {"out": {"type": "file", "path": "alerts.jsonl"}, "hook": hook}, "alerts": alerts}
        configure(tmp_path, exchange, SYMBOLS, **LOUD | sections)
        with running(tmp_path) as run:
            reloads = Reloads(run, tmp_path, exchange)
            reloads.sections = LOUD | sections
            eventually(lambda: any(one["data"]["outcome"] == "rejected" for one in said(run, "delivery")))
            secret.write_text(f"{url}/swordfish")  # nobody says so
            reloads.until("configuration_applied")
            assert applied(run) == [["channels.hook.url: *** -> ***"]]
            eventually(lambda: taken)

            channels = {"second": {"type": "file", "path": "second.jsonl"}, "hook": hook}
            alerts = {"routes": [{"channels": ["second"]}], "operator": {"channels": ["second"]}}
            told = reloads.change(channels=channels, alerts=alerts)
            assert {text.partition(":")[0] for text in told} == {
                "alerts.routes", "alerts.operator.channels", "channels.out", "channels.second",
            }  # fmt: skip
            eventually(lambda: lines_of(tmp_path / "second.jsonl"))
            assert sorted(reloads.health()["channels"]) == ["hook", "second"]
            assert 'tapewatch_channel_state{channel="out"' not in fetch(f"{reloads.url}/metrics")[1]
            assert len(said(run, "engine_starts_fresh")) == 1
            assert run.stop() == 0
    assert "mackerel" not in run.log
    assert "swordfish" not in run.log


def test_what_is_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    """Files, threads and tasks of a run after four other engines are those after two."""
    with simulated(tmp_path, *SYNTHETIC, "--speed", "600") as exchange:
        configure(tmp_path, exchange, SYMBOLS, **LOUD)
        with running(tmp_path) as run:
            reloads = Reloads(run, tmp_path, exchange)

            def held() -> tuple[int, int]:
                process = Path(f"/proc/{run.process.pid}")
                return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))

            def connections() -> int:
                check: list[Line] = reloads.health()["checks"]["exchange:connections"]
                return int(check[0]["observedValue"])

            seen = []
            for count in range(1, 6):
                reloads.until("caught_up", count)
                eventually(lambda: len(said(run, "snapshot")) >= count)  # noqa: B023
                seen.append(held())
                assert connections() == 1
                if count < 5:
                    reloads.change(
                        strategies={"scalp": {"timeframes": ["1m"], "params": {"min_factors": 3 + count % 2}}}
                    )
            assert seen[4] <= tuple(most + 1 for most in seen[2])  # type: ignore[operator]
            assert run.stop() == 0
    ends = query(tmp_path, "SELECT last_open_ms FROM series WHERE interval_ms = 60000")
    assert len(ends) == len(SYMBOLS)
    (result,) = json_lines("replay", "-c", str(tmp_path / "tapewatch.yaml"), "--verify", "--json")
    assert result["equal"], result["differences"]
