"""A whole download: which symbols, from where, several series at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import msgspec

from tapewatch.archive.bulk import MARKETS
from tapewatch.archive.intervals import interval_of
from tapewatch.archive.manifest import Series
from tapewatch.download.files import Files
from tapewatch.download.rates import RatesDownload
from tapewatch.download.report import Done, Listener
from tapewatch.download.series import SeriesDownload
from tapewatch.download.source import Source
from tapewatch.errors import EdgeError, SetupError
from tapewatch.feeds.history import EXCHANGES, Exchange, History
from tapewatch.feeds.observer import FeedObserver, Reached
from tapewatch.feeds.settings import FeedSettings
from tapewatch.network import check_url

#: How long before the end a download begins when it is not said.
DEFAULT_SPAN_MS = 30 * 86_400_000
#: In the archive's folder: until when hosts that have banned this address are left alone.
BANS = "bans.json"
_WILD = frozenset("*?[")


@dataclass(frozen=True)
class Order:
    """What is to be downloaded.

    Attributes:
        root: the archive's folder.
        venue: `binance_spot` or `binance_usdm`.
        symbols: names, or patterns of names that are traded now.
        intervals: of candles; none for funding rates alone.
        from_ms, to_ms: the time wanted, None for the 30 days before the end, and for now.
        source: the exchange's files first (`auto`), they alone, or REST alone.
        funding: funding rates too.
        refresh: look whether files taken earlier have been replaced.
        workers: requests at once, of each kind.
    """

    root: Path
    venue: str
    symbols: Sequence[str]
    intervals: Sequence[str]
    from_ms: int | None
    to_ms: int | None
    source: Literal["auto", "bulk", "rest"]
    funding: bool
    refresh: bool
    workers: int
    rest_url: str | None
    bulk_url: str
    ca_file: str | None = None


class Summary(msgspec.Struct):
    """A download as a whole; the last line of `download --json`."""

    series: int = 0
    rows: int = 0
    added: int = 0
    changed: int = 0
    refused: int = 0
    files: int = 0
    requests: int = 0
    absent: int = 0
    missing: int = 0
    failed: int = 0
    wall_s: float = 0.0


class Job:
    """Carries out an order.

    Raises:
        SetupError: the order cannot be carried out as it is, or the archive cannot be written.
        EdgeError: the exchange cannot be reached at all.
        StoreError: the disk failed or is full; what is stored stands.
    """

    def __init__(self, order: Order, listener: Listener) -> None:
        if order.venue not in EXCHANGES:
            raise SetupError(f"--venue: history can be had of {' '.join(MARKETS)}, not of {order.venue}")
        if order.funding and order.venue == "binance_spot":
            raise SetupError("--funding: spot pays no funding; --venue binance_usdm does")
        try:
            order.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(f"--data: {order.root} cannot be made a folder: {error.strerror}") from error
        self._order, self._listener = order, listener
        self._known: list[str] = []
        self._exchange = EXCHANGES[order.venue]

    async def run(self) -> Summary:
        """Do it; every series is reported to the listener, the sum comes back."""
        order, started_s = self._order, time.monotonic()
        async with AsyncExitStack() as stack:
            files = history = None
            if order.source != "rest":
                files = await stack.enter_async_context(Files(order.bulk_url, order.ca_file, order.workers))
            if order.source != "bulk":
                history = await stack.enter_async_context(_history(order, self._exchange, self._listener))
            now_ms, symbols, history = await self._meet(history)
            source = Source(order.root, self._exchange, files, history, now_ms)
            summary = await self._all(source, symbols)
        summary.wall_s = round(time.monotonic() - started_s, 3)
        return summary

    async def _meet(self, history: History | None) -> tuple[int, list[str], History | None]:
        """The exchange's time, the symbols meant, and the REST client when it may be used."""
        wanted = list(dict.fromkeys(self._order.symbols))
        wild = [name for name in wanted if _WILD & set(name)]
        if history is None:
            if wild:
                raise SetupError(f"--symbols: the pattern {wild[0]} needs REST, which lists the symbols")
            return int(time.time() * 1000), wanted, None
        try:
            now_ms = await history.now_ms()
            listed = await history.listed()
        except (SetupError, EdgeError) as error:
            text = str(error).replace("exchange.rest_url", "--rest-url")
            if self._order.source == "rest" or wild:
                raise type(error)(text) from None
            self._listener.note(f"{text}; going on with files alone")
            return int(time.time() * 1000), wanted, None
        self._known = [one.symbol for one in listed]
        trading = sorted(one.symbol for one in listed if one.trading)
        chosen: dict[str, None] = {}
        for name in wanted:
            matching = [symbol for symbol in trading if fnmatchcase(symbol, name)] if name in wild else [name]
            if not matching:
                raise SetupError(f"--symbols: nothing that is traded matches {name}")
            chosen.update(dict.fromkeys(matching))
        return now_ms, list(chosen), history

    async def _all(self, source: Source, symbols: list[str]) -> Summary:
        order, summary = self._order, Summary()
        to_ms = source.now_ms if order.to_ms is None else order.to_ms
        from_ms = to_ms - DEFAULT_SPAN_MS if order.from_ms is None else order.from_ms
        if from_ms >= min(to_ms, source.now_ms):
            raise SetupError("--from: nothing is before --to and now")
        turn = asyncio.Semaphore(2 * order.workers)

        async def one(download: SeriesDownload | RatesDownload) -> None:
            async with turn:
                done = await download.run()
            self._suggest(done)
            _add(summary, done)
            self._listener.finished(done)

        downloads: list[SeriesDownload | RatesDownload] = []
        for symbol in symbols:
            for name in order.intervals:
                interval = interval_of(name)
                series = Series(order.venue, symbol, interval.name)
                span = (interval, from_ms, to_ms)
                candles = SeriesDownload(source, series, *span, refresh=order.refresh, listener=self._listener)
                downloads.append(candles)
            if order.funding:
                downloads.append(RatesDownload(source, order.venue, symbol, from_ms, to_ms, listener=self._listener))
        outcomes = await asyncio.gather(*(one(download) for download in downloads), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return summary

    def _suggest(self, done: Done) -> None:
        if done.error is not None and not done.rows and self._known and done.symbol not in self._known:
            meant = get_close_matches(done.symbol.upper(), self._known, 3)
            done.error += f"; did you mean {' '.join(meant)}?" if meant else "; the exchange does not list it"


def _add(summary: Summary, done: Done) -> None:
    summary.series += 1
    summary.failed += done.error is not None
    for name in ("rows", "added", "changed", "refused", "files", "requests", "absent", "missing"):
        setattr(summary, name, getattr(summary, name) + getattr(done, name))


def _history(order: Order, exchange: Exchange, listener: Listener) -> History:
    url = check_url(order.rest_url or exchange.rest_url, ("http", "https"), "--rest-url")
    bans = order.root / BANS
    settings = FeedSettings(rest_url=url, concurrency=order.workers, ca_file=order.ca_file, state_file=bans)
    return History(exchange, settings, _Notes(listener))


class _Notes(FeedObserver):
    """Passes on what the REST client waits for."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def warning(self, text: str) -> None:
        self._listener.note(text)

    def attempt(self, number: int, delay_s: float, error: str, connection: str = "") -> None:
        if number == 1 and not connection:
            self._listener.note(f"{error}; trying again in {delay_s:.0f} s")

    def banned(self, host: str, seconds: float, reason: str) -> None:
        self._listener.note(f"{host} wants to be left alone for {seconds:.0f} s: {reason}")

    def connection_lost(self, attempts: int, error: str, what: Reached = "stream") -> None:  # noqa: ARG002
        self._listener.note(f"no connection after {attempts} attempts: {error}")
