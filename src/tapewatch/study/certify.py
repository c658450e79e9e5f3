"""The look-ahead certificate: a prefix of the data gives a prefix of the signals, and both evaluators say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from tapewatch.model import Signal
from tapewatch.strategy import Strategy
from tapewatch.study.signals import Request, find

#: Where the data is cut: these shares of the candidates found on all of it, so that the cuts fall where there are some.
CUTS = (0.1, 0.35, 0.6, 0.85)


@dataclass(frozen=True)
class Certificate:
    """The outcome: `differences` says where something was not equal; empty means that all was."""

    signals: int
    cuts_ms: tuple[int, ...]
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differed."""
        return not self.differences


def certify(strategy: Strategy, request: Request) -> Certificate:
    """Search all of the data and its prefixes, and search it with both evaluators; compare to the last bit."""
    whole = list(find(strategy, request, "columns"))
    differences = _compared("interpreted", whole, list(find(strategy, request, "interpreted")))
    cuts = sorted({whole[int(len(whole) * share)].close_ms for share in CUTS}) if whole else []
    for cut_ms in cuts:
        # What is known the moment this bar closes, and nothing of what came after.
        known = list(find(strategy, replace(request, until_ms=cut_ms), "columns"))
        differences += _compared(f"cut at {cut_ms}", [signal for signal in whole if signal.close_ms <= cut_ms], known)
    return Certificate(len(whole), tuple(cuts), tuple(differences))


def _compared(what: str, expected: Sequence[Signal], found: Sequence[Signal]) -> list[str]:
    left = {signal.id: msgspec.json.encode(signal) for signal in expected}
    right = {signal.id: msgspec.json.encode(signal) for signal in found}
    differences = [f"{what}: {name} is missing" for name in left.keys() - right.keys()]
    differences += [f"{what}: {name} is there too early" for name in right.keys() - left.keys()]
    differences += [f"{what}: {name} differs" for name in left.keys() & right.keys() if left[name] != right[name]]
    return sorted(differences)
