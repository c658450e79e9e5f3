"""Carrying out a fault script: when each rule fires, and what it does to frames and bars."""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tapewatch.model import MINUTE_MS
from tapewatch.simulator import damage
from tapewatch.simulator.limits import Books
from tapewatch.simulator.rest_faults import RestFaults
from tapewatch.simulator.rules import ARCHIVE_FAULTS, CONNECTION_FAULTS, FRAME_FAULTS, MARKET_FAULTS, FaultRule
from tapewatch.simulator.streams import Frame
from tapewatch.simulator.tape import Kline

OnFault = Callable[[dict[str, Any]], None]
#: What is sent now instead of a closed frame, and what later, with its time.
Sent = tuple[list[Frame], tuple[int, Frame] | None]

#: How long a rule without `for` lasts.
_LASTING_MS = {"stall": 60_000, "lag": 60_000, "choke": 10_000, "refuse": 30_000, "late_close": 30_000}
_SHUTDOWN_MS = 10_000
_SECOND_CLOSE_MS = 1_500


@dataclass
class _Armed:
    rule: FaultRule
    order: int
    from_ms: int
    until_ms: int


class Injector:
    """Decides what happens to what; the same script and seed over the same frames decide the same.

    Args:
        on_fault: told of each injected fault, as `{fault, at_ms, ...}`.

    Attributes:
        rest: what happens to REST.
    """

    def __init__(self, rules: Sequence[FaultRule], seed: int, start_ms: int, books: Books, on_fault: OnFault) -> None:
        self._seed, self._random = seed, random.Random(seed)
        self._books, self._report = books, on_fault
        self._armed: list[_Armed] = []
        self._held: dict[str, Frame] = {}
        self._due = [
            (rule.first_ms(start_ms), order, rule)
            for order, rule in enumerate(rules)
            if rule.kind not in (*MARKET_FAULTS, *ARCHIVE_FAULTS)  # those are in candles and files from the beginning
        ]
        self.rest = RestFaults(random.Random(f"{seed} rest"), self.report)

    @property
    def idle(self) -> bool:
        """Whether nothing would happen to a frame now."""
        return not self._armed and not self._held

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
            if rule.kind == "extra":
                self._open(rule, order, at_ms)
            elif rule.kind in FRAME_FAULTS or rule.kind == "correction":
                self._arm(rule, order, at_ms)
            elif rule.kind not in CONNECTION_FAULTS:
                self.rest.arm(rule, at_ms)
            elif self._random.random() < rule.probability:
                acting.append((at_ms, rule))
        return acting

    def report(self, kind: str, at_ms: int, details: Mapping[str, object]) -> None:
        """Count and tell one injected fault."""
        self._books.faults[kind] += 1
        self._report({"fault": kind, "at_ms": at_ms, **details})

    def lasting_ms(self, rule: FaultRule) -> int:
        """How long a fault of connections lasts, or how soon after its notice a server goes."""
        if rule.kind == "shutdown":
            return rule.lasting or self._random.randrange(_SHUTDOWN_MS)
        return rule.lasting or _LASTING_MS.get(rule.kind, 0)

    def chosen(self, among: Sequence[Any], count: int | None) -> list[Any]:
        """So many of them by chance, all when no number is given."""
        if count is None or count >= len(among):
            return list(among)
        return self._random.sample(list(among), count)

    def closing(self, frame: Frame, bar: Kline, again: Callable[[Kline], Frame], now_ms: int) -> Sent:
        """What is sent instead of a closed frame; `again` makes the frame of the bar with other values."""
        if not self._armed:
            return [frame], None
        self._armed = [armed for armed in self._armed if now_ms <= armed.until_ms]
        chosen: FaultRule | None = None
        for armed in self._armed:
            rule = armed.rule
            if rule.kind == "extra" or (rule.symbols and frame.symbol not in rule.symbols):
                continue
            if (chosen and rule.kind != "correction") or not self._likely(armed, frame):
                continue
            self.report(rule.kind, now_ms, {"stream": frame.stream, "open_ms": frame.open_ms})
            if rule.kind == "correction":  # it is REST that differs, so another fault may have the frame
                until_ms = math.inf if rule.lasting is None else now_ms + rule.lasting
                self.rest.correct(frame.symbol, bar, until_ms)
            else:
                chosen = rule
        return ([frame], None) if chosen is None else self._replaced(chosen, frame, bar, again, now_ms)

    def after(self, frame: Frame, now_ms: int) -> list[Frame]:
        """The frame as it goes out, and what a reorder has held back for it on the same stream."""
        for armed in self._armed:
            rule = armed.rule
            if rule.kind != "extra" or not armed.from_ms <= now_ms <= armed.until_ms:
                continue
            if (not rule.symbols or frame.symbol in rule.symbols) and self._likely(armed, frame):
                frame = frame.altered(damage.with_more)
        held = self._held.pop(frame.stream, None) if self._held else None
        return [frame] if held is None else [frame, held]

    def _arm(self, rule: FaultRule, order: int, at_ms: int) -> None:
        passed_ms = at_ms - self._books.limits.close_delay_ms - 1  # closes of a boundary before this are out
        boundary_ms = passed_ms - passed_ms % MINUTE_MS + MINUTE_MS + 1000
        lasting = rule.lasting if rule.kind not in {"late_close", "correction"} else None
        self._armed.append(_Armed(rule, order, at_ms, at_ms + lasting if lasting else boundary_ms))

    def _open(self, rule: FaultRule, order: int, at_ms: int) -> None:
        until_ms = at_ms + (rule.lasting or 60_000)
        self._armed.append(_Armed(rule, order, at_ms, until_ms))
        self.report(rule.kind, at_ms, {"for_ms": until_ms - at_ms})

    def _likely(self, armed: _Armed, frame: Frame) -> bool:
        """Whether the rule takes the frame; each frame has its own chance, whatever came before it."""
        return armed.rule.probability >= 1 or self._share(armed.order, frame) < armed.rule.probability

    def _share(self, order: int, frame: Frame) -> float:
        return zlib.crc32(f"{self._seed} {order} {frame.stream} {frame.open_ms}".encode()) / 2**32

    def _replaced(
        self, rule: FaultRule, frame: Frame, bar: Kline, again: Callable[[Kline], Frame], now_ms: int
    ) -> Sent:
        match rule.kind:
            case "duplicate":
                return [frame, frame], None
            case "second_close":
                return [frame], (now_ms + _SECOND_CLOSE_MS, again(damage.revised(bar)))
            case "late_close":
                return [], (now_ms + (rule.lasting or _LASTING_MS["late_close"]), frame)
            case "reorder":
                self._held[frame.stream] = frame
                return [], None
            case "malformed":
                return [frame.altered(damage.DAMAGES[int(self._share(-1, frame) * len(damage.DAMAGES))])], None
            case "array":
                return [frame.altered(damage.in_array)], None
            case _:
                return [], None
