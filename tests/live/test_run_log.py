"""What a run writes into its log: the way of each alert under one trace id, and errors with their stacks."""

from __future__ import annotations

from pathlib import Path

from run_harness import (
    UNASKED,
    configure,
    deliveries,
    easy,
    eventually,
    lines_of,
    query,
    running,
    simulated,
    stored_signals,
    undelivered,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
WAY = [("feeds", "bar"), ("engine", "signal"), ("engine", "alert"), ("channels", "delivery")]
FIELDS = {"timestamp", "level", "component", "event", "symbol", "trace_id", "data"}


def test_one_trace_id_leads_from_the_bar_to_its_delivery(tmp_path: Path) -> None:
    """Every delivered alert has its bar, signal, alert and attempts in the log, by the id of its ledger and message."""
    options = ("--synthetic", "3", "--symbols", ",".join(SYMBOLS), "--speed", "5000")
    with simulated(tmp_path, *options) as exchange:
        logging = {"format": "json", "file": "log/run.log"}
        (tmp_path / "log").mkdir()
        configure(tmp_path, exchange, SYMBOLS, strategies=easy("1m"), alerts=UNASKED, logging=logging)
        with running(tmp_path) as run:
            eventually(lambda: len(query(tmp_path, "SELECT 1 FROM messages WHERE state = 'sent'")) > 5)
            assert run.stop() == 0, run.log
    assert not undelivered(tmp_path)
    lines = lines_of(tmp_path / "log" / "run.log")
    assert lines == lines_of(run.err)
    assert all(set(line) - {"stack"} == FIELDS for line in lines)
    trace_of = {one["id"]: one["trace_id"] for one in stored_signals(tmp_path)}
    sent = deliveries(tmp_path)
    assert len(sent) > 5
    for delivered in sent:
        trace = trace_of[delivered["signal"]["id"]]
        way = [line for line in lines if line["trace_id"] == trace and line["event"] != "outcome"]
        assert [(line["component"], line["event"]) for line in way] == WAY
        assert {line["symbol"] for line in way} == {delivered["signal"]["symbol"]}
        bar, _, alert, attempt = (line["data"] for line in way)
        assert bar["close_ms"] == delivered["signal"]["close_ms"]
        assert (alert["alert_id"], alert["messages"]) == (delivered["alert_id"], 1)
        assert (attempt["message_id"], attempt["outcome"]) == (delivered["message_id"], "sent")
