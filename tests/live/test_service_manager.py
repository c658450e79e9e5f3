"""What a service manager hears of a run, on its own kind of socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from run_harness import (
    HOUR_MS,
    UNASKED,
    Process,
    agree,
    archive,
    configure,
    easy,
    eventually,
    query,
    reached,
    running,
    simulated,
    undelivered,
)
from tapewatch.errors import SetupError
from tapewatch.live.manager import STATUS_CHARS, Herald, attended, manager_of
from tapewatch.telemetry.health import Health

ME = os.getpid()


class Listener:
    """The manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._socket.setblocking(False)

    def lines(self) -> list[str]:
        """Every line heard so far."""
        while True:
            try:
                self.heard += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.heard

    def count(self, line: str) -> int:
        """How often a line was heard so far."""
        return self.lines().count(line)

    def new(self) -> list[str]:
        """What was heard since this was last asked."""
        self.heard.clear()
        return list(self.lines())

    def close(self) -> None:
        """It is gone."""
        self._socket.close()


@contextmanager
def listening(address: str | Path) -> Iterator[Listener]:
    """A manager that listens, gone afterwards."""
    listener = Listener(str(address))
    try:
        yield listener
    finally:
        listener.close()


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    """On either kind of address."""
    with listening(tmp_path / "notify" if request.param == "path" else f"@tapewatch-{tmp_path}") as one:
        yield one


@contextmanager
def telling(listener: Listener, health: Health, watchdog_s: float | None = 60.0) -> Iterator[Herald]:
    """A herald whose wall clock stands at 0."""
    environment = {"NOTIFY_SOCKET": listener.address}
    if watchdog_s is not None:
        environment["WATCHDOG_USEC"] = f"{watchdog_s * 1e6:.0f}"
    manager = manager_of(environment, ME)
    assert manager is not None
    with closing(manager):
        yield Herald(manager, health, lambda: 0)


def well() -> Health:
    """The health of a run that does its work."""
    health = Health(0, ["BTCUSDT"])
    health.connected()
    health.caught_up(0)
    return health


def test_ready_is_said_once_and_not_before_it_is(listener: Listener) -> None:
    """Until then the start is given more time, as long as there is progress; what is missing is its status."""
    health = Health(0, ["BTCUSDT"])
    with telling(listener, health) as herald:
        herald.look(0.0)
        reason = "no connection to the exchange; the first windows are not loaded yet"
        assert listener.new() == ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=60000000", f"STATUS=starting; {reason}"]
        health.connected()
        health.caught_up(0)
        herald.look(1.0)
        assert listener.new() == ["READY=1", "STATUS=watching 1 symbol"]
        health.disconnected()
        herald.look(2.0)
        assert listener.new() == ["STATUS=watching 1 symbol; no connection to the exchange"]
        health.connected()
        herald.look(3.0)
        assert listener.new() == ["STATUS=watching 1 symbol"]


def test_a_reload_is_told_from_begin_to_end(listener: Listener) -> None:
    """With the moment by the manager's clock; nothing is said before the run is ready, nor at its end."""
    health = Health(0, ["BTCUSDT"])
    with telling(listener, health) as herald:
        herald.reloading()
        herald.reloaded()
        assert listener.new() == []
        health.connected()
        health.caught_up(0)
        herald.look(0.0)
        listener.new()
        before_us = time.monotonic_ns() // 1_000
        herald.reloading()
        word, moment = listener.new()
        assert word == "RELOADING=1"
        name, _, value = moment.partition("=")
        assert name == "MONOTONIC_USEC"
        assert before_us <= int(value) <= time.monotonic_ns() // 1_000
        herald.reloaded()
        assert listener.new() == ["READY=1"]
        herald.stopping()
        listener.new()
        herald.reloading()
        herald.reloaded()
        assert listener.new() == []


def test_signs_of_life_come_at_half_the_interval_and_only_while_there_is_progress(listener: Listener) -> None:
    """Events that wait for the engine hold them back; what was held back comes as soon as it can."""
    health = well()
    with telling(listener, health) as herald:
        for second in range(61):
            herald.look(float(second))
        assert listener.count("WATCHDOG=1") == 3
        health.waiting_since_ms = -health.stuck_ms - 1
        for second in range(61, 200):
            herald.look(float(second))
        assert listener.count("WATCHDOG=1") == 3
        health.waiting_since_ms = None
        herald.look(200.0)
        assert listener.count("WATCHDOG=1") == 4
        assert listener.count("READY=1") == 1


def test_neither_the_exchange_nor_the_ledger_is_a_reason_for_silence(listener: Listener) -> None:
    """A restart would help neither."""
    health = well()
    health.disconnected()
    health.ledger.error, health.waiting_since_ms = "gone\nWATCHDOG=1", -10 * health.stuck_ms
    with telling(listener, health) as herald:
        for second in range(0, 120, 30):
            herald.look(float(second))
        assert listener.count("WATCHDOG=1") == 4
        assert "STATUS=starting; no connection to the exchange; the ledger cannot be written: gone WATCHDOG=1" in (
            listener.lines()
        )


def test_a_status_of_any_length_is_one_line(listener: Listener) -> None:
    """Cut where it is long."""
    health = well()
    health.ledger.error = "disk\n" * 1000
    with telling(listener, health) as herald:
        herald.look(0.0)
    (status,) = (line for line in listener.lines() if line.startswith("STATUS="))
    assert len(status) <= STATUS_CHARS + len("STATUS=")


def test_the_end_is_said_and_may_take_its_time(listener: Listener) -> None:
    """Without a watchdog too."""
    with telling(listener, well(), watchdog_s=None) as herald:
        herald.look(0.0)
        assert listener.new() == ["READY=1", "WATCHDOG=1", "STATUS=watching 1 symbol"]
        herald.stopping()
        assert listener.new() == ["STOPPING=1", "STATUS=stopping"]
        herald.look(30.0)
        assert listener.new() == ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=60000000"]


def test_what_could_not_be_said_is_said_again(tmp_path: Path) -> None:
    """A manager that starts anew loses nothing that matters."""
    address = tmp_path / "notify"
    with listening(address) as first, telling(first, well()) as herald:
        first.close()
        address.unlink()
        herald.look(0.0)
        with listening(address) as second:
            herald.look(1.0)
            assert second.new() == ["READY=1", "WATCHDOG=1", "STATUS=watching 1 symbol"]


def test_without_a_manager_nothing_is_said() -> None:
    """Neither without its socket, nor for a watchdog that waits for somebody else."""
    assert manager_of({}, ME) is None
    other = manager_of({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(ME + 1)}, ME)
    assert other is not None
    assert other.watchdog_s is None
    other.close()


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({"NOTIFY_SOCKET": "relative"}, "NOTIFY_SOCKET"),
        ({"NOTIFY_SOCKET": "@"}, "NOTIFY_SOCKET"),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"}, "WATCHDOG_USEC"),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "0"}, "WATCHDOG_USEC"),
    ],
)
def test_a_manager_that_makes_no_sense_is_refused_by_name(variables: dict[str, str], key: str) -> None:
    """Rather than to run unwatched."""
    with pytest.raises(SetupError, match=f"^{key}: "):
        manager_of(variables, ME)


async def test_an_event_loop_that_stands_still_gives_no_sign_of_life(listener: Listener) -> None:
    """Though the process lives; and it goes on when the loop does."""
    environment = {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "100000"}
    async with attended(well(), lambda: 0, environment), asyncio.timeout(60):
        while listener.count("WATCHDOG=1") < 3:  # noqa: ASYNC110  (it comes over a socket)
            await asyncio.sleep(0.01)
        before = listener.count("WATCHDOG=1")
        time.sleep(0.5)  # noqa: ASYNC251  (the hook)
        assert listener.count("WATCHDOG=1") == before
        while listener.count("WATCHDOG=1") == before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


#: On SIGUSR1 the event loop stands still for good.
BLOCKED = "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))"


def test_a_run_is_attended_from_start_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says when it is ready, goes on while the exchange is silent, and says that it stops."""
    options = ("--synthetic", "3", "--symbols", "BTCUSDT", "--at-end", "hold", "--speed", "600")
    with listening(tmp_path / "notify") as manager, simulated(tmp_path, *options) as exchange:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        configure(tmp_path, exchange, ["BTCUSDT"], strategies=easy())
        with running(tmp_path) as run:
            eventually(lambda: manager.count("READY=1") or run.code is not None)
            assert "caught_up" in run.log
            exchange.process.send_signal(signal.SIGSTOP)
            silent = manager.count("WATCHDOG=1")
            eventually(lambda: manager.count("WATCHDOG=1") > silent + 5)
            assert run.stop() == 0, run.log
        assert manager.count("READY=1") == 1
        assert manager.count("STOPPING=1") == 1


def test_a_run_whose_event_loop_stands_still_falls_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its manager starts another."""
    with listening(tmp_path / "notify") as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        configure(tmp_path, "127.0.0.1:9", ["BTCUSDT"])  # nobody is there: no reason to be silent
        with running(tmp_path, program=BLOCKED) as run:
            eventually(lambda: manager.count("WATCHDOG=1") > 3 or run.code is not None)
            assert run.code is None, run.log
            run.process.send_signal(signal.SIGUSR1)
            quiet_s, known = 0.0, -1
            while quiet_s < 2.0:  # five intervals
                time.sleep(0.2)
                now = manager.count("WATCHDOG=1")
                quiet_s, known = (quiet_s + 0.2 if now == known else 0.0), now
                assert now < 1000
            assert run.code is None
            assert not manager.count("READY=1")


class Supervisor:
    """What systemd does with the unit, in little: starts a run, kills it when it falls silent, starts it again.

    It waits longer for a sign of life than it says, since this machine has other things to do.
    """

    SAID_S, MEANT_S = 1.0, 5.0

    def __init__(self, folder: Path, listener: Listener, program: str) -> None:
        self._folder, self._listener, self._program = folder, listener, program
        self.started = self.killed = 0
        self._heard, self._heard_s = 0, 0.0
        self.run = self._start()

    def _start(self) -> Process:
        self.started += 1
        self._heard_s = time.monotonic()
        options = ("run", "-c", str(self._folder / "tapewatch.yaml"))
        return Process(self._folder, f"run{self.started}", *options, program=self._program)

    def look(self) -> None:
        """Do what is due."""
        now_s, heard = time.monotonic(), self._listener.count("WATCHDOG=1")
        if heard != self._heard:
            self._heard, self._heard_s = heard, now_s
        if now_s - self._heard_s > self.MEANT_S and self._listener.count("READY=1") >= self.started:
            self.killed += 1
            self.run.kill()
        if self.run.code is not None:
            self.run = self._start()

    def until(self, condition: Callable[[], Any]) -> None:
        """Go on until it is true."""

        def true() -> Any:
            self.look()
            return condition()

        eventually(true)


@contextmanager
def supervised(
    folder: Path, monkeypatch: pytest.MonkeyPatch, program: str = ""
) -> Iterator[tuple[Supervisor, Listener]]:
    """A run that is looked after, gone afterwards."""
    with listening(folder / "notify") as listener:
        monkeypatch.setenv("NOTIFY_SOCKET", listener.address)
        monkeypatch.setenv("WATCHDOG_USEC", f"{Supervisor.SAID_S * 1e6:.0f}")
        supervisor = Supervisor(folder, listener, program)
        try:
            yield supervisor, listener
        finally:
            supervisor.run.kill()


def test_a_run_that_stands_still_is_started_again_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what came while it stood is lost, and nothing is delivered twice without being marked."""
    root, start_ms = archive(tmp_path, ("BTCUSDT",), hours=2)
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "1200")
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, ["BTCUSDT"], strategies=easy(), alerts=UNASKED)
        with supervised(tmp_path, monkeypatch, BLOCKED) as (supervisor, listener):
            supervisor.until(lambda: listener.count("READY=1") and query(tmp_path, "SELECT 1 FROM signals"))
            supervisor.run.process.send_signal(signal.SIGUSR1)
            supervisor.until(lambda: supervisor.killed)
            supervisor.until(lambda: reached(tmp_path, ["BTCUSDT"], start_ms + 2 * HOUR_MS))
            supervisor.until(lambda: not undelivered(tmp_path))
            assert supervisor.run.stop() == 0, supervisor.run.log
            assert (supervisor.started, supervisor.killed) == (2, 1)
            assert listener.count("READY=1") == 2
    agree(tmp_path, root, ["BTCUSDT"], start_ms)


#: Nothing comes on any connection any more, from the first minute on; pings and answers do.
QUIET = "- {kind: stall, at: 1m, for: 1000h}\n- {kind: http_5xx, at: 1m, for: 1000h}\n"


def test_a_quiet_exchange_is_no_reason_to_start_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection stands and brings nothing, REST refuses: the run lives on, longer than its manager waits."""
    (tmp_path / "quiet.yaml").write_text(QUIET)
    options = ("--synthetic", "3", "--symbols", "BTCUSDT", "--at-end", "hold", "--speed", "600",
               "--faults", str(tmp_path / "quiet.yaml"))  # fmt: skip
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, ["BTCUSDT"], strategies=easy(), alerts=UNASKED)
        with supervised(tmp_path, monkeypatch) as (supervisor, listener):
            supervisor.until(lambda: "stall" in exchange.faults)
            beats, since_s = listener.count("WATCHDOG=1"), time.monotonic()
            supervisor.until(lambda: time.monotonic() - since_s > Supervisor.MEANT_S + 2)
            assert listener.count("WATCHDOG=1") > beats + 5
            assert (supervisor.started, supervisor.killed) == (1, 0)
            assert supervisor.run.stop() == 0, supervisor.run.log
