"""What a fault script does to connections: which ones are meant, and what becomes of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Literal

from tapewatch.simulator.clock import Clock
from tapewatch.simulator.faults import Injector
from tapewatch.simulator.rules import FaultRule
from tapewatch.simulator.session import Session

_LAG_MS = 3_000
#: What becomes of a handshake while connections are refused: a status, or the end of the TCP connection.
Refusal = Literal[429, 503, 0]
_REFUSALS: tuple[Refusal, ...] = (429, 503, 0)


class Incidents:
    """Carries out the faults of connections.

    Args:
        sessions: the connections there are; it changes.
        later: does something at a simulated time.
        patience_s: how long a goodbye waits for what is queued before it.
    """

    def __init__(self, sessions: Iterable[Session], injector: Injector, clock: Clock, patience_s: float) -> None:
        self._sessions, self._injector, self._clock, self._patience_s = sessions, injector, clock, patience_s
        self._later: Callable[[int, Callable[[int], None]], None] = lambda _at_ms, _what: None
        self._dropped_until_ms = self._refused_until_ms = 0
        self._closing: set[asyncio.Task[None]] = set()

    def through(self, later: Callable[[int, Callable[[int], None]], None]) -> None:
        """Have things done later by this."""
        self._later = later

    def refusal(self) -> Refusal | None:
        """What becomes of a handshake now; None when it is served."""
        now_ms = self._clock.now_ms()
        if now_ms < self._refused_until_ms:
            return self._injector.chosen(_REFUSALS, 1)[0]  # type: ignore[no-any-return]
        return 503 if now_ms < self._dropped_until_ms else None

    async def act(self, rule: FaultRule, at_ms: int) -> None:
        """Carry out a fault on the connections that it means."""
        only = frozenset(rule.symbols)
        meant = [session for session in self._sessions if not only or only & session.symbols()]
        meant = self._injector.chosen(meant, rule.connections)
        details: dict[str, object] = {"connections": len(meant)}
        lasting_ms = self._injector.lasting_ms(rule)
        if lasting_ms and rule.kind != "drop":
            details["for_ms"] = lasting_ms
        match rule.kind:
            case "drop":
                self._dropped_until_ms = self._shut(self._dropped_until_ms, at_ms + lasting_ms)
                for session in meant:
                    session.reset()
            case "refuse":
                self._refused_until_ms = self._shut(self._refused_until_ms, at_ms + lasting_ms)
                del details["connections"]
            case "silence":
                details |= self._silence(rule, at_ms, meant)
            case "age":
                self.close(meant, "Connection age limit")
            case "shutdown":
                for session in meant:
                    session.announce_shutdown(at_ms)
                self._later(at_ms + lasting_ms, lambda _at_ms: self.close(meant, "Server shutdown"))
            case _:
                self._slow_down(rule, at_ms + lasting_ms, meant, only)
        self._injector.report(rule.kind, at_ms, details)

    def close(self, sessions: list[Session], reason: str) -> None:
        """Say goodbye to these connections, without waiting for it."""
        task = asyncio.create_task(self.close_all(sessions, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close_all(self, sessions: list[Session], reason: str) -> None:
        """Say goodbye to these connections."""
        await asyncio.gather(*(session.close(1001, reason, self._patience_s) for session in sessions))

    def cancel(self) -> None:
        """Leave goodbyes that are not said yet."""
        for task in list(self._closing):
            task.cancel()

    def _shut(self, shut_until_ms: int, until_ms: int) -> int:
        self._clock.shut(until_ms)
        return max(shut_until_ms, until_ms)

    def _silence(self, rule: FaultRule, at_ms: int, meant: list[Session]) -> dict[str, object]:
        """Streams of the symbols, or of one by chance, bring no more until they are subscribed anew."""
        until_ms = math.inf if rule.lasting is None else at_ms + rule.lasting
        symbols = set(rule.symbols)
        if not symbols:
            there = sorted({symbol for session in meant for symbol in session.symbols()})
            symbols = set(self._injector.chosen(there, 1))
        hit = [session for session in meant if session.silence(symbols, until_ms)]
        return {"connections": len(hit), "symbols": sorted(symbols)}

    @staticmethod
    def _slow_down(rule: FaultRule, until_ms: int, meant: list[Session], only: frozenset[str]) -> None:
        for session in meant:
            if rule.kind == "stall":
                session.mute(until_ms, only)
            elif rule.kind == "lag":
                session.lag(until_ms, rule.delay or _LAG_MS)
            else:
                session.choke(until_ms)
