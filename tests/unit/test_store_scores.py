"""What records are made of, read from a ledger: sums as of a moment, and outcomes one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import pytest

from book_runs import a_signal
from core_samples import MONDAY_MS
from outcome_samples import VENUE, control, drawn_of, outcome
from tapewatch.model import MINUTE_MS, Effect, Judged, Outcome, State, Verdict
from tapewatch.record import Kind, Tally
from tapewatch.store import Ledger, Step
from tapewatch.store.scores import Part

LONG = Kind("scalp", "long", "1m")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """An empty one."""
    opened = Ledger.open(ledger_url)
    yield opened
    opened.close()


def at(minute: int) -> int:
    """The moment so many minutes after the start."""
    return MONDAY_MS + minute * MINUTE_MS


def told(*outcomes: Outcome) -> Tally:
    """Counted one by one."""
    tally = Tally()
    for one in outcomes:
        tally.add(one)
    return tally


def test_sums_of_the_ledger_are_those_of_its_outcomes(ledger: Ledger) -> None:
    """By kind and regime, with hours and the newest fifty; blocked ones and other venues are not in it."""
    calm = [outcome(7 * n, hit=n % 3 > 0, regime="ranging") for n in range(90)]
    wild = [outcome(7 * n + 1, hit=n % 2 > 0, regime="trending", side="short") for n in range(10)]
    others = [outcome(3, state="blocked", symbol="CCCUSDT")]
    ledger.commit_step(Step(VENUE, effects=[*calm, *wild, *others]))
    ledger.commit_step(Step("binance_usdm", effects=[outcome(4, symbol="DDDUSDT")]))
    tallies, later = ledger.scores.tallies(VENUE, at(100_000))
    assert not later
    assert set(tallies) == {Part(LONG, "ranging"), Part(LONG._replace(side="short"), "trending")}
    for part, outcomes in zip(tallies, (calm, wild), strict=True):
        found, wanted = tallies[part], told(*outcomes)
        assert found.sums == wanted.sums
        assert found.hours == wanted.hours
        assert found.newest == wanted.newest


def test_an_outcome_has_the_score_and_the_checks_of_its_signal(ledger: Ledger) -> None:
    """Of passed and blocked ones; NaN without a model, and where the ledger does not have the signal."""
    wanted = {0: (0.625, ()), 1: (0.25, ("score",)), 2: (math.nan, ("duplicate",))}
    effects: list[Effect] = [outcome(3)]
    for n, (score, checks) in wanted.items():
        state: State = "blocked" if checks else "passed"
        verdicts = tuple(Verdict(name, name not in checks) for name in ("duplicate", "score"))
        given = None if math.isnan(score) else score
        one = outcome(n, state=state)
        signal = msgspec.structs.replace(a_signal(), id=one.signal_id, verdicts=verdicts, score=given)
        effects += [Judged(signal, state, late=False, recv_ms=0, alert_id=None), one]
    ledger.commit_step(Step(VENUE, effects=effects))
    found = [(one.score, one.checks) for one in ledger.scores.ended()]
    assert repr(found) == repr([*wanted.values(), (math.nan, ())])


def test_sums_know_nothing_of_what_was_known_later(ledger: Ledger) -> None:
    """An outcome of a run counts from the close of its base bar, one of an archive from when that was known."""
    ledger.commit_step(Step(VENUE, effects=[outcome(0, after=5)]))
    ledger.outcomes.backfill(VENUE, [outcome(1, after=6, recv_ms=at(10))], {}, {})
    for minute, n, more in ((5, 0, True), (6, 1, True), (9, 1, True), (10, 2, False)):
        tallies, later = ledger.scores.tallies(VENUE, at(minute))
        assert (sum(tally.sums.n for tally in tallies.values()), later) == (n, more)


def test_random_entries_of_runs_and_archives_are_counted_together(ledger: Ledger) -> None:
    """By kind and hour, of all symbols; how many came from where is kept apart for a repeated back-fill."""
    live = [control(n, hit=n % 2 > 0) for n in range(100)]
    ledger.commit_step(Step(VENUE, effects=live))
    history = [control(n, hit=False, symbol=f"{'AB'[n % 2]}AAUSDT") for n in range(30, 90)]
    for _ in range(2):
        ledger.outcomes.backfill(VENUE, [], drawn_of(*history), {})
    (baseline,) = ledger.scores.baselines(VENUE).values()
    assert [(sums.n, sums.hits) for sums in baseline.hours[:2]] == [(60 + 30, 30), (40 + 30, 20)]
    assert baseline.all.risk_pct == 160.0
    assert ledger.scores.filled(VENUE)[:2] == (60, 0)
    assert ledger.scores.filled("binance_usdm") == (None, None, None)


def test_random_entries_of_some_symbols_are_counted_alone(ledger: Ledger) -> None:
    """For a score of these symbols; a symbol without any has none."""
    mine = [control(n) for n in range(40)]
    ledger.commit_step(Step(VENUE, effects=[*mine, *(control(n, hit=False, symbol="BBBUSDT") for n in range(60))]))
    (both,), (of_one,) = (ledger.scores.baselines(VENUE, names).values() for names in ((), ["AAAUSDT", "CCCUSDT"]))
    assert (both.all.n, both.all.hits) == (100, 40)
    assert (of_one.all.n, of_one.all.hits) == (40, 40)
    assert ledger.scores.baselines(VENUE, ["CCCUSDT"]) == {}


def test_outcomes_come_one_by_one_with_what_blocked_them(ledger: Ledger) -> None:
    """Of judged signals and of computed ones. What is not known to have brought anything is left out."""
    signal = a_signal()
    verdicts = (Verdict("settled", passed=True), Verdict("duplicate", passed=False), Verdict("muted", passed=False))
    signal = msgspec.structs.replace(signal, verdicts=verdicts)
    judged = Judged(signal, "blocked", late=False, recv_ms=0, alert_id=None)
    mine = outcome(2, signal_id=signal.id, state="blocked", strength=math.nan)
    unknown = outcome(9, gross_pct=math.nan, risk_pct=math.nan)
    ledger.commit_step(Step(VENUE, effects=[judged, mine, outcome(5, hit=False, symbol="BBBUSDT"), unknown]))
    computed = outcome(20, state="blocked", symbol="CCCUSDT"), outcome(30)
    ledger.outcomes.backfill(VENUE, computed, {}, {computed[0].signal_id: ("cooldown", "muted")})
    first, second, *history = ledger.scores.ended(venue=VENUE)
    assert [one.checks for one in history] == [("cooldown", "muted"), ()]
    assert (first.signal_id, first.state, first.checks) == (signal.id, "blocked", ("duplicate", "muted"))
    assert math.isnan(first.strength)
    assert (second.state, second.checks, second.sums.hits, second.known_ms) == ("passed", (), 0, at(11))


def test_only_what_is_asked_for_is_read(ledger: Ledger) -> None:
    """By symbol, side, timeframe, strategy, source and close."""
    ledger.commit_step(
        Step(VENUE, effects=[outcome(0), outcome(10, side="short"), outcome(20, timeframe="5m", symbol="BBBUSDT")])
    )
    ledger.outcomes.backfill(VENUE, [outcome(30, strategy="trend")], {}, {})
    for asked, minutes in (
        ({}, [0, 10, 20, 30]),
        ({"symbols": ["BBBUSDT"]}, [20]),
        ({"sides": ["short"]}, [10]),
        ({"timeframes": ["1m"]}, [0, 10, 30]),
        ({"strategies": ["trend"]}, [30]),
        ({"source": "live"}, [0, 10, 20]),
        ({"source": "history"}, [30]),
        ({"from_ms": at(10), "to_ms": at(30)}, [10, 20]),
        ({"venue": "binance_usdm"}, []),
    ):
        assert [one.close_ms for one in ledger.scores.ended(**asked)] == [at(minute) for minute in minutes]  # type: ignore[arg-type]
