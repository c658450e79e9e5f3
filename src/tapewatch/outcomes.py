"""What becomes of signals, passed or blocked, and of the random entries they are measured against. Pure.

Each is entered at its bar's close and followed on the base bars that open from then on, until one of these comes first:
a bar that opens when its time is over ends it at that open; one that touches the stop ends it there, or at the open
where that is beyond it; one that touches the first target ends it there, also where it opens beyond it. A bar that
touches both counts as the stop and is marked ambiguous, unless it opens beyond the stop. This is `paper.rules` for a
position of one target without costs, but for one thing: levels are the signal's own prices, not rounded to ticks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from tapewatch.draw import LIVE_ONE_IN, mixed, threshold_of
from tapewatch.model import Bar, ControlDone, Effect, Judged, Outcome, Result, Side, Signal, State
from tapewatch.strategy import Evidence

#: A round trip where no `paper` section says another: 10 bps of fee each way, as Binance's spot market takes of those
#: who have no discount, and no slippage.
DEFAULT_COST_BPS = 20.0


@dataclass(frozen=True)
class OutcomeSettings:
    """How signals are measured.

    Attributes:
        cost_bps: of a round trip, of the entry's price.
        one_in: one bar in so many is a random entry.
    """

    cost_bps: float = DEFAULT_COST_BPS
    one_in: int = LIVE_ONE_IN


class Path(msgspec.Struct, array_like=True):
    """An entry on its way. Prices are times its side, so that a short one is followed as a long one: that is exact."""

    sign: int
    close_ms: int
    expiry_ms: int
    interval_ms: int
    entry: float
    stop: float
    target: float
    best: float
    worst: float


class End(msgspec.Struct, frozen=True, array_like=True):
    """Where a path ended, at a price times its side, and how the bar came."""

    result: Result
    price: float
    ms: int
    ambiguous: bool
    late: bool
    recv_ms: int


class Measured(NamedTuple):
    """What a path brought: in R, before costs and after them, and in percent of the entry, beside what it risked."""

    mfe_r: float
    mae_r: float
    gross_r: float
    net_r: float
    gross_pct: float
    risk_pct: float


class Followed(msgspec.Struct, array_like=True):
    """A signal, or without an id a random entry, on its path; `state` is None until the gate has decided."""

    path: Path
    symbol: str
    strategy: str
    side: Side
    timeframe: str
    signal_id: str = ""
    strength: float = 0.0
    regime: str = ""
    state: State | None = None
    end: End | None = None


def path_of(side: Side, close_ms: int, interval_ms: int, limit: int, levels: tuple[float, float, float]) -> Path | None:
    """The path of an entry at a close, limited to bars of an interval; None where its levels are not on their sides.

    `levels` are entry, stop and target.
    """
    sign = 1 if side == "long" else -1
    entry, stop, target = (sign * level for level in levels)
    if not stop < entry < target:
        return None
    return Path(sign, close_ms, close_ms + limit * interval_ms, interval_ms, entry, stop, target, entry, entry)


def end_on(path: Path, bar: Bar, *, late: bool, recv_ms: int) -> End | None:
    """Take a path through a base bar; where that ends it, how."""
    opened, high, low = (bar.open, bar.high, bar.low) if path.sign > 0 else (-bar.open, -bar.low, -bar.high)
    if bar.open_ms >= path.expiry_ms:
        path.best, path.worst = max(path.best, opened), min(path.worst, opened)
        return End("time", opened, bar.open_ms, ambiguous=False, late=late, recv_ms=recv_ms)
    if low <= path.stop:
        price, ambiguous = min(opened, path.stop), opened > path.stop and high >= path.target
        path.worst = min(path.worst, price)
        return End("stop", price, bar.open_ms, ambiguous, late, recv_ms)
    path.worst = min(path.worst, low)
    if high >= path.target:
        path.best = path.target
        return End("target", path.target, bar.open_ms, ambiguous=False, late=late, recv_ms=recv_ms)
    path.best = max(path.best, high)
    return None


def measured(path: Path, end: End, cost_bps: float) -> Measured:
    """What it brought. R is the way from entry to stop; costs are a share of the entry's price."""
    entry, risk = path.entry, path.entry - path.stop
    way = end.price - entry
    gross_r, price = way / risk, abs(entry)
    return Measured(
        mfe_r=(path.best - entry) / risk,
        mae_r=(path.worst - entry) / risk,
        gross_r=gross_r,
        net_r=gross_r - cost_bps / 1e4 * price / risk,
        gross_pct=way / price * 100,
        risk_pct=risk / price * 100,
    )


def bars_of(path: Path, end: End) -> int:
    """Bars of its timeframe from its close to its end, the last one counted; one that ran out of time has had all."""
    passed = (end.ms - path.close_ms) // path.interval_ms
    return min(passed, (path.expiry_ms - path.close_ms) // path.interval_ms) if end.result == "time" else passed + 1


def regime_of(signal: Signal) -> str:
    """The regimes that held, joined with `+`: of its own timeframe where they are known, else those it filters by."""
    outlooks = () if signal.context is None else signal.context.outlooks
    known = next((one.regimes for one in outlooks if one.timeframe == signal.timeframe), signal.regime)
    return "+".join(name for name, holds in known.items() if holds)


def followed_of(signal: Signal, limit: int) -> Followed | None:
    """A signal at the begin of its path, None where it has none. `limit` is its strategy's."""
    levels = signal.entry, signal.stop, signal.targets[0].price
    path = path_of(signal.side, signal.close_ms, signal.close_ms - signal.open_ms, limit, levels)
    if path is None:
        return None
    about = signal.symbol, signal.strategy, signal.side, signal.timeframe
    return Followed(path, *about, signal.id, signal.strength)


def outcome_of(one: Followed, end: End, cost_bps: float) -> Outcome:
    """What became of a signal that has been decided."""
    assert one.state is not None
    path, brought = one.path, measured(one.path, end, cost_bps)
    return Outcome(
        signal_id=one.signal_id,
        symbol=one.symbol,
        strategy=one.strategy,
        side=one.side,
        timeframe=one.timeframe,
        state=one.state,
        close_ms=path.close_ms,
        strength=one.strength,
        regime=one.regime,
        result=end.result,
        price=path.sign * end.price,
        ms=end.ms,
        bars=bars_of(path, end),
        **brought._asdict(),
        ambiguous=end.ambiguous,
        late=end.late,
        recv_ms=end.recv_ms,
    )


def control_of(one: Followed, end: End, cost_bps: float) -> ControlDone:
    """What became of a random entry."""
    brought = measured(one.path, end, cost_bps)
    return ControlDone(
        symbol=one.symbol,
        strategy=one.strategy,
        side=one.side,
        timeframe=one.timeframe,
        close_ms=one.path.close_ms,
        result=end.result,
        gross_pct=brought.gross_pct,
        risk_pct=brought.risk_pct,
    )


class Outcomes:
    """Everything that is followed, by symbol.

    Args:
        settings: see `OutcomeSettings`; None follows nothing.
        late_after_ms: a bar that comes later than this after its close is told as late.
        followed: signals that an earlier run has decided and not seen end.
    """

    def __init__(self, settings: OutcomeSettings | None, late_after_ms: int, followed: Iterable[Followed] = ()) -> None:
        self._follows = settings is not None
        settings = settings or OutcomeSettings()
        self._cost_bps, self._most = settings.cost_bps, threshold_of(settings.one_in)
        self._late_after_ms = late_after_ms
        self._close_ms, self._mixed = 0, mixed(0)
        self._followed: dict[str, list[Followed]] = {}
        #: Signals that the gate has not decided, by id; they may have ended meanwhile.
        self._undecided: dict[str, Followed] = {}
        for one in msgspec.convert(msgspec.to_builtins(list(followed)), list[Followed]):  # its own, to be changed
            self._add(one)

    def _add(self, one: Followed) -> None:
        self._followed.setdefault(one.symbol, []).append(one)

    def follow(self, signal: Signal, limit: int) -> None:
        """Follow a candidate from its close on; what became of it is told once it is `decided`."""
        one = followed_of(signal, limit) if self._follows else None
        if one is not None:
            self._undecided[signal.id] = one
            self._add(one)

    def decided(self, effects: Iterable[Effect]) -> Sequence[Outcome]:
        """Note what the gate said of signals; what became of those whose end is known already."""
        if not self._undecided:
            return ()
        found: list[Outcome] = []
        for judged in effects:
            one = self._undecided.pop(judged.signal.id, None) if isinstance(judged, Judged) else None
            if one is not None and isinstance(judged, Judged):
                one.state, one.regime = judged.state, regime_of(judged.signal)
                if one.end is not None:
                    found.append(outcome_of(one, one.end, self._cost_bps))
        return found

    def stop_ms(self, signal_id: str) -> int | None:
        """The open of the bar that touched the stop of a signal before it was decided; None where none has."""
        one = self._undecided.get(signal_id)
        return one.end.ms if one is not None and one.end is not None and one.end.result == "stop" else None

    def drawn(self, salts: Sequence[int], close_ms: int) -> Sequence[int]:
        """The places of the salts that draw the bar which closes then."""
        if close_ms != self._close_ms:
            self._close_ms, self._mixed = close_ms, mixed(close_ms)
        value, most = self._mixed, self._most
        for salt in salts:
            if value ^ salt <= most:
                return [place for place, salt in enumerate(salts) if value ^ salt <= most]
        return ()

    def enter(self, bar: Bar, drawn: Sequence[int], evidence: Evidence) -> None:
        """Follow random entries of a bar on the sides drawn, with the stop and the target that a signal would have."""
        program, entry = evidence.program, bar.close
        strategy = program.strategy
        for place in drawn:
            plan = program.sides[place]
            sign = 1 if plan.side == "long" else -1
            levels = entry, entry - sign * evidence.of(plan.stop), entry + sign * evidence.of(plan.targets[0][0])
            path = path_of(plan.side, bar.close_ms, bar.interval_ms, strategy.time_limit, levels)
            if path is not None:
                self._add(Followed(path, bar.symbol, strategy.name, plan.side, program.timeframe))

    def on_bar(self, bar: Bar, recv_ms: int | None) -> Sequence[Outcome | ControlDone]:
        """What a base bar ends, one of history too."""
        mine = self._followed.get(bar.symbol)
        if mine is None:
            return ()
        open_ms, up, down = bar.open_ms, (bar.high, bar.low), (-bar.low, -bar.high)
        ending: list[Followed] = []
        for one in mine:
            path = one.path
            high, low = up if path.sign > 0 else down
            if open_ms < path.close_ms:
                continue
            if low > path.stop and high < path.target and open_ms < path.expiry_ms:  # as `end_on` does, but fast
                if low < path.worst:  # noqa: PLR1730 - a call would cost as much as all the rest
                    path.worst = low
                if high > path.best:  # noqa: PLR1730
                    path.best = high
            else:
                ending.append(one)
        return self._end(ending, bar, recv_ms) if ending else ()

    def _end(self, ending: Sequence[Followed], bar: Bar, recv_ms: int | None) -> list[Outcome | ControlDone]:
        late = recv_ms is None or recv_ms - bar.close_ms > self._late_after_ms
        came_ms = bar.close_ms if recv_ms is None else recv_ms
        found: list[Outcome | ControlDone] = []
        for one in ending:
            end = one.end = end_on(one.path, bar, late=late, recv_ms=came_ms)
            assert end is not None
            if not one.signal_id:
                found.append(control_of(one, end, self._cost_bps))
            elif one.state is not None:
                found.append(outcome_of(one, end, self._cost_bps))
        self._keep(bar.symbol, [one for one in self._followed[bar.symbol] if one.end is None])
        return found

    def _keep(self, symbol: str, left: list[Followed]) -> None:
        if left:
            self._followed[symbol] = left
        else:
            self._followed.pop(symbol, None)

    def begin(self, symbol: str, open_ms: int) -> None:
        """The first base bar of a symbol's series opens then: what closed before was on a path that nobody has seen."""
        mine = self._followed.get(symbol, ())
        self._keep(symbol, [one for one in mine if one.path.close_ms >= open_ms])

    def forget(self, symbol: str) -> None:
        """Follow nothing of a symbol any more."""
        self._followed.pop(symbol, None)
        self._undecided = {key: one for key, one in self._undecided.items() if one.symbol != symbol}

    @property
    def counts(self) -> dict[str, int]:
        """Symbol -> how many are followed."""
        return {symbol: len(mine) for symbol, mine in self._followed.items()}

    def saved(self) -> Any:
        """What `restore` makes it again."""
        undecided = {key for key, one in self._undecided.items() if one.end is None}
        ended = [one for _, one in sorted(self._undecided.items()) if one.end is not None]
        return msgspec.to_builtins([self._followed, sorted(undecided), ended])

    def restore(self, saved: Any) -> None:
        """Become what was saved. Raises msgspec.ValidationError where that is nothing of the kind."""
        followed, undecided, ended = saved
        self._followed = msgspec.convert(followed, dict[str, list[Followed]])
        every = {one.signal_id: one for mine in self._followed.values() for one in mine}
        self._undecided = {key: every[key] for key in undecided}
        self._undecided |= {one.signal_id: one for one in msgspec.convert(ended, list[Followed])}
