"""`tapewatch status --watch`: a run over the whole terminal, asked again and again."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from tapewatch.cli.glance import Book, View, frame
from tapewatch.cli.portfolio import drawdown_pct
from tapewatch.cli.status import summary
from tapewatch.errors import SetupError, TapewatchError
from tapewatch.model import INTERVALS_MS

if TYPE_CHECKING:
    from tapewatch.store import Ledger

#: Between two questions to the run and its ledger.
EVERY_S = 1.5
#: How soon a key and a new size of the terminal are seen.
LOOK_S = 0.1
#: Alerts that are read; more than any screen has lines for are not.
ALERTS = 50
#: A ledger that is busy keeps nobody for longer.
BUSY_MS = 2_000
QUIT = b"qQ\x03\x04"
_NAMES = {ms: name for name, ms in INTERVALS_MS.items()}


class Source:
    """Asks a run for its health and its ledger for the rest, in a thread of its own: either may be slow.

    Args:
        ask: the health document and rows of the watch list; raises TapewatchError where nothing answers.
        address: the ledger's URL.
        venue: whose.
    """

    def __init__(
        self, ask: Callable[[], tuple[dict[str, Any], list[dict[str, Any]]]], address: str, venue: str
    ) -> None:
        self._ask, self._address, self._venue = ask, address, venue
        self._ledger: Ledger | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.view = View(time.time_ns() // 1_000_000, venue)
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(LOOK_S)  # one that waits for an answer is not waited for

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self.view = self._look()
                self._ended.wait(EVERY_S)
        except BaseException as error:  # raised again where it is seen
            self.error = error
        finally:
            self._close()

    def _look(self) -> View:
        found, gone, ages_s = None, None, {}
        rows: list[dict[str, Any]] = []
        try:
            document, rows = self._ask()
            found = summary(document)
            heard = document["checks"].get("symbols:freshness", [])
            ages_s = {one["componentId"]: one["observedValue"] for one in heard}
        except TapewatchError as error:
            gone = str(error)
        book, unread = None, None
        try:
            book = self._book()
        except TapewatchError as error:
            unread = str(error)
            self._close()
        watched = {str(row.get("symbol")): row for row in rows}
        return View(time.time_ns() // 1_000_000, self._venue, found, gone, ages_s, watched, book, unread)

    def _book(self) -> Book:
        """Raises SetupError or StoreError."""
        from tapewatch.store import Ledger

        if self._ledger is None:
            self._ledger = Ledger.open(self._address, create=False, busy_timeout_ms=BUSY_MS)
        ledger, venue = self._ledger, self._venue
        alerts = ledger.alerts(limit=ALERTS)
        leading = [one["signal_ids"][0] for one in alerts if one["signal_ids"]]
        signals = {one["id"]: one for one in ledger.stored_signals(ids=leading)} if leading else {}
        account = ledger.paper.account(venue)
        last_bars: dict[str, tuple[str, int]] = {}
        for one in ledger.series_states(venue):  # a symbol's shortest interval comes first
            if one.last_open_ms is not None:
                bar = _NAMES.get(one.interval_ms, ""), one.last_open_ms + one.interval_ms
                last_bars.setdefault(one.symbol, bar)
        return Book(
            ledger.paper.positions(venue),
            alerts,
            signals,
            account,
            drawdown_pct(account, ledger.paper.days(venue)) if account is not None else (0.0, 0.0),
            last_bars,
        )

    def _close(self) -> None:
        if self._ledger is not None:
            with suppress(TapewatchError):
                self._ledger.close()
            self._ledger = None


def show(source: Source) -> None:
    """Show it until a key ends it; the terminal is afterwards as it was, whatever ended it.

    Raises:
        SetupError: the terminal cannot be written all over.
    """
    from rich.console import Console, Group
    from rich.live import Live

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal or console.is_dumb_terminal:
        raise SetupError("--watch: this terminal cannot be written all over; status alone prints once")
    with (
        source,
        _ended_by_signals(),
        _keys() as pressed,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        shown: tuple[Any, ...] = ()
        while True:
            if source.error is not None:
                raise source.error
            size, now_s = console.size, int(time.time())
            if shown != (wanted := (source.view, size, now_s)):
                live.update(Group(*frame(source.view, now_s * 1000, size.width, size.height)), refresh=True)
                shown = wanted
            if pressed():
                return


@contextmanager
def _keys() -> Iterator[Callable[[], bool]]:
    """Whether a key that ends it was pressed within a moment; keys are not written on the screen meanwhile."""
    number = -1 if sys.stdin is None else sys.stdin.fileno()
    if not os.isatty(number):
        yield lambda: bool(select.select([], [], [], LOOK_S)[0])
        return
    before = termios.tcgetattr(number)

    def pressed() -> bool:
        if not select.select([number], [], [], LOOK_S)[0]:
            return False
        keys = os.read(number, 64)
        return not keys or any(key in QUIT for key in keys)

    tty.setcbreak(number)
    try:
        yield pressed
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Ctrl-C ends it as q does, and signals that ask to end leave the terminal in order; it is not suspended."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, end),
        signal.SIGHUP: signal.signal(signal.SIGHUP, end),
        signal.SIGTSTP: signal.signal(signal.SIGTSTP, signal.SIG_IGN),
    }
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
