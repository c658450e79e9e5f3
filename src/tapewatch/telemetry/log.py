"""Logs: JSON Lines or readable lines, to stderr and a rotating file, with verbosity per component.

Modules say `log = get_logger("feeds")` and `log.info("gap_filled", symbol=..., bars=...)`. The names `symbol`,
`trace_id` and `stack` (which `exc_info` makes) have fields of their own, everything else given is `data`. Libraries
that use the standard `logging` come out in the same form, under the first part of their logger's name.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO

from tapewatch.telemetry.lines import Masker, as_json, as_text
from tapewatch.telemetry.logfile import LineFile

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_OWN_FIELDS = ("symbol", "trace_id")
#: Libraries that tell their inner life below this level, when nothing else is asked for.
_LIBRARY_LEVEL = "warning"


class Logger:
    """Writes lines of one component: an event in a word, and what there is to say of it.

    Before there is a `LogSetup` only warnings and worse are written, to stderr.
    """

    __slots__ = ("_component",)

    def __init__(self, component: str) -> None:
        self._component = component

    def debug(self, event: str, **given: Any) -> None:
        """What only helps to find a mistake."""
        self._write("debug", event, given)

    def info(self, event: str, **given: Any) -> None:
        """What happens as it should."""
        self._write("info", event, given)

    def warning(self, event: str, **given: Any) -> None:
        """What should not happen and is dealt with."""
        self._write("warning", event, given)

    def error(self, event: str, **given: Any) -> None:
        """What somebody should look at."""
        self._write("error", event, given)

    def critical(self, event: str, **given: Any) -> None:
        """What ends the program, or one of its threads."""
        self._write("critical", event, given)

    def exception(self, event: str, **given: Any) -> None:
        """An error with the exception that is being handled."""
        self._write("error", event, {"exc_info": True, **given})

    def _write(self, level: str, event: str, given: dict[str, Any]) -> None:
        if _setups:
            _setups[-1].write(self._component, level, event, given)
        elif _LEVELS[level] >= _LEVELS["warning"]:
            sys.stderr.write(as_text(_entry(self._component, level, event, given)) + "\n")


def get_logger(component: str) -> Logger:
    """A logger whose lines carry the component's name; calls below the level in use cost next to nothing."""
    return Logger(component)


def _entry(component: str, level: str, event: str, given: dict[str, Any]) -> dict[str, Any]:
    stack = str(given.pop("stack", "")) or _stack(given.pop("exc_info", None))
    entry = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level,
        "component": component,
        "event": event,
        **{name: given.pop(name, None) for name in _OWN_FIELDS},
        "data": given,
    }
    return entry | {"stack": stack} if stack else entry


#: Those that are in use, the one that writes last.
_setups: list[LogSetup] = []

#: The newest lines of the log, masked, for whoever has to say what happened before the end.
_recent: deque[str] = deque(maxlen=10)
_maskers: list[Masker] = []


def masked(text: str) -> str:
    """The text without secrets of the configuration: what leaves this process in any other way than the log."""
    for mask in _maskers:
        text = mask({"": text})[""]
    return text


def recent_lines() -> list[str]:
    """The newest lines of the log from level `info` on, without secrets, the oldest first."""
    return list(_recent)


class LogSetup:
    """Logging as configured; `close` writes what is open and gives the standard streams back.

    Args:
        secrets: values that are masked wherever they occur.
        stream: in place of stderr.
        settings: see `change`.

    Raises:
        SetupError: the file cannot be written.
    """

    def __init__(
        self,
        *,
        secrets: Iterable[str] = (),
        stream: TextIO | None = None,
        **settings: Any,
    ) -> None:
        self._stream = stream or sys.stderr
        self._secrets: set[str] = set()
        self._file: LineFile | None = None
        self._root = (logging.root.handlers, logging.root.level)
        self.mask(secrets)
        self.change(**settings)
        _setups.append(self)
        logging.captureWarnings(capture=True)
        self._hooks = (sys.excepthook, threading.excepthook)
        sys.excepthook = _uncaught
        threading.excepthook = _uncaught_in_thread

    def mask(self, secrets: Iterable[str]) -> None:
        """Mask these values too from now on."""
        self._secrets.update(secrets)
        self._mask = Masker(self._secrets)
        _maskers[:] = [self._mask]

    def change(
        self,
        *,
        level: str = "info",
        form: Literal["console", "json"] = "console",
        levels: Mapping[str, str] | None = None,
        file: Path | None = None,
        keep: int = 7,
        max_bytes: int = 50_000_000,
    ) -> None:
        """Log like this from now on.

        Args:
            level: for components that `levels` does not name.
            form: `json`, or `console` for `[time] [level] [component] message key=value`.
            levels: by component; `feeds` is for `feeds.rest` too.
            file: also written to, rotated each day (UTC).
            keep: so many old files stay.
            max_bytes: a file is rotated at this size, too.

        Raises:
            SetupError: the file cannot be written; nothing is changed.
        """
        opened, before = None if file is None else LineFile(file, keep, max_bytes), self._file
        self._file = opened
        self._render = as_json if form == "json" else as_text
        self._default = _LEVELS[level]
        self._levels = {name: _LEVELS[value] for name, value in (levels or {}).items()}
        lowest = min(self._default, *self._levels.values(), 50)
        logging.root.handlers = [_Bridge(lowest)]
        logging.root.setLevel(lowest)
        for name in ("aiohttp", "alembic", "asyncio", "picows", "sqlalchemy", "uvicorn"):
            logging.getLogger(name).setLevel(self._levels.get(name, max(self._default, _LEVELS[_LIBRARY_LEVEL])))
        if before is not None:
            before.close()

    def close(self) -> None:
        """Back to how it was before, with the file closed."""
        _maskers.clear()
        _recent.clear()
        sys.excepthook, threading.excepthook = self._hooks
        logging.captureWarnings(capture=False)
        logging.root.handlers, level = self._root
        logging.root.setLevel(level)
        _setups.remove(self)
        if self._file is not None:
            self._file.close()

    def write(self, component: str, level: str, event: str, given: dict[str, Any]) -> None:
        """A line of a component, where its level asks for it."""
        if _LEVELS[level] < self._threshold(component):
            return
        entry = self._mask(_entry(component, level, event, given))
        self._put(self._render(entry))
        if _LEVELS[level] >= _LEVELS["info"]:
            _recent.append(as_text(entry | {"stack": ""}))

    def _threshold(self, component: str) -> int:
        while component:
            if component in self._levels:
                return self._levels[component]
            component = component.rpartition(".")[0]
        return self._default

    def _put(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads stderr any more; the file and the work go on
            pass
        if self._file is not None and self._file.write(line):
            self._say_of(self._file)

    def _say_of(self, file: LineFile) -> None:
        """Once: that lines do not go as they should, and that they do again."""
        if file.trouble is not None:
            get_logger("telemetry").error("log_trouble", error=f"logging.file {file.trouble}")
        else:
            get_logger("telemetry").warning("log_recovered", lost=file.lost)


class _Bridge(logging.Handler):
    """Takes the records of libraries into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        component = record.name.partition(".")[0]
        level = max(
            (name for name in _LEVELS if _LEVELS[name] <= record.levelno), key=_LEVELS.__getitem__, default="debug"
        )
        log = getattr(get_logger(component), level)
        try:
            text = record.getMessage()
        except Exception:  # a library's own mistake in its format string
            text = str(record.msg)
        log(text, logger=record.name, exc_info=record.exc_info)


def _stack(exc_info: Any) -> str:
    if not exc_info:
        return ""
    if isinstance(exc_info, BaseException):
        error: BaseException | None = exc_info
    elif isinstance(exc_info, tuple):
        error = exc_info[1]
    else:
        error = sys.exc_info()[1]
    return "" if error is None else "".join(traceback.format_exception(error)).rstrip()


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    get_logger("tapewatch").critical("uncaught_exception", error=str(error), exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread else None
    info = (args.exc_type, args.exc_value, args.exc_traceback)
    get_logger("tapewatch").critical("uncaught_exception", error=str(args.exc_value), thread=name, exc_info=info)
