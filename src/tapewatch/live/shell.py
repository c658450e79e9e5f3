"""`run`: feed, engine, ledger, relay and health in one process, or a part of them in each of several, supervised.

Any part that fails unexpectedly takes the process down: the operator is told, the exit code says so, and starting again
is recovery. A stop (SIGTERM, SIGINT) finishes what was accepted: events are processed, steps committed, deliveries
under way completed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Any, TextIO

from tapewatch import __version__
from tapewatch.config import Config
from tapewatch.config.written import document
from tapewatch.errors import TapewatchError, first_of
from tapewatch.live.bringing import Bringing, needs_of
from tapewatch.live.crash import last_words
from tapewatch.live.dispatch import Dispatch, fail_with
from tapewatch.live.host import Host, ServeHealth, wall_ms
from tapewatch.live.housekeeping import Housekeeper, bounds_of, housekeeper_of
from tapewatch.live.notices import Notices
from tapewatch.live.pipeline import StepReport
from tapewatch.live.prepared import Prepared, prepared
from tapewatch.live.relay import Attempt
from tapewatch.live.reload import Reload, Reloader
from tapewatch.live.roles import Role, apart
from tapewatch.live.telling import teller_of
from tapewatch.live.works import Works
from tapewatch.store import Step
from tapewatch.telemetry import get_logger

_log = get_logger("live")

#: A task by its name.
Part = tuple[str, Coroutine[Any, Any, None]]

#: A stop waits this long for the ledger to take what was accepted.
DRAIN_S = 30.0
#: Alerts just stored are given this long to be delivered; what a channel refuses for now is for the next start.
DELIVER_S = 2.0


@dataclass
class Watchers:
    """Who else wants to know what happens: the demo counts and measures."""

    on_step: Callable[[StepReport], None] = lambda _report: None
    on_attempt: Callable[[Attempt], None] = lambda _attempt: None
    on_stages: Callable[[str, Mapping[str, float]], None] = lambda _alert_id, _stages: None


class Live:
    """One run; `health` is what is known of how it does.

    Args:
        config: what to watch and whom to tell.
        serve_health: loads and returns what serves the health paths; called after the first subscription.
        watchers: see `Watchers`.
        console: where a console channel prints; stdout unless given.
        role: what of a run this process does.
        reload: how it comes to a changed configuration; without it there is none.

    Raises:
        SetupError: strategies or channels cannot work, or another run has the ledger.
        StoreError: the ledger cannot be opened.
    """

    def __init__(
        self,
        config: Config,
        serve_health: Callable[[], ServeHealth],
        watchers: Watchers | None = None,
        console: TextIO | None = None,
        role: Role = "all",
        reload: Reload | None = None,
    ) -> None:
        whole, config = config, apart(config, role)
        self._serve_health_with = serve_health
        self._watchers = watchers or Watchers()
        self._console = console
        first = prepared(config, role, self._unwritten, console)
        self._stopping = asyncio.Event()
        self._host = host = Host(config, role, self._submit)
        self.health = host.health
        self._works: Works | None = None
        self._dispatch: Dispatch | None = None
        with ExitStack() as undone:  # a run that cannot begin leaves ledger and journal to others
            undone.callback(self._close)
            host.ledger.configurations.applied(document(whole), __version__, wall_ms())
            host.reporter.on_stages = self._watchers.on_stages
            self._notices = Notices(host.ledger, host.executor, self._wake, host.reporter.ledger_trouble)
            if role != "relay":
                self._works = Works(host, first.makeup, self._stepped)
                self._bringing = Bringing(host, self._works, needs_of(first))
            if role in {"all", "relay"}:
                self._dispatch = Dispatch(host, first.channels, first.writer, self._attempted)
            if config.paper is not None and role in {"all", "positions"}:
                host.reporter.book.start(host.ledger, config.exchange.venue)
            undone.pop_all()
        self._reloader = None if reload is None else Reloader(reload, host, whole, first, self._prepared, self._take_up)

    async def run(self) -> None:
        """Run until `stop`, then finish what was accepted. Raises what made it fail."""
        self._loop = asyncio.get_running_loop()
        async with AsyncExitStack() as closing:
            closing.callback(self._close)
            guard: list[Part] = []
            if self._dispatch is not None:
                relay = await closing.enter_async_context(self._dispatch.running())
                guard = [("relay guard", fail_with(relay))]
            try:
                await (self._deliver(guard) if self._works is None else self._work(self._works, guard))
            except BaseException as raised:
                error = first_of(raised) if isinstance(raised, BaseExceptionGroup) else raised
                if not isinstance(error, TapewatchError | asyncio.CancelledError):
                    await self._last_words(error)
                raise error from None

    async def _work(self, works: Works, guard: Sequence[Part]) -> None:
        """With an engine, whose events are brought."""
        if not await works.recover(self._stopping.is_set):
            return
        sources = self._bringing
        bringing = [
            *self._always(),
            ("sources", sources.run()),
            ("housekeeper", self._keep_house()),
        ]
        storing = [*works.tasks(lambda: sources.caught_up), ("context", sources.answer()), *guard]
        if await self._supervise(bringing, storing, works.pipeline.drained):
            await works.finish()

    async def _deliver(self, guard: Sequence[Part]) -> None:
        """Without one: what others have stored is delivered."""
        storing = [("notices", self._notices.run()), *guard]
        await self._supervise(self._always(), storing, self._notices.drained)

    def _always(self) -> Iterator[Part]:
        yield from self._host.tasks(self._serve_health_with)
        if self._reloader is not None:
            yield "reload", self._reloader.run()

    async def _supervise(
        self, bringing: Iterable[Part], storing: Iterable[Part], stored: Callable[[], Awaitable[None]]
    ) -> bool:
        """Run everything until `stop`; whether all that was brought by then was `stored` in time."""
        async with asyncio.TaskGroup() as tasks:
            first = [tasks.create_task(work, name=name) for name, work in bringing]
            last = [tasks.create_task(work, name=name) for name, work in storing]
            await self._stopping.wait()
            _log.info("stopping")
            for task in first:
                task.cancel()
            await asyncio.wait(first)
            self._host.operator.flush()
            drained = await _in_time(stored)
            if self._dispatch is not None:
                await self._dispatch.relay.drained(DELIVER_S)
            for task in last:
                task.cancel()
        return drained

    @property
    def caught_up(self) -> bool:
        """Whether every watched symbol's windows are complete."""
        return self._bringing.caught_up

    def exchange_now_ms(self) -> int:
        """The exchange's time."""
        return self._bringing.sources.feed.clock.now_ms()

    def reload(self) -> None:
        """Read the configuration again now."""
        if self._reloader is not None:
            self._reloader.ask()

    def _prepared(self, config: Config) -> Prepared:
        return prepared(config, self._host.role, self._unwritten, self._console)

    def _take_up(self, new: Prepared, sections: Collection[str]) -> None:
        """Go on with another configuration. Raises SetupError, and changes nothing, where it cannot work."""
        if self._works is not None and "universe" in sections:
            self._bringing.choose(new.config)
        self._host.change(new.config)
        if self._works is not None:
            self._works.pipeline.teller = teller_of(new.config)
            self._bringing.serve(needs_of(new))
        if self._dispatch is not None and not {"alerts", "channels"}.isdisjoint(sections):
            self._dispatch.renew(new.channels, new.writer)

    def stop(self) -> None:
        """Ask the run to end."""
        self._stopping.set()

    async def delivered(self, within_s: float) -> bool:
        """Whether everything accepted so far was stored, and delivered or given up, before `within_s` have passed."""
        if self._works is not None:
            await self._works.pipeline.drained()
        return self._dispatch is None or await self._dispatch.relay.drained(within_s)

    def _close(self) -> None:
        self._host.executor.shutdown()
        if self._works is not None:
            self._works.close()
        self._host.close()

    async def _last_words(self, error: BaseException) -> None:
        host = self._host
        relay = None if self._dispatch is None or self._dispatch.over else self._dispatch.relay
        await last_words(error, host.operator, host.ledger, host.executor, relay)

    async def _keep_house(self) -> None:
        host = self._host
        if host.role == "positions":  # the ledger is kept in order by the scanner
            await Housekeeper(bounds_of(host.config), host.watch.housekeeping).run()
        else:
            await housekeeper_of(host.config, host.ledger, wall_ms, host.watch.housekeeping).run()

    def _unwritten(self, what: str, error: str) -> None:
        """Tell the operator; called from the thread that writes messages."""
        text = f"The {what} could not be made: {error}. Alerts go out without it, by the built-in templates."
        self._loop.call_soon_threadsafe(self._host.operator.alert, f"writing/{what}", f"The {what} failed", text)

    def _submit(self, step: Step) -> None:
        """Have stored what the operator is told."""
        if self._works is None:
            self._notices.submit(step)
        else:
            self._works.pipeline.notify(step)

    def _stepped(self, report: StepReport) -> None:
        if report.messages:
            self._wake()
        self._host.reporter.stepped(report)
        if self._host.onlookers is not None:
            self._host.onlookers.stepped(report)
        self._watchers.on_step(report)

    def _wake(self) -> None:
        """Messages were stored; a relay in another process looks for itself."""
        if self._dispatch is not None:
            self._dispatch.relay.wake()

    def _attempted(self, attempt: Attempt) -> None:
        self._host.reporter.attempted(attempt)
        if self._host.onlookers is not None:
            self._host.onlookers.attempted(attempt)
        self._watchers.on_attempt(attempt)


async def _in_time(stored: Callable[[], Awaitable[None]]) -> bool:
    """Whether everything accepted was stored in time."""
    try:
        async with asyncio.timeout(DRAIN_S):
            await stored()
    except TimeoutError:
        _log.error("stopped_with_a_step_not_stored", note="the next start stores it, or fetches those bars again")
        return False
    return True
