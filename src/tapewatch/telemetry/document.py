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
#: A message that has waited for longer is worth a warning.
OLD_S = 900.0
#: A transaction that takes longer delays alerts.
COMMIT_WARN_S = 1.0
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
    data = {**_data(health, now_ms), **_symbols(health, now_ms)} if health.watching else {}
    checks = {**_program(health, now_ms, memory), **data, **_alerts(health, now_ms), **_stores(health)}
    warned = any(entry.get("status") in {"warn", "fail"} for entries in checks.values() for entry in entries)
    status = "fail" if not ready.ok else "warn" if warned else "pass"
    document: dict[str, Any] = {"status": status, "version": __version__, "role": health.role, "checks": checks}
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
        "oldest_queued_s": health.outbox_age_s(now_ms),
        "email_success_pct": None if success is None else round(success * 100, 1),
        "last_bar_age_s": None if newest is None else (now_ms - newest[0]) // 1000,
        "stale_symbols": len(health.stale(now_ms)),
        "troubles": len(health.troubles()),
        "errors_last_hour": health.errors.total(now_ms),
        "data_errors_last_hour": health.data_errors.total(now_ms),
        "ledger": health.ledger.error or health.ledger.unread or "ok",
        "ledger_mb": None if (size := health.ledger.size_bytes) is None else round(size / 1e6, 1),
        "commit_s": _rounded(health.ledger.commit_s),
        "disk_free_mb": round(min(health.disk_free.values()) / 1e6) if health.disk_free else None,
        "memory_mb": round(memory / 1e6, 1),
        "event_loop_lag_s": round(health.event_loop_lag_s, 3),
    }


Check = dict[str, Any]
Checks = dict[str, list[Check]]


def _program(health: Health, now_ms: int, memory: int) -> Checks:
    lag_s, errors, most = health.event_loop_lag_s, health.errors.total(now_ms), health.memory_most
    heavy = None if most is None or memory <= most else f"{memory / 1e6:,.0f} MB, of at most {most / 1e6:,.0f}"
    late = None if lag_s < LAG_WARN_S else f"everything is {lag_s:.1f} s late"
    troubles = health.troubles()
    return {
        "process:uptime": [_entry("system", (now_ms - health.started_ms) / 1000, "s")],
        "process:memory": [_entry("system", memory, "bytes", heavy)],
        "eventLoop:lag": [_entry("system", round(lag_s, 3), "s", late)],
        "engine:progress": [_waiting(health, now_ms)],
        "errors:lastHour": [_entry("component", errors, "errors", f"{errors}; the log has them" if errors else None)],
        "operator:troubles": [_entry("component", len(troubles), "troubles", "; ".join(troubles) or None)],
        "operator:heartbeat": [_heartbeat(health, now_ms)],
    }


def _heartbeat(health: Health, now_ms: int) -> Check:
    """The age of the last sign of life; None before the first, and where none is asked for, which is no trouble."""
    every_ms, last_ms = health.heartbeat_every_ms, health.heartbeat_ms
    age_s = None if last_ms is None else (now_ms - last_ms) / 1000
    reason = None
    if every_ms is not None and (age_s is None or age_s * 1000 > MISSED * every_ms):
        reason = "there was none yet" if age_s is None else f"the last was {age_s:.0f} s ago"
    return _entry("system", age_s, "s", reason)


def _waiting(health: Health, now_ms: int) -> Check:
    waited_s = 0.0 if health.waiting_since_ms is None else (now_ms - health.waiting_since_ms) / 1000
    return _entry("component", waited_s, "s", "; ".join(health.live(now_ms).reasons) or None, "fail")


def _data(health: Health, now_ms: int) -> Checks:
    newest = health.last_bar()
    last = _entry("component", None if newest is None else (now_ms - newest[0]) / 1000, "s")
    if newest is not None:
        last["time"], last["output"] = _iso(newest[0]), f"bar closed {_iso(newest[1])}"
    refused, share = health.data_errors.total(now_ms), _percent(health.in_time_share())
    alone = None if health.connections else "none stands"
    polling = "streams cannot be had" if health.emergency else None
    late = f"of {GOAL}% that are asked" if share is not None and share < GOAL else None
    return {
        "exchange:connections": [_entry("system", health.connections, "connections", alone, "fail")],
        "exchange:reconnects": [_entry("system", max(0, health.connects - 1), "connections")],
        "exchange:polling": [_entry("system", health.emergency, "polling", polling)],
        "exchange:rest": [_rest(health, now_ms), _weight(health)],
        "exchange:lastData": [last],
        "exchange:refusedLastHour": [
            _entry("system", refused, "candles", f"{refused} made no sense" if refused else None)
        ],
        "bars:inTime": [_entry("component", share, "percent", f"{share}% {late}" if late else None)],
    }


def _rest(health: Health, now_ms: int) -> Check:
    if health.rest_banned_until_ms > now_ms:
        return _entry("system", "banned", "state", f"left alone until {_iso(health.rest_banned_until_ms)}")
    state = health.rest_state
    return _entry("system", state, "state", None if state == "closed" else "requests failed")


def _weight(health: Health) -> Check:
    return {"componentId": "weight", **_entry("system", health.rest_used_weight, "weight in this minute")}


def _symbols(health: Health, now_ms: int) -> Checks:
    limit_s = health.stale_ms // 1000
    each = []
    for symbol, known in health.freshness.items():
        age_ms = now_ms - known.seen_ms
        reason = f"no bar for {age_ms // 1000} s" if age_ms > health.stale_ms else None
        each.append({"componentId": symbol, **_entry("component", age_ms / 1000, "s", reason)})
    classes = []
    for name, found in health.classes(now_ms).items():
        worst = f"{found.stale} of {found.symbols} had no bar for {limit_s} s; the longest {found.worst}"
        entry = _entry("component", found.age_ms / 1000 if found.symbols else None, "s", worst if found.stale else None)
        classes.append({"componentId": name, "symbols": found.symbols, "stale": found.stale, **entry})
    return {"symbols:complete": _progress(health), "symbols:classes": classes, "symbols:freshness": each}


def _progress(health: Health) -> list[Check]:
    complete, watched = health.progress
    text = f"{complete} of {watched} have their windows"
    return [
        _entry("component", complete, "symbols", None if complete == watched else text) | {"output": text},
        {"componentId": "watched", **_entry("component", watched, "symbols")},
    ]


def _percent(share: float | None) -> float | None:
    return None if share is None else round(share * 100, 3)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _alerts(health: Health, now_ms: int) -> Checks:
    sides = [
        {"componentId": side, **_entry("component", health.signals[side], "signals")} for side in ("long", "short")
    ]
    delivery = [
        {"componentId": f"{channel}/{outcome}", **_entry("component", count, "attempts")}
        for channel, outcomes in sorted(health.attempts.items())
        for outcome, count in sorted(outcomes.items())
    ]
    age_s = health.outbox_age_s(now_ms)
    old = f"a message has waited for {age_s:.0f} s" if age_s is not None and age_s > OLD_S else None
    checks = {
        "signals:passed": sides,
        "alerts:stored": [_entry("component", health.alerts, "alerts")],
        "alerts:delivery": delivery,
        "alerts:channels": _channels(health),
        "alerts:queued": [_entry("component", health.outbox_queued, "messages")],
        "alerts:oldest": [_entry("component", age_s, "s", old)],
        "alerts:latency": [
            {"componentId": f"{stage}/{name}", **_entry("component", round(span_s, 6), "s")}
            for stage, shown in health.latency().items()
            for name, span_s in shown.items()
        ],
    }
    if health.email_channels:
        success = health.email_success()
        percent = None if success is None else round(success * 100, 1)
        failed = f"{percent}% of the attempts delivered" if success is not None and success < 1 else None
        checks["email:successRate"] = [_entry("component", percent, "percent", failed)]
    return checks


def _channels(health: Health) -> list[Check]:
    """How each channel stands."""
    return [
        {
            "componentId": name,
            **_entry(
                "component", one["state"], "state", None if one["state"] == "ok" else one["reason"] or one["state"]
            ),
        }
        for name, one in dict(health.parts.get("channels", dict)()).items()
    ]


def _stores(health: Health) -> Checks:
    ledger, least = health.ledger, health.disk_least
    took_s = ledger.commit_s or 0.0
    disks = []
    for name, free in health.disk_free.items():
        little = f"{free / 1e6:,.0f} MB are left, of at least {least / 1e6:,.0f}" if free < least else None
        disks.append({"componentId": name, **_entry("system", free, "bytes", little)})
    return {
        "ledger:writable": [_entry("datastore", ledger.error is None, "writable", ledger.error, "fail")],
        "ledger:reachable": [_entry("datastore", ledger.unread is None, "reachable", ledger.unread, "fail")],
        "ledger:commit": [
            _entry(
                "datastore",
                _rounded(ledger.commit_s),
                "s",
                f"it took {took_s:.1f} s" if took_s > COMMIT_WARN_S else None,
            )
        ],
        "ledger:size": [_entry("datastore", ledger.size_bytes, "bytes")],
        "ledger:revision": [_entry("datastore", ledger.revision, "revision")],
        "disk:free": disks,
    }


def _entry(kind: str, value: object, unit: str, reason: str | None = None, bad: str = "warn") -> Check:
    """What was observed; with a reason it is `bad`."""
    entry = {"componentType": kind, "observedValue": value, "observedUnit": unit, "status": "pass"}
    return entry if reason is None else entry | {"status": bad, "output": reason}


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
