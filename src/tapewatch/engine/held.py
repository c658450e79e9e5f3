"""Bars whose candidates wait to be decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from tapewatch.bars import Saved
from tapewatch.model import Bar, Context, FetchContext, Signal, signal_from


@dataclass(eq=False)
class Held:
    """A bar that is not done: its candidates wait for the boundary, or for the answer that was asked for.

    `count` says which bar of its frame it is.
    """

    rank: tuple[float, str]
    bar: Bar
    recv_ms: int
    found: list[Signal]
    count: int
    asking: bool = False
    context: Context | None = None

    @property
    def question(self) -> tuple[str, int]:
        """What names the answer that it waits for."""
        return self.bar.symbol, self.bar.close_ms

    @property
    def turn(self) -> tuple[int, float, str, int]:
        """When it is decided among others: by close, the most traded symbols first, then larger bars."""
        return self.bar.close_ms, *self.rank, -self.bar.interval_ms

    def saved(self) -> Saved:
        """What `restored` makes it again."""
        return [msgspec.to_builtins(getattr(self, name)) for name in self.__dataclass_fields__]

    @classmethod
    def restored(cls, saved: Saved) -> Held:
        """What was saved."""
        (volume, symbol), bar, recv_ms, found, count, asking, context = saved
        answer = None if context is None else msgspec.convert(context, Context)
        return cls((volume, symbol), Bar(**bar), recv_ms, [signal_from(raw) for raw in found], count, asking, answer)


class Queue:
    """Bars that wait, by close.

    Args:
        together: whether those of one close are decided together, after its boundary, or not at all.
    """

    def __init__(self, *, together: bool) -> None:
        self.together = together
        self._closes: dict[int, dict[Held, None]] = {}
        self._asking: dict[tuple[str, int], list[Held]] = {}
        #: Close -> answers that its bars wait for.
        self._open: Counter[int] = Counter()

    def __iter__(self) -> Iterator[Held]:
        return (held for of_close in self._closes.values() for held in of_close)

    def add(self, held: Held) -> list[FetchContext]:
        """Let a bar wait; returns what must be asked for it, unless that was done."""
        self._closes.setdefault(held.bar.close_ms, {})[held] = None
        if not held.asking:
            return []
        waiting = self._asking.setdefault(held.question, [])
        waiting.append(held)
        if len(waiting) > 1:
            return []
        self._open[held.bar.close_ms] += 1
        return [FetchContext(*held.question)]

    @property
    def asking(self) -> list[FetchContext]:
        """What is asked for."""
        return [FetchContext(*question) for question in dict.fromkeys(held.question for held in self if held.asking)]

    def settled_ms(self, boundary_ms: int) -> int:
        """Up to which close nothing is left to decide, of those whose boundary has come."""
        return min(boundary_ms, min(self._closes, default=boundary_ms + 1) - 1)

    def answered(self, context: Context) -> list[Held]:
        """The bars that wait for nothing else now that this answer is there, in the order they are decided in."""
        answered = self._asking.pop((context.symbol, context.close_ms), [])
        if not answered:
            return []
        self._open[context.close_ms] -= 1
        for held in answered:
            held.asking, held.context = False, context
        if self.together:
            return []
        for held in answered:
            self._drop(held)
        return sorted(answered, key=lambda held: held.turn)

    def due(self, boundary_ms: int) -> list[Held]:
        """The bars whose boundary has come, up to the first close that waits for an answer, in their order."""
        if not self.together:
            return []
        due: list[Held] = []
        for close_ms in sorted(self._closes):
            if close_ms > boundary_ms or self._open[close_ms]:
                break
            self._open.pop(close_ms, None)
            due += sorted(self._closes.pop(close_ms), key=lambda held: held.turn)
        return due

    def _drop(self, held: Held) -> None:
        of_close = self._closes[held.bar.close_ms]
        del of_close[held]
        if not of_close:
            del self._closes[held.bar.close_ms]
            del self._open[held.bar.close_ms]

    def saved(self) -> Saved:
        """What `restore` makes it again."""
        return [held.saved() for held in self]

    def restore(self, saved: Saved) -> None:
        """Become what was saved, in a queue that is new."""
        for one in saved:
            self.add(Held.restored(one))
