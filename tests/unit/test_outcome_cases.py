"""What becomes of a signal, case by case, and when it is no longer followed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core_samples import MONDAY_MS, bar, mapping, walk
from delivery_samples import signal
from tapewatch.engine import Engine
from tapewatch.model import MINUTE_MS, Bar, BarClosed, History, Judged, Outcome, Outlook, Surroundings, Target, Universe
from tapewatch.outcomes import Outcomes, OutcomeSettings, bars_of, end_on, measured, path_of, regime_of
from tapewatch.strategy import from_mapping

SYMBOL = "AAAUSDT"
CLOSE_MS = MONDAY_MS + MINUTE_MS
#: Entry, stop and target of a short.
MIRRORED = (100.0, 102.0, 97.0)


def minute(number: int, opened: float, high: float, low: float, close: float) -> Bar:
    """The bar that opens so many minutes after the signal's close."""
    return bar(number + 1, close, open=opened, high=high, low=low)


def judged(state: str = "passed", **changes: Any) -> Judged:
    """A long at 100, its stop at 98, its target at 103."""
    given = {"entry": 100.0, "stop": 98.0, "targets": (Target(103.0, 50.0), Target(110.0, 50.0)), "close_ms": CLOSE_MS}
    return Judged(signal(SYMBOL, **(given | changes)), state, False, CLOSE_MS + 5, None)  # type: ignore[arg-type]


def followed(*bars: Bar, limit: int = 3, one: Judged | None = None, late_ms: int = 5) -> list[Any]:
    """What is said of a signal on these bars."""
    outcomes, decided = Outcomes(OutcomeSettings(10.0), 10_000), one or judged()
    outcomes.follow(decided.signal, limit)
    assert outcomes.decided([decided]) == []
    return [end for base in bars for end in outcomes.on_bar(base, base.close_ms + late_ms)]


CALM = minute(0, 100.0, 101.0, 99.0, 100.5)
CASES = {
    "target": ([CALM, minute(1, 100.5, 103.0, 99.5, 101.0)], ("target", 103.0, 1, 2, False, 1.5, -0.5)),
    "opens beyond the target": ([minute(0, 105.0, 106.0, 104.0, 104.0)], ("target", 103.0, 0, 1, False, 1.5, 0.0)),
    "stop": ([CALM, minute(1, 100.5, 102.0, 98.0, 101.0)], ("stop", 98.0, 1, 2, False, 0.5, -1.0)),
    "opens beyond the stop": ([minute(0, 97.0, 104.0, 96.0, 97.0)], ("stop", 97.0, 0, 1, False, 0.0, -1.5)),
    "opens at the stop": ([minute(0, 98.0, 104.0, 97.0, 99.0)], ("stop", 98.0, 0, 1, False, 0.0, -1.0)),
    "both": ([CALM, minute(1, 100.5, 103.0, 98.0, 101.0)], ("stop", 98.0, 1, 2, True, 0.5, -1.0)),
    "opens beyond it, then stop": ([minute(0, 104.0, 104.0, 97.0, 99.0)], ("stop", 98.0, 0, 1, True, 0, -1)),
    "time": ([CALM, minute(1, 100.5, 101.0, 99.0, 100.0), minute(2, 100.0, 101.0, 99.0, 100.0),
              minute(3, 102.0, 110.0, 90.0, 100.0)], ("time", 102.0, 3, 3, False, 1.0, -0.5)),
    "time, after a hole": ([CALM, minute(9, 97.0, 110.0, 90.0, 100.0)], ("time", 97.0, 9, 3, False, 0.5, -1.5)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_signal_ends_at_its_stop_its_target_or_its_time(case: str) -> None:
    """The worse one where it is unknown which came first; a stop that gaps at the open, a target never better."""
    bars, (result, price, place, count, ambiguous, mfe_r, mae_r) = CASES[case]
    (end,) = followed(*bars)
    assert isinstance(end, Outcome)
    assert (end.result, end.price, end.ms, end.bars) == (result, price, CLOSE_MS + place * MINUTE_MS, count)
    assert (end.ambiguous, end.mfe_r, end.mae_r, end.state, end.late) == (ambiguous, mfe_r, mae_r, "passed", False)
    assert (end.gross_r, end.gross_pct, end.risk_pct) == ((price - 100) / 2, price - 100, 2.0)
    assert end.net_r == pytest.approx(end.gross_r - 0.05)  # 10 bps of 100, of which 2 are risked


def test_a_short_is_followed_as_the_long_of_mirrored_prices() -> None:
    """To the last bit, as far as prices are mirrored exactly."""
    levels = 100.0, 98.0, 103.0
    long, short = path_of("long", MONDAY_MS, MINUTE_MS, 9, levels), path_of("short", MONDAY_MS, MINUTE_MS, 9, MIRRORED)
    assert long is not None
    assert short is not None
    assert (short.entry, short.stop, short.target) == (-100.0, -102.0, -97.0)
    up, down = bar(3, 100.0, high=103.5, low=99.25), bar(3, 100.0, high=100.75, low=96.5)
    ends = [end_on(path, one, late=False, recv_ms=1) for path, one in ((long, up), (short, down))]
    for path, end in zip((long, short), ends, strict=True):
        assert end is not None
        assert bars_of(path, end) == 4
    first, second = (measured(path, end, 20.0) for path, end in zip((long, short), ends, strict=True) if end)
    assert first == second


def test_levels_that_are_not_on_their_sides_are_not_followed() -> None:
    """As after rounding, or where a number is none."""
    for levels in [(100.0, 100.0, 101.0), (100.0, 99.0, 100.0), (100.0, float("nan"), 101.0)]:
        assert path_of("long", 0, MINUTE_MS, 9, levels) is None
        assert path_of("short", 0, MINUTE_MS, 9, levels) is None


def test_a_bar_that_came_late_says_so() -> None:
    """And one of history is late; a blocked signal is followed like any other."""
    blocked = judged("blocked")
    (end,) = followed(minute(0, 100.0, 104.0, 99.0, 100.0), one=blocked, late_ms=20_000)
    assert (end.late, end.recv_ms, end.state) == (True, CLOSE_MS + MINUTE_MS + 20_000, "blocked")
    outcomes = Outcomes(OutcomeSettings(), 10_000)
    outcomes.follow(blocked.signal, 3)
    outcomes.decided([blocked])
    (end,) = outcomes.on_bar(minute(0, 100.0, 104.0, 99.0, 100.0), None)
    assert (end.late, end.recv_ms) == (True, CLOSE_MS + MINUTE_MS)


def test_what_ended_before_it_was_decided_is_told_then() -> None:
    """With the state it was given; the bars before its close play no part."""
    outcomes, one = Outcomes(OutcomeSettings(), 10_000), judged("blocked")
    outcomes.follow(one.signal, 3)
    assert outcomes.on_bar(bar(0, 50.0), 0) == ()
    assert outcomes.on_bar(minute(0, 100.0, 104.0, 99.0, 100.0), 0) == []
    assert outcomes.counts == {}
    (end,) = outcomes.decided([one])
    assert (end.result, end.state, end.ms) == ("target", "blocked", CLOSE_MS)
    assert outcomes.decided([one]) == ()


def test_what_nobody_sees_has_no_outcome() -> None:
    """A symbol that is watched no more; a signal that closed before the first bar of a fresh series."""
    outcomes, one = Outcomes(OutcomeSettings(), 10_000), judged()
    outcomes.follow(one.signal, 3)
    outcomes.forget(SYMBOL)
    assert outcomes.decided([one]) == ()
    assert outcomes.on_bar(minute(0, 100.0, 104.0, 99.0, 100.0), 0) == ()
    for first_ms, left in ((CLOSE_MS, {SYMBOL: 1}), (CLOSE_MS + MINUTE_MS, {})):
        fresh = Outcomes(OutcomeSettings(), 10_000)
        fresh.follow(one.signal, 3)
        fresh.begin(SYMBOL, first_ms)
        assert fresh.counts == left


def test_an_engine_forgets_who_is_gone_and_keeps_who_is_loaded_anew() -> None:
    """The bars that come again end what they would have ended."""
    often = from_mapping("often", mapping(long={"up": "close > 0"}, time_limit=30))
    engine = Engine("v", [often], outcomes=OutcomeSettings())
    bars = walk(40)
    for one in bars[:20]:
        engine.process(BarClosed(one, one.close_ms))
    assert engine.followed() == {SYMBOL: 20}
    engine.process(Universe(1, anew=(SYMBOL,)))
    said = [effect for one in bars for effect in engine.process(History(one))]
    assert sum(isinstance(effect, Outcome) for effect in said) == 9  # those whose time is over by then
    assert engine.followed() == {SYMBOL: 11}
    engine.process(Universe(1, gone=(SYMBOL,)))
    assert engine.followed() == {}


def test_the_regime_is_that_of_the_signals_timeframe() -> None:
    """Where the market around it is known, else those its strategy filters by."""
    plain = signal(regime={"trending": True, "ranging": False, "calm": None})
    assert regime_of(plain) == "trending"
    around = (Outlook("5m", {"ranging": True}), Outlook("1m", {"trending": True, "high_volatility": True}))
    known = msgspec.structs.replace(plain, context=Surroundings(outlooks=around))
    assert regime_of(known) == "trending+high_volatility"
