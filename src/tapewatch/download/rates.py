"""Funding rates of one perpetual: REST, which has the mark price too; month files where REST is not to be had."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import polars as pl

from tapewatch.archive import bulk, funding, klines
from tapewatch.archive.intervals import INTERVALS
from tapewatch.archive.manifest import Import, Manifest, Series
from tapewatch.archive.writer import MergeReport
from tapewatch.download.report import Done, Listener
from tapewatch.download.source import Source
from tapewatch.errors import DataError, EdgeError
from tapewatch.feeds.history import FUNDING_PAGE
from tapewatch.model import MINUTE_MS

FUNDING = "funding"
#: Payments can be an hour apart: a shorter end of what is wanted needs no request.
_SHORTEST_MS = 3_600_000


class RatesDownload:
    """Fetches the payments in [from_ms, to_ms)."""

    def __init__(
        self, source: Source, venue: str, symbol: str, from_ms: int, to_ms: int, *, listener: Listener
    ) -> None:
        self._source, self._series, self._listener = source, Series(venue, symbol, FUNDING), listener
        self._from_ms, self._to_ms = from_ms, max(from_ms, min(to_ms, source.now_ms))
        self._done = Done(venue, symbol, FUNDING, from_ms, self._to_ms)

    async def run(self) -> Done:
        """Do it.

        Raises:
            SetupError, StoreError: the archive cannot be read or written.
        """
        if self._source.history is not None:
            await self._ask()
        rates = await self._stored()
        if (self._done.error or not rates) and self._source.files is not None:
            await self._months()
            rates = await self._stored()
        self._done.rows = len(rates)
        if rates:
            self._done.error = None
        elif self._done.error is None:
            self._done.error = "the exchange has no funding rates then"
        return self._done

    async def _ask(self) -> None:
        """Ask REST for what is not stored."""
        history = self._source.history
        assert history is not None
        gaps = self._gaps(await self._stored())
        self._listener.expected(len(gaps))
        for gap_ms, end_ms in gaps:
            at_ms = gap_ms
            while at_ms < end_ms:
                try:
                    paid = await history.funding(self._series.symbol, at_ms, end_ms)
                except (DataError, EdgeError) as error:
                    self._done.notes.append(str(error))
                    self._done.error = str(error)
                    return
                self._done.requests += 1
                rows = [(one.funding_time, one.funding_rate, _number(one.mark_price)) for one in paid]
                if rows:
                    await self._merge(pl.DataFrame(rows, schema=funding.SCHEMA, orient="row"))
                if len(paid) < FUNDING_PAGE:
                    break
                at_ms = paid[-1].funding_time + 1
            self._listener.advanced()

    def _gaps(self, times: list[int]) -> list[tuple[int, int]]:
        """The spans without payments that are longer than the exchange leaves."""
        edges = [self._from_ms - 1, *times, self._to_ms]
        gaps = [
            (before + 1, after) for before, after in pairwise(edges) if after - before > funding.LONGEST_MS + MINUTE_MS
        ]
        if times and self._to_ms - times[-1] > _SHORTEST_MS and (not gaps or gaps[-1][1] != self._to_ms):
            gaps.append((times[-1] + 1, self._to_ms))
        return gaps if times else [(self._from_ms, self._to_ms)]

    async def _months(self) -> None:
        files, manifest = self._source.files, Manifest(self._source.root)
        assert files is not None
        done = {one.name: one for one in manifest.imports(self._series)}
        at_ms, wanted = self._from_ms, []
        while at_ms < self._to_ms:
            file = bulk.funding_file(self._series.venue, self._series.symbol, at_ms)
            at_ms = file.to_ms
            have = done.get(file.name)
            intact = have is not None and have.from_ms <= max(file.from_ms, self._from_ms)
            if file.to_ms <= self._source.today_ms and not intact:
                wanted.append(file)
        self._listener.expected(len(wanted))
        for file in wanted:
            limit = file.limit_bytes(INTERVALS["1m"])
            try:
                fetched = await files.fetch(file, limit)
                if fetched is not None:
                    content = bulk.unpack(fetched.content, file.name, limit)
                    rates = klines.parse_funding(content, file.name)
                    within = pl.col("time").is_between(max(file.from_ms, self._from_ms), self._to_ms, closed="left")
                    await self._merge(rates.filter(within))
                    from_ms = max(file.from_ms, self._from_ms)
                    record = Import(file.name, fetched.sha256, from_ms, file.to_ms, len(rates))
                    await asyncio.to_thread(manifest.imported, self._series, record)
                    self._done.files += 1
            except (DataError, EdgeError) as error:
                self._done.notes.append(str(error))
                self._done.error = str(error)
            self._listener.advanced()

    async def _merge(self, rates: pl.DataFrame) -> MergeReport:
        series = self._series
        report = await asyncio.to_thread(funding.merge, self._source.root, series.venue, series.symbol, rates)
        self._done.added += report.added
        self._done.changed += report.conflicts
        self._done.refused += sum(report.refused.values())
        return report

    async def _stored(self) -> list[int]:
        series = self._series
        rates = await asyncio.to_thread(funding.load, self._source.root, series.venue, series.symbol)
        return rates.filter(pl.col("time").is_between(self._from_ms, self._to_ms, closed="left"))["time"].to_list()


def _number(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
