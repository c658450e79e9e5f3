"""The last part of a period, which a search cannot read, and the register of who has looked at it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from tapewatch.archive.reader import intervals_of
from tapewatch.disk import append_line
from tapewatch.errors import SetupError
from tapewatch.model import INTERVALS_MS
from tapewatch.record import HOUR_MS
from tapewatch.study.signals import Request, period


@dataclass(frozen=True)
class Holdout:
    """A period in two.

    Attributes:
        request: the whole of it.
        from_ms: where the part that is held out begins, on a full hour and where every candle ends.
        to_ms: where it ends.
    """

    request: Request
    from_ms: int
    to_ms: int

    @classmethod
    def of(cls, request: Request, share: float) -> Holdout:
        """The last so much of what a request spans, as a share of 1.

        Raises:
            SetupError: the archive does not hold a symbol, or the share leaves nothing on one side.
        """
        first_ms, to_ms = period([request])
        smallest = (INTERVALS_MS[intervals_of(request.root, request.venue, one)[0]] for one in request.symbols)
        whole_ms = max(HOUR_MS, *smallest)
        from_ms = (to_ms - round(share * (to_ms - first_ms))) // whole_ms * whole_ms
        if not first_ms < from_ms < to_ms:
            raise SetupError(f"--holdout: {share:.0%} of this period leaves nothing on one side")
        return cls(request, from_ms, to_ms)

    @property
    def training(self) -> Request:
        """What a search may read: no candle that closes later."""
        return replace(self.request, to_ms=self.from_ms, until_ms=self.from_ms)

    @property
    def unseen(self) -> Request:
        """What is held out; what came before is read for indicators and the gate, and not traded."""
        return replace(self.request, from_ms=self.from_ms, to_ms=self.to_ms)


class Opening(msgspec.Struct, frozen=True):
    """A look at a period: when, at what, with which strategy and parameters."""

    opened_ms: int
    venue: str
    symbols: tuple[str, ...]
    from_ms: int
    to_ms: int
    strategy: str
    params: dict[str, float]

    def overlaps(self, other: Opening) -> bool:
        """Whether both have seen some of the same candles."""
        same = self.venue == other.venue and not set(self.symbols).isdisjoint(other.symbols)
        return same and self.from_ms < other.to_ms and other.from_ms < self.to_ms


class Register:
    """Every opening, a line of JSON each, in a file that several processes may write to.

    Args:
        path: the file; else `tapewatch/holdouts.jsonl` in `$XDG_STATE_HOME`, or in `~/.local/state`.
    """

    def __init__(self, path: Path | None = None) -> None:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        self.path = path or state / "tapewatch" / "holdouts.jsonl"

    def check(self) -> None:
        """Raises SetupError where it could not be opened: a long search should not end with that."""
        self._openings()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab"):
                pass
        except OSError as error:
            raise self._wrong(error.strerror or error) from None

    def open(self, opening: Opening) -> list[Opening]:
        """The openings before this one that saw some of the same, once this one is written so that it lasts.

        Raises:
            SetupError: the file cannot be written or read, or a line of it is none.
        """
        self._openings()
        try:
            place = append_line(self.path, msgspec.json.encode(opening) + b"\n")
        except OSError as error:
            raise self._wrong(error.strerror or error) from None
        return [one for one in self._openings(place) if one.overlaps(opening)]

    def _openings(self, end: int | None = None) -> list[Opening]:
        """Those up to a place in the file."""
        try:
            lines = self.path.read_bytes()[:end].splitlines() if self.path.exists() else []
        except OSError as error:
            raise self._wrong(error.strerror or error) from None
        found = []
        for number, line in enumerate(lines, 1):
            try:
                found.append(msgspec.json.decode(line, type=Opening))
            except msgspec.DecodeError as error:
                raise self._wrong(f"line {number} is no opening: {error}") from None
        return found

    def _wrong(self, why: object) -> SetupError:
        return SetupError(f"--holdout-register: {self.path}: {why}")


def said(earlier: Sequence[Opening]) -> str:
    """Whether what was held out is still unseen."""
    if not earlier:
        return "opened for the first time"
    times = "once" if len(earlier) == 1 else f"{len(earlier)} times"
    return f"opened {times} before: no longer unseen"
