"""Past candles and funding rates over Binance's REST interface, spot and USD-M futures, within its limits.

Unlike a feed, a download can fail: what does not answer for long is given up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from types import TracebackType
from typing import Self

import msgspec

from tapewatch.feeds.budget import Urgency
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.gateway import Gateway
from tapewatch.feeds.observer import FeedObserver
from tapewatch.feeds.port import FundingRate
from tapewatch.feeds.settings import REST_URL, FeedSettings
from tapewatch.feeds.wire import RateLimit, Row, ServerTime, decode_rows

#: Failures of one request in a row after which it is given up; what the exchange asks to wait is not one.
GIVE_UP = 8
#: Half of the 500 requests in five minutes that funding rates have for themselves.
FUNDING_REQUESTS, FUNDING_WINDOW_S = 250, 300.0
#: An answer about all symbols of the futures comes within this, or is not waited for.
FUTURES_TIMEOUT_S = 5.0
#: Rows of one fundingRate answer.
FUNDING_PAGE = 1_000


@dataclass(frozen=True)
class Exchange:
    """Where a venue's history is, and what asking costs (exchange-protocol 5.2 and 8.3).

    Attributes:
        rest_url: its host.
        prefix: of all paths.
        info_weight: of exchangeInfo.
        info_params: that keep its answer small.
        weight_per_minute: what it allows, until it says so itself.
        kline_weights: (rows, weight): up to so many rows a request has that weight.
    """

    rest_url: str
    prefix: str
    info_weight: int
    weight_per_minute: int
    kline_weights: tuple[tuple[int, int], ...]
    info_params: tuple[tuple[str, str], ...] = ()

    @property
    def page(self) -> int:
        """The rows asked for at once; more of futures would cost more than they bring."""
        return self.kline_weights[-1][0]

    def kline_weight(self, rows: int) -> int:
        """The weight of a request for so many candles."""
        return next(weight for most, weight in self.kline_weights if rows <= most)


EXCHANGES = {
    "binance_spot": Exchange(REST_URL, "/api/v3", 20, 6_000, ((1_000, 2),), (("showPermissionSets", "false"),)),
    "binance_usdm": Exchange("https://fapi.binance.com", "/fapi/v1", 1, 2_400, ((99, 1), (499, 2), (1_000, 5))),
}


class Listed(msgspec.Struct, rename="camel"):
    """A symbol of either market's exchangeInfo; `contract_type` is that of futures."""

    symbol: str
    status: str = ""
    contract_type: str = "PERPETUAL"

    @property
    def trading(self) -> bool:
        """Whether it can be traded now, and for ever."""
        return self.status == "TRADING" and self.contract_type == "PERPETUAL"


class Paid(msgspec.Struct, rename="camel"):
    """`{"symbol":"BTCUSDT","fundingRate":"0.00010000","fundingTime":1767225600000,"markPrice":"87655.1"}`."""

    funding_rate: float
    funding_time: int
    mark_price: str = ""


class _Premium(msgspec.Struct, rename="camel"):
    """`premiumIndex`, the part that is read here; a contract that ends has no rate, and 0 for the time."""

    symbol: str
    last_funding_rate: str
    next_funding_time: int


class _Info(msgspec.Struct, rename="camel"):
    symbols: list[Listed]
    rate_limits: list[RateLimit] = []


_info = msgspec.json.Decoder(_Info).decode
_time = msgspec.json.Decoder(ServerTime).decode
_paid = msgspec.json.Decoder(list[Paid], strict=False).decode
_premiums = msgspec.json.Decoder(list[_Premium]).decode
#: Of a request for all symbols' rates (exchange-protocol 8.3).
PREMIUMS_WEIGHT = 10


class History:
    """A client for one venue's history; an async context manager.

    Args:
        exchange: the venue's interface.
        settings: host, time-outs, requests at once, share of the limits.
        observer: told what is waited for.

    Raises:
        SetupError: the host cannot be the exchange, or refuses this region.
        DataError: the exchange understood and refused, as it does for an unknown symbol.
        EdgeError: it did not answer for long.
    """

    def __init__(self, exchange: Exchange, settings: FeedSettings, observer: FeedObserver) -> None:
        self._clock = ExchangeClock()
        self._gateway = Gateway(settings, self._clock, observer, give_up_after=GIVE_UP)
        self._exchange = exchange
        self._gateway.budget.limit(exchange.weight_per_minute)
        self._asked_s: deque[float] = deque()
        self._wall_s: Callable[[], float] = self._clock.wall_s
        self.requests = 0

    async def __aenter__(self) -> Self:
        await self._gateway.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._gateway.__aexit__(kind, error, trace)

    async def now_ms(self) -> int:
        """The exchange's time."""
        answer, served = await self._gateway.get(f"{self._exchange.prefix}/time", {}, 1, Urgency.BOOTSTRAP, _time)
        self._clock.sync(served.server_time, answer.sent_s, answer.received_s, answer.rate)
        return served.server_time

    async def listed(self) -> list[Listed]:
        """Every symbol; the weight limit named beside them is obeyed from then on."""
        path, exchange = f"{self._exchange.prefix}/exchangeInfo", self._exchange
        params = dict(exchange.info_params)
        _, info = await self._gateway.get(path, params, exchange.info_weight, Urgency.BOOTSTRAP, _info)
        for limit in info.rate_limits:
            if (limit.rate_limit_type, limit.interval, limit.interval_num) == ("REQUEST_WEIGHT", "MINUTE", 1):
                self._gateway.budget.limit(limit.limit)
        return info.symbols

    async def candles(self, symbol: str, interval: str, from_ms: int, to_ms: int, rows: int) -> tuple[list[Row], int]:
        """The first candles that open in [from_ms, to_ms), at most `rows` and a page, and how many were malformed.

        The newest may be running still.
        """
        limit = min(rows, self._exchange.page)
        params = {"symbol": symbol, "interval": interval, "startTime": str(from_ms), "endTime": str(to_ms - 1)}
        params["limit"] = str(limit)
        weight = self._exchange.kline_weight(limit)
        path = f"{self._exchange.prefix}/klines"
        _, found = await self._gateway.get(path, params, weight, Urgency.BOOTSTRAP, decode_rows)
        self.requests += 1
        return found

    async def funding(self, symbol: str, from_ms: int, to_ms: int) -> list[Paid]:
        """The first payments in [from_ms, to_ms), at most a page."""
        await self._funding_turn()
        params = {"symbol": symbol, "startTime": str(from_ms), "endTime": str(to_ms - 1), "limit": str(FUNDING_PAGE)}
        _, paid = await self._gateway.get(f"{self._exchange.prefix}/fundingRate", params, 0, Urgency.BOOTSTRAP, _paid)
        self.requests += 1
        return paid

    async def rates(self) -> dict[str, FundingRate]:
        """What every perpetual pays next, in one request that is not repeated."""
        path = f"{self._exchange.prefix}/premiumIndex"
        premiums = await self._gateway.once(path, {}, PREMIUMS_WEIGHT, Urgency.CONTEXT, _premiums)
        self.requests += 1
        rates = (_rate(one) for one in premiums)
        return {one.symbol: one for one in rates if one is not None}

    async def _funding_turn(self) -> None:
        while True:
            now_s = self._wall_s()
            while self._asked_s and self._asked_s[0] <= now_s - FUNDING_WINDOW_S:
                self._asked_s.popleft()
            if len(self._asked_s) < FUNDING_REQUESTS:
                self._asked_s.append(now_s)
                return
            await asyncio.sleep(self._asked_s[0] + FUNDING_WINDOW_S - now_s)


def futures_of(settings: FeedSettings, observer: FeedObserver) -> History | None:
    """A client for USD-M futures beside a spot feed of these settings; None where they name no host."""
    if settings.futures_url is None:
        return None
    patience_s = min(settings.request_timeout_s, FUTURES_TIMEOUT_S)
    own = replace(settings, rest_url=settings.futures_url, rest_hosts=(), state_file=None, request_timeout_s=patience_s)
    return History(EXCHANGES["binance_usdm"], own, observer)


def _rate(premium: _Premium) -> FundingRate | None:
    try:
        rate = float(premium.last_funding_rate)
    except ValueError:
        return None
    known = isfinite(rate) and premium.next_funding_time > 0
    return FundingRate(premium.symbol, rate, premium.next_funding_time) if known else None
