"""Requests to the exchange's REST hosts: pooled, within the limits, through bans and failures, until answered."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
import msgspec

from tapewatch.errors import DataError, EdgeError, SetupError
from tapewatch.feeds.bans import Bans, epoch_ms
from tapewatch.feeds.budget import Budget, Urgency
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.hosts import Host, Hosts
from tapewatch.feeds.network import backoff
from tapewatch.feeds.observer import FeedObserver
from tapewatch.feeds.settings import REST_KEY, FeedSettings
from tapewatch.feeds.wire import RestError
from tapewatch.network import tls_for_http, told
from tapewatch.socks import Connector

T = TypeVar("T")

#: Error codes that pass by themselves (exchange-protocol 5.5).
TRANSIENT = frozenset({-1000, -1001, -1003, -1006, -1007, -1008, -1016})
#: How long the exchange is left alone where it does not say: a limit, a ban, its firewall.
RETRY_AFTER_S = {429: 60.0, 418: 120.0, 403: 300.0}
#: How long after a host that has answered before refuses the region.
REGION_S = 300.0
_BANNED_UNTIL = re.compile(r"until (\d{13})\b")

_error = msgspec.json.Decoder(RestError).decode


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's body, the rate of the clock behind it (1 but for simulations), and when it was asked and came."""

    body: bytes
    rate: float
    sent_s: float
    received_s: float


class _UnreachableError(EdgeError):
    """No connection to the host, or no answer in time."""


class _RefusedError(EdgeError):
    """A limit, a ban or the firewall: the host works and wants to be left alone."""


class Gateway:
    """All requests of this process go through here; an async context manager.

    Every call waits and retries until there is an answer: network trouble, 5xx, limits and bans are reported to the
    observer and outlived, on another host where there is one.

    Args:
        give_up_after: failures of one request after which it is given up, where waiting for ever makes no sense; what
            the exchange asks to wait is none.

    Raises:
        SetupError: no host can be the exchange, all refuse this region, or the settings are wrong.
        DataError: the exchange understood and refused, as it does for an unknown symbol.
        EdgeError: a request was given up.
    """

    def __init__(
        self,
        settings: FeedSettings,
        clock: ExchangeClock,
        observer: FeedObserver,
        give_up_after: float = math.inf,
    ) -> None:
        self._settings = settings
        self._give_up_after = give_up_after
        self._clock = clock
        self._observer = observer
        urls = [
            (settings.rest_url, settings.rest_key),
            *((url, "exchange.rest_hosts") for url in settings.rest_hosts),
        ]
        bans = Bans(settings.state_file, observer.warning)
        self._hosts = Hosts(urls, settings.breaker_after, settings.breaker_s, clock.wall_s, bans)
        self.budget = Budget(settings.concurrency, settings.weight_share, clock.wall_s, self._hosts)
        self._said_state = self._hosts.state
        self._failures = 0
        self._rounds = 0
        self._failed_s = -math.inf
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        seconds = self._settings.request_timeout_s
        self._session = aiohttp.ClientSession(
            connector=Connector(
                limit=self._settings.concurrency, ssl=tls_for_http(self._settings.ca_file), keepalive_timeout=90.0
            ),
            timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=self._settings.connect_timeout_s),
            headers={"User-Agent": "tapewatch"},
        )
        if (banned_s := self._hosts.banned_s()) > 0:
            self._observer.banned(self._hosts.all[0].url, banned_s, "an earlier run was told so")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.budget.close()
        if self._session is not None:
            await self._session.close()

    @property
    def failing(self) -> bool:
        """Whether REST cannot be counted on for now: the last request failed, or none may go."""
        return self._failures > 0 or self._hosts.banned_s() > 0

    async def get(
        self,
        path: str,
        params: dict[str, str],
        weight: int,
        urgency: Urgency,
        parse: Callable[[bytes], T],
        volume: float = 0.0,
    ) -> tuple[Answer, T]:
        """The answer, parsed; what `parse` refuses with a DataError or ValueError is a failure of the host."""
        tries = 0
        while True:
            async with self.budget.turn(urgency, weight, volume) as host:
                sent_s = self._clock.wall_s()
                self._look_at_state()
                try:
                    answer = await self._once(host, path, params, weight)
                    parsed = _parsed(path, answer.body, parse)
                except EdgeError as error:
                    # A shut door is no failure of this request: whoever waits there goes by rank, when it opens.
                    shut = isinstance(error, _RefusedError) and bool(error.retry_after_s)
                    tries += not shut
                    if tries >= self._give_up_after:
                        raise
                    wait_s = 0.0 if shut else self._wait_s(error, tries)
                    self._failed(host, path, error, sent_s, wait_s)
                    if host.breaker.state != "closed" and self._hosts.wait_s() == 0:
                        wait_s = 0.0  # another host is there
                except DataError:
                    self._answered(host)
                    raise
                else:
                    self._answered(host)
                    return answer, parsed
            await asyncio.sleep(wait_s)

    async def once(
        self, path: str, params: dict[str, str], weight: int, urgency: Urgency, parse: Callable[[bytes], T]
    ) -> T:
        """The answer to one request that goes at once or not at all; its failure says nothing of the host.

        Raises:
            EdgeError: it could not go, got no answer, or one that cannot be read.
        """
        async with self.budget.turn(urgency, weight, patient=False) as host:
            if self._session is None or self._session.closed:
                raise EdgeError("nothing is asked any more")
            answer = await self._once(host, path, params, weight)
            parsed = _parsed(path, answer.body, parse)
            self._answered(host)
            return parsed

    def _answered(self, host: Host) -> None:
        host.breaker.succeeded()
        host.answered = True
        if self._rounds >= self._settings.alert_after:
            self._observer.connection_found("REST")
        self._failures = self._rounds = 0
        self._look_at_state()

    def _wait_s(self, error: EdgeError, tries: int) -> float:
        unreachable = isinstance(error, _UnreachableError)
        return backoff(tries, self._settings.backoff_s if unreachable else self._settings.rest_backoff_s)

    def _failed(self, host: Host, path: str, error: EdgeError, sent_s: float, wait_s: float) -> None:
        self._failures += 1
        unreachable = isinstance(error, _UnreachableError)
        if isinstance(error, _RefusedError):
            host.breaker.succeeded()
        else:
            another = any(other is not host and other.refused is None for other in self._hosts.all)
            host.breaker.failed(at_once=unreachable and another)
        self._look_at_state()
        if sent_s >= self._failed_s:  # requests that fail together are one failure
            self._failed_s = self._clock.wall_s()
            self._rounds += 1
            if self._rounds == self._settings.alert_after:
                self._observer.connection_lost(self._rounds, str(error), "REST")
            if unreachable:
                self._observer.attempt(self._rounds, wait_s, str(error))
        if not unreachable and self._failures & (self._failures - 1) == 0:  # the 1st, 2nd, 4th, 8th … in a row
            again_s = error.retry_after_s or wait_s
            self._observer.warning(f"REST {path} failed ({self._failures} in a row): {error}; again in {again_s:.1f} s")

    def _look_at_state(self) -> None:
        state = self._hosts.state
        if state != self._said_state:
            self._said_state = state
            self._observer.breaker(state)

    async def _once(self, host: Host, path: str, params: dict[str, str], weight: int) -> Answer:
        assert self._session is not None, "used inside `async with`"
        sent_s = self._clock.wall_s()
        try:
            async with self._session.get(
                host.url + path, params=params, allow_redirects=False, proxy=host.proxy
            ) as response:
                body = await response.read()
        except asyncio.CancelledError:
            self.budget.charge(weight)  # it may have been counted there
            raise
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.budget.charge(weight)
            self._observer.rest_request(path, 0, self.budget.used_weight)
            unreachable = isinstance(error, aiohttp.ClientConnectorError | TimeoutError)
            kind = _UnreachableError if unreachable else EdgeError
            raise kind(f"{host.url}: {told(error)}") from None
        received_s = self._clock.wall_s()
        headers = response.headers
        used = headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isdigit():
            self.budget.account(int(used))
        else:
            self.budget.charge(weight)
        self._observer.rest_request(path, response.status, self.budget.used_weight)
        if response.status != 200:
            raise self._refusal(host, path, response.status, body, headers.get("Retry-After", ""))
        self._clock.simulated = "X-Tapewatch-Rate" in headers
        return Answer(body, _rate(headers.get("X-Tapewatch-Rate", "1")), sent_s, received_s)

    def _refusal(
        self, host: Host, path: str, status: int, body: bytes, retry_after: str
    ) -> EdgeError | DataError | SetupError:
        """What an answer other than 200 means (exchange-protocol 5.5)."""
        try:
            said = _error(body)
        except ValueError:
            said = RestError()
        text = f"{path} answered HTTP {status}" + (f", {said.code} {said.msg}" if said.msg else "")
        if status in RETRY_AFTER_S:
            asked_s = _retry_after_s(retry_after, said.msg)
            return self._left_alone(
                host, status, text, self._own_s(RETRY_AFTER_S[status]) if asked_s is None else asked_s
            )
        if status == 451:
            return self._region(host, text)
        if status == 404 and not host.answered:
            return SetupError(f"{self._settings.rest_key}: {host.url} is not the exchange's REST host: {text}")
        if 400 <= status < 500 and status not in {404, 408} and said.code not in TRANSIENT:
            return DataError(text)
        return EdgeError(text)

    def _left_alone(self, host: Host, status: int, text: str, seconds: float) -> EdgeError:
        if status == 429:
            self._hosts.block_all(seconds)  # the weights are counted for all hosts together
        else:
            self._hosts.block(host, seconds)
            self._observer.banned(host.url, seconds, text)
        return _RefusedError(text, retry_after_s=seconds)

    def _own_s(self, seconds: float) -> float:
        """A wait that the exchange did not name; a simulation's passes as fast as its clock."""
        return min(seconds, max(0.2, seconds / self._clock.rate)) if self._clock.paced else seconds

    def _region(self, host: Host, text: str) -> EdgeError | SetupError:
        if self._hosts.refuse(host, text):
            self._observer.warning(f"{host.url} refuses this region and is asked no more: {text}")
            return _RefusedError(text)
        if any(one.answered for one in self._hosts.all):
            return self._left_alone(host, 451, text, self._own_s(REGION_S))
        urls = " and ".join(one.url for one in self._hosts.all)
        hint = "; another host (exchange.rest_hosts) may serve it" if self._settings.rest_key == REST_KEY else ""
        return SetupError(f"{self._settings.rest_key}: {urls} refuses this region: {text}{hint}")


def _parsed(path: str, body: bytes, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(body)
    except (DataError, ValueError) as error:
        raise EdgeError(f"{path} answered what cannot be read: {error}") from None


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.0 < rate < 1e9:
        raise EdgeError(f"X-Tapewatch-Rate: {text!r} is no rate")
    return rate


def _retry_after_s(header: str, message: str) -> float | None:
    """The wait an answer names: the header says it best; the text of a ban names its end too, in epoch ms."""
    if header.isdigit():
        return float(header)
    if (until := _BANNED_UNTIL.search(message)) is not None:
        return max(1.0, (int(until[1]) - epoch_ms()) / 1000)
    return None
