"""Quotes for candidates: asked for when the engine wants them, answered in time or as unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tapewatch.errors import TapewatchError
from tapewatch.feeds.port import Quote
from tapewatch.model import Context, FetchContext

#: An alert waits no longer than this for what goes with it.
PATIENCE_S = 0.5


@dataclass
class ContextDesk:
    """Carries out `FetchContext`: each is answered once, within `PATIENCE_S`.

    Attributes:
        quotes: best bid and ask of symbols; those it does not have are left out.
        take: where answers go.
        patience_s: how long an answer may take before it is given as unknown.
    """

    quotes: Callable[[Sequence[str]], Awaitable[Mapping[str, Quote]]]
    take: Callable[[Sequence[Context]], None]
    patience_s: float = PATIENCE_S
    _wanted: list[FetchContext] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self, effects: Sequence[FetchContext]) -> None:
        """Fetch these together; the answers come by `take`, later."""
        self._wanted += effects
        self._wake.set()

    async def run(self) -> None:
        """Answer until cancelled; those under way then are not."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._wake.wait()
                self._wake.clear()
                wanted, self._wanted = self._wanted, []
                tasks.create_task(self._answer(wanted))

    async def _answer(self, wanted: Sequence[FetchContext]) -> None:
        found: Mapping[str, Quote] = {}
        with suppress(TimeoutError, TapewatchError):
            async with asyncio.timeout(self.patience_s):
                found = await self.quotes(sorted({effect.symbol for effect in wanted}))
        self.take([_context(effect, found.get(effect.symbol)) for effect in wanted])


def _context(effect: FetchContext, quote: Quote | None) -> Context:
    if quote is None:
        return Context(effect.symbol, effect.close_ms)
    return Context(effect.symbol, effect.close_ms, quote.bid, quote.ask)
