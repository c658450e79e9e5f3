"""What an engine is made of, so that the same one can be made again: by a start, by a replay."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from tapewatch import __version__, strategies
from tapewatch.config import Config
from tapewatch.config.schema import Gate
from tapewatch.engine import Engine
from tapewatch.errors import SetupError
from tapewatch.gate import GateSettings
from tapewatch.model import DAY_MS, MINUTE_MS, LastPassed, Signal
from tapewatch.paper.book import BookMemory
from tapewatch.paper.settings import PaperSettings
from tapewatch.store import Ledger
from tapewatch.store.entries import Begin

#: Sums of doubles and powers may have other bits in another minor version.
PYTHON = ".".join(platform.python_version_tuple()[:2])


@dataclass(frozen=True)
class Makeup:
    """Strategies as whole mappings, the settings of the gate, and those of the paper book, if there is one."""

    venue: str
    mappings: Mapping[str, Mapping[str, Any]]
    gate: GateSettings
    base_ms: int = MINUTE_MS
    paper: PaperSettings | None = None

    @classmethod
    def of(cls, begin: Begin) -> Makeup:
        """What an earlier engine was made of. Raises SetupError where that means nothing to this version."""
        strategies.load_python_files(Path(path) for path in begin.python_files)
        known = {name: value for name, value in begin.gate.items() if name in GateSettings.__dataclass_fields__}
        try:
            paper = None if begin.paper is None else msgspec.convert(begin.paper, PaperSettings)
        except msgspec.ValidationError as error:
            raise SetupError(f"its paper account means nothing to this version: {error}") from None
        return cls(begin.venue, begin.strategies, GateSettings(**known), begin.base_ms, paper)

    @cached_property
    def _template(self) -> Engine:
        chosen = strategies.from_mappings(self.mappings)
        return Engine(self.venue, chosen, self.gate, base_ms=self.base_ms, paper=self.paper)

    def engine(self, passed: Iterable[LastPassed] = (), memory: BookMemory | None = None) -> Engine:
        """A fresh engine. Raises SetupError, and DataError where the memory is none."""
        return self._template.renewed(passed, memory)

    def begin(self, engine: Engine, passed: Iterable[LastPassed], memory: BookMemory | None = None) -> Begin:
        """What a journal says of this engine, which is fresh."""
        return Begin(
            fingerprint=engine.fingerprint,
            version=__version__,
            python=PYTHON,
            venue=self.venue,
            base_ms=self.base_ms,
            strategies={name: dict(mapping) for name, mapping in self.mappings.items()},
            gate=asdict(self.gate),
            passed=tuple(passed),
            paper=None if self.paper is None else msgspec.to_builtins(self.paper),
            memory=memory,
            python_files=tuple(map(str, strategies.python_files())),
        )


def unlike(begin: Begin, engine: Engine) -> str | None:
    """Why what an engine that began so left behind is of no use to this one; None where it goes on from there."""
    if begin.version != __version__:
        return f"it was written by version {begin.version}"
    if begin.python != PYTHON:
        return f"it was written under Python {begin.python}"
    if begin.fingerprint != engine.fingerprint:
        return "strategies, the gate or the paper account have been changed"
    return None


def paper_of(config: Config) -> PaperSettings | None:
    """What becomes of signals that pass, as a configuration asks for it; None where it asks for nothing."""
    paper, follow_up = config.paper, config.alerts.follow_up
    if paper is None and not follow_up:
        return None
    return PaperSettings(None if paper is None else paper.trading, follow_up)


def gate_of(gate: Gate) -> GateSettings:
    """The gate's settings that a configuration asks for."""
    return GateSettings(
        gate.late_after, gate.expiry, gate.history.size, gate.history.expire, gate.liquidity, gate.max_spread
    )


def memory_of(ledger: Ledger, makeup: Makeup) -> BookMemory | None:
    """What a ledger holds of a paper book, for a fresh engine. Raises StoreError."""
    paper, venue = makeup.paper, makeup.venue
    if paper is None:
        return None
    saved = ledger.paper.book(venue) if paper.trading is not None else None
    return BookMemory(saved, tuple(_followed(ledger, makeup)) if paper.follow_up else ())


def _followed(ledger: Ledger, makeup: Makeup) -> Iterator[tuple[Signal, int]]:
    """Signals that were alerted and whose time was not over when the ledger was written last, with its end."""
    limits = {one.name: one.time_limit for one in strategies.from_mappings(makeup.mappings)}
    decided_ms = [one.last_open_ms for one in ledger.series_states(makeup.venue) if one.last_open_ms is not None]
    if not decided_ms:
        return
    since_ms = max(decided_ms) - max(limits.values(), default=0) * DAY_MS
    for signal in ledger.paper.unfollowed(makeup.venue, since_ms):
        if signal.strategy in limits:
            expiry_ms = signal.close_ms + limits[signal.strategy] * (signal.close_ms - signal.open_ms)
            if expiry_ms > max(decided_ms):
                yield signal, expiry_ms
