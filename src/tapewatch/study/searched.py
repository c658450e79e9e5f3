"""The file of a search: what it was made of, and what came of each set, so that a search that ended early goes on."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Mapping
from hashlib import blake2b
from importlib.metadata import version
from math import isnan
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from tapewatch import __version__
from tapewatch.errors import SetupError
from tapewatch.model import NAN
from tapewatch.study.backtest import Plan
from tapewatch.study.document import data_hash
from tapewatch.study.ground import Ground
from tapewatch.study.search import Asked, Outcome, Row
from tapewatch.study.signals import Request
from tapewatch.study.space import Space

FORMAT = 1
#: Where a request begins and ends: the whole period, or that of a fold.
Period = tuple[int | None, int | None]


class _Line(msgspec.Struct, frozen=True):
    """An `Outcome` with the period in which the set was tried; what is NaN is null."""

    period: Period
    row: Row
    why: str
    objective: float | None
    trades: int
    first: float | None
    blocks: list[list[float]]


class Known(dict[Row, Outcome]):
    """What came of sets in one period; what is added is written down."""

    def __init__(self, write: Callable[[Outcome], None]) -> None:
        super().__init__()
        self._write = write

    def __setitem__(self, row: Row, outcome: Outcome) -> None:
        self._write(outcome)
        super().__setitem__(row, outcome)


class StudyFile:
    """JSON Lines: a header that says what is searched and how, then a line for each set.

    A last line that a crash tore is cut off. Two searches cannot have the same file at once.

    Args:
        path: the file; it is made where there is none.
        header: as `header_of`.

    Raises:
        SetupError: it cannot be written, is of another search, is no such file, or another search is at it.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self._path, self._parts = path, dict[Period, Known]()
        try:
            self._file: BinaryIO = path.open("a+b", buffering=0)
        except OSError as error:
            raise self._wrong(error.strerror or error) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read(msgspec.json.encode(header) + b"\n")
        except BlockingIOError:
            self._file.close()
            raise self._wrong("another search is at it") from None
        except BaseException:
            self._file.close()
            raise

    def known(self, request: Request) -> Known:
        """What came of sets over what a request asks for."""
        return self._known((request.from_ms, request.to_ms))

    def close(self) -> None:
        """Nothing more is written; what was lasts."""
        os.fsync(self._file.fileno())
        self._file.close()

    def _known(self, period: Period) -> Known:
        return self._parts.setdefault(period, Known(lambda outcome: self._write(period, outcome)))

    def _write(self, period: Period, one: Outcome) -> None:
        objective, first = (None if isnan(value) else value for value in (one.objective, one.first))
        line = _Line(period, one.row, one.why, objective, one.trades, first, one.blocks)
        try:
            self._file.write(msgspec.json.encode(line) + b"\n")
        except OSError as error:
            raise self._wrong(error.strerror or error) from None

    def _read(self, header: bytes) -> None:
        self._file.seek(0)
        first, end = self._file.readline(), 0
        if not first.endswith(b"\n"):
            if first != header[: len(first)]:
                raise self._wrong("is no file of a search")
            self._file.truncate(0)
            self._file.write(header)
            return
        self._check(first, header)
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    self._file.truncate(end)
                    break
                end += len(line)
                if number > 1:
                    self._take(number, line)

    def _take(self, number: int, line: bytes) -> None:
        try:
            one = msgspec.json.decode(line, type=_Line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._wrong(f"line {number} is none of a search: {error}") from None
        objective, first = (NAN if value is None else value for value in (one.objective, one.first))
        outcome = Outcome(one.row, one.why, objective, one.trades, first, one.blocks)
        dict.__setitem__(self._known(one.period), one.row, outcome)

    def _check(self, there: bytes, header: bytes) -> None:
        try:
            before = msgspec.json.decode(there, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._wrong("is no file of a search") from None
        now = msgspec.json.decode(header, type=dict[str, Any])
        other = [name for name in now if before.get(name) != now[name]]
        if "format" in other:
            raise self._wrong("is no file of a search, or one of another version")
        if other:
            raise self._wrong(f"is of another search; these differ: {', '.join(other)}")

    def _wrong(self, why: object) -> SetupError:
        return SetupError(f"--study: {self._path}: {why}")


def header_of(plan: Plan, space: Space, asked: Asked) -> dict[str, Any]:
    """All that the outcomes of a search, and what is drawn next, depend on; how many trials there are is none of it.

    Raises:
        SetupError: the archive does not hold what is needed.
    """
    request = plan.request
    return {
        "format": FORMAT,
        "tapewatch": __version__,
        "optuna": version("optuna"),
        "strategy": _hash(plan.strategy),
        "venue": request.venue,
        "symbols": list(request.symbols),
        "intervals": list(request.intervals),
        "period": [request.from_ms, request.to_ms],
        "history_start": _hash(sorted(request.starts.items())),
        "data": data_hash(Ground.of(request, plan.account)),
        "account": _hash(plan.account),
        "gate": plan.gate,
        "universe": _hash(plan.universe),
        "instruments": _hash([plan.instruments.get(symbol) for symbol in request.symbols]),
        "search": {name: list(one.values) or [one.low, one.high] for name, one in space.ranges.items()},
        **{name: getattr(asked, name) for name in ("objective", "sampler", "seed", "min_trades", "prune")},
    }


def _hash(value: object) -> str:
    return blake2b(repr(value).encode(), digest_size=16).hexdigest()
