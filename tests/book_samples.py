"""What a paper book says of a position, for tests of those who store and tell it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from delivery_samples import CLOSE_MS
from tapewatch.model import AccountState, DayDone, EntriesPaused, Fill, FundingPaid, Leg, Outcome, Position

MINUTE_MS = 60_000
DAY_MS = 1_747_699_200_000  # 2025-05-20
SIGNAL_ID = f"binance_spot/BTCUSDT/1m/scalp/long/{CLOSE_MS}"


def position(state: str = "open", **changes: Any) -> Position:
    """A long position of 0.015 BTC, entered at 67,020, with two targets."""
    entered = state not in ("pending", "skipped")
    values: dict[str, Any] = {
        "trade_id": SIGNAL_ID,
        "signal_id": SIGNAL_ID,
        "symbol": "BTCUSDT",
        "strategy": "scalp",
        "side": "long",
        "timeframe": "1m",
        "state": state,
        "decided_ms": CLOSE_MS,
        "at_ms": CLOSE_MS + MINUTE_MS,
        "saved": [1, 0.1, [67020, None], "x"],
    }
    if entered:
        values |= {
            "entry_ms": CLOSE_MS,
            "entry": Decimal("67020.00"),
            "stop": Decimal(66800),
            "targets": (Leg(Decimal(67240), Decimal("0.0075")), Leg(Decimal(67460), Decimal("0.0075"))),
            "quantity": Decimal("0.015"),
            "held": Decimal("0.015"),
            "mark": Decimal(67100),
            "fees": Decimal("1.0053"),
        }
    if state == "closed":
        values |= {
            "closed_ms": CLOSE_MS + 5 * MINUTE_MS,
            "at_ms": CLOSE_MS + 6 * MINUTE_MS,
            "held": Decimal(0),
            "reason": "target",
            "gross": Decimal("4.95"),
            "fees": Decimal("2.01555"),
            "r": 0.889,
            "mfe_r": 2.0,
            "mae_r": -0.3,
        }
    return Position(**(values | changes))


def fill(number: int = 0, **changes: Any) -> Fill:
    """Its entry, or the fill of one of its targets."""
    values: dict[str, Any] = {
        "trade_id": SIGNAL_ID,
        "number": number,
        "ms": CLOSE_MS + number * 2 * MINUTE_MS,
        "reason": "target" if number else "entry",
        "price": Decimal(67020 + number * 220),
        "quantity": Decimal("0.0075") if number else Decimal("0.015"),
        "gross": Decimal("1.65") * number,
        "fee": Decimal("0.5043") if number else Decimal("1.0053"),
        "late": False,
        "recv_ms": CLOSE_MS + number * 2 * MINUTE_MS + 61_000,
    }
    return Fill(**(values | changes))


def account(**changes: Any) -> AccountState:
    """An account of 10,000 that has an open position."""
    state = AccountState(
        started_ms=DAY_MS,
        at_ms=CLOSE_MS + MINUTE_MS,
        start_cash=Decimal(10_000),
        cash=Decimal("9998.9947"),
        gross=Decimal(0),
        fees=Decimal("1.0053"),
        funding=Decimal(0),
        equity=Decimal("10000.1947"),
        open=1,
        saved=[[1, 2], {"peak": 1.5}],
    )
    return msgspec.structs.replace(state, **changes)


def day(**changes: Any) -> DayDone:
    """A day with a trade that won."""
    done = DayDone(
        day_ms=DAY_MS,
        equity_before=Decimal(10_000),
        equity=Decimal("10002.93445"),
        entered=2,
        closed=1,
        won=1,
        gross=Decimal("4.95"),
        fees=Decimal("2.01555"),
        funding=Decimal(0),
        open=1,
    )
    return msgspec.structs.replace(done, **changes)


def paid(**changes: Any) -> FundingPaid:
    """Funding of the position."""
    one = FundingPaid(trade_id=SIGNAL_ID, ms=CLOSE_MS, rate=0.0001, amount=Decimal("0.1005"))
    return msgspec.structs.replace(one, **changes)


def ended(**changes: Any) -> Outcome:
    """The alert's target was met."""
    one = Outcome(
        signal_id=SIGNAL_ID,
        symbol="BTCUSDT",
        strategy="scalp",
        side="long",
        timeframe="1m",
        state="passed",
        close_ms=CLOSE_MS,
        strength=7.5,
        regime="",
        result="target",
        price=67240.0,
        ms=CLOSE_MS + 2 * MINUTE_MS,
        bars=3,
        mfe_r=1.0,
        mae_r=-0.25,
        gross_r=1.0,
        net_r=0.4,
        gross_pct=0.33,
        risk_pct=0.33,
        ambiguous=False,
        late=False,
        recv_ms=CLOSE_MS + 3 * MINUTE_MS,
    )
    return msgspec.structs.replace(one, **changes)


def paused(**changes: Any) -> EntriesPaused:
    """A daily loss, until the next day."""
    pause = EntriesPaused("daily_loss", CLOSE_MS, DAY_MS + 86_400_000, 9_680.0, 10_000.0)
    return msgspec.structs.replace(pause, **changes)
