"""The engine of a process and what it writes: journal, snapshots, and the ledger step by step."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from tapewatch.live.host import Host, wall_ms
from tapewatch.live.insisting import insisted
from tapewatch.live.makeup import Makeup, memory_of, passed_of
from tapewatch.live.pipeline import Pipeline, StepReport
from tapewatch.live.recorder import Recorder
from tapewatch.live.records import keeper_of
from tapewatch.live.recovery import Recoverer
from tapewatch.live.telling import teller_of
from tapewatch.model import FetchContext
from tapewatch.store.journal import Journal, JournalSettings


class Works:
    """Engine, journal and pipeline of one process.

    Args:
        host: of the same process.
        makeup: what the engine is made of.
        on_step: called after each commit.

    Raises:
        SetupError: another process has the journal.
        StoreError: it cannot be opened.
    """

    def __init__(self, host: Host, makeup: Makeup, on_step: Callable[[StepReport], None]) -> None:
        self._host, self.makeup = host, makeup
        settings = host.config.journal
        self._journal = Journal.open(
            host.config.journal_folder, JournalSettings(settings.segment_bytes, settings.segment_age), wall_ms
        )
        self._recorder = Recorder(self._journal, host.ledger, host.executor, settings.snapshot_every / 1000)
        #: Asks the exchange for what candidates want to know.
        self.ask: Callable[[Sequence[FetchContext]], None] = lambda _wanted: None
        self.pipeline = Pipeline(
            recorder=self._recorder,
            executor=host.executor,
            teller=teller_of(host.config),
            now_ms=wall_ms,
            on_step=on_step,
            on_trouble=host.reporter.ledger_trouble,
            on_waiting=host.reporter.waiting,
            on_ask=lambda wanted: self.ask(wanted),  # noqa: PLW0108  (it is made later)
            records=keeper_of(host.ledger, host.executor, makeup, wall_ms),
        )
        if host.onlookers is not None:
            self.pipeline.on_processed = host.onlookers.processed
            host.onlookers.engine = lambda: self.pipeline.engine if self.pipeline.started else None
        host.metrics.watch_followed(self._followed)
        host.metrics.watch_events(lambda: self.pipeline.processed, lambda: self.pipeline.waiting)

    def _followed(self) -> Mapping[str, int]:
        return self.pipeline.engine.followed() if self.pipeline.started else {}

    async def recover(self, stopping: Callable[[], bool]) -> bool:
        """Give the pipeline its engine; False when stopped meanwhile."""
        host = self._host
        recovery = await self._recoverer(self.makeup, stopping).recover()
        if recovery is None:
            return False
        self._recorder.started(recovery.begin)
        self.pipeline.resume(recovery.engine, recovery.leftover, repeated=recovery.repeated)
        if recovery.killed_ms is not None and host.config.alerts.operator.recovery:
            host.reporter.goes_on_after(wall_ms() - recovery.killed_ms)
        for key, subject, text in recovery.alerts:
            host.operator.alert(key, subject, text)
        return True

    async def renew(self, makeup: Makeup) -> None:
        """Give the pipeline a fresh engine where the makeup asks for one; it has nothing to do, and gets nothing.

        What the engine before knew comes by way of the ledger, as in a start. Cancelled, there is none to be saved.
        """
        if makeup.fingerprint == self.makeup.fingerprint:
            return
        host = self._host
        self._recorder.over()
        recoverer = self._recoverer(makeup, lambda: False)
        recovery = await insisted(recoverer.renew, host.executor, host.reporter.ledger_trouble)
        self.makeup = makeup
        self._recorder.started(recovery.begin)
        self.pipeline.replace(recovery.engine, keeper_of(host.ledger, host.executor, makeup, wall_ms))
        for key, subject, text in recovery.alerts:
            host.operator.alert(key, subject, text)

    def _recoverer(self, makeup: Makeup, stopping: Callable[[], bool]) -> Recoverer:
        ledger = self._host.ledger
        passed, memory = partial(passed_of, ledger, makeup), partial(memory_of, ledger, makeup)
        return Recoverer(self._journal, ledger, makeup, passed, stopping, memory)

    def tasks(self, caught_up: Callable[[], bool]) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What runs until everything accepted is stored, by name.

        Args:
            caught_up: whether all windows are complete.
        """
        yield "pipeline", self.pipeline.run()
        yield "recorder", self._recorder.run(caught_up)

    async def finish(self) -> None:
        """Save the state of the engine, all of whose effects are stored."""
        await self._recorder.finish(self.pipeline.engine)

    def close(self) -> None:
        """End; the host's executor is done with its work."""
        self._recorder.close()
