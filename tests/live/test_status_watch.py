"""`status --watch` on a real pseudo-terminal, against a run's health over a real socket and a ledger."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from book_samples import account, position
from delivery_samples import VENUE, alert_of, step_of
from delivery_samples import signal as signal_of
from run_harness import MAIN, command, eventually, free_port
from tapewatch.store import Ledger, Step
from tapewatch.telemetry.document import health_document
from tapewatch.telemetry.health import Health

HOME, ALTERNATE, BACK = b"\x1b[H", b"\x1b[?1049h", b"\x1b[?1049l"
#: What the terminal sends for Ctrl-C is sent to whom it controls.
OWN_TERMINAL = "import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)"
_ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9])")


class Terminal:
    """`tapewatch status --watch` on a terminal of its own, and all that it wrote there."""

    def __init__(self, config: Path, size: tuple[int, int] = (80, 24), program: str = MAIN) -> None:
        self.master, slave = pty.openpty()
        self.written = b""
        self.resize(*size)
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        environment = {
            name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{OWN_TERMINAL}\n{program}", "status", "--watch", "-c", str(config)],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env=environment | {"TERM": "xterm-256color"},
        )  # fmt: skip

    def resize(self, width: int, height: int) -> None:
        """As a user who pulls at the window's edge."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def read(self) -> bytes:
        """All that was written so far."""
        while select.select([self.master], [], [], 0)[0]:
            self.written += os.read(self.master, 65_536)
        return self.written

    @property
    def frame(self) -> list[str]:
        """The lines of the last frame."""
        return _ESCAPES.sub(b"", self.read().rpartition(HOME)[2]).decode(errors="replace").splitlines()

    def shows(self, words: str) -> bool:
        """Whether the last frame has them."""
        assert self.process.poll() is None, self.read()[-2000:]
        return any(words in line for line in self.frame)

    def press(self, keys: bytes) -> None:
        """As a user."""
        os.write(self.master, keys)

    def ended(self) -> int:
        """Its exit code; the terminal is as it was: screen, cursor, keys."""
        code = eventually(lambda: [found] if (found := self.process.poll()) is not None else None)[0]
        written = self.read()
        assert written.count(ALTERNATE) == written.count(BACK) == 1
        assert written.rindex(b"\x1b[?25h") > written.rindex(b"\x1b[?25l")
        assert termios.tcgetattr(self._slave) == self.before
        return int(code)

    def close(self) -> None:
        """End what is left."""
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self._slave)


@contextlib.contextmanager
def on_terminal(config: Path, **options: Any) -> Iterator[Terminal]:
    """It, gone afterwards."""
    terminal = Terminal(config, **options)
    try:
        yield terminal
    finally:
        terminal.close()


@contextlib.contextmanager
def run_on(port: int) -> Iterator[Health]:
    """What a run would answer on this port; changed, it answers that."""
    health = Health(time.time_ns() // 1_000_000 - 3_600_000, ["BTCUSDT"])
    health.connected()
    health.caught_up(time.time_ns() // 1_000_000)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """The health document, and the watch list."""
            found = health_document(health, time.time_ns() // 1_000_000, 50_000_000)
            if self.path.startswith("/api/v1/watchlist?"):
                found = {"items": [{"symbol": "BTCUSDT", "price": 67100.5, "change_pct": 1.5}]}
            body = json.dumps(found).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield health
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def port() -> int:
    """Where nothing listens yet."""
    return free_port()


@pytest.fixture
def config(ledger_url: str, port: int, tmp_path: Path) -> Path:
    """A configuration whose ledger, in either kind of database, has an alert and an open position."""
    path = tmp_path / "tapewatch.yaml"
    path.write_text(
        f"universe: {{include: [BTCUSDT]}}\nstrategies: {{scalp: {{}}}}\npaper: {{}}\nweb: {{port: {port}}}\n"
        f"ledger: {{url: '{ledger_url}', folder: {tmp_path}}}\n"
    )
    with contextlib.closing(Ledger.open(ledger_url)) as ledger:
        ledger.commit_step(step_of(alert_of(signal_of()), channels=("mail",)))
        ledger.commit_step(Step(VENUE, [position(), account()]))
    return path


@pytest.mark.slow
def test_it_shows_run_and_ledger_and_ends_with_q(config: Path, port: int) -> None:
    """In 80 columns, then in a window made wide; unchanged lines are written over, nothing is cleared."""
    with run_on(port), on_terminal(config) as terminal:
        eventually(lambda: terminal.shows("status    pass"))
        eventually(lambda: terminal.shows("mail queued"))
        eventually(lambda: terminal.shows("positions (1)") and terminal.shows("drawdown 0.00%"))
        eventually(lambda: len(terminal.frame) == 24)
        terminal.resize(150, 40)
        eventually(lambda: len(terminal.frame) == 40 and max(map(len, terminal.frame)) == 150)
        eventually(lambda: terminal.shows("the longest unheard first") and terminal.shows("67100.5  +1.50%"))
        terminal.resize(60, 10)
        eventually(lambda: len(terminal.frame) == 10 and max(map(len, terminal.frame)) == 60)
        assert b"\x1b[2J" not in terminal.read().partition(HOME)[2]
        terminal.press(b"x")  # a key that means nothing
        assert terminal.process.poll() is None
        terminal.press(b"q")
        assert terminal.ended() == 0
        assert b"Traceback" not in terminal.written


@pytest.mark.slow
def test_a_run_that_is_gone_is_said_until_it_is_back(config: Path, port: int) -> None:
    """The ledger is shown meanwhile; Ctrl-C ends it."""
    with on_terminal(config) as terminal:
        eventually(lambda: terminal.shows("status    no run"))
        eventually(lambda: terminal.shows("cannot be reached"))
        eventually(lambda: terminal.shows("positions (1)"))
        for _ in range(2):
            with run_on(port) as health:
                eventually(lambda: terminal.shows("status    pass"))
                health.ledger.error = "the disk is full"
                eventually(lambda: terminal.shows("status    fail: the ledger cannot be written: the disk is full"))
            eventually(lambda: terminal.shows("status    no run"))
        terminal.press(b"\x03")
        assert terminal.ended() == 0


@pytest.mark.slow
@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_asked_to_end_leaves_the_terminal_in_order(config: Path, number: int) -> None:
    """And says by its exit code what ended it."""
    with on_terminal(config) as terminal:
        eventually(lambda: terminal.shows("status    no run"))
        terminal.process.send_signal(number)
        assert terminal.ended() == 128 + number


@pytest.mark.slow
@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("place", ["watching.frame", "watching.summary"])
def test_an_error_of_ours_leaves_the_terminal_in_order(config: Path, port: int, place: str) -> None:
    """On the way to the screen or in the thread that asks: what it was is written below, on the screen from before."""
    broken = f"from tapewatch.cli import watching\n{place} = lambda *_: 1 / 0\n{MAIN}"
    with run_on(port), on_terminal(config, program=broken) as terminal:
        assert terminal.ended() == 1
        assert b"ZeroDivisionError" in terminal.written.partition(BACK)[2]


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_it_needs_a_terminal(config: Path) -> None:
    """In a pipe it is refused in words, and with --json."""
    done = command("status", "--watch", "-c", str(config))
    said = "tapewatch: --watch: stdout is no terminal; status alone prints once\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert command("status", "--watch", "--json", "-c", str(config)).stderr == "tapewatch: --watch: not with --json\n"


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_a_dumb_terminal_is_refused(config: Path) -> None:
    """One that cannot be written all over."""
    program = f"import os\nos.environ['TERM'] = 'dumb'\n{MAIN}"
    with on_terminal(config, program=program) as terminal:
        assert eventually(terminal.process.poll) == 2
        assert b"cannot be written all over" in terminal.read()
