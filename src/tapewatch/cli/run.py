"""`tapewatch run`: watch the exchange until told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

from tapewatch import __version__
from tapewatch.cli.setup import ConfigOption, configuration

if TYPE_CHECKING:
    from tapewatch.live.shell import ServeHealth

#: How often Python looks for garbage, as it comes; the start of a command does without.
USUAL_COLLECTIONS = (700, 10, 10)
#: So long what is left of the output may take at the end.
STUCK_S = 5.0


def run(
    config: ConfigOption = None,
) -> None:
    """Watch the exchange live, until SIGTERM or Ctrl-C.

    Example: tapewatch run -c tapewatch.yaml
    """
    from tapewatch.live.manager import attended
    from tapewatch.live.shell import Live, wall_ms
    from tapewatch.telemetry import LogSetup, get_logger

    loaded = configuration(config)
    settings = loaded.logging
    logs = LogSetup(
        level=settings.level,
        form=settings.format,
        levels={str(name): level for name, level in settings.levels.items()},
        file=settings.file,
        keep=settings.keep,
        max_bytes=settings.max_bytes,
        secrets=loaded.secret_values(),
    )
    log = get_logger("cli")
    for warning in loaded.warnings:
        log.warning("configuration", text=warning)

    async def live() -> None:
        running = Live(loaded, health_server)
        loop = asyncio.get_running_loop()
        async with attended(running.health, wall_ms) as stopping:

            def stop() -> None:
                stopping()
                running.stop()

            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop)
            log.info("started", version=__version__, ledger=loaded.ledger.url)
            gc.freeze()  # what a run is made of stays; what it makes from here on is looked after as usual
            gc.set_threshold(*USUAL_COLLECTIONS)
            await running.run()
        log.info("stopped")

    try:
        asyncio.run(live())
    finally:
        logs.close()
    leave_stuck_output()


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
