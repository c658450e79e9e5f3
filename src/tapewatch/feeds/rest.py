"""Binance's REST interface: pooled, checked, within its limits, and retried until it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
import msgspec

from tapewatch.errors import DataError, EdgeError, SetupError
from tapewatch.feeds.budget import Budget, Urgency
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.network import backoff, check_url, proxy_for, tls_context
from tapewatch.feeds.observer import FeedObserver
from tapewatch.feeds.settings import FeedSettings
from tapewatch.feeds.wire import ExchangeInfo, RestError, ServerTime, decode_rows
from tapewatch.model import INTERVAL_NAMES, Bar

T = TypeVar("T")

#: Rows of one klines answer (exchange-protocol 5.2); more are cut off silently.
PAGE = 1_000
#: Error codes that pass by themselves (exchange-protocol 5.5).
TRANSIENT = frozenset({-1000, -1001, -1003, -1006, -1007, -1008, -1016})
#: How long the exchange is left alone where it does not say: a limit, a ban, its firewall.
RETRY_AFTER_S = {429: 60.0, 418: 120.0, 403: 300.0}
#: Failures in a row, of any requests, after which all wait: it is not one request that has bad luck.
ALL_WAIT = 3

_info = msgspec.json.Decoder(ExchangeInfo).decode
_time = msgspec.json.Decoder(ServerTime).decode
_error = msgspec.json.Decoder(RestError).decode


@dataclass(frozen=True, slots=True)
class Page:
    """One klines answer: the newest row is normally the running bar, and nothing in it says so."""

    bars: list[Bar]
    full: bool


class _UnreachableError(EdgeError):
    """No connection to the host, or no answer in time."""


@dataclass(frozen=True, slots=True)
class _Answer:
    body: bytes
    rate: float
    sent_s: float
    received_s: float


class Rest:
    """A client for one host; an async context manager.

    Every call waits and retries until there is an answer: network trouble, 5xx, limits and bans are reported to the
    observer and outlived.

    Raises:
        SetupError: the host cannot be the exchange, refuses this region, or the settings are wrong.
        DataError: the exchange understood and refused, as it does for an unknown symbol.
    """

    def __init__(self, settings: FeedSettings, clock: ExchangeClock, observer: FeedObserver) -> None:
        self._url = check_url(settings.rest_url, ("http", "https"), "exchange.rest_url")
        self._settings = settings
        self._clock = clock
        self._observer = observer
        self._budget = Budget(settings.concurrency, settings.weight_share, clock.wall_s)
        self._failures = 0
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        seconds = self._settings.request_timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._settings.concurrency, ssl=tls_context(self._settings.ca_file), keepalive_timeout=90.0
            ),
            timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=self._settings.connect_timeout_s),
            headers={"User-Agent": "tapewatch"},
            proxy=proxy_for(self._url),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.close()
        if self._session is not None:
            await self._session.close()

    @property
    def used_weight(self) -> int:
        """The weight used in the current minute as far as is known."""
        return self._budget.used_weight

    @property
    def failing(self) -> bool:
        """Whether the last request of all failed."""
        return self._failures > 0

    async def sync_clock(self, urgency: Urgency = Urgency.HOUSEKEEPING) -> int:
        """Sets the clock by the server's and returns its time."""
        answer, served = await self._get("/api/v3/time", {}, 1, urgency, _time)
        self._clock.sync(served.server_time, answer.sent_s, answer.received_s, answer.rate)
        return served.server_time

    async def exchange_info(self) -> ExchangeInfo:
        """The symbols and their states; the weight limit it names is obeyed from then on."""
        params = {"showPermissionSets": "false"}
        _, info = await self._get("/api/v3/exchangeInfo", params, 20, Urgency.BOOTSTRAP, _info)
        limit = info.weight_per_minute()
        if limit is not None:
            self._budget.limit(limit)
        return info

    async def bars(self, symbol: str, interval_ms: int, start_ms: int, end_ms: int | None, urgency: Urgency) -> Page:
        """Up to a page of bars that open from `start_ms` on, not after `end_ms`; malformed rows are reported."""
        params = {
            "symbol": symbol,
            "interval": INTERVAL_NAMES[interval_ms],
            "startTime": str(start_ms),
            "limit": str(PAGE),
        }
        if end_ms is not None:
            params["endTime"] = str(end_ms)
        _, (rows, bad) = await self._get("/api/v3/klines", params, 2, urgency, decode_rows)
        for _ in range(bad):
            self._observer.malformed(f"a row of klines of {symbol} from {start_ms}")
        return Page([row.bar(symbol, interval_ms) for row in rows], len(rows) + bad >= PAGE)

    async def _get(
        self, path: str, params: dict[str, str], weight: int, urgency: Urgency, parse: Callable[[bytes], T]
    ) -> tuple[_Answer, T]:
        tries = 0
        while True:
            try:
                async with self._budget.turn(urgency, weight):
                    answer = await self._once(path, params)
                parsed = self._parse(path, answer.body, parse)
            except EdgeError as error:
                tries += 1
                await self._after_failure(path, error, tries)
            else:
                self._failures = 0
                return answer, parsed

    async def _after_failure(self, path: str, error: EdgeError, tries: int) -> None:
        self._failures += 1
        unreachable = isinstance(error, _UnreachableError)
        wait_s = backoff(tries, self._settings.backoff_s if unreachable else self._settings.rest_backoff_s)
        if error.retry_after_s is not None:
            wait_s = error.retry_after_s
        if error.retry_after_s is not None or self._failures >= ALL_WAIT:
            self._budget.block(wait_s)
        if tries == self._settings.alert_after:
            self._observer.connection_lost(tries, str(error))
        if unreachable:
            self._observer.attempt(tries, wait_s, str(error))
        elif self._failures & (self._failures - 1) == 0:  # the 1st, 2nd, 4th, 8th … in a row
            self._observer.warning(f"REST {path} failed ({self._failures} in a row): {error}; again in {wait_s:.1f} s")
        await asyncio.sleep(wait_s)

    @staticmethod
    def _parse(path: str, body: bytes, parse: Callable[[bytes], T]) -> T:
        try:
            return parse(body)
        except (DataError, ValueError) as error:
            raise EdgeError(f"{path} answered what cannot be read: {error}") from None

    async def _once(self, path: str, params: dict[str, str]) -> _Answer:
        assert self._session is not None, "Rest is used inside `async with`"
        sent_s = self._clock.wall_s()
        try:
            async with self._session.get(self._url + path, params=params, allow_redirects=False) as response:
                body = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._observer.rest_request(path, 0, self._budget.used_weight)
            unreachable = isinstance(error, aiohttp.ClientConnectorError | TimeoutError)
            kind = _UnreachableError if unreachable else EdgeError
            raise kind(f"{self._url}: {error or type(error).__name__}") from None
        received_s = self._clock.wall_s()
        headers = response.headers
        used = headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isdigit():
            self._budget.account(int(used))
        self._observer.rest_request(path, response.status, self._budget.used_weight)
        if response.status != 200:
            raise _refusal(response.status, path, body, headers.get("Retry-After", ""), self._url)
        return _Answer(body, _rate(headers.get("X-Tapewatch-Rate", "1")), sent_s, received_s)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.0 < rate < 1e9:
        raise EdgeError(f"X-Tapewatch-Rate: {text!r} is no rate")
    return rate


def _refusal(status: int, path: str, body: bytes, retry_after: str, url: str) -> EdgeError | DataError | SetupError:
    """What an answer other than 200 means (exchange-protocol 5.5)."""
    try:
        said = _error(body)
    except ValueError:
        said = RestError()
    text = f"{path} answered HTTP {status}" + (f", {said.code} {said.msg}" if said.msg else "")
    if status in RETRY_AFTER_S:
        return EdgeError(text, retry_after_s=float(retry_after) if retry_after.isdigit() else RETRY_AFTER_S[status])
    if status == 451:
        return SetupError(f"exchange.rest_url: {url} refuses this region: {text}; another host may serve it")
    if status == 404:
        return SetupError(f"exchange.rest_url: {url} is not the exchange's REST host: {text}")
    if 400 <= status < 500 and status != 408 and said.code not in TRANSIENT:
        return DataError(text)
    return EdgeError(text)
