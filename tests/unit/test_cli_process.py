"""The command as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import store
from core_samples import walk
from tapewatch import __version__
from tapewatch.cli.app import COMMANDS, GROUPS


def test_the_installed_command(tmp_path: Path) -> None:
    """As its own process: version, help with an example, output into a pipe that is closed early."""
    command = [sys.executable, "-m", "tapewatch"]
    environment = {**os.environ, "COLUMNS": "200"}

    def output(*arguments: str) -> str:
        result = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=True, timeout=60, env=environment
        )
        return result.stdout

    assert output("--version") == f"tapewatch {__version__}\n"
    assert "Example: tapewatch signals --strategy scalp" in " ".join(output("signals", "--help").split())
    store(tmp_path, walk(4320))
    process = subprocess.Popen(
        [*command, "signals", "--strategy", "scalp", "--set", "min_factors=3", "--data", str(tmp_path), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(60) in (0, 1)
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("--version",), ("indicators", "--json")])
def test_output_that_cannot_be_written_is_said_in_a_line(arguments: tuple[str, ...], unbuffered: str) -> None:
    """On a full disk, of a text that is short or long, written at once or in the end: exit 1 and no traceback."""
    command, environment = [sys.executable, "-m", "tapewatch"], {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*command, *arguments], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60, env=environment
        )
    assert (done.returncode, done.stderr) == (
        1, b"tapewatch: the output cannot be written: No space left on device\n",
    )  # fmt: skip


def test_output_that_was_closed_goes_nowhere() -> None:
    """A command does its work without a stdout, and nothing it opens gets into that place."""
    command = f"exec {sys.executable} -m tapewatch indicators >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_argument_that_is_no_text_is_the_users_mistake() -> None:
    """Bytes that no text encodes are refused in words, before a database or a terminal chokes on them."""
    command = [sys.executable.encode(), b"-m", b"tapewatch", b"maintenance", b"1h", b"--reason", b"new \xff disk"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr == b"tapewatch: 'new \\udcff disk' is no text in utf-8\n"


def test_commands_load_what_they_need_when_they_run() -> None:
    """Knowing all of them loads no database, no configuration and nothing of research."""
    heavy = ("sqlalchemy", "pydantic", "numpy", "polars", "ruamel", "jinja2", "aiohttp")
    code = "import sys; from tapewatch.cli.app import command_line; command_line(); "
    code += f"sys.exit(' '.join(name for name in {heavy} if name in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_does_not_wait_for_the_others() -> None:
    """Only the one that is asked for is loaded; without one, and for a name that is none, all are known."""

    def known(*words: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-m", "tapewatch", *words], capture_output=True, text=True, check=False, timeout=60
        )
        return re.findall(r"^│ ([a-z]+) ", done.stdout, re.MULTILINE) + re.findall(r"Did you mean (.*)", done.stderr)

    assert known("--help") == [*COMMANDS, *GROUPS]
    assert "'status'" in known("statsu")[0]
    code = "import sys; from tapewatch.cli.app import command_line; command_line(['db', 'info']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = {name for name in done.stdout.split() if name.startswith("tapewatch.cli.")}
    assert "tapewatch.cli.db" in loaded
    assert not loaded & {"tapewatch.cli.run", "tapewatch.cli.alerts", "tapewatch.cli.status"}


def test_a_run_ends_though_nobody_reads_its_output() -> None:
    """A console channel that is stuck in a full pipe does not keep the process from ending."""
    code = """
import sys
from threading import Thread
from tapewatch.cli.run import leave_stuck_output
stuck = Thread(target=lambda: (sys.stdout.write("x" * 1_000_000), sys.stdout.flush()), daemon=True)
stuck.start()
stuck.join(0.2)
assert stuck.is_alive()
leave_stuck_output(0.2)
"""
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    try:
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
