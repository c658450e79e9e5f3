"""Processes that begin where all of `tapewatch` is imported: tests that kill dozens of them need not wait for that."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest.mock import patch

IMPORTED = [
    "tapewatch.cli.run",
    "tapewatch.cli.simulate",
    "tapewatch.live.shell",
    "tapewatch.simulator",
    "tapewatch.web.server",
]


def unmeasured() -> dict[str, str]:
    """The environment of a process that coverage must leave alone."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@cache
def _context() -> ForkServerContext:
    """Where they are forked from: a process that does nothing but import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with patch.dict(os.environ, unmeasured(), clear=True):
        resource_tracker.ensure_running()
        forkserver.ensure_running()
    return context


def _become(program: str, arguments: Sequence[str], out: str, err: str, folder: str, names: dict[str, str]) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(names)
    for path, number in ((out, 1), (err, 2)):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    sys.argv = ["tapewatch", *arguments]
    exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})


class Forked:
    """One of them, as `subprocess` would have it; its files for output are there."""

    def __init__(self, program: str, arguments: Sequence[str], out: Path, err: Path) -> None:
        own = (program, list(arguments), str(out.resolve()), str(err.resolve()), str(Path.cwd()), unmeasured())
        self._process = _context().Process(target=_become, args=own)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Its exit code, once it has ended."""
        self._process.join(timeout)
        if (code := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired("tapewatch", timeout)
        return code

    def send_signal(self, number: int) -> None:
        """The signal, unless it has ended."""
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        self._process.kill()
