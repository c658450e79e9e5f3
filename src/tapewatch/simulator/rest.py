"""The REST endpoints: what each answers from the tapes, as of a simulated time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from tapewatch.model import INTERVALS_MS
from tapewatch.simulator.book import Levels, book_of
from tapewatch.simulator.changes import Roster
from tapewatch.simulator.decimals import text, texts
from tapewatch.simulator.limits import Limits
from tapewatch.simulator.market import quote_of
from tapewatch.simulator.parameters import ApiError, Parameters
from tapewatch.simulator.rest_faults import RestFaults
from tapewatch.simulator.tape import Kline, Tape
from tapewatch.simulator.tapes import Tapes

#: Endpoint -> the parameters it knows.
PARAMETERS: dict[str, tuple[str, ...]] = {
    "ping": (),
    "time": (),
    "exchangeInfo": ("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"),
    "klines": ("symbol", "interval", "startTime", "endTime", "timeZone", "limit"),
    "depth": ("symbol", "limit"),
    "ticker/24hr": ("symbol", "symbols", "type", "symbolStatus"),
    "ticker/bookTicker": ("symbol", "symbols", "symbolStatus"),
}
#: Levels of a side that `depth` gives without a limit, and (levels, weight): up to so many it costs that.
DEPTH_LEVELS = 100
DEPTH_WEIGHTS = ((100, 5), (500, 25), (1_000, 50), (5_000, 250))
_STATUSES = ("TRADING", "HALT", "BREAK")


def weight(endpoint: str, pairs: Sequence[tuple[str, str]]) -> int:
    """The request weight of a call."""
    query = dict(pairs)
    if endpoint == "exchangeInfo":
        return 20
    if endpoint == "klines":
        return 2
    if endpoint == "depth":
        digits = query.get("limit", "")
        levels = int(digits) if digits.isdecimal() else DEPTH_LEVELS
        return next((cost for most, cost in DEPTH_WEIGHTS if levels <= most), DEPTH_WEIGHTS[-1][1])
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

    Attributes:
        most_rows: of one klines answer.

    Args:
        roster: which symbols are listed.
        tapes: give the tape of a symbol.
        faults: what is wrong with bars and with the clock.
        settled_ms: the time up to which candles have reached REST, given the time now.
    """

    most_rows = 1000

    def __init__(
        self, roster: Roster, tapes: Tapes, faults: RestFaults, settled_ms: Callable[[int], int], limits: Limits
    ) -> None:
        self._roster, self._tapes, self._faults = roster, tapes, faults
        self._settled_ms, self._limits = settled_ms, limits
        self._instrument = functools.cache(self._encoded_instrument)

    def answer(self, endpoint: str, pairs: Sequence[tuple[str, str]], now_ms: int, unit: int) -> bytes:
        """The JSON text of the answer; `unit` is 1 for times in milliseconds, 1000 for microseconds.

        Raises:
            ApiError: the request is refused.
        """
        query = Parameters(pairs, PARAMETERS[endpoint])
        if endpoint == "klines":
            return self._klines(query, now_ms, unit)
        told_ms = now_ms + self._faults.skew_ms(now_ms)
        value: Any
        match endpoint:
            case "ping":
                value = {}
            case "time":
                value = {"serverTime": told_ms * unit}
            case "exchangeInfo":
                value = self._exchange_info(query, now_ms, told_ms * unit)
            case "ticker/24hr":
                value = self._tickers(query, now_ms, unit)
            case "depth":
                value = self._depth(query, now_ms)
            case _:
                value = self._quotes(query, now_ms)
        return _encode(value)

    def _klines(self, query: Parameters, now_ms: int, unit: int) -> bytes:
        symbol = query.symbol(self._roster.statuses(now_ms))
        interval = query.mandatory("interval")
        if interval not in INTERVALS_MS:
            raise ApiError(-1120, "Invalid interval.")
        length = INTERVALS_MS[interval]
        limit, zone_ms = query.limit(500, self.most_rows), query.zone_ms()
        from_ms, to_ms = query.time_ms("startTime", up=True), query.time_ms("endTime")
        as_of_ms = self._settled_ms(now_ms)
        last_ms = as_of_ms if to_ms is None else min(as_of_ms, to_ms)
        tape = self._tapes.since(
            symbol, (last_ms - (limit + 1) * length if from_ms is None else from_ms) - length, now_ms
        )
        if not tape.serves(length):
            return b"[]"
        candles = tape.series(length, zone_ms)
        known = tape.known(candles, as_of_ms)
        running = tape.running(length, zone_ms, as_of_ms)
        first = 0 if from_ms is None else int(candles.open_ms[:known].searchsorted(from_ms))
        end = known if to_ms is None else int(candles.open_ms[:known].searchsorted(to_ms, "right"))
        if from_ms is None:
            first = max(first, end - limit)
        found = tape.rows(candles, first, max(first, min(end, first + limit)))
        if running and (from_ms is None or running.open_ms >= from_ms) and (to_ms is None or running.open_ms <= to_ms):
            found.append(running)
        chosen = found[-limit:] if from_ms is None else found[:limit]
        return _rows(self._faults.corrected(symbol, length, chosen, now_ms), unit)

    def _selected(self, query: Parameters, now_ms: int) -> tuple[list[str], bool]:
        """The symbols asked for, and whether the answer is a single object."""
        statuses = self._roster.statuses(now_ms)
        named = query.selection(statuses)
        status = query.choice("symbolStatus", _STATUSES, ApiError(-1122, "Invalid symbolStatus."))
        single = "symbol" in query
        wanted = list(statuses) if named is None else named
        if status is not None:
            wanted = [symbol for symbol in wanted if statuses[symbol] == status]
            if single and not wanted:
                raise ApiError(-1220, "The symbol's status does not match the requested symbolStatus.")
        return wanted, single

    def _tickers(self, query: Parameters, now_ms: int, unit: int) -> Any:
        symbols, single = self._selected(query, now_ms)
        kind = query.choice("type", ("FULL", "MINI"), ApiError(-1139, "Invalid ticker type."))
        full = kind != "MINI"
        listed = [_ticker(symbol, self._tapes.at(symbol, now_ms), now_ms, unit, full=full) for symbol in symbols]
        return listed[0] if single else listed

    def _depth(self, query: Parameters, now_ms: int) -> Any:
        symbol = query.symbol(self._roster.statuses(now_ms))
        levels = query.limit(DEPTH_LEVELS, DEPTH_WEIGHTS[-1][0])
        bids, asks = book_of(self._tapes.at(symbol, now_ms), now_ms, levels)
        return {"lastUpdateId": now_ms, "bids": _levels(bids), "asks": _levels(asks)}

    def _quotes(self, query: Parameters, now_ms: int) -> Any:
        symbols, single = self._selected(query, now_ms)
        listed = [_quote(symbol, self._tapes.at(symbol, now_ms), now_ms) for symbol in symbols]
        return listed[0] if single else listed

    def _exchange_info(self, query: Parameters, now_ms: int, server_time: int) -> dict[str, Any]:
        statuses = self._roster.statuses(now_ms)
        named = query.selection(statuses)
        if named is not None and ("permissions" in query or "symbolStatus" in query):
            raise ApiError(
                -1128, "Combination of optional parameters invalid. Recommendation: 'symbol' or 'permissions'"
            )
        status = query.choice("symbolStatus", _STATUSES, ApiError(-1122, "Invalid symbolStatus."))
        show = query.choice(
            "showPermissionSets", ("true", "false"), ApiError(-1130, _INVALID.format("showPermissionSets"))
        )
        wanted = list(statuses) if named is None else named
        if status is not None:
            wanted = [symbol for symbol in wanted if statuses[symbol] == status]
        if "permissions" in query and "SPOT" not in query.mandatory("permissions"):
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
            "symbols": [self._instrument(symbol, statuses[symbol], show != "false") for symbol in wanted],
        }

    def _encoded_instrument(self, symbol: str, status: str, show: bool) -> msgspec.Raw:  # noqa: FBT001 - a cache's key
        price_places, quantity_places = self._tapes.places(symbol)
        return msgspec.Raw(_encode(_instrument(symbol, status, price_places, quantity_places, show=show)))


_encode = msgspec.json.Encoder().encode
_INVALID = "Data sent for parameter '{}' is not valid."


def _rows(klines: Sequence[Kline], unit: int) -> bytes:
    """The rows of an answer; whole columns are turned into text, which is most of the work."""
    columns = (
        texts([kline.open for kline in klines]),
        texts([kline.high for kline in klines]),
        texts([kline.low for kline in klines]),
        texts([kline.close for kline in klines]),
        texts([kline.volume for kline in klines]),
        texts([kline.quote_volume for kline in klines]),
        texts([kline.taker_buy for kline in klines]),
        texts([kline.taker_quote for kline in klines]),
    )
    rows = [
        f'[{kline.open_ms * unit},"{a}","{b}","{c}","{d}","{e}",{(kline.open_ms + kline.interval_ms) * unit - 1},"{f}",'
        f'{kline.trades},"{g}","{h}","0"]'
        for kline, a, b, c, d, e, f, g, h in zip(klines, *columns, strict=True)
    ]
    return f"[{','.join(rows)}]".encode()


def _levels(side: Levels) -> list[tuple[str, str]]:
    return list(zip(texts(side.prices.tolist()), texts(side.quantities.tolist()), strict=True))


def _quote(symbol: str, tape: Tape, now_ms: int) -> dict[str, Any]:
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
    book = _quote(symbol, tape, now_ms)
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


def _instrument(symbol: str, status: str, price_places: int, quantity_places: int, *, show: bool) -> dict[str, Any]:
    quote = quote_of(symbol)
    tick, step = text(10.0**-price_places), text(10.0**-quantity_places)
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
        "status": status,
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
