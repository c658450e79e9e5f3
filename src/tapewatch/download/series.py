"""One series of candles: files of months, files of days for what those lack, REST for what no file has.

Every step stores what it brought before the next one, and is left out when what it would bring is stored and verified:
a download that was cut goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from tapewatch.archive import bulk, frames, klines, stored, writer
from tapewatch.archive.bulk import BulkFile
from tapewatch.archive.candles import Times
from tapewatch.archive.intervals import Interval
from tapewatch.archive.manifest import LOCAL, Import, Manifest, Series
from tapewatch.archive.writer import MergeReport
from tapewatch.download.report import Done, Listener
from tapewatch.download.source import Source
from tapewatch.errors import DataError, EdgeError
from tapewatch.feeds.wire import Row
from tapewatch.model import DAY_MS

#: Candles that closed less than this ago are not taken: REST may still change them.
SETTLE_MS = 10_000
#: What REST does not have so long after its close, the exchange does not have.
CONFIRMED_MS = 3_600_000


@dataclass(frozen=True)
class _Held:
    """What is stored of a series, and known of it."""

    opens: Times
    absent: list[tuple[int, int]]
    imports: dict[str, Import]

    def rows(self, from_ms: int, to_ms: int) -> int:
        """How many candles are stored."""
        first, end = self.opens.searchsorted((from_ms, to_ms))
        return int(end - first)


class SeriesDownload:
    """Fetches the candles of one series that open in [from_ms, to_ms) and have closed.

    Args:
        source: where from, and into which archive.
        refresh: look whether files that were taken have been replaced, and take the new ones.
    """

    def __init__(
        self,
        source: Source,
        series: Series,
        interval: Interval,
        from_ms: int,
        to_ms: int,
        *,
        refresh: bool,
        listener: Listener,
    ) -> None:
        self._source, self._series, self._interval, self._listener = source, series, interval, listener
        self._refresh = refresh
        self._silent = False
        self._not_there: set[str] = set()
        self._from_ms, self._to_ms = from_ms, to_ms
        self._manifest = Manifest(source.root)
        self._folder = writer.series_folder(source.root, series.venue, series.symbol, interval.name)
        self._done = Done(series.venue, series.symbol, interval.name, from_ms, to_ms)

    async def run(self) -> Done:
        """Do it.

        Raises:
            SetupError, StoreError: the archive cannot be read or written.
        """
        held = await self._held()
        closed_ms = self._interval.floor(self._source.now_ms - SETTLE_MS, held.opens)
        self._to_ms = self._done.to_ms = max(self._from_ms, min(self._to_ms, closed_ms))
        if self._source.history is not None:
            await self._find_start(held)
        if self._source.files is not None:
            await self._take_files()
        if self._source.history is not None:
            await self._ask_for_the_rest()
        await self._sum_up()
        return self._done

    @property
    def _alone(self) -> bool:
        """Whether files are all there is: REST is not to be used, or has nothing."""
        return self._source.history is None or self._silent

    async def _find_start(self, held: _Held) -> None:
        """Learn where the series begins, so that what is before is not asked for.

        That REST has nothing at all is no proof: files know symbols for longer.
        """
        lacking = self._lacking(held, self._from_ms, self._to_ms)
        if lacking and lacking[0][0] < self._from_ms + self._interval.length_ms:
            rows = await self._page(self._from_ms, self._to_ms, 1)
            self._silent = not rows
            if rows:
                await self._confirm([(self._from_ms, rows[0].open_ms)])

    async def _take_files(self) -> None:
        """Months, days for what they lack, and where nobody else can help, months of which only a part is wanted."""
        await self._take(self._months())
        if not self._interval.daily:
            return
        await self._take(await self._promising(self._days(await self._held())))
        if self._alone:
            held = await self._held()
            parts = [file for file in self._months(whole=False) if self._lacking(held, *self._wanted(file))]
            await self._take(parts)

    def _months(self, *, whole: bool = True) -> list[BulkFile]:
        """The files of months that are over and wanted whole, or in part; of long intervals each that is over."""
        files = []
        at_ms = self._from_ms
        while at_ms < self._to_ms:
            file = bulk.month_file(self._series.venue, self._series.symbol, self._interval, at_ms)
            at_ms = file.to_ms
            complete = self._wanted(file) == (file.from_ms, file.to_ms) or not self._interval.daily
            if file.to_ms <= self._source.today_ms and complete == whole:
                files.append(file)
        return files

    def _days(self, held: _Held) -> list[BulkFile]:
        """The files of days that are over: those in no month's file, and those that a month's file lacks."""
        months = [done for done in held.imports.values() if done.to_ms - done.from_ms > DAY_MS]
        files = []
        for day_ms in range(self._from_ms - self._from_ms % DAY_MS, self._to_ms, DAY_MS):
            from_ms, to_ms = max(day_ms, self._from_ms), min(day_ms + DAY_MS, self._to_ms)
            part = to_ms - from_ms < DAY_MS and not self._alone  # REST brings less for as much
            in_month = any(done.from_ms <= from_ms and to_ms <= done.to_ms for done in months)
            if part or day_ms + DAY_MS > self._source.today_ms:
                continue
            if not in_month or self._lacking(held, from_ms, to_ms):
                files.append(bulk.day_file(self._series.venue, self._series.symbol, self._interval, day_ms))
        return files

    async def _promising(self, days: list[BulkFile]) -> list[BulkFile]:
        """The days without those that can hardly be there, for which so many requests would be too many.

        Where REST has nothing and a month has no file, its first and its last day tell whether it has days.
        """
        if not self._silent:
            return days
        missing: dict[int, list[BulkFile]] = {}
        for month in self._months():
            if month.name in self._not_there:
                missing[month.from_ms] = [day for day in days if month.from_ms <= day.from_ms < month.to_ms]
        await self._take([day for month in missing.values() for day in dict.fromkeys((*month[:1], *month[-1:]))])
        hopeless = {
            day
            for month in missing.values()
            if all(end.name in self._not_there for end in (*month[:1], *month[-1:]))
            for day in month
        }
        return [day for day in days if day not in hopeless]

    async def _take(self, files: list[BulkFile]) -> None:
        """Fetch and merge those files that are not merged already."""
        held = await self._held()
        due = [file for file in files if self._due(file, held)]
        self._listener.expected(len(due))
        outcomes = await asyncio.gather(*(self._file(file, held) for file in due), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def _due(self, file: BulkFile, held: _Held) -> bool:
        from_ms, to_ms = self._wanted(file)
        nothing = not held.rows(from_ms, to_ms) and not stored.without([(from_ms, to_ms)], held.absent)
        return not nothing and (self._refresh or not self._intact(file, held))

    def _intact(self, file: BulkFile, held: _Held) -> bool:
        """Whether the file was merged as far as it is wanted, and what it had is still stored."""
        from_ms, to_ms = self._wanted(file)
        done = held.imports.get(file.name)
        covers = done is not None and done.from_ms <= from_ms and to_ms <= done.to_ms
        return covers and done is not None and held.rows(done.from_ms, done.to_ms) >= done.rows

    def _wanted(self, file: BulkFile) -> tuple[int, int]:
        return max(file.from_ms, self._from_ms), min(file.to_ms, self._to_ms)

    async def _file(self, file: BulkFile, held: _Held) -> None:
        files, limit = self._source.files, file.limit_bytes(self._interval)
        assert files is not None
        try:
            if self._intact(file, held):
                if await files.checksum(file) in {held.imports[file.name].sha256, None}:
                    return
                self._done.notes.append(f"{file.name} was replaced by the exchange and is taken again")
            fetched = await files.fetch(file, limit)
            if fetched is None:
                self._not_there.add(file.name)
                return
            content = bulk.unpack(fetched.content, file.name, limit)
            outside, report = await asyncio.to_thread(self._merge_file, file, content, fetched.sha256)
        except (DataError, EdgeError) as error:
            self._done.notes.append(str(error))
            self._done.error = str(error)
        else:
            self._done.files += 1
            self._done.refused += outside
            self._count(report)
        finally:
            self._listener.advanced()

    def _merge_file(self, file: BulkFile, content: bytes, sha256: str) -> tuple[int, MergeReport]:
        """Store what is wanted of a file; returns how many rows were of another time than the file's."""
        rows = klines.parse(content, file.name)
        opened = pl.col("open_time")
        inside = rows.filter(opened.is_between(file.from_ms, file.to_ms, closed="left"))
        from_ms, to_ms = self._wanted(file)
        wanted = inside.filter(opened.is_between(from_ms, to_ms, closed="left"))
        report = self._merge(wanted)
        sound = report.added + report.same + report.filled + report.conflicts
        self._manifest.imported(self._series, Import(file.name, sha256, from_ms, to_ms, sound))
        return len(rows) - len(inside), report

    def _merge(self, frame: pl.DataFrame) -> MergeReport:
        series = self._series
        return writer.merge(self._source.root, series.venue, series.symbol, series.interval, frame)

    def _count(self, report: MergeReport) -> None:
        self._done.added += report.added
        self._done.changed += report.conflicts
        self._done.refused += sum(report.refused.values())

    async def _ask_for_the_rest(self) -> None:
        """Ask for what is still missing, month by month; what the exchange does not have is remembered."""
        months: dict[int, list[tuple[int, int]]] = {}
        for from_ms, to_ms in self._lacking(await self._held(), self._from_ms, self._to_ms):
            at_ms = from_ms
            while at_ms < to_ms:
                first_ms, after_ms = bulk.month_of(at_ms)
                months.setdefault(first_ms, []).append((at_ms, min(to_ms, after_ms)))
                at_ms = after_ms
        self._listener.expected(len(months))
        for _, parts in sorted(months.items()):
            pages = [page for part in parts for page in self._pages(*part)]
            answers = await asyncio.gather(*(self._page(*page, self._source.exchange.page) for page in pages))
            rows = [row for answer in answers for row in answer or () if row.open_ms < self._to_ms]
            if rows:
                self._count(await asyncio.to_thread(self._merge, _frame(rows)))
            if all(answer is not None for answer in answers):
                opens = (await self._held()).opens
                await self._confirm([hole for part in parts for hole in stored.holes(opens, self._interval, *part)])
            self._listener.advanced()

    def _pages(self, from_ms: int, to_ms: int) -> Iterable[tuple[int, int]]:
        step_ms = self._source.exchange.page * self._interval.length_ms
        return ((at_ms, min(to_ms, at_ms + step_ms)) for at_ms in range(from_ms, to_ms, step_ms))

    async def _page(self, from_ms: int, to_ms: int, most: int) -> list[Row] | None:
        """The first candles in [from_ms, to_ms), None when the exchange refuses or does not answer: that is noted."""
        history = self._source.history
        assert history is not None
        rows = min(most, -(-(to_ms - from_ms) // self._interval.length_ms))
        try:
            found, bad = await history.candles(self._series.symbol, self._interval.rest, from_ms, to_ms, rows)
        except (DataError, EdgeError) as error:
            if str(error) not in self._done.notes:
                self._done.notes.append(str(error))
            if isinstance(error, EdgeError):
                self._done.error = str(error)
            return None
        self._done.requests += 1
        self._done.refused += bad
        return found

    async def _confirm(self, spans: list[tuple[int, int]]) -> None:
        old_ms = self._source.now_ms - CONFIRMED_MS
        sure = [(from_ms, min(to_ms, old_ms)) for from_ms, to_ms in spans if from_ms < min(to_ms, old_ms)]
        await asyncio.to_thread(self._manifest.confirm_absent, self._series, sure)

    async def _sum_up(self) -> None:
        held, done = await self._held(), self._done
        done.rows = held.rows(self._from_ms, self._to_ms)
        done.missing = self._candles(self._lacking(held, self._from_ms, self._to_ms))
        done.absent = self._candles(stored.holes(held.opens, self._interval, self._from_ms, self._to_ms)) - done.missing
        if not done.rows and not done.notes:
            done.notes.append("the exchange has no candles then")
            done.error = (
                done.notes[-1] if self._source.history is None else None
            )  # REST can tell, a lack of files cannot
        elif not done.rows:
            done.error = done.error or done.notes[-1]
        elif not done.missing:
            done.error = None

    def _candles(self, spans: list[tuple[int, int]]) -> int:
        return sum(len(self._interval.opens(*span, np.array(span[:1]))) for span in spans)

    def _lacking(self, held: _Held, from_ms: int, to_ms: int) -> list[tuple[int, int]]:
        return stored.without(stored.holes(held.opens, self._interval, from_ms, to_ms), held.absent)

    async def _held(self) -> _Held:
        return await asyncio.to_thread(self._read_held)

    def _read_held(self) -> _Held:
        verified = (done for done in self._manifest.imports(self._series) if not done.name.startswith(LOCAL))
        imports = {done.name: done for done in verified}
        return _Held(stored.opens(self._folder), self._manifest.absent(self._series), imports)


def _frame(rows: list[Row]) -> pl.DataFrame:
    names = (*frames.KNOWN, "quote_volume", "trades", "taker_buy")
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    columns["taker_buy_base"] = columns.pop("taker_buy")
    return frames.normal(pl.DataFrame({"open_time": [row.open_ms for row in rows], **columns}))
