"""A step's effects as rows of the ledger's tables, and a stored signal back from its JSON."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from tapewatch.model import NAN, Alert, BarDone, Correction, Judged, LastPassed, Record, Signal
from tapewatch.store import schema
from tapewatch.store.records import Step

Row = dict[str, Any]

_SAME_NAME = tuple(set(schema.signals.c.keys()) & set(Signal.__struct_fields__))
_RECORD_FLOATS = tuple(field.name for field in msgspec.structs.fields(Record) if field.type is float)
_FLOATS = tuple(field.name for field in msgspec.structs.fields(Signal) if field.type is float)


def series_rows(step: Step) -> list[Row]:
    """Rows of `series` for the series whose start is stated."""
    return [{"venue": step.venue, **msgspec.structs.asdict(state)} for state in step.series]


def bar_rows(step: Step) -> list[Row]:
    """Rows of `series` for the bars processed, the last one of each; a series not known before starts at its bar."""
    last: dict[tuple[str, int], int] = {}
    for effect in step.effects:
        if isinstance(effect, BarDone):
            key = (effect.symbol, effect.interval_ms)
            last[key] = max(effect.open_ms, last.get(key, effect.open_ms))
    return [
        {
            "venue": step.venue,
            "symbol": symbol,
            "interval_ms": interval_ms,
            "history_start_ms": open_ms,
            "last_open_ms": open_ms,
        }
        for (symbol, interval_ms), open_ms in last.items()
    ]


def gate_rows(step: Step) -> list[Row]:
    """Rows of `gate_passed`."""
    passed = (effect for effect in step.effects if isinstance(effect, LastPassed))
    return [{"venue": step.venue, **msgspec.structs.asdict(effect)} for effect in passed]


def signal_rows(step: Step) -> list[Row]:
    """Rows of `signals`: columns to ask by, and the whole signal as JSON."""
    return [signal_row(effect) for effect in step.effects if isinstance(effect, Judged)]


def signal_row(judged: Judged) -> Row:
    """A row of `signals`."""
    signal = judged.signal
    row: Row = {name: known(getattr(signal, name)) for name in _SAME_NAME}
    row |= {"confidence_met": signal.confidence.met, "confidence_asked": signal.confidence.asked}
    row |= {"state": judged.state, "late": judged.late, "recv_ms": judged.recv_ms, "alert_id": judged.alert_id}
    row["body"] = msgspec.json.encode(signal).decode()
    return row


#: What was decided on a candidate: columns of `signals`.
DECISION = ("body", "state", "late", "recv_ms", "alert_id")


def digest(row: Mapping[str, Any]) -> bytes:
    """Of all that was decided on a candidate, so that many can be compared."""
    return hashlib.blake2b(repr([row[name] for name in DECISION]).encode(), digest_size=16).digest()


def alert_rows(step: Step) -> list[Row]:
    """Rows of `alerts`, of signals and in words."""
    rows: list[Row] = [
        {
            "alert_id": effect.alert_id,
            "kind": "signal",
            "created_ms": effect.created_ms,
            "late": effect.late,
            "signal_ids": msgspec.json.encode([signal.id for signal in effect.signals]).decode(),
            "subject": None,
            "text": None,
            "record": _record(step.records.get(effect.alert_id)),
            "candles": msgspec.json.encode(effect.candles).decode() if effect.candles else None,
        }
        for effect in step.effects
        if isinstance(effect, Alert)
    ]
    return rows + [
        msgspec.structs.asdict(notice)
        | {"signal_ids": msgspec.json.encode(notice.signal_ids).decode(), "record": None, "candles": None}
        for notice in step.notices
    ]


def _record(record: Record | None) -> str | None:
    return None if record is None else msgspec.json.encode(record).decode()


def journal_rows(step: Step) -> list[Row]:
    """The row of `journals` of a step with events."""
    if not step.journal_id:
        return []
    return [{"journal_id": step.journal_id, "venue": step.venue, "position": step.position}]


def correction_rows(step: Step) -> list[Row]:
    """Rows of `corrections`."""
    return [
        {
            "venue": step.venue,
            "symbol": effect.after.symbol,
            "interval_ms": effect.after.interval_ms,
            "open_ms": effect.after.open_ms,
            "recv_ms": effect.recv_ms,
            "before": msgspec.json.encode(effect.before).decode(),
            "after": msgspec.json.encode(effect.after).decode(),
        }
        for effect in step.effects
        if isinstance(effect, Correction)
    ]


def signal_of(body: str) -> Signal:
    """The signal that was stored as `body`; numbers that were NaN are NaN again."""
    raw = msgspec.json.decode(body)
    for name in _FLOATS:
        if raw[name] is None:
            raw[name] = NAN
    for target in raw["targets"]:
        target["price"] = NAN if target["price"] is None else target["price"]
    return msgspec.convert(raw, Signal)


def record_of(body: str | None) -> Record | None:
    """The record that was stored as `body`; numbers that were NaN are NaN again."""
    if body is None:
        return None
    raw = msgspec.json.decode(body)
    return msgspec.convert(raw | {name: NAN for name in _RECORD_FLOATS if raw.get(name) is None}, Record)


def candles_of(body: str | None) -> tuple[tuple[float, float, float, float], ...]:
    """The candles that were stored as `body`."""
    if body is None:
        return ()
    return msgspec.json.decode(body, type=tuple[tuple[float, float, float, float], ...])


def known(value: Any) -> Any:
    """None in the place of what SQL cannot hold as a number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
