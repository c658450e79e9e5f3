"""Options that several commands have in common, and groups of options that become one value."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

_ARCHIVE = typer.Option(help="Archive: <DIR>/<venue>/<SYMBOL>/<interval>.parquet.")
Data = Annotated[Path, _ARCHIVE]
MaybeData = Annotated[Path | None, _ARCHIVE]
Venue = Annotated[str | None, typer.Option(help="Folder in the archive; needed when it has several.")]
Symbols = Annotated[list[str] | None, typer.Option(help="Symbols, with commas or repeated; default all.")]
From = Annotated[str | None, typer.Option("--from", help="First close: ISO (UTC) or ms.")]
To = Annotated[str | None, typer.Option("--to", help="End of closes, excluded: ISO (UTC) or ms.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Parameter of the strategy, repeatable: name=number.")]
HistoryStart = Annotated[
    list[str] | None,
    typer.Option(help="Open of the timeframe's first bar (the others start as live), or INTERVAL=MS for each."),
]
Workers = Annotated[int, typer.Option(min=1, max=256, help="Processes that share the work.")]


def gathered(**made: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command whose parameters of these names are made of options: those which the function of the name takes.

    They are where the parameter is. It has no default, and its type is one plain name, which need not be imported.
    """
    options = {place: _parameters(maker, ("return",)) for place, maker in made.items()}

    def wrapped(command: Callable[..., None]) -> Callable[..., None]:
        taken: list[inspect.Parameter] = []
        for own in _parameters(command, made):
            taken += options.get(own.name, [own])

        @wraps(command)
        def run(**given: Any) -> None:
            values = {
                place: maker(**{option.name: given.pop(option.name) for option in options[place]})
                for place, maker in made.items()
            }
            command(**given, **values)

        named = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in taken]
        run.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in named}
        return run

    return wrapped


def _parameters(function: Callable[..., Any], unknown: Iterable[str]) -> list[inspect.Parameter]:
    """With their types, except for the `unknown`, which may be known to type checkers only."""
    stand_ins = {function.__annotations__[name]: object for name in unknown}
    types = get_type_hints(function, localns=stand_ins, include_extras=True)
    return [own.replace(annotation=types[own.name]) for own in inspect.signature(function).parameters.values()]
