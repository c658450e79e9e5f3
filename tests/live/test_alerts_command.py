from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from book_samples import SIGNAL_ID, fill, position
from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from mail_server import HOST, Mailbox, mail_server, scripted_server
from tapewatch.cli.alerts import app
from tapewatch.config.alerts import Route
from tapewatch.errors import SetupError
from tapewatch.live.digest import digest_of
from tapewatch.live.telling import Teller
from tapewatch.store import ChannelState, Ledger, Step

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
        ledger.outbox.take(f"binance_spot/{name}USDT/1m/{CLOSE_MS}@out", CLOSE_MS)
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
        "fallback_of",
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

    first = run(["resend", DEAD], config)
    assert (first.stdout, first.stderr) == (f"queued {DEAD}@out\n", "")
    again = run(["resend", DEAD], config)
    assert again.exit_code == 1
    assert "no message that was given up has the id" in again.stderr
    assert run(["dead"], config).stdout == ""


def test_who_sends_again_to_a_channel_that_is_gone_is_told(config: Path, ledger_url: str) -> None:
    """A message is queued for a channel that the configuration does not have any more, and the command says so."""
    config.write_text(config.read_text().replace("{out:", "{new:").replace("[out]", "[new]"))
    result = run(["resend", DEAD], config)
    assert result.stdout == f"queued {DEAD}@out\n"
    assert "not configured" in result.stderr


def test_without_a_ledger_there_is_nothing_to_list(config: Path) -> None:
    """Listing does not make a ledger, it says that there is none."""
    with pytest.raises(SetupError, match="does not exist"):
        run(["ls"], config)


def test_nothing_to_list_is_said(config: Path) -> None:
    """To people, on stderr; what machines read stays empty."""
    Ledger.open(f"sqlite:///{config.parent}/tape.db").close()
    said = {
        ("ls",): "no alert was raised so far",
        ("ls", "--state", "queued"): "no alert has a message that is queued",
        ("dead",): "no message was given up",
    }
    for arguments, text in said.items():
        result = run(arguments, config)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"tapewatch: {text}\n")
        assert run([*arguments, "--json"], config).output == ""
    config.write_text(config.read_text().replace("channels: {out", "#").replace("alerts: {r", "#"))
    assert run(["channels"], config).stderr == "tapewatch: no channel is configured\n"


def test_a_test_message_goes_through_the_channel(config: Path) -> None:
    """The file has a message of kind test, and the command says that it was delivered."""
    result = run(["test", "out"], config)

    assert result.exit_code == 0
    assert result.stdout.startswith("out: delivered in ")
    line = json.loads((config.parent / "alerts.jsonl").read_text())
    assert (line["kind"], line["signal"], line["subject"]) == ("test", None, "[tapewatch] Test message")


def test_a_test_message_is_noted_where_there_is_a_ledger(config: Path, ledger_url: str) -> None:
    """`alerts ls` shows it; without a ledger none is made for it."""
    assert run(["test", "out"], config).exit_code == 0
    line = json.loads(run(["ls", "--json", "--limit", "1"], config).stdout)
    assert (line["kind"], line["messages"][0]["state"], line["messages"][0]["attempts"]) == ("test", "sent", 1)
    (config.parent / "tape.db").unlink()
    assert run(["test", "out"], config).exit_code == 0
    assert not (config.parent / "tape.db").exists()


def test_a_test_message_is_written_as_alerts_are(config: Path) -> None:
    """By the user's own template where there is one."""
    (config.parent / "own").mkdir()
    (config.parent / "own" / "test.subject").write_text("My {{ kind }}", encoding="utf-8")
    config.write_text(config.read_text("utf-8").replace("alerts: {", "alerts: {templates: own, "), encoding="utf-8")

    assert run(["test", "out"], config).exit_code == 0
    assert json.loads((config.parent / "alerts.jsonl").read_text())["subject"] == "My test"


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


def test_every_channel_can_be_tried_at_once(config: Path) -> None:
    """With --all each is; one that fails does not stop the others; a name with --all, or neither, is misuse."""
    config.write_text(config.read_text().replace("channels: {", "channels: {no: {type: file, path: /proc/x/y}, "))
    result = run(["test", "--all"], config)
    assert result.exit_code == 1
    assert "no: not delivered: " in result.stderr
    assert "out: delivered in " in result.stdout
    for arguments in (["test"], ["test", "out", "--all"]):
        with pytest.raises(SetupError, match="the name of a channel, or --all"):
            run(arguments, config)


def test_channels_are_listed_with_how_they_stand(config: Path, ledger_url: str) -> None:
    """Held until when and why, disabled, in use; what waits, is dead, and was delivered today."""
    now_ms = time.time_ns() // 1_000_000
    ledger = Ledger.open(ledger_url)
    ledger.outbox.take(f"binance_spot/CUSDT/1m/{CLOSE_MS}@out", now_ms)
    held = ChannelState("out", "held", now_ms + 600_000, 4, "no connection", now_ms)
    ledger.outbox.mark_failed(f"binance_spot/CUSDT/1m/{CLOSE_MS}@out", now_ms, "gone", next_ms=now_ms, channel=held)
    [line] = [json.loads(line) for line in run(["channels", "--json"], config).stdout.splitlines()]
    assert line == {
        "channel": "out", "type": "file", "state": "held", "until_ms": now_ms + 600_000, "reason": "no connection",
        "queued": 1, "oldest_ms": CLOSE_MS, "dead": 1, "sent_today": 0,
    }  # fmt: skip
    assert " held until 20" in (text := run(["channels"], config).stdout)
    assert "(no connection): 1 waiting since 2025-05-20 14:07, 1 dead, 0 sent today" in text

    ledger.outbox.take(f"binance_spot/CUSDT/1m/{CLOSE_MS}@out", now_ms)
    ledger.outbox.mark_sent(f"binance_spot/CUSDT/1m/{CLOSE_MS}@out", now_ms, channel=ChannelState("out"))
    ledger.close()
    assert run(["channels"], config).stdout == "out              file      ok: 0 waiting, 1 dead, 1 sent today\n"


def test_digests_and_stand_ins_are_shown_for_what_they_are(config: Path, ledger_url: str) -> None:
    """An alert says which digest names it and which channel stood in; a dead digest says how many it names."""
    ledger = Ledger.open(ledger_url)
    ledger.commit_step(step_of(alert_of(signal("DUSDT"))))
    due = ledger.outbox.waiting("out", CLOSE_MS, 5)
    digest, message = digest_of("out", due, "too many.", CLOSE_MS + 1)
    assert ledger.outbox.fold(digest, message, [one.message_id for one in due])
    ledger.outbox.take(message.message_id, CLOSE_MS)
    ledger.outbox.mark_failed(message.message_id, CLOSE_MS, "too long", next_ms=None, chains={"out": ["mail"]})
    ledger.close()

    listed = run(["ls"], config).stdout
    assert f"/CUSDT/1m/{CLOSE_MS}: mail queued for out, out digested in {digest.alert_id}\n" in listed
    assert f"{digest.alert_id}  digest  2 alerts: out dead (too long)\n" in listed
    assert f"{message.message_id} (2 alerts): too long (1 attempt)\n" in run(["dead"], config).stdout
    assert run(["resend", f"binance_spot/DUSDT/1m/{CLOSE_MS}"], config).stdout == f"queued {message.message_id}\n"
    assert run(["resend", "out"], config).stdout == f"queued {DEAD}@out\n"
