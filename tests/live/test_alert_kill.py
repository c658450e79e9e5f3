"""A run killed at each numbered step between a bar and its delivered alert: nothing lost, nothing doubled (B4).

The program that is put before the command's own counts the steps of the first alert that this process meets: every
write of the journal and every transaction of the ledger, the channel's calls, and on its way out each write to a
socket or a file: before each, and for one channel after each too, though to everybody else that is as before the next.
It ends itself with SIGKILL at the step it is told.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from channel_servers import SERVICES, Discord, JsonService, Telegram, Webhook
from mail_server import HOST, Mailbox, mail_server
from run_harness import (
    archive,
    configure,
    deliveries,
    eventually,
    json_lines,
    query,
    running,
    series_of,
    simulated,
    stored_signals,
    undelivered,
)
from tapewatch.channels.view import REPEAT
from tapewatch.model import MINUTE_MS

SYMBOL = "BTCUSDT"
#: Fires on about every third bar.
OFTEN = {
    "timeframes": ["5m"],
    "higher": {"5m": "15m"},
    "long": {"up": "close > highest(close, 3)[1]"},
    "stop": "1.5 * atr(14)",
    "targets": [{"at": "1.0 * atr(14)", "share": "100%"}],
    "duplicate": {"window": "1m", "move": "0%"},
}
#: Put before the command's own program.
DIE = """
import aiohttp, asyncio.selector_events, contextvars, http.client, os, signal, sqlalchemy
from tapewatch.channels import console, file
from tapewatch.live import lane
from tapewatch.live.recorder import Recorder
from tapewatch.model import Alert
from tapewatch.store import Ledger, Outbox
from tapewatch.store.journal import Journal

alert, taken, mine = [], [], contextvars.ContextVar("mine", default=False)
count = 0

def step(name):
    global count
    count += 1
    if count == {number}:
        os.write(2, f"killed at {{count}}: {{name}}\\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

def around(owner, name, counts):
    inner = getattr(owner, name)
    def outer(*args, **options):
        if not counts(*args, **options):
            return inner(*args, **options)
        step(f"before {{name}}")
        mark = mine.set(True)
        found = inner(*args, **options)
        mine.reset(mark)
        if {early} or name == "mark_sent":
            step(f"after {{name}}")
        return found
    setattr(owner, name, outer)

def stored(recorder, stepped, events, **options):
    if not alert:
        alert.extend(one.alert_id for one in stepped.effects if isinstance(one, Alert))
    return {early} and any(isinstance(one, Alert) and one.alert_id == alert[0] for one in stepped.effects)

def of_message(outbox, message_id, *args, **options):
    return bool(alert) and message_id.startswith(alert[0] + "@")

around(Recorder, "store", stored)
around(Journal, "append", lambda *args, **options: mine.get())
around(Ledger, "commit_step", lambda *args, **options: mine.get())
for name in ("take", "mark_sent"):
    around(Outbox, name, of_message)

@sqlalchemy.event.listens_for(sqlalchemy.Engine, "commit")
def committing(connection):
    if mine.get():
        step("inside the transaction")

attempted = lane.Lane._attempt
async def attempt(self, due, *args):
    if not of_message(None, due.message.message_id):
        return await attempted(self, due, *args)
    step("before the channel")
    mark = mine.set(True)
    found = await attempted(self, due, *args)
    mine.reset(mark)
    return found
lane.Lane._attempt = attempt

writes = 0
def sending(*args, **options):
    # A conversation by SMTP has six; of the parts of a picture the later ones are like the first.
    global writes
    writes += mine.get()
    return mine.get() and writes <= 7

around(asyncio.selector_events._SelectorSocketTransport, "write", sending)
around(asyncio.selector_events._SelectorSocketTransport, "writelines", sending)
around(http.client.HTTPConnection, "send", sending)
around(http.client.HTTPConnection, "getresponse", lambda *args, **options: mine.get())

started = aiohttp.ClientResponse.start
async def start(self, *args):
    if not mine.get():
        return await started(self, *args)
    step("before the answer")
    return await started(self, *args)
aiohttp.ClientResponse.start = start

class Os:
    def __getattr__(self, name):
        return getattr(os, name)
files = Os()
for name in ("write", "fsync"):
    setattr(files, name, getattr(os, name))
    around(files, name, sending)
file.os = files
"""


class Receivers:
    """A mail server and services on loopback, in a thread; what each got, in order, as text."""

    def __init__(self) -> None:
        self.box = Mailbox()
        self.services = {name: make() for name, make in SERVICES.items()}
        self.mail_port = 0
        self._ready, self._done = threading.Event(), asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with mail_server(self.box) as self.mail_port:
            stack = [service.running() for service in self.services.values()]
            for one in stack:
                await one.__aenter__()
            self._ready.set()
            await self._done.wait()
            for one in stack:
                await one.__aexit__(None, None, None)

    @contextmanager
    def running(self) -> Iterator[Receivers]:
        """While they listen."""
        thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        thread.start()
        try:
            assert self._ready.wait(60)
            yield self
        finally:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._done.set)
            thread.join(20)

    def section(self, folder: Path, name: str) -> dict[str, Any]:
        """The channel's section; its secrets are in files of the folder."""

        def secret(text: str) -> str:
            path = folder / "secret"
            path.write_text(text)
            path.chmod(0o600)
            return str(path)

        if name == "console":
            return {"type": "console"}
        if name == "file":
            return {"type": "file", "path": "alerts.jsonl"}
        if name == "email":
            addresses = {"sender": "tape@example.com", "recipients": ["ann@example.com"]}
            return {
                "type": "email",
                "host": HOST,
                "port": self.mail_port,
                "tls": "none",
                **addresses,
                "per_minute": 6000,
            }
        service, fast = self.services[name], {"per_minute": 6000}
        if name == "telegram":
            chat = {"chat_id": "-1001", "api_url": service.url}
            return {"type": name, "token_file": secret(Telegram.token), **chat, **fast}
        url = service.url.replace("http", "json") if name == "apprise" else service.url
        section = {"type": name, "url_file": secret(url + service.path), **fast}
        if name == "webhook":
            signing = folder / "signing"
            signing.write_text(Webhook.secret)
            signing.chmod(0o600)
            section["secret_file"] = str(signing)
        return section

    def texts(self, folder: Path, name: str) -> list[str]:
        """What arrived, in order."""
        if name == "file":
            return [json.dumps(line) for line in deliveries(folder)]
        if name == "console":
            outs = sorted(folder.glob("run-*.out"), key=lambda path: int(path.stem.split("-")[1]))
            return [part for out in outs for part in re.split(r"^-{60}$", out.read_text(), flags=re.MULTILINE)]
        if name == "email":
            return [part.get_content() for mail in self.box.mails if (part := mail.get_body(("plain",)))]
        service = self.services[name]
        if isinstance(service, Discord):
            return [message["embeds"][0]["description"] for message in service.messages]
        if isinstance(service, Telegram):
            return [message["shown"] for message in service.messages]
        assert isinstance(service, Webhook | JsonService)
        return [json.dumps(document) for document in service.documents]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["file", "console", "email", *SERVICES])
def test_a_kill_at_any_step_from_bar_to_delivery_loses_nothing_and_doubles_nothing_unmarked(
    tmp_path: Path, name: str
) -> None:
    """Every candidate is stored once, every alert has one message, and what comes again says that it may be one."""
    root, start_ms = archive(tmp_path, (SYMBOL,), hours=60)
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "600")
    killed: list[str] = []
    early = name == "file"  # up to the outbox all channels go the same way
    with Receivers().running() as receivers, simulated(tmp_path, *options) as exchange:
        channels = {"out": receivers.section(tmp_path, name)}
        configure(tmp_path, exchange, (SYMBOL,), strategies={"often": OFTEN}, channels=channels)
        while True:
            number, before = len(killed) + 1, len(alerts(tmp_path))
            with running(tmp_path, f"run-{number}", DIE.format(number=number, early=early), doomed=True) as run:
                eventually(
                    lambda run=run, before=before: run.code is not None or went_on(tmp_path, before), every_s=0.02
                )  # type: ignore[misc]
                if run.code is None:
                    assert run.stop() == 0, run.log
                    break
                assert run.code == -9, run.log
                killed += re.findall(r"^killed at \d+: (.*)$", run.log, re.MULTILINE)
                assert len(killed) == number, run.log
        texts = receivers.texts(tmp_path, name)
    assert {"before the channel", "before mark_sent", "inside the transaction", "after mark_sent"} <= set(killed)
    assert {"before append", "after append", "after commit_step"} <= set(killed) or not early
    _delivered_once(tmp_path, texts, kills=len(killed))
    _as_if_nothing_had_happened(tmp_path, root, start_ms)


def went_on(folder: Path, before: int) -> bool:
    """Whether more alerts are there than `before`, and delivered."""
    return len(alerts(folder)) > before + 1 and not undelivered(folder)


def alerts(folder: Path) -> list[str]:
    """The alerts of signals that are stored."""
    return [row[0] for row in query(folder, "SELECT alert_id FROM alerts WHERE kind = 'signal'")]


def _delivered_once(folder: Path, texts: list[str], kills: int) -> None:
    """Each alert has one message, which arrived; each further time it says what it is."""
    messages = query(folder, "SELECT alert_id, state FROM messages WHERE kind = 'signal'")
    assert sorted(alerts(folder)) == sorted(row[0] for row in messages)
    assert {row[1] for row in messages} <= {"sent", "late"}
    repeats = 0
    for trace in (one["trace_id"] for one in stored_signals(folder) if one["state"] == "passed"):
        mine = [text for text in texts if trace in text]
        assert mine, f"{trace} never came"
        assert all(REPEAT.partition(":")[0] in text for text in mine[1:])
        repeats += len(mine) - 1
    assert repeats <= kills


def _as_if_nothing_had_happened(folder: Path, root: Path, start_ms: int) -> None:
    """The journal replays to the ledger, and what is stored is what the archive has."""
    config = str(folder / "tapewatch.yaml")
    (result,) = json_lines("replay", "-c", config, "--verify", "--json")
    assert result["differences"] == []
    strategy = folder / "often.yaml"
    strategy.write_text(json.dumps({"often": OFTEN}))
    last_ms = [last_ms or 0 for (_, step_ms), (_, last_ms) in series_of(folder).items() if step_ms == MINUTE_MS]
    end_ms = min(last_ms) + MINUTE_MS
    found = json_lines(
        "signals", "--strategy", str(strategy), "--data", str(root), "--venue", "binance_spot", "--symbols", SYMBOL,
        "--from", str(start_ms + 1), "--to", str(end_ms + 1), "--json",
    )  # fmt: skip
    stored = [one["id"] for one in stored_signals(folder) if one["close_ms"] <= end_ms]
    assert stored == [one["id"] for one in found]
