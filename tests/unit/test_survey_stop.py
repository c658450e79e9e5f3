"""A survey of the market ends when it is told to, whatever comes at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tapewatch.live.survey import Survey
from tapewatch.store import Ledger


class Exchange:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.answer = asyncio.get_running_loop().create_future()

    async def quotes(self, symbols: Sequence[str]) -> Any:
        """As a feed's."""
        return await self.answer


@pytest.mark.parametrize("turns", range(4))
async def test_a_stop_is_heard_though_an_answer_comes_with_it(tmp_path: Path, turns: int) -> None:
    """However many turns of the event loop lie between them."""
    ledger, exchange = Ledger.open(f"sqlite:///{tmp_path}/tape.db"), Exchange()
    with ThreadPoolExecutor(1) as executor:
        survey = Survey(ledger.market, executor, "binance_spot", 900_000, spreads=True)

        async def ask_for_ever() -> None:
            while True:
                await survey._spreads(exchange, ["BTCUSDT"])
                exchange.answer = asyncio.get_running_loop().create_future()

        asking = asyncio.create_task(ask_for_ever())
        await asyncio.sleep(0.01)
        exchange.answer.set_result({})
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking], timeout=5.0)
        assert asking.cancelled()
    ledger.close()
