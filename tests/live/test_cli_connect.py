"""`check --connect` against real servers on loopback, good and bad ones."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from aiohttp import web
from check_exchange import clock, config_of, exchange
from typer.testing import CliRunner

from mail_server import HOST, Authority, Mailbox, mail_server, scripted_server
from tapewatch.cli.finding import Finding
from tapewatch.cli.probes import connect
from tapewatch.cli.setup import check
from tapewatch.config import Config, load


async def tried(config: Config, what: str) -> Finding:
    """The first finding of this kind."""
    return next(finding for finding in await connect(config) if finding.check == what)


async def test_exchange_with_a_right_clock(tmp_path: Path) -> None:
    """A reachable exchange passes with latency and the difference of the clocks."""
    async with exchange(clock()) as address:
        found = await tried(config_of(tmp_path, address), "exchange")
    assert found.status == "pass"
    assert found.latency_ms is not None
    assert found.clock_skew_ms is not None
    assert abs(found.clock_skew_ms) < 500


@pytest.mark.parametrize(("ahead_ms", "word"), [(60_000, "behind"), (-60_000, "ahead of")])
async def test_exchange_with_a_skewed_clock(tmp_path: Path, ahead_ms: int, word: str) -> None:
    """A clock that is a minute off is a warning that says in which direction."""
    async with exchange(clock(ahead_ms)) as address:
        found = await tried(config_of(tmp_path, address), "exchange")
    assert found.status == "warn"
    assert found.clock_skew_ms == pytest.approx(ahead_ms, abs=500)
    assert f"{word} the exchange's" in (found.detail or "")


async def test_simulator_has_a_clock_of_its_own(tmp_path: Path) -> None:
    """A simulator's time is not compared with ours."""
    async with exchange(clock(-(10**10), **{"X-Tapewatch-Rate": "600.0"})) as address:
        found = await tried(config_of(tmp_path, address), "exchange")
    assert (found.status, found.clock_skew_ms) == ("pass", None)


@pytest.mark.parametrize(
    ("response", "says"),
    [
        ({"status": 451, "text": "no"}, "answered 451"),
        ({"text": "<html>"}, "malformed"),
        ({"text": "{}"}, "no serverTime"),
        ({"text": "[]"}, "no serverTime"),
        ({"text": "", "headers": {"X-Hang": "1"}}, "no answer within 0.5 s"),
    ],
)
async def test_exchange_that_is_none(tmp_path: Path, response: dict[str, Any], says: str) -> None:
    """Another status, another kind of answer, and none at all fail in words."""
    async with exchange(lambda: web.Response(**response)) as address:
        within = "500ms" if "headers" in response else "20s"
        found = await tried(config_of(tmp_path, address, within=within), "exchange")
    assert found.status == "fail"
    assert says in (found.detail or "")


async def test_exchange_that_is_not_there(tmp_path: Path) -> None:
    """A refused connection and a certificate file that cannot be read fail in words."""
    found = await tried(config_of(tmp_path), "exchange")
    assert (found.status, found.target) == ("fail", "http://127.0.0.1:1")
    assert "Cannot connect" in (found.detail or "")
    config = config_of(tmp_path)
    config = config.model_copy(update={"exchange": config.exchange.model_copy(update={"ca_file": tmp_path / "no.pem"})})
    assert "exchange.ca_file" in ((await tried(config, "exchange")).detail or "")


MAIL = "type: email, host: 127.0.0.1, sender: a@example.com, recipients: [b@example.com], timeout: 500ms"


def mail_config(folder: Path, port: int, more: str) -> Config:
    """A configuration with one mail channel."""
    return config_of(folder, more=f"channels: {{mail: {{{MAIL}, port: {port}, {more}}}}}")


@pytest.mark.parametrize("tls", ["implicit", "starttls", "none"])
async def test_mail_server_that_works(tmp_path: Path, tls: str) -> None:
    """Each kind of encryption is tried up to the login, and no mail is sent."""
    box, authority = Mailbox(), Authority(tmp_path)
    context = authority.server_context(HOST)
    kinds = {"implicit": {"implicit": context}, "starttls": {"starttls": context}, "none": {}}
    user = "" if tls == "none" else f"user: ann, password: '${{PW}}', ca_file: {authority.file}, "
    async with mail_server(box, **kinds[tls]) as port:
        found = await tried(mail_config(tmp_path, port, f"{user}tls: {tls}"), "channel")
    assert found.status == "pass", found
    assert ("logged in as ann" in (found.detail or "")) is (tls != "none")
    assert box.mails == []


async def test_mail_server_that_refuses(tmp_path: Path) -> None:
    """A wrong password and an unknown certificate fail in words without the password."""
    box, authority = Mailbox(), Authority(tmp_path)
    async with mail_server(box, starttls=authority.server_context(HOST)) as port:
        login = f"tls: starttls, user: ann, password: '${{WRONG}}', ca_file: {authority.file}"
        wrong = await tried(mail_config(tmp_path, port, login), "channel")
        distrusted = await tried(mail_config(tmp_path, port, "tls: starttls"), "channel")
    assert (wrong.status, distrusted.status) == ("fail", "fail")
    assert "535" in (wrong.detail or "")
    assert "correct-horse-42" not in str(wrong)
    assert "certificate" in (distrusted.detail or "").lower()


async def test_password_that_is_repeated_is_masked(tmp_path: Path) -> None:
    """A server that repeats the password in its answer does not get it onto the screen."""
    hello = {"EHLO": "250-mail.example.com\r\n250 AUTH PLAIN", "AUTH": "535 not correct-horse-42\r\n"}
    async with scripted_server(hello) as port:
        found = await tried(mail_config(tmp_path, port, "tls: none, user: ann, password: '${WRONG}'"), "channel")
    assert found.status == "fail"
    assert "not ***" in (found.detail or "")


async def test_mail_server_that_hangs(tmp_path: Path) -> None:
    """A server that says nothing fails after the channel's time-out, one that is not there at once."""
    async with scripted_server({"hello": None}) as port:
        hanging = await tried(mail_config(tmp_path, port, "tls: none"), "channel")
    absent = await tried(mail_config(tmp_path, 1, "tls: none"), "channel")
    unreadable = await tried(mail_config(tmp_path, 1, "ca_file: no.pem"), "channel")
    assert (hanging.status, absent.status, unreadable.status) == ("fail", "fail", "fail")
    assert f"ca_file: {tmp_path}/no.pem" in (unreadable.detail or "")


async def test_files_and_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that can be written or made pass, folders and full disks fail."""
    (tmp_path / "there.jsonl").touch()
    more = (
        "channels: {new: {type: file, path: a/b.jsonl}, old: {type: file, path: there.jsonl}, "
        "dir: {type: file, path: .}, out: {type: console}}\nlogging: {file: there.jsonl/x.log}"
    )
    config = config_of(tmp_path, more=more)
    found = await connect(config)
    channels = {str(finding.target): finding.status for finding in found if finding.check == "channel"}
    assert channels == {"new (file)": "pass", "old (file)": "pass", "dir (file)": "fail", "out (console)": "pass"}
    assert next(finding for finding in found if finding.check == "log file").status == "fail"
    assert next(finding for finding in found if finding.check == "ledger").detail == "will be made"
    for free, status in ((10**7, "fail"), (5 * 10**8, "warn"), (10**12, "pass")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _path, free=free: Usage(free))
        assert (await tried(config, "disk")).status == status


class Usage:
    """What `shutil.disk_usage` says."""

    def __init__(self, free: int) -> None:
        self.free = free


async def test_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or folder this user may not write fails."""
    (tmp_path / "there.jsonl").touch()
    more = "channels: {new: {type: file, path: b.jsonl}, old: {type: file, path: there.jsonl}}"
    config = config_of(tmp_path, more=more)
    monkeypatch.setattr(os, "access", lambda *_args: False)
    found = [finding for finding in await connect(config) if finding.check in {"channel", "ledger"}]
    assert [finding.status for finding in found] == ["fail", "fail", "fail"]


async def test_folders_of_journal_and_archive(tmp_path: Path) -> None:
    """They are made by a run, or must be folders that can be written; without a record there is no archive."""
    config = config_of(tmp_path)
    assert [(await tried(config, name)).detail for name in ("journal", "archive")] == ["will be made"] * 2
    config.journal_folder.touch()
    assert (await tried(config, "journal")).status == "fail"
    config.archive_folder.mkdir()
    assert (await tried(config, "archive")).detail == "can be written"
    without = config_of(tmp_path, more="channels: {}\narchive: {record: false}")
    assert "archive" not in {finding.check for finding in await connect(without)}


async def test_ledger_in_use_and_broken(tmp_path: Path) -> None:
    """A ledger that is there is tried by a write lock; one that is no database fails."""
    import sqlite3

    config = config_of(tmp_path)
    path = tmp_path / "tapewatch.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    assert (await tried(config, "ledger")).status == "pass"
    path.write_bytes(b"no database at all" * 100)
    assert (await tried(config, "ledger")).status == "fail"


async def test_command_fails_when_something_does(tmp_path: Path) -> None:
    """The command prints what was tried as JSON lines and exits 1 when something failed, 0 when nothing did."""
    app = typer.Typer()
    app.command()(check)
    async with exchange(clock()) as address:
        config_of(tmp_path, address)
        arguments = ["-c", str(tmp_path / "t.yaml"), "--connect", "--json"]
        good = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    bad = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert (good.exit_code, bad.exit_code) == (0, 1)
    lines = [json.loads(line) for line in bad.stdout.splitlines()]
    assert {"check": "exchange", "status": "fail"}.items() <= next(
        line for line in lines if "Cannot" in str(line)
    ).items()


def ccxt_config(folder: Path, address: str, name: str = "binance") -> Config:
    """A configuration for an exchange of ccxt that is here."""
    path = folder / "t.yaml"
    path.write_text(
        f'exchange: {{ccxt: {{id: {name}, urls: {{api: {{public: "http://{address}/api/v3"}}}}}}}}\n'
        "universe: {include: [BTC/USDT]}\nstrategies: {scalp: {}}\nfeeds: {request_timeout: 500ms}\n",
        encoding="utf-8",
    )
    return load([path], {})


async def test_exchange_of_ccxt(tmp_path: Path) -> None:
    """It is asked through the library: latency and clock, a simulated one's not."""
    async with exchange(clock(60_000)) as address:
        found = await tried(ccxt_config(tmp_path, address), "exchange")
    assert (found.status, found.target) == ("warn", "binance (ccxt)")
    assert found.clock_skew_ms == pytest.approx(60_000, abs=500)
    assert found.latency_ms is not None
    async with exchange(clock(-(10**10), **{"X-Tapewatch-Rate": "600.0"})) as address:
        found = await tried(ccxt_config(tmp_path, address), "exchange")
    assert (found.status, found.clock_skew_ms) == ("pass", None)


@pytest.mark.parametrize(
    "response",
    [{"status": 451, "text": "no"}, {"text": "<html>"}, {"text": "{}"}, {"text": "", "headers": {"X-Hang": "1"}}],
)
async def test_exchange_of_ccxt_that_is_none(tmp_path: Path, response: dict[str, Any]) -> None:
    """What is no exchange fails within its time-out, in one line."""
    async with exchange(lambda: web.Response(**response)) as address:
        found = await tried(ccxt_config(tmp_path, address), "exchange")
    assert found.status == "fail"
    assert found.detail
    assert "\n" not in found.detail


@pytest.mark.parametrize(
    ("name", "strategies", "says"),
    [
        ("krakn", "{scalp: {}}", "did you mean 'kraken'"),
        ("mercado", "{scalp: {}}", "mercado has no candles of 1m"),
        ("kraken", "{scalp: {timeframes: [1m, 3m], higher: {1m: 3m, 3m: 1h}}}", "kraken has no candles of 3m"),
        ("kraken", "{scalp: {}}", None),
    ],
)
def test_check_knows_what_ccxt_lacks(tmp_path: Path, name: str, strategies: str, says: str | None) -> None:
    """An exchange the library does not know, or without candles that are needed, is a mistake like any other."""
    path = tmp_path / "t.yaml"
    path.write_text(f"exchange: {{ccxt: {name}}}\nuniverse: {{include: [BTC/USDT]}}\nstrategies: {strategies}\n")
    app = typer.Typer()
    app.command()(check)
    done = CliRunner().invoke(app, ["-c", str(path)])
    assert done.exit_code == (0 if says is None else 2), done.output
    assert says is None or says in done.output
    if says is None:
        assert "kraken through ccxt's kraken" in done.output
