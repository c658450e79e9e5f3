"""A strategy on one of its timeframes, compiled: the graph, what its sides read of it, and the live steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

from tapewatch.errors import StrategyError
from tapewatch.model import INTERVALS_MS, Side
from tapewatch.strategy.definition import SIDES, Strategy
from tapewatch.strategy.expression import Reader
from tapewatch.strategy.graph import COMPARISONS, Graph, Kind, Node, settling
from tapewatch.strategy.step import FrameStep, compile_frame, name_of
from tapewatch.strategy.units import is_price

#: Windows are never shorter than this many bars.
LEAST_WINDOW = 200


class Moves(NamedTuple):
    """The distances that move a stop, None where the strategy has none."""

    break_even: Node | None
    trail_after: Node | None
    trail_by: Node | None


@dataclass(frozen=True)
class SidePlan:
    """What one side reads: its factors in order, the distances, and how many factors must be met."""

    side: Side
    factors: tuple[tuple[str, str, Node], ...]
    stop: Node
    targets: tuple[tuple[Node, float], ...]
    moves: Moves
    at_least: int
    always: tuple[str, ...]

    @property
    def distances(self) -> tuple[Node, ...]:
        """All of them: of the stop, of each target, then of the moves that there are."""
        return (self.stop, *(node for node, _ in self.targets), *(node for node in self.moves if node is not None))


class Reads(Protocol):
    """What reads expressions as `Reader` does."""

    def read(self, text: str, frame_ms: int, kind: Kind, where: str) -> Node:
        """The node of an expression."""
        ...


@dataclass(frozen=True)
class Common:
    """What every signal carries, whatever its strategy reads."""

    atr: Node
    ema_9: Node
    ema_21: Node
    ema_50: Node
    volume_average: Node


@dataclass(frozen=True)
class Program:
    """A strategy on one timeframe.

    Attributes:
        frames: the intervals it reads, the largest first; its own timeframe is the last.
        regimes: regime -> its condition, for those that the strategy filters by.
        named: every function call as written -> its node.
        settled_at: interval -> index, from the start of the series, of the first bar on which everything is settled.
    """

    strategy: Strategy
    timeframe: str
    graph: Graph
    sides: tuple[SidePlan, ...]
    common: Common
    regimes: dict[str, Node]
    named: dict[str, Node]
    settled_at: dict[int, int]

    @cached_property
    def interval_ms(self) -> int:
        """The length of its timeframe."""
        return INTERVALS_MS[self.timeframe]

    @cached_property
    def frames(self) -> tuple[int, ...]:
        """The intervals it reads, the largest first."""
        return tuple(sorted(self.settled_at, reverse=True))

    @cached_property
    def places(self) -> dict[int, tuple[int, int]]:
        """Node index -> (position of its frame in `frames`, position among the frame's values)."""
        return {
            node.index: (position, place)
            for position, frame in enumerate(self.frames)
            for place, node in enumerate(node for node in self.graph.nodes if node.frame_ms == frame)
        }

    @cached_property
    def steps(self) -> tuple[FrameStep, ...]:
        """The live steps, in the order of `frames`."""
        fired = [fire_text(plan) for plan in self.sides]
        return tuple(
            compile_frame(self.graph, frame, fired if frame == self.interval_ms else None) for frame in self.frames
        )

    @cached_property
    def of_prices(self) -> frozenset[int]:
        """The comparisons in which a side is measured in the price's unit."""
        compared = (node for node in self.graph.nodes if node.op in COMPARISONS)
        return frozenset(node.index for node in compared if any(is_price(arg) for arg in node.args))

    def window(self, interval_ms: int) -> int:
        """Bars of history that an interval needs before its values are settled, at least 200."""
        return max(LEAST_WINDOW, self.settled_at.get(interval_ms, 0) + 1)


def compile_program(strategy: Strategy, timeframe: str) -> Program:
    """Read a strategy's expressions on one timeframe. Raises StrategyError at the first mistake."""
    if timeframe not in strategy.timeframes:
        known = ", ".join(strategy.timeframes)
        raise StrategyError(f"has no timeframe {timeframe}; it has {known}", where=strategy.name)
    frame_ms, graph = INTERVALS_MS[timeframe], Graph()
    reader = reader_of(strategy, graph)
    sides = sides_of(reader, strategy, frame_ms)
    common = common_of(graph, frame_ms)
    regimes = {name: reader.regime(name, frame_ms) for name in strategy.regimes}
    return Program(strategy, timeframe, graph, sides, common, regimes, reader.named, settling(graph.nodes))


def reader_of(strategy: Strategy, graph: Graph) -> Reader:
    """What reads the expressions of a strategy into a graph."""
    higher_ms = {INTERVALS_MS[low]: INTERVALS_MS[high] for low, high in strategy.higher.items()}
    return Reader(graph, strategy.params, higher_ms, strategy.by_regime)


def sides_of(reader: Reads, strategy: Strategy, frame_ms: int) -> tuple[SidePlan, ...]:
    """What the sides that have factors read. Raises StrategyError at the first mistake."""
    return tuple(_side(reader, strategy, side, frame_ms) for side in SIDES if strategy.sides[side])


def _side(reader: Reads, strategy: Strategy, side: Side, frame_ms: int) -> SidePlan:
    factors = tuple(
        (name, text, reader.read(text, frame_ms, "condition", f"{strategy.name}.{side}.{name}"))
        for name, text in strategy.sides[side].items()
    )
    stop = _distance(reader, strategy.stop, frame_ms, f"{strategy.name}.stop")
    targets = tuple(
        (_distance(reader, target.at, frame_ms, f"{strategy.name}.targets[{number}].at"), target.share)
        for number, target in enumerate(strategy.targets)
    )
    moves = _moves(reader, strategy, frame_ms)
    return SidePlan(side, factors, stop, targets, moves, strategy.at_least[side], strategy.always)


def _moves(reader: Reads, strategy: Strategy, frame_ms: int) -> Moves:
    trailing = strategy.trailing
    texts = {
        "break_even": strategy.break_even,
        "trailing.after": trailing.after if trailing else None,
        "trailing.by": trailing.by if trailing else None,
    }
    return Moves(
        *(
            None if text is None else _distance(reader, text, frame_ms, f"{strategy.name}.{key}")
            for key, text in texts.items()
        )
    )


def _distance(reader: Reads, text: str, frame_ms: int, where: str) -> Node:
    node = reader.read(text, frame_ms, "number", where)
    if isinstance(node.value, float) and not node.value > 0:
        raise StrategyError(f"a distance from entry must be above 0, this is always {node.value:g}", where=where)
    return node


def common_of(graph: Graph, frame_ms: int) -> Common:
    """What every signal carries, of bars of a frame."""
    close, volume = graph.source("close", frame_ms), graph.source("volume", frame_ms)
    ema_9, ema_21, ema_50 = (graph.call("ema", (close,), (length,), frame_ms) for length in (9, 21, 50))
    atr, average = graph.call("atr", (), (14,), frame_ms), graph.call("sma", (volume,), (20,), frame_ms)
    return Common(atr, ema_9, ema_21, ema_50, average)


def fire_text(plan: SidePlan) -> str:
    """When a side fires, over the steps' names: enough factors true, and distances that make a trade."""
    met = {name: f"n{node.index} == 2" for name, _, node in plan.factors}
    if plan.at_least == len(plan.factors):
        terms = list(met.values())
    else:
        terms = [f"{' + '.join(f'({text})' for text in met.values())} >= {plan.at_least}"]
        terms += [met[name] for name in plan.always]
    terms += [f"{name_of(node)} > 0.0" for node in plan.distances]
    return " and ".join(dict.fromkeys(terms))
