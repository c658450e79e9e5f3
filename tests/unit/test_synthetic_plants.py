"""Planted setups are exactly what a strategy then finds, and what the gate says of each is known beforehand."""

import numpy as np
import pytest

from engine_runs import candidates
from tapewatch.engine import Engine
from tapewatch.errors import SetupError
from tapewatch.model import DAY_MS, MINUTE_MS, BarClosed, History, Judged
from tapewatch.simulator import Plant, Planted, Planter, PlantScript, SyntheticMarket, names, plants
from tapewatch.strategies import load
from tapewatch.strategy import Strategy, from_mapping

START_MS = 1_748_822_400_000
HOURS_MS = 60 * MINUTE_MS


def plant(minute: int, **keys: object) -> Plant:
    """A plant on the bar that closes that many minutes after the start."""
    return Plant.model_validate({"side": "long", "symbol": "BTCUSDT", "at": START_MS + minute * MINUTE_MS, **keys})


def planted(
    script: PlantScript, seed: int = 1, symbols: int = 2, hours: int = 8
) -> tuple[SyntheticMarket, list[Planted]]:
    """A market with the script carried out, and what is planted."""
    market = SyntheticMarket(seed, names(symbols), start_ms=START_MS, live_ms=hours * HOURS_MS, planter=Planter(script))
    return market, list(market.plant())


def judged(market: SyntheticMarket, symbol: str) -> list[tuple[int, str, str, str, str]]:
    """What an engine with ten days of history says from the start on."""
    engine = Engine("binance_spot", [load("scalp")])
    for bar in market.candles(symbol).slice(START_MS - 10 * DAY_MS, START_MS).bars():
        engine.process(History(bar))
    effects = [
        effect
        for bar in market.candles(symbol).slice(START_MS).bars()
        for effect in engine.process(BarClosed(bar, bar.close_ms))
    ]
    found = [effect for effect in effects if isinstance(effect, Judged)]
    return [(j.signal.close_ms, symbol, j.signal.strategy, j.signal.side, j.state) for j in found]


@pytest.mark.parametrize(("seed", "side"), [(1, "long"), (2, "short"), (3, "long")])
def test_a_quiet_market_fires_on_the_planted_bars_and_on_no_other(seed: int, side: str) -> None:
    """The first passes, the repeat within five minutes is blocked, the one after the move passes."""
    again = plant(150, side=side, repeat_after="3m", again_after_move="0.3%+")
    other = plant(200, symbol="ETHUSDT", side=side)
    market, entries = planted(PlantScript(plants=(again, other), quiet=True), seed)
    assert [(entry.close_ms - START_MS) // MINUTE_MS for entry in entries] == [150, 153, 154, 200]
    assert [entry.state for entry in entries] == ["passed", "blocked", "passed", "passed"]
    found = [signal for symbol in market.symbols for signal in judged(market, symbol)]
    assert found == [(e.close_ms, e.symbol, e.strategy, e.side, e.state) for e in entries]


def test_the_price_has_moved_by_more_than_asked() -> None:
    """From the first's close to the last's; the repeat stays below."""
    market, entries = planted(PlantScript(plants=(plant(150, repeat_after="2m", again_after_move="0.5%"),)))
    closes = {bar.close_ms: bar.close for bar in market.candles("BTCUSDT").slice(START_MS).bars()}
    first, repeat, last = (closes[entry.close_ms] for entry in entries)
    assert abs(repeat / first - 1) <= 0.003
    assert last / first - 1 > 0.005


def test_a_window_around_a_plant_is_free_of_others_and_the_rest_goes_on() -> None:
    """Without `quiet` the market has candidates elsewhere, and its candles stay sound and continuous."""
    market, _ = planted(PlantScript(plants=(plant(300),)), hours=24)
    signals = candidates("binance_spot", load("scalp"), market.candles("BTCUSDT").slice(START_MS - 5 * DAY_MS).bars())
    near = [s for s in signals if abs(s.close_ms - START_MS - 300 * MINUTE_MS) <= 15 * MINUTE_MS]
    assert [(s.close_ms, s.side) for s in near] == [(START_MS + 300 * MINUTE_MS, "long")]
    assert len(signals) > 1
    candles = market.candles("BTCUSDT")
    assert np.array_equal(candles.open[1:], candles.close[:-1])
    assert (candles.high >= np.maximum(candles.open, candles.close)).all()
    assert (candles.low <= np.minimum(candles.open, candles.close)).all()
    untouched = SyntheticMarket(1, names(2), start_ms=START_MS, live_ms=24 * HOURS_MS)
    assert np.array_equal(market.candles("ETHUSDT").close, untouched.candles("ETHUSDT").close)


def test_planting_is_deterministic() -> None:
    """The same script and seed give the same candles."""
    script = PlantScript(plants=(plant(150), plant(280, side="short")))
    first, _ = planted(script)
    second, _ = planted(script)
    assert np.array_equal(first.candles("BTCUSDT").close, second.candles("BTCUSDT").close)
    assert np.array_equal(first.candles("BTCUSDT").volume, second.candles("BTCUSDT").volume)


def test_a_repeat_after_the_window_passes() -> None:
    """Six minutes later the duplicate rule has forgotten."""
    _, entries = planted(PlantScript(plants=(plant(150, repeat_after="6m"),)))
    assert [entry.state for entry in entries] == ["passed", "passed"]


def test_no_market_without_a_planter_plants_anything() -> None:
    """And a script without plants only quietens."""
    assert SyntheticMarket(1, names(1), live_ms=HOURS_MS).plant() == ()
    market, entries = planted(PlantScript(plants=(), quiet=True), symbols=1, hours=24)
    assert entries == judged(market, "BTCUSDT") == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (PlantScript(plants=(plant(150, symbol="NOPEUSDT"),)), "NOPEUSDT: it is not among"),
        (PlantScript(plants=(plant(0),)), "not between the market's start and end"),
        (PlantScript(plants=(plant(475),)), "not between the market's start and end"),
        (PlantScript(plants=(plant(150), plant(170))), "too close to scalp long on BTCUSDT at 2025-06-02T02:30Z"),
        (PlantScript(plants=(plant(150, strategy="scalpel"),)), "no strategy 'scalpel'"),
    ],
)
def test_what_cannot_be_planted_is_said(script: PlantScript, said: str) -> None:
    """An unknown symbol or strategy, a time outside, two setups in one another's way."""
    with pytest.raises(SetupError, match=said):
        planted(script)


def strategy(name: str, condition: str) -> Strategy:
    """A strategy of one condition."""
    targets = [{"at": "atr(14)", "share": "100%"}]
    mapping = {"timeframes": ["1m"], "long": {"only": condition}, "stop": "atr(14)", "targets": targets}
    return from_mapping(name, mapping)


def watched(script: PlantScript, watched_for: Strategy, hours: int) -> SyntheticMarket:
    """A market of one symbol with one strategy of our own."""
    planter = Planter(script, [watched_for])
    return SyntheticMarket(1, names(1), start_ms=START_MS, live_ms=hours * HOURS_MS, planter=planter)


def test_a_setup_that_no_path_fires_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search ends with an error, not with something else planted."""
    monkeypatch.setattr(plants, "_ATTEMPTS", 5)
    never = strategy("never", "close < 0")
    market = watched(PlantScript(plants=(plant(150, strategy="never"),)), never, 8)
    with pytest.raises(SetupError, match="no path found in 5 attempts"):
        market.plant()
    with pytest.raises(SetupError, match="the strategies are never"):
        Planter(PlantScript(plants=(plant(150),)), [never])


def test_a_strategy_that_always_fires_cannot_be_kept_quiet() -> None:
    """Damping volume does not help there, and that is said."""
    market = watched(PlantScript(plants=(), quiet=True), strategy("always", "close > 0"), 1)
    with pytest.raises(SetupError, match="cannot be kept quiet"):
        market.plant()
