"""Candidates as columns: what the gate and an account read of them, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tapewatch.archive.candles import Candles
from tapewatch.gate import GateSettings
from tapewatch.model import INTERVALS_MS, Side
from tapewatch.strategy import Program, SidePlan, Strategy
from tapewatch.strategy.graph import TRUE, Node
from tapewatch.study import gating
from tapewatch.study.evaluate import Evaluator, evaluate, interpreted
from tapewatch.study.signals import Reading, quotes_24h, settled_from_ms

SIGN = {"long": 1, "short": -1}
SIDES_BY_SIGN: dict[int, Side] = {1: "long", -1: "short"}
#: Candidates up to which the gate's loop runs interpreted: to load it compiled takes as long as so many.
FEW = 100_000


class Found(NamedTuple):
    """Candidates, a row each, or what `Search` finds of one symbol.

    Attributes:
        symbol: its number among those asked for.
        timeframe: its number among the strategy's.
        side: 1 for long, -1 for short.
        levels: of the stop, then of the targets.
        moves: an order's `break_even`, `trail_after` and `trail_by`.
        quote_24h: what its symbol had traded before, 0 where nobody reads it.
        settled, regimes: what the gate reads, the codes of the strategy's regimes; of no use where nobody asks it.
        factors: the codes of its side's factors, in their order.
        stopped_ms: as `Reading.stopped_ms`; 0 where nobody asks the gate.
    """

    symbol: Any
    timeframe: Any
    decided_ms: Any
    side: Any
    close: Any
    levels: Any
    moves: Any
    quote_24h: Any
    settled: Any
    regimes: Any
    factors: Any
    stopped_ms: Any

    def rows(self, chosen: Any) -> Found:
        """Only these rows, chosen by number or by a mask."""
        return Found(*(column[chosen] for column in self))

    def only(self, mask: Any) -> Found:
        """The rows of a mask."""
        return self if mask.all() else self.rows(mask)


def together(parts: Sequence[Found]) -> Found:
    """One after the other."""
    return Found(*map(np.concatenate, zip(*parts, strict=True))) if len(parts) > 1 else parts[0]


def in_turn(found: Found, strategy: Strategy, symbols: Sequence[str]) -> Found:
    """In the order in which a live run decides: of one close the most traded symbol first, then larger intervals."""
    names = np.argsort(np.argsort(symbols))
    lengths = np.array([INTERVALS_MS[name] for name in strategy.timeframes])
    keys = (-found.side, -lengths[found.timeframe], names[found.symbol], -found.quote_24h, found.decided_ms)
    return found.rows(np.lexsort(keys))


def passed(found: Found, strategy: Strategy, *, compiled: bool = False) -> Found:
    """Those that the gate lets through, of candidates in turn; many are judged by the compiled loop anyway."""
    found = found.only(_by_themselves(found, strategy))
    count, timeframes = len(found.symbol), len(strategy.timeframes)
    symbols = int(found.symbol.max(initial=-1)) + 1
    kinds = (found.symbol * timeframes + found.timeframe) * 2 + (found.side > 0)
    asked = np.column_stack((found.symbol, kinds, found.decided_ms, found.stopped_ms))
    number, rows = symbols * timeframes * 2, np.zeros(count, np.int64)
    remembered = np.zeros((number, 2), np.int64), np.zeros(number), np.zeros((symbols, 3), np.int64)
    loop = gating.let_through
    if compiled or count > FEW:
        from tapewatch.study.compiled import gate

        loop = gate()
    return found.rows(rows[: loop(asked, found.close, _checks(strategy), *remembered, rows)])


def _by_themselves(found: Found, strategy: Strategy) -> Any:
    """Whether the checks let a candidate through that read nothing else."""
    fit = found.settled.astype(np.bool_)
    for k, name in enumerate(strategy.regimes):
        holds = found.regimes[:, k] == TRUE
        assert strategy.regime is not None
        if name in strategy.regime.require:
            fit &= holds
        if name in strategy.regime.avoid:
            fit &= ~holds
    return fit


def _checks(strategy: Strategy) -> gating.Checks:
    alerts, budget_ms = (strategy.budget.alerts, strategy.budget.window_ms) if strategy.budget else (-1, 0)
    again, history = strategy.duplicate, GateSettings().history_size
    return gating.Checks(again.window_ms, again.move, history, strategy.cooldown_ms, alerts, budget_ms)


@dataclass(frozen=True)
class Search(Reading):
    """What is looked for in each symbol: called with one, its candidates, in turn.

    Attributes:
        gated: whether the gate is to be asked about them, and so what it reads is wanted.
        judges: whether it is asked here, for what it says does not depend on other symbols.
        ranked: whether somebody reads volumes.
    """

    gated: bool
    judges: bool
    ranked: bool

    def __call__(self, symbol: str) -> Found:
        """Every candidate of a symbol, or only those that pass."""
        stored, read = self.at_hand(symbol)
        parts = []
        for timeframe, program, frames in self.each(symbol, stored, read):
            if self.gated or timeframe in self.asked:
                mine = together([*self._of_program(program, frames)] or [self._none])
                if self.gated:
                    levels = mine.close, mine.levels[:, 0], mine.levels[:, 1]
                    entries = self.entries(program, mine.side, mine.decided_ms, levels)
                    mine = mine._replace(stopped_ms=self.stopped_ms(symbol, program, read, entries))
                parts.append(mine)
        found = together(parts or [self._none])
        if self.request.live_ms is not None:
            found = found.rows(found.decided_ms >= self.request.live_ms)
        found = found._replace(symbol=np.full(len(found.symbol), self.request.symbols.index(symbol)))
        if self.ranked and len(found.symbol):
            found = found._replace(quote_24h=quotes_24h(stored[min(stored)], found.decided_ms))
        found = in_turn(found, self.strategy, self.request.symbols)
        return self.asked_for(self.passed(found)) if self.judges else found

    def at_hand(self, symbol: str) -> tuple[dict[int, Candles], dict[str, Candles]]:  # noqa: ARG002 - others ask it
        """What there is of a symbol's candles already, as `each` takes and fills it."""
        return {}, {}

    def passed(self, found: Found) -> Found:
        """Those that the gate lets through, of candidates in turn."""
        return passed(found, self.strategy)

    def factors_of(self, plan: SidePlan) -> list[Node]:
        """Those factors of a side that somebody asks about where it fires, and that may not be met there."""
        return [node for _, _, node in plan.factors] if plan.at_least < len(plan.factors) else []

    def hits(self, program: Program, frames: Mapping[int, Candles], read: Sequence[Node]) -> Iterator[Hits]:
        """Every bar on which a side fires, oldest first; `read` and the distances are known there."""
        return fired(program, frames, read, self.evaluator)

    def asked_for(self, found: Found) -> Found:
        """Those of the timeframes and the period that are asked for."""
        request = self.request
        wanted = np.array([name in self.asked for name in self.strategy.timeframes])[found.timeframe]
        if request.from_ms is not None:
            wanted &= found.decided_ms >= request.from_ms
        if request.to_ms is not None:
            wanted &= found.decided_ms < request.to_ms
        return found.only(wanted)

    @property
    def _none(self) -> Found:
        whole, number, width = np.zeros(0, np.int64), np.zeros(0), len(self.strategy.targets) + 1
        factors = max(len(factors) for factors in self.strategy.sides.values())
        return Found(
            whole,
            whole,
            whole,
            whole,
            number,
            np.zeros((0, width)),
            np.zeros((0, 3)),
            number,
            np.zeros(0, np.bool_),
            np.zeros((0, len(self.strategy.regimes)), np.int8),
            np.zeros((0, factors), np.int8),
            whole,
        )

    def _of_program(self, program: Program, frames: Mapping[int, Candles]) -> Iterator[Found]:
        own = frames[program.interval_ms]
        if not len(own):
            return
        settled_ms = settled_from_ms(program, frames) if self.gated else 0
        number = self.strategy.timeframes.index(program.timeframe)
        regimes = [program.regimes[name] for name in self.strategy.regimes]
        read = [node for plan in program.sides for node in self.factors_of(plan)] + (regimes if self.gated else [])
        for hits in self.hits(program, frames, read):
            closes_ms = own.open_ms[hits.rows] + own.interval_ms
            for plan, mask in zip(program.sides, hits.sides, strict=True):
                rows = np.flatnonzero(mask)
                levels, moves = levels_of(plan, own.close[hits.rows[rows]], hits, rows)
                factors, width = self.factors_of(plan), self._none.factors.shape[1]
                yield Found(
                    symbol=np.zeros(len(rows), np.int64),
                    timeframe=np.full(len(rows), number),
                    decided_ms=closes_ms[rows],
                    side=np.full(len(rows), SIGN[plan.side]),
                    close=own.close[hits.rows[rows]],
                    levels=levels,
                    moves=moves,
                    quote_24h=np.zeros(len(rows)),
                    settled=closes_ms[rows] >= settled_ms,
                    regimes=codes_of(regimes if self.gated else [], hits, rows, len(regimes)),
                    factors=codes_of(factors, hits, rows, width),
                    stopped_ms=np.zeros(len(rows), np.int64),
                )


class Hits(NamedTuple):
    """Bars on which a side fires: their rows, for every side whether it does, and the values of nodes there."""

    rows: Any
    sides: Sequence[Any]
    of: Callable[[Node], Any]


def fired(
    program: Program, frames: Mapping[int, Candles], read: Sequence[Node], evaluator: Evaluator
) -> Iterator[Hits]:
    """Every bar on which a side fires, oldest first; `read` and the distances are known there."""
    if interpreted(frames, evaluator):
        hits = list(evaluate(program, frames, "interpreted"))
        if hits:
            sides = [np.array(side) for side in zip(*(hit.fired for hit in hits), strict=True)]
            yield Hits(
                np.array([hit.row for hit in hits]),
                sides,
                lambda node: np.array([hit.evidence.of(node) for hit in hits]),
            )
        return
    from tapewatch.study.table import Table

    for chunk in Table(program, frames, read).fired():
        yield Hits(chunk.rows, chunk.sides, chunk.of)


def levels_of(plan: SidePlan, close: Any, hits: Hits, rows: Any) -> tuple[Any, Any]:
    """Of the bars in these rows of the hits: the levels of stop and targets, and the moves."""
    sign, moves = SIGN[plan.side], np.zeros((len(rows), len(plan.moves)))
    targets = [close + sign * hits.of(node)[rows] for node, _ in plan.targets]
    for k, node in enumerate(plan.moves):
        if node is not None:
            moves[:, k] = hits.of(node)[rows]
    return np.column_stack([close - sign * hits.of(plan.stop)[rows], *targets]), moves


def codes_of(nodes: Sequence[Node], hits: Hits, rows: Any, width: int) -> Any:
    """A code for each condition, met where there is none."""
    codes = np.full((len(rows), width), TRUE, np.int8)
    for k, node in enumerate(nodes):
        codes[:, k] = hits.of(node)[rows]
    return codes
