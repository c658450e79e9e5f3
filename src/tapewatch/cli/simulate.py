"""`tapewatch simulate`: the exchange's protocol from stored or synthetic candles."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from tapewatch.cli import options
from tapewatch.cli.asked import MaybeData, gathered
from tapewatch.errors import EdgeError, SetupError
from tapewatch.model import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    import ssl

    from tapewatch.simulator import FaultRule, Market, Planted, Simulator

_SYNTHETIC_SYMBOLS = 5
#: Above this a synthetic market has a short history unless told: making 45 days of thousands takes a while.
_FEW_SYMBOLS, _SHORT_HISTORY_MS = 100, 3 * DAY_MS


class Source(NamedTuple):
    """Where candles come from: an archive or a seed, and which part of them; times are as they were written."""

    data: Path | None
    seed: int | None
    venue: str
    symbols: list[str]
    names: int | None
    history: str | None
    start: str | None


def source_of(
    *,
    data: MaybeData = None,
    synthetic: Annotated[int | None, typer.Option(help="Seed of a synthetic market, instead of --data.")] = None,
    venue: Annotated[str, typer.Option(help="Folder in the archive.")] = "binance_spot",
    symbols: Annotated[
        list[str] | None,
        typer.Option(
            help="Symbols, with commas or repeated; with --synthetic any names, or how many. Default all, or 5."
        ),
    ] = None,
    names: Annotated[
        int | None, typer.Option(min=1, help="With --data: so many names, the archive's and variants of them.")
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(help="With --synthetic: how much comes before. Default 45d, above 100 symbols 3d."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Where simulated time begins, ISO (UTC) or ms; earlier candles are history. Default: a day before the "
            "end, synthetic 2025-06-02."
        ),
    ] = None,
) -> Source:
    """What these options mean."""
    return Source(data, synthetic, venue, options.words(symbols), names, history, start)


@gathered(source=source_of)
def simulate(
    source: Source,
    speed: Annotated[float, typer.Option(help="Simulated seconds per second.")] = 1.0,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port for REST and WebSocket, 0 for a free one.")] = 9000,
    faults: Annotated[Path | None, typer.Option(help="Fault script (YAML).")] = None,
    plants: Annotated[Path | None, typer.Option(help="Setups to plant into the synthetic market (YAML).")] = None,
    at_end: Annotated[Literal["stop", "hold"], typer.Option(help="When the data end: stop, or stand still.")] = "stop",
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM): serve https and wss.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the candles that would be served as an archive to this folder, and end.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout: the addresses, then faults.")] = False,
) -> None:
    """The exchange's REST and WebSocket protocol on this machine, from stored or synthetic candles, at any speed.

    Example: tapewatch simulate --synthetic 7 --symbols 5 --speed 60
    """
    from tapewatch.simulator import Simulator

    if not 0 < speed <= 1e9:
        raise SetupError(f"--speed: {speed:g} is not above 0 and at most 1e9")
    market, start_ms, planted = _market(source, plants)
    rules, seed = _rules(faults, market), source.seed or 0
    if export is not None:
        _export(market, rules, seed, start_ms, export, as_json=as_json)
        return
    simulator = Simulator(
        market,
        rate=speed,
        start_ms=start_ms,
        faults=rules,
        at_end=at_end,
        ssl_context=_tls(tls_cert, tls_key),
        host=host,
        port=port,
        seed=seed,
        on_fault=lambda fault: _print(fault, _told(fault), as_json=as_json),
    )
    try:
        asyncio.run(_serve(simulator, planted, hold=at_end == "hold", as_json=as_json))
    except OSError as error:
        raise EdgeError(f"cannot listen on {host}:{port} (--host, --port): {error.strerror or error}") from error


def _market(source: Source, plants: Path | None) -> tuple[Market, int, Sequence[Planted]]:
    """What is served, where its simulated time begins, and what is planted in it."""
    data, seed, venue, symbols, names, history, start = source
    start_ms = options.moment_ms(start, "--start")
    if (data is None) == (seed is None):
        raise SetupError("say where candles come from: either --data DIR or --synthetic SEED")
    if data is not None:
        for option, given in (("--plants", plants), ("--history", history)):
            if given is not None:
                raise SetupError(f"{option} is for a synthetic market only; recorded candles stay as they are")
        return *_stored(data, venue, symbols, start_ms, names), ()
    if names is not None:
        raise SetupError("--names is for --data; a synthetic market has as many --symbols as one likes")
    return _synthetic(seed or 0, symbols, start_ms, history, plants)


def _rules(script: Path | None, market: Market) -> Sequence[FaultRule]:
    """The faults of a script; the market has the symbols that they name."""
    from tapewatch.simulator import load_faults

    rules = load_faults(script) if script else ()
    strange = sorted({symbol for rule in rules for symbol in rule.symbols} - set(market.symbols))
    if strange:
        raise SetupError(f"--faults {script}: the market has no {' '.join(strange)}")
    return rules


def _stored(data: Path, venue: str, symbols: list[str], start_ms: int | None, names: int | None) -> tuple[Market, int]:
    """The market of an archive, and where its simulated time begins."""
    from tapewatch.simulator import ArchiveMarket, VariantMarket, default_start_ms

    market: Market = ArchiveMarket(data, venue, tuple(symbols))
    if names is not None:
        market = VariantMarket(market, names)
    begin_ms = default_start_ms(market) if start_ms is None else start_ms - start_ms % MINUTE_MS
    if not market.first_ms <= begin_ms < market.last_ms:
        span = f"{options.iso(market.first_ms)} to {options.iso(market.last_ms)}"
        raise SetupError(f"--start: {options.iso(begin_ms)} is outside the candles, which go from {span}")
    return market, begin_ms


def _synthetic(
    seed: int, symbols: list[str], start_ms: int | None, history: str | None, plants: Path | None
) -> tuple[Market, int, Sequence[Planted]]:
    """The market of a seed, where its simulated time begins, and what is planted in it."""
    from tapewatch.simulator import Planter, SyntheticMarket, load_plants, names
    from tapewatch.simulator.synthetic import HISTORY_MS, START_MS

    if seed < 0:
        raise SetupError("--synthetic: a seed is a whole number from 0")
    begin_ms = START_MS if start_ms is None else start_ms - start_ms % MINUTE_MS
    numbered = re.fullmatch(r"[+-]?[0-9]+", symbols[0]) if len(symbols) == 1 else None
    count = int(numbered[0]) if numbered else _SYNTHETIC_SYMBOLS
    if count < 1:
        raise SetupError(f"--symbols: {count} symbols make no market")
    chosen = tuple(symbols) if symbols and not numbered else names(count)
    history_ms = HISTORY_MS if len(chosen) <= _FEW_SYMBOLS else _SHORT_HISTORY_MS
    if history is not None:
        history_ms = _history_ms(history)
    planter = Planter(load_plants(plants)) if plants else None
    market = SyntheticMarket(seed, chosen, start_ms=begin_ms, history_ms=history_ms, planter=planter)
    return market, begin_ms, market.plant()


def _history_ms(text: str) -> int:
    from tapewatch.strategy.definition import duration_ms

    try:
        return duration_ms(text) // MINUTE_MS * MINUTE_MS
    except ValueError:
        raise SetupError(f"--history: {text!r} is no duration as 12h or 10d") from None


def _export(
    market: Market, rules: Sequence[FaultRule], seed: int, start_ms: int, folder: Path, *, as_json: bool
) -> None:
    """Write what would be served as an archive."""
    from tapewatch.simulator import ChangedMarket, changes, export

    count = export(ChangedMarket(market, changes(rules, seed, start_ms, market.last_ms)), folder)
    known = {"folder": str(folder), "candles": count, "symbols": len(market.symbols)}
    said = f"{count:,} candles of {options.counted(len(market.symbols), 'symbol')} are in {folder}."
    _print(known, said, as_json=as_json)


def _tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise SetupError("--tls-cert and --tls-key go together")
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise SetupError(f"--tls-cert {cert} and --tls-key {key} cannot be used: {error}") from error
    return context


async def _serve(simulator: Simulator, planted: Sequence[Planted], *, hold: bool, as_json: bool) -> None:
    import msgspec

    await simulator.start()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    market = simulator.market
    head = {
        "rest_url": simulator.rest_url,
        "ws_url": simulator.ws_url,
        "rate": simulator.rate,
        "symbols": list(market.symbols),
        "first_ms": simulator.start_ms,
        "last_ms": market.last_ms,
        "planted": [msgspec.to_builtins(entry) for entry in planted],
    }
    shown = ", ".join(market.symbols[:5]) + (f" and {len(market.symbols) - 5} more" if len(market.symbols) > 5 else "")
    setups = f", {options.counted(len(planted), 'planted setup')}" if planted else ""
    text = (
        f"{simulator.rest_url} and {simulator.ws_url} serve {shown}: {options.iso(simulator.start_ms)} to "
        f"{options.iso(market.last_ms)} UTC at {simulator.rate:g} times the speed{setups}. Time begins with the first "
        "subscription; Ctrl-C ends it."
    )
    _print(head, text, as_json=as_json)
    ending = asyncio.create_task(_ended(simulator, hold=hold))
    waiting = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait((ending, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (ending, waiting):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ending
        await simulator.stop()


async def _ended(simulator: Simulator, *, hold: bool) -> None:
    await simulator.wait_ended()
    if hold:
        await asyncio.Event().wait()


def _told(fault: dict[str, Any]) -> str:
    rest = " ".join(f"{key}={value}" for key, value in fault.items() if key not in {"fault", "at_ms"})
    return f"{options.iso(fault['at_ms'])}  {fault['fault']}  {rest}"


def _print(value: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        options.print_json(value)
    else:
        sys.stdout.write(text + "\n")
    sys.stdout.flush()
