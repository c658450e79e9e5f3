from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from book_samples import SIGNAL_ID, fill, position
from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from mail_server import HOST, Mailbox, mail_server, scripted_server
from tapewatch.cli.alerts import app
from tapewatch.config.schema import Route
from tapewatch.errors import SetupError
from tapewatch.live.telling import Teller
from tapewatch.store import Ledger, Step

DEAD = f"binance_spot/AUSDT/1m/{CLOSE_MS}"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a file channel and a ledger beside it."""
    path = tmp_path / "tapewatch.yaml"
    path.write_text(
        "universe: {include: [BTCUSDT]}\n"
        "strategies: {scalp: {timeframes: [1m]}}\n"
        "channels: {out: {type: file, path: alerts.jsonl}}\n"
        "alerts: {routes: [{channels: [out]}]}\n"
        "ledger: {url: 'sqlite:///tape.db'}\n"
    )
    return path


@pytest.fixture
def ledger_url(config: Path) -> str:
    """The configuration's ledger with one alert given up, one sent and one waiting."""
    url = f"sqlite:///{config.parent}/tape.db"
    ledger = Ledger.open(url)
    ledger.commit_step(step_of(*(alert_of(signal(f"{name}USDT")) for name in "ABC")))
    for name in "AB":
        ledger.outbox.mark_sending(f"binance_spot/{name}USDT/1m/{CLOSE_MS}@out", CLOSE_MS)
    ledger.outbox.mark_failed(f"{DEAD}@out", CLOSE_MS, "550 no such user", next_ms=None)
    ledger.outbox.mark_sent(f"binance_spot/BUSDT/1m/{CLOSE_MS}@out", CLOSE_MS)
    ledger.close()
    return url


def run(arguments: Sequence[str], config: Path) -> Result:
    """The command's result; errors meant for the top come through."""
    result = CliRunner().invoke(app, [*arguments, "-c", str(config)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_list_is_made_for_machines_and_for_people(config: Path, ledger_url: str) -> None:
    """With --json a line has the pinned keys; without it says each channel's state; both can be narrowed."""
    lines = [json.loads(line) for line in run(["ls", "--json"], config).stdout.splitlines()]
    assert [line["messages"][0]["state"] for line in lines] == ["dead", "sent", "queued"]
    assert set(lines[0]) >= {"alert_id", "signal_ids", "kind", "created_ms", "messages"}
    assert set(lines[0]["messages"][0]) == {
        "message_id", "channel", "state", "attempts", "sent_ms", "possible_repeat", "digest_id", "last_error",
    }  # fmt: skip

    assert f"2025-05-20 14:07  {DEAD}: out dead (550 no such user)\n" in run(["ls"], config).stdout
    assert len(run(["ls", "--limit", "2"], config).stdout.splitlines()) == 2
    assert "BUSDT" in run(["ls", "--state", "sent"], config).stdout
    with pytest.raises(SetupError, match="--state: 'gone' is none of queued, sending, sent"):
        run(["ls", "--state", "gone"], config)


def test_the_list_says_what_an_alert_in_words_is_about(config: Path, ledger_url: str) -> None:
    """Its kind and its subject; the signal it is about in JSON."""
    ledger = Ledger.open(ledger_url)
    notices, messages = Teller(VENUE, [Route(channels=["out"])], UTC, frozenset({"exit"})).tell(
        [fill(1), position("closed")], CLOSE_MS + 600_000
    )
    ledger.commit_step(Step(VENUE, messages=messages, notices=notices))
    ledger.close()
    subject = "[BTC SCALP] LONG exit at target: +0.89 R"
    last = f"2025-05-20 14:17  {SIGNAL_ID}/exit  exit  {subject}: out queued\n"
    assert run(["ls"], config).stdout.endswith(last)
    line = json.loads(run(["ls", "--json", "--limit", "1"], config).stdout)
    assert (line["kind"], line["signal_ids"], line["subject"]) == ("exit", [SIGNAL_ID], subject)


def test_what_was_given_up_is_listed_and_queued_again(config: Path, ledger_url: str) -> None:
    """`dead` names the message and the reason, `resend` queues it once, and then there is nothing to resend."""
    [line] = run(["dead", "--json"], config).stdout.splitlines()
    assert (json.loads(line)["message_id"], json.loads(line)["last_error"]) == (f"{DEAD}@out", "550 no such user")
    assert f"{DEAD}@out: 550 no such user (1 attempt)" in run(["dead"], config).stdout

    assert run(["resend", DEAD], config).stdout == f"queued {DEAD}@out\n"
    again = run(["resend", DEAD], config)
    assert again.exit_code == 1
    assert "no message that was given up has the id" in again.stderr
    assert run(["dead"], config).stdout == ""


def test_without_a_ledger_there_is_nothing_to_list(config: Path) -> None:
    """Listing does not make a ledger, it says that there is none."""
    with pytest.raises(SetupError, match="does not exist"):
        run(["ls"], config)


def test_a_test_message_goes_through_the_channel(config: Path) -> None:
    """The file has a message of kind test, and the command says that it was delivered."""
    result = run(["test", "out"], config)

    assert result.exit_code == 0
    assert result.stdout.startswith("out: delivered in ")
    line = json.loads((config.parent / "alerts.jsonl").read_text())
    assert (line["kind"], line["signal"], line["subject"]) == ("test", None, "[tapewatch] Test message")


def test_a_channel_that_is_not_there_is_the_users_mistake(config: Path) -> None:
    """An unknown name is answered with the known ones."""
    with pytest.raises(SetupError, match="no channel 'mial'; channels are: out"):
        run(["test", "mial"], config)


async def test_what_the_mail_server_says_is_shown(config: Path) -> None:
    """A test mail arrives; a refused one ends with the server's words and exit code 1, without a traceback."""
    box = Mailbox()
    async with mail_server(box) as good, scripted_server({"RCPT": "550 nobody here"}) as bad:
        add_mail_channels(config, good=good, bad=bad)
        results = {name: await command("test", name, "-c", str(config)) for name in ("good", "bad")}

    assert [mail["Subject"] for mail in box.mails] == ["[tapewatch] Test message"]
    assert results["good"][:2] == (0, "")
    code, error, _ = results["bad"]
    assert code == 1
    assert "bad: not delivered: mail server 127.0.0.1" in error
    assert "550 nobody here" in error
    assert "Traceback" not in error


def add_mail_channels(config: Path, **ports: int) -> None:
    """Write channels to mail servers at these ports into the configuration."""
    mails = "".join(
        f", {name}: {{type: email, host: {HOST}, port: {port}, tls: none, sender: a@example.com, "
        f"recipients: [b@example.com]}}"
        for name, port in ports.items()
    )
    config.write_text(config.read_text().replace("path: alerts.jsonl}", f"path: alerts.jsonl}}{mails}"))


async def command(*arguments: str) -> tuple[int | None, str, str]:
    """Exit code, stderr and stdout of the command in a process of its own."""
    program = "from tapewatch.cli.alerts import app; app()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *arguments,
        env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, error = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, error.decode(), out.decode()
