"""The exchange's file archive, from the market: zip files of candles by month and by day, each with its CHECKSUM.

A day's file is there from the next simulated day on, a month's from the next month on. Spot files have no header and
times in microseconds from 2025 on, milliseconds before; futures files have a header and milliseconds.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aiohttp import web

from tapewatch.model import DAY_MS, INTERVALS_MS
from tapewatch.simulator.clock import Clock
from tapewatch.simulator.decimals import text
from tapewatch.simulator.faults import OnFault
from tapewatch.simulator.funding import Payment
from tapewatch.simulator.limits import Books
from tapewatch.simulator.rules import ARCHIVE_FAULTS, FaultRule
from tapewatch.simulator.tape import Kline, Tape

#: 2025-01-01: spot files have microseconds from here on.
MICROSECONDS_FROM_MS = 1_735_689_600_000
_CANDLES = re.compile(r"(spot|futures/um)/(monthly|daily)/klines/([^/]+)/([^/]+)/\3-\4-([0-9-]+)\.zip")
_FUNDING = re.compile(r"futures/um/(monthly)/fundingRate/([^/]+)/\2-fundingRate-([0-9-]+)\.zip")
_HEADER = (
    "open_time,open,high,low,close,volume,close_time,"
    "quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
)


@dataclass(frozen=True)
class _Asked:
    """One file that is asked for; `interval_ms` is 0 for funding rates."""

    name: str
    symbol: str
    interval_ms: int
    futures: bool
    monthly: bool
    from_ms: int
    to_ms: int


class BulkFiles:
    """Serves `/data/...`.

    Args:
        symbols: all symbols of the market.
        tape: gives the tape of a symbol.
        payments: gives the funding payments of a symbol up to a time.
        rules: the fault script; only its archive kinds matter here.
        seed: of the choice of files where a rule has a probability, and of the days that are left out.
        on_fault: told of each injected fault.
    """

    def __init__(
        self,
        symbols: Iterable[str],
        tape: Callable[[str], Tape],
        payments: Callable[[str, int], Sequence[Payment]],
        clock: Clock,
        books: Books,
        rules: Sequence[FaultRule],
        seed: int,
        on_fault: OnFault,
    ) -> None:
        self._symbols, self._tape, self._payments = frozenset(symbols), tape, payments
        self._clock, self._books, self._seed, self._on_fault = clock, books, seed, on_fault
        start_ms = clock.now_ms()
        self._rules = [(rule.first_ms(start_ms), rule) for rule in rules if rule.kind in ARCHIVE_FAULTS]
        self._damaged: set[tuple[int, str]] = set()
        self._packed = functools.lru_cache(64)(self._pack)

    def add_routes(self, app: web.Application) -> None:
        """Listen for requests."""
        app.router.add_get("/data/{path:.+}", self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        now_ms = self._clock.now_ms()
        path = request.match_info["path"]
        found = self._find(path.removesuffix(".CHECKSUM"), now_ms)
        endpoint = "data/" + "/".join(path.split("/")[:-3])
        if found is None or self._strikes("archive_missing", found, now_ms):
            self._books.requests[endpoint, 404] += 1
            said = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>'
            return web.Response(status=404, text=said, content_type="application/xml")
        without_ms = self._day_left_out(found, now_ms)
        content = await asyncio.to_thread(self._packed, found, without_ms)
        self._books.requests[endpoint, 200] += 1
        if path.endswith(".CHECKSUM"):
            if self._strikes("archive_stale_checksum", found, now_ms):
                content = b"an earlier edition of " + content
            line = f"{hashlib.sha256(content).hexdigest()}  {found.name}\n"
            return web.Response(body=line.encode(), content_type="application/octet-stream")
        if self._strikes("archive_corrupt", found, now_ms):
            middle = len(content) // 2
            content = (
                content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 16]) + content[middle + 16 :]
            )
        return web.Response(body=content, content_type="application/zip")

    def _find(self, path: str, now_ms: int) -> _Asked | None:
        """The file of that path, if it is there already."""
        if (match := _CANDLES.fullmatch(path)) is not None:
            market, kind, symbol, interval, period = match.groups()
            length = INTERVALS_MS.get(interval, 0)
        elif (match := _FUNDING.fullmatch(path)) is not None:
            market, (kind, symbol, period), length = "futures/um", match.groups(), 0
        else:
            return None
        span = _span(period, monthly=kind == "monthly")
        if symbol not in self._symbols or span is None or (length == 0 and match.re is _CANDLES):
            return None
        asked = _Asked(path.rpartition("/")[2], symbol, length, market != "spot", kind == "monthly", *span)
        return asked if asked.to_ms <= now_ms and self._exists(asked) else None

    def _exists(self, asked: _Asked) -> bool:
        """Whether the market has anything for the file."""
        if not asked.interval_ms:
            return bool(self._rows(asked, None))
        tape = self._tape(asked.symbol)
        if not tape.serves(asked.interval_ms):
            return False
        first, end = tape.series(asked.interval_ms).open_ms.searchsorted((asked.from_ms, asked.to_ms))
        return bool(end > first)

    def _rows(self, asked: _Asked, without_ms: int | None) -> Sequence[Kline] | Sequence[Payment]:
        if not asked.interval_ms:
            return [one for one in self._payments(asked.symbol, asked.to_ms) if one.time_ms >= asked.from_ms]
        tape = self._tape(asked.symbol)
        candles = tape.series(asked.interval_ms)
        first, end = (int(at) for at in candles.open_ms.searchsorted((asked.from_ms, asked.to_ms)))
        rows = tape.rows(candles, first, end)
        if without_ms is None:
            return rows
        return [row for row in rows if not without_ms <= row.open_ms < without_ms + DAY_MS]

    def _pack(self, asked: _Asked, without_ms: int | None) -> bytes:
        unit = 1000 if not asked.futures and asked.from_ms >= MICROSECONDS_FROM_MS else 1
        lines = [_line(row, unit) for row in self._rows(asked, without_ms)]
        if not asked.interval_ms:
            lines.insert(0, "calc_time,funding_interval_hours,last_funding_rate\n")
        elif asked.futures:
            lines.insert(0, _HEADER)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(zipfile.ZipInfo(asked.name.removesuffix(".zip") + ".csv"), "".join(lines))
        return buffer.getvalue()

    def _strikes(self, kind: str, asked: _Asked, now_ms: int) -> bool:
        """Whether a rule of this kind applies to the file now; that is told."""
        for number, (from_ms, rule) in enumerate(self._rules):
            if rule.kind != kind or not self._means(rule, from_ms, asked, now_ms):
                continue
            if kind == "archive_corrupt" and rule.lasting is None:  # the first copy only
                if (number, asked.name) in self._damaged:
                    continue
                self._damaged.add((number, asked.name))
            self._books.faults[kind] += 1
            self._on_fault({"fault": kind, "at_ms": now_ms, "file": asked.name})
            return True
        return False

    def _means(self, rule: FaultRule, from_ms: int, asked: _Asked, now_ms: int) -> bool:
        until_ms = from_ms + rule.lasting if rule.lasting is not None else now_ms + 1
        meant = not rule.symbols or asked.symbol in rule.symbols
        kind = rule.files is None or rule.files == ("monthly" if asked.monthly else "daily")
        share = zlib.crc32(f"{self._seed} {rule.kind} {asked.name}".encode()) / 2**32
        return from_ms <= now_ms < until_ms and meant and kind and share < rule.probability

    def _day_left_out(self, asked: _Asked, now_ms: int) -> int | None:
        """The day of a month's file that is not in it, None when all are."""
        if not asked.monthly or not asked.interval_ms or not self._strikes("archive_hole", asked, now_ms):
            return None
        days = (asked.to_ms - asked.from_ms) // DAY_MS
        return asked.from_ms + (1 + zlib.crc32(f"{self._seed} {asked.name}".encode()) % (days - 2)) * DAY_MS


def _span(period: str, *, monthly: bool) -> tuple[int, int] | None:
    try:
        first = datetime.strptime(period, "%Y-%m" if monthly else "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    after = first + timedelta(days=1)
    if monthly:
        after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return int(first.timestamp()) * 1000, int(after.timestamp()) * 1000


def _line(row: Kline | Payment, unit: int) -> str:
    if isinstance(row, Payment):
        return f"{row.time_ms},{row.interval_hours},{row.rate:.8f}\n"
    prices = (row.open, row.high, row.low, row.close, row.volume)
    close = (row.open_ms + row.interval_ms) * unit - 1
    volumes = f"{text(row.quote_volume)},{row.trades},{text(row.taker_buy)},{text(row.taker_quote)}"
    return f"{row.open_ms * unit},{','.join(map(text, prices))},{close},{volumes},0\n"
