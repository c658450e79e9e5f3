"""`tapewatch config`: the configuration in force, and its JSON Schema."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.setup import ConfigOption, configuration

app = typer.Typer(no_args_is_help=True)

#: What YAML reads as the same text without quotes.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.*/%:+-]*(?<!:)|\d+(\.\d+)?(ms|s|m|h|d|%)")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off"}

Origin = Callable[[tuple[str | int, ...]], str]


@app.callback()
def group() -> None:
    """The configuration in force, and its JSON Schema.

    Example: tapewatch config show
    """


@app.command()
def schema() -> None:
    """Print the JSON Schema of a configuration file, for editors.

    Example: tapewatch config schema > config.schema.json
    """
    from tapewatch.config.jsonschema import document

    sys.stdout.write(json.dumps(document(), indent=2) + "\n")


@app.command()
def show(
    config: ConfigOption = None,
    origin: Annotated[
        bool, typer.Option("--origin", help="Where each value is from: file:line, variable, default.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object; with --origin one line per value.")] = False,
) -> None:
    """Print the configuration in force: all layers, variables and defaults together, secrets as ***.

    Example: tapewatch config show -c tapewatch.yaml --origin
    """
    from tapewatch.config import written

    loaded = configuration(config)
    document = written.document(loaded)
    if as_json and origin:
        for path, value in written.leaves(document):
            place = written.origin(loaded, path)
            options.print_json({"key": written.dotted(path), "value": value, "origin": place})
    elif as_json:
        options.print_json(document)
    else:
        source = (lambda path: f"  # {written.origin(loaded, path)}") if origin else (lambda _path: "")
        sys.stdout.writelines(f"{line}\n" for line in as_yaml(document, source))


def as_yaml(value: Any, origin: Origin, path: tuple[str | int, ...] = ()) -> Iterator[str]:
    """Lines of YAML, each value with what is said of its origin behind it."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        here, head = (*path, key), "-" if isinstance(key, int) else f"{_scalar(key)}:"
        if not _is_block(inner):
            yield f"{head} {_flow(inner)}{origin(here)}"
            continue
        lines = [f"  {line}" for line in as_yaml(inner, origin, here)]
        if head == "-":
            lines[0] = f"- {lines[0][2:]}"
            yield from lines
        else:
            yield head
            yield from lines


def _is_block(value: Any) -> bool:
    """Whether it takes lines of its own."""
    if isinstance(value, list):
        return any(isinstance(inner, dict | list) for inner in value)
    return isinstance(value, dict) and bool(value)


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    return "{}" if value == {} else _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
