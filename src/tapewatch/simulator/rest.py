"""The REST endpoints: what each answers from the tapes, as of a simulated time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tapewatch.model import INTERVALS_MS
from tapewatch.simulator.decimals import text
from tapewatch.simulator.limits import Limits
from tapewatch.simulator.parameters import ApiError, Parameters
from tapewatch.simulator.tape import Kline, Tape

#: Endpoint -> the parameters it knows.
PARAMETERS: dict[str, tuple[str, ...]] = {
    "ping": (),
    "time": (),
    "exchangeInfo": ("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"),
    "klines": ("symbol", "interval", "startTime", "endTime", "timeZone", "limit"),
    "ticker/24hr": ("symbol", "symbols", "type", "symbolStatus"),
    "ticker/bookTicker": ("symbol", "symbols", "symbolStatus"),
}
_STATUSES = ("TRADING", "HALT", "BREAK")
_QUOTES = ("USDT", "FDUSD", "USDC", "TUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "USD")


def weight(endpoint: str, pairs: Sequence[tuple[str, str]]) -> int:
    """The request weight of a call."""
    query = dict(pairs)
    if endpoint == "exchangeInfo":
        return 20
    if endpoint == "klines":
        return 2
    if endpoint == "ticker/bookTicker":
        return 2 if "symbol" in query else 4
    if endpoint == "ticker/24hr":
        if "symbol" in query:
            return 2
        named = query["symbols"].count(",") + 1 if "symbols" in query else 101
        return 2 if named <= 20 else 40 if named <= 100 else 80
    return 1


class Api:
    """Answers requests as the exchange would at a simulated time.

    Args:
        symbols: all symbols of the market.
        tape: gives the tape of a symbol.
        settled_ms: the time up to which candles have reached REST, given the time now.
    """

    def __init__(
        self, symbols: Sequence[str], tape: Callable[[str], Tape], settled_ms: Callable[[int], int], limits: Limits
    ) -> None:
        self._symbols = dict.fromkeys(symbols)
        self._tape, self._settled_ms, self._limits = tape, settled_ms, limits

    def answer(self, endpoint: str, pairs: Sequence[tuple[str, str]], now_ms: int, unit: int) -> Any:
        """The JSON value of the answer; `unit` is 1 for times in milliseconds, 1000 for microseconds.

        Raises:
            ApiError: the request is refused.
        """
        query = Parameters(pairs, PARAMETERS[endpoint])
        match endpoint:
            case "ping":
                return {}
            case "time":
                return {"serverTime": now_ms * unit}
            case "exchangeInfo":
                return self._exchange_info(query, now_ms * unit)
            case "klines":
                return self._klines(query, now_ms, unit)
            case "ticker/24hr":
                return self._tickers(query, now_ms, unit)
            case _:
                return self._books(query, now_ms)

    def _klines(self, query: Parameters, now_ms: int, unit: int) -> list[list[Any]]:
        tape = self._tape(query.symbol(self._symbols))
        interval = query.mandatory("interval")
        if interval not in INTERVALS_MS:
            raise ApiError(-1120, "Invalid interval.")
        limit, zone_ms = query.limit(500, 1000), query.zone_ms()
        from_ms, to_ms = query.time_ms("startTime", up=True), query.time_ms("endTime")
        if not tape.serves(INTERVALS_MS[interval]):
            return []
        as_of_ms = self._settled_ms(now_ms)
        candles = tape.series(INTERVALS_MS[interval], zone_ms)
        known = tape.known(candles, as_of_ms)
        running = tape.running(INTERVALS_MS[interval], zone_ms, as_of_ms)
        first = 0 if from_ms is None else int(np.searchsorted(candles.open_ms[:known], from_ms))
        end = known if to_ms is None else int(np.searchsorted(candles.open_ms[:known], to_ms, "right"))
        if from_ms is None:
            first = max(first, end - limit)
        found = tape.rows(candles, first, max(first, min(end, first + limit)))
        if running and (from_ms is None or running.open_ms >= from_ms) and (to_ms is None or running.open_ms <= to_ms):
            found.append(running)
        return [_row(kline, unit) for kline in (found[-limit:] if from_ms is None else found[:limit])]

    def _selected(self, query: Parameters) -> tuple[list[str], bool]:
        """The symbols asked for, and whether the answer is a single object."""
        named = query.selection(self._symbols)
        status = query.choice("symbolStatus", _STATUSES, ApiError(-1122, "Invalid symbolStatus."))
        single = "symbol" in query
        if status in {"HALT", "BREAK"}:
            if single:
                raise ApiError(-1220, "The symbol's status does not match the requested symbolStatus.")
            return [], single
        return (list(self._symbols) if named is None else named), single

    def _tickers(self, query: Parameters, now_ms: int, unit: int) -> Any:
        symbols, single = self._selected(query)
        kind = query.choice("type", ("FULL", "MINI"), ApiError(-1139, "Invalid ticker type."))
        listed = [_ticker(symbol, self._tape(symbol), now_ms, unit, full=kind != "MINI") for symbol in symbols]
        return listed[0] if single else listed

    def _books(self, query: Parameters, now_ms: int) -> Any:
        symbols, single = self._selected(query)
        listed = [_book(symbol, self._tape(symbol), now_ms) for symbol in symbols]
        return listed[0] if single else listed

    def _exchange_info(self, query: Parameters, server_time: int) -> dict[str, Any]:
        named = query.selection(self._symbols)
        if named is not None and ("permissions" in query or "symbolStatus" in query):
            raise ApiError(
                -1128, "Combination of optional parameters invalid. Recommendation: 'symbol' or 'permissions'"
            )
        status = query.choice("symbolStatus", _STATUSES, ApiError(-1122, "Invalid symbolStatus."))
        show = query.choice(
            "showPermissionSets", ("true", "false"), ApiError(-1130, _INVALID.format("showPermissionSets"))
        )
        wanted = list(self._symbols) if named is None else named
        if status in {"HALT", "BREAK"} or ("permissions" in query and "SPOT" not in query.mandatory("permissions")):
            wanted = []
        limits = self._limits
        return {
            "timezone": "UTC",
            "serverTime": server_time,
            "rateLimits": [
                _rate_limit("REQUEST_WEIGHT", 1, limits.weight_per_minute),
                _rate_limit("RAW_REQUESTS", 5, limits.requests_per_5m),
            ],
            "exchangeFilters": [],
            "symbols": [_instrument(symbol, self._tape(symbol), show=show != "false") for symbol in wanted],
        }


_INVALID = "Data sent for parameter '{}' is not valid."


def _row(kline: Kline, unit: int) -> list[Any]:
    return [
        kline.open_ms * unit,
        text(kline.open),
        text(kline.high),
        text(kline.low),
        text(kline.close),
        text(kline.volume),
        (kline.open_ms + kline.interval_ms) * unit - 1,
        text(kline.quote_volume),
        kline.trades,
        text(kline.taker_buy),
        text(kline.taker_quote),
        "0",
    ]


def _book(symbol: str, tape: Tape, now_ms: int) -> dict[str, Any]:
    bid, bid_quantity, ask, ask_quantity = map(text, tape.quote(now_ms))
    return {"symbol": symbol, "bidPrice": bid, "bidQty": bid_quantity, "askPrice": ask, "askQty": ask_quantity}


def _ticker(symbol: str, tape: Tape, now_ms: int, unit: int, *, full: bool) -> dict[str, Any]:
    day = tape.day(now_ms)
    span = day.span
    prices = {
        "openPrice": text(span.open),
        "highPrice": text(span.high),
        "lowPrice": text(span.low),
        "lastPrice": text(span.close),
        "volume": text(span.volume),
        "quoteVolume": text(span.quote_volume),
        "openTime": span.open_ms * unit,
        "closeTime": now_ms * unit,
        "firstId": span.first_id,
        "lastId": span.last_id,
        "count": span.trades,
    }
    if not full:
        return {"symbol": symbol, **prices}
    change = span.close - span.open
    book = _book(symbol, tape, now_ms)
    del book["symbol"]
    return {
        "symbol": symbol,
        "priceChange": text(round(change, 8)),
        "priceChangePercent": text(round(change / span.open * 100, 3) if span.open else 0.0),
        "weightedAvgPrice": text(round(span.quote_volume / span.volume, 8) if span.volume else 0.0),
        "prevClosePrice": text(day.before),
        "lastQty": book["bidQty"],
        **book,
        **prices,
    }


def _rate_limit(kind: str, minutes: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": "MINUTE", "intervalNum": minutes, "limit": limit}


def _instrument(symbol: str, tape: Tape, *, show: bool) -> dict[str, Any]:
    quote = next((name for name in _QUOTES if symbol.endswith(name) and symbol != name), "USDT")
    tick, step = text(10.0**-tape.price_places), text(10.0**-tape.quantity_places)
    flags: Mapping[str, bool] = {
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
    }
    return {
        "symbol": symbol,
        "status": "TRADING",
        "baseAsset": symbol.removesuffix(quote),
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
        **flags,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000", "stepSize": step},
            {
                "filterType": "NOTIONAL",
                "minNotional": "5",
                "applyMinToMarket": True,
                "maxNotional": "9000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]] if show else [],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }
