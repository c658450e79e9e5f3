"""`tapewatch download`: candles and funding rates from the exchange into an archive."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tapewatch.cli import options
from tapewatch.cli.asked import gathered
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.download import Order, Summary

Names = Annotated[
    list[str] | None, typer.Option(help="Symbols, with commas or repeated; patterns as *USDT for what is traded.")
]


def order_of(
    *,
    data: Annotated[Path, typer.Option(help="Archive to fill; made when it is not there.")],
    symbols: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="Every symbol that is traded.")] = False,
    venue: Annotated[str, typer.Option(help="binance_spot or binance_usdm.")] = "binance_spot",
    interval: Annotated[list[str] | None, typer.Option(help="1m to 1mo, repeatable; default 1m.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="First open: ISO (UTC) or ms; default 30 days before the end.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="End of opens, excluded: ISO (UTC) or ms; default now.")] = None,
    source: Annotated[
        Literal["auto", "bulk", "rest"], typer.Option(help="The exchange's files, and REST for the rest; or one alone.")
    ] = "auto",
    funding: Annotated[bool, typer.Option("--funding", help="Funding rates too (binance_usdm).")] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Look whether files taken earlier were replaced, and take the new ones.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Requests at once.")] = 8,
    rest_url: Annotated[str | None, typer.Option(help="REST host; default the exchange's.")] = None,
    bulk_url: Annotated[str | None, typer.Option(help="Host of the files; default the exchange's.")] = None,
    ca_file: Annotated[Path | None, typer.Option(help="Certificates (PEM) to trust beside the system's.")] = None,
) -> Order:
    """What these options mean. Raises SetupError."""
    from tapewatch.archive.bulk import BULK_URL
    from tapewatch.archive.intervals import interval_of
    from tapewatch.download import Order
    from tapewatch.network import tls_context

    authorities = str(ca_file) if ca_file else None
    tls_context(authorities, "--ca-file")
    names = options.words(symbols)
    if everything == bool(names):
        raise SetupError("say which symbols: either --symbols or --all")
    rest_url, bulk_url = _hosts(rest_url, bulk_url)
    return Order(
        root=data,
        venue=venue,
        symbols=names or ["*"],
        intervals=list(dict.fromkeys(interval_of(name).name for name in options.words(interval) or ["1m"])),
        from_ms=options.moment_ms(from_, "--from"),
        to_ms=options.moment_ms(to, "--to"),
        source=source,
        funding=funding,
        refresh=refresh,
        workers=workers,
        rest_url=rest_url,
        bulk_url=bulk_url or BULK_URL,
        ca_file=authorities,
    )


@gathered(order=order_of)
def download(
    order: Order,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per series, and one of the whole.")] = False,
) -> None:
    """Candles and funding rates from the exchange into an archive; what is there already is not fetched again.

    Example: tapewatch download --data candles --symbols BTCUSDT,ETHUSDT --interval 1m --from 2025-01-01
    """
    from tapewatch.cli.download_screen import Screen
    from tapewatch.download import Job

    screen = Screen(f"{order.venue}, files and pages", as_json=as_json)
    try:
        summary = asyncio.run(Job(order, screen).run())
    finally:
        screen.close()
    _conclude(summary, as_json=as_json)


def _hosts(rest_url: str | None, bulk_url: str | None) -> tuple[str | None, str | None]:
    """With one host named and on this machine, as a simulator is, both are that: it is never mixed with the world."""
    from urllib.parse import urlsplit

    from tapewatch.network import is_loopback

    if bulk_url is None and rest_url is not None and is_loopback(urlsplit(rest_url).hostname or ""):
        return rest_url, rest_url
    if rest_url is None and bulk_url is not None and is_loopback(urlsplit(bulk_url).hostname or ""):
        return bulk_url, bulk_url
    return rest_url, bulk_url


def _conclude(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        options.print_json(summary)
    else:
        rows = f"{options.counted(summary.rows, 'row')}, {summary.added:,} of them new"
        source = f"{options.counted(summary.files, 'file')} and {options.counted(summary.requests, 'request')}"
        failed = f"; {summary.failed} failed" if summary.failed else ""
        sys.stdout.write(f"{summary.series} series, {rows}, from {source} in {summary.wall_s:.1f} s{failed}\n")
    if summary.failed:
        raise typer.Exit(1)
