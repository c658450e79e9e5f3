"""What an engine is made of, so that the same one can be made again: by a start, by a replay."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tapewatch import __version__, strategies
from tapewatch.config.schema import Gate
from tapewatch.engine import Engine
from tapewatch.gate import GateSettings
from tapewatch.model import MINUTE_MS, LastPassed
from tapewatch.store.entries import Begin

#: Sums of doubles and powers may have other bits in another minor version.
PYTHON = ".".join(platform.python_version_tuple()[:2])


@dataclass(frozen=True)
class Makeup:
    """Strategies as whole mappings, and the gate's settings."""

    venue: str
    mappings: Mapping[str, Mapping[str, Any]]
    gate: GateSettings
    base_ms: int = MINUTE_MS

    @classmethod
    def of(cls, begin: Begin) -> Makeup:
        """What an earlier engine was made of. Raises SetupError where that means nothing to this version."""
        strategies.load_python_files(Path(path) for path in begin.python_files)
        known = {name: value for name, value in begin.gate.items() if name in GateSettings.__dataclass_fields__}
        return cls(begin.venue, begin.strategies, GateSettings(**known), begin.base_ms)

    @cached_property
    def _template(self) -> Engine:
        return Engine(self.venue, strategies.from_mappings(self.mappings), self.gate, base_ms=self.base_ms)

    def engine(self, passed: Iterable[LastPassed] = ()) -> Engine:
        """A fresh engine. Raises SetupError."""
        return self._template.renewed(passed)

    def begin(self, engine: Engine, passed: Iterable[LastPassed]) -> Begin:
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
            python_files=tuple(map(str, strategies.python_files())),
        )


def unlike(begin: Begin, engine: Engine) -> str | None:
    """Why what an engine that began so left behind is of no use to this one; None where it goes on from there."""
    if begin.version != __version__:
        return f"it was written by version {begin.version}"
    if begin.python != PYTHON:
        return f"it was written under Python {begin.python}"
    if begin.fingerprint != engine.fingerprint:
        return "strategies or the gate have been changed"
    return None


def gate_of(gate: Gate) -> GateSettings:
    """The gate's settings that a configuration asks for."""
    return GateSettings(
        gate.late_after, gate.expiry, gate.history.size, gate.history.expire, gate.liquidity, gate.max_spread
    )
