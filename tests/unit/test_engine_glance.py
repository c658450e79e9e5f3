"""What the engine says of a symbol when it is asked between signals."""

from __future__ import annotations

import math

from test_engine_market import ROW, ROWS, context

from engine_runs import save
from market_samples import HISTORY, closing, firing, said, signals, warmed
from tapewatch.engine import MarketSettings


def test_a_glance_says_what_a_signal_of_that_moment_carries_and_changes_nothing() -> None:
    """Price, outlook and correlation with BTC of every symbol, its volatility, and nothing of one that is not there."""
    settings = MarketSettings(outlooks=True, correlation=True)
    plan = firing(timeframes=["1m"], higher={}, long={"up": "close > 0", "wide": "natr(14) > 0"}, fire={"at_least": 1})
    engine = warmed(settings, ROWS, [plan])
    found = signals(said(engine, closing(ROW)))
    before = b"".join(save(engine))

    for symbol, one in found.items():
        seen = engine.glance(symbol, one.close_ms)
        assert seen is not None
        assert (seen.symbol, seen.price) == (symbol, one.entry)
        assert (seen.outlook, seen.btc_correlation) == (context(one).outlooks[0], context(one).btc_correlation)
        assert seen.natr == one.indicators["natr(14)"]
    assert engine.glance("NOBODYUSDT", ROW[0].close_ms) is None
    assert b"".join(save(engine)) == before
    assert signals(said(engine, closing(ROWS[HISTORY + 1]))) == signals(
        said(warmed(settings, ROWS, [plan]), [*closing(ROW), *closing(ROWS[HISTORY + 1])])
    )


def test_a_glance_is_on_the_largest_timeframe_up_to_a_quarter_of_an_hour() -> None:
    """Or on the smallest where all are larger; nothing is known of what is not kept."""
    row = ROWS[HISTORY]
    for timeframes, expected in ((["1m", "5m", "1h"], "5m"), (["1h", "4h"], "1h")):
        engine = warmed(MarketSettings(outlooks=True), ROWS, [firing(timeframes=timeframes, higher={})])
        seen = engine.glance("BTCUSDT", row[0].open_ms)
        assert seen is not None
        assert seen.outlook is not None
        assert (seen.outlook.timeframe, math.isnan(seen.price), seen.btc_correlation) == (expected, True, None)
    bare = warmed(MarketSettings(), ROWS).glance("BTCUSDT", row[0].open_ms)
    assert bare is not None
    assert (bare.outlook, math.isnan(bare.natr), math.isnan(bare.price)) == (None, True, True)
