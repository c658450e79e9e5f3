"""What became of candidates on stored candles, and of random entries beside them.

Both are followed on the smallest stored candles that their timeframe is made of. Random entries are bars, drawn by the
hash by which a run draws them, whose inputs are all settled; they have the stop and the target that their strategy
would have set there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from tapewatch.archive.candles import Candles, Times
from tapewatch.draw import LAST_SHIFT, RESEARCH_ONE_IN, STEPS, salt_of, threshold_of
from tapewatch.model import NAN, Outcome, Result, Signal
from tapewatch.record import HOURS, Baseline, Drawn, Kind, Score, Sums, Tally, hour_of, score_of, together
from tapewatch.strategy import Program, SidePlan, Strategy
from tapewatch.study.candidates import SIGN
from tapewatch.study.evaluate import Evaluator, interpreted, values_at
from tapewatch.study.regimes import regimes_at
from tapewatch.study.signals import Reading, Request, asked_of, evaluator_of, settled_from_ms
from tapewatch.study.touches import OPEN, RESULTS, TARGET, TIME, Ends, Entries, follow
from tapewatch.study.workers import sharing


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a candidate: the fields of an `Outcome`, and `open` where the candles end before it does.

    Of one that is open nothing is known but the best and the worst price so far. `baseline` is the share of random
    entries at its hour of the day that touched their target first, `known_ms` the close of the candle that ended it.
    """

    result: Result | Literal["open"]
    ambiguous: bool
    bars: int
    mfe_r: float
    mae_r: float
    baseline: float = NAN
    net_r: float = NAN
    gross_r: float = NAN
    gross_pct: float = NAN
    risk_pct: float
    regime: str
    price: float = NAN
    ms: int | None = None
    known_ms: int | None = None


class Known(NamedTuple):
    """What is known of candidates.

    Attributes:
        signals: those that were followed, each with what became of it.
        drawn: random entries of each kind and each symbol that was asked for.
        baselines: the same of all symbols together.
        cost_bps: what a round trip costs, of the entry.
    """

    signals: Sequence[tuple[Signal, Fate | None]]
    drawn: Drawn
    baselines: Mapping[Kind, Baseline]
    cost_bps: float


def outcomes_of(
    strategy: Strategy,
    request: Request,
    signals: Iterable[Signal],
    cost_bps: float,
    evaluator: Evaluator = "auto",
    workers: int = 1,
    one_in: int | None = RESEARCH_ONE_IN,
) -> Known:
    """What became of the candidates that `signals.find` has found with this request, in their order.

    One bar in so many is a random entry; with None there are none.

    A candidate has no fate where rounding leaves its stop or its target at its entry.

    Raises:
        SetupError: the archive does not hold what is needed.
    """
    found = list(signals)
    of_symbol: dict[str, list[Signal]] = {symbol: [] for symbol in request.symbols}
    for signal in found:
        of_symbol[signal.symbol].append(signal)
    asked = asked_of(strategy, request)
    after = Aftermath(
        strategy, asked, asked, request, evaluator_of(request, evaluator), {}, of_symbol, cost_bps, one_in
    )
    fates: dict[str, Fate] = {}
    kinds = [Kind(strategy.name, side, name) for name in asked for side in strategy.sides]
    drawn = {kind: {symbol: Baseline() for symbol in request.symbols} for kind in kinds}
    with sharing(after, request.symbols, workers) as gathered:
        for part in gathered():
            fates |= part.fates
            for kind, hours in part.chance.items():
                for hour, sums in enumerate(hours):
                    drawn[kind][part.symbol].add(hour, sums)
    baselines = {kind: together(of_kind.values()) for kind, of_kind in drawn.items()}
    known = [(signal, _beside(signal, fates.get(signal.id), baselines)) for signal in found]
    return Known(known, drawn, baselines, cost_bps)


def _beside(signal: Signal, fate: Fate | None, baselines: Mapping[Kind, Baseline]) -> Fate | None:
    if fate is None:
        return None
    baseline = baselines[Kind(signal.strategy, signal.side, signal.timeframe)]
    return msgspec.structs.replace(fate, baseline=baseline.at(hour_of(signal.close_ms)))


class Part(NamedTuple):
    """Of a symbol: what became of its candidates, by id, and random entries of each kind by hour."""

    symbol: str
    fates: Mapping[str, Fate]
    chance: Mapping[Kind, Sequence[Sums]]


@dataclass(frozen=True)
class Aftermath(Reading):
    """What became of the candidates of a symbol, and of its random entries: called with it.

    Attributes:
        of_symbol: symbol -> its candidates.
        cost_bps: what a round trip costs, of the entry.
        one_in: one bar in so many is a random entry, None for none.
    """

    of_symbol: Mapping[str, Sequence[Signal]]
    cost_bps: float
    one_in: int | None

    def __call__(self, symbol: str) -> Part:
        """Follow everything of a symbol."""
        read: dict[str, Candles] = {}
        fates: dict[str, Fate] = {}
        chance: dict[Kind, Sequence[Sums]] = {}
        for timeframe, program, frames in self.each(symbol, {}, read):
            mine = [signal for signal in self.of_symbol[symbol] if signal.timeframe == timeframe]
            for base, rows in self.by_base(symbol, program, read, self.entries_of(program, mine).close_ms):
                fates |= self._fates([mine[row] for row in rows.tolist()], program, frames, base)
            for plan, entries in self._random(symbol, program, frames) if self.one_in else ():
                hours = [Sums()] * HOURS
                for base, rows in self.by_base(symbol, program, read, entries.close_ms):
                    part = entries.rows(rows)
                    hours = list(map(Sums.plus, hours, hourly(part, follow(base, part))))
                chance[Kind(self.strategy.name, plan.side, timeframe)] = hours
        return Part(symbol, fates, chance)

    def _fates(
        self, signals: Sequence[Signal], program: Program, frames: Mapping[int, Candles], base: Candles
    ) -> Iterator[tuple[str, Fate]]:
        own = frames[program.interval_ms]
        entries = self.entries_of(program, signals)
        sound = np.flatnonzero(entries.sound)
        bars, places = np.unique(entries.close_ms[sound], return_inverse=True)
        rows = np.searchsorted(own.open_ms, bars - own.interval_ms)
        named = regimes_at(own, rows, "interpreted" if interpreted(frames, self.evaluator) else "columns")
        regimes = [named[place] for place in places.tolist()]
        fates = fates_of(base, entries.rows(sound), regimes, program.interval_ms, self.cost_bps)
        return zip((signals[n].id for n in sound.tolist()), fates, strict=True)

    def _random(
        self, symbol: str, program: Program, frames: Mapping[int, Candles]
    ) -> Iterator[tuple[SidePlan, Entries]]:
        """The random entries of each side."""
        own = frames[program.interval_ms]
        if not len(own):
            return
        closes_ms = own.open_ms + own.interval_ms
        first_ms = max(settled_from_ms(program, frames), self.request.from_ms or 0, self.request.live_ms or 0)
        inside = closes_ms >= first_ms
        if self.request.to_ms is not None:
            inside &= closes_ms < self.request.to_ms
        assert self.one_in is not None
        numbers, most = mixed(closes_ms), np.uint64(threshold_of(self.one_in))
        for plan in program.sides:
            salt = salt_of(symbol, self.strategy.name, program.timeframe, plan.side)
            drawn = inside & (numbers ^ np.uint64(salt) <= most)
            rows = np.flatnonzero(drawn)
            target = plan.targets[0][0]
            stop_way, target_way = values_at(program, frames, rows, [plan.stop, target], self.evaluator)
            side, entry = np.full(len(rows), SIGN[plan.side]), own.close[rows]
            levels = entry, entry - side * stop_way, entry + side * target_way
            entries = self.entries(program, side, closes_ms[rows], levels)
            yield plan, entries.rows(entries.sound)


def mixed(closes_ms: Times) -> Any:
    """`draw.mixed` of a column."""
    numbers = closes_ms.astype(np.uint64)
    for shift, factor in STEPS:
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    return numbers ^ (numbers >> np.uint64(LAST_SHIFT))


def fates_of(
    base: Candles, entries: Entries, regimes: Sequence[str], interval_ms: int, cost_bps: float
) -> Iterator[Fate]:
    """What became of sound entries on a timeframe, in their order."""
    ends = follow(base, entries)
    entry, risk, price = entries.entry, entries.entry - entries.stop, np.abs(entries.entry)
    way = ends.price - entry
    gross_r = way / risk
    columns = {
        "result": ends.result,
        "ambiguous": ends.ambiguous,
        "bars": _bars(entries, ends, interval_ms),
        "mfe_r": (ends.best - entry) / risk,
        "mae_r": (ends.worst - entry) / risk,
        "risk_pct": risk / price * 100,
        "ms": ends.ms,
        "gross_r": gross_r,
        "net_r": gross_r - cost_bps / 1e4 * price / risk,
        "gross_pct": way / price * 100,
        "price": entries.side * ends.price,
        "known_ms": ends.ms + base.interval_ms,
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    for regime, row in zip(regimes, rows, strict=True):
        values = dict(zip(columns, row, strict=True))
        code = values.pop("result")
        if code == OPEN:
            values = {name: values[name] for name in ("ambiguous", "bars", "mfe_r", "mae_r", "risk_pct")}
        yield Fate(result=RESULTS[code], regime=regime, **values)


def _bars(entries: Entries, ends: Ends, interval_ms: int) -> Any:
    """Bars of the timeframe to the end, the last one counted; one that ran out of time has had all."""
    passed = (ends.ms - entries.close_ms) // interval_ms
    limit = (entries.expiry_ms - entries.close_ms) // interval_ms
    return np.where(ends.result == TIME, np.minimum(passed, limit), np.where(ends.ms < 0, 0, passed + 1))


def hourly(entries: Entries, ends: Ends) -> list[Sums]:
    """Entries that have ended, by the hour of the day in which they were entered."""
    done = ends.result != OPEN
    entries, ends = entries.rows(done), Ends(*(column[done] for column in ends))
    price, hit = np.abs(entries.entry) / 100, ends.result == TARGET
    gross_pct, risk_pct = (ends.price - entries.entry) / price, (entries.entry - entries.stop) / price
    hours: Any = hour_of(entries.close_ms)
    columns = (np.ones(len(hours)), hit, gross_pct, hit * gross_pct, risk_pct)
    by_hour = zip(*(np.bincount(hours, column, minlength=HOURS).tolist() for column in columns), strict=True)
    return [Sums(int(n), int(hits), *rest) for n, hits, *rest in by_hour]


def tallies_of(known: Known) -> dict[Kind, Tally]:
    """What became of candidates of each kind; those that are open, or have no fate, are not counted."""
    tallies = {kind: Tally() for kind in known.baselines}
    for signal, fate in known.signals:
        if fate is not None and fate.ms is not None:
            tally, hit = tallies[Kind(signal.strategy, signal.side, signal.timeframe)], fate.result == "target"
            won_pct = fate.gross_pct if hit else 0.0
            tally.count(hour_of(signal.close_ms), Sums(1, int(hit), fate.gross_pct, won_pct, fate.risk_pct))
            tally.note(signal.close_ms, signal.id, hit=hit)
    return tallies


def scores_of(known: Known) -> Iterator[tuple[Score, dict[str, int]]]:
    """By timeframe, the score of both sides together, and how many ended how."""
    tallies = tallies_of(known)
    ends = {kind.timeframe: dict.fromkeys([*RESULTS.values(), "ambiguous"], 0) for kind in known.baselines}
    for signal, fate in known.signals:
        if fate is None:
            continue
        ends[signal.timeframe][fate.result] += 1
        ends[signal.timeframe]["ambiguous"] += fate.ambiguous
    for timeframe, of_timeframe in ends.items():
        kinds = [kind for kind in tallies if kind.timeframe == timeframe]
        parts = [(kind, tallies[kind], known.baselines[kind]) for kind in kinds]
        yield score_of(parts, known.cost_bps), of_timeframe


def ended(known: Known) -> Iterator[Outcome]:
    """The candidates that have ended, as a run tells them."""
    for signal, fate in known.signals:
        if fate is None or fate.result == "open" or fate.ms is None or fate.known_ms is None:
            continue
        yield Outcome(
            signal_id=signal.id,
            symbol=signal.symbol,
            strategy=signal.strategy,
            side=signal.side,
            timeframe=signal.timeframe,
            state="passed" if all(verdict.passed for verdict in signal.verdicts) else "blocked",
            close_ms=signal.close_ms,
            strength=signal.strength,
            regime=fate.regime,
            result=fate.result,
            price=fate.price,
            ms=fate.ms,
            bars=fate.bars,
            mfe_r=fate.mfe_r,
            mae_r=fate.mae_r,
            gross_r=fate.gross_r,
            net_r=fate.net_r,
            gross_pct=fate.gross_pct,
            risk_pct=fate.risk_pct,
            ambiguous=fate.ambiguous,
            late=False,
            recv_ms=fate.known_ms,
        )


def blocked_by(known: Known) -> dict[str, tuple[str, ...]]:
    """By the ids of the candidates that did not pass, the checks that blocked them."""
    checks = {signal.id: tuple(one.check for one in signal.verdicts if not one.passed) for signal, _ in known.signals}
    return {identity: names for identity, names in checks.items() if names}
