"""USD-M futures over REST (`/fapi/v1/...`): the market's candles as perpetuals, and what they pay.

A client has its own weight here, 2,400 a minute, and 500 requests in five minutes for funding rates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from aiohttp import web

from tapewatch.simulator.changes import Roster
from tapewatch.simulator.clock import Clock
from tapewatch.simulator.decimals import text
from tapewatch.simulator.funding import CAP, INTERVAL_HOURS, Payment, Payments
from tapewatch.simulator.limits import Books, Limits, Meter, RollingWindow
from tapewatch.simulator.parameters import ApiError, Parameters
from tapewatch.simulator.rest import Api
from tapewatch.simulator.rest_faults import RestFaults
from tapewatch.simulator.rest_server import error, refused, replaced, sent
from tapewatch.simulator.tapes import Tapes

#: Endpoint -> the parameters it knows.
FUTURES: dict[str, tuple[str, ...]] = {
    "ping": (),
    "time": (),
    "exchangeInfo": (),
    "klines": ("symbol", "interval", "startTime", "endTime", "limit"),
    "fundingRate": ("symbol", "startTime", "endTime", "limit"),
    "fundingInfo": (),
    "premiumIndex": ("symbol",),
}
WEIGHT_PER_MINUTE = 2400
FUNDING_REQUESTS = 500
_FUNDING_WINDOW_S = 300.0


def weight(endpoint: str, query: Parameters) -> int:
    """The request weight of a call."""
    if endpoint == "klines":
        rows = query.limit(500, 1500)
        return 1 if rows < 100 else 2 if rows < 500 else 5 if rows <= 1000 else 10
    if endpoint == "premiumIndex":
        return 1 if "symbol" in query else 10
    return 0 if endpoint in {"fundingRate", "fundingInfo"} else 1


class FuturesApi(Api):
    """Answers requests as the exchange would at a simulated time."""

    most_rows = 1500

    def __init__(
        self,
        roster: Roster,
        tapes: Tapes,
        faults: RestFaults,
        settled_ms: Callable[[int], int],
        limits: Limits,
        payments: Payments,
    ) -> None:
        super().__init__(roster, tapes, faults, settled_ms, limits)
        self._payments = payments

    def ask(self, endpoint: str, query: Parameters, now_ms: int) -> Any:
        """The JSON value of the answer.

        Raises:
            ApiError: the request is refused.
        """
        listed = list(self._roster.statuses(now_ms))
        match endpoint:
            case "ping":
                return {}
            case "time":
                return {"serverTime": now_ms}
            case "exchangeInfo":
                return self._contracts(now_ms)
            case "klines":
                return msgspec.Raw(self._klines(query, now_ms, 1))
            case "fundingRate":
                return self._funding(query, listed, now_ms)
            case "fundingInfo":
                return [_funding_info(symbol) for symbol in listed]
            case _:
                chosen = [query.symbol(dict.fromkeys(listed))] if "symbol" in query else listed
                premiums = [self._premium(symbol, now_ms) for symbol in chosen]
                return premiums[0] if "symbol" in query else premiums

    def _funding(self, query: Parameters, listed: list[str], now_ms: int) -> list[dict[str, Any]]:
        chosen = [query.symbol(dict.fromkeys(listed))] if "symbol" in query else listed
        from_ms, to_ms = query.time_ms("startTime"), query.time_ms("endTime")
        limit = query.limit(100 if from_ms or to_ms else 200, 1000)
        found = [(symbol, one) for symbol in chosen for one in self._payments.until(symbol, now_ms + 1)]
        found = [
            (symbol, one)
            for symbol, one in sorted(found, key=lambda pair: pair[1].time_ms)
            if (from_ms is None or one.time_ms >= from_ms) and (to_ms is None or one.time_ms <= to_ms)
        ]
        return [_payment(*pair) for pair in (found[-limit:] if from_ms is None else found[:limit])]

    def _premium(self, symbol: str, now_ms: int) -> dict[str, Any]:
        price = text(self._tapes.at(symbol, now_ms).day(now_ms).span.close)
        paid = self._payments.until(symbol, now_ms + 1)
        return {
            "symbol": symbol,
            "markPrice": price,
            "indexPrice": price,
            "estimatedSettlePrice": price,
            "lastFundingRate": f"{paid[-1].rate if paid else 0.0:.8f}",
            "interestRate": "0.00010000",
            "nextFundingTime": self._payments.next_ms(now_ms),
            "time": now_ms,
        }

    def _contracts(self, now_ms: int) -> dict[str, Any]:
        spot = msgspec.json.decode(self.answer("exchangeInfo", [], now_ms, 1))
        weights = {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": WEIGHT_PER_MINUTE,
        }
        return {
            "timezone": "UTC",
            "serverTime": now_ms,
            "rateLimits": [weights],
            "exchangeFilters": [],
            "assets": [],
            "symbols": [self._contract(listed) for listed in spot["symbols"]],
        }

    def _contract(self, listed: dict[str, Any]) -> dict[str, Any]:
        symbol, quote = listed["symbol"], listed["quoteAsset"]
        return {
            "symbol": symbol,
            "pair": symbol,
            "contractType": "PERPETUAL",
            "deliveryDate": 4_133_404_800_000,
            "onboardDate": int(self._tapes.whole(symbol).base.open_ms[0]),
            "status": "TRADING",
            "baseAsset": listed["baseAsset"],
            "quoteAsset": quote,
            "marginAsset": quote,
            "underlyingType": "COIN",
            "underlyingSubType": [],
            "filters": listed["filters"],
        }


class FuturesServer:
    """Listens for `/fapi/v1/...` and counts what each client uses."""

    def __init__(self, api: FuturesApi, clock: Clock, books: Books, faults: RestFaults, rate: float) -> None:
        self._api, self._clock, self._books, self._faults, self._rate = api, clock, books, faults, rate
        self._limits = replace(books.limits, weight_per_minute=WEIGHT_PER_MINUTE)
        self._meters: dict[str, Meter] = {}
        self._funding: dict[str, RollingWindow] = {}

    def add_routes(self, app: web.Application) -> None:
        """Listen for requests."""
        app.router.add_get("/fapi/v1/{endpoint:.+}", self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        endpoint, client = request.match_info["endpoint"], request.remote or "?"
        now_ms = self._clock.now_ms()
        meter = self._meters.setdefault(client, Meter(self._limits))
        headers = {"Content-Type": "application/json;charset=UTF-8", "X-Tapewatch-Rate": repr(self._rate)}
        fault = None
        try:
            query = Parameters(list(request.query.items()), FUTURES.get(endpoint, tuple(request.query)))
            status, body = self._judged(endpoint, client, query, meter, headers)
            if status == 200 and (fault := self._faults.request(now_ms, request.path, self._rate)) and fault.replaces:
                status, body = fault.status, replaced(fault, headers)
            elif status == 200:
                body = msgspec.json.encode(self._api.ask(endpoint, query, now_ms))
        except ApiError as refusal:
            status, body = 400, error(refusal.code, refusal.message)
        headers |= {"X-MBX-USED-WEIGHT-1M": str(meter.used)}
        self._books.requests[f"fapi/{endpoint}", status] += 1
        return await sent(request, fault, status, body, headers)

    def _judged(
        self, endpoint: str, client: str, query: Parameters, meter: Meter, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """Whether the request is let through: the status, and the body of a refusal."""
        if endpoint not in FUTURES:
            return 404, error(-1000, "Path not found.")
        refusal = meter.charge(weight(endpoint, query))
        if refusal is not None:
            self._books.breach(client, refusal.limit)
            return refusal.status, refused(refusal, headers)
        if endpoint in {"fundingRate", "fundingInfo"}:
            window = self._funding.setdefault(client, RollingWindow(FUNDING_REQUESTS, _FUNDING_WINDOW_S))
            if not window.admit():
                self._books.breach(client, "funding")
                headers["Retry-After"] = str(int(_FUNDING_WINDOW_S))
                return 429, error(-1003, "Too many requests; current limit is 500 requests per 5 MINUTE.")
        return 200, b""


def _payment(symbol: str, one: Payment) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "fundingRate": f"{one.rate:.8f}",
        "fundingTime": one.time_ms,
        "markPrice": text(one.mark_price) if one.mark_price else "",
        "rateType": "Regular",
    }


def _funding_info(symbol: str) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "adjustedFundingRateCap": f"{CAP:.8f}",
        "adjustedFundingRateFloor": f"{-CAP:.8f}",
        "fundingIntervalHours": INTERVAL_HOURS,
        "disclaimer": False,
    }
