"""Health as others read it: the health document, the line in the log, and what the process uses."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tapewatch import __version__
from tapewatch.telemetry.health import Health, Verdict

#: Slower than this, the event loop delays alerts.
LAG_WARN_S = 1.0
#: Signs of life that are missing are worth a warning from so many on.
MISSED = 3
#: Percent of bars in time that is to be held (requirement F2).
GOAL = 99.5
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def memory_bytes() -> int:
    """The resident memory of this process, 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


async def watch_loop(report: Callable[[float], None], every_s: float = 1.0) -> None:
    """Report, for ever, how many seconds late the event loop woke this task."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every_s
        await asyncio.sleep(every_s)
        report(max(0.0, loop.time() - due))


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """The answer of `/livez` and `/readyz`."""
    found: dict[str, Any] = {"status": "pass" if verdict.ok else "fail", "version": __version__}
    if not verdict.ok:
        found["output"] = "; ".join(verdict.reasons)
    return found


def health_document(health: Health, now_ms: int, memory: int) -> dict[str, Any]:
    """The answer of `/health` (draft-inadarei-api-health-check-06): `status` is fail exactly when it is not ready.

    Args:
        health: the state.
        now_ms: the wall clock.
        memory: resident bytes of the process.
    """
    ready = health.ready(now_ms)
    checks = {**_program(health, now_ms, memory), **_data(health, now_ms), **_alerts(health), **_ledger(health)}
    warned = any(entry.get("status") in {"warn", "fail"} for entries in checks.values() for entry in entries)
    status = "fail" if not ready.ok else "warn" if warned else "pass"
    document: dict[str, Any] = {"status": status, "version": __version__, "checks": checks}
    document.update((name, part()) for name, part in health.parts.items())
    if not ready.ok:
        document["output"] = "; ".join(ready.reasons)
    return document


def summary(health: Health, now_ms: int, memory: int) -> dict[str, Any]:
    """The figures of the health line in the log."""
    newest, success = health.last_bar(), health.email_success()
    paper = dict(health.parts.get("paper", dict)())
    outcomes = sum(health.attempts.values(), Counter())
    return {
        "status": health_document(health, now_ms, memory)["status"],
        "uptime_s": (now_ms - health.started_ms) // 1000,
        "connections": health.connections,
        "emergency": health.emergency,
        "in_time_pct": _percent(health.in_time_share()),
        "long": health.signals["long"],
        "short": health.signals["short"],
        "alerts": health.alerts,
        "positions": paper.get("open"),
        "equity": paper.get("equity"),
        "sent": outcomes["sent"],
        "failed": outcomes["failed"] + outcomes["rejected"],
        "queued": health.outbox_queued,
        "email_success_pct": None if success is None else round(success * 100, 1),
        "last_bar_age_s": None if newest is None else (now_ms - newest[0]) // 1000,
        "stale_symbols": len(health.stale(now_ms)),
        "troubles": len(health.troubles()),
        "errors_last_hour": health.errors.total(now_ms),
        "data_errors_last_hour": health.data_errors.total(now_ms),
        "ledger": "ok" if health.ledger_error is None else health.ledger_error,
        "memory_mb": round(memory / 1e6, 1),
        "event_loop_lag_s": round(health.event_loop_lag_s, 3),
    }


Checks = dict[str, list[dict[str, Any]]]


def _program(health: Health, now_ms: int, memory: int) -> Checks:
    lag_s, errors = health.event_loop_lag_s, health.errors.total(now_ms)
    return {
        "process:uptime": [_entry("system", (now_ms - health.started_ms) / 1000, "s")],
        "process:memory": [_entry("system", memory, "bytes")],
        "eventLoop:lag": [_entry("system", round(lag_s, 3), "s", "pass" if lag_s < LAG_WARN_S else "warn")],
        "engine:progress": [_entry("component", *_waiting(health, now_ms))],
        "errors:lastHour": [_entry("component", errors, "errors", "warn" if errors else "pass")],
        "operator:troubles": [_troubles(health.troubles())],
        "operator:heartbeat": [_heartbeat(health, now_ms)],
    }


def _heartbeat(health: Health, now_ms: int) -> dict[str, Any]:
    """The age of the last sign of life; None before the first, and where none is asked for, which is no trouble."""
    every_ms, last_ms = health.heartbeat_every_ms, health.heartbeat_ms
    age_ms = None if last_ms is None else now_ms - last_ms
    fine = every_ms is None or (age_ms is not None and age_ms <= MISSED * every_ms)
    return _entry("system", None if age_ms is None else age_ms / 1000, "s", "pass" if fine else "warn")


def _troubles(subjects: list[str]) -> dict[str, Any]:
    entry = _entry("component", len(subjects), "troubles", "warn" if subjects else "pass")
    return entry | ({"output": "; ".join(subjects)} if subjects else {})


def _waiting(health: Health, now_ms: int) -> tuple[float, str, str]:
    waited_s = 0.0 if health.waiting_since_ms is None else (now_ms - health.waiting_since_ms) / 1000
    return waited_s, "s", "pass" if health.live(now_ms).ok else "fail"


def _data(health: Health, now_ms: int) -> Checks:
    newest, stale = health.last_bar(), set(health.stale(now_ms))
    last: dict[str, Any] = _entry("component", None if newest is None else (now_ms - newest[0]) / 1000, "s")
    if newest is not None:
        last["time"], last["output"] = _iso(newest[0]), f"bar closed {_iso(newest[1])}"
    symbols = []
    for symbol, known in health.freshness.items():
        status = "warn" if symbol in stale else "pass"
        symbols.append({"componentId": symbol, **_entry("component", (now_ms - known.seen_ms) / 1000, "s", status)})
    refused, share = health.data_errors.total(now_ms), _percent(health.in_time_share())
    return {
        "exchange:connections": [
            _entry("system", health.connections, "connections", "pass" if health.connections else "fail")
        ],
        "exchange:reconnects": [_entry("system", max(0, health.connects - 1), "connections")],
        "exchange:polling": [_entry("system", health.emergency, "polling", "warn" if health.emergency else "pass")],
        "exchange:rest": [_rest(health, now_ms), _weight(health)],
        "exchange:lastData": [last],
        "exchange:refusedLastHour": [_entry("system", refused, "candles", "warn" if refused else "pass")],
        "symbols:complete": _progress(health),
        "symbols:freshness": symbols,
        "bars:inTime": [
            _entry("component", share, "percent", "warn" if share is not None and share < GOAL else "pass")
        ],
    }


def _rest(health: Health, now_ms: int) -> dict[str, Any]:
    banned = health.rest_banned_until_ms > now_ms
    state = "banned" if banned else health.rest_state
    entry = _entry("system", state, "state", "pass" if state == "closed" else "warn")
    if banned:
        entry["output"] = f"left alone until {_iso(health.rest_banned_until_ms)}"
    return entry


def _weight(health: Health) -> dict[str, Any]:
    return {"componentId": "weight", **_entry("system", health.rest_used_weight, "weight in this minute")}


def _progress(health: Health) -> list[dict[str, Any]]:
    complete, watched = health.progress
    status = "pass" if complete == watched else "warn"
    return [
        _entry("component", complete, "symbols", status) | {"output": f"{complete} of {watched} have their windows"},
        {"componentId": "watched", **_entry("component", watched, "symbols")},
    ]


def _percent(share: float | None) -> float | None:
    return None if share is None else round(share * 100, 3)


def _alerts(health: Health) -> Checks:
    sides = [
        {"componentId": side, **_entry("component", health.signals[side], "signals")} for side in ("long", "short")
    ]
    delivery = [
        {"componentId": f"{channel}/{outcome}", **_entry("component", count, "attempts")}
        for channel, outcomes in sorted(health.attempts.items())
        for outcome, count in sorted(outcomes.items())
    ]
    checks = {
        "signals:passed": sides,
        "alerts:stored": [_entry("component", health.alerts, "alerts")],
        "alerts:delivery": delivery,
        "alerts:queued": [_entry("component", health.outbox_queued, "messages")],
        "alerts:latency": [
            {"componentId": f"{stage}/{name}", **_entry("component", round(span_s, 6), "s")}
            for stage, shown in health.latency().items()
            for name, span_s in shown.items()
        ],
    }
    if health.email_channels:
        success = health.email_success()
        status = "pass" if success is None or success == 1 else "warn"
        percent = None if success is None else round(success * 100, 1)
        checks["email:successRate"] = [_entry("component", percent, "percent", status)]
    return checks


def _ledger(health: Health) -> Checks:
    entry = _entry("datastore", health.ledger_error is None, "writable")
    if health.ledger_error is not None:
        entry.update(status="fail", output=health.ledger_error)
    return {"ledger:writable": [entry]}


def _entry(kind: str, value: object, unit: str, status: str = "pass") -> dict[str, Any]:
    return {"componentType": kind, "observedValue": value, "observedUnit": unit, "status": status}


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
