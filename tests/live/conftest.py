"""Fixtures of the tests on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from feed_exchange import Exchange


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    """An exchange of two symbols, standing at a boundary."""
    exchange = Exchange(["BTCUSDT", "ETHUSDT"])
    await exchange.start()
    yield exchange
    await exchange.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_section(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The section `ledger` of a configuration, with a new ledger in either kind of database."""
    if request.param == "sqlite":
        yield {"url": "sqlite:///tapewatch.db"}
        return
    with request.getfixturevalue("postgres").database() as url:
        yield {"url": url, "folder": "state"}
