"""Logs: JSON Lines or readable lines, to stderr and a rotating file, with verbosity per component.

Modules say `log = get_logger("feeds")` and `log.info("gap_filled", symbol=..., bars=...)`. The names `symbol` and
`trace_id` have fields of their own, everything else given is `data`. Libraries that use the standard `logging` come
out in the same form, under the first part of their logger's name.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog

from tapewatch.telemetry.lines import LineFile, Masker, as_json, as_text

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_OWN_FIELDS = ("symbol", "trace_id")
#: Libraries that tell their inner life below this level, when nothing else is asked for.
_LIBRARY_LEVEL = "warning"


def get_logger(component: str) -> Any:
    """A logger whose lines carry the component's name; calls below the lowest level in use cost next to nothing."""
    return structlog.get_logger(component=component)


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
        level: for components that `levels` does not name.
        form: `json`, or `console` for `[time] [level] [component] message key=value`.
        levels: by component; `feeds` is for `feeds.rest` too.
        file: also written to, rotated each day (UTC) and at `max_bytes`; `keep` old files stay.
        secrets: values that are masked wherever they occur.

    Raises:
        SetupError: the file cannot be written.
    """

    def __init__(
        self,
        *,
        level: str = "info",
        form: Literal["console", "json"] = "console",
        levels: Mapping[str, str] | None = None,
        file: Path | None = None,
        keep: int = 7,
        max_bytes: int = 50_000_000,
        secrets: Iterable[str] = (),
        stream: TextIO | None = None,
    ) -> None:
        self._stream = stream or sys.stderr
        self._render = as_json if form == "json" else as_text
        self._mask = Masker(secrets)
        _maskers[:] = [self._mask]
        self._default = _LEVELS[level]
        self._levels = {name: _LEVELS[value] for name, value in (levels or {}).items()}
        self._file = None if file is None else LineFile(file, keep, max_bytes)
        lowest = min(self._default, *self._levels.values(), 50)
        structlog.configure(
            processors=[structlog.stdlib.add_log_level, self._emit],
            wrapper_class=structlog.make_filtering_bound_logger(lowest),
            logger_factory=structlog.ReturnLoggerFactory(),
            cache_logger_on_first_use=False,
        )
        self._bridge = _Bridge(lowest)
        self._root = (logging.root.handlers, logging.root.level)
        logging.root.handlers = [self._bridge]
        logging.root.setLevel(lowest)
        for name in ("aiohttp", "alembic", "asyncio", "picows", "sqlalchemy", "uvicorn"):
            logging.getLogger(name).setLevel(self._levels.get(name, max(self._default, _LEVELS[_LIBRARY_LEVEL])))
        logging.captureWarnings(capture=True)
        self._hooks = (sys.excepthook, threading.excepthook)
        sys.excepthook = _uncaught
        threading.excepthook = _uncaught_in_thread

    def close(self) -> None:
        """Back to how it was before, with the file closed."""
        _maskers.clear()
        _recent.clear()
        sys.excepthook, threading.excepthook = self._hooks
        logging.captureWarnings(capture=False)
        logging.root.handlers, level = self._root
        logging.root.setLevel(level)
        structlog.reset_defaults()
        if self._file is not None:
            self._file.close()

    def _emit(self, _logger: object, _method: str, given: MutableMapping[str, Any]) -> str:
        component, level = str(given.pop("component", "tapewatch")), str(given.pop("level"))
        if _LEVELS[level] < self._threshold(component):
            raise structlog.DropEvent
        entry: dict[str, Any] = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": level,
            "component": component,
            "event": str(given.pop("event", "")),
        }
        stack = _stack(given.pop("exc_info", None))
        entry.update({name: given.pop(name, None) for name in _OWN_FIELDS})
        entry["data"] = dict(given)
        if stack:
            entry["stack"] = stack
        entry = self._mask(entry)
        line = self._render(entry)
        self._write(line)
        if _LEVELS[level] >= _LEVELS["info"]:
            _recent.append(as_text(entry | {"stack": ""}))
        return line

    def _threshold(self, component: str) -> int:
        while component:
            if component in self._levels:
                return self._levels[component]
            component = component.rpartition(".")[0]
        return self._default

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads stderr any more; the file and the work go on
            pass
        if self._file is not None:
            self._file.write(line)


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
