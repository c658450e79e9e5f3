"""A signal as numbers that can be compared with those of other signals, of other symbols and other times too. Pure.

Every consumer takes them from here: what is exported, what a model is trained on, what it is asked about live. What is
not known is NaN, never a guess. Prices are told as the distance from the entry in ATR(14), volumes in the mean volume
of twenty bars; a number that grows with its market in another way, or with the time since its series began (`obv()`),
says nothing beside another market's and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tapewatch.model import DAY_MS, INTERVALS_MS, MINUTE_MS, NAN, Outlook, Signal, Surroundings
from tapewatch.record import hour_of
from tapewatch.strategy import Node, Program
from tapewatch.strategy.definition import REGIMES
from tapewatch.strategy.graph import COMPARISONS
from tapewatch.strategy.scale import NUMBER, Scale, scale_of

#: Raised with every change after which a name means another number than before.
VERSION = 1

_TRENDS = {"up": 1.0, "flat": 0.0, "down": -1.0}
_BIASES = {"bullish": 1.0, "neutral": 0.0, "bearish": -1.0}


class Feature(NamedTuple):
    """One number of a signal: what it is called, what it is measured in, and what it says."""

    name: str
    unit: str
    meaning: str


_OWN = (
    Feature("side", "sign", "1 for long, -1 for short"),
    Feature("timeframe", "minutes", "length of the signal's bars"),
    Feature("hour", "hours", "hour of the day (UTC) in which the bar closed, 0 to 23"),
    Feature("weekday", "days", "day (UTC) on which the bar closed, 0 for Monday"),
    Feature("strength", "points", "the signal's strength, 0 to 10"),
    Feature("confidence", "share", "factors met, of those asked"),
    Feature("bias", "sign", "1 bullish, 0 neutral, -1 bearish"),
    Feature("atr_pct", "percent", "ATR(14) of the entry"),
    Feature("stop_distance_pct", "percent", "way to the stop, of the entry"),
    Feature("profit_distance_pct", "percent", "way to the first target, of the entry"),
    Feature("risk_reward", "ratio", "way to the targets, by their shares, over the way to the stop"),
    Feature("volume_ratio", "ratio", "volume of the bar over the mean of twenty bars"),
)
_AROUND = (
    Feature("context.spread_bps", "basis points", "between best bid and ask, of their middle"),
    Feature("context.imbalance", "share", "bids less asks over both, in the order book near the middle, -1 to 1"),
    Feature("context.slippage_bps", "basis points", "from the middle to the mean price of the size asked about"),
    Feature("context.hourly_volume_quote", "quote units", "mean quote volume of an hour"),
    Feature("context.funding_rate", "share", "the perpetual's next funding rate"),
    Feature("context.funding_minutes", "minutes", "from the close to the next funding"),
    Feature("context.btc_correlation", "correlation", "of returns with BTC's, -1 to 1"),
)


@dataclass(frozen=True)
class FeatureSet:
    """The features of a strategy's signals: the same names in the same order on each of its timeframes.

    Attributes:
        factors: its factors, those of long first, and whether its margin is told too.
        values: its function calls as written, with how each grows with its market; None of a condition.
        higher: timeframe -> the one that is its higher one.
    """

    factors: tuple[tuple[str, bool], ...]
    values: tuple[tuple[str, Scale | None], ...]
    higher: dict[str, str]

    @classmethod
    def of(cls, program: Program) -> FeatureSet:
        """Those of a strategy, compiled on any of its timeframes."""
        factors: dict[str, bool] = {}
        for plan in program.sides:
            for name, _, node in plan.factors:
                factors[name] = factors.get(name, True) and _has_margin(node)
        units = (program.common.atr, program.common.volume_average)  # which would be 1 on every bar
        values = tuple(
            (text, None if node.kind == "condition" else scale_of(node))
            for text, node in program.named.items()
            if node.kind == "condition" or (node not in units and _comparable(scale_of(node)))
        )
        return cls(tuple(factors.items()), values, dict(program.strategy.higher))

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """All of them with what they mean, in their order."""
        return tuple(self._features())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What they are called, in their order."""
        return tuple(feature.name for feature in self.features)

    def _features(self) -> Iterator[Feature]:
        yield from _OWN
        for name, has_margin in self.factors:
            yield Feature(f"factor.{name}", "flag", f"factor {name}: 1 met, 0 not met")
            if has_margin:
                meaning = f"how clearly {name} is met, 0 to 1, or how far from it the bar is, -1 to 0"
                yield Feature(f"margin.{name}", "share", meaning)
        for text, scale in self.values:
            yield Feature(f"value.{text}", *_told(text, scale))
        for prefix, where in (("regime", "the signal's timeframe"), ("higher", "its higher timeframe")):
            for name in REGIMES:
                yield Feature(f"{prefix}.{name}", "flag", f"regime {name} on {where}: 1 holds, 0 does not")
            yield Feature(f"{prefix}.trend", "sign", f"trend on {where}: 1 up, 0 flat, -1 down")
        yield from _AROUND


def _comparable(scale: Scale | None) -> bool:
    """Whether what it grows with is known of a signal, and it does not depend on where its series began."""
    if scale is None:
        return False
    if scale.powers == (0.0, 1.0):
        return not scale.shift
    return scale.powers in ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))


def _has_margin(node: Node) -> bool:
    """Whether how clearly a condition holds does not depend on where its series began."""
    if node.op not in COMPARISONS:
        return all(_has_margin(arg) for arg in node.args if arg.kind == "condition")
    scales = (scale_of(arg) for arg in node.args)
    return not any(scale is not None and scale.powers == (0.0, 1.0) and scale.shift for scale in scales)


def _told(text: str, scale: Scale | None) -> tuple[str, str]:
    """The unit and the meaning of a function call."""
    if scale is None:
        return "flag", f"{text}: 1 true, 0 false"
    match scale.powers:
        case (0.0, 0.0):
            return "as it is", text
        case (0.0, _):
            return "mean volumes", f"{text} over the mean volume of twenty bars"
        case (_, 0.0) if scale.shift:
            less = "the entry" if scale.shift == 1 else f"{scale.shift:g} times the entry"
            return "ATR", f"{text} less {less}, over ATR(14)"
        case (_, 0.0):
            return "ATR", f"{text} over ATR(14)"
    return "mean volumes", f"{text} over the entry times the mean volume of twenty bars"


def features_of(signal: Signal, known: FeatureSet) -> dict[str, float]:
    """What a signal is in numbers: by the names of the set, in their order; NaN where something is not known.

    It reads the signal and nothing else. Of a signal without context what it tells of its surroundings is NaN, and
    the regimes are those its strategy filters by.

    Args:
        signal: of the strategy the set is of, with the same parameters' names.
        known: made once for a strategy.
    """
    values = [*_own(signal)]
    factors = {factor.name: factor for factor in signal.factors}
    for name, has_margin in known.factors:
        factor = factors.get(name)
        values.append(NAN if factor is None else _number(factor.met))
        if has_margin:
            values.append(NAN if factor is None else _number(factor.margin))
    entry, atr = signal.entry, signal.atr
    average = signal.volume / signal.volume_ratio if signal.volume_ratio > 0 else NAN
    for text, scale in known.values:
        value = _number(signal.indicators.get(text))
        if scale is not None and scale.powers != NUMBER.powers:
            value = _scaled(value, scale, entry, atr, average)
        values.append(value)
    around = signal.context or _NOTHING
    outlooks = {outlook.timeframe: outlook for outlook in around.outlooks}
    values += _outlook(outlooks.get(signal.timeframe) or Outlook(signal.timeframe, signal.regime))
    values += _outlook(outlooks.get(known.higher.get(signal.timeframe, "")) or _UNKNOWN)
    values += _context(around, signal.close_ms)
    return dict(zip(known.names, [value if value - value == 0 else NAN for value in values], strict=True))


_NOTHING = Surroundings()
_UNKNOWN = Outlook("", {})


def _own(signal: Signal) -> tuple[float, ...]:
    """In the order of `_OWN`."""
    close_ms, confidence = signal.close_ms, signal.confidence
    return (
        1.0 if signal.side == "long" else -1.0,
        INTERVALS_MS[signal.timeframe] / MINUTE_MS,
        float(hour_of(close_ms)),
        float((close_ms // DAY_MS + 3) % 7),
        signal.strength,
        confidence.met / confidence.asked,
        _BIASES[signal.bias],
        signal.atr / signal.entry * 100,
        signal.stop_distance_pct,
        signal.profit_distance_pct,
        signal.risk_reward,
        signal.volume_ratio,
    )


def _context(around: Surroundings, close_ms: int) -> tuple[float, ...]:
    """In the order of `_AROUND`."""
    funding_ms = around.next_funding_ms
    return (
        _number(around.spread_bps),
        _number(around.imbalance),
        _number(around.slippage_bps),
        _number(around.hourly_volume_quote),
        _number(around.funding_rate),
        NAN if funding_ms is None else (funding_ms - close_ms) / MINUTE_MS,
        _number(around.btc_correlation),
    )


def _outlook(outlook: Outlook) -> Iterator[float]:
    """The regimes in their order, then the trend."""
    for name in REGIMES:
        yield _number(outlook.regimes.get(name))
    yield NAN if outlook.trend is None else _TRENDS[outlook.trend]


def _scaled(value: float, scale: Scale, entry: float, atr: float, average: float) -> float:
    """A number that grows with its market, in what its market has of that; NaN where it has none."""
    if scale.powers == (1.0, 0.0):
        return (value - scale.shift * entry) / atr if atr > 0 else NAN
    unit = average if scale.price == 0 else average * entry
    return value / unit if unit > 0 else NAN


def _number(value: float | None) -> float:
    """A flag is 1 or 0, what is not known NaN."""
    return NAN if value is None else float(value)
