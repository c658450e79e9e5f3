"""`tapewatch alerts preview`: what an alert of a strategy looks like in every channel."""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args

import typer

from tapewatch.cli import options
from tapewatch.cli.asked import MaybeData, Symbols, Venue
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption
from tapewatch.errors import NoLedgerError, SetupError

if TYPE_CHECKING:
    from tapewatch.channels.port import Style
    from tapewatch.channels.writer import Rendered, Writer
    from tapewatch.config import Config
    from tapewatch.store.records import StoredAlert
    from tapewatch.strategy import Strategy

#: The synthetic market has calm symbols and wild ones, so that every strategy that ships finds something.
_SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT", "NEARUSDT", "PEPEUSDT")
_SEEDS = range(1, 4)
_LEDGER = "the ledger"
_RULE = "-" * 60


class Place(NamedTuple):
    """Where an alert would be shown: a configured channel, or a style alone."""

    name: str
    type: str
    style: Style


def preview(
    strategy: Annotated[
        str,
        typer.Argument(metavar="STRATEGY", help="A strategy of the configuration or that ships, or a file with one."),
    ],
    config: ConfigOption = None,
    channel: Annotated[list[str] | None, typer.Option(help="Only this configured channel, repeatable.")] = None,
    style: Annotated[
        list[str] | None, typer.Option(help="This style: plain, html, markdown, telegram or json; repeatable.")
    ] = None,
    data: MaybeData = None,
    venue: Venue = None,
    symbols: Symbols = None,
    at: Annotated[
        str | None, typer.Option(help="With --data: the newest signal that closed then or before: ISO (UTC) or ms.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line for each.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the HTML into this file, for a browser.")] = None,
    image: Annotated[Path | None, typer.Option(help="Write the picture of the chart into this file, a PNG.")] = None,
) -> None:
    """Show an alert of a strategy as every channel would get it; nothing is sent.

    Example: tapewatch alerts preview momentum
    """
    loaded = _config(config)
    if data is None and (at or symbols or venue):
        raise SetupError("--at, --symbols and --venue say what to look for in --data")
    places = _places(loaded, channel or [], options.words(style))
    writer = _writer(loaded)
    chosen = _strategy(strategy, loaded)
    if data is not None:
        alert, source = _of_data(chosen, data, venue, symbols, at)
    else:
        alert, source = _of_ledger(chosen, loaded) or _of_synthetic(chosen)
    if not as_json:
        sys.stderr.write(_introduced(alert, source))
    for place in places:
        written = writer.write(alert, place.style, channel=place.name)
        if as_json:
            _print_json(place, written, alert.alert_id, source)
        else:
            _print(place, written)
    if html is not None:
        page = next((place for place in places if place.style == "html"), Place("", "email", "html"))
        _write(html, "--html", _standing_alone(writer.write(alert, "html", channel=page.name)).encode())
    if image is not None:
        _write(image, "--image", _picture(writer.write(alert, "html")))


def _config(paths: list[Path] | None) -> Config | None:
    """The configuration, where there is one; one that is named must be there."""
    from tapewatch.config import load

    if paths is None and not any(path.exists() for path in DEFAULT_PATHS):
        return None
    return load(paths or DEFAULT_PATHS, os.environ)


def _places(config: Config | None, channels: list[str], styles: list[str]) -> list[Place]:
    from tapewatch.channels import build
    from tapewatch.channels.port import Style

    known: tuple[Style, ...] = get_args(Style)
    for name in styles:
        if name not in known:
            raise SetupError(f"--style: {name!r} is none of {', '.join(known)}")
    specs = {} if config is None else config.channels
    for name in channels:
        if name not in specs:
            raise SetupError(f"--channel: there is no channel {name!r}; channels are: {', '.join(specs) or 'none'}")
    if not styles or channels:
        wanted = channels or list(specs)
        places = [Place(name, specs[name].type, build(name, specs[name]).style) for name in wanted]
    else:
        places = []
    styles = styles or ([] if places else list(known))
    return places + [Place("", "", name) for name in known if name in styles]


def _writer(config: Config | None) -> Writer:
    from tapewatch.live.telling import writer_of

    def failed(what: str, error: str) -> None:
        sys.stderr.write(f"tapewatch: the {what} could not be made and is left out: {error}\n")

    if config is not None:
        return writer_of(config, failed)
    from datetime import UTC

    from tapewatch.channels.chart import available
    from tapewatch.channels.writer import Writer

    return Writer(UTC, pictures=available())


def _strategy(name: str, config: Config | None) -> Strategy:
    from tapewatch import strategies

    configured = {} if config is None else config.strategies
    if name in configured:
        return next(one for one in strategies.configured(configured) if one.name == name)
    return strategies.load(name, others=configured)


def _of_data(
    strategy: Strategy, data: Path, venue: str | None, symbols: list[str] | None, at: str | None
) -> tuple[StoredAlert, str]:
    venue = options.venue_of(data, venue)
    chosen = options.symbols_of(data, venue, symbols)
    alert = _sampled(strategy, data, venue, chosen, options.moment_ms(at, "--at"))
    if alert is None:
        raise SetupError(f"--data: {strategy.name} fires nowhere in these candles{' until --at' if at else ''}")
    return alert, f"the candles in {data}"


def _of_ledger(strategy: Strategy, config: Config | None) -> tuple[StoredAlert, str] | None:
    """The newest alert of the strategy that a run has stored."""
    from tapewatch.store import Ledger

    if config is None:
        return None
    try:
        ledger = Ledger.open(config.ledger.address, create=False)
    except NoLedgerError:
        return None
    try:
        alert = ledger.newest_alert(strategy.name)
    finally:
        ledger.close()
    return None if alert is None else (alert, _LEDGER)


def _of_synthetic(strategy: Strategy) -> tuple[StoredAlert, str]:
    for seed in _SEEDS:
        with _synthetic(seed) as (folder, venue):
            alert = _sampled(strategy, folder, venue, _SYMBOLS, None)
        if alert is not None:
            return alert, f"a synthetic market (seed {seed})"
    raise SetupError(f"{strategy.name} fires nowhere in the synthetic market; --data looks in candles of your own")


@contextmanager
def _synthetic(seed: int) -> Iterator[tuple[Path, str]]:
    from tapewatch.simulator import SyntheticMarket
    from tapewatch.simulator.export import export

    with tempfile.TemporaryDirectory(prefix="tapewatch-preview-") as folder:
        market = SyntheticMarket(seed, _SYMBOLS)
        export(market, Path(folder))
        yield Path(folder), market.venue


def _sampled(
    strategy: Strategy, root: Path, venue: str, symbols: list[str] | tuple[str, ...], at_ms: int | None
) -> StoredAlert | None:
    from tapewatch.outcomes import DEFAULT_COST_BPS
    from tapewatch.store.records import StoredAlert
    from tapewatch.study.sample import sample

    found = sample(strategy, root, venue, symbols, at_ms, DEFAULT_COST_BPS)
    if found is None:
        return None
    return StoredAlert(
        alert_id=found.alert_id,
        kind="signal",
        created_ms=found.signal.close_ms,
        late=False,
        subject=None,
        text=None,
        signals=(found.signal,),
        record=found.record,
        candles=found.candles,
    )


def _introduced(alert: StoredAlert, source: str) -> str:
    lead = alert.signals[0]
    closed = f"{lead.symbol} {lead.timeframe} of {options.iso(lead.close_ms)}"
    asked = "; what a run asks the exchange for (spread, order book, volume, funding) is not in candles"
    around = "" if source == _LEDGER else asked
    return f"tapewatch: {lead.strategy} on {closed}, from {source}{around}\n"


def _print_json(place: Place, written: Rendered, alert_id: str, source: str) -> None:
    line: dict[str, Any] = {"channel": place.name or None, "type": place.type or None, "style": place.style}
    line |= {name: getattr(written, name) for name in ("subject", "text", "body", "chart_url")}
    options.print_json(line | {"image": written.image is not None, "alert_id": alert_id, "source": source})


def _print(place: Place, written: Rendered) -> None:
    """A mail is shown by its plain text, unless its style is asked for."""
    named = f"{place.name} ({place.type}, {place.style})" if place.name else place.style
    mailed = place.style == "html" and bool(place.name)
    page = f"[and as HTML of {len(written.body) / 1000:.1f} kB: --html FILE]\n" if mailed else ""
    picture = f"[with a picture of {len(written.image) / 1000:.1f} kB: --image FILE]\n" if written.image else ""
    body = written.text if mailed else written.body
    sys.stdout.write(f"{_RULE}\n{named}: {written.subject}\n{_RULE}\n{body.rstrip()}\n{page}{picture}\n")


def _standing_alone(written: Rendered) -> str:
    """The page with its picture inside, since a browser has no other part of the mail."""
    if written.image is None:
        return written.body
    return written.body.replace("cid:chart", f"data:image/png;base64,{base64.b64encode(written.image).decode()}")


def _picture(written: Rendered) -> bytes:
    from tapewatch.channels.chart import available

    if not available():
        raise SetupError("--image: pictures need the extra: pip install 'tapewatch[chart]'")
    if written.image is None:
        raise SetupError("--image: this alert has no candles to draw")
    return written.image


def _write(path: Path, option: str, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise SetupError(f"{option}: {path}: {error.strerror or error}") from None
