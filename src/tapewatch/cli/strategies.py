"""`tapewatch strategies`: the catalogue, one strategy in full, and a check of one's own file."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.strategy import Program, Strategy

#: Bars on which `check` measures a strategy's cost.
_MEASURED_BARS = 2_000

app = typer.Typer()


@app.callback(invoke_without_command=True)
def catalogue(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="One JSON line per strategy.")] = False
) -> None:
    """The strategies that ship, and checks of your own.

    Example: tapewatch strategies
    """
    if context.invoked_subcommand is not None:
        return
    from tapewatch import strategies

    for name in strategies.shipped():
        strategy = strategies.load(name)
        factors = {side: list(conditions) for side, conditions in strategy.sides.items() if conditions}
        if as_json:
            options.print_json({"name": name, "timeframes": strategy.timeframes, "factors": factors})
        else:
            listed = ", ".join(next(iter(factors.values())))
            sys.stdout.write(f"{name}  on {', '.join(strategy.timeframes)}: {listed}\n")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A shipped strategy's name, or a YAML or Python file with one.")],
    code: Annotated[bool, typer.Option("--code", help="Print the Python that evaluates it live.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show one strategy: its factors, distances, and how many bars it needs before it is settled.

    Example: tapewatch strategies show scalp
    """
    from tapewatch import strategies
    from tapewatch.model import INTERVAL_NAMES
    from tapewatch.strategy import compile_program

    if code and as_json:
        raise SetupError("--code prints Python; it takes no --json")
    strategy = strategies.load(name)
    programs = [compile_program(strategy, timeframe) for timeframe in strategy.timeframes]
    if code:
        for program in programs:
            for step in program.steps:
                sys.stdout.write(f"# {strategy.name} {program.timeframe}: bars of {INTERVAL_NAMES[step.frame_ms]}\n")
                sys.stdout.write(step.code + "\n")
        return
    described = _describe(strategy, programs)
    if as_json:
        options.print_json(described)
        return
    _print(described)


@app.command()
def check(
    file: Annotated[str, typer.Argument(help="A YAML or Python file with one strategy, or a shipped name.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check a strategy of your own: its factors, when it is settled, and what it costs; exit 2 with the first mistake.

    Example: tapewatch strategies check my.yaml
    """
    from tapewatch import strategies
    from tapewatch.strategy import compile_program

    strategy = strategies.load(file)
    programs = [compile_program(strategy, timeframe) for timeframe in strategy.timeframes]
    described = _describe(strategy, programs)
    described["live_us_per_bar"] = {program.timeframe: _cost_us(program) for program in programs}
    if as_json:
        options.print_json(described)
        return
    _print(described)
    for timeframe, cost_us in described["live_us_per_bar"].items():
        sys.stdout.write(f"cost on {timeframe}: {cost_us:g} us a bar live, measured here\n")
    sys.stdout.write("The strategy is sound.\n")


def _cost_us(program: Program) -> float:
    """The median time of a live step on some made-up bars, in microseconds."""
    from tapewatch.engine.series import Runner
    from tapewatch.model import Bar

    runner, times = Runner(program), []
    for number in range(_MEASURED_BARS):
        price = 100 + (number * 7919 % 101) / 50
        bar = Bar("CHECK", program.interval_ms, number * program.interval_ms, price, price + 1, price - 1, price, 1.0)
        started = time.perf_counter()
        runner.feed(bar)
        times.append(time.perf_counter() - started)
    return round(median(times) * 1e6, 2)


def _never_settled(program: Program) -> list[str]:
    """The innermost calls, as written, whose start never stops mattering."""
    from tapewatch.indicators import NEVER, REGISTRY
    from tapewatch.strategy.graph import Node, call_of

    def never(node: Node) -> bool:
        if node.op == "call":
            name, lengths = call_of(node)
            if REGISTRY[name].settling(1, *lengths) == NEVER:
                return True
        return any(map(never, node.args))

    found = [text for text, node in program.named.items() if never(node)]
    return [text for text in found if not any(other != text and other in text for other in found)]


def _describe(strategy: Strategy, programs: list[Program]) -> dict[str, Any]:
    from tapewatch.model import INTERVAL_NAMES

    return {
        "name": strategy.name,
        "timeframes": strategy.timeframes,
        "params": strategy.params,
        "sides": strategy.sides,
        "at_least": strategy.at_least,
        "always": strategy.always,
        "stop": strategy.stop,
        "targets": [{"at": target.at, "share": target.share} for target in strategy.targets],
        "break_even": strategy.break_even,
        "trailing": asdict(strategy.trailing) if strategy.trailing else None,
        "time_limit": strategy.time_limit,
        "duplicate": {"window_ms": strategy.duplicate.window_ms, "move": strategy.duplicate.move},
        "cooldown_ms": strategy.cooldown_ms,
        "symbols": strategy.symbols,
        "never_settled": sorted({text for program in programs for text in _never_settled(program)}),
        "settled_after_bars": {
            program.timeframe: {INTERVAL_NAMES[frame]: program.settled_at[frame] for frame in program.frames}
            for program in programs
        },
    }


def _print(described: dict[str, Any]) -> None:
    write = sys.stdout.write
    write(f"{described['name']} on {', '.join(described['timeframes'])}\n")
    for side, factors in described["sides"].items():
        if factors:
            write(f"{side}: at least {described['at_least'][side]} of {len(factors)}")
            write(f", always {', '.join(described['always'])}\n" if described["always"] else "\n")
            for name, text in factors.items():
                write(f"  {name:<10} {text}\n")
    write("params: " + ", ".join(f"{name}={value:g}" for name, value in described["params"].items()) + "\n")
    write(f"stop: {described['stop']}\n")
    for target in described["targets"]:
        write(f"target: {target['at']} for {target['share']:g}%\n")
    if described["break_even"]:
        write(f"break-even: after {described['break_even']}\n")
    if trailing := described["trailing"]:
        write(f"trailing stop: {trailing['by']}" + f", after {trailing['after']}" * bool(trailing["after"]) + "\n")
    write(f"time limit: {options.counted(described['time_limit'], 'bar')}\n")
    if described["never_settled"]:
        never = ", ".join(described["never_settled"])
        write(f"never settled, so counted from their first value: {never}\n")
    for timeframe, bars in described["settled_after_bars"].items():
        after = ", ".join(f"{options.counted(n, 'bar')} of {name}" for name, n in bars.items())
        write(f"settled on {timeframe} after {after}\n")
