"""What each day's signals came to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy

from core_samples import MONDAY_MS
from delivery_samples import VENUE, signal
from outcome_samples import outcome
from tapewatch.model import DAY_MS, MINUTE_MS, Judged, Outcome, State
from tapewatch.store import Ledger, Step, dates, schema
from tapewatch.store.retention import prune

#: Of the third minute of two days.
FIRST_MS, SECOND_MS = MONDAY_MS + 3 * MINUTE_MS, MONDAY_MS + DAY_MS + 3 * MINUTE_MS


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(ledger_url)
    yield opened
    opened.close()


def found(symbol: str, close_ms: int, state: State = "passed", **changes: Any) -> Judged:
    """A candidate; one that passed was alerted with the others of its bar."""
    one = signal(symbol, close_ms=close_ms, **changes)
    return Judged(one, state, False, close_ms + 5, f"alert/{symbol}/{close_ms}" if state == "passed" else None)


def ended(symbol: str, close_ms: int, **given: Any) -> Outcome:
    """What became of one."""
    return outcome((close_ms - MONDAY_MS) // MINUTE_MS, symbol=symbol, **given)


def test_a_day_is_counted_by_strategy_side_and_timeframe(ledger: Ledger) -> None:
    """Signals, those that passed, their alerts and their ends; days apart, and blocked ones with no say in results."""
    effects: list[Any] = [found(name, FIRST_MS) for name in ("AUSDT", "BUSDT", "CUSDT", "DUSDT")]
    effects += [found("EUSDT", FIRST_MS, "blocked"), ended("EUSDT", FIRST_MS, state="blocked")]
    effects += [found("AUSDT", FIRST_MS, side="short"), found("AUSDT", SECOND_MS)]
    effects += [ended("AUSDT", FIRST_MS), ended("BUSDT", FIRST_MS, hit=False, ambiguous=True)]
    effects += [ended("CUSDT", FIRST_MS, result="time", gross_pct=0.5, gross_r=0.25, net_r=0.15, risk_pct=2.0)]
    ledger.commit_step(Step(VENUE, effects))
    assert ledger.metrics.update() == 2

    long, short, later = ledger.metrics.between()
    key = {"venue": VENUE, "day_ms": MONDAY_MS, "strategy": "scalp", "side": "long", "timeframe": "1m"}
    assert {name: long[name] for name in key} == key
    counts = ("signals", "passed", "alerts", "targets", "stops", "timeouts", "ambiguous", "trades")
    assert [long[name] for name in counts] == [5, 4, 4, 1, 1, 1, 1, 0]
    assert long["win_rate"] == pytest.approx(1 / 3)
    assert long["expectancy_r"] == pytest.approx((0.8 - 1.2 + 0.15) / 3)
    assert long["gross_r"] == pytest.approx((1.0 - 1.0 + 0.5) / 4.0)
    assert long["net_r"] == pytest.approx((0.8 - 1.2 + 0.15 * 2.0) / 4.0)
    assert [short[name] for name in ("side", *counts)] == ["short", 1, 1, 1, 0, 0, 0, 0, 0]
    assert [short[name] for name in ("win_rate", "expectancy_r", "gross_r", "net_r")] == [None] * 4
    assert (later["day_ms"], later["signals"]) == (MONDAY_MS + DAY_MS, 1)
    assert [one["side"] for one in ledger.metrics.between(MONDAY_MS, MONDAY_MS + DAY_MS)] == ["long", "short"]


def test_paper_positions_count_on_the_day_of_their_signal(ledger: Ledger) -> None:
    """Those that are closed, to the last digit."""
    ledger.commit_step(Step(VENUE, [found("AUSDT", FIRST_MS), found("BUSDT", FIRST_MS), found("CUSDT", FIRST_MS)]))
    with ledger._database.write() as connection:
        for symbol, state, gross in (("A", "closed", "10.1"), ("B", "closed", "-3"), ("C", "open", "99")):
            one = signal(f"{symbol}USDT", close_ms=FIRST_MS)
            words = dict.fromkeys(("targets", "saved"), "[]") | dict.fromkeys(("quantity", "held", "funding"), "0")
            about = {"venue": VENUE, "symbol": one.symbol, "strategy": "scalp", "side": "long", "timeframe": "1m"}
            row = (
                about | words | {"trade_id": one.id, "signal_id": one.id, "state": state, "gross": gross, "fees": "0.1"}
            )
            row |= {"decided_ms": 1, "at_ms": 1, "ambiguous": False}
            connection.execute(sqlalchemy.insert(schema.trades).values(row))
    ledger.metrics.update()
    [day] = ledger.metrics.between()
    assert [day[name] for name in ("trades", "trades_won", "trades_net")] == [2, 1, "6.9"]


def test_what_becomes_known_later_updates_its_day_and_no_other_is_looked_at(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time what is new since the last one, and what a run left uncounted; counting again changes nothing."""
    clock = iter(range(DAY_MS, 100 * DAY_MS, DAY_MS // 2))

    def then(*effects: Any) -> int:
        """The next day, this becomes known; half a day after that, how many days are counted anew."""
        monkeypatch.setattr(dates.time, "time_ns", lambda now_ms=next(clock): now_ms * 1_000_000)
        ledger.commit_step(Step(VENUE, list(effects)))
        monkeypatch.setattr(dates.time, "time_ns", lambda now_ms=next(clock): now_ms * 1_000_000)
        return ledger.metrics.update()

    assert then(found("AUSDT", FIRST_MS), found("AUSDT", SECOND_MS)) == 2
    assert then() == 0
    assert then(ended("AUSDT", FIRST_MS)) == 1
    assert [(one["targets"], one["win_rate"]) for one in ledger.metrics.between()] == [(1, 1.0), (0, None)]
    before = list(ledger.metrics.between())
    assert then(ended("AUSDT", FIRST_MS)) == 0  # it was known
    assert list(ledger.metrics.between()) == before
    assert then(found("BUSDT", FIRST_MS)) == 1  # a bar that came late
    assert [one["signals"] for one in ledger.metrics.between()] == [2, 1]


def test_a_day_whose_signals_have_gone_stays_as_it_was(ledger: Ledger) -> None:
    """What comes too late for it is not told in the place of what was."""
    ledger.commit_step(Step(VENUE, [found("AUSDT", FIRST_MS, "blocked"), found("BUSDT", FIRST_MS)]))
    ledger.commit_step(Step(VENUE, [ended("AUSDT", FIRST_MS, state="blocked"), found("AUSDT", SECOND_MS)]))
    ledger.metrics.update()
    before = list(ledger.metrics.between())
    assert prune(ledger._database, {"signals": DAY_MS - 1}, SECOND_MS)["signals"] == 1

    ledger.commit_step(Step(VENUE, [ended("BUSDT", FIRST_MS)]))
    ledger.metrics.update()
    assert list(ledger.metrics.between()) == before
