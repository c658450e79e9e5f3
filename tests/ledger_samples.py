"""A ledger with everything that a report is made of."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from typing import Any

import msgspec

from book_samples import DAY_MS, account, day, ended, fill, position
from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from tapewatch.model import Rate, Record
from tapewatch.store import Ledger, Step

MINUTE_MS, DAY = 60_000, 86_400_000


def record(hits: int, n: int) -> Record:
    """What was told with an alert."""
    rate = Rate(n, hits, 0.4, 0.7)
    return Record(
        strategy="scalp", side="long", timeframe="1m", last=rate, all=rate, baseline=0.5, baseline_n=100, gross_r=0.1,
        net_r=-0.25, net_quote=-1.0, cost_bps=20.0,
    )  # fmt: skip


def closed(number: int, symbol: str, **changes: Any) -> list[Any]:
    """A closed position with its fills, so many minutes later than the first."""
    at_ms = CLOSE_MS + number * MINUTE_MS
    values = {
        "trade_id": f"{symbol}/{number}",
        "decided_ms": at_ms,
        "entry_ms": at_ms,
        "closed_ms": at_ms + 5 * MINUTE_MS,
        "symbol": symbol,
    }
    fills = [fill(k, trade_id=f"{symbol}/{number}", ms=at_ms + k * 2 * MINUTE_MS) for k in range(3)]
    return [*fills, position("closed", **(values | changes))]


def fill_in(ledger_url: str, symbol: str = "BTCUSDT") -> None:
    """Days, trades of two strategies, one that is open, alerts with what was told, ends, and messages that went out."""
    raised = alert_of(signal(symbol))
    later = alert_of(signal(symbol, close_ms=CLOSE_MS + MINUTE_MS))
    step = step_of(raised, later, channels=("mail", "chat"))
    records = {one.alert_id: record(36, 60) for one in (raised, later)}
    ends = [
        ended(signal_id=one.signals[0].id, symbol=symbol, close_ms=one.signals[0].close_ms, result=result)
        for one, result in ((raised, "target"), (later, "stop"))
    ]
    days = [
        day(day_ms=DAY_MS - k * DAY, equity_before=Decimal(10_000 + 50 * k), equity=Decimal(9_950 + 50 * k))
        for k in range(40, 0, -1)
    ]
    trades = [one for k in range(8) for one in closed(k, symbol, strategy=("scalp", "trend")[k % 2])]
    with closing(Ledger.open(ledger_url)) as ledger:
        ledger.commit_step(msgspec.structs.replace(step, records=records))
        ledger.commit_step(
            Step(VENUE, [*days, *trades, position(trade_id=f"{symbol}/open", symbol=symbol), account(), *ends])
        )
        sent, dead, *_ = ledger.outbox.waiting("mail", CLOSE_MS, 10)
        for message, finish in ((sent, ledger.outbox.mark_sent), (dead, ledger.outbox.mark_sent)):
            assert ledger.outbox.take(message.message_id, CLOSE_MS + 10) is not None
            finish(message.message_id, CLOSE_MS + 250)
