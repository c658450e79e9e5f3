"""What the feed is asked to bring, and in what order of liquidity."""

from __future__ import annotations

from tapewatch import strategies
from tapewatch.feeds import Instrument
from tapewatch.live.plans import plan_series
from tapewatch.model import MINUTE_MS

NOW_MS = 1_700_000_040_000
INSTRUMENTS = [
    Instrument("BTCUSDT", "BTC", "USDT", "TRADING", True, 5e9),
    Instrument("NEWUSDT", "NEW", "USDT", "TRADING", True),
]


def test_plans_carry_the_volume() -> None:
    """A plan says how liquid its symbol is; one whose volume is unknown goes last."""
    plans = plan_series(INSTRUMENTS, strategies.configured({"scalp": {}}), [], NOW_MS)
    assert [plan.quote_volume_24h for plan in plans] == [5e9, 0.0]
    assert all(plan.base_start_ms % MINUTE_MS == 0 and plan.last_open_ms is None for plan in plans)
