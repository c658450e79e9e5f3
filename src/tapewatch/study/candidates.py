"""Candidates as columns: what the gate and an account read of them, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tapewatch.archive.candles import Candles
from tapewatch.gate import Gate, GateSettings
from tapewatch.model import INTERVALS_MS, Rest, Side
from tapewatch.strategy import Program, SidePlan, Strategy
from tapewatch.strategy.graph import FALSE, TRUE, UNKNOWN, Node
from tapewatch.study.evaluate import Evaluator, evaluate, interpreted
from tapewatch.study.signals import Reading, quotes_24h, settled_from_ms

SIGN = {"long": 1, "short": -1}
SIDES_BY_SIGN: dict[int, Side] = {1: "long", -1: "short"}
_MET = {FALSE: False, UNKNOWN: None, TRUE: True}


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


class Candidate(NamedTuple):
    """What the gate reads of a signal."""

    symbol: str
    timeframe: str
    strategy: str
    side: Side
    close_ms: int
    entry: float
    settled: bool
    regime: Mapping[str, bool | None]


def together(parts: Sequence[Found]) -> Found:
    """One after the other."""
    return Found(*map(np.concatenate, zip(*parts, strict=True)))


def in_turn(found: Found, strategy: Strategy, symbols: Sequence[str]) -> Found:
    """In the order in which a live run decides: of one close the most traded symbol first, then larger intervals."""
    names = np.argsort(np.argsort(symbols))
    lengths = np.array([INTERVALS_MS[name] for name in strategy.timeframes])
    keys = (-found.side, -lengths[found.timeframe], names[found.symbol], -found.quote_24h, found.decided_ms)
    return found.rows(np.lexsort(keys))


def passed(found: Found, strategy: Strategy, symbols: Sequence[str]) -> Found:
    """Those that the gate lets through, of candidates in turn."""
    found, gate = found.rows(found.settled), Gate(GateSettings())  # no other passes
    names = regimes_of(strategy)
    regimes: Iterator[Mapping[str, bool | None]] = (
        {name: _MET[code] for name, code in zip(names, codes, strict=True)} for codes in found.regimes.tolist()
    )
    columns = found.symbol, found.timeframe, found.side, found.decided_ms, found.close, found.settled, found.stopped_ms
    kept = []
    for k, (symbol, timeframe, side, close_ms, close, settled, stopped_ms, regime) in enumerate(
        zip(*(column.tolist() for column in columns), regimes, strict=True)
    ):
        candidate = Candidate(
            symbols[symbol],
            strategy.timeframes[timeframe],
            strategy.name,
            SIDES_BY_SIGN[side],
            close_ms,
            close,
            settled,
            regime,
        )
        if gate.passes(candidate, strategy, close_ms):
            last = gate.remember(candidate, strategy)
            gate.stopped(Rest(last.symbol, last.strategy, close_ms, stopped_ms))
            kept.append(k)
    return found.rows(np.array(kept, np.int64))


def regimes_of(strategy: Strategy) -> tuple[str, ...]:
    """The regimes that a strategy filters by, each once."""
    asked = (*strategy.regime.require, *strategy.regime.avoid) if strategy.regime else ()
    return tuple(dict.fromkeys(asked))


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
        stored: dict[int, Candles] = {}
        read: dict[str, Candles] = {}
        parts = [self._none]
        for timeframe, program, frames in self.each(symbol, stored, read):
            if self.gated or timeframe in self.asked:
                mine = together([self._none, *self._of_program(program, frames)])
                if self.gated:
                    levels = mine.close, mine.levels[:, 0], mine.levels[:, 1]
                    entries = self.entries(program, mine.side, mine.decided_ms, levels)
                    mine = mine._replace(stopped_ms=self.stopped_ms(symbol, program, read, entries))
                parts.append(mine)
        found = together(parts)
        if self.request.live_ms is not None:
            found = found.rows(found.decided_ms >= self.request.live_ms)
        found = found._replace(symbol=np.full(len(found.symbol), self.request.symbols.index(symbol)))
        if self.ranked and len(found.symbol):
            found = found._replace(quote_24h=quotes_24h(stored[min(stored)], found.decided_ms))
        found = in_turn(found, self.strategy, self.request.symbols)
        return self.asked_for(passed(found, self.strategy, self.request.symbols)) if self.judges else found

    def asked_for(self, found: Found) -> Found:
        """Those of the timeframes and the period that are asked for."""
        request = self.request
        wanted = np.array([name in self.asked for name in self.strategy.timeframes])[found.timeframe]
        if request.from_ms is not None:
            wanted &= found.decided_ms >= request.from_ms
        if request.to_ms is not None:
            wanted &= found.decided_ms < request.to_ms
        return found.rows(wanted)

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
            np.zeros((0, len(regimes_of(self.strategy))), np.int8),
            np.zeros((0, factors), np.int8),
            whole,
        )

    def _of_program(self, program: Program, frames: Mapping[int, Candles]) -> Iterator[Found]:
        own = frames[program.interval_ms]
        if not len(own):
            return
        settled_ms = settled_from_ms(program, frames) if self.gated else 0
        number = self.strategy.timeframes.index(program.timeframe)
        regimes = [program.regimes[name] for name in regimes_of(self.strategy)]
        read = [node for plan in program.sides for node in asked_factors(plan)] + (regimes if self.gated else [])
        for hits in fired(program, frames, read, self.evaluator):
            closes_ms = own.open_ms[hits.rows] + own.interval_ms
            for plan, mask in zip(program.sides, hits.sides, strict=True):
                rows = np.flatnonzero(mask)
                levels, moves = levels_of(plan, own.close[hits.rows[rows]], hits, rows)
                factors, width = asked_factors(plan), self._none.factors.shape[1]
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


def asked_factors(plan: SidePlan) -> list[Node]:
    """The factors that may not be met where a side fires."""
    return [node for _, _, node in plan.factors] if plan.at_least < len(plan.factors) else []


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
