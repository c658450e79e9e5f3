"""What a service manager hears of a run, on its own kind of socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from run_harness import configure, easy, eventually, running, simulated
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
    health.ledger_error, health.waiting_since_ms = "gone\nWATCHDOG=1", -10 * health.stuck_ms
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
    health.ledger_error = "disk\n" * 1000
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
