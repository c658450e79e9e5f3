"""`tapewatch model`: models that score signals, trained on past ones and judged on later ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapewatch.cli import options
from tapewatch.cli.asked import gathered
from tapewatch.cli.dataset import Searched, source_of
from tapewatch.cli.skill import lines_of
from tapewatch.errors import SetupError
from tapewatch.outcomes import DEFAULT_COST_BPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tapewatch.cli.dataset import Source
    from tapewatch.model import Signal
    from tapewatch.scoring import Document
    from tapewatch.study.examples import Examples
    from tapewatch.study.labels import Label

app = typer.Typer(
    no_args_is_help=True,
    help="Models that score signals: train, look at, judge again.\n\nExample: tapewatch model show scalp.json",
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A model that `model train` has written.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
CostBps = Annotated[float, typer.Option(min=0, max=1_000, help="What a round trip costs, of the entry.")]


@app.command()
@gathered(source=source_of)
def train(
    *,
    source: Source,
    out: Annotated[Path, typer.Option(help="Write the model to this FILE.json.")],
    keep: Annotated[str, typer.Option(help="Of signals, how many its threshold lets through.")] = "20%",
    judge: Annotated[str, typer.Option(help="Of signals, the last so many are for the judgement alone.")] = "30%",
    cost_bps: CostBps = DEFAULT_COST_BPS,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of all draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a model on past signals, walk-forward, and judge it on later ones; needs the extra `ml`.

    Example: tapewatch model train --strategy scalp --data candles --interval 1m --out scalp.json
    """
    import msgspec

    from tapewatch.study.learners import check_installed

    shares = share_of(keep, "--keep"), share_of(judge, "--judge")
    check_installed()
    if not out.parent.is_dir():
        raise SetupError(f"--out: there is no folder {out.parent}")
    from tapewatch.study.training import Asked, train

    strategy = source.strategy
    timeframes = [name for name in strategy.timeframes if name in (source.intervals or strategy.timeframes)]
    document = train(strategy, timeframes, _examples(source, timeframes, cost_bps), Asked(*shares, cost_bps, seed))
    _write(out, msgspec.json.encode(document) + b"\n")
    _tell(document, str(out), as_json=as_json)


@app.command()
def show(file: File, as_json: AsJson = False) -> None:
    """What a model was trained on, how it did on later signals, and what it decides by.

    Example: tapewatch model show scalp.json
    """
    _tell(_read(file), str(file), as_json=as_json)


@app.command()
@gathered(source=source_of)
def check(
    file: File,
    *,
    source: Source,
    cost_bps: CostBps = DEFAULT_COST_BPS,
    as_json: AsJson = False,
) -> None:
    """Judge a model on signals later than those it was trained on; exit 1 when it shows no skill there.

    Example: tapewatch model check scalp.json --strategy scalp --data candles
    """
    from tapewatch.study.training import judged_again

    document = _read(file)
    if source.strategy.name != document.strategy:
        raise SetupError(f"--strategy: {file} scores {document.strategy}, not {source.strategy.name}")
    for name in source.intervals:
        if name not in document.timeframes:
            raise SetupError(f"--interval: {file} scores {', '.join(document.timeframes)}, not {name}")
    again = judged_again(document, _examples(source, document.timeframes, cost_bps), cost_bps)
    _tell(again, str(file), as_json=as_json)
    if not again.skill:
        raise typer.Exit(1)


def _examples(source: Source, timeframes: Sequence[str], cost_bps: float) -> Examples:
    """Those of the source's signals that have ended, with their surroundings, of some timeframes."""
    from tapewatch.study.examples import examples_of

    labelled: Iterable[tuple[Signal, Label | None]]
    if isinstance(source, Searched):
        labels = (label for _, label in source.labelled(cost_bps))
        labelled = zip(source.candidates(), labels, strict=True)
    else:
        labelled = source.labelled()
    return examples_of(source.strategy, (pair for pair in labelled if pair[0].timeframe in timeframes))


def share_of(text: str, option: str) -> float:
    """`20%` or `0.2` as a share between 0 and 1, both excluded. Raises SetupError."""
    number = text.strip().removesuffix("%")
    try:
        share = float(number) / (100.0 if number != text.strip() else 1.0)
    except ValueError:
        share = 0.0
    if not 0.0 < share < 1.0:
        raise SetupError(f"{option}: {text!r} is no share between 0% and 100%")
    return share


def _tell(document: Document, name: str, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        whole = msgspec.to_builtins(document)
        formula = whole.pop("formula")
        options.print_json(whole | {"kind": formula["kind"], "features": formula["features"]})
    else:
        sys.stdout.write("\n".join(lines_of(document, name)) + "\n")


def _read(path: Path) -> Document:
    """With or without skill. Raises SetupError."""
    from tapewatch.live.scorings import read_plain
    from tapewatch.scoring import document_of

    return document_of(read_plain(path, str(path)), str(path))


def _write(path: Path, text: bytes) -> None:
    """A run may be about to read it. Raises SetupError."""
    from tapewatch.disk import write_whole

    try:
        write_whole(path, text)
    except OSError as error:
        raise SetupError(f"--out: {path} cannot be written: {error.strerror}") from None
