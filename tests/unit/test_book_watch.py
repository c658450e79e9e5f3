"""Metrics, health, log and the operator of a paper account: from what is stored, across restarts."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from book_samples import DAY_MS, SIGNAL_ID, account, day, fill, paused, position
from delivery_samples import CLOSE_MS, VENUE
from tapewatch.cli.status import lines as lines_of
from tapewatch.cli.status import summary
from tapewatch.config.alerts import Operator
from tapewatch.live.bookwatch import BookWatch
from tapewatch.live.operator import OperatorDesk
from tapewatch.model import BookFailed, EntriesResumed, trace_id
from tapewatch.store import Ledger, Notice, Step
from tapewatch.telemetry import LogSetup
from tapewatch.telemetry.document import health_document
from tapewatch.telemetry.document import summary as figures
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics


class Rig:
    """A watch with everything it tells."""

    def __init__(self) -> None:
        self.metrics, self.health = Metrics(), Health(0, ["BTCUSDT"])
        self.notices: list[Notice] = []
        desk = OperatorDesk(Operator(channels=["out"]), lambda step: self.notices.extend(step.notices), lambda: 1)
        self.watch = BookWatch(self.metrics, self.health, desk)

    def figures(self) -> dict[str, float]:
        """The metrics of paper trading by name and labels."""
        lines = generate_latest(self.metrics.registry).decode().splitlines()
        ours = (line.rsplit(" ", 1) for line in lines if line.startswith("tapewatch_paper") and "_created" not in line)
        return {name.removeprefix("tapewatch_paper_"): float(value) for name, value in ours}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    yield opened
    opened.close()


PAUSED = account(paused_until_ms=DAY_MS + 86_400_000, paused_why="daily loss of 3.20%")


def test_it_shows_what_is_open_and_what_it_is_worth(ledger: Ledger) -> None:
    """Fills by reason, positions by side, the equity, and the day's net since the day before ended."""
    rig = Rig()
    rig.watch.start(ledger, VENUE)
    assert rig.health.parts["paper"]() == {
        "open": 0, "long": 0, "short": 0, "equity": None, "day_net": None, "paused_until_ms": None, "paused_why": None
    }  # fmt: skip
    short, skipped = position(trade_id="2", side="short"), position("skipped", trade_id="3", reason="x")
    rig.watch.take([day(equity=Decimal(9_999)), fill(), position(), short, skipped, PAUSED])
    assert rig.figures() == {
        'positions{side="long"}': 1, 'positions{side="short"}': 1, "equity_quote": 10000.1947, "paused": 1,
        'fills_total{reason="entry"}': 1, 'skipped_total{reason="x"}': 1,
    }  # fmt: skip
    assert rig.watch.state() == {
        "open": 2, "long": 1, "short": 1, "equity": "10000.1947", "day_net": "1.1947",
        "paused_until_ms": DAY_MS + 86_400_000, "paused_why": "daily loss of 3.20%",
    }  # fmt: skip
    rig.watch.take([fill(1), fill(2), position("closed"), account(open=1)])
    found = rig.figures()
    assert (found['positions{side="long"}'], found["paused"], found['fills_total{reason="target"}']) == (0, 0, 2)


def test_a_start_shows_what_was_stored(ledger: Ledger) -> None:
    """Before the first bar has come; of other venues nothing."""
    ledger.commit_step(Step(VENUE, [position(), position("closed", trade_id="c"), day(equity=Decimal(9_000)), PAUSED]))
    rig = Rig()
    rig.watch.start(ledger, VENUE)
    assert rig.watch.state() == {
        "open": 1, "long": 1, "short": 0, "equity": "10000.1947", "day_net": "1000.1947",
        "paused_until_ms": DAY_MS + 86_400_000, "paused_why": "daily loss of 3.20%",
    }  # fmt: skip
    assert (rig.figures()["equity_quote"], rig.figures()["paused"]) == (10000.1947, 1)
    other = Rig()
    other.watch.start(ledger, "elsewhere")
    assert (other.watch.state()["open"], other.watch.state()["equity"]) == (0, None)


def test_health_and_status_show_it(ledger: Ledger) -> None:
    """Only where there is an account."""
    without, rig = Rig(), Rig()
    assert "paper" not in health_document(without.health, 1, 1)
    assert figures(without.health, 1, 1)["positions"] is None
    assert summary(health_document(without.health, 1, 1))["paper"] is None

    rig.watch.start(ledger, VENUE)
    assert paper_line(rig) == "paper     0 open (0 long, 0 short), nothing traded yet"
    rig.watch.take([position(), PAUSED])
    assert figures(rig.health, 1, 1)["positions"] == 1
    assert figures(rig.health, 1, 1)["equity"] == "10000.1947"
    assert paper_line(rig) == (
        "paper     1 open (1 long, 0 short), equity 10,000.19, +0.19 today, "
        "entries paused until 2025-05-21 00:00 UTC: daily loss of 3.20%"
    )


def paper_line(rig: Rig) -> str:
    """Of `status`."""
    rig.health.parts["universe"] = lambda: {"watched": 1, "eligible": 1, "left_out": {}}
    found = summary(health_document(rig.health, 1, 1))
    assert found["signals"] == {"long": 0, "short": 0}
    (line,) = (line for line in lines_of(found) if line.startswith("paper"))
    return line


def test_the_log_has_each_event_with_its_trace() -> None:
    """Fills with their money exactly; pauses, skipped signals, failures."""
    stream, rig = io.StringIO(), Rig()
    logs = LogSetup(form="json", stream=stream)
    try:
        rig.watch.take([fill(), position(), position("skipped", reason="a position was open")])
        rig.watch.take([paused(), EntriesResumed(1, 2), BookFailed("BTCUSDT", "scalp", 5, "KeyError: 'x'", "Trace")])
    finally:
        logs.close()
    lines: list[dict[str, Any]] = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("paper_fill", "info"), ("paper_skipped", "info"), ("paper_paused", "warning"), ("paper_resumed", "info"),
        ("paper_failed", "error"),
    ]  # fmt: skip
    assert {line["component"] for line in lines} == {"live"}
    assert lines[-1]["stack"] == "Trace"
    assert {line["trace_id"] for line in lines if line["trace_id"]} == {trace_id(SIGNAL_ID)}
    assert lines[0]["data"] == {
        "strategy": "scalp", "side": "long", "trade_id": SIGNAL_ID, "number": 0, "reason": "entry", "price": "67020",
        "quantity": "0.015", "gross": "0", "fee": "1.0053", "late": False,
    }  # fmt: skip
    assert lines[2]["data"] == {
        "why": "daily_loss", "since_ms": CLOSE_MS, "until_ms": DAY_MS + 86_400_000
    }  # fmt: skip


def test_the_operator_is_told_of_a_position_that_raised() -> None:
    """Once a while, as of a strategy's step."""
    rig = Rig()
    for _ in range(3):
        rig.watch.take([BookFailed("BTCUSDT", "scalp", 5, "KeyError: 'x'")])
    assert rig.figures()['failures_total{strategy="scalp"}'] == 3
    [notice] = rig.notices
    assert notice.subject == "[tapewatch] The paper position of scalp on BTCUSDT could not be worked out"
    assert "KeyError: 'x'" in notice.text
