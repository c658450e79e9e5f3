"""What `check --connect` tries: exchange, ledger, disk, every channel. Nothing is sent, nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

from tapewatch.config.channels import ConsoleChannel, EmailChannel, FileChannel
from tapewatch.config.schema import Config
from tapewatch.errors import SetupError, TapewatchError

#: Beyond this a clock is worth a warning: waiting times at bar boundaries are a few seconds.
SKEW_WARN_MS = 1_000
DISK_FAIL_BYTES, DISK_WARN_BYTES = 100_000_000, 1_000_000_000
_ROUNDS = 3


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of `check`; `check` and `status` are always there."""

    check: str
    status: Literal["pass", "warn", "fail"]
    target: str | None = None
    detail: str | None = None
    latency_ms: float | None = None
    clock_skew_ms: float | None = None


async def connect(config: Config) -> list[Finding]:
    """Everything tried, each with its outcome; takes as long as the slowest time-out at most."""
    trials: list[Awaitable[Finding]] = [_exchange(config)]
    trials += [_channel(name, spec) for name, spec in config.channels.items()]
    reached = await asyncio.gather(*trials)
    return [reached[0], *_ledger(config), *_folders(config), *_log_file(config), *reached[1:]]


async def _exchange(config: Config) -> Finding:
    ccxt = config.exchange.ccxt
    if ccxt is None:
        return await _binance(config)
    from tapewatch.feeds.ccxt_probe import probe
    from tapewatch.live.feeds import ccxt_settings, feed_settings

    target = f"{ccxt.id} (ccxt)"
    try:
        rounds = await probe(ccxt_settings(ccxt), feed_settings(config))
    except TapewatchError as error:
        return Finding("exchange", "fail", target, str(error))
    if any(skew_ms is None for _, skew_ms, _ in rounds):
        latency_ms = statistics.median(latency_ms for latency_ms, _, _ in rounds)
        return Finding("exchange", "pass", target, "it answers, and does not tell its time", latency_ms)
    return _judged(target, [(latency_ms, skew_ms or 0.0, simulated) for latency_ms, skew_ms, simulated in rounds])


async def _binance(config: Config) -> Finding:
    import aiohttp

    from tapewatch.network import proxy_for, tls_context, told
    from tapewatch.socks import Connector

    url, feeds = config.exchange.rest_url, config.feeds
    timeout = aiohttp.ClientTimeout(total=feeds.request_timeout / 1000, sock_connect=feeds.connect_timeout / 1000)
    try:
        ca_file = config.exchange.ca_file
        connector = Connector(ssl=tls_context(ca_file))
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, proxy=proxy_for(url)) as session:
            await _get(session, f"{url}/api/v3/ping")
            rounds = [await _clock(session, f"{url}/api/v3/time") for _ in range(_ROUNDS)]
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, SetupError) as error:
        return Finding(
            "exchange",
            "fail",
            url,
            told(error) if str(error) else f"no answer within {feeds.request_timeout / 1000:g} s",
        )
    return _judged(url, rounds)


def _judged(target: str, rounds: list[tuple[float, float, bool]]) -> Finding:
    """The exchange's clock, from rounds of (round trip in ms, how far it is ahead of ours, whether it is simulated)."""
    latency_ms = statistics.median(latency for latency, _, _ in rounds)
    skew_ms = statistics.median(skew for _, skew, _ in rounds)
    if any(simulated for _, _, simulated in rounds):
        return Finding(
            "exchange", "pass", target, f"{latency_ms:.0f} ms; a simulator with a clock of its own", latency_ms
        )
    side = "behind" if skew_ms > 0 else "ahead of"
    detail = f"{latency_ms:.0f} ms; this machine's clock is {abs(skew_ms):.0f} ms {side} the exchange's"
    status: Literal["pass", "warn"] = "warn" if abs(skew_ms) > SKEW_WARN_MS + latency_ms else "pass"
    return Finding("exchange", status, target, detail, latency_ms, skew_ms)


async def _clock(session: Any, url: str) -> tuple[float, float, bool]:
    """Round trip in ms, how far the server's clock is ahead of ours, and whether it is a simulated one."""
    sent_s, sent = time.time(), time.perf_counter()
    body, headers = await _get(session, url)
    latency_ms = (time.perf_counter() - sent) * 1000
    answer = msgspec.json.decode(body)
    if not isinstance(answer, dict) or not isinstance(answer.get("serverTime"), int):
        raise ValueError("answers, but not as the exchange does: no serverTime")
    return latency_ms, answer["serverTime"] - (sent_s * 1000 + latency_ms / 2), "X-Tapewatch-Rate" in headers


async def _get(session: Any, url: str) -> tuple[bytes, Any]:
    async with session.get(url, allow_redirects=False) as response:
        body = await response.read()
        if response.status != 200:
            raise ValueError(f"answered {response.status} {response.reason}")
        return body, response.headers


def _ledger(config: Config) -> Iterator[Finding]:
    if config.ledger.file is None:
        yield _server(config)
    else:
        yield _writable(config.ledger.file) if config.ledger.file.exists() else _file("ledger", config.ledger.file)
    path = config.ledger.beside("")
    free = shutil.disk_usage(_existing(path)).free
    status: Literal["pass", "warn", "fail"] = "pass"
    if free < DISK_WARN_BYTES:
        status = "fail" if free < DISK_FAIL_BYTES else "warn"
    yield Finding("disk", status, str(_existing(path)), f"{free / 1e9:.1f} GB free")


def _server(config: Config) -> Finding:
    from tapewatch.store.database import Database

    started_s = time.perf_counter()
    try:
        database = Database(config.ledger.address, create=False, busy_timeout_ms=2_000)
        with closing(database), database.write():
            latency_ms = round((time.perf_counter() - started_s) * 1000, 1)
    except TapewatchError as error:
        return Finding("ledger", "fail", config.ledger.url, str(error))
    return Finding("ledger", "pass", config.ledger.url, "can be written", latency_ms)


def _writable(path: Path) -> Finding:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=2.0)) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        return Finding("ledger", "fail", str(path), str(error))
    return Finding("ledger", "pass", str(path), "can be written")


def _folders(config: Config) -> Iterator[Finding]:
    folders = {"journal": config.journal_folder}
    if config.archive.record:
        folders["archive"] = config.archive_folder
    for check, path in folders.items():
        if path.exists() and not path.is_dir():
            yield Finding(check, "fail", str(path), "is not a folder")
        elif path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
            yield Finding(check, "fail", str(path), "may not be written by this user")
        else:
            yield Finding(check, "pass", str(path), "can be written") if path.exists() else _file(check, path)


def _log_file(config: Config) -> Iterator[Finding]:
    if config.logging.file is not None:
        yield _file("log file", config.logging.file)


def _file(check: str, path: Path) -> Finding:
    """Whether a file could be written, or made, with the permissions as they are."""
    if path.is_dir():
        return Finding(check, "fail", str(path), "is a directory")
    if path.exists():
        if os.access(path, os.W_OK):
            return Finding(check, "pass", str(path), "can be written")
        return Finding(check, "fail", str(path), "may not be written by this user")
    folder = _existing(path)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return Finding(check, "fail", str(path), f"cannot be made: {folder} may not be written by this user")
    return Finding(check, "pass", str(path), "will be made")


def _existing(path: Path) -> Path:
    return next(folder for folder in path.absolute().parents if folder.exists())


async def _channel(name: str, spec: Any) -> Finding:
    target = f"{name} ({spec.type})"
    if isinstance(spec, FileChannel):
        found = _file("channel", spec.path)
        return Finding("channel", found.status, target, f"{spec.path} {found.detail}")
    if isinstance(spec, EmailChannel):
        return await _mail(target, spec)
    if isinstance(spec, ConsoleChannel):
        return Finding("channel", "pass", target, "prints on stdout")
    from tapewatch.channels import probe

    try:
        return Finding("channel", "pass", target, f"{await probe(name, spec)}; nothing was sent")
    except TapewatchError as error:
        return Finding("channel", "fail", target, str(error))


async def _mail(target: str, spec: EmailChannel) -> Finding:
    import aiosmtplib

    from tapewatch.network import tls_context

    server = f"{spec.host}:{spec.port}"
    try:
        context = None if spec.tls == "none" else tls_context(spec.ca_file, "ca_file")
    except SetupError as error:
        return Finding("channel", "fail", target, str(error))
    client = aiosmtplib.SMTP(
        hostname=spec.host,
        port=spec.port,
        timeout=spec.timeout / 1000,
        use_tls=spec.tls == "implicit",
        start_tls=False,
        tls_context=context,
    )
    try:
        await client.connect()
        if spec.tls == "starttls":
            await client.starttls()
        await client.ehlo()
        if spec.user is not None and spec.password is not None:
            await client.login(spec.user, spec.password.get_secret_value())
        with suppress(aiosmtplib.SMTPException):
            await client.quit()
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        return Finding("channel", "fail", target, f"{server}: {_without(spec, str(error) or 'no answer')}")
    finally:
        client.close()
    logged_in = "" if spec.user is None else f", logged in as {spec.user}"
    return Finding("channel", "pass", target, f"{server} answers{logged_in}; nothing was sent")


def _without(spec: EmailChannel, text: str) -> str:
    """What a server said, on one line; some repeat what they were given."""
    secret = "" if spec.password is None else spec.password.get_secret_value()
    return " ".join((text.replace(secret, "***") if secret else text).split())
