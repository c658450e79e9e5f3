"""`tapewatch config`: the configuration in force, what it was before, and its JSON Schema."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption, configuration

app = typer.Typer(no_args_is_help=True)

#: What YAML reads as the same text without quotes.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.*/%:+-]*(?<!:)|\d+(\.\d+)?(ms|s|m|h|d|%)")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off"}

Origin = Callable[[tuple[str | int, ...]], str]


@app.callback()
def group() -> None:
    """The configuration in force, what it was before, and its JSON Schema.

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


@app.command()
def history(
    config: ConfigOption = None,
    diff: Annotated[bool, typer.Option("--diff", help="What changed, key by key.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line each.")] = False,
) -> None:
    """List the configurations that runs on this ledger applied, oldest first.

    Example: tapewatch config history --diff
    """
    from contextlib import closing

    from tapewatch.config import load
    from tapewatch.store import Ledger

    with closing(Ledger.open(load(config or DEFAULT_PATHS, os.environ).ledger.address, create=False)) as ledger:
        kept = ledger.configurations.history()
    before: dict[str, Any] | None = None
    for one in kept:
        changes = [] if before is None else changes_of(before, one["config"])
        if as_json:
            options.print_json(one | ({"changes": changes} if diff else {}))
        else:
            sys.stdout.writelines(f"{line}\n" for line in _history_lines(one, changes, diff=diff))
        before = one["config"]


def _history_lines(one: dict[str, Any], changes: list[dict[str, Any]], *, diff: bool) -> Iterator[str]:
    lasting = f"{options.iso(one['first_ms'])} to {options.iso(one['last_ms'])}"
    yield f"{lasting}  {one['hash'][:12]}  version {one['version']}  {options.counted(len(changes), 'change')}"
    for change in changes if diff else ():
        yield f"  {change['key']}: {_flow(change['before'])} -> {_flow(change['after'])}"


def changes_of(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """The keys of two configurations whose values differ, with both; null where one has no such key."""
    from tapewatch.config.written import dotted, leaves

    old, new = ({dotted(path): value for path, value in leaves(one)} for one in (before, after))
    keys = [*old, *(key for key in new if key not in old)]
    changed = [key for key in keys if old.get(key) != new.get(key)]
    return [{"key": key, "before": old.get(key), "after": new.get(key)} for key in changed]


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
