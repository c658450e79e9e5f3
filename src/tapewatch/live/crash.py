"""What the operator is told of an error that ends the run: what, where, and what was last in the log."""

from __future__ import annotations

import asyncio
import traceback
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

from tapewatch.errors import TapewatchError
from tapewatch.live.operator import OperatorDesk
from tapewatch.live.relay import Relay
from tapewatch.store import Ledger
from tapewatch.telemetry.log import get_logger, recent_lines

_log = get_logger("live")

#: The last alert of a run is given this long to be delivered.
DELIVER_S = 10.0

#: The package's folder: frames outside of it say little.
_HOME = Path(__file__).parents[1]


async def last_words(
    error: BaseException, desk: OperatorDesk, ledger: Ledger, executor: Executor, relay: Relay | None
) -> None:
    """Store an alert to the operator, and give a relay that works a moment for it; else the next start delivers."""
    text = words_of(error)
    _log.critical("crash", error=str(error), exc_info=error)
    step = desk.last_words("crash", "tapewatch stopped after an unexpected error", text)
    if step is not None:
        loop = asyncio.get_running_loop()
        with suppress(TapewatchError):
            await loop.run_in_executor(executor, ledger.commit_step, step)
            if relay is not None:
                relay.wake()
                await relay.drained(DELIVER_S)


def words_of(error: BaseException) -> str:
    """The error, the calls of this program that led to it, and the log's last lines, which hold no secrets."""
    said = "".join(traceback.format_exception_only(error)).strip()
    return "\n".join([said, *_calls(error), "The log's last lines:", *recent_lines()])


def _calls(error: BaseException) -> list[str]:
    """`in live/pipeline.py: run > _step > _process (line 12)`; a line for each part, the outermost first."""
    found: list[tuple[str, list[str], int | None]] = []
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if not path.is_relative_to(_HOME):
            continue
        part = path.relative_to(_HOME).as_posix()
        if not found or found[-1][0] != part:
            found.append((part, [], None))
        found[-1] = (part, [*found[-1][1], frame.name], frame.lineno)
    return [f"in {part}: {' > '.join(names)} (line {line})" for part, names, line in found]
