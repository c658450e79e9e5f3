"""`tapewatch signals`: candidates on stored candles, or those a run has stored."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from tapewatch.cli import options
from tapewatch.cli.asked import From, HistoryStart, MaybeData, Set, Symbols, To, Venue, Workers, gathered
from tapewatch.cli.setup import DEFAULT_PATHS
from tapewatch.cli.where import scoring_of
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.cli.outcomes import Backfill
    from tapewatch.model import Signal
    from tapewatch.strategy import Strategy
    from tapewatch.study.signals import Request


class Question(NamedTuple):
    """What is asked about the candidates, and by which model they are scored; with all of it off they are listed."""

    forecast: bool
    certify: bool
    outcomes: bool
    cost_bps: float | None
    store: bool
    model: Path | None


def question_of(
    *,
    forecast: Annotated[
        bool, typer.Option("--forecast", help="How many a day, and at worst, instead of each.")
    ] = False,
    certify: Annotated[
        bool, typer.Option("--certify", help="Prove that no signal knew the future; exit 1 if one did.")
    ] = False,
    outcomes: Annotated[
        bool, typer.Option("--outcomes", help="What became of each, beside random entries and after costs.")
    ] = False,
    cost_bps: Annotated[
        float | None, typer.Option(min=0, max=1_000, help="With --outcomes: what a round trip costs; default 20.")
    ] = None,
    store: Annotated[
        bool, typer.Option("--store", help="With --outcomes: into the ledger, for the strategies of a configuration.")
    ] = False,
    model: Annotated[
        Path | None, typer.Option(help="Score candidates by this model, and let its threshold block them.")
    ] = None,
) -> Question:
    """What these options mean."""
    return Question(forecast, certify, outcomes, cost_bps, store, model)


@gathered(question=question_of)
def signals(
    strategy: Annotated[
        list[str] | None, typer.Option(help="A shipped strategy's name, or a YAML or Python file with one; repeatable.")
    ] = None,
    data: MaybeData = None,
    venue: Venue = None,
    symbols: Symbols = None,
    interval: Annotated[list[str] | None, typer.Option(help="Timeframe to evaluate, repeatable; default all.")] = None,
    from_: From = None,
    to: To = None,
    set_: Set = None,
    history_start: HistoryStart = None,
    *,
    question: Question,
    workers: Workers = 1,
    stored: Annotated[bool, typer.Option("--stored", help="List the signals of a ledger instead.")] = False,
    config: Annotated[
        list[Path] | None, typer.Option("--config", "-c", help="With --stored or --store: whose ledger.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per signal on stdout.")] = False,
) -> None:
    """Every bar on which a strategy's rule fires.

    Example: tapewatch signals --strategy scalp --data candles --symbols BTCUSDT --interval 1m --json
    """
    intervals, times = options.words(interval), options.period_ms(from_, to)
    if stored:
        _only_list(data, question)
        kept = _stored(config or DEFAULT_PATHS, strategy or [], options.words(symbols), intervals, times)
        print_signals(kept, as_json=as_json)
        return
    _check(question)
    if data is None or not (strategy or question.store):
        raise SetupError("--strategy and --data say what to look for and where (or --stored with -c)")
    if config and not question.store:
        raise SetupError("-c names a ledger for --stored; a search takes its strategies from --strategy")
    filling = _backfill(config, set_) if question.store else None
    loaded = filling.chosen(strategy or []) if filling else _load(strategy or [], options.parameters(set_))
    _fitting(intervals, loaded)
    venue = filling.venue_in(data, venue) if filling else options.venue_of(data, venue)
    chosen = options.symbols_of(data, venue, symbols)
    starts = options.history_starts(history_start)
    searches = [_search(one, data, venue, chosen, intervals, times, starts) for one in loaded]
    searches = searches if question.model is None else _scored(searches, question.model, question)
    if question.certify:
        _certify(searches, as_json=as_json)
    else:
        _answer(question, searches, workers, filling, as_json=as_json)


def _answer(
    question: Question,
    searches: list[tuple[Strategy, Request]],
    workers: int,
    filling: Backfill | None,
    *,
    as_json: bool,
) -> None:
    with options.progress(sum(len(request.symbols) for _, request in searches), "symbols") as done:
        lines = _found(searches, workers, done)
        if question.outcomes:
            _outcomes(searches, question.cost_bps, workers, done, filling, as_json=as_json)
        elif question.forecast:
            _forecast(lines, searches, as_json=as_json)
        else:
            print_signals(lines, as_json=as_json)


def _only_list(data: Path | None, question: Question) -> None:
    """Raises SetupError where `--stored` stands beside what a search takes."""
    if data is not None or question.forecast or question.certify:
        raise SetupError("--stored lists a ledger's signals; it takes no --data, --forecast or --certify")
    if question.outcomes or question.store or question.cost_bps is not None:
        raise SetupError("--outcomes is of candidates on --data, not of --stored signals")
    if question.model is not None:
        raise SetupError("--model scores candidates on --data; --stored signals have the score that they had")


def _check(question: Question) -> None:
    """Raises SetupError where options contradict each other or would do nothing."""
    asked = [f"--{name}" for name in ("forecast", "certify", "outcomes") if getattr(question, name)]
    if len(asked) > 1:
        many = "two" if len(asked) == 2 else "three"
        raise SetupError(f"{' and '.join(asked)} are {many} questions; ask one at a time")
    for name, wanted in (("--cost-bps", question.cost_bps is not None), ("--store", question.store)):
        if wanted and asked != ["--outcomes"]:
            raise SetupError(f"{name} is of what became of candidates; it goes with --outcomes")


def _backfill(config: list[Path] | None, set_: list[str] | None) -> Backfill:
    from tapewatch.cli.outcomes import Backfill

    if set_:
        raise SetupError("--set: the ledger keeps the record of its configuration's strategies; set parameters there")
    return Backfill.of(config)


def _load(names: list[str], settings: list[tuple[str, float]]) -> list[Strategy]:
    """The strategies named; `--set` must fit at least one of them."""
    from tapewatch import strategies

    return [strategies.load(name, settings) for name in names]


def _fitting(intervals: list[str], loaded: list[Strategy]) -> None:
    """Raises SetupError where an interval fits none of the strategies."""
    known = {timeframe for one in loaded for timeframe in one.timeframes}
    for name in intervals:
        if name not in known:
            has = "; ".join(f"{one.name} has {', '.join(one.timeframes)}" for one in loaded)
            raise SetupError(f"--interval: no timeframe {name}; {has}")


def _search(
    strategy: Strategy,
    data: Path,
    venue: str,
    symbols: list[str],
    intervals: list[str],
    times: tuple[int | None, int | None],
    starts: dict[int, int],
) -> tuple[Strategy, Request]:
    from tapewatch.study.signals import Request

    watched = [symbol for symbol in symbols if strategy.watches(symbol)]
    return strategy, Request(data, venue, watched, intervals, *times, starts=starts)


def _scored(
    searches: list[tuple[Strategy, Request]], model: Path, question: Question
) -> list[tuple[Strategy, Request]]:
    """The same with a model at the one whose it is. Raises SetupError."""
    from dataclasses import replace

    if question.certify or question.store:
        raise SetupError("--model does not go with --certify or --store, which are of a strategy alone")
    scoring = scoring_of(model, [strategy.name for strategy, _ in searches])
    whose = scoring.model.document.strategy
    return [(one, replace(asked, scoring=scoring) if one.name == whose else asked) for one, asked in searches]


def _found(searches: list[tuple[Strategy, Request]], workers: int, done: Callable[[], None]) -> Iterator[Signal]:
    """The candidates of all strategies in one order."""
    from tapewatch.study.signals import find, order

    found = [find(strategy, request, progress=done, workers=workers) for strategy, request in searches]
    return heapq.merge(*found, key=order)


def _outcomes(
    searches: list[tuple[Strategy, Request]],
    cost_bps: float | None,
    workers: int,
    done: Callable[[], None],
    filling: Backfill | None,
    *,
    as_json: bool,
) -> None:
    from tapewatch.cli.outcomes import lines_of, print_summary, search
    from tapewatch.outcomes import DEFAULT_COST_BPS

    if cost_bps is None:
        cost_bps = DEFAULT_COST_BPS if filling is None else filling.cost_bps
    known = search(searches, cost_bps, workers, done)
    if as_json or filling is None:
        print_signals(lines_of(known), as_json=as_json)
    if not as_json:
        print_summary(known)
    if filling is not None:
        filling.store(known)


def _certify(searches: list[tuple[Strategy, Request]], *, as_json: bool) -> None:
    from tapewatch.study.certify import certify

    failed = False
    for strategy, request in searches:
        certificate = certify(strategy, request)
        failed |= not certificate.equal
        if as_json:
            line = {"strategy": strategy.name, "signals": certificate.signals, "cuts_ms": certificate.cuts_ms}
            options.print_json({**line, "equal": certificate.equal, "differences": certificate.differences})
            continue
        outcome = "no signal knew the future, both evaluators agree" if certificate.equal else "NOT equal"
        found = options.counted(certificate.signals, "signal")
        prefixes = options.counted(len(certificate.cuts_ms), "prefix", "es")
        sys.stdout.write(f"{strategy.name}: {found}, {prefixes} of the data: {outcome}\n")
        sys.stdout.writelines(f"  {difference}\n" for difference in certificate.differences)
    if failed:
        raise typer.Exit(1)


def _forecast(lines: Iterable[Signal], searches: list[tuple[Strategy, Request]], *, as_json: bool) -> None:
    from tapewatch.study.forecast import forecast
    from tapewatch.study.signals import period

    first_ms, end_ms = period([request for _, request in searches])
    if first_ms > end_ms or (first_ms == end_ms and first_ms):
        raise _outside(searches[0][1], first_ms, end_ms)
    result = forecast(lines, first_ms, end_ms)
    if as_json:
        options.print_json(result)
        return
    days = "day" if result["days"] == 1 else "days"
    sys.stdout.write(f"{options.iso(first_ms)} to {options.iso(end_ms)}, {result['days']:g} {days}\n")
    for name, part in {"all": result, **result["by_strategy"], **result["by_symbol"]}.items():
        before, after = part["before_gate"], part["after_gate"]
        sys.stdout.write(f"{name:<12} {after['per_day']:8.2f} a day ({before['per_day']:.2f} before the gate)")
        sys.stdout.write(f"{_worst(after)}\n")


def _outside(request: Request, first_ms: int, end_ms: int) -> SetupError:
    if request.from_ms is not None:
        return SetupError(
            f"--from: {options.iso(first_ms)} is not before the last stored candle's {options.iso(end_ms)}"
        )
    return SetupError(f"--to: {options.iso(end_ms)} is not after the first stored candle's {options.iso(first_ms)}")


def _worst(volume: Mapping[str, Any]) -> str:
    spans = (("busiest day", "busiest_day"), ("worst hour", "worst_hour"), ("worst minute", "worst_minute"))
    said = [f"{words} {volume[key]['count']} ({volume[key]['start']})" for words, key in spans if volume[key]]
    return f"; {', '.join(said)}" if said else ""


def _stored(
    config: Sequence[Path],
    names: list[str],
    symbols: list[str],
    intervals: list[str],
    times: tuple[int | None, int | None],
) -> Iterable[Mapping[str, Any]]:
    import os

    from tapewatch.config import load
    from tapewatch.store import Ledger

    ledger = Ledger.open(load(config, os.environ).ledger.address, create=False)
    try:
        yield from ledger.stored_signals(
            symbols=symbols,
            strategies=names,
            timeframes=intervals,
            from_ms=times[0],
            to_ms=times[1],
        )
    finally:
        ledger.close()


def print_signals(lines: Iterable[Any], *, as_json: bool) -> None:
    """Signals as lines, and how many there were unless they are JSON."""
    count = 0
    for line in lines:
        count += 1
        if as_json:
            options.print_json(line)
        else:
            _print_text(line)
    if not as_json:
        sys.stdout.write(f"{options.counted(count, 'signal')}\n")


def _print_text(line: Any) -> None:
    import msgspec

    from tapewatch.cli.outcomes import said

    signal = line if isinstance(line, Mapping) else msgspec.to_builtins(line)
    state = signal.get("state") or ("passed" if all(v["pass"] for v in signal["verdicts"]) else "blocked")
    blocked = ", ".join(verdict["check"] for verdict in signal["verdicts"] if not verdict["pass"])
    unknown = "state" in signal and signal.get("outcome") is None  # of a stored one
    outcome = f": {said(signal['outcome'])}" if "outcome" in signal and not unknown else ""
    score = signal.get("score")
    targets = " ".join(f"{target['price']:.10g}" for target in signal["targets"])
    sys.stdout.write(
        f"{options.iso(signal['close_ms'])}  {signal['symbol']:<12} {signal['timeframe']:>3} {signal['strategy']} "
        f"{signal['side']:<5} entry {signal['entry']:.10g} stop {signal['stop']:.10g} target {targets}  "
        f"{signal['confidence']['met']}/{signal['confidence']['asked']} strength {signal['strength']:g}"
        f"{'' if score is None else f' model {score:.0%}'}  "
        f"{state}{f' ({blocked})' if blocked else ''}{outcome}\n"
    )
