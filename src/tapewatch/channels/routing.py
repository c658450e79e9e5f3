"""Which channels an alert goes to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Protocol


class Route(Protocol):
    """Channels, for the strategies and symbols named; naming none means all. Symbols may have `*`."""

    @property
    def channels(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def strategies(self) -> Sequence[str] | None: ...  # noqa: D102

    @property
    def symbols(self) -> Sequence[str] | None: ...  # noqa: D102


class Subject(Protocol):
    """What an alert is about: a signal, or what became of one."""

    @property
    def strategy(self) -> str: ...  # noqa: D102

    @property
    def symbol(self) -> str: ...  # noqa: D102


def channels_for(subjects: Sequence[Subject], routes: Iterable[Route]) -> list[str]:
    """Each channel of the routes that match any of what an alert is about, once, in the routes' order."""
    found = (route.channels for route in routes if any(_matches(route, subject) for subject in subjects))
    return list(dict.fromkeys(name for channels in found for name in channels))


def every_channel(routes: Iterable[Route]) -> list[str]:
    """Each channel of any route, once, in the routes' order."""
    return list(dict.fromkeys(name for route in routes for name in route.channels))


def _matches(route: Route, subject: Subject) -> bool:
    by_strategy = not route.strategies or subject.strategy in route.strategies
    by_symbol = not route.symbols or any(fnmatchcase(subject.symbol, pattern) for pattern in route.symbols)
    return by_strategy and by_symbol
