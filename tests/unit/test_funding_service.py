"""Where funding rates come from, and what is done about those that cannot be had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tapewatch.config import Config
from tapewatch.errors import DataError, EdgeError, SetupError, TapewatchError
from tapewatch.feeds.history import Paid
from tapewatch.feeds.observer import FeedObserver
from tapewatch.live.funding import FundingService, history_of
from tapewatch.model import Event, Funding

OTHER = {"rest_url": "http://127.0.0.1:9000", "ws_url": "ws://127.0.0.1:9000"}
RATES = {"futures_url": "https://rates.example.com"}


def configured(paper: dict[str, Any] | None, exchange: dict[str, Any] | None = None) -> Config:
    """A configuration with this account on this exchange."""
    values = {"universe": {}, "strategies": {"scalp": {}}, "ledger": {"url": "sqlite:///x.db"}}
    return Config.model_validate(values | {"paper": paper, "exchange": exchange or {}})


@pytest.mark.parametrize(
    ("paper", "exchange", "host"),
    [
        (None, None, None),
        ({"account": "spot"}, None, None),
        ({"account": "perpetual"}, None, "https://fapi.binance.com"),
        ({"account": "perpetual"}, OTHER, None),
        ({"account": "perpetual"}, {"ccxt": "kraken"}, None),
        ({"account": "perpetual"}, OTHER | RATES, "https://rates.example.com"),
        ({"account": "perpetual"}, RATES, "https://rates.example.com"),
    ],
)
def test_binances_own_candles_pay_binances_rates(
    paper: dict[str, Any] | None, exchange: dict[str, Any] | None, host: str | None
) -> None:
    """Others pay where the configuration says; a simulator's account pays nothing by itself."""
    history = history_of(configured(paper, exchange), FeedObserver())
    assert (history and history._gateway._hosts.all[0].url) == host


@pytest.mark.parametrize(
    ("error", "again"),
    [(EdgeError("no answer"), True), (DataError("unknown"), False), (SetupError("451"), False)],
)
async def test_a_refusal_is_an_answer(error: TapewatchError, again: bool) -> None:
    """Trouble is asked again at once, a refusal at the next hour; either way the others are told."""
    told: list[Event] = []

    async def ask(symbol: str, _from_ms: int, _to_ms: int) -> Sequence[Paid]:
        if symbol == "ODDUSDT":
            raise error
        return [Paid(funding_time=5_000, funding_rate=0.0001)]

    service = FundingService(ask, told.extend, lambda: {"ODDUSDT": 0, "BTCUSDT": 0}, lambda: 10_000)
    assert await service.look(10_000) is not again
    assert told == [Funding("BTCUSDT", 5_000, 0.0001)]
