"""The engine: events in, effects out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest

from core_samples import CHECKS, MONDAY_MS, bar, bits, strategy, walk
from engine_runs import candidates
from tapewatch import strategies
from tapewatch.engine import Engine, start_of, windows_of
from tapewatch.engine.series import Runner
from tapewatch.engine.windows import PAGE_BARS
from tapewatch.errors import SetupError
from tapewatch.gate import GateSettings
from tapewatch.model import (
    MINUTE_MS,
    Alert,
    Bar,
    BarClosed,
    BarDone,
    BarIgnored,
    Effect,
    History,
    Judged,
    LastPassed,
    Signal,
    StepFailed,
    alert_id,
)
from tapewatch.strategy.step import FrameStep

FIVE_MS = 5 * MINUTE_MS


def always(name: str = "probe", **changes: Any) -> Any:
    """A strategy that fires on every bar, with no rest between signals."""
    return strategy(name, **{"long": {"up": "close > 0"}, "duplicate": {"window": "0m"}} | changes)


def closed(one: Bar, late_ms: int = 0) -> BarClosed:
    """The bar, received so long after its close."""
    return BarClosed(one, one.close_ms + late_ms)


def run(engine: Engine, bars: Iterable[Bar]) -> list[Effect]:
    """All effects of bars that come as they close."""
    return [effect for one in bars for effect in engine.process(closed(one))]


def of_kind(effects: Iterable[Effect], kind: type) -> list[Any]:
    """The effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def signals(effects: Iterable[Effect]) -> list[Signal]:
    """The candidates among the effects."""
    return [judged.signal for judged in of_kind(effects, Judged)]


def test_a_bar_on_which_nothing_fires_is_done_and_no_more() -> None:
    """One effect: nothing of this bar may be processed again."""
    engine = Engine("venue", [always(long={"up": "close > 1000"})])
    assert engine.process(closed(bar(0))) == [BarDone("AAAUSDT", MINUTE_MS, MONDAY_MS)]


def test_a_candidate_is_judged_and_an_unsettled_one_alerts_nobody() -> None:
    """Every candidate is stored with its verdicts, blocked or not."""
    first, done = run(Engine("venue", [always()]), [bar(0)])
    assert isinstance(first, Judged)
    assert (first.state, first.alert_id, first.late) == ("blocked", None, False)
    assert [verdict.passed for verdict in first.signal.verdicts] == [False, *[True] * (len(CHECKS) - 1)]
    assert isinstance(done, BarDone)


def settled_engine(*plans: Any, settings: GateSettings | None = None, minutes: int = 900) -> Engine:
    """An engine whose windows are long enough for everything in `plans` to be settled; the next minute is `minutes`."""
    engine = Engine("venue", plans, settings)
    for one in walk(minutes):
        assert engine.process(History(one)) == []
    return engine


def test_what_passes_is_remembered_stored_and_alerted_in_this_order() -> None:
    """The gate's memory, the judged signal, the alert, and at last the bar itself."""
    effects = settled_engine(always()).process(closed(bar(900), late_ms=40))
    assert [type(effect) for effect in effects] == [LastPassed, Judged, Alert, BarDone]
    last, judged, alert, done = effects
    identity = alert_id("venue", "AAAUSDT", "1m", bar(900).close_ms)
    assert last == LastPassed("AAAUSDT", "probe", "1m", "long", bar(900).close_ms, 100.0)
    assert (judged.state, judged.late, judged.recv_ms) == ("passed", False, bar(900).close_ms + 40)
    assert judged.alert_id == alert.alert_id == identity
    assert alert == Alert(identity, (judged.signal,), False, bar(900).close_ms + 40)
    assert done == BarDone("AAAUSDT", MINUTE_MS, bar(900).open_ms)


def test_one_alert_for_all_strategies_and_sides_of_a_bar() -> None:
    """Strategies in order of name, long before short; those that are blocked are not in it (A9)."""
    both = always("b", short={"down": "close > 0"})
    blocked = always("a", long={"up": "close > 0 and ema(close, 600) > 0"})
    effects = settled_engine(both, always("c"), blocked).process(closed(bar(900)))
    (alert,) = of_kind(effects, Alert)
    assert [(one.strategy, one.side) for one in alert.signals] == [("b", "long"), ("b", "short"), ("c", "long")]
    assert [one.state for one in of_kind(effects, Judged)] == ["blocked", "passed", "passed", "passed"]
    assert {one.alert_id for one in of_kind(effects, Judged) if one.state == "passed"} == {alert.alert_id}


def test_each_timeframe_has_its_own_alert_and_the_larger_comes_first() -> None:
    """At a minute that closes a larger bar the larger is decided before the smaller (design 2)."""
    engine = settled_engine(always(timeframes=["1m", "5m"]), minutes=5 * 900)
    effects = run(engine, [bar(4500 + k) for k in range(5)])
    assert [(one.alert_id.split("/")[2]) for one in of_kind(effects, Alert)] == ["1m"] * 4 + ["5m", "1m"]
    done = [(one.interval_ms, one.open_ms) for one in of_kind(effects, BarDone)][-2:]
    assert done == [(FIVE_MS, bar(4500).open_ms), (MINUTE_MS, bar(4504).open_ms)]


def test_higher_is_the_last_closed_bar() -> None:
    """Unknown before one has closed; then the closed one's, and never the one in the making (I6)."""
    plan = always(long={"seen": "close > 0", "above": "higher(close) > 1"}, fire="any")
    seen = [
        (one.close_ms - MONDAY_MS, one.factors[1].left, one.factors[1].met)
        for one in candidates("venue", plan, [bar(k, 100.0 + k) for k in range(11)])
    ]
    minute = MINUTE_MS
    assert [met for _, _, met in seen] == [None] * 4 + [True] * 7
    assert [(at // minute, value) for at, value, _ in seen[4:]] == [(k, 104.0) for k in range(5, 10)] + [
        (10, 109.0), (11, 109.0),
    ]  # fmt: skip


def test_history_decides_nothing_but_counts() -> None:
    """Bars from before the start move the series on: no effect, yet the same values after them."""
    plan = always()
    bars = walk(950)
    warm = settled_engine(plan)
    cold = Engine("venue", [plan])
    run(cold, bars[:900])
    assert bits(signals(run(warm, bars[900:]))[0].indicators) == bits(signals(run(cold, bars[900:]))[0].indicators)


def test_signals_carry_where_their_series_started() -> None:
    """`history_start_ms` is the first bar of the signal's own timeframe."""
    found = candidates("venue", always(timeframes=["1m", "5m"]), [bar(k) for k in range(3, 16)])
    starts = {one.timeframe: one.history_start_ms - MONDAY_MS for one in found}
    assert starts == {"1m": 3 * MINUTE_MS, "5m": FIVE_MS}


def test_a_bar_that_was_processed_or_is_older_is_ignored() -> None:
    """Twice the same, or one that comes too late: said, and nothing else."""
    engine = Engine("venue", [always()])
    run(engine, [bar(5)])
    for minute in (5, 4):
        for event in (closed(bar(minute)), History(bar(minute))):
            assert engine.process(event) == [BarIgnored("AAAUSDT", MINUTE_MS, bar(minute).open_ms)]


def test_symbols_are_apart_and_only_watched_ones_are_evaluated() -> None:
    """Each symbol has its own series; a pattern decides which a strategy watches."""
    engine = Engine("venue", [always(symbols=["A*"])])
    effects = run(engine, [bar(0), bar(0, symbol="BBB"), bar(1, symbol="BBB"), bar(1)])
    assert [one.symbol for one in signals(effects)] == ["AAAUSDT", "AAAUSDT"]
    assert len(of_kind(effects, BarDone)) == 4


def test_a_hole_finishes_the_larger_bar_before_it() -> None:
    """The next base bar shows that nothing more comes: the incomplete bar is decided first, with what exists."""
    plan = always(timeframes=["5m"])
    engine = Engine("venue", [plan])
    run(engine, [bar(0), bar(1, 120.0), bar(2, 90.0)])
    effects = engine.process(closed(bar(11, 130.0)))
    (found,) = signals(effects)
    assert (found.close_ms, found.entry, found.volume) == (MONDAY_MS + FIVE_MS, 90.0, 30.0)
    assert [(one.interval_ms, one.open_ms) for one in of_kind(effects, BarDone)] == [
        (FIVE_MS, MONDAY_MS), (MINUTE_MS, bar(11).open_ms),
    ]  # fmt: skip
    late = of_kind(effects, Judged)[0]
    assert late.late
    assert late.recv_ms == bar(11).close_ms


def test_a_hole_that_ends_with_a_bucket_gives_both_larger_bars_in_order() -> None:
    """The bar before the hole and the one that the base bar completes, oldest first, then the base bar."""
    engine = Engine("venue", [always(timeframes=["5m"])])
    run(engine, [bar(0)])
    effects = engine.process(closed(bar(9)))
    assert [(one.interval_ms, one.open_ms - MONDAY_MS) for one in of_kind(effects, BarDone)] == [
        (FIVE_MS, 0), (FIVE_MS, FIVE_MS), (MINUTE_MS, 9 * MINUTE_MS),
    ]  # fmt: skip


def test_native_larger_bars_fill_a_window_and_are_not_repeated_by_built_ones() -> None:
    """Larger bars of the first windows come as history; one already taken is not taken again from base bars."""
    engine = Engine("venue", [always(timeframes=["5m"])])
    for k in range(3):
        assert engine.process(History(bar(k, 200.0, interval_ms=FIVE_MS))) == []
    effects = run(engine, [bar(k) for k in range(10, 20)])
    (found,) = signals(effects)
    assert found.close_ms == MONDAY_MS + 4 * FIVE_MS
    assert found.history_start_ms == MONDAY_MS
    assert found.indicators == {}
    assert [one.open_ms for one in of_kind(effects, BarDone) if one.interval_ms == FIVE_MS] == [bar(15).open_ms]
    assert engine.process(History(bar(9, interval_ms=3 * MINUTE_MS))) == []


@pytest.mark.parametrize(
    ("late_ms", "late", "states"),
    [(0, False, "passed"), (10_001, True, "passed"), (900_000, True, "passed"), (900_001, True, "blocked")],
)
def test_late_data_marks_and_at_last_blocks(late_ms: int, late: bool, states: str) -> None:
    """A bar that was fetched late is processed in order; its signals are marked, and past expiry blocked."""
    effects = settled_engine(always()).process(closed(bar(900), late_ms))
    (judged,) = of_kind(effects, Judged)
    assert (judged.late, judged.state) == (late, states)
    assert [alert.late for alert in of_kind(effects, Alert)] == ([late] if states == "passed" else [])


def test_duplicates_are_blocked_across_a_restart() -> None:
    """What passed before a stop counts against what comes after the start."""
    plan = always(duplicate={"window": "5m", "move": "0.3%"})
    before = of_kind(settled_engine(plan).process(closed(bar(900))), LastPassed)
    engine = Engine("venue", [plan], passed=before)
    for one in [*walk(900), bar(900)]:
        engine.process(History(one))
    states = [one.state for one in of_kind(run(engine, [bar(901 + k) for k in range(5)]), Judged)]
    assert states == ["blocked"] * 4 + ["passed"]


# --- a step that raises --------------------------------------------------------------------------------------------


class Breaking:
    """Makes the steps of one strategy raise on chosen minutes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, minutes: Sequence[int]) -> None:
        original = Runner.feed

        def feed(runner: Runner, one: Bar, **options: Any) -> Any:
            if runner.program.strategy.name == name and (one.open_ms - MONDAY_MS) // MINUTE_MS in minutes:
                raise ZeroDivisionError("planted")
            return original(runner, one, **options)

        monkeypatch.setattr(Runner, "feed", feed)


def test_a_step_that_raises_is_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reported with bar and state; other strategies, other symbols and the next bars go on (I7)."""
    Breaking(monkeypatch, "bad", [2])
    engine = Engine("venue", [always("bad"), always("good")])
    run(engine, [bar(0), bar(1)])
    failed, judged, done = engine.process(closed(bar(2)))
    assert isinstance(failed, StepFailed)
    assert (failed.strategy, failed.bar) == ("bad", bar(2))
    assert failed.error.startswith("ZeroDivisionError: planted (line ")
    assert failed.stack.startswith("Traceback (most recent call last):\n")
    assert failed.stack.endswith("\nZeroDivisionError: planted")
    assert 100.0 in failed.state
    assert isinstance(judged, Judged)
    assert judged.signal.strategy == "good"
    assert isinstance(done, BarDone)
    other = engine.process(closed(bar(0, symbol="BBB")))
    assert [one.strategy for one in signals(other)] == ["bad", "good"]
    after = engine.process(closed(bar(3)))
    assert [one.strategy for one in signals(after)] == ["bad", "good"]


def test_a_bar_that_raised_is_as_if_it_had_not_been(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strategy's next values are those of a series without that bar."""
    bars = walk(60)
    with monkeypatch.context() as patch:
        Breaking(patch, "probe", [30])
        effects = run(Engine("venue", [always()]), bars)
    without = run(Engine("venue", [always()]), bars[:30] + bars[31:])
    assert len(of_kind(effects, StepFailed)) == 1
    assert bits([one.atr for one in signals(effects)]) == bits([one.atr for one in signals(without)])


def test_a_real_exception_in_generated_code_leaves_the_state() -> None:
    """A bar whose value is no number raises inside the step; the report has the state from before it."""
    engine = Engine("venue", [always()])
    run(engine, [bar(0), bar(1)])
    broken = msgspec.structs.replace(bar(2), close="x")
    before = [engine._series["AAAUSDT"].frames[MINUTE_MS].runners[0].failed(bar(2), "").state]
    failed = engine.process(BarClosed(broken, 0))[0]
    assert isinstance(failed, StepFailed)
    assert failed.error.startswith("TypeError: ")
    assert bits([failed.state]) == bits(before)


def test_history_that_raises_is_reported_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window bar that cannot be evaluated is skipped for the strategy, and said."""
    Breaking(monkeypatch, "probe", [0])
    (failed,) = Engine("venue", [always()]).process(History(bar(0)))
    assert isinstance(failed, StepFailed)


def test_candidates_do_not_hide_a_step_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called for its result, a failure is an exception."""
    Breaking(monkeypatch, "probe", [0])
    with pytest.raises(RuntimeError, match="ZeroDivisionError: planted"):
        candidates("venue", always(), [bar(0)])


# --- windows -------------------------------------------------------------------------------------------------------


def test_windows_are_whole_pages_that_settle_everything() -> None:
    """The largest need of all strategies, in pages of 1,000 bars."""
    assert windows_of([always()]) == {MINUTE_MS: PAGE_BARS}
    assert windows_of([strategies.load("scalp")]) == {MINUTE_MS: 2_000, FIVE_MS: 1_000, 60 * MINUTE_MS: 1_000}
    slow = always("slow", long={"up": "sma(close, 3000) > 0"})
    assert windows_of([strategies.load("scalp"), slow])[MINUTE_MS] == 3_000


def test_what_is_computed_from_a_larger_timeframe_settles_after_it() -> None:
    """An average of a larger timeframe's average: once settled, another start gives the same to 1e-12."""
    plan = always(long={"up": "close > 0 and ema(higher(ema(close, 60)), 200) > 0"})
    bars = walk(10_000)
    name = "ema(higher(ema(close, 60)), 200)"
    early = {one.id: one.indicators[name] for one in candidates("venue", plan, bars)}
    late = {one.id: one.indicators[name] for one in candidates("venue", plan, bars[1234:]) if one.settled}
    assert len(late) > 1000
    assert late == pytest.approx({key: early[key] for key in late}, rel=1e-12)


def test_a_series_starts_on_its_interval() -> None:
    """So many bars before the anchor's own, and not before 1970."""
    assert start_of(MONDAY_MS + 7 * MINUTE_MS + 1, FIVE_MS, 10) == MONDAY_MS - 9 * FIVE_MS
    assert start_of(MINUTE_MS, FIVE_MS, 10) == 0


def test_other_base_intervals() -> None:
    """Base bars of five minutes serve what is built of them; a smaller timeframe is refused."""
    bars = [bar(k, interval_ms=FIVE_MS) for k in range(4)]
    assert len(candidates("venue", always(timeframes=["5m"], higher={"5m": "15m"}), bars, "5m")) == 4
    with pytest.raises(SetupError, match="probe: 1m is not a multiple of the bars"):
        candidates("venue", always(), bars, "5m")


def test_the_same_events_give_the_same_effects() -> None:
    """Twice through a fresh engine, equal to the last bit (the whole program is a function)."""
    scalp = strategies.load("scalp", [("min_factors", 3)])
    bars = walk(1500, holes=range(700, 713))
    effects = [bits(run(Engine("venue", [scalp]), bars)) for _ in range(2)]
    assert effects[0] == effects[1]
    assert any("strength" in str(effect) for effect in effects[0])


def test_a_frame_step_is_plain_python() -> None:
    """The generated text uses no name of the user's and imports nothing."""
    engine = Engine("venue", [always(long={"nasty": "close > 0"}, params={"evil": 3})])
    step: FrameStep = engine.programs[0].steps[-1]
    assert "nasty" not in step.code
    assert "evil" not in step.code
    assert "import" not in step.code
