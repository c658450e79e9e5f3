"""`tapewatch why`: why there was or was not an alert at any minute."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.asked import MaybeData, Venue
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.model import Factor
    from tapewatch.strategy import Strategy
    from tapewatch.strategy.explained import Explained
    from tapewatch.study.signals import Request


def why(
    symbol: Annotated[str, typer.Argument(help="As the exchange writes it.")],
    time: Annotated[str | None, typer.Argument(help="Close of the bar: ISO (UTC) or ms. Not with --near.")] = None,
    data: MaybeData = None,
    venue: Venue = None,
    strategy: Annotated[
        list[str] | None, typer.Option(help="Name or file, repeatable; default all configured, else all that ship.")
    ] = None,
    interval: Annotated[list[str] | None, typer.Option(help="Timeframe, repeatable; default all.")] = None,
    history_start: Annotated[list[str] | None, typer.Option(help="As for `signals`.")] = None,
    near: Annotated[int | None, typer.Option(min=1, help="The so many closest misses of a period instead.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="With --near: first close.")] = None,
    to: Annotated[str | None, typer.Option(help="With --near: end of closes, excluded.")] = None,
    config: Annotated[list[Path] | None, typer.Option("--config", "-c", help="Whose strategies and ledger.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per bar on stdout.")] = False,
) -> None:
    """Every factor of every side on one bar: what it compared, whether it was met, and by how much.

    Example: tapewatch why BTCUSDT 2023-03-11T14:07 --data candles --strategy scalp
    """
    from tapewatch.study.signals import Request

    if data is None:
        raise SetupError("why looks at recorded candles: say where with --data; a run keeps its own in archive.folder")
    if (time is None) == (near is None):
        raise SetupError("say either the TIME of a bar, or --near N with a period")
    if near is None and (from_ is not None or to is not None):
        raise SetupError("--from and --to are the period of --near")
    loaded = _strategies(strategy or (), config)
    wanted = options.words(interval)
    for name in wanted:
        if not any(name in one.timeframes for one in loaded):
            has = "; ".join(f"{one.name} has {', '.join(one.timeframes)}" for one in loaded)
            raise SetupError(f"--interval: no timeframe {name}; {has}")
    starts = options.history_starts(history_start)
    period = options.period_ms(from_, to)
    request = Request(data, options.venue_of(data, venue), [symbol], (), *period, starts=starts)
    if near is not None:
        _print_near(loaded, wanted, symbol, request, near, as_json=as_json)
        return
    close_ms = options.moment_ms(time, "TIME")
    assert close_ms is not None
    stored = _stored(config, symbol, close_ms)
    groups = _by_bar(loaded, wanted, symbol, close_ms, request)
    if not groups:
        raise _no_bar(loaded, wanted, symbol, close_ms, request)
    for explained in groups.values():
        _print(explained, stored, as_json=as_json)


def _strategies(names: Sequence[str], config: list[Path] | None) -> list[Strategy]:
    """Those named, else all of the configuration, else all that ship; a configured one is as it is configured."""
    from tapewatch import strategies
    from tapewatch.config import load

    configured = {one.name: one for one in strategies.configured(load(config, os.environ).strategies if config else {})}
    return [
        configured[name] if name in configured else strategies.load(name, others=configured)
        for name in names or tuple(configured) or strategies.shipped()
    ]


def _timeframes(strategy: Strategy, wanted: Sequence[str]) -> list[str]:
    return [name for name in strategy.timeframes if not wanted or name in wanted]


def _by_bar(
    loaded: Sequence[Strategy], wanted: Sequence[str], symbol: str, close_ms: int, request: Request
) -> dict[str, list[Explained]]:
    """Timeframe -> what its bar at that close says; timeframes that cannot be had are left out."""
    from tapewatch.study.why import explain

    groups: dict[str, list[Explained]] = {}
    errors = []
    for strategy in loaded:
        for timeframe in _timeframes(strategy, wanted):
            try:
                explained = explain(strategy, timeframe, symbol, close_ms, request)
            except SetupError as error:
                errors.append(error)
                continue
            if explained:
                groups.setdefault(timeframe, []).extend(explained)
    if not groups and errors:
        raise errors[0]
    return groups


def _no_bar(
    loaded: Sequence[Strategy], wanted: Sequence[str], symbol: str, close_ms: int, request: Request
) -> SetupError:
    from tapewatch.study.why import closes

    said = {}
    for strategy in loaded:
        for timeframe in _timeframes(strategy, wanted):
            try:
                first, *around, last = (
                    options.iso(ms) for ms in closes(strategy, timeframe, symbol, close_ms, request)
                )
            except (SetupError, ValueError):
                continue
            said[timeframe] = f"{timeframe} bars close at {' and '.join(around)} (stored: {first} to {last})"
    known = "; ".join(said.values()) or "none of the timeframes is asked for and stored"
    return SetupError(f"no bar of {symbol} closes at {options.iso(close_ms)}: {known}")


def _stored(config: list[Path] | None, symbol: str, close_ms: int) -> dict[str, dict[str, Any]]:
    """Signal id -> what the ledger has of it, with its messages under `messages` and its paper position in `trade`."""
    if not config:
        return {}
    from tapewatch.config import load
    from tapewatch.store import Ledger

    ledger = Ledger.open(load(config, os.environ).ledger.address, create=False)
    try:
        return ledger.around(symbol, close_ms)
    finally:
        ledger.close()


def _print(explained: Sequence[Explained], stored: Mapping[str, dict[str, Any]], *, as_json: bool) -> None:
    from tapewatch.strategy.explained import bar_entry, side_entry

    if as_json:
        options.print_json(
            {"bar": bar_entry(explained[0]), "strategies": [side_entry(one, stored) for one in explained]}
        )
        return
    write = sys.stdout.write
    bar = explained[0].bar
    write(
        f"{bar.symbol} {explained[0].timeframe}, closed {options.iso(bar.close_ms)} UTC: open {bar.open:.10g} "
        f"high {bar.high:.10g} low {bar.low:.10g} close {bar.close:.10g} volume {bar.volume:.10g}\n"
    )
    for one in explained:
        entry = side_entry(one, stored)
        write(f"\n{one.strategy} {one.side}: {'fired' if one.fired else 'did not fire'}\n")
        for factor in one.factors:
            write(f"  {_factor(factor)}\n")
        for verdict in entry["verdicts"]:
            reason = f": {verdict['reason']}" if verdict["reason"] else ""
            write(f"  gate {verdict['check']:<10} {'passed' if verdict['pass'] else 'blocked'}{reason}\n")
        for message in entry["delivery"] or ():
            tries = options.counted(message["attempts"], "attempt")
            write(f"  delivery to {message['channel']}: {message['state']} after {tries}\n")
        if "outcome" in entry:
            write(f"  outcome {outcome_words(entry['outcome'])}\n")
        if "trade" in entry:
            write(f"  paper {trade_words(entry['trade'])}\n")


def outcome_words(end: Mapping[str, Any]) -> str:
    """What became of a signal."""
    said = f"{end['result']} at {end['price']:.10g} in the candle of {options.iso(end['ms'])}, bar {end['bars']}"
    if end["gross_r"] is not None:
        said += f": {end['gross_r']:+.2f} R"
    if end["net_r"] is not None:
        said += f", {end['net_r']:+.2f} R after costs; best {end['mfe_r']:+.2f} R, worst {end['mae_r']:+.2f} R"
    return said + ("; that candle touched both, the stop is assumed to have come first" if end["ambiguous"] else "")


def trade_words(trade: Mapping[str, Any]) -> str:
    """What became of a signal on paper."""
    if trade["state"] == "skipped":
        return f"skipped: {trade['reason']}"
    if trade["state"] == "pending":
        return "waits for the next candle"
    net = float(trade["net"]) + float(trade["unrealised"])
    now = "open at" if trade["state"] == "open" else f"closed by {trade['reason']} at"
    last = trade["mark"] if trade["state"] == "open" else trade["fills"][-1]["price"]
    return f"entered at {trade['entry']}, {now} {last}: {net:+,.2f} ({trade['r']:+.2f} R)"


def _factor(factor: Factor) -> str:
    mark = {True: "met", False: "unmet", None: "unknown"}[factor.met]
    sides = f"  {factor.left:.8g} {factor.op} {factor.right:.8g}" if factor.op is not None else ""
    margin = "" if factor.margin is None else f"  margin {factor.margin:+.3f}"
    return f"{mark:<8} {factor.name:<10} {factor.text}{sides}{margin}"


def _print_near(
    loaded: Sequence[Strategy], wanted: Sequence[str], symbol: str, request: Request, count: int, *, as_json: bool
) -> None:
    from tapewatch.strategy.explained import bar_entry, side_entry

    for short, one in _nearest(loaded, wanted, symbol, request, count):
        if as_json:
            unmet = [factor.name for factor in one.short]
            entry = {**side_entry(one, {}), "timeframe": one.timeframe, "unmet": unmet, "short": round(short, 6)}
            options.print_json({"bar": bar_entry(one), "strategies": [entry]})
            continue
        sys.stdout.write(f"{options.iso(one.bar.close_ms)}  {one.timeframe} {one.strategy} {one.side}: ")
        met = sum(factor.met is True for factor in one.factors)
        sys.stdout.write(f"{met} of {len(one.factors)} met, short by {short:.3f}\n")
        for factor in one.short:
            sys.stdout.write(f"    {_factor(factor)}\n")


def _nearest(
    loaded: Sequence[Strategy], wanted: Sequence[str], symbol: str, request: Request, count: int
) -> Iterator[tuple[float, Explained]]:
    from tapewatch.study.why import nearest

    found = [
        miss
        for strategy in loaded
        for timeframe in _timeframes(strategy, wanted)
        for miss in nearest(strategy, timeframe, symbol, request, count)
    ]
    found.sort(key=lambda miss: (len(miss[1].short), miss[0], miss[1].bar.close_ms))
    yield from found[:count]
