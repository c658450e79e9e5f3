"""Bars whose candidates wait to be decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from tapewatch.bars import Saved
from tapewatch.model import Bar, Context, Signal, signal_from


@dataclass(eq=False)
class Held:
    """A bar that is not done: its candidates wait for the boundary, or for the quotes that were asked for."""

    rank: tuple[float, str]
    bar: Bar
    recv_ms: int
    found: list[Signal]
    asking: bool
    context: Context | None = None

    def saved(self) -> Saved:
        """What `restored` makes it again."""
        return [msgspec.to_builtins(getattr(self, name)) for name in self.__dataclass_fields__]

    @classmethod
    def restored(cls, saved: Saved) -> Held:
        """What was saved."""
        (volume, symbol), bar, recv_ms, found, asking, context = saved
        answer = None if context is None else Context(context["symbol"], context["close_ms"], *_quotes(context))
        return cls((volume, symbol), Bar(**bar), recv_ms, [signal_from(raw) for raw in found], asking, answer)


def _quotes(context: dict[str, Any]) -> tuple[float, float]:
    return context["bid"], context["ask"]
