"""What `check --connect` tries: exchange, ledger, disks, machine, every channel. Nothing is sent, nothing is left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import msgspec

from tapewatch.cli.finding import Finding
from tapewatch.cli.probe_channels import channel
from tapewatch.cli.probe_exchange import exchange
from tapewatch.cli.probe_machine import machine
from tapewatch.cli.probe_places import disks, folders, ledger, permissions
from tapewatch.config.schema import Config
from tapewatch.network import told

#: After this a trial has failed, whatever it waits for; each has shorter time-outs of its own.
LONGEST_S = 45.0
_HERE: dict[str, Callable[[Config], list[Finding]]] = {
    "ledger": ledger,
    "folder": folders,
    "disk": disks,
    "permissions": permissions,
    "machine": machine,
}


async def connect(config: Config, longest_s: float = LONGEST_S) -> list[Finding]:
    """Everything tried, each with its outcome; all at once, so that it takes as long as the slowest."""
    trials: list[tuple[str, Awaitable[list[Finding]]]] = [
        ("exchange", exchange(config)),
        *((check, _aside(partial(trial, config))) for check, trial in _HERE.items()),
        *(("channel", _one(channel(name, spec))) for name, spec in config.channels.items()),
    ]
    found = await asyncio.gather(*(_bounded(check, trial, longest_s) for check, trial in trials))
    secrets = sorted(filter(None, config.secret_values()), key=len, reverse=True)
    return [_masked(finding, secrets) for some in found for finding in some]


async def _one(trial: Awaitable[Finding]) -> list[Finding]:
    return [await trial]


async def _aside(trial: Callable[[], list[Finding]]) -> list[Finding]:
    """What waits for a disk or a server, in a thread that nobody waits for any longer than for the rest."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[list[Finding]] = loop.create_future()

    def tell(found: list[Finding] | None, error: Exception | None) -> None:
        if outcome.done():
            return
        if error is None:
            outcome.set_result(found or [])
        else:
            outcome.set_exception(error)

    def run() -> None:
        found, failed = None, None
        try:
            found = trial()
        except Exception as error:  # it is told in the loop
            failed = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, found, failed)

    threading.Thread(target=run, daemon=True).start()
    return await outcome


async def _bounded(check: str, trial: Awaitable[list[Finding]], longest_s: float) -> list[Finding]:
    """What a trial found; one that takes too long, or meets what nobody thought of, is one that failed."""
    try:
        async with asyncio.timeout(longest_s):
            return await trial
    except TimeoutError:
        return [Finding(check, "fail", detail=f"no outcome within {longest_s:g} s")]
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return [Finding(check, "fail", detail=f"{where}{error.strerror or told(error)}")]
    except Exception as error:  # a check says what it met; it has nothing to recover
        return [Finding(check, "fail", detail=f"{type(error).__name__}: {' '.join(told(error).split())}")]


def _masked(finding: Finding, secrets: list[str]) -> Finding:
    """Without what a server, a library or an address repeats of a secret."""
    return msgspec.structs.replace(
        finding, target=_without(secrets, finding.target), detail=_without(secrets, finding.detail)
    )


def _without(secrets: list[str], text: str | None) -> str | None:
    if text is None:
        return None
    for secret in secrets:
        text = text.replace(secret, "***")
    return text
