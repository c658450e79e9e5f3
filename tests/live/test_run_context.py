"""A whole run that says of each alert what the market was like, whatever is wrong with those who are asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from run_harness import (
    HOUR_MS,
    Exchange,
    Line,
    Process,
    archive,
    command,
    configure,
    deliveries,
    easy,
    eventually,
    fetch,
    health_url,
    query,
    reached,
    running,
    simulated,
    stored_signals,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 1
#: Every bar has a candidate that passes.
ALWAYS = {
    "timeframes": ["1m"],
    "duplicate": {"window": "1m"},
    "long": {"always": "close > 0"},
    "stop": "0.5 * close",
    "targets": [{"at": "0.5 * close", "share": "100%"}],
}
#: No answer takes longer than half a second, and what a busy machine makes of that.
MOST_S = 1.0


@contextmanager
def played(
    folder: Path, faults: str = "", /, speed: int = 600, **sections: Any
) -> Iterator[tuple[Process, Exchange, int]]:
    """A run through an hour of two symbols at a simulated exchange with these faults; when the hour ends."""
    root, start_ms = archive(folder, SYMBOLS, hours=HOURS)
    options = ["--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", str(speed)]
    if faults:
        (folder / "faults.yaml").write_text(faults)
        options += ["--faults", str(folder / "faults.yaml")]
    with simulated(folder, *options) as exchange:
        configure(folder, exchange, SYMBOLS, **{"strategies": easy(), **sections})
        with running(folder) as run:
            yield run, exchange, start_ms + HOURS * HOUR_MS


def finished(folder: Path, run: Process, end_ms: int) -> list[Line]:
    """The signals of a run that has seen everything, each alerted if it passed; a replay finds the same."""
    eventually(lambda: reached(folder, SYMBOLS, end_ms) or run.code is not None)
    assert run.stop() == 0, run.log
    signals = stored_signals(folder)
    passed = {one["alert_id"] for one in signals if one["state"] == "passed"}
    assert {line["alert_id"] for line in deliveries(folder)} == passed
    assert len(passed) > 5
    done = command("replay", "-c", str(folder / "tapewatch.yaml"), "--verify", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return signals


def asked(signals: list[Line]) -> list[Line]:
    """What was around those signals of which the exchange was asked: not those that were blocked before."""
    around = [one["context"] for one in signals if one["state"] == "passed"]
    return [one for one in around if not any("late" in text for text in one["missing"])]


def slowest(metrics: str) -> tuple[float, float]:
    """How many answers there were about the market, and how many of them within `MOST_S`."""
    name = "tapewatch_context_seconds"
    counts = dict(re.findall(rf'^{name}_bucket{{le="([^"]+)"}} (\S+)$', metrics, re.MULTILINE))
    return float(counts["+Inf"]), float(counts[str(MOST_S)])


def books(exchange: Exchange) -> dict[str, Any]:
    """What the exchange was asked, and which of its limits were broken."""
    told: dict[str, Any] = json.loads(fetch(f"{exchange.about['rest_url']}/tapewatch/books")[1])
    return told


def test_alerts_say_what_the_market_was_like(tmp_path: Path) -> None:
    """Everything that was asked for came: numbers that fit each other, and nothing is missing."""
    with played(tmp_path) as (run, exchange, end_ms):
        signals = finished(tmp_path, run, end_ms)
        assert books(exchange)["breaches"] == []
    found = asked(signals)
    assert len(found) > 5
    whole = [one for one in found if not one["missing"]]
    assert len(whole) > 0.3 * len(found)  # a busy machine may be too late for some
    for one in whole:
        assert 0 < one["spread_bps"] < 5
        assert one["slippage_bps"] >= one["spread_bps"] / 2 - 1e-6
        assert one["slippage_quote"] == 1000
        assert -1 < one["imbalance"] < 1
        assert one["hourly_volume_quote"] > 1000
        assert abs(one["funding_rate"]) <= 0.0075
        assert one["next_funding_ms"] % (8 * HOUR_MS) == 0
    assert len({one["imbalance"] for one in whole}) > 3


HANGS = "- {kind: http_slow, at: 0s, for: 2h, delay: 1h, endpoints: [depth]}\n"
FAILS = "- {kind: http_5xx, at: 0s, for: 2h, endpoints: [depth, premiumIndex]}\n"


@pytest.mark.parametrize(
    ("faults", "missing"),
    [(HANGS, {"order book", "spread"}), (FAILS, {"order book", "spread", "funding"})],
    ids=["depth hangs", "depth and funding fail"],
)
def test_alerts_come_in_time_without_order_books(tmp_path: Path, faults: str, missing: set[str]) -> None:
    """They name what is missing; after some vain requests nobody waits, and the spread comes of quotes again."""
    with played(tmp_path, faults) as (run, exchange, end_ms):
        url = health_url(run)
        eventually(lambda: reached(tmp_path, SYMBOLS, end_ms) or run.code is not None)
        status, metrics = fetch(f"{url}/metrics")
        assert status == 200
        signals = finished(tmp_path, run, end_ms)
        told = books(exchange)
        assert told["breaches"] == []
        assert "connection_lost" not in run.log
        assert "rest_breaker" not in run.log
    answers, in_time = slowest(metrics)
    assert answers == in_time > 5
    found = asked(signals)
    assert {text for one in found for text in one["missing"]} == missing
    assert all(one["imbalance"] is None and one["slippage_bps"] is None for one in found)
    assert sum(one["spread_bps"] is not None for one in found) > 0
    assert sum(told["faults"].values()) < answers  # it was not asked each time


def test_alerts_come_in_time_where_no_futures_can_be_reached(tmp_path: Path) -> None:
    """The funding rate is missing; everything else is there."""
    with played(tmp_path) as (run, exchange, end_ms):
        run.kill()
        hosts = {key: exchange.about[key] for key in ("rest_url", "ws_url")}
        hosts["futures_url"] = "http://127.0.0.1:1"
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), exchange=hosts)
        with running(tmp_path, "second") as second:
            signals = finished(tmp_path, second, end_ms)
    found = asked(signals)
    assert {text for one in found for text in one["missing"]} == {"funding"}
    assert all(one["spread_bps"] > 0 for one in found)


def test_what_is_off_is_neither_asked_nor_told(tmp_path: Path) -> None:
    """No request for it, and no signal carries anything."""
    parts = ("spread", "depth", "volume", "funding", "regime", "correlation", "movers")
    off = {"routes": [{"channels": ["out"]}], "context": {"slippage": 0, **dict.fromkeys(parts, False)}}
    ledger = {"url": "sqlite:///tapewatch.db", "snapshots": "0m"}  # which ask for spreads too
    with played(tmp_path, alerts=off, ledger=ledger, speed=6000) as (run, exchange, end_ms):
        signals = finished(tmp_path, run, end_ms)
        paths = {one["path"] for one in books(exchange)["requests"]}
    assert not paths & {"depth", "ticker/bookTicker", "fapi/premiumIndex"}
    assert {one["context"] for one in signals} == {None}


def test_three_hundred_candidates_of_one_close_break_no_limit(tmp_path: Path) -> None:
    """Forty at most have their order book, as far as limits go; all have their alert in time, and say what lacks."""
    root, start_ms = archive(tmp_path, SYMBOLS, hours=HOURS)
    options = ("--data", str(root), "--names", "300", "--start", str(start_ms), "--speed", "30", "--at-end", "hold")
    with simulated(tmp_path, *options) as exchange:
        names = exchange.about["symbols"]
        configure(tmp_path, exchange, names, strategies={"always": ALWAYS})
        with running(tmp_path) as run:
            url = health_url(run)
            eventually(lambda: full_close(tmp_path) is not None or run.code is not None, every_s=0.5)
            close_ms = full_close(tmp_path)
            _, metrics = fetch(f"{url}/metrics")
            assert run.stop() == 0, run.log
        told = books(exchange)
    assert len(names) == 300
    assert told["breaches"] == []
    answers, in_time = slowest(metrics)
    assert in_time >= 0.9 * answers > 0  # the answers themselves are held up where the processor is
    of_close = [one for one in stored_signals(tmp_path) if one["close_ms"] == close_ms]
    assert len(of_close) == 300
    assert {one["alert_id"] for one in of_close} <= {one for (one,) in query(tmp_path, "SELECT alert_id FROM alerts")}
    booked = [one for one in of_close if one["context"]["imbalance"] is not None]
    others = [one for one in of_close if one["context"]["imbalance"] is None]
    assert len(booked) <= 40
    assert all(any("order book" in text for text in one["context"]["missing"]) for one in others)


def full_close(folder: Path) -> int | None:
    """A close of which all 300 candidates passed, none of them late."""
    rows = query(folder, "SELECT close_ms FROM signals WHERE NOT late GROUP BY close_ms HAVING count(*) = 300")
    return rows[0][0] if rows else None
