"""`tapewatch alerts score`: what became of a ledger's signals, beside chance and after costs."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from math import isnan
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import typer

from tapewatch.cli import options
from tapewatch.cli.asked import From, Symbols, To
from tapewatch.cli.scoring import (
    check_rows,
    decile_rows,
    false_positives,
    judged,
    model_words,
    plainly,
    score_rows,
    tenth_rows,
    told_words,
)
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption
from tapewatch.errors import SetupError
from tapewatch.model import INTERVALS_MS, Side
from tapewatch.record import ENOUGH, Baseline, Check, Kind, Score, Sums, Tally, check_of, hour_of, score_of
from tapewatch.reliability import Foretold, Past, Reliability, Sifted, foretold, reliability, sifted

if TYPE_CHECKING:
    from tapewatch.store.scores import Ended

#: Values of options.
SIDES, SOURCES, STATES = ("long", "short"), ("live", "history", "all"), ("passed", "blocked", "all")


class Asked(NamedTuple):
    """Of which signals, with what costs, and whether also by regime."""

    state: str
    side: Side | None
    cost_bps: float
    by_regime: bool


class Found(NamedTuple):
    """What a strategy's timeframe has to show.

    Attributes:
        state: of which signals: passed, blocked or all.
        blocked: how many the gate has blocked.
        scores: of both sides, of each side, and where asked of each regime with enough signals.
        checks: those of the gate, by what they blocked.
        strength: whether stronger signals did better.
        told: whether the hit rates that were told came true.
        model: what a scoring model was worth, whatever the state; None where none has scored any.
    """

    state: str
    blocked: int
    scores: list[Score]
    checks: list[Check]
    strength: Reliability
    told: Foretold
    model: Sifted | None


def score(
    config: ConfigOption = None,
    strategy: Annotated[list[str] | None, typer.Option(help="Only these strategies, repeatable.")] = None,
    symbols: Symbols = None,
    side: Annotated[str | None, typer.Option(help="Only long, or only short.")] = None,
    timeframe: Annotated[list[str] | None, typer.Option(help="Only these timeframes, repeatable.")] = None,
    from_: From = None,
    to: To = None,
    source: Annotated[str, typer.Option(help="What a run has seen (live), was computed (history), or all.")] = "all",
    state: Annotated[str, typer.Option(help="Signals that passed the gate, that it blocked, or all.")] = "passed",
    by_regime: Annotated[bool, typer.Option("--by-regime", help="Also by the regimes that held.")] = False,
    cost_bps: Annotated[
        float | None, typer.Option(min=0, max=1_000, help="Of a round trip; default the paper account's, or 20.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line each; `what` says of what.")] = False,
) -> None:
    """How often signals touched their target first, beside chance and after costs.

    Example: tapewatch alerts score --strategy scalp
    """
    from tapewatch.config import load
    from tapewatch.live.makeup import cost_bps_of
    from tapewatch.store import Ledger

    for option, value, known in (("--side", side, SIDES), ("--source", source, SOURCES), ("--state", state, STATES)):
        _one_of(option, value, known)
    from_ms, to_ms = options.period_ms(from_, to)
    loaded = load(config or DEFAULT_PATHS, os.environ)
    if cost_bps is None:
        cost_bps = cost_bps_of(None if loaded.paper is None else loaded.paper.trading)
    with closing(Ledger.open(loaded.ledger.address, create=False)) as ledger:
        ended = ledger.scores.ended(
            venue=loaded.exchange.venue,
            strategies=options.words(strategy),
            symbols=options.words(symbols),
            sides=[side] if side else (),
            timeframes=options.words(timeframe),
            source=None if source == "all" else source,
            from_ms=from_ms,
            to_ms=to_ms,
        )
        groups = grouped(ended)
        baselines = ledger.scores.baselines(loaded.exchange.venue, options.words(symbols))
    asked = Asked(state, _side(side), cost_bps, by_regime)
    found = [found_in(of_group, baselines, asked) for of_group in groups]
    if as_json:
        for line in lines_of(found):
            options.print_json(line)
    else:
        _print(found, narrowed=any((strategy, symbols, side, timeframe, from_, to, source != "all")))


def _side(side: str | None) -> Side | None:
    return None if side is None else "long" if side == "long" else "short"


def _one_of(option: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise SetupError(f"{option}: {value!r} is none of {', '.join(known)}")


def grouped(ended: Iterable[Ended]) -> list[list[Ended]]:
    """Those of each strategy's timeframe, by name, then from the shortest."""
    groups: dict[tuple[str, str], list[Ended]] = {}
    for one in ended:
        groups.setdefault((one.kind.strategy, one.kind.timeframe), []).append(one)
    return [
        groups[name, timeframe] for name, timeframe in sorted(groups, key=lambda key: (key[0], INTERVALS_MS[key[1]]))
    ]


def found_in(ended: list[Ended], baselines: Mapping[Kind, Baseline], asked: Asked) -> Found:
    """What the outcomes of one strategy's timeframe show."""
    chosen = [one for one in ended if asked.state in ("all", one.state)]
    kinds, cost_bps = sorted({one.kind for one in ended}), asked.cost_bps
    scores = [score_of(_parts(chosen, kinds, baselines), cost_bps, asked.side)]
    if len(kinds) > 1:
        scores += [score_of(_parts(chosen, [kind], baselines), cost_bps, kind.side) for kind in kinds]
    for regime in sorted({one.regime for one in chosen if one.regime}) if asked.by_regime else ():
        inside = [one for one in chosen if one.regime == regime]
        if len(inside) >= ENOUGH:
            scores.append(score_of(_parts(inside, kinds, baselines), cost_bps, asked.side, regime))
    return Found(
        asked.state,
        sum(one.state == "blocked" for one in ended),
        scores,
        _checks(ended, cost_bps),
        reliability([(one.strength, one.sums) for one in chosen], cost_bps),
        foretold(Past(one.kind, one.close_ms, one.known_ms, one.sums.hits == 1) for one in chosen),
        _model(ended, cost_bps),
    )


def _model(ended: list[Ended], cost_bps: float) -> Sifted | None:
    """Of the scored signals that no check blocked but perhaps the model's own."""
    asked = [one for one in ended if not isnan(one.score) and set(one.checks) <= {"score"}]
    return sifted([(one.score, not one.checks, one.sums) for one in asked], cost_bps) if asked else None


def _parts(
    ended: list[Ended], kinds: list[Kind], baselines: Mapping[Kind, Baseline]
) -> list[tuple[Kind, Tally, Baseline]]:
    tallies = {kind: Tally() for kind in kinds}
    for one in ended:
        if one.kind in tallies:
            tallies[one.kind].count(hour_of(one.close_ms), one.sums)
            tallies[one.kind].note(one.close_ms, one.signal_id, hit=one.sums.hits == 1)
    return [(kind, tally, baselines.get(kind, Baseline())) for kind, tally in tallies.items()]


def _checks(ended: list[Ended], cost_bps: float) -> list[Check]:
    passed, blocked = Sums(), dict[str, Sums]()
    for one in ended:
        if one.state == "passed":
            passed = passed.plus(one.sums)
        for check in one.checks:
            blocked[check] = blocked.get(check, Sums()).plus(one.sums)
    return [check_of(name, sums, passed, cost_bps) for name, sums in sorted(blocked.items())]


def lines_of(found: list[Found]) -> Iterator[dict[str, Any]]:
    """Everything as JSON lines; `what` is `score`, `check`, `decile`, `strength`, `told`, `model` or `model_tenth`."""
    for one in found:
        named = {"strategy": one.scores[0].strategy, "timeframe": one.scores[0].timeframe}
        for of_part in one.scores:
            yield {"what": "score", **msgspec.to_builtins(of_part)}
        for check in one.checks:
            yield {"what": "check", **named, **check._asdict()}
        for decile in one.strength.deciles:
            yield {"what": "decile", **named, **decile._asdict()}
        yield {"what": "strength", **named, "rho": one.strength.rho, "p": one.strength.p}
        yield {"what": "told", **named, **one.told._asdict()}
        if one.model is not None:
            model = one.model._asdict()
            tenths = model.pop("tenths")
            yield {"what": "model", **named, **model, **false_positives(one.model)}
            for tenth in tenths:
                yield {"what": "model_tenth", **named, **tenth._asdict()}


def sentences(found: Found, *, options: bool = True) -> Iterator[str]:
    """What they show, in words; some are empty. With `options` those of the command that show more are named."""
    whole = found.scores[0]
    yield plainly(whole, "blocked signal" if found.state == "blocked" else "signal")
    yield judged(whole, found.state)
    if found.state == "passed" and found.blocked:
        more = "; `--state blocked` scores these, `--state all` both" if options else ""
        yield f"The gate blocked {found.blocked:,} more{more}."
    yield told_words(found.told)
    if found.model is not None:
        yield model_words(found.model)


def _print(found: list[Found], *, narrowed: bool) -> None:
    if not found:
        none = "none of the signals asked for has ended yet" if narrowed else "no signal has ended yet"
        sys.stdout.write(f"{none}; `tapewatch signals --outcomes --store` fills the ledger from stored candles\n")
        return
    for number, one in enumerate(found):
        lines = ["" for _ in range(bool(number))]
        for sentence in sentences(one):
            lines += textwrap.wrap(sentence, 79, break_on_hyphens=False, break_long_words=False)
        if one.scores[0].n:
            lines += ["", *score_rows(one.scores, shutil.get_terminal_size().columns), "", *decile_rows(one.strength)]
        if one.model is not None:
            lines += ["", *tenth_rows(one.model)]
        if one.checks:
            lines += ["", *check_rows(one.checks)]
        sys.stdout.write("\n".join(lines) + "\n")
