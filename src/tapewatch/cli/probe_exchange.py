"""What `check --connect` asks the exchange: its clock and how far it is, what comes over its stream, what it allows."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapewatch.cli.finding import Finding, Status
from tapewatch.cli.options import counted
from tapewatch.config.schema import Config
from tapewatch.errors import TapewatchError

if TYPE_CHECKING:
    from tapewatch.feeds import FeedSettings
    from tapewatch.feeds.binance_probe import Allowed

Round = tuple[float, float, bool]

#: Beyond this a clock is worth a warning: waiting times at bar boundaries are a few seconds.
SKEW_WARN_MS = 1_000
#: An answer that takes longer makes alerts late by as much, where they ask for spread and depth.
LATENCY_WARN_MS = 1_000
#: The tickers of the whole market come every second.
DATA_S = 10.0
#: What one request for candles costs, and how many candles it brings (exchange-protocol 5.2).
KLINES_WEIGHT, PAGE = 2, 1_000


async def exchange(config: Config) -> list[Finding]:
    """Everything about the exchange; of one that cannot be reached, that alone."""
    from tapewatch.live.feeds import feed_settings

    settings = feed_settings(config)
    if config.exchange.ccxt is not None:
        return await _ccxt(config, settings)
    from tapewatch.feeds import binance_probe

    url = settings.rest_url
    try:
        rounds = await binance_probe.rounds(settings)
    except TapewatchError as error:
        return [Finding("exchange", "fail", url, str(error)), *await _others(settings)]
    simulated = any(simulated for _, _, simulated in rounds)
    stream = await _stream(settings, simulated=simulated)  # by itself: what is reckoned beside it would be measured
    limits, others = await asyncio.gather(_limits(config, settings), _others(settings))
    times_ms = [latency_ms for latency_ms, _, _ in rounds]
    return [_clock(url, rounds), _latency(url, times_ms), *stream, *limits, *others]


async def _ccxt(config: Config, settings: FeedSettings) -> list[Finding]:
    from tapewatch.feeds.ccxt_probe import probe
    from tapewatch.live.feeds import ccxt_settings

    assert config.exchange.ccxt is not None
    target = f"{config.exchange.ccxt.id} (ccxt)"
    try:
        rounds = await probe(ccxt_settings(config.exchange.ccxt), settings)
    except TapewatchError as error:
        return [Finding("exchange", "fail", target, str(error))]
    latency = _latency(target, [latency_ms for latency_ms, _, _ in rounds])
    told = [(latency_ms, skew_ms, simulated) for latency_ms, skew_ms, simulated in rounds if skew_ms is not None]
    if not told:
        return [Finding("exchange", "pass", target, "it answers, and does not tell its time", rounds[0][0]), latency]
    return [_clock(target, told), latency]


def _clock(target: str, rounds: list[Round]) -> Finding:
    """The exchange's clock, by the quickest of the rounds: somewhere on its way there or back it was asked."""
    latency_ms, skew_ms, simulated = min(rounds)
    if simulated:
        return Finding("exchange", "pass", target, "a simulator with a clock of its own", latency_ms)
    side = "behind" if skew_ms > 0 else "ahead of"
    detail = (
        f"this machine's clock is {abs(skew_ms):.0f} ms {side} the exchange's, "
        f"give or take the {latency_ms / 2:.0f} ms of the way"
    )
    status: Status = "warn" if abs(skew_ms) - latency_ms / 2 > SKEW_WARN_MS else "pass"
    return Finding(
        "exchange", status, target, detail, latency_ms, skew_ms, round(skew_ms, 1), "ms", SKEW_WARN_MS
    )  # fmt: skip


def _latency(target: str, times_ms: list[float]) -> Finding:
    middle_ms = round(statistics.median(times_ms), 1)
    status: Status = "warn" if middle_ms > LATENCY_WARN_MS else "pass"
    detail = f"{middle_ms:.0f} ms in the middle of {counted(len(times_ms), 'request')}, {max(times_ms):.0f} at most"
    return Finding("latency", status, target, detail, value=middle_ms, unit="ms", limit=LATENCY_WARN_MS)


async def _stream(settings: FeedSettings, *, simulated: bool) -> list[Finding]:
    from tapewatch.feeds.binance_probe import heard

    try:
        found = await heard(settings, min(DATA_S, settings.request_timeout_s), simulated=simulated)
    except TapewatchError as error:
        return [Finding("stream", "fail", settings.ws_url, str(error).removeprefix(f"{settings.ws_url}: "))]
    first = "the first answer" if simulated else "the first data"
    detail = f"open after {found.handshake_ms:.0f} ms, {first} {found.first_ms:.0f} ms later"
    whole_ms = round(found.handshake_ms + found.first_ms, 1)
    return [Finding("stream", "pass", settings.ws_url, detail, value=whole_ms, unit="ms", limit=DATA_S * 1000)]


async def _others(settings: FeedSettings) -> list[Finding]:
    """Hosts that are needed now and then: none of them keeps a run from starting."""
    from tapewatch.feeds.binance_probe import reached

    wanted = [(host, "/api/v3/ping") for host in settings.rest_hosts]
    if settings.futures_url not in (None, settings.rest_url):
        wanted.append((str(settings.futures_url), "/fapi/v1/ping"))

    async def one(host: str, path: str) -> Finding:
        try:
            latency_ms = round(await reached(settings, host, path), 1)
        except TapewatchError as error:
            return Finding("further host", "warn", host, str(error))
        return Finding("further host", "pass", host, f"{latency_ms:.0f} ms", value=latency_ms, unit="ms")

    return list(await asyncio.gather(*(one(host, path) for host, path in wanted)))


async def _limits(config: Config, settings: FeedSettings) -> list[Finding]:
    from tapewatch.feeds.binance_probe import allowed

    try:
        found = await allowed(settings)
    except TapewatchError as error:
        return [Finding("weight", "warn", settings.rest_url, f"its limits could not be asked: {error}")]
    symbols = watched_at_most(config, found)
    return [*_weight(config, settings, found, symbols), _streams(settings, symbols)]


def watched_at_most(config: Config, found: Allowed) -> int:
    """How many symbols would be watched, before volume and market capitalisation thin them out."""
    from tapewatch.live.universe import rules_of

    rules = rules_of(config.universe)
    listed = [one for one in found.info.symbols if one.status == "TRADING" and one.quote_asset in rules.quotes]
    named = len(rules.named)
    return named if not rules.patterns else min(max(rules.max_symbols, named), named + len(listed))


def _weight(config: Config, settings: FeedSettings, found: Allowed, symbols: int) -> Iterator[Finding]:
    """What is used of the exchange's limit by this address, and what a start will use."""
    limit = found.info.weight_per_minute()
    if limit is None:
        yield Finding("weight", "warn", settings.rest_url, "exchangeInfo names no limit of weight")
        return
    ours = int(limit * settings.weight_share)
    if found.used_weight is not None:
        detail = f"{found.used_weight:,} of {limit:,} used this minute; a run keeps below {ours:,}"
        status: Status = "warn" if found.used_weight > ours else "pass"
        yield Finding(
            "weight", status, settings.rest_url, detail, value=found.used_weight, unit="weight/min", limit=limit
        )
    weight = _weight_of_start(config) * symbols
    minutes = math.ceil(weight / ours)
    detail = f"the first candles of {counted(symbols, 'symbol')} take a weight of {weight:,}"
    detail += f": {counted(minutes, 'minute')} at {ours:,} a minute" if minutes > 1 else ""
    yield Finding("start", "pass", settings.rest_url, detail, value=weight, unit="weight", limit=ours)


def _weight_of_start(config: Config) -> int:
    """The weight of one symbol's first windows."""
    from tapewatch.engine import windows_of
    from tapewatch.live.makeup import market_of
    from tapewatch.strategies import configured

    windows = windows_of(configured(config.strategies), market_of(config))
    return sum(math.ceil(bars / PAGE) * KLINES_WEIGHT for bars in windows.values())


def _streams(settings: FeedSettings, symbols: int) -> Finding:
    from tapewatch.feeds.pool import STREAMS

    streams = symbols + 1  # the tickers of the whole market
    connections = math.ceil(streams / settings.streams_per_connection)
    detail = (
        f"{counted(streams, 'stream')} on {counted(connections, 'connection')} of at most "
        f"{settings.streams_per_connection:,}; the exchange allows {STREAMS:,} on each, and 300 new ones in 5 minutes"
    )
    status: Status = "fail" if connections > settings.attempts_per_5m else "pass"
    limit = settings.streams_per_connection * settings.attempts_per_5m
    return Finding("streams", status, settings.ws_url, detail, value=streams, unit="streams", limit=limit)
