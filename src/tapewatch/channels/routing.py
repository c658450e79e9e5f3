"""Which channels an alert goes to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

from tapewatch.model import Signal


class Route(Protocol):
    """Channels, for the strategies and symbols named; naming none means all. Symbols may have `*`."""

    @property
    def channels(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def strategies(self) -> Sequence[str] | None: ...  # noqa: D102

    @property
    def symbols(self) -> Sequence[str] | None: ...  # noqa: D102


def channels_for(signals: Sequence[Signal], routes: Iterable[Route]) -> list[str]:
    """Each channel of the routes that match any of an alert's signals, once, in the routes' order."""
    found = (route.channels for route in routes if any(_matches(route, signal) for signal in signals))
    return list(dict.fromkeys(name for channels in found for name in channels))


def _matches(route: Route, signal: Signal) -> bool:
    by_strategy = not route.strategies or signal.strategy in route.strategies
    by_symbol = not route.symbols or any(fnmatchcase(signal.symbol, pattern) for pattern in route.symbols)
    return by_strategy and by_symbol
