"""What was decided on candidates, as effects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tapewatch.engine.held import Held
from tapewatch.engine.market import Market
from tapewatch.engine.rings import Prices
from tapewatch.engine.scorers import Scorers
from tapewatch.gate import Gate, Judgement, Kin
from tapewatch.model import Alert, Effect, Judged, LastPassed, Mover, Signal, State, Surroundings, alert_id
from tapewatch.strategy import Strategy


@dataclass(frozen=True)
class Ruling:
    """A candidate with its verdicts and surroundings; `kin` may stand for it, `last` is there when it passed."""

    signal: Signal
    judgement: Judgement
    kin: Kin | None
    last: LastPassed | None

    @property
    def stands_for_it(self) -> Kin | None:
        """The signal of the same close because of which it was blocked, where no check before said otherwise."""
        blocked = next((verdict.check for verdict in self.judgement.verdicts if not verdict.passed), None)
        if blocked != "correlated" or self.kin is None or self.kin.last.close_ms != self.signal.close_ms:
            return None
        return self.kin


def ruled(signal: Signal, held: Held, strategy: Strategy, gate: Gate, market: Market, scorers: Scorers) -> Ruling:
    """The verdicts of a candidate of a bar, with its score and all that is known around it; the gate remembers it."""
    kin = market.kin(signal)
    late = gate.late(signal.close_ms, held.recv_ms)
    signal = msgspec.structs.replace(signal, context=market.surroundings(signal, held.context, late=late))
    scored = scorers.of(signal)
    judgement = gate.judge(signal, strategy, held.recv_ms, held.context, kin, scored)
    score = None if scored is None else scored.score
    judged = msgspec.structs.replace(signal, verdicts=judgement.verdicts, score=score)
    return Ruling(judged, judgement, kin, gate.remember(signal, strategy) if judgement.passed else None)


def listed(rulings: Iterable[Ruling], market: Market) -> dict[LastPassed, list[Mover]]:
    """Passed signal -> the symbols whose own signals were blocked because it stands for them, most correlated first."""
    found: dict[LastPassed, dict[str, Mover]] = {}
    for ruling in rulings:
        kin = ruling.stands_for_it
        if kin is not None:
            found.setdefault(kin.last, {})[ruling.signal.symbol] = market.mover(ruling.signal, kin.correlation)
    return {last: sorted(movers.values(), key=lambda one: -abs(one.correlation)) for last, movers in found.items()}


def effects_of(
    venue: str,
    held: Held,
    rulings: Sequence[Ruling],
    movers: Mapping[LastPassed, Sequence[Mover]],
    candles: tuple[Prices, ...],
) -> Iterator[Effect]:
    """Every candidate of a bar as it was judged, and the one alert that those which passed share.

    Args:
        venue: goes into the alert's id.
        held: the bar.
        rulings: on its candidates, in order.
        movers: as `listed` gives them.
        candles: the chart of the alert.
    """
    passed: list[Signal] = []
    for ruling in rulings:
        signal, identity = ruling.signal, None
        if ruling.last is not None:
            signal = _standing_for(signal, movers.get(ruling.last, ()))
            identity = alert_id(venue, signal.symbol, signal.timeframe, signal.close_ms)
            passed.append(signal)
            yield ruling.last
        state: State = "passed" if ruling.judgement.passed else "blocked"
        yield Judged(signal, state, ruling.judgement.late, held.recv_ms, identity, held.bar)
    if passed:
        first = passed[0]
        identity = alert_id(venue, first.symbol, first.timeframe, first.close_ms)
        yield Alert(identity, tuple(passed), rulings[0].judgement.late, held.recv_ms, candles)


def _standing_for(signal: Signal, movers: Sequence[Mover]) -> Signal:
    """A signal that lists the symbols it stands for before the others that move with it."""
    if not movers:
        return signal
    around = signal.context or Surroundings()
    symbols = {mover.symbol for mover in movers}
    others = (mover for mover in around.movers if mover.symbol not in symbols)
    return msgspec.structs.replace(signal, context=msgspec.structs.replace(around, movers=(*movers, *others)))
