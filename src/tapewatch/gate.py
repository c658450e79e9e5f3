"""The gate: ordered, named checks that a candidate must all pass to become an alert.

Every check is a function of the signal, when it was received, and what passed before. All verdicts are kept, also of
the checks after one that blocked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tapewatch.model import MINUTE_MS, Context, LastPassed, Rest, Side, Standing, Verdict
from tapewatch.strategy import Strategy

#: Prices are decimals read as doubles: a move of exactly the share asked must not pass by their last bit.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class GateSettings:
    """Settings for all strategies; `duplicate` and `cooldown` are each strategy's own.

    Attributes:
        late_after_ms: a signal received later than this after its bar's close is marked late.
        expiry_ms: one received later than this is blocked: acting on it would be wrong.
        history_size: passed signals remembered per symbol.
        history_expire_ms: how long they are remembered, unless a strategy's own window is longer.
        liquidity: whether signals of symbols that are not liquid enough are blocked.
        max_spread: the widest spread, as a share of the middle of bid and ask; None asks for no quotes.
    """

    late_after_ms: int = 10_000
    expiry_ms: int = 15 * MINUTE_MS
    history_size: int = 50
    history_expire_ms: int = 30 * MINUTE_MS
    liquidity: bool = True
    max_spread: float | None = None


class Candidate(Protocol):
    """What the checks read of a signal."""

    @property
    def symbol(self) -> str:
        """Which symbol."""
        ...

    @property
    def timeframe(self) -> str:
        """Of which of its timeframes."""
        ...

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        ...

    @property
    def side(self) -> Side:
        """Long or short."""
        ...

    @property
    def close_ms(self) -> int:
        """The close of its bar."""
        ...

    @property
    def entry(self) -> float:
        """The close as a price."""
        ...

    @property
    def settled(self) -> bool:
        """Whether every input was past its settling length."""
        ...

    @property
    def regime(self) -> Mapping[str, bool | None]:
        """The regimes that the strategy filters by."""
        ...


@dataclass(frozen=True)
class Kin:
    """A signal that passed, and how the returns of a candidate's symbol are correlated with those of its symbol.

    `least`: from which correlation on, either way, it stands for the candidate too.
    """

    last: LastPassed
    correlation: float
    least: float


@dataclass(frozen=True)
class Scored:
    """What a model says of a candidate: its score, None where it knows none, and the one from which on it passes."""

    score: float | None
    at_least: float

    @property
    def passes(self) -> bool:
        """Whether the check lets it through; what the model does not know passes."""
        return self.score is None or self.score >= self.at_least


@dataclass(frozen=True)
class Judgement:
    """A signal's verdicts, whether it passed, and whether it was late."""

    verdicts: tuple[Verdict, ...]
    passed: bool
    late: bool


class Gate:
    """Judges candidates and remembers what passed.

    Args:
        settings: see `GateSettings`.
        passed: what an earlier run remembered.
        stopped: which of it had touched its stop.
    """

    def __init__(self, settings: GateSettings, passed: Iterable[LastPassed] = (), stopped: Iterable[Rest] = ()) -> None:
        self._settings = settings
        self._history: dict[str, list[LastPassed]] = {}
        self._keep_ms: dict[str, int] = {}
        self._muted: dict[str, int] = {}
        self._passed_ms: dict[str, list[int]] = {}
        #: (symbol, strategy) -> what its cooldown counts from.
        self._rests: dict[tuple[str, str], Rest] = {}
        self._standings: dict[str, Standing] = {}
        for last in sorted(set(passed), key=lambda item: item.close_ms):
            self._history.setdefault(last.symbol, []).append(last)
            self._passed_ms.setdefault(last.strategy, []).append(last.close_ms)
            self._rests[last.symbol, last.strategy] = Rest(last.symbol, last.strategy, last.close_ms)
        for rest in stopped:
            self.stopped(rest)

    def mute(self, target: str, until_ms: int) -> None:
        """Block signals of a symbol or strategy that close before `until_ms`."""
        self._muted[target] = until_ms

    def stand(self, standing: Standing) -> None:
        """Note how liquid a symbol is from now on."""
        self._standings[standing.symbol] = standing

    @property
    def standings(self) -> list[Standing]:
        """How liquid each symbol is, as noted last."""
        return list(self._standings.values())

    def forget(self, symbol: str) -> None:
        """Drop the standing of a symbol that is watched no more; what passed stays until it expires."""
        self._standings.pop(symbol, None)

    @property
    def settings(self) -> GateSettings:
        """As given."""
        return self._settings

    @property
    def asks_quotes(self) -> bool:
        """Whether a verdict needs bid and ask."""
        return self._settings.max_spread is not None

    def judge(
        self,
        signal: Candidate,
        strategy: Strategy,
        recv_ms: int,
        context: Context | None = None,
        kin: Kin | None = None,
        scored: Scored | None = None,
    ) -> Judgement:
        """All verdicts in order; nothing is remembered until `remember`.

        `kin` is a signal that stands for this one, if there is one; `scored` is there where its strategy has a model.
        """
        verdicts = tuple(self._verdicts(signal, strategy, recv_ms, context, kin, scored))
        return Judgement(verdicts, all(verdict.passed for verdict in verdicts), self.late(signal.close_ms, recv_ms))

    def late(self, close_ms: int, recv_ms: int) -> bool:
        """Whether a bar was received so long after its close that its signals are late."""
        return recv_ms - close_ms > self._settings.late_after_ms

    def open(self, signal: Candidate, strategy: Strategy, recv_ms: int) -> bool:
        """Whether no check blocks that needs neither an answer from outside nor other symbols: it may yet pass."""
        of_itself = all(verdict.passed for verdict in self._of_itself(signal, strategy, recv_ms))
        return of_itself and _regime(signal, strategy).passed

    def _verdicts(
        self,
        signal: Candidate,
        strategy: Strategy,
        recv_ms: int,
        context: Context | None = None,
        kin: Kin | None = None,
        scored: Scored | None = None,
    ) -> Iterator[Verdict]:
        yield from self._of_itself(signal, strategy, recv_ms)
        yield _spread(context, self._settings.max_spread, late=self.late(signal.close_ms, recv_ms))
        yield _regime(signal, strategy)
        if scored is not None:
            yield _score(scored)
        yield _correlated(signal, kin)
        yield _budget(signal, strategy, self._passed_ms.get(strategy.name, []))

    def _of_itself(self, signal: Candidate, strategy: Strategy, recv_ms: int) -> Iterator[Verdict]:
        history = self._history.get(signal.symbol, [])
        yield _settled(signal)
        yield _fresh(signal, recv_ms, self._settings)
        yield _duplicate(signal, strategy, history)
        yield _cooldown(signal, strategy, self._rests.get((signal.symbol, signal.strategy)))
        yield _muted(signal, self._muted)
        yield _liquidity(self._standings.get(signal.symbol) if self._settings.liquidity else None)

    def remember(self, signal: Candidate, strategy: Strategy) -> LastPassed:
        """Note a signal that passed."""
        last = LastPassed(signal.symbol, signal.strategy, signal.timeframe, signal.side, signal.close_ms, signal.entry)
        self._rests[signal.symbol, signal.strategy] = Rest(signal.symbol, signal.strategy, signal.close_ms)
        self._keep_ms[strategy.name] = max(self._settings.history_expire_ms, strategy.duplicate.window_ms)
        history = [item for item in self._history.get(signal.symbol, ()) if self._keeps(item, signal.close_ms)]
        self._history[signal.symbol] = [*history, last][-self._settings.history_size :]
        if strategy.budget is not None:
            since_ms = signal.close_ms - strategy.budget.window_ms
            kept = [ms for ms in self._passed_ms.get(strategy.name, ()) if ms > since_ms]
            self._passed_ms[strategy.name] = [*kept, signal.close_ms]
        return last

    def stopped(self, rest: Rest) -> None:
        """Note that a signal which passed has touched its stop; only the last of its symbol and strategy counts.

        The bar may close later than what is judged next: it counts for bars that close after it alone.
        """
        key = rest.symbol, rest.strategy
        last = self._rests.get(key)
        if last is not None and last.close_ms == rest.close_ms:
            self._rests[key] = rest

    def saved(self) -> dict[str, Any]:
        """What `restore` makes it again, for `engine.state`."""
        return {
            "history": list(self._history.values()),
            "keep_ms": self._keep_ms,
            "muted": self._muted,
            "passed_ms": self._passed_ms,
            "rests": list(self._rests.values()),
            "standings": self.standings,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Become what was saved."""
        histories = [[LastPassed(**item) for item in history] for history in saved["history"]]
        self._history = {history[0].symbol: history for history in histories}
        self._keep_ms, self._muted = dict(saved["keep_ms"]), dict(saved["muted"])
        self._passed_ms = dict(saved["passed_ms"])
        self._rests = {(item["symbol"], item["strategy"]): Rest(**item) for item in saved["rests"]}
        self._standings = {item["symbol"]: Standing(**item) for item in saved["standings"]}

    def _keeps(self, item: LastPassed, now_ms: int) -> bool:
        """Whether what passed may still matter to its own strategy; kept too while that has not been heard of yet."""
        return now_ms - item.close_ms <= self._keep_ms.get(item.strategy, now_ms)


def _settled(signal: Candidate) -> Verdict:
    reason = None if signal.settled else "not every input is past its settling length"
    return Verdict("settled", signal.settled, reason)


def _fresh(signal: Candidate, recv_ms: int, settings: GateSettings) -> Verdict:
    age_ms = recv_ms - signal.close_ms
    told = age_ms > min(settings.late_after_ms, settings.expiry_ms)
    reason = f"{age_ms / 1000:.1f} s after the close" if told else None
    return Verdict("fresh", age_ms <= settings.expiry_ms, reason)


def _duplicate(signal: Candidate, strategy: Strategy, history: list[LastPassed]) -> Verdict:
    key = (signal.strategy, signal.timeframe, signal.side)
    before = [item for item in history if (item.strategy, item.timeframe, item.side) == key]
    if not before or signal.close_ms - before[-1].close_ms >= strategy.duplicate.window_ms:
        return Verdict("duplicate", True)
    last = before[-1]
    move = abs(signal.entry / last.entry - 1)
    moved = move - strategy.duplicate.move > _ROUNDING
    reason = (
        f"price moved {move:.3%} in {(signal.close_ms - last.close_ms) / MINUTE_MS:g} min from {last.entry:g}, "
        f"more than {strategy.duplicate.move:.3%} is asked within {strategy.duplicate.window_ms / MINUTE_MS:g} min"
    )
    return Verdict("duplicate", moved, reason)


def _cooldown(signal: Candidate, strategy: Strategy, rest: Rest | None) -> Verdict:
    """Of what its own bar or a later one touched nothing is known at a close."""
    if rest is None:
        return Verdict("cooldown", True)
    stopped = 0 < rest.stopped_ms < signal.close_ms
    rested_ms = signal.close_ms - (rest.stopped_ms if stopped else rest.close_ms)
    if rested_ms >= strategy.cooldown_ms:
        return Verdict("cooldown", True)
    minutes, asked = rested_ms / MINUTE_MS, strategy.cooldown_ms / MINUTE_MS
    since = "the stop of the last one was touched" if stopped else "the last one"
    return Verdict("cooldown", False, f"{minutes:g} of {asked:g} min since {since}")


def _muted(signal: Candidate, muted: Mapping[str, int]) -> Verdict:
    for target in (signal.symbol, signal.strategy):
        until_ms = muted.get(target, 0)
        if signal.close_ms < until_ms:
            return Verdict(
                "muted", False, f"{target} is muted for {(until_ms - signal.close_ms) / MINUTE_MS:.0f} more min"
            )
    return Verdict("muted", True)


def _liquidity(standing: Standing | None) -> Verdict:
    """A symbol nothing is known of passes: offline there are no standings."""
    if standing is None or standing.eligible:
        return Verdict("liquidity", True)
    return Verdict("liquidity", False, standing.reason)


def _spread(context: Context | None, limit: float | None, *, late: bool) -> Verdict:
    """A quote that did not come in time passes and says so: one slow request is no reason to lose an alert."""
    if limit is None:
        return Verdict("spread", True)
    if context is None:
        why = "the bar came late" if late else "another check blocks"
        return Verdict("spread", True, f"no quote was asked for: {why}")
    spread = context.spread
    if spread != spread:  # noqa: PLR0124  (NaN)
        return Verdict("spread", True, "no quote came in time")
    if spread - limit <= _ROUNDING:
        return Verdict("spread", True)
    return Verdict("spread", False, f"{spread:.3%} between {context.bid:g} and {context.ask:g}, at most {limit:.3%}")


def _regime(signal: Candidate, strategy: Strategy) -> Verdict:
    wanted = strategy.regime
    if wanted is None:
        return Verdict("regime", True)
    lacking = [name for name in wanted.require if signal.regime.get(name) is not True]
    # What is unknown does not hold, so it is nothing to avoid.
    present = [name for name in wanted.avoid if signal.regime.get(name) is True]
    reasons = [f"not {name}" for name in lacking] + present
    return Verdict("regime", not reasons, f"the market is {', '.join(reasons)}" if reasons else None)


def _score(scored: Scored) -> Verdict:
    """What the model does not know passes and says so: it was trained on other timeframes of the strategy."""
    if scored.score is None:
        return Verdict("score", True, "the model knows no signals of this timeframe")
    if scored.passes:
        return Verdict("score", True)
    return Verdict("score", False, f"the model gives it {scored.score:.1%}, at least {scored.at_least:.1%} is asked")


def _correlated(signal: Candidate, kin: Kin | None) -> Verdict:
    if kin is None:
        return Verdict("correlated", True)
    minutes = (signal.close_ms - kin.last.close_ms) / MINUTE_MS
    when = f"{abs(minutes):g} min {'ago' if minutes > 0 else 'later'}" if minutes else "at the same close"
    reason = f"{kin.correlation:.2f} with {kin.last.symbol}, alerted {when}, below {kin.least:.2f} is asked"
    return Verdict("correlated", False, reason)


def _budget(signal: Candidate, strategy: Strategy, passed_ms: list[int]) -> Verdict:
    budget = strategy.budget
    if budget is None:
        return Verdict("budget", True)
    used = sum(ms > signal.close_ms - budget.window_ms for ms in passed_ms)
    reason = f"{used} of {budget.alerts} within {budget.window_ms / MINUTE_MS:g} min are used"
    return Verdict("budget", used < budget.alerts, None if used < budget.alerts else reason)
