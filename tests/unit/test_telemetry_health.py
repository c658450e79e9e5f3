"""Health: what makes it live, ready, warned, and what its document and log line say."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.telemetry.document import health_document, memory_bytes, summary, verdict_document, watch_loop
from tapewatch.telemetry.health import HOUR_MS, MINUTE_MS, Health, HourCount, Verdict

T0 = 1_750_000_000_000


def working() -> Health:
    """A run that does its work at T0."""
    health = Health(T0 - 60_000, ["BTCUSDT", "ETHUSDT"], ["mail"])
    health.connected()
    health.caught_up(T0 - 30_000)
    health.bar("BTCUSDT", T0 - 500, T0)
    return health


def test_ready_when_everything_works() -> None:
    """Connected, loaded, fed and with a ledger it is live and ready."""
    health = working()
    assert health.ready(T0).ok
    assert health.live(T0).ok
    assert verdict_document(health.ready(T0))["status"] == "pass"


@pytest.mark.parametrize("what", ["connection", "windows", "data", "ledger", "stuck"])
def test_each_lack_makes_it_unready(what: str) -> None:
    """Without connection, windows, fresh data, ledger or progress it is not ready, and only the last is not live."""
    health, now = working(), T0
    match what:
        case "connection":
            health.disconnected()
        case "windows":
            health.windows_loaded = False
        case "data":
            now = T0 + 200_000
        case "ledger":
            health.ledger.error = "disk full"
        case "stuck":
            health.waiting_since_ms = T0 - 61_000
    verdict = health.ready(now)
    assert len(verdict.reasons) == 1
    assert health.live(now).ok is (what != "stuck")
    document = health_document(health, now, 1)
    assert document["status"] == "fail"
    assert document["output"] == verdict.reasons[0]


def test_events_held_back_by_the_ledger_are_no_reason_to_restart() -> None:
    """Events that wait because the ledger cannot be written leave it live: a restart would not help."""
    health = working()
    health.waiting_since_ms, health.ledger.error = T0 - 600_000, "locked"
    assert health.live(T0).ok
    assert not health.ready(T0).ok


def test_before_the_first_connection() -> None:
    """A fresh start is live, not ready, and says both reasons."""
    health = Health(T0, ["BTCUSDT"])
    assert health.live(T0).ok
    assert health.ready(T0).reasons == ("no connection to the exchange", "the first windows are not loaded yet")
    health.disconnected()
    assert health.connections == 0


def test_a_stale_symbol_warns() -> None:
    """One symbol without bars is a warning with its name, all of them are a failure."""
    health = working()
    now = T0 + 140_000
    assert health.stale(now) == ["ETHUSDT"]
    document = health_document(health, now, 1)
    assert document["status"] == "warn"
    by_symbol = {entry["componentId"]: entry["status"] for entry in document["checks"]["symbols:freshness"]}
    assert by_symbol == {"BTCUSDT": "pass", "ETHUSDT": "warn"}


def test_document_has_what_an_operator_asks_for() -> None:
    """The document shows counts, last data, errors, e-mail success, connections, delivery, ledger and memory."""
    health = working()
    health.signal("long")
    health.signal("long")
    health.signal("short")
    health.alerts = 3
    health.attempt("mail", "sent")
    health.attempt("mail", "failed")
    health.attempt("out", "sent")
    health.errors.add(T0)
    health.data_errors.add(T0, 2)
    health.event_loop_lag_s = 1.5
    document = health_document(health, T0 + 10_000, 123_456)
    checks = document["checks"]

    def observed(name: str) -> list[object]:
        return [entry["observedValue"] for entry in checks[name]]

    assert document["status"] == "warn"
    assert observed("process:uptime") == [70.0]
    assert observed("signals:passed") == [2, 1]
    assert observed("exchange:lastData") == [10.0]
    assert checks["exchange:lastData"][0]["time"] == "2025-06-15T15:06:40.000Z"
    assert observed("errors:lastHour") == [1]
    assert observed("exchange:refusedLastHour") == [2]
    assert observed("email:successRate") == [50.0]
    assert observed("exchange:connections") == [1]
    assert {entry["componentId"]: entry["observedValue"] for entry in checks["alerts:delivery"]} == {
        "mail/failed": 1,
        "mail/sent": 1,
        "out/sent": 1,
    }
    assert observed("ledger:writable") == [True]
    assert observed("process:memory") == [123_456]
    assert checks["eventLoop:lag"][0]["status"] == "warn"
    assert json.loads(json.dumps(document)) == document
    for name, entries in checks.items():
        assert name.count(":") == 1
        assert all({"componentType", "observedValue", "observedUnit", "status"} <= set(entry) for entry in entries)


def test_freshness_is_told_by_how_much_is_traded() -> None:
    """Of liquid, ordinary and thin symbols: how many, how many stale, and the oldest bar; no volume is thin."""
    volumes = {"A": 5e9, "B": 2e7, "C": 2e6, "D": 10.0, "E": float("nan")}
    health = Health(T0, list(volumes))
    health.volume_24h = volumes.__getitem__
    health.connected()
    health.caught_up(T0)
    health.bar("A", T0, T0 + 100_000)
    health.bar("D", T0, T0 + 190_000)
    checks = health_document(health, T0 + 200_000, 1)["checks"]
    classes = {one["componentId"]: one for one in checks["symbols:classes"]}
    assert [(name, one["symbols"], one["stale"], one["observedValue"]) for name, one in classes.items()] == [
        ("liquid", 2, 1, 200.0), ("ordinary", 1, 1, 200.0), ("thin", 2, 1, 200.0)
    ]  # fmt: skip
    assert {one["status"] for one in classes.values()} == {"warn"}
    assert classes["liquid"]["output"] == "1 of 2 had no bar for 150 s; the longest B"
    assert classes["thin"]["output"].endswith("the longest E")
    for one in health_document(Health(T0, []), T0, 1)["checks"]["symbols:classes"]:
        assert (one["symbols"], one["stale"], one["observedValue"], one["status"]) == (0, 0, None, "pass")


def test_the_oldest_message_that_waits() -> None:
    """Its age; a quarter of an hour is a warning."""
    health = working()
    assert health.outbox_age_s(T0) is None
    health.outbox_oldest_ms = T0 - 900_000
    assert health_document(health, T0, 1)["checks"]["alerts:oldest"][0]["status"] == "pass"
    (entry,) = health_document(health, T0 + 1_000, 1)["checks"]["alerts:oldest"]
    assert (entry["observedValue"], entry["status"], entry["output"]) == (
        901.0,
        "warn",
        "a message has waited for 901 s",
    )
    assert health.outbox_age_s(T0 - 2_000_000) == 0


def test_database_disk_and_memory() -> None:
    """What is known of each; what is beyond its bound warns, a database that cannot be read fails."""
    health = working()
    health.ledger.size_bytes, health.ledger.revision, health.ledger.commit_s = 5_000_000, "r0007", 0.0123456789
    health.disk_free, health.disk_least, health.memory_most = {"ledger": 2_000_000_000, "log": 5}, 1_000_000_000, 100
    checks = health_document(health, T0, 100)["checks"]
    known = {name: one[0]["observedValue"] for name, one in checks.items() if name.startswith("ledger:")}
    assert list(known) == [f"ledger:{name}" for name in ("writable", "reachable", "commit", "size", "revision")]
    assert list(known.values()) == [True, True, 0.012346, 5_000_000, "r0007"]
    assert [(one["componentId"], one["status"]) for one in checks["disk:free"]] == [("ledger", "pass"), ("log", "warn")]
    assert checks["disk:free"][1]["output"] == "0 MB are left, of at least 1,000"
    assert checks["process:memory"][0]["status"] == "pass"
    health.ledger.commit_s, health.ledger.unread = 1.5, "no route to it"
    document = health_document(health, T0, 200_000_000)
    assert document["checks"]["process:memory"][0]["output"] == "200 MB, of at most 0"
    assert document["checks"]["ledger:commit"][0]["output"] == "it took 1.5 s"
    assert document["checks"]["ledger:reachable"][0]["status"] == document["status"] == "fail"
    assert document["output"] == "the ledger cannot be read: no route to it"
    line = summary(health, T0, 1)
    assert (line["ledger"], line["ledger_mb"], line["commit_s"], line["disk_free_mb"]) == (
        "no route to it",
        5.0,
        1.5,
        0,
    )


def test_whatever_does_not_pass_says_why() -> None:
    """With everything wrong, each check that is not well has a reason in words."""
    health = Health(T0, ["A", "B"], ["mail"])
    health.caught_up(T0 - 1_000_000)
    health.progress, health.emergency, health.rest_state = (1, 2), True, "open"
    health.ledger.error, health.ledger.unread, health.ledger.commit_s = "full", "gone", 9.0
    health.outbox_oldest_ms, health.event_loop_lag_s, health.heartbeat_every_ms = T0 - 9_000_000, 3.0, 1_000
    health.disk_free, health.disk_least, health.memory_most = {"log": 5}, 10, 1
    health.errors.add(T0)
    health.data_errors.add(T0)
    health.attempt("mail", "failed")
    health.troubles, health.in_time_share = lambda: ["No candles come"], lambda: 0.5
    health.parts["channels"] = lambda: {
        "mail": {"state": "held", "reason": "refused"},
        "out": {"state": "ok", "reason": None},
    }
    checks = health_document(health, T0, 100)["checks"]
    bad = {name: one for name, entries in checks.items() for one in entries if one["status"] != "pass"}
    assert set(checks) - set(bad) == {
        "process:uptime", "engine:progress", "exchange:reconnects", "exchange:lastData", "signals:passed",
        "alerts:stored", "alerts:delivery", "alerts:queued", "alerts:latency", "ledger:size", "ledger:revision",
    }  # fmt: skip
    assert [name for name, one in bad.items() if not one.get("output")] == []
    assert [one["status"] for one in checks["alerts:channels"]] == ["warn", "pass"]


def test_healthy_document_passes() -> None:
    """With nothing wrong the status is pass and nothing needs words."""
    health = working()
    document = health_document(health, T0, 1)
    assert document["status"] == "pass"
    assert "output" not in document
    assert "email:successRate" not in health_document(Health(T0, []), T0, 1)["checks"]


def test_ledger_trouble_is_told() -> None:
    """What the ledger said is in the document."""
    health = working()
    health.ledger.error = "disk full"
    assert health_document(health, T0, 1)["checks"]["ledger:writable"][0]["output"] == "disk full"


def test_summary_line() -> None:
    """The log line has the same figures, short."""
    health = working()
    health.attempt("mail", "sent")
    health.attempt("out", "rejected")
    line = summary(health, T0 + 5_000, 150_000_000)
    assert line["status"] == "pass"
    assert (line["sent"], line["failed"], line["email_success_pct"], line["memory_mb"]) == (1, 1, 100.0, 150.0)
    assert (line["last_bar_age_s"], line["stale_symbols"], line["uptime_s"]) == (5, 0, 65)
    fresh = summary(Health(T0, []), T0, 0)
    assert (fresh["last_bar_age_s"], fresh["email_success_pct"]) == (None, None)


def test_a_bar_of_a_symbol_before_the_windows() -> None:
    """A bar counts although the windows are not loaded yet."""
    health = Health(T0, ["NEW"])
    health.bar("NEW", T0, T0 + 300)
    assert health.last_bar() == (T0 + 300, T0)


def test_symbols_come_and_go() -> None:
    """Who comes has time for its first bar; nothing is expected of who is gone, and a bar on its way is not counted."""
    health = working()
    health.watch(["BTCUSDT", "NEWUSDT"], T0 + 100_000)
    health.bar("BTCUSDT", T0 + 120_000, T0 + 120_000)
    assert health.symbols == ["BTCUSDT", "ETHUSDT", "NEWUSDT"]
    assert health.stale(T0 + 249_000) == ["ETHUSDT"]
    health.unwatch(["ETHUSDT", "NEWUSDT"])
    health.bar("ETHUSDT", T0 + 180_000, T0 + 180_000)
    assert health.symbols == list(health.freshness) == ["BTCUSDT"]
    assert health.last_bar() == (T0 + 120_000, T0 + 120_000)


def test_other_parts_have_their_place_in_the_document() -> None:
    """Each under its name, as it is when it is asked for."""
    health, watched = working(), [1]
    health.parts["universe"] = lambda: {"watched": watched[0]}
    watched[0] = 2
    document = health_document(health, T0, 1)
    assert document["universe"] == {"watched": 2}


@given(st.lists(st.tuples(st.integers(0, 3 * HOUR_MS), st.integers(1, 5)), max_size=60))
def test_hour_count_keeps_one_hour(events: list[tuple[int, int]]) -> None:
    """At any time the count is that of the events of this minute and the 60 before it."""
    count = HourCount()
    past: list[tuple[int, int]] = []
    for at, number in sorted(events):
        past.append((T0 + at, number))
        oldest = (T0 + at) // MINUTE_MS - 60
        assert count.add(T0 + at, number) == sum(n for ms, n in past if ms // MINUTE_MS >= oldest)
    assert count.total(T0 + 5 * HOUR_MS) == 0


def test_memory_is_that_of_this_process() -> None:
    """The memory figure is plausible for a Python process."""
    assert 10_000_000 < memory_bytes() < 10_000_000_000


async def test_loop_lag_is_measured() -> None:
    """A task that holds the event loop shows as lag."""
    lags: list[float] = []
    task = asyncio.create_task(watch_loop(lags.append, every_s=0.02))
    await asyncio.sleep(0.05)
    import time

    time.sleep(0.2)  # noqa: ASYNC251  (holding the loop is the point)
    await asyncio.sleep(0.05)
    task.cancel()
    assert max(lags) > 0.1


def test_verdict_names_every_reason() -> None:
    """A failed verdict gives all its reasons."""
    assert verdict_document(Verdict(("a", "b")))["output"] == "a; b"
