"""From the values of a fired bar to a Signal. Every evaluator ends here, so every evaluator says the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tapewatch.model import Bar, Confidence, Factor, Signal, Target, Trailing, signal_id, trace_id
from tapewatch.strategy.graph import COMPARISONS, FALSE, TRUE, UNKNOWN, Node
from tapewatch.strategy.program import Program, SidePlan
from tapewatch.strategy.step import Values

_MET = {FALSE: False, UNKNOWN: None, TRUE: True}


@dataclass(frozen=True)
class Evidence:
    """The values of one bar: for every frame of the program, in its order, what its nodes were."""

    program: Program
    values: Sequence[Values]

    def of(self, node: Node) -> float:
        """A node's value; conditions have the codes of `tapewatch.strategy.graph`."""
        frame, place = self.program.places[node.index]
        return self.values[frame][place]

    def met(self, node: Node) -> bool | None:
        """A condition: True, False, or None where it is unknown."""
        return _MET[int(self.of(node))]

    def maybe(self, node: Node | None) -> float | None:
        """A node's value where there is one."""
        return None if node is None else self.of(node)

    def regimes(self) -> dict[str, bool | None]:
        """The regimes that the strategy filters by: whether each holds, None where that is unknown."""
        return {name: self.met(node) for name, node in self.program.regimes.items()}

    def factors(self, plan: SidePlan) -> tuple[Factor, ...]:
        """Every factor of a side with the comparison that decides it."""
        return tuple(self._factor(name, text, node) for name, text, node in plan.factors)

    def _factor(self, name: str, text: str, node: Node) -> Factor:
        comparison, margin = self._comparison(node), self.margin(node)
        if comparison is None:
            return Factor(name, self.met(node), text, margin=margin)
        left, right = (self.of(arg) for arg in comparison.args)
        return Factor(name, self.met(node), text, left, comparison.op, right, margin)

    def _comparison(self, node: Node) -> Node | None:
        """The outermost comparison; of a chain the first false link, else the first unknown, else the last."""
        if node.op in COMPARISONS:
            return node
        if node.op == "latch":
            return self._comparison(node.args[0])
        if node.op == "and" and all(arg.op in COMPARISONS for arg in node.args):
            links = sorted(node.args, key=self.of)
            return node.args[-1] if self.of(links[0]) == TRUE else links[0]
        return None

    def indicators(self) -> dict[str, float | bool | None]:
        """Every function call as written -> its value; None where it has none."""
        result: dict[str, float | bool | None] = {}
        for text, node in self.program.named.items():
            value = self.of(node)
            result[text] = self.met(node) if node.kind == "condition" else (value if value - value == 0 else None)
        return result

    def margin(self, node: Node) -> float | None:
        """How clearly a condition is true (0 to 1) or how far it is from it (-1 to 0); None where it is unknown.

        Of a comparison: |left - right|, in ATR(14) where the sides are prices, else as a part of the larger side, at
        most 1. `and` has its smallest margin, `or` its largest, `not` the opposite one.
        """
        if self.met(node) is None:
            return None
        if node.op in COMPARISONS:
            left, right = (self.of(arg) for arg in node.args)
            atr = self.of(self.program.common.atr)
            scale = atr if node.index in self.program.of_prices else max(abs(left), abs(right))
            distance = min(1.0, abs(left - right) / scale) if scale > 0 else 0.0
            return distance if self.met(node) else -distance
        inner = [margin for margin in map(self.margin, node.args) if margin is not None]
        match node.op:
            case "and" | "or":
                return (min if node.op == "and" else max)(inner)
            case "not":
                return -inner[0]
            case "latch":
                return inner[0]
        return 0.0

    def bias(self, close: float) -> Literal["bullish", "bearish", "neutral"]:
        """Bullish when close > EMA(50) and EMA(9) > EMA(21), bearish mirrored, else neutral."""
        common = self.program.common
        fast, slow, middle = (self.of(node) for node in (common.ema_9, common.ema_21, common.ema_50))
        if close > middle and fast > slow:
            return "bullish"
        return "bearish" if close < middle and fast < slow else "neutral"


def strength_of(factors: Sequence[Factor]) -> float:
    """0 to 10: ten times the mean over the asked factors of 0 when not met, else 0.5 + 0.5 * margin."""
    scores = [0.5 + 0.5 * (factor.margin or 0.0) if factor.met else 0.0 for factor in factors]
    return round(10 * sum(scores) / len(scores), 2)


def make_signal(
    evidence: Evidence, plan: SidePlan, venue: str, bar: Bar, *, settled: bool, history_start_ms: int
) -> Signal:
    """The signal of a side that fired on `bar`, without verdicts."""
    program = evidence.program
    strategy, side = program.strategy, plan.side
    sign = 1 if side == "long" else -1
    entry, stop = bar.close, evidence.of(plan.stop)
    targets = [(evidence.of(node), share) for node, share in plan.targets]
    moves, trail_by = plan.moves, evidence.maybe(plan.moves.trail_by)
    factors = evidence.factors(plan)
    average = evidence.of(program.common.volume_average)
    identity = signal_id(venue, bar.symbol, program.timeframe, strategy.name, side, bar.close_ms)
    return Signal(
        id=identity,
        venue=venue,
        symbol=bar.symbol,
        timeframe=program.timeframe,
        strategy=strategy.name,
        side=side,
        open_ms=bar.open_ms,
        close_ms=bar.close_ms,
        entry=entry,
        stop=entry - sign * stop,
        targets=tuple(Target(entry + sign * distance, share) for distance, share in targets),
        break_even=evidence.maybe(moves.break_even),
        trailing=None if trail_by is None else Trailing(evidence.maybe(moves.trail_after), trail_by),
        atr=evidence.of(program.common.atr),
        risk_reward=sum(distance * share for distance, share in targets) / 100 / stop,
        stop_distance_pct=stop / entry * 100,
        profit_distance_pct=targets[0][0] / entry * 100,
        bias=evidence.bias(entry),
        confidence=Confidence(sum(factor.met is True for factor in factors), len(factors)),
        strength=strength_of(factors),
        volume=bar.volume,
        volume_ratio=bar.volume / average if average > 0 else float("nan"),
        factors=factors,
        indicators=evidence.indicators(),
        regime=evidence.regimes(),
        settled=settled,
        params=dict(strategy.params),
        history_start_ms=history_start_ms,
        trace_id=trace_id(identity),
    )
