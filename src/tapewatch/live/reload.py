"""A changed configuration, taken up by a run that goes on: by SIGHUP, or as soon as its files have changed.

It is read and tried in a thread. One with a mistake changes nothing, and the operator is told; of any other that is
taken up which can be, and the rest waits for a start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tapewatch import __version__
from tapewatch.config import Config
from tapewatch.config.schema import Logging
from tapewatch.errors import ConfigError, SetupError
from tapewatch.live.changes import Applied, Change, changes
from tapewatch.live.feeds import check_exchange
from tapewatch.live.files import FileWatch
from tapewatch.live.host import Host, wall_ms
from tapewatch.live.insisting import insisted
from tapewatch.live.prepared import Prepared
from tapewatch.live.roles import RIGHTS, apart
from tapewatch.strategies import undone_on_failure
from tapewatch.telemetry import LogSetup, get_logger
from tapewatch.telemetry.logfile import LineFile

_log = get_logger("config")

#: How often files are looked at.
LOOK_S = 2.0
#: What is known of a trouble with the configuration.
REFUSED = "configuration"
WAITS = "configuration_restart"


@dataclass
class Reload:
    """How a run comes to a changed configuration.

    Attributes:
        load: the configuration as its files are now; calls what it is given with each of them before it is read.
        files: those that were read last.
        logs: is set anew, where there is one.
        begins, ends: called before and after each time that it is read.
    """

    load: Callable[[Callable[[Path], object]], Config]
    files: FileWatch
    logs: LogSetup | None = None
    begins: Callable[[], object] = lambda: None
    ends: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class _Found:
    """A configuration that can work: as it was read, and what of it is taken up."""

    config: Config
    applied: Applied
    prepared: Prepared


class Reloader:
    """Takes up changed configurations of one process.

    Args:
        reload: see there.
        host: of the process.
        whole: the configuration that it began with, of all roles.
        first: what the process made of it.
        prepare: makes all that there is of one of its role. Raises SetupError.
        take_up: goes on with it; is told which sections have changed. Raises SetupError, and has changed nothing then.
    """

    def __init__(
        self,
        reload: Reload,
        host: Host,
        whole: Config,
        first: Prepared,
        prepare: Callable[[Config], Prepared],
        take_up: Callable[[Prepared, Collection[str]], None],
    ) -> None:
        self._reload, self._host = reload, host
        self._prepare, self._take_up = prepare, take_up
        self._applied, self._prepared = Applied(whole), first
        self._asked = asyncio.Event()
        self._since_ms = wall_ms()
        self._waiting: Sequence[str] = ()
        self._problems: Sequence[str] = ()
        host.health.parts["configuration"] = self.state

    def ask(self) -> None:
        """Read the files now, whether they have changed or not."""
        self._asked.set()

    def state(self) -> dict[str, Any]:
        """As the health document shows it: since when this one is in force, what waits for a start, what is wrong."""
        return {
            "since_ms": self._since_ms,
            "needs_restart": list(self._waiting),
            "problems": list(self._problems),
        }

    async def run(self) -> None:
        """Follow the files until cancelled."""
        while True:
            if await self._due():
                await self._turn()

    async def _due(self) -> bool:
        try:
            async with asyncio.timeout(LOOK_S):
                await self._asked.wait()
        except TimeoutError:
            return await asyncio.to_thread(self._reload.files.settled)
        self._asked.clear()
        return True

    async def _turn(self) -> None:
        self._reload.begins()
        before = self._applied
        try:
            found = await asyncio.to_thread(self._found)
            applied = self._applied_now(found)
        except ConfigError as error:
            self._refuse(error.problems)
        except SetupError as error:
            self._refuse([str(error)])
        else:
            self._problems = ()
            self._host.operator.over(REFUSED, "It can be used.")
            self._say_what_waits(changes(found.applied, Applied(found.config)))
            if applied:  # last, for a ledger in trouble is waited for
                await self._keep(before, found.applied)
        finally:
            self._reload.ends()

    def _found(self) -> _Found:
        """What the files say, tried out; called in a thread. Raises SetupError."""
        self._reload.files.begin()
        with undone_on_failure():
            try:
                config = self._reload.load(self._reload.files.note)
                logs = self._reload.logs
                if logs is not None:  # before anything of it can be logged
                    logs.mask(config.secret_values())
                applied = self._applied.followed_by(config)
                prepared = self._prepare(apart(applied.config, self._host.role))
                check_exchange(prepared.config, prepared.strategies)
                if logs is not None and prepared.config.logging != self._prepared.config.logging:
                    _check_file(prepared.config.logging)
            except SetupError:
                raise
            except Exception as error:  # a file can be wrong in ways that nobody thought of
                _log.exception("configuration_broken")
                raise SetupError(f"it cannot be read: {type(error).__name__}: {error}") from None
        for warning in config.warnings:
            _log.warning("configuration", text=warning)
        return _Found(config, applied, prepared)

    def _applied_now(self, found: _Found) -> bool:
        """Take it up; whether anything of it is new. Raises SetupError."""
        new, before = found.prepared, self._prepared
        told = [*map(str, changes(self._applied, found.applied)), *_contents(before, new)]
        if not told:
            _log.debug("configuration_unchanged")
            return False
        sections = {text.partition(".")[0].partition(":")[0].partition("[")[0] for text in told}
        self._take_up(new, sections)
        if self._reload.logs is not None and "logging" in sections:
            self._reload.logs.change(**log_settings(new.config.logging))
        self._applied, self._prepared, self._since_ms = found.applied, new, wall_ms()
        _log.info("configuration_applied", changes=told)
        return True

    def _refuse(self, problems: Sequence[str]) -> None:
        """The one before stays as it is."""
        self._host.health.errors.add(wall_ms())
        self._problems = problems
        _log.error("configuration_refused", problems=problems)
        text = "\n".join([*problems, "Nothing has changed. It is read again as soon as a file of it is another."])
        self._host.operator.trouble(REFUSED, "The changed configuration cannot be used", text)

    def _say_what_waits(self, waiting: Sequence[Change]) -> None:
        """Once, until it is something else."""
        keys = [change.key for change in waiting]
        if keys == list(self._waiting):
            return
        self._waiting = keys
        if keys:
            _log.warning("configuration_needs_restart", changes=[str(change) for change in waiting])
            text = "\n".join(
                [*map(str, waiting), "It goes on with what it began with, and takes these up at its next start."]
            )
            self._host.operator.alert(WAITS, "A change of the configuration waits for a restart", text, "low")
        else:
            _log.info("configuration_needs_no_restart")

    async def _keep(self, before: Applied, applied: Applied) -> None:
        """In the ledger: that the one before was in force until now, and that this one is."""
        host, table, now_ms = self._host, self._host.ledger.configurations, self._since_ms

        def store() -> None:
            for one in (before, applied):
                table.applied(one.document, __version__, now_ms)

        if "scanner" in RIGHTS[host.role]:  # of several processes one does it
            await insisted(store, host.executor, host.reporter.ledger_trouble)


def _contents(before: Prepared, after: Prepared) -> list[str]:
    """What has changed in files that the configuration only names."""
    told = [
        f"strategies.{name}.file: other contents"
        for name, mapping in after.mappings.items()
        if before.config.strategies.get(name) == after.config.strategies[name] and before.mappings[name] != mapping
    ]
    if before.config.alerts.templates == after.config.alerts.templates and before.templates != after.templates:
        told.append("alerts.templates: other contents")
    models = [[scoring.model.document for scoring in one.makeup.scorings] for one in (before, after)]
    if before.config.gate.score == after.config.gate.score and models[0] != models[1]:
        told.append("gate.score: other contents")
    return told


def log_settings(logging: Logging) -> dict[str, Any]:
    """What `LogSetup` is given of a configuration."""
    return {
        "level": logging.level,
        "form": logging.format,
        "levels": {str(name): level for name, level in logging.levels.items()},
        "file": logging.file,
        "keep": logging.keep,
        "max_bytes": logging.max_bytes,
    }


def _check_file(logging: Logging) -> None:
    """Raises SetupError where it cannot be written."""
    if logging.file is not None:
        LineFile(logging.file, logging.keep, logging.max_bytes).close()
