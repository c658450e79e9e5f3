"""`tapewatch run`: watch the exchange until told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tapewatch import __version__
from tapewatch.cli.setup import ConfigOption, configuration

if TYPE_CHECKING:
    from tapewatch.config import Config
    from tapewatch.live.host import ServeHealth
    from tapewatch.live.reload import Reload
    from tapewatch.live.roles import Role

RoleOption = Annotated[
    Literal["all", "scanner", "positions", "relay"],
    typer.Option(help="What of a run this process does; roles in processes of their own meet in the ledger."),
]

#: How often Python looks for garbage, as it comes; the start of a command does without.
USUAL_COLLECTIONS = (700, 10, 10)
#: So long what is left of the output may take at the end.
STUCK_S = 5.0


def run(
    config: ConfigOption = None,
    role: RoleOption = "all",
) -> None:
    """Watch the exchange live, until SIGTERM or Ctrl-C; a changed configuration is taken up meanwhile, or by SIGHUP.

    Example: tapewatch run -c tapewatch.yaml
    """
    from tapewatch.live.files import FileWatch
    from tapewatch.live.reload import Reload, log_settings
    from tapewatch.live.roles import apart
    from tapewatch.telemetry import LogSetup, get_logger

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something that could be reloaded
    files = FileWatch()
    loaded = configuration(config, files.note)
    logs = LogSetup(secrets=loaded.secret_values(), **log_settings(apart(loaded, role).logging))
    log = get_logger("cli")
    for warning in loaded.warnings:
        log.warning("configuration", text=warning)
    reload = Reload(lambda note: configuration(config, note), files, logs)
    try:
        asyncio.run(_live(loaded, role, reload))
    finally:
        logs.close()
    leave_stuck_output()


async def _live(config: Config, role: Role, reload: Reload) -> None:
    from tapewatch.live.host import wall_ms
    from tapewatch.live.manager import attended
    from tapewatch.live.shell import Live
    from tapewatch.telemetry import get_logger

    log = get_logger("cli")
    running = Live(config, health_server, role=role, reload=reload)
    loop = asyncio.get_running_loop()
    async with attended(running.health, wall_ms) as herald:
        if herald is not None:
            reload.begins, reload.ends = herald.reloading, herald.reloaded

        def stop() -> None:
            if herald is not None:
                herald.stopping()
            running.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        loop.add_signal_handler(signal.SIGHUP, running.reload)
        log.info("started", version=__version__, role=role, ledger=config.ledger.url)
        gc.freeze()  # what a run is made of stays; what it makes from here on is looked after as usual
        gc.set_threshold(*USUAL_COLLECTIONS)
        await running.run()
    log.info("stopped")


def leave_stuck_output(within_s: float = STUCK_S) -> None:
    """End the process where stdout takes nothing any more, as nobody reads it: closing it would wait for ever.

    What a console channel could not print is still in the ledger.
    """

    def flush() -> None:
        with suppress(OSError):  # the end of the command says it
            sys.stdout.flush()

    flushing = Thread(target=flush, daemon=True)
    flushing.start()
    flushing.join(within_s)
    if flushing.is_alive():
        os._exit(0)


def health_server() -> ServeHealth:
    """What serves the health paths, loaded when it is asked for."""
    from tapewatch.web.server import serve

    return serve
