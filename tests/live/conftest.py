"""Fixtures of the tests on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from feed_exchange import Exchange


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    """An exchange of two symbols, standing at a boundary."""
    exchange = Exchange(["BTCUSDT", "ETHUSDT"])
    await exchange.start()
    yield exchange
    await exchange.stop()
