"""Carrying out a fault script: when each rule fires, and what it does to frames, connections and requests."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tapewatch.model import MINUTE_MS
from tapewatch.simulator.limits import Books
from tapewatch.simulator.script import FaultRule
from tapewatch.simulator.streams import Frame

OnFault = Callable[[dict[str, Any]], None]

_ON_FRAMES = ("duplicate", "reorder", "late_close", "missing_close", "malformed")
_ON_REQUESTS = ("http_429", "http_5xx")
#: How long a rule without `for` lasts.
_STALL_MS = 60_000
_LATE_MS = 30_000
_SHUTDOWN_MS = 10_000


@dataclass
class _Armed:
    rule: FaultRule
    until_ms: int
    used: bool = False


@dataclass(frozen=True)
class HttpFault:
    """A REST answer that a rule replaces: status, wait in seconds (429 only), exchange's code and words."""

    status: int
    retry_after_s: int
    code: int
    message: str


_BROKEN = (
    (500, -1000, "An unknown error occurred while processing the request."),
    (502, -1001, "Internal error; unable to process your request. Please try again."),
    (503, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
    (504, -1007, "Timeout waiting for response from backend server."),
)


class Injector:
    """Decides what happens to what; the same script and seed over the same frames decide the same.

    Args:
        on_fault: told of each injected fault, as `{fault, at_ms, ...}`.
    """

    def __init__(self, rules: Sequence[FaultRule], seed: int, start_ms: int, books: Books, on_fault: OnFault) -> None:
        self._random = random.Random(seed)
        self._books, self._report = books, on_fault
        self._armed: list[_Armed] = []
        self._held: dict[str, Frame] = {}
        self._due = [(rule.first_ms(start_ms), order, rule) for order, rule in enumerate(rules)]

    def next_ms(self) -> float:
        """When the next rule fires."""
        return min((due[0] for due in self._due), default=math.inf)

    def fired(self, now_ms: int) -> list[tuple[int, FaultRule]]:
        """The rules that fire up to now and act on connections, with their times; the others are armed."""
        acting: list[tuple[int, FaultRule]] = []
        for at_ms, order, rule in sorted(self._due, key=lambda due: due[:2]):
            if at_ms > now_ms:
                continue
            self._due.remove((at_ms, order, rule))
            if rule.every is not None:
                self._due.append((at_ms + rule.every, order, rule))
            if rule.kind in _ON_FRAMES:
                passed_ms = at_ms - self._books.limits.close_delay_ms - 1  # closes of a boundary before this are out
                boundary_ms = passed_ms - passed_ms % MINUTE_MS + MINUTE_MS + 1000
                lasting = rule.lasting if rule.kind != "late_close" else None
                self._armed.append(_Armed(rule, at_ms + lasting if lasting else boundary_ms))
            elif rule.kind in _ON_REQUESTS:
                self._armed.append(_Armed(rule, at_ms + (rule.lasting or 0)))
            elif self._random.random() < rule.probability:
                acting.append((at_ms, rule))
        return acting

    def report(self, kind: str, at_ms: int, details: Mapping[str, object]) -> None:
        """Count and tell one injected fault."""
        self._books.faults[kind] += 1
        self._report({"fault": kind, "at_ms": at_ms, **details})

    def lasting_ms(self, rule: FaultRule) -> int:
        """How long a stall lasts, or how soon after its notice a server goes."""
        if rule.kind == "shutdown":
            return rule.lasting or self._random.randrange(_SHUTDOWN_MS)
        return rule.lasting or _STALL_MS

    def closing(self, frame: Frame, now_ms: int) -> tuple[list[Frame], tuple[int, Frame] | None]:
        """What is sent now instead of a closed frame, and what later (with its time)."""
        self._armed = [
            armed for armed in self._armed if now_ms <= armed.until_ms or (_is_request(armed) and not armed.used)
        ]
        for armed in self._armed:
            rule = armed.rule
            if rule.kind not in _ON_FRAMES or (rule.symbols and frame.symbol not in rule.symbols):
                continue
            if self._random.random() >= rule.probability:
                continue
            self.report(rule.kind, now_ms, {"stream": frame.stream, "open_ms": frame.open_ms})
            return self._replaced(rule, frame, now_ms)
        return [frame], None

    def after(self, frame: Frame) -> list[Frame]:
        """The frame, and what a reorder has held back for it on the same stream."""
        held = self._held.pop(frame.stream, None)
        return [frame] if held is None else [frame, held]

    def request(self, now_ms: int, path: str, rate: float) -> HttpFault | None:
        """The answer that replaces a request's, None for its own."""
        for armed in self._armed:
            rule = armed.rule
            if not _is_request(armed) or (now_ms > armed.until_ms and armed.used):
                continue
            armed.used = True
            if self._random.random() >= rule.probability:
                continue
            self.report(rule.kind, now_ms, {"path": path})
            if rule.kind == "http_429":
                wait_s = max(1, math.ceil((armed.until_ms - now_ms) / 1000 / rate))
                return HttpFault(429, wait_s, -1003, "Too many requests queued.")
            status, code, message = self._random.choice(_BROKEN)
            return HttpFault(status, 0, code, message)
        return None

    def _replaced(self, rule: FaultRule, frame: Frame, now_ms: int) -> tuple[list[Frame], tuple[int, Frame] | None]:
        match rule.kind:
            case "duplicate":
                return [frame, frame], None
            case "late_close":
                return [], (now_ms + (rule.lasting or _LATE_MS), frame)
            case "reorder":
                self._held[frame.stream] = frame
                return [], None
            case "malformed":
                damage = self._random.choice(_DAMAGES)
                return [frame.altered(damage)], None
            case _:
                return [], None


def _is_request(armed: _Armed) -> bool:
    return armed.rule.kind in _ON_REQUESTS


def _truncated(body: str) -> str:
    return body[: len(body) // 2]


def _no_number(body: str) -> str:
    return body.replace('"c":"', '"c":"x', 1)


def _no_close(body: str) -> str:
    return body.replace('"c":', '"was":', 1)


def _upside_down(body: str) -> str:
    return (
        body.replace('"h":', '"_":', 1)
        .replace('"l":', '"h":', 1)
        .replace('"_":', '"l":', 1)
        .replace('"l":"', '"l":"9', 1)
    )


def _no_object(_body: str) -> str:
    return "[]"


_DAMAGES = (_truncated, _no_number, _no_close, _upside_down, _no_object)
