"""A pause says what set it off: the protection, and what it looked at."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tapewatch.model import DAY_MS, EntriesPaused
from tapewatch.paper.account import Protections
from tapewatch.paper.bookkeeping import Account

OFF = Protections(0.0, 0.0, 0, 0, 0, 0)
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("protections", "nets", "said"),
    [
        (
            OFF._replace(daily_loss=0.03),
            [200.0, -310.0],
            EntriesPaused("daily_loss", 2 * HOUR_MS, DAY_MS, 890.0, 1_000.0, 1),
        ),
        (
            OFF._replace(max_drawdown=0.1, drawdown_pause_ms=DAY_MS),
            [200.0, -50.0, -100.0],
            EntriesPaused("max_drawdown", 3 * HOUR_MS, DAY_MS + 3 * HOUR_MS, 1_050.0, 1_200.0, 2),
        ),
        (
            OFF._replace(losses=3, losses_pause_ms=HOUR_MS),
            [-1.0, 0.0, -1.0, -1.0, -1.0],
            EntriesPaused("losses", 5 * HOUR_MS, 6 * HOUR_MS, 996.0, 1_000.0, 3),
        ),
    ],
    ids=["daily_loss", "max_drawdown", "losses"],
)
def test_a_pause_has_its_numbers(protections: Protections, nets: list[float], said: EntriesPaused) -> None:
    """Realised now, and when the day began or at the peak; losses in a row with the one that set it off."""
    account = Account.begun(Decimal(1_000))
    account.closed = [(number * HOUR_MS, "AUSDT", "scalp", net) for number, net in enumerate(nets, 1)]
    assert account.protect(10 * HOUR_MS, protections) == [said]
