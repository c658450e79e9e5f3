"""`run` when its own parts fail: a strategy's step, the pipeline, a channel."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from mail_server import HOST, Authority, Mailbox, mail_server, scripted_server
from run_harness import (
    HOUR_MS,
    TO_FILE,
    configure,
    deliveries,
    easy,
    eventually,
    fetch,
    health_url,
    lines_of,
    notices,
    query,
    running,
    simulated,
    stored_signals,
    undelivered,
)

START_MS = 1_748_822_400_000
SYNTHETIC = ("--synthetic", "3", "--speed", "60000")

#: One step of `scalp` on 1m of ETHUSDT raises, on the third live bar.
BROKEN_STEP = """
from tapewatch.engine import engine
signals, live = engine.Engine._signals, []
def broken(self, series, frame, runner, bar, recv_ms):
    if bar.symbol == "ETHUSDT" and bar.interval_ms == 60_000 and bar.open_ms >= %d:
        live.append(bar)
        if len(live) == 3: raise ArithmeticError("no such number")
    return signals(self, series, frame, runner, bar, recv_ms)
engine.Engine._signals = broken
""" % (START_MS + 60_000)  # noqa: UP031 - braces mean something in a program

#: The engine itself fails on a live bar.
BROKEN_ENGINE = """
from tapewatch.engine import Engine
from tapewatch.model import BarClosed
process = Engine.process
def broken(self, event):
    if isinstance(event, BarClosed): raise RuntimeError("cannot be")
    return process(self, event)
Engine.process = broken
"""

#: The relay fails, so nothing can be delivered any more in this run.
BROKEN_RELAY = """
from tapewatch.live.lane import Lane
async def broken(self, message_id): raise RuntimeError("cannot be")
Lane._deliver = broken
"""


def last_open_ms(folder: Path, symbol: str) -> int:
    """The last stored base bar of a symbol."""
    found = query(folder, f"SELECT last_open_ms FROM series WHERE interval_ms = 60000 AND symbol = '{symbol}'")
    return (found[0][0] if found else 0) or 0


def test_a_strategy_step_that_raises_is_contained_and_told_at_once(tmp_path: Path) -> None:
    """The operator learns symbol, strategy and error; the other symbol and the next bars go on."""
    with simulated(tmp_path, *SYNTHETIC, "--symbols", "BTCUSDT,ETHUSDT") as exchange:
        configure(tmp_path, exchange, ["BTCUSDT", "ETHUSDT"], strategies=easy(), alerts=TO_FILE)
        with running(tmp_path, program=BROKEN_STEP) as run:
            for symbol in ("BTCUSDT", "ETHUSDT"):
                eventually(lambda symbol=symbol: last_open_ms(tmp_path, symbol) > START_MS + 3 * HOUR_MS)
            eventually(lambda: notices(tmp_path))
            assert run.stop() == 0, run.log
    (notice,) = notices(tmp_path)
    assert notice["subject"] == "[tapewatch] Strategy scalp failed on ETHUSDT"
    assert "ArithmeticError: no such number" in notice["text"]
    assert any(
        one["symbol"] == "ETHUSDT" and one["timeframe"] == "1m" and one["close_ms"] > START_MS + HOUR_MS
        for one in stored_signals(tmp_path)
    )


def test_an_engine_that_fails_ends_the_run_and_the_operator_is_told(tmp_path: Path) -> None:
    """The exit code is not 0, and the alert was delivered before the end."""
    with simulated(tmp_path, *SYNTHETIC, "--symbols", "BTCUSDT") as exchange:
        configure(tmp_path, exchange, ["BTCUSDT"], alerts=TO_FILE)
        with running(tmp_path, program=BROKEN_ENGINE) as run:
            assert run.wait() == 1
            assert run.gone
    (notice,) = notices(tmp_path)
    assert notice["subject"] == "[tapewatch] tapewatch stopped after an unexpected error"
    what, *where = notice["text"].splitlines()
    assert what == "RuntimeError: cannot be"
    assert any(line.startswith("in live/pipeline.py: run > _step > _process (line ") for line in where)
    assert any("[live] engine_starts_fresh" in line for line in where)


def test_a_relay_that_fails_ends_the_run_and_the_next_one_delivers(tmp_path: Path) -> None:
    """What was stored is not lost: alerts, and the one that says why the run ended."""
    with simulated(tmp_path, *SYNTHETIC, "--symbols", "BTCUSDT") as exchange:
        configure(tmp_path, exchange, ["BTCUSDT"], strategies=easy(), alerts=TO_FILE)
        with running(tmp_path, program=BROKEN_RELAY) as run:
            assert run.wait() == 1
        assert undelivered(tmp_path) >= 2
        assert not lines_of(tmp_path / "alerts.jsonl")
        with running(tmp_path, "next") as run:
            eventually(lambda: not undelivered(tmp_path) and notices(tmp_path))
            assert run.stop() == 0, run.log
    assert "RuntimeError: cannot be" in notices(tmp_path)[0]["text"]
    assert deliveries(tmp_path)


@pytest.mark.slow
async def test_mail_servers_of_every_kind_delay_nobody_else(tmp_path: Path) -> None:
    """Accepted, put off and then accepted, rejected, hanging, refusing, not who it says: each ends as it must."""
    good, grey, rejecting = Mailbox(), Mailbox(), Mailbox()
    grey.to_data.append("451 greylisted, come back later")
    rejecting.to_recipient["ann@example.com"] = ["550 no such user"] * 9
    authority, stranger = Authority(tmp_path), Authority((tmp_path / "x").mkdir() or tmp_path / "x")
    (tmp_path / "plants.yaml").write_text(
        "{quiet: true, plants: [{side: long, symbol: BTCUSDT, at: 2025-06-02T01:30Z}]}\n"
    )
    with socket.socket() as nobody:
        nobody.bind((HOST, 0))
        async with (
            mail_server(good, starttls=authority.server_context()) as good_port,
            mail_server(grey, implicit=authority.server_context()) as grey_port,
            mail_server(rejecting, starttls=authority.server_context()) as rejecting_port,
            mail_server(Mailbox(), implicit=stranger.server_context()) as stranger_port,
            scripted_server({"hello": None}) as hanging_port,
        ):
            mail = {
                "type": "email", "host": HOST, "sender": "tape@example.com", "recipients": ["ann@example.com"],
                "ca_file": str(authority.file), "timeout": "1s",
            }  # fmt: skip
            channels = {
                "good": {**mail, "port": good_port},
                "grey": {**mail, "port": grey_port, "tls": "implicit"},
                "rejecting": {**mail, "port": rejecting_port},
                "stranger": {**mail, "port": stranger_port, "tls": "implicit"},
                "hanging": {**mail, "port": hanging_port, "tls": "implicit"},
                "refusing": {**mail, "port": nobody.getsockname()[1]},
                "out": {"type": "file", "path": "alerts.jsonl"},
            }
            options = ("--synthetic", "7", "--symbols", "BTCUSDT", "--plants", str(tmp_path / "plants.yaml"))
            with simulated(tmp_path, *options, "--speed", "60000") as exchange:
                alerts = {"routes": [{"channels": list(channels)}]}
                configure(tmp_path, exchange, ["BTCUSDT"], channels=channels, alerts=alerts)
                with running(tmp_path) as run:
                    await asyncio.to_thread(
                        eventually, lambda: {"grey", "good", "out"} <= set(states(tmp_path, "sent"))
                    )
                    await asyncio.to_thread(eventually, lambda: attempts(tmp_path, "hanging") >= 2)
                    document = json.loads(fetch(f"{health_url(run)}/health")[1])
                    assert await asyncio.to_thread(run.stop, within_s=20.0) == 0, run.log
    assert states(tmp_path, "dead") == ["rejecting"]
    assert states(tmp_path, "queued") == ["hanging", "refusing", "stranger"]
    assert len(good.mails) == len(grey.mails) == 1
    assert good.mails[0]["Subject"].startswith("[BTC SCALP] LONG Signal - 1m")
    assert good.over_tls == grey.over_tls == [True]
    for box in (good, grey):  # the chart of the alert's own candles, in its page
        [picture] = [part for part in box.mails[0].walk() if part.get_content_type() == "image/png"]
        assert picture["Content-ID"] == "<chart>"
        assert picture.get_content().startswith(b"\x89PNG")
    assert attempts(tmp_path, "grey") == 2
    assert attempts(tmp_path, "good") == attempts(tmp_path, "rejecting") == 1
    assert 0 < document["checks"]["email:successRate"][0]["observedValue"] < 100


def test_a_template_that_fails_delays_no_alert_and_is_told_of(tmp_path: Path) -> None:
    """The built-in one is used in its place, and the operator hears of it once."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "signal.txt").write_text("{{ signal.nothing }}", encoding="utf-8")
    (tmp_path / "own" / "signal.subject").write_text("{{ base }} {{ side }}", encoding="utf-8")
    channels = {name: {"type": "file", "path": f"{name}.jsonl"} for name in ("out", "operator")}
    alerts = {"routes": [{"channels": ["out"]}], "templates": "own", "operator": {"channels": ["operator"]}}
    with simulated(tmp_path, "--synthetic", "1", "--symbols", "BTCUSDT,ETHUSDT", "--speed", "60000") as exchange:
        configure(tmp_path, exchange, ["BTCUSDT", "ETHUSDT"], channels=channels, alerts=alerts)
        with running(tmp_path) as run:
            eventually(lambda: len(lines_of(tmp_path / "out.jsonl")) > 2 and lines_of(tmp_path / "operator.jsonl"))
            assert run.stop() == 0, run.log

    sent = lines_of(tmp_path / "out.jsonl")
    assert all(line["subject"].split()[1:] in (["LONG"], ["SHORT"]) for line in sent)
    assert all(line["text"].startswith("Type: ") for line in sent)
    told = [line for line in lines_of(tmp_path / "operator.jsonl") if "template" in line["subject"]]
    assert len(told) == 1
    assert "signal.txt" in told[0]["text"]


def states(folder: Path, state: str) -> list[str]:
    """The channels of the messages in a state."""
    return [row[0] for row in query(folder, f"SELECT channel FROM messages WHERE state = '{state}' ORDER BY channel")]


def attempts(folder: Path, channel: str) -> int:
    """How often a channel's only message was tried."""
    return sum(row[0] for row in query(folder, f"SELECT attempts FROM messages WHERE channel = '{channel}'"))
