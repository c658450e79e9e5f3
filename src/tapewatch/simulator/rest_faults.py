"""What a fault script does to REST: answers that are replaced, cut or slow, a clock that is wrong, bars that differ."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tapewatch.simulator import damage
from tapewatch.simulator.rules import FaultRule
from tapewatch.simulator.tape import Kline

Report = Callable[[str, int, Mapping[str, object]], None]
#: Where an answer is cut: in its text, which is complete as HTTP, or on the wire.
Cut = Literal["", "text", "wire"]


@dataclass(frozen=True)
class RestFault:
    """A REST answer that a rule replaces: status, exchange's code and words, and the wait in seconds where one is told.

    `page` stands instead of code and words. With `cut` the answer is the request's own, but not all of it; with
    `delay_s` it comes so much later.
    """

    status: int = 200
    code: int = 0
    message: str = ""
    retry_after_s: int = 0
    page: str = ""
    cut: Cut = ""
    delay_s: float = 0.0

    @property
    def replaces(self) -> bool:
        """Whether the request gets no answer of its own."""
        return not self.cut and not self.delay_s


_BUSY = RestFault(503, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes.")
_BROKEN = (
    RestFault(500, -1000, "An unknown error occurred while processing the request."),
    RestFault(502, -1001, "Internal error; unable to process your request. Please try again."),
    _BUSY,
    RestFault(504, -1007, "Timeout waiting for response from backend server."),
)
_FORBIDDEN = RestFault(
    403,
    page="<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body>\r\n<center><h1>403 Forbidden</h1></center>\r\n"
    "</body>\r\n</html>\r\n",
)
_RESTRICTED = RestFault(
    451,
    0,
    "Service unavailable from a restricted location according to 'b. Eligibility' in the terms of use. Please contact "
    "customer service if you believe you received this message in error.",
)


@dataclass
class _Armed:
    rule: FaultRule
    until_ms: int
    used: bool = False


class RestFaults:
    """Decides what happens to requests.

    Args:
        draw: where chance comes from.
        report: told of each injected fault.
    """

    def __init__(self, draw: random.Random, report: Report) -> None:
        self._random, self._report = draw, report
        self._armed: list[_Armed] = []
        self._skew: tuple[float, int] = (-math.inf, 0)
        self._corrected: dict[tuple[str, int], dict[int, float]] = {}

    def arm(self, rule: FaultRule, at_ms: int) -> None:
        """A rule has fired; one that fires again before anybody asked has one request, not two."""
        if rule.kind != "skew":
            self._armed = [armed for armed in self._armed if armed.rule is not rule or at_ms <= armed.until_ms]
            self._armed.append(_Armed(rule, at_ms + (rule.lasting or 0)))
        elif self._random.random() < rule.probability:
            until_ms = math.inf if rule.lasting is None else at_ms + rule.lasting
            self._skew = (until_ms, rule.offset or 0)
            self._report("skew", at_ms, {"offset_ms": rule.offset, "for_ms": rule.lasting})

    def skew_ms(self, now_ms: int) -> int:
        """How far the server's clock is ahead."""
        until_ms, offset_ms = self._skew
        return offset_ms if now_ms < until_ms else 0

    def correct(self, symbol: str, bar: Kline, until_ms: float) -> None:
        """REST has other values for a bar until then."""
        known = self._corrected.setdefault((symbol, bar.interval_ms), {})
        over = [open_ms for open_ms, end_ms in known.items() if end_ms < bar.open_ms]
        for open_ms in over:
            del known[open_ms]
        known[bar.open_ms] = until_ms

    def corrected(self, symbol: str, interval_ms: int, rows: list[Kline], now_ms: int) -> list[Kline]:
        """The rows of an answer as REST has them."""
        found = self._corrected.get((symbol, interval_ms))
        if not found:
            return rows
        return [damage.revised(bar) if now_ms < found.get(bar.open_ms, -1) else bar for bar in rows]

    def request(self, now_ms: int, path: str, rate: float) -> RestFault | None:
        """The answer that replaces a request's, None for its own.

        Each rule has at least one request: at high rates its time may have passed before anybody asked.
        """
        self._armed = [armed for armed in self._armed if now_ms <= armed.until_ms or not armed.used]
        for armed in self._armed:
            rule = armed.rule
            if rule.endpoints and not path.endswith(tuple(f"/{name}" for name in rule.endpoints)):
                continue
            armed.used = True
            if self._random.random() >= rule.probability:
                continue
            self._report(rule.kind, now_ms, {"path": path})
            if rule.kind == "http_slow":
                return RestFault(delay_s=(rule.delay or 0) / 1000)
            return self._answer(rule.kind, max(1, math.ceil((armed.until_ms - now_ms) / 1000 / rate)))
        return None

    def _answer(self, kind: str, wait_s: int) -> RestFault:
        match kind:
            case "http_429":
                return RestFault(429, -1003, "Too many requests queued.", wait_s)
            case "http_418":
                until_ms = int((time.time() + wait_s) * 1000)
                words = f"Way too much request weight used; IP banned until {until_ms}. Please use WebSocket Streams."
                return RestFault(418, -1003, words, wait_s)
            case "http_403":
                return _FORBIDDEN
            case "http_451":
                return _RESTRICTED
            case "http_busy":
                return _BUSY
            case "http_truncated":
                return RestFault(cut=self._random.choice(("text", "wire")))
            case _:
                return self._random.choice(_BROKEN)
