"""One alert for a cluster: symbols whose returns go together."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from market_samples import HISTORY, MIXES, alerts, closing, firing, market, said, signals, warmed
from tapewatch.config import Config, load
from tapewatch.engine import MarketSettings
from tapewatch.errors import ConfigError
from tapewatch.live.makeup import market_of
from tapewatch.model import MINUTE_MS, BarClosed, Boundary, Signal, Universe, Verdict

ROWS = market(40)
CLUSTER = MarketSettings(correlated=0.8)


def verdict(signal: Signal, check: str = "correlated") -> Verdict:
    """What the check said."""
    return next(one for one in signal.verdicts if one.check == check)


def test_the_most_traded_of_a_cluster_is_alerted_and_lists_the_others() -> None:
    """Each of them is stored as blocked with the numbers; who moves apart has an alert of its own."""
    engine = warmed(CLUSTER, ROWS)
    effects = said(engine, closing(ROWS[HISTORY]))
    assert set(signals(effects, "passed")) == {"BTCUSDT", "XRPUSDT", "DOGEUSDT"}
    lead = signals(effects)["BTCUSDT"]
    assert lead.context is not None
    assert [(one.symbol, one.listed) for one in lead.context.movers] == [("ETHUSDT", True), ("SOLUSDT", True)]
    for mover in lead.context.movers:
        blocked = verdict(signals(effects)[mover.symbol])
        assert not blocked.passed
        assert blocked.reason == (
            f"{mover.correlation:.2f} with BTCUSDT, alerted at the same close, below 0.80 is asked"
        )
        closes = {one.close_ms: one.close for row in ROWS for one in row if one.symbol == mover.symbol}
        hour_ago = closes[lead.close_ms - 56 * MINUTE_MS]  # the five-minute mark
        assert mover.move_pct == pytest.approx(100 * (closes[lead.close_ms] / hour_ago - 1), abs=1e-12)
    (alert,) = (one for one in alerts(effects) if one.signals[0].symbol == "BTCUSDT")
    assert alert.signals == (lead,)


def test_an_opposite_side_of_a_symbol_that_moves_against_is_the_same_alert() -> None:
    """Long here and short there is one opinion; the same side of both is two."""
    down = firing(long={"up": "close > 1e9"}, short={"down": "close > 0"}, symbols=["XRPUSDT"])
    both = [firing(symbols=["BTCUSDT"]), down]
    for chosen, blocked in ((both, False), ([firing(long={"u": "close > 50"}, short={"d": "close > 50"})], True)):
        engine = warmed(CLUSTER, ROWS, chosen)
        judged = [one for one in said(engine, closing(ROWS[HISTORY])) if hasattr(one, "signal")]
        short = [one for one in judged if one.signal.symbol == "XRPUSDT" and one.signal.side == "short"]
        assert [one.state for one in short] == ["blocked" if blocked else "passed"]


def test_within_the_window_it_still_stands_for_them_and_says_since_when() -> None:
    """At the window's end they may alert again, another strategy may at any time."""
    rest = firing(symbols=["BTCUSDT", "ETHUSDT"], cooldown="1h")
    engine = warmed(MarketSettings(correlated=0.8, correlated_window_ms=10 * MINUTE_MS), ROWS, [rest])
    for minute in range(12):
        row = ROWS[HISTORY + minute]
        effects = said(engine, closing(row[:1] if minute < 3 else row[1:2]))
        if minute == 3:
            reason = verdict(signals(effects)["ETHUSDT"]).reason
            assert reason is not None
            assert reason.endswith("with BTCUSDT, alerted 3 min ago, below 0.80 is asked")
        assert bool(alerts(effects)) is (minute in {0, 10})
    two = [firing("one", symbols=["BTCUSDT"]), firing("two", symbols=["ETHUSDT"])]
    assert len(alerts(said(warmed(CLUSTER, ROWS, two), closing(ROWS[HISTORY])))) == 2


def test_what_another_check_blocks_is_not_listed() -> None:
    """An alert stands for those that would have been alerts."""
    engine = warmed(CLUSTER, ROWS, [firing(cooldown="5m")])
    engine.process(BarClosed(ROWS[HISTORY][1], ROWS[HISTORY][1].close_ms))
    effects = said(engine, [Boundary(ROWS[HISTORY][1].close_ms), *closing(ROWS[HISTORY + 1])])
    states = signals(effects)
    assert not verdict(states["ETHUSDT"], "cooldown").passed
    lead = next(one for one in alerts(effects) if one.signals[0].symbol == "XRPUSDT")
    assert lead.signals[0].context is not None
    assert not lead.signals[0].context.movers
    assert not verdict(states["BTCUSDT"]).passed


def test_without_enough_returns_nothing_is_correlated() -> None:
    """A new listing alerts for itself."""
    engine = warmed(CLUSTER, ROWS)
    fresh = market(40, {"NEWUSDT": (1.0, 0.0)})[HISTORY:]
    for minute in range(30):
        effects = said(engine, closing([*ROWS[HISTORY + minute], *fresh[minute]]))
        assert verdict(signals(effects)["NEWUSDT"]).passed


@pytest.mark.parametrize("seed", range(4))
def test_the_order_in_which_bars_of_a_moment_come_changes_nothing(seed: int) -> None:
    """Five-minute marks and minutes between them, with movers and BTC: the same signals in the same order."""
    settings = MarketSettings(correlated=0.8, correlation=True, movers=True)
    draw = random.Random(seed)
    one, other = warmed(settings, ROWS), warmed(settings, ROWS)
    for row in ROWS[HISTORY:]:
        assert said(one, closing(row)) == said(other, closing(draw.sample(row, len(row))))


def test_a_bar_that_came_late_is_blocked_by_what_was_alerted_meanwhile() -> None:
    """The alert that went out stands for it."""
    engine = warmed(CLUSTER, ROWS)
    said(engine, closing(ROWS[HISTORY][:1]))
    said(engine, closing(ROWS[HISTORY + 1][:1]))
    late = ROWS[HISTORY][1]
    reason = verdict(signals(engine.process(BarClosed(late, late.close_ms + 90_000)))["ETHUSDT"]).reason
    assert reason is not None
    assert "with BTCUSDT, alerted" in reason


def test_without_the_setting_nobody_waits_and_nobody_is_blocked() -> None:
    """Candidates are decided when they come, and the verdict passes."""
    engine = warmed(MarketSettings(), ROWS)
    effects = said(engine, closing(ROWS[HISTORY])[:-1])
    assert len(signals(effects, "passed")) == len(MIXES)
    assert all(one.context is None and verdict(one).passed for one in signals(effects).values())


def test_a_symbol_that_is_watched_no_more_stands_for_nobody() -> None:
    """Its closes are gone, so nothing is correlated with it."""
    engine = warmed(CLUSTER, ROWS)
    said(engine, closing(ROWS[HISTORY][:1]))
    engine.process(Universe(0, gone=("BTCUSDT",)))
    after = said(engine, closing(ROWS[HISTORY + 1][1:2]))
    assert alerts(after)
    assert verdict(signals(after)["ETHUSDT"]).passed


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("", (None, 900_000)),
        ("gate: {correlated: {}}", (0.8, 900_000)),
        ("gate: {correlated: {min: 0.95, window: 1h}}", (0.95, 3_600_000)),
    ],
)
def test_the_configuration_says_from_when_on_and_for_how_long(
    tmp_path: Path, written: str, asked: tuple[float | None, int]
) -> None:
    """Without the section there is no such check."""
    settings = market_of(loaded(tmp_path, written))
    assert (settings.correlated, settings.correlated_window_ms) == asked


@pytest.mark.parametrize("written", ["{min: 1.1}", "{min: 0}", "{window: 0s}", "{least: 0.8}"])
def test_a_mistake_in_the_section_is_named(tmp_path: Path, written: str) -> None:
    """A correlation beyond 1, or one that everything has; no time; a key that is none."""
    with pytest.raises(ConfigError, match=r"gate\.correlated"):
        loaded(tmp_path, f"gate: {{correlated: {written}}}")


def loaded(folder: Path, more: str) -> Config:
    """A configuration with these lines in it."""
    path = folder / "tapewatch.yaml"
    path.write_text(f"universe: {{include: [BTCUSDT]}}\nstrategies: {{scalp: {{}}}}\n{more}\n", encoding="utf-8")
    return load([path], {})
