"""The gate: each check with its numbers, and what it remembers."""

from __future__ import annotations

import msgspec
import pytest

from core_samples import CHECKS, MONDAY_MS, strategy, walk
from engine_runs import candidates
from tapewatch.gate import Gate, GateSettings, Judgement
from tapewatch.model import DAY_MS, MINUTE_MS, LastPassed, Rest, Signal
from tapewatch.strategy import Strategy

SIGNAL = candidates("venue", strategy(long={"up": "close > 0"}), walk(1))[0]
SECOND = 1_000


def signal(after_ms: int = 0, entry: float = 100.0, **changes: object) -> Signal:
    """A settled candidate whose bar closed `after_ms` after Monday."""
    fields = {"settled": True, "close_ms": MONDAY_MS + after_ms, "entry": entry} | changes
    return msgspec.structs.replace(SIGNAL, **fields)


def judge(gate: Gate, one: Signal, plan: Strategy, *, age_ms: int = 0) -> Judgement:
    """Judge and, when it passed, remember, as the engine does."""
    judgement = gate.judge(one, plan, one.close_ms + age_ms)
    if judgement.passed:
        gate.remember(one, plan)
    return judgement


def blocked(judgement: Judgement) -> list[str]:
    """The checks that blocked."""
    assert judgement.passed is all(verdict.passed for verdict in judgement.verdicts)
    return [verdict.check for verdict in judgement.verdicts if not verdict.passed]


def reason(judgement: Judgement, check: str) -> str | None:
    """What a check said."""
    return next(verdict.reason for verdict in judgement.verdicts if verdict.check == check)


def test_all_checks_answer_in_order_also_after_one_blocked() -> None:
    """Every verdict is kept, in the gate's order."""
    gate, plan = Gate(GateSettings()), strategy(cooldown="1h")
    judge(gate, signal(), plan)
    judgement = judge(gate, signal(MINUTE_MS, settled=False), plan, age_ms=3_600_000)
    assert [verdict.check for verdict in judgement.verdicts] == CHECKS
    assert blocked(judgement) == ["settled", "fresh", "duplicate", "cooldown"]
    assert all(verdict.reason for verdict in judgement.verdicts if not verdict.passed)


def test_unsettled_is_blocked() -> None:
    """A candidate whose inputs are not past their settling length never becomes an alert."""
    judgement = judge(Gate(GateSettings()), signal(settled=False), strategy())
    assert blocked(judgement) == ["settled"]


@pytest.mark.parametrize(
    ("age_ms", "late", "passes"),
    [
        (0, False, True),
        (10 * SECOND, False, True),
        (10 * SECOND + 1, True, True),
        (900 * SECOND, True, True),
        (900 * SECOND + 1, True, False),
    ],
)
def test_fresh_marks_late_and_blocks_past_expiry(age_ms: int, late: bool, passes: bool) -> None:
    """Late from the first ms after 10 s, blocked from the first ms after 15 min, with the age as the reason."""
    judgement = judge(Gate(GateSettings()), signal(), strategy(), age_ms=age_ms)
    assert (judgement.late, judgement.passed) == (late, passes)
    assert reason(judgement, "fresh") == (f"{age_ms / 1000:.1f} s after the close" if late else None)


def test_lateness_and_expiry_are_settings() -> None:
    """Other limits, the same rule."""
    gate = Gate(GateSettings(late_after_ms=100, expiry_ms=200))
    assert not judge(gate, signal(), strategy(), age_ms=100).late
    assert blocked(judge(gate, signal(DAY_MS), strategy(), age_ms=201)) == ["fresh"]
    gate = Gate(GateSettings(expiry_ms=200))
    assert reason(judge(gate, signal(), strategy(), age_ms=300), "fresh") == "0.3 s after the close"


@pytest.mark.parametrize(
    ("after_ms", "passes"), [(MINUTE_MS, False), (5 * MINUTE_MS - 1, False), (5 * MINUTE_MS, True)]
)
def test_duplicate_ends_after_exactly_five_minutes(after_ms: int, passes: bool) -> None:
    """Within five minutes of the one that passed a second is blocked, at five minutes it is not."""
    gate = Gate(GateSettings())
    judge(gate, signal(), strategy())
    assert judge(gate, signal(after_ms), strategy()).passed is passes


@pytest.mark.parametrize("last", [100.0, 1000.0, 0.1, 27345.61, 3e-8, 64000.0, 1.1])
def test_duplicate_passes_only_a_move_of_more_than_the_share_asked(last: float) -> None:
    """A move of exactly 0.3%, up or down, is blocked however doubles round it; the next tick passes."""
    for factor, passes in ((1.003, False), (0.997, False), (1.0030001, True), (0.9969999, True), (1.0, False)):
        gate = Gate(GateSettings())
        judge(gate, signal(entry=last), strategy())
        assert judge(gate, signal(MINUTE_MS, entry=round(last * factor, 18)), strategy()).passed is passes, factor


def test_the_reason_of_a_duplicate_has_its_numbers() -> None:
    """How far, how long, from where, and what was asked."""
    gate = Gate(GateSettings())
    judge(gate, signal(), strategy())
    judgement = judge(gate, signal(2 * MINUTE_MS, entry=100.2), strategy())
    assert reason(judgement, "duplicate") == (
        "price moved 0.200% in 2 min from 100, more than 0.300% is asked within 5 min"
    )


def test_a_duplicate_is_measured_from_the_last_that_passed() -> None:
    """A blocked one neither starts a new window nor moves the price that is compared with."""
    gate = Gate(GateSettings())
    judge(gate, signal(), strategy())
    assert not judge(gate, signal(4 * MINUTE_MS, entry=100.2), strategy()).passed
    assert judge(gate, signal(4 * MINUTE_MS + 1, entry=100.4), strategy()).passed
    assert not judge(gate, signal(5 * MINUTE_MS, entry=100.0 * 1.0031 * 1.001), strategy()).passed
    assert judge(gate, signal(9 * MINUTE_MS + 1, entry=100.4), strategy()).passed


@pytest.mark.parametrize("other", [{"symbol": "B"}, {"strategy": "b"}, {"timeframe": "5m"}, {"side": "short"}])
def test_a_duplicate_is_of_the_same_symbol_strategy_timeframe_and_side(other: dict[str, str]) -> None:
    """One that differs in any of them passes."""
    gate = Gate(GateSettings())
    judge(gate, signal(), strategy())
    assert judge(gate, signal(MINUTE_MS, **other), strategy(other.get("strategy", "probe"))).passed


def test_duplicate_settings_are_the_strategys_own() -> None:
    """Another window, another move; 0% lets any move pass."""
    plan = strategy(duplicate={"window": "10m", "move": "0%"})
    gate = Gate(GateSettings())
    judge(gate, signal(), plan)
    assert not judge(gate, signal(9 * MINUTE_MS), plan).passed
    assert judge(gate, signal(9 * MINUTE_MS, entry=100.01), plan).passed


def test_cooldown_is_per_symbol_and_strategy_over_all_timeframes() -> None:
    """It blocks until it is over, whatever side or timeframe, and says how long there is to wait."""
    plan = strategy(cooldown="30m", duplicate={"window": "0m"})
    gate = Gate(GateSettings())
    judge(gate, signal(), plan)
    other = judge(gate, signal(29 * MINUTE_MS, timeframe="5m", side="short"), plan)
    assert blocked(other) == ["cooldown"]
    assert reason(other, "cooldown") == "29 of 30 min since the last one"
    assert judge(gate, signal(29 * MINUTE_MS, symbol="B"), plan).passed
    assert judge(gate, signal(29 * MINUTE_MS, strategy="b"), strategy("b", cooldown="30m")).passed
    assert judge(gate, signal(30 * MINUTE_MS), plan).passed


def stopped(gate: Gate, after_ms: int, stop_after_ms: int, **changes: str) -> None:
    """The stop of the signal that closed `after_ms` after Monday was touched by the bar that closes then."""
    about = {"symbol": "AAAUSDT", "strategy": "probe"} | changes
    gate.stopped(Rest(**about, close_ms=MONDAY_MS + after_ms, stopped_ms=MONDAY_MS + stop_after_ms))


def test_cooldown_counts_again_from_the_stop() -> None:
    """Of the symbol and strategy whose signal it was, on any timeframe and side, with its numbers."""
    plan = strategy(cooldown="30m", duplicate={"window": "0m"})
    gate = Gate(GateSettings())
    judge(gate, signal(), plan)
    stopped(gate, 0, 25 * MINUTE_MS)
    other = judge(gate, signal(37 * MINUTE_MS, timeframe="5m", side="short"), plan)
    assert blocked(other) == ["cooldown"]
    assert reason(other, "cooldown") == "12 of 30 min since the stop of the last one was touched"
    assert judge(gate, signal(37 * MINUTE_MS, symbol="B"), plan).passed
    assert judge(gate, signal(37 * MINUTE_MS, strategy="b"), strategy("b", cooldown="30m")).passed
    assert not judge(gate, signal(55 * MINUTE_MS - 1), plan).passed
    assert judge(gate, signal(55 * MINUTE_MS), plan).passed


@pytest.mark.parametrize(("close_ms", "passes"), [(39, True), (40, True), (41, False)])
def test_a_stop_counts_for_bars_that_close_after_its_own_alone(close_ms: int, passes: bool) -> None:
    """However early the gate is told: what closes with the bar that touched it, or before, knows nothing of it."""
    plan = strategy(cooldown="30m", duplicate={"window": "0m"})
    gate = Gate(GateSettings())
    judge(gate, signal(), plan)
    stopped(gate, 0, 40 * MINUTE_MS)
    assert judge(gate, signal(29 * MINUTE_MS), plan).verdicts[3].reason == "29 of 30 min since the last one"
    assert judge(gate, signal(close_ms * MINUTE_MS), plan).passed is passes


def test_only_the_stop_of_the_last_one_that_passed_counts() -> None:
    """Neither that of one before it, nor one that was heard of before another passed, nor of what never did."""
    plan = strategy(cooldown="30m", duplicate={"window": "0m"})
    gate = Gate(GateSettings())
    stopped(gate, 0, MINUTE_MS)
    judge(gate, signal(), plan)
    judge(gate, signal(40 * MINUTE_MS), plan)
    stopped(gate, 0, 65 * MINUTE_MS)
    stopped(gate, 40 * MINUTE_MS, 66 * MINUTE_MS, symbol="B")
    assert judge(gate, signal(70 * MINUTE_MS), plan).passed
    stopped(gate, 70 * MINUTE_MS, 75 * MINUTE_MS)
    judge(gate, signal(105 * MINUTE_MS), plan)
    assert reason(judge(gate, signal(110 * MINUTE_MS), plan), "cooldown") == "5 of 30 min since the last one"


def test_a_stop_long_after_its_signal_counts_too() -> None:
    """What else passed meanwhile made the gate forget the signal as a duplicate, but not as the last one."""
    plan, quick = strategy(cooldown="30m"), strategy("quick")
    gate = Gate(GateSettings())
    judge(gate, signal(), plan)
    judge(gate, signal(DAY_MS, strategy="quick"), quick)
    stopped(gate, 0, DAY_MS + MINUTE_MS)
    assert blocked(judge(gate, signal(DAY_MS + 2 * MINUTE_MS), plan)) == ["cooldown"]


def test_a_gate_goes_on_with_the_stops_an_earlier_run_saw() -> None:
    """From what a ledger remembers, and from a saved state."""
    last = LastPassed("AAAUSDT", "probe", "1m", "long", MONDAY_MS, 100.0)
    rest = Rest("AAAUSDT", "probe", MONDAY_MS, MONDAY_MS + 40 * MINUTE_MS)
    told, again = Gate(GateSettings(), [last], [rest]), Gate(GateSettings())
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(told.saved())))
    for gate in (told, again):
        judgement = gate.judge(signal(50 * MINUTE_MS), strategy(cooldown="30m"), MONDAY_MS + 50 * MINUTE_MS)
        assert reason(judgement, "cooldown") == "10 of 30 min since the stop of the last one was touched"


def test_no_cooldown_never_blocks() -> None:
    """With a cooldown of 0 two signals on one bar pass where they are no duplicates."""
    gate = Gate(GateSettings())
    assert judge(gate, signal(), strategy()).passed
    assert judge(gate, signal(side="short"), strategy()).passed
    stopped(gate, 0, 10 * MINUTE_MS)
    assert judge(gate, signal(10 * MINUTE_MS + 1), strategy()).passed


def test_another_strategy_does_not_make_the_gate_forget_a_longer_cooldown() -> None:
    """What passed is kept as long as its own strategy asks, though one that asks less passes later."""
    slow, quick = strategy("slow", cooldown="2h"), strategy("quick")
    for restored in (False, True):
        gate = Gate(GateSettings())
        last = gate.remember(signal(strategy="slow"), slow)
        if restored:
            gate = Gate(GateSettings(), [last])
        judge(gate, signal(60 * MINUTE_MS, strategy="quick"), quick)
        assert blocked(judge(gate, signal(90 * MINUTE_MS, strategy="slow"), slow)) == ["cooldown"]


def test_history_expires_and_is_no_longer_than_its_size() -> None:
    """What is older than the expiry goes when the next passes; of more than `history_size` the oldest go."""
    plan = strategy(duplicate={"window": "0m"})
    gate = Gate(GateSettings(history_size=3, history_expire_ms=10 * MINUTE_MS))
    for minute in (0, 1, 11, 12):
        judge(gate, signal(minute * MINUTE_MS), plan)
    kept = [(item.close_ms - MONDAY_MS) // MINUTE_MS for item in gate._history["AAAUSDT"]]
    assert kept == [11, 12]
    for minute in (13, 14, 15):
        judge(gate, signal(minute * MINUTE_MS), plan)
    assert [(item.close_ms - MONDAY_MS) // MINUTE_MS for item in gate._history["AAAUSDT"]] == [13, 14, 15]


def test_a_gate_goes_on_from_what_an_earlier_run_remembered() -> None:
    """In any order of what is restored, the latest of a key counts."""
    later = LastPassed("AAAUSDT", "probe", "1m", "long", MONDAY_MS + 3 * MINUTE_MS, 110.0)
    earlier = LastPassed("AAAUSDT", "probe", "1m", "long", MONDAY_MS, 100.0)
    for passed in ([later, earlier], [earlier, later]):
        gate = Gate(GateSettings(), passed)
        assert blocked(judge(gate, signal(7 * MINUTE_MS, entry=110.0), strategy())) == ["duplicate"]
        assert judge(gate, signal(8 * MINUTE_MS, entry=110.0), strategy()).passed


def test_judging_alone_remembers_nothing() -> None:
    """Only what passed and was noted counts against the next."""
    gate = Gate(GateSettings())
    for _ in range(2):
        assert gate.judge(signal(), strategy(), MONDAY_MS).passed
