"""Programs that a benchmark runs beside itself: this package's own modules, which say what they have to in lines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tapewatch.errors import SetupError


@contextmanager
def started(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A module run as a program, ended afterwards."""
    with subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def line_of(process: subprocess.Popen[str]) -> str:
    """What it says next. Raises SetupError when it has ended."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SetupError("bench: a program it started ended early")
    return line


def say(line: str) -> None:
    """Say a line to whoever started this program."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
