"""`tapewatch alerts`: what was raised and how its delivery went, a test of a channel, and another try."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from tapewatch.cli import options
from tapewatch.cli.alert_channels import list_channels
from tapewatch.cli.preview import preview
from tapewatch.cli.score import score
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption
from tapewatch.errors import EdgeError, NoLedgerError, SetupError

if TYPE_CHECKING:
    from tapewatch.channels import Channel
    from tapewatch.config import Config
    from tapewatch.store import Ledger, Outbox

app = typer.Typer(help="Alerts and their delivery.\n\nExample: tapewatch alerts ls", no_args_is_help=True)

app.command("channels")(list_channels)
app.command()(preview)
app.command()(score)

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
    if not found and not as_json:
        sys.stderr.write(
            f"tapewatch: no alert {'was raised so far' if state is None else f'has a message that is {state}'}\n"
        )


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
                named = f" ({alert['subject']})" if alert["kind"] == "digest" else ""
                said = f"{message['message_id']}{named}: {message['last_error']} ({tries})"
                sys.stdout.write(f"{options.iso(alert['created_ms'])}  {said}\n")
    if not found and not as_json:
        sys.stderr.write("tapewatch: no message was given up\n")


@app.command()
def resend(
    identity: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="A message's id, an alert's for all its messages, or a channel's name for all."
        ),
    ],
    config: ConfigOption = None,
) -> None:
    """Queue messages that were given up; a run delivers them, to those who do not have them yet.

    An alert in a digest is resent with all of that. A channel that is disabled is tried again.

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
    ends = tuple(f"@{name}" for name in _load(config).channels)
    if not all(message_id.endswith(ends) for message_id in queued):
        sys.stderr.write("tapewatch: some are for a channel that is not configured; they wait until it is\n")


@app.command("test")
def try_channel(
    channel: Annotated[str | None, typer.Argument(help="The channel's name in the configuration.")] = None,
    config: ConfigOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every channel, one after the other.")] = False,
) -> None:
    """Send a message through a channel now, once, and say what happened.

    It keeps to the channel's limit, as does the run that is on; quiet hours and holds do not stop it.

    Example: tapewatch alerts test mail -c tapewatch.yaml
    """
    from tapewatch.channels import build

    if every == (channel is not None):
        raise SetupError("alerts test needs the name of a channel, or --all")
    loaded = _load(config)
    channels = loaded.channels
    if channel is not None and channel not in channels:
        raise SetupError(f"there is no channel {channel!r}; channels are: {', '.join(channels) or 'none'}")
    names = list(channels) if channel is None else [channel]
    with _outbox(loaded) as outbox:
        delivered = [_tried(build(name, channels[name]), loaded, outbox) for name in names]
    if not all(delivered):
        raise typer.Exit(1)


def _tried(channel: Channel, loaded: Config, outbox: Outbox | None) -> bool:
    import asyncio

    from tapewatch.live.pace import rules_of
    from tapewatch.live.telling import writer_of
    from tapewatch.live.trial import send_test

    def waits(seconds: float) -> None:
        sys.stderr.write(f"tapewatch: {channel.name}: waits {seconds:.0f} s, for its limit\n")

    started, rules, writer = time.monotonic(), rules_of(loaded)[channel.name], writer_of(loaded)
    try:
        asyncio.run(send_test(channel, rules, writer, outbox, lambda: time.time_ns() // 1_000_000, waits))
    except EdgeError as error:
        sys.stderr.write(f"tapewatch: {channel.name}: not delivered: {error}\n")
        return False
    sys.stdout.write(f"{channel.name}: delivered in {time.monotonic() - started:.2f} s\n")
    return True


@contextmanager
def _outbox(loaded: Config) -> Iterator[Outbox | None]:
    """The outbox of the configuration's ledger, None where no run has made that yet."""
    from tapewatch.store import Ledger

    try:
        ledger = Ledger.open(loaded.ledger.address, create=False)
    except NoLedgerError:
        yield None
        return
    with closing(ledger):
        yield ledger.outbox


@app.command()
def schema() -> None:
    """Print the JSON Schema of what a webhook gets.

    Example: tapewatch alerts schema > webhook.schema.json
    """
    import json

    from tapewatch.channels.webhook import schema as written

    sys.stdout.write(json.dumps(written(), indent=2) + "\n")


def _load(config: list[Path] | None) -> Any:
    from tapewatch.config import load

    return load(config or DEFAULT_PATHS, os.environ)


@contextmanager
def _ledger(config: list[Path] | None) -> Iterator[Ledger]:
    from tapewatch.store import Ledger

    ledger = Ledger.open(_load(config).ledger.address, create=False)
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
    inside = f" in {message['digest_id']}" if message["digest_id"] else ""
    instead = f" for {message['fallback_of'].rpartition('@')[2]}" if message["fallback_of"] else ""
    why = f" ({message['last_error']})" if message["last_error"] else ""
    return f"{message['state']}{inside}{instead}{tried}{repeat}{why}"
