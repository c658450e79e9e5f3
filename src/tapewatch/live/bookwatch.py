"""What happens to the paper account, told to logs, metrics, health and the operator; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tapewatch.live.operator import OperatorDesk
from tapewatch.model import (
    AccountState,
    BookFailed,
    DayDone,
    Effect,
    EntriesPaused,
    EntriesResumed,
    Fill,
    Position,
    decimal_text,
    trace_id,
)
from tapewatch.store import Ledger
from tapewatch.telemetry import get_logger
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics

_log = get_logger("live")
_OF_A_BOOK = (
    AccountState, BookFailed, DayDone, EntriesPaused, EntriesResumed, Fill, Position,
)  # fmt: skip


class BookWatch:
    """Follows what is stored of the account.

    Args:
        metrics, health, operator: where it goes.
    """

    def __init__(self, metrics: Metrics, health: Health, operator: OperatorDesk) -> None:
        self._metrics = metrics
        self._health = health
        self._operator = operator
        self._sides: dict[str, str] = {}
        self._fills: dict[str, list[Fill]] = {}
        self._account: dict[str, Any] = {}
        self._day_began: Decimal | None = None

    def start(self, ledger: Ledger, venue: str) -> None:
        """Begin with what an earlier run has stored; the health document has the account from here on."""
        self._health.parts["paper"] = self.state
        for row in ledger.paper.positions(venue, states=("open",)):
            self._sides[row["trade_id"]] = row["side"]
        account, days = ledger.paper.account(venue), ledger.paper.days(venue)
        if account is not None:
            self._account = account
            self._day_began = Decimal(days[-1]["equity"] if days else account["start_cash"])
        self._show()

    def state(self) -> dict[str, Any]:
        """As the health document shows it; money as text with all its digits, None before there is any."""
        account, began = self._account, self._day_began
        equity = account.get("equity")
        day_net = None if equity is None or began is None else decimal_text(Decimal(equity) - began)
        sides = list(self._sides.values())
        return {
            "open": len(sides),
            "long": sides.count("long"),
            "short": sides.count("short"),
            "equity": equity,
            "day_net": day_net,
            "paused_until_ms": account.get("paused_until_ms") or None,
            "paused_why": account.get("paused_why"),
        }

    def take(self, effects: Sequence[Effect]) -> None:
        """A step was stored."""
        changed = False
        for effect in [one for one in effects if isinstance(one, _OF_A_BOOK)]:
            if isinstance(effect, Fill):
                self._fills.setdefault(effect.trade_id, []).append(effect)
            elif isinstance(effect, Position):
                self._position(effect)
                changed = True
            elif isinstance(effect, AccountState):
                self._take_account(effect)
                changed = True
            elif isinstance(effect, DayDone):
                self._day_began = effect.equity
            else:
                self._rest(effect)
        if changed:
            self._show()

    def _position(self, position: Position) -> None:
        if position.state == "open":
            self._sides[position.trade_id] = position.side
        else:
            self._sides.pop(position.trade_id, None)
        about = {
            "symbol": position.symbol, "trace_id": trace_id(position.signal_id), "strategy": position.strategy,
            "side": position.side, "trade_id": position.trade_id,
        }  # fmt: skip
        for fill in self._fills.pop(position.trade_id, ()):
            self._metrics.paper_fills.labels(fill.reason).inc()
            _log.info(
                "paper_fill",
                **about,
                number=fill.number,
                reason=fill.reason,
                price=decimal_text(fill.price),
                quantity=decimal_text(fill.quantity),
                gross=decimal_text(fill.gross),
                fee=decimal_text(fill.fee),
                late=fill.late,
            )
        if position.state == "skipped":
            self._metrics.paper_skipped.labels(position.reason or "").inc()
            _log.info("paper_skipped", **about, reason=position.reason)

    def _take_account(self, account: AccountState) -> None:
        if self._day_began is None:
            self._day_began = account.start_cash
        self._account = {
            "equity": decimal_text(account.equity),
            "paused_until_ms": account.paused_until_ms,
            "paused_why": account.paused_why,
        }

    def _rest(self, effect: Effect) -> None:
        if isinstance(effect, EntriesPaused):
            _log.warning("paper_paused", why=effect.why, since_ms=effect.since_ms, until_ms=effect.until_ms)
        elif isinstance(effect, EntriesResumed):
            _log.info("paper_resumed", since_ms=effect.since_ms, at_ms=effect.at_ms)
        elif isinstance(effect, BookFailed):
            self._metrics.paper_failures.labels(effect.strategy).inc()
            about = {"symbol": effect.symbol, "strategy": effect.strategy, "ms": effect.ms}
            _log.error("paper_failed", **about, error=effect.error, stack=effect.stack)
            self._operator.alert(
                f"paper_failed/{effect.strategy}",
                f"The paper position of {effect.strategy} on {effect.symbol} could not be worked out",
                f"{effect.error}\nThe candle was skipped for this position; everything else goes on.",
            )

    def _show(self) -> None:
        state = self.state()
        for side in ("long", "short"):
            self._metrics.paper_positions.labels(side).set(state[side])
        if state["equity"] is not None:
            self._metrics.paper_equity.set(float(state["equity"]))
        self._metrics.paper_paused.set(state["paused_until_ms"] is not None)
