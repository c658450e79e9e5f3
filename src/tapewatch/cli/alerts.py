"""`tapewatch alerts`: what was raised and how its delivery went, a test of a channel, and another try."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from tapewatch.cli import options
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption
from tapewatch.errors import EdgeError, SetupError

if TYPE_CHECKING:
    from tapewatch.channels import Outgoing
    from tapewatch.store import Ledger

app = typer.Typer(help="Alerts and their delivery.\n\nExample: tapewatch alerts ls", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON line each.")]


@app.command("ls")
def list_alerts(
    config: ConfigOption = None,
    as_json: AsJson = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest so many.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those with a message in this state, as sent or dead.")] = None,
) -> None:
    """List alerts, oldest first, with the state of their messages.

    Example: tapewatch alerts ls --limit 20
    """
    from tapewatch.store import MessageState

    known: tuple[MessageState, ...] = get_args(MessageState)
    chosen = next((name for name in known if name == state), None)
    if state is not None and chosen is None:
        raise SetupError(f"--state: {state!r} is none of {', '.join(known)}")
    with _ledger(config) as ledger:
        found = ledger.alerts(limit=limit, state=chosen)
    for alert in found:
        if as_json:
            options.print_json(alert)
        else:
            sys.stdout.write(_line(alert))


@app.command()
def dead(config: ConfigOption = None, as_json: AsJson = False) -> None:
    """List the messages that were given up, and why.

    Example: tapewatch alerts dead
    """
    with _ledger(config) as ledger:
        found = ledger.alerts(state="dead")
    for alert in found:
        for message in alert["messages"]:
            if message["state"] != "dead":
                continue
            if as_json:
                options.print_json({"alert_id": alert["alert_id"], **message})
            else:
                tries = options.counted(message["attempts"], "attempt")
                said = f"{message['message_id']}: {message['last_error']} ({tries})"
                sys.stdout.write(f"{options.iso(alert['created_ms'])}  {said}\n")


@app.command()
def resend(
    identity: Annotated[str, typer.Argument(metavar="ID", help="A message's id, or an alert's for all its messages.")],
    config: ConfigOption = None,
) -> None:
    """Queue messages that were given up; a run delivers them, to those who do not have them yet.

    Example: tapewatch alerts resend binance_spot/BTCUSDT/1m/1747750020000
    """
    with _ledger(config) as ledger:
        queued = ledger.outbox.resend(identity, time.time_ns() // 1_000_000)
    if not queued:
        sys.stderr.write(
            f"tapewatch: no message that was given up has the id {identity}; see `tapewatch alerts dead`\n"
        )
        raise typer.Exit(1)
    for message_id in queued:
        sys.stdout.write(f"queued {message_id}\n")


@app.command("test")
def try_channel(
    channel: Annotated[str, typer.Argument(help="The channel's name in the configuration.")],
    config: ConfigOption = None,
) -> None:
    """Send a message through one channel now, once, and say what happened.

    Example: tapewatch alerts test mail -c tapewatch.yaml
    """
    import asyncio

    from tapewatch.channels import build

    channels = _load(config).channels
    if channel not in channels:
        raise SetupError(f"there is no channel {channel!r}; channels are: {', '.join(channels) or 'none'}")
    built = build(channel, channels[channel])
    started = time.monotonic()
    try:
        asyncio.run(built.send(_test_message(channel)))
    except EdgeError as error:
        sys.stderr.write(f"tapewatch: {channel}: not delivered: {error}\n")
        raise typer.Exit(1) from None
    sys.stdout.write(f"{channel}: delivered in {time.monotonic() - started:.2f} s\n")


def _test_message(channel: str) -> Outgoing:
    from tapewatch.channels import Outgoing
    from tapewatch.channels.render import render_notice

    now_ms = time.time_ns() // 1_000_000
    written = render_notice("[tapewatch] Test message", f"Alerts sent through the channel {channel} arrive here.")
    return Outgoing(
        message_id=f"test/{now_ms}@{channel}",
        alert_id=f"test/{now_ms}",
        kind="test",
        subject=written.subject,
        text=written.text,
        html=written.html,
        signal=None,
        created_ms=now_ms,
        sent_ms=now_ms,
    )


def _load(config: list[Path] | None) -> Any:
    from tapewatch.config import load

    return load(config or DEFAULT_PATHS, os.environ)


@contextmanager
def _ledger(config: list[Path] | None) -> Iterator[Ledger]:
    from tapewatch.store import Ledger

    ledger = Ledger.open(_load(config).ledger.url, create=False)
    try:
        yield ledger
    finally:
        ledger.close()


def _line(alert: dict[str, Any]) -> str:
    messages = ", ".join(f"{message['channel']} {_state(message)}" for message in alert["messages"]) or "no messages"
    kind = f"  {alert['kind']}" if alert["kind"] != "signal" else ""
    subject = f"  {alert['subject']}" if alert["subject"] else ""
    return f"{options.iso(alert['created_ms'])}  {alert['alert_id']}{kind}{subject}: {messages}\n"


def _state(message: dict[str, Any]) -> str:
    tried = f" after {message['attempts']} attempts" if message["attempts"] > 1 else ""
    repeat = ", possible repeat" if message["possible_repeat"] else ""
    why = f" ({message['last_error']})" if message["last_error"] else ""
    return f"{message['state']}{tried}{repeat}{why}"
