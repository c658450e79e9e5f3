"""What a run's pages are made of: the scene, reads of its ledger, and the events that its pages are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from tapewatch.engine.tape import SLOT_MS, Tape
from tapewatch.errors import StoreError
from tapewatch.model import DAY_MS, BarClosed, Effect, Event, Fill, Judged, Position
from tapewatch.telemetry.health import Health
from tapewatch.web.bars import Folding
from tapewatch.web.events import Hub
from tapewatch.web.reads import Reads
from tapewatch.web.scene import Scene

#: Bars are told so often at most, rows of the watch list and health each second.
BARS_S = 0.05
ROWS_EVERY = 20
#: More bars at once are told by `reset`: whoever was that far behind looks anew.
MOST_BARS = 10_000
#: Rows made before other tasks get their turn; some milliseconds of work.
SLICE = 100
#: How an attempt to deliver leaves its message.
_STATES = {"sent": "sent", "failed": "queued", "rejected": "dead"}


class Site:
    """What pages show of one process, and what they are told while they are open.

    Args:
        scene: the run's.
        health: of the process.
        now_ms: the wall clock.
    """

    def __init__(self, scene: Scene, health: Health, now_ms: Callable[[], int]) -> None:
        self.scene, self.health, self.now_ms = scene, health, now_ms
        self.hub = Hub(now_ms())
        self.reads = Reads(scene.config.ledger.address)
        self._remembered = False
        self._lasts: dict[str, dict[str, Any]] | None = None
        self._folding = Folding()
        self._bars: dict[tuple[str, int, int], list[Any]] = {}
        self._changed: set[str] = set()
        self._verdict: dict[str, Any] | None = None

    # The watch list.

    async def rows(self) -> list[dict[str, Any]]:
        """A row of the watch list for each symbol."""
        await self._remember()
        lasts = await self._last_signals()
        return [row async for row in self._made(list(self.health.symbols), lasts)]

    async def _remember(self) -> None:
        """Learn the prices of the day before this run, of which no bars come."""
        now_ms, venue = self.scene.market_ms(), self.scene.config.exchange.venue
        if self._remembered or now_ms is None:
            return
        found = await self.reads(lambda ledger: ledger.market.prices(venue, now_ms - DAY_MS - SLOT_MS))
        self._remembered, watched = True, set(self.health.symbols)
        for number, (symbol, at_ms, price) in enumerate(found, start=1):
            if symbol in watched:
                self.scene.tapes.setdefault(symbol, Tape()).remember(at_ms, price)
            if not number % (10 * SLICE):
                await asyncio.sleep(0)

    async def _last_signals(self) -> dict[str, dict[str, Any]]:
        if self._lasts is None:
            venue = self.scene.config.exchange.venue
            found = await self.reads(lambda ledger: ledger.pages.last_signals(venue))
            if not self.hub.attended:
                return found
            self._lasts = found
        return self._lasts

    async def _made(self, symbols: Sequence[str], lasts: dict[str, dict[str, Any]]) -> Any:
        for number, symbol in enumerate(symbols, start=1):
            yield self._row(symbol, lasts.get(symbol))
            if not number % SLICE:
                await asyncio.sleep(0)

    def _row(self, symbol: str, last: dict[str, Any] | None) -> dict[str, Any]:
        tape, known = self.scene.tapes.get(symbol), self.health.freshness.get(symbol)
        there = tape is not None and tape.close_ms > 0
        outlook = self.scene.outlook(symbol, tape.close_ms) if tape is not None else None
        return {
            "symbol": symbol,
            "price": tape.close if tape is not None and there else None,
            "change_pct": tape.change_pct if tape is not None and there else None,
            "volume_z": None if tape is None else tape.volume_z,
            "trend": None if outlook is None else outlook.trend,
            "volatility": None if outlook is None else _volatility(outlook.regimes),
            "last_signal": last,
            "last_bar_ms": tape.close_ms if tape is not None and there else None,
            "fresh": known is not None
            and known.close_ms is not None
            and self.now_ms() - known.seen_ms <= self.health.stale_ms,
        }

    # What pages are told.

    async def run(self) -> None:
        """Tell open pages what happens, until cancelled; without any nothing is done."""
        try:
            while True:
                await self.hub.wanted()
                self.scene.on_step, self.scene.on_attempt = self._stepped, self._attempted
                ticks = 0
                while self.hub.attended:
                    await asyncio.sleep(BARS_S)
                    self._tell_bars()
                    ticks += 1
                    if not ticks % ROWS_EVERY:
                        await self._tell_rows()
                        self._tell_health()
                self._rest()
        finally:
            self._rest()

    def _rest(self) -> None:
        self.scene.on_step = self.scene.on_attempt = None
        self._lasts = self._verdict = None
        self._folding = Folding()
        self._bars, self._changed = {}, set()

    def _tell_bars(self) -> None:
        if not self._bars:
            return
        bars, self._bars = list(self._bars.values()), {}
        if len(bars) > MOST_BARS:
            self.hub.publish("reset", {})
        else:
            self.hub.publish("bars", {"ms": self.now_ms(), "bars": bars})

    async def _tell_rows(self) -> None:
        if not self._changed:
            return
        changed, self._changed = sorted(self._changed), set()
        try:
            lasts = await self._last_signals()
        except StoreError:  # the run tells of it
            return
        self.hub.publish("watch", {"rows": [row async for row in self._made(changed, lasts)]})

    def _tell_health(self) -> None:
        verdict = self.health.ready(self.now_ms())
        told = {"status": "pass" if verdict.ok else "fail", "reasons": list(verdict.reasons)}
        if told != self._verdict:
            self._verdict = told
            self.hub.publish("health", told)

    def _stepped(self, events: Sequence[Event], effects: Sequence[Effect]) -> None:
        larger = {program.interval_ms for program in self.scene.programs}
        for event in events:
            if isinstance(event, BarClosed):
                self._changed.add(event.bar.symbol)
                for bar in self._folding.take(event.bar, larger):
                    key = bar.symbol, bar.interval_ms, bar.open_ms
                    self._bars[key] = [*key, bar.open, bar.high, bar.low, bar.close, bar.volume]
        for effect in effects:
            if isinstance(effect, Judged):
                self._judged(effect)
        for told in _fills(effects):
            self.hub.publish("fill", told)

    def _judged(self, judged: Judged) -> None:
        signal = judged.signal
        body: dict[str, Any] = msgspec.to_builtins(signal)
        stored = {"state": judged.state, "late": judged.late, "recv_ms": judged.recv_ms, "alert_id": judged.alert_id}
        self.hub.publish("signal", body | stored | {"outcome": None, "deliveries": []})
        self._changed.add(signal.symbol)
        if self._lasts is not None:
            self._lasts[signal.symbol] = {
                "id": signal.id, "side": signal.side, "strategy": signal.strategy, "ms": signal.close_ms,
                "state": judged.state,
            }  # fmt: skip

    def _attempted(self, alert_id: str, channel: str, outcome: str, ms: int) -> None:
        state = _STATES[outcome]
        self.hub.publish("delivery", {"alert_id": alert_id, "channel": channel, "state": state, "ms": ms})


def _volatility(regimes: dict[str, bool | None]) -> str | None:
    high, low = regimes.get("high_volatility"), regimes.get("low_volatility")
    if high or low:
        return "high" if high else "low"
    return None if high is None or low is None else "normal"


def _fills(effects: Sequence[Effect]) -> Iterator[dict[str, Any]]:
    """Each fill with whose it is: a position is said anew in the step in which it fills."""
    positions = {effect.trade_id: effect for effect in effects if isinstance(effect, Position)}
    for effect in effects:
        position = positions.get(effect.trade_id) if isinstance(effect, Fill) else None
        if isinstance(effect, Fill) and position is not None:
            yield {
                "signal_id": position.signal_id, "symbol": position.symbol, "side": position.side,
                "kind": effect.reason, "price": float(effect.price), "quantity": float(effect.quantity),
                "ms": effect.ms,
            }  # fmt: skip
