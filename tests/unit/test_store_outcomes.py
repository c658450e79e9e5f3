"""Outcomes and random entries in the ledger: each once, a run's own before computed ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from book_samples import MINUTE_MS, ended
from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from ledger_rows import baseline_sums, outcomes_of
from outcome_samples import drawn_of
from tapewatch.model import ControlDone, Judged
from tapewatch.record import Baseline, Kind
from tapewatch.store import Ledger, Step

HOUR = CLOSE_MS // 3_600_000 % 24


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(ledger_url)
    yield opened
    opened.close()


def control(**changes: Any) -> ControlDone:
    """A random entry that hit."""
    one = ControlDone(
        symbol="BTCUSDT",
        strategy="scalp",
        side="long",
        timeframe="1m",
        close_ms=CLOSE_MS,
        result="target",
        gross_pct=1.5,
        risk_pct=1.0,
    )
    return msgspec.structs.replace(one, **changes)


def test_an_outcome_is_read_back_as_it_was_told(ledger: Ledger) -> None:
    """Each field of it; with its signal too."""
    ledger.commit_step(step_of(alert_of(signal())))
    assert [one["outcome"] for one in ledger.stored_signals()] == [None]
    ledger.commit_step(Step(VENUE, [ended()]))
    [row] = outcomes_of(ledger)
    assert row == msgspec.structs.asdict(ended()) | {"venue": VENUE, "source": "live", "checks": None}
    [stored] = ledger.stored_signals()
    assert stored["outcome"] == {
        name: row[name] for name in ("result", "ambiguous", "bars", "price", "ms", "mfe_r", "mae_r", "gross_r", "net_r")
    }


def test_what_a_run_has_seen_takes_the_place_of_what_was_computed_and_stays(ledger: Ledger) -> None:
    """Whatever is said of it later."""
    ledger.outcomes.backfill(VENUE, [ended(result="time")], {}, {})
    assert [(one["result"], one["source"]) for one in outcomes_of(ledger)] == [("time", "history")]
    ledger.outcomes.backfill(VENUE, [ended(result="stop")], {}, {})
    assert [(one["result"], one["source"]) for one in outcomes_of(ledger)] == [("stop", "history")]
    ledger.commit_step(Step(VENUE, [ended(), ended(result="stop")]))
    ledger.commit_step(Step(VENUE, [ended(result="stop")]))
    ledger.outcomes.backfill(VENUE, [ended(result="time")], {}, {})
    assert [(one["result"], one["source"]) for one in outcomes_of(ledger)] == [("target", "live")]


def test_random_entries_are_summed_by_the_hour_of_their_close(ledger: Ledger) -> None:
    """Of each strategy, side, timeframe and symbol; over steps."""
    late = control(close_ms=CLOSE_MS + 3_600_000)
    ledger.commit_step(Step(VENUE, [control(), control(result="stop", gross_pct=-1.0, risk_pct=0.5), late]))
    ledger.commit_step(Step(VENUE, [control(symbol="ETHUSDT", result="time", gross_pct=0.25, risk_pct=0.25)]))
    ledger.commit_step(Step(VENUE, [control(result="stop", gross_pct=-1.0, risk_pct=1.0)]))
    first, second, third = baseline_sums(ledger)
    assert first == {
        "venue": VENUE, "strategy": "scalp", "side": "long", "timeframe": "1m", "hour": HOUR, "source": "live",
        "symbol": "BTCUSDT", "entries": 3, "targets": 1, "gross_pct": -0.5, "risk_pct": 2.5,
    }  # fmt: skip
    assert (second["hour"], second["entries"]) == ((HOUR + 1) % 24, 1)
    assert (third["symbol"], third["hour"], third["entries"], third["gross_pct"]) == ("ETHUSDT", HOUR, 1, 0.25)


def test_a_step_stored_again_counts_its_random_entries_once(ledger: Ledger) -> None:
    """As the journal's position says; the next step of the same journal counts its own."""
    step = Step(VENUE, [control()], journal_id="j", position=7)
    for _ in range(3):
        ledger.commit_step(step)
    assert [one["entries"] for one in baseline_sums(ledger)] == [1]
    ledger.commit_step(Step(VENUE, [control()], journal_id="j", position=8))
    assert [one["entries"] for one in baseline_sums(ledger)] == [2]


def test_computed_random_entries_take_the_place_of_those_before(ledger: Ledger) -> None:
    """Of their kind alone; those of a run stay beside them."""
    ledger.commit_step(Step(VENUE, [control()]))
    first = [control(), control(close_ms=CLOSE_MS + 3_600_000), control(side="short")]
    for controls in (first, [control(), control()]):
        ledger.outcomes.backfill(VENUE, [], drawn_of(*controls), {})
    counts = {(one["side"], one["hour"], one["source"]): one["entries"] for one in baseline_sums(ledger)}
    assert counts == {("long", HOUR, "history"): 2, ("long", HOUR, "live"): 1, ("short", HOUR, "history"): 1}


def test_a_back_fill_of_other_symbols_stays(ledger: Ledger) -> None:
    """Outcomes and random entries both; of a symbol that has none any more, nothing is left."""
    btc = [ended(signal_id="b1"), ended(signal_id="b2")], drawn_of(control())
    eth = [ended(signal_id="e1", symbol="ETHUSDT")], drawn_of(control(symbol="ETHUSDT"))
    for outcomes, drawn in (btc, eth, btc):
        ledger.outcomes.backfill(VENUE, outcomes, drawn, {})
    assert [one["signal_id"] for one in outcomes_of(ledger)] == ["b1", "b2", "e1"]
    assert [(one["symbol"], one["entries"]) for one in baseline_sums(ledger)] == [("BTCUSDT", 1), ("ETHUSDT", 1)]
    ledger.outcomes.backfill(VENUE, [], {Kind("scalp", "long", "1m"): {"BTCUSDT": Baseline()}}, {})
    assert [one["signal_id"] for one in outcomes_of(ledger)] == ["e1"]
    assert [one["symbol"] for one in baseline_sums(ledger)] == ["ETHUSDT"]


def test_signals_on_their_way_are_those_without_an_outcome_whose_time_is_not_over(ledger: Ledger) -> None:
    """Passed and blocked, with all their values."""
    first, second = signal(), signal("ETHUSDT", close_ms=CLOSE_MS + MINUTE_MS)
    third = signal("XRPUSDT", close_ms=CLOSE_MS + MINUTE_MS)
    ledger.commit_step(step_of(alert_of(first), alert_of(second)))
    ledger.commit_step(Step(VENUE, [Judged(third, "blocked", late=False, recv_ms=5, alert_id=None)]))

    def unknown(now_ms: int) -> list[tuple[str, str]]:
        return [(one.symbol, state) for one, state in ledger.outcomes.unknown(VENUE, now_ms, {"scalp": 10})]

    both = [("ETHUSDT", "passed"), ("XRPUSDT", "blocked")]
    assert unknown(CLOSE_MS + 10 * MINUTE_MS - 1) == [("BTCUSDT", "passed"), *both]
    assert unknown(CLOSE_MS + 10 * MINUTE_MS) == both
    assert unknown(CLOSE_MS + 11 * MINUTE_MS) == []
    ledger.commit_step(Step(VENUE, [ended(signal_id=second.id)]))
    assert unknown(CLOSE_MS) == [("BTCUSDT", "passed"), ("XRPUSDT", "blocked")]
    [(found, _), _] = ledger.outcomes.unknown(VENUE, CLOSE_MS, {"scalp": 10})
    assert msgspec.json.encode(found) == msgspec.json.encode(first)
    assert ledger.outcomes.unknown(VENUE, CLOSE_MS, {"trend": 10}) == ledger.outcomes.unknown(VENUE, CLOSE_MS, {}) == []
    assert ledger.outcomes.unknown("elsewhere", 0, {"scalp": 10}) == []
