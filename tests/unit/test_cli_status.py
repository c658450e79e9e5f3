"""What `status` makes of a health document: of a run in every kind of trouble, and of one that says little."""

from __future__ import annotations

from typing import Any

from tapewatch.cli.status import lines as lines_of
from tapewatch.cli.status import summary
from tapewatch.telemetry.document import health_document
from tapewatch.telemetry.health import Health

T0 = 1_750_000_000_000


def connection(name: str, **changes: Any) -> dict[str, Any]:
    """One that works."""
    works = {"name": name, "state": "live", "streams": 2, "symbols": [f"{name.upper()}USDT"], "age_s": 3_725.0,
             "last_frame_s_ago": 0.25, "frames": 9, "reconnects": 0}  # fmt: skip
    return {**works, **changes}


def of(health: Health, *connections: dict[str, Any], **universe: Any) -> dict[str, Any]:
    """The summary of what a run would answer."""
    health.parts["connections"] = lambda: list(connections)
    health.parts["universe"] = lambda: {"watched": 2, "eligible": 1, "listed": 9, "left_out": {}, **universe}
    return summary(health_document(health, T0, 50_000_000))


def working() -> Health:
    """A run that does its work."""
    health = Health(T0 - 90_061_000, ["AUSDT", "BUSDT"])
    health.connected()
    health.caught_up(T0 - 5_000)
    health.progress, health.rest_used_weight = (2, 2), 123
    health.bar("AUSDT", T0 - 3_000, T0 - 2_000)
    return health


def test_a_run_that_works() -> None:
    """Everything at a glance, and which connection carries whom."""
    found = of(
        working(),
        connection("a"),
        connection("stream-b", last_frame_s_ago=None, reconnects=3),
        left_out={"quote": 1500},
    )
    assert found["symbols"] == {"AUSDT": "a", "STREAM-BUSDT": "stream-b"}
    assert found["start_up"] == {"complete": 2, "watched": 2}
    assert "symbols" not in found["connections"][0]
    assert list(lines_of(found)) == [
        "status    pass",
        f"process   tapewatch {found['version']}, up 1 day, 1:01:01, 50 MB",
        "universe  2 watched, 1 liquid enough for alerts; left out: 1,500 by quote",
        "start-up  2 of 2 symbols have their windows",
        "exchange  REST closed, weight 123 in this minute; 2 connections",
        "          a         live           2 streams, 1:02:05 old, data 0.2 s ago",
        "          stream-b  live           2 streams, 1:02:05 old, no data yet, made 3 times anew",
        "bars      the last 2.0 s ago, 0 symbols stale",
        "alerts    0 since the start, 0 messages waiting",
        "ledger    ok; 0 errors in the last hour",
        "checks    {0} of {0} pass".format(len(found["checks"])),
    ]  # fmt: skip


def test_a_run_in_trouble() -> None:
    """Emergency, a ban, stale symbols, a ledger that cannot be written: each is said with its reason."""
    health = working()
    health.disconnected()
    health.emergency, health.rest_banned_until_ms, health.progress = True, T0 + 60_000, (1, 2)
    health.ledger.error, health.outbox_queued = "the disk is full", 7
    health.freshness["BUSDT"].seen_ms = T0 - 200_000
    health.in_time_share = lambda: 0.98765
    found = of(health, connection("a", state="down"))
    assert found["checks"]["ledger:writable"] == {"status": "fail", "reason": "the disk is full"}
    assert found["checks"]["process:uptime"] == {"status": "pass", "reason": None}
    assert (found["stale"], found["ledger"], found["emergency"]) == (["BUSDT"], "the disk is full", True)
    lines = list(lines_of(found))
    assert lines[0] == "status    fail: the ledger cannot be written: the disk is full"
    assert lines[3] == "start-up  1 of 2 symbols have their windows"
    assert lines[4].startswith("exchange  REST banned, left alone until 2025-06-15T")
    assert lines[4].endswith("weight 123 in this minute; bars come by polling")
    assert lines[6] == "bars      the last 2.0 s ago, 98.765% in time, 1 symbol stale (BUSDT)"
    assert lines[7] == "alerts    0 since the start, 7 messages waiting"
    assert "          fail  ledger:writable: the disk is full" in lines


def test_many_stale_symbols_are_counted() -> None:
    """The first ones are named."""
    health = Health(T0, [f"S{number:02d}" for number in range(30)])
    health.caught_up(T0 - 200_000)
    (bars,) = [line for line in lines_of(of(health)) if line.startswith("bars")]
    assert bars == "bars      none yet, 30 symbols stale (S00, S01, S02, S03, S04, S05, S06, S07, S08, S09, …)"


def test_another_version_that_says_less() -> None:
    """What is missing is not known; that is no reason to fail."""
    found = summary({"status": "pass", "version": "9", "checks": {}})
    assert found["connections"] == []
    assert "universe  not chosen yet" in list(lines_of(found))


def test_what_a_start_waits_for() -> None:
    """Said as long as nobody is chosen."""
    lines = list(lines_of(of(Health(T0, []), waits_for="market capitalisations")))
    assert "universe  not chosen yet: waits for market capitalisations" in lines


def test_troubles_and_maintenance_are_said() -> None:
    """Each trouble that is on, until when the operator is told nothing, and what is planned; none needs no line."""
    health = working()
    health.troubles = lambda: ["No candles come"]
    health.parts["operator"] = lambda: {
        "troubles": [{"key": "stale", "subject": "No candles come", "since_ms": T0, "count": 3}],
        "maintenance": {"until_ms": T0 + 3_600_000, "reason": "new disk"},
        "planned": [{"from_ms": T0 + 7_200_000, "until_ms": T0 + 9_000_000, "reason": None}],
    }
    found = of(health)
    assert (found["status"], found["operator"]["troubles"][0]["key"]) == ("warn", "stale")
    lines = list(lines_of(found))
    assert [line for line in lines if line.startswith(("trouble", "operator"))] == [
        "trouble   No candles come, since 2025-06-15 15:06:40 UTC",
        "operator  told nothing until 2025-06-15 16:06 UTC: maintenance, new disk",
        "operator  maintenance is planned from 2025-06-15 17:06 until 2025-06-15 17:36 UTC",
    ]


def test_a_changed_configuration_that_is_not_in_force_is_shown() -> None:
    """What waits for a restart, and what is wrong with the files."""
    health = working()
    health.parts["configuration"] = lambda: {
        "since_ms": T0, "needs_restart": ["web.port", "ledger.url"], "problems": ["tapewatch.yaml:3: gate: what?"]
    }  # fmt: skip
    assert list(lines_of(of(health)))[2:4] == [
        "config    the changed one cannot be used: tapewatch.yaml:3: gate: what?",
        "config    waits for a restart: web.port, ledger.url",
    ]
