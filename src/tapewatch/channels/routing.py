"""Which channels an alert goes to, and how severe it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal, Protocol

from tapewatch.model import Signal

Severity = Literal["low", "normal", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("low", "normal", "high", "critical")


class Route(Protocol):
    """Channels, for what is named, where naming none means all; see `tapewatch.config.alerts.Route`."""

    @property
    def channels(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def strategies(self) -> Sequence[str] | None: ...  # noqa: D102

    @property
    def symbols(self) -> Sequence[str] | None: ...  # noqa: D102

    @property
    def kinds(self) -> Sequence[str] | None: ...  # noqa: D102

    @property
    def severity(self) -> Severity: ...  # noqa: D102

    @property
    def min_strength(self) -> float: ...  # noqa: D102

    @property
    def min_confidence(self) -> float | int | None: ...  # noqa: D102


class Subject(Protocol):
    """What an alert is about: a signal, or what became of one."""

    @property
    def strategy(self) -> str: ...  # noqa: D102

    @property
    def symbol(self) -> str: ...  # noqa: D102


def severity_of(kind: str, strength: float | None = None) -> Severity:
    """How severe an alert is: a signal by its strength (low below 4, normal below 7), the operator's are high.

    What is told of positions, and a signal without a strength, is normal. Only a crash is critical, which who tells of
    it says.
    """
    if kind == "operator":
        return "high"
    if kind != "signal" or strength is None or math.isnan(strength):
        return "normal"
    return "low" if strength < 4 else "normal" if strength < 7 else "high"


def channels_for(kind: str, subjects: Sequence[Subject], routes: Iterable[Route]) -> list[str]:
    """Each channel of the routes that match any of what an alert is about, once, in the routes' order.

    Without subjects it is about the account: strategies and symbols do not matter.
    """
    found = (
        route.channels
        for route in routes
        if _takes(route, kind) and (not subjects or any(_matches(route, kind, subject) for subject in subjects))
    )
    return list(dict.fromkeys(name for channels in found for name in channels))


def _takes(route: Route, kind: str) -> bool:
    by_severity = kind == "signal" or _severe(route, severity_of(kind))
    return by_severity and (not route.kinds or kind in route.kinds)


def _severe(route: Route, severity: Severity) -> bool:
    return SEVERITIES.index(severity) >= SEVERITIES.index(route.severity)


def _matches(route: Route, kind: str, subject: Subject) -> bool:
    by_strategy = not route.strategies or subject.strategy in route.strategies
    by_symbol = not route.symbols or any(fnmatchcase(subject.symbol, pattern) for pattern in route.symbols)
    by_worth = _worth(route, subject) if kind == "signal" and isinstance(subject, Signal) else True
    return by_strategy and by_symbol and by_worth


def _worth(route: Route, signal: Signal) -> bool:
    met, asked, wanted = signal.confidence.met, signal.confidence.asked, route.min_confidence
    confident = wanted is None or (met >= wanted if isinstance(wanted, int) else met >= wanted * asked - 1e-9)
    strength = 0.0 if math.isnan(signal.strength) else signal.strength
    severe = _severe(route, severity_of("signal", signal.strength))
    return confident and severe and strength >= route.min_strength
