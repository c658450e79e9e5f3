"""Logs: their two forms, verbosity by component, masking, rotation."""

from __future__ import annotations

import io
import json
import logging
import math
import os
import re
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tapewatch.errors import SetupError
from tapewatch.telemetry import LogSetup, get_logger

SECRET = "correct-horse-42"


@pytest.fixture
def logs() -> Iterator[Callable[..., io.StringIO]]:
    """Sets logging up and gives what is written; everything is as before afterwards."""
    opened: list[LogSetup] = []

    def start(**settings: Any) -> io.StringIO:
        stream = settings.setdefault("stream", io.StringIO())
        opened.append(LogSetup(**settings))
        return stream

    yield start
    for setup in reversed(opened):
        setup.close()


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    """The JSON lines written."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_logging_is_changed_while_it_is_in_use(tmp_path: Path) -> None:
    """Level, form, file, and more secrets besides those before; a file that cannot be had changes nothing."""
    stream = io.StringIO()
    setup = LogSetup(secrets=[SECRET], stream=stream, file=tmp_path / "a.log")
    try:
        log = get_logger("feeds")
        log.debug("before")
        setup.mask(["battery-staple"])
        setup.change(level="debug", form="json", file=tmp_path / "b.log")
        log.debug("after", text=f"{SECRET} battery-staple")
        with pytest.raises(SetupError, match="none"):
            setup.change(file=tmp_path / "none" / "c.log")
        log.debug("still")
    finally:
        setup.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["after", "still"]
    assert lines[0]["data"] == {"text": "*** ***"}
    assert (tmp_path / "a.log").read_text() == ""
    assert (tmp_path / "b.log").read_text() == stream.getvalue()


def test_json_line_has_the_fields(logs) -> None:
    """A JSON line has time, level, component, event, symbol, trace id, and everything else under data."""
    stream = logs(form="json")
    get_logger("feeds").info("gap_filled", symbol="BTCUSDT", trace_id="ab12", bars=3, share=math.nan, path=Path("/x"))
    (entry,) = entries(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("timestamp"))
    assert entry == {
        "level": "info",
        "component": "feeds",
        "event": "gap_filled",
        "symbol": "BTCUSDT",
        "trace_id": "ab12",
        "data": {"bars": 3, "share": None, "path": "/x"},
    }


def test_errors_carry_their_stack(logs) -> None:
    """An error's stack trace is in the line, whichever way the exception is given."""
    stream = logs(form="json")
    log = get_logger("live")
    try:
        raise ValueError("broken")
    except ValueError as error:
        log.exception("one")
        kept = error
    log.error("two", exc_info=kept)
    log.error("three", exc_info=True)
    log.error("four", stack="Traceback of another place")
    one, two, three, four = entries(stream)
    assert (four["stack"], four["data"]) == ("Traceback of another place", {})
    assert one["stack"].endswith("ValueError: broken")
    assert "Traceback" in two["stack"]
    assert "stack" not in three


def test_readable_line(logs) -> None:
    """The readable form is `[time] [level] [component] message key=value`, one line whatever the values hold."""
    stream = logs()
    try:
        raise ValueError("broken\x1b[31m")
    except ValueError:
        get_logger("feeds").error("got\nthis", symbol="BTCUSDT", n=1, text="a b", bare="x", empty="", exc_info=True)
    head, *stack = stream.getvalue().splitlines()
    assert re.sub(r"^\[[^]]+\]", "[time]", head) == (
        '[time] [error] [feeds] got\\nthis symbol=BTCUSDT n=1 text="a b" bare=x empty=""'
    )
    assert stack[0] == "    Traceback (most recent call last):"
    assert stack[-1] == "    ValueError: broken\\x1b[31m"


def test_levels_by_component(logs) -> None:
    """A component's own level holds for it and its parts, the general one for the others."""
    stream = logs(form="json", level="warning", levels={"feeds": "debug", "store": "error"})
    for component in ("feeds", "feeds.rest", "store", "engine"):
        for level in ("debug", "info", "warning", "error"):
            getattr(get_logger(component), level)("x")
    seen = [(entry["component"], entry["level"]) for entry in entries(stream)]
    every = ["debug", "info", "warning", "error"]
    assert [level for name, level in seen if name == "feeds"] == every
    assert [level for name, level in seen if name == "feeds.rest"] == every
    assert [level for name, level in seen if name == "store"] == ["error"]
    assert [level for name, level in seen if name == "engine"] == ["warning", "error"]


def test_libraries_log_in_the_same_form(logs) -> None:
    """What libraries log comes out under their name, only when it matters unless asked for; broken formats too."""
    stream = logs(form="json", levels={"sqlalchemy": "info"})
    logging.getLogger("asyncio").info("not shown")
    logging.getLogger("asyncio").warning("slow %s", "task")
    logging.getLogger("sqlalchemy.engine").info("BEGIN")
    logging.getLogger("other").log(35, "between")
    logging.getLogger("other").error("%d apples", "no")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old thing", UserWarning, stacklevel=1)
    found = [(entry["component"], entry["level"], entry["event"]) for entry in entries(stream)]
    assert found[:4] == [
        ("asyncio", "warning", "slow task"),
        ("sqlalchemy", "info", "BEGIN"),
        ("other", "warning", "between"),
        ("other", "error", "%d apples"),
    ]
    assert found[4][0] == "py"
    assert "old thing" in found[4][2]


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_are_masked(logs, form: str, tmp_path: Path) -> None:
    """A secret never reaches a line: not as SecretStr, in a text, nested, in a stack trace or in the file."""
    file = tmp_path / "t.log"
    stream = logs(form=form, secrets=[SECRET, "7", ""], file=file)
    try:
        raise RuntimeError(f"login with {SECRET} failed")
    except RuntimeError:
        get_logger("channels").exception(
            f"tried {SECRET}",
            text=f"x{SECRET}y",
            deep={"a": [{SECRET}, (SECRET,)]},
            held=SecretStr(SECRET),
            n=77,
            one="7",
        )
    written = stream.getvalue() + file.read_text(encoding="utf-8")
    assert SECRET not in written
    assert "x***y" in written
    assert "77" in written
    assert '"7"' not in written


def test_file_is_rotated_by_size(logs, tmp_path: Path) -> None:
    """A full file is put aside and at most `keep` old ones stay."""
    file = tmp_path / "t.log"
    logs(file=file, keep=3, max_bytes=1_000)
    for number in range(100):
        get_logger("live").info("line", number=number, filler="x" * 50)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.log", "t.log.1", "t.log.2", "t.log.3"]
    assert "number=99" in file.read_text(encoding="utf-8")
    assert all(path.stat().st_size <= 1_000 for path in tmp_path.iterdir())


def test_file_is_rotated_daily(logs, tmp_path: Path) -> None:
    """A file of an earlier day is put aside before the first line of today, an empty one is not."""
    file = tmp_path / "t.log"
    file.write_text("yesterday\n", encoding="utf-8")
    os.utime(file, (86_400, 86_400))
    logs(file=file)
    get_logger("live").info("today")
    get_logger("live").info("again")
    assert (tmp_path / "t.log.1").read_text(encoding="utf-8") == "yesterday\n"
    assert len(file.read_text(encoding="utf-8").splitlines()) == 2
    empty = tmp_path / "e.log"
    empty.touch()
    os.utime(empty, (86_400, 86_400))
    logs(file=empty)
    get_logger("live").info("today")
    assert not (tmp_path / "e.log.1").exists()


def test_file_that_cannot_be_written(tmp_path: Path) -> None:
    """A log file that cannot be opened is the user's mistake and names the key."""
    with pytest.raises(SetupError, match=r"logging\.file: .*none/t\.log cannot be written: No such file"):
        LogSetup(file=tmp_path / "none" / "t.log")


def test_trouble_with_writing_stops_nothing(logs) -> None:
    """A closed stderr and a full disk lose log lines and nothing else."""
    stream = io.StringIO()
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    logs(stream=stream, file=full)
    get_logger("live").info("one")
    get_logger("live").info("one more")
    said = stream.getvalue()
    assert said.splitlines()[1].endswith(
        '[telemetry] log_trouble error="logging.file cannot be written: No space left on device"'
    )
    assert (said.count("\n"), said.count("log_trouble")) == (3, 1)
    stream.close()
    get_logger("live").info("two")


def test_what_was_lost_is_said_when_the_file_is_written_again(logs, tmp_path: Path) -> None:
    """A folder that goes and comes back: once that it is gone, once that it is there, and lines go on."""
    folder = tmp_path / "logs"
    folder.mkdir()
    stream = logs(form="json", file=folder / "t.log")
    get_logger("live").info("one")
    shutil.rmtree(folder)
    for number in range(5):
        get_logger("live").info("lost", number=number)
    folder.mkdir()
    get_logger("live").info("two")
    get_logger("live").info("three")
    told = [(entry["event"], entry["data"]) for entry in entries(stream) if entry["component"] == "telemetry"]
    error = "logging.file cannot be written: No such file or directory"
    assert told == [("log_trouble", {"error": error}), ("log_recovered", {"lost": 6})]
    kept = [json.loads(line)["event"] for line in (folder / "t.log").read_text("utf-8").splitlines()]
    assert kept == ["two", "log_recovered", "three"]


def test_uncaught_exceptions_are_logged(logs) -> None:
    """What nobody caught, in the program or in a thread, is logged with its stack; an interrupt is left alone."""
    stream = logs(form="json")

    def fail() -> None:
        raise RuntimeError("in a thread")

    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join()
    try:
        raise RuntimeError("outside")
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    first, second = entries(stream)
    assert (first["event"], first["level"], first["data"]["thread"]) == ("uncaught_exception", "critical", "worker")
    assert second["stack"].endswith("RuntimeError: outside")


def test_interrupt_is_no_crash(logs, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C goes the usual way, and a thread that asks to end is no error."""
    stream = logs(form="json")
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    threading.excepthook(threading.ExceptHookArgs((SystemExit, SystemExit(), None, None)))
    assert "KeyboardInterrupt" in capsys.readouterr().err
    assert stream.getvalue() == ""


def test_before_logging_is_set_up(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that has no log says on stderr what should not happen, and nothing else."""
    log = get_logger("feeds")
    log.info("all is well")
    log.warning("odd", symbol="BTCUSDT")
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.endswith("[warning] [feeds] odd symbol=BTCUSDT\n")


def test_close_gives_everything_back() -> None:
    """After closing, hooks are as before and nothing more is written to the stream."""
    hooks, root = (sys.excepthook, threading.excepthook), (logging.root.handlers, logging.root.level)
    stream = io.StringIO()
    setup = LogSetup(stream=stream)
    assert sys.excepthook is not hooks[0]
    setup.close()
    assert (sys.excepthook, threading.excepthook) == hooks
    assert (logging.root.handlers, logging.root.level) == root
    logging.getLogger("other").error("late")
    assert stream.getvalue() == ""
