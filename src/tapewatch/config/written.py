"""A loaded configuration as people write it: units and percent signs again, secrets as `***`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BeforeValidator, SecretStr
from pydantic.fields import FieldInfo

from tapewatch.config.documents import KeyPath
from tapewatch.config.environment import SECRET_NAME
from tapewatch.config.schema import Config
from tapewatch.config.section import Section
from tapewatch.config.values import (
    UNITS_MS,
    parse_duration,
    parse_percent,
    parse_share_or_count,
    parse_time_of_day,
)

MASK = "***"
#: What a value says that no layer gave.
DEFAULT = "default"


def document(config: Config) -> dict[str, Any]:
    """The whole configuration with its defaults, as plain data that could be written to a file.

    Secrets are `***`, also where one stands inside another value, and so is what came from a variable whose name is
    that of a secret. Strategies are as written: what they change of one that ships.
    """
    secrets = sorted(filter(None, config.secret_values()), key=len, reverse=True)  # one may be a part of another
    tree = config.tree
    hidden = {path for path, names in tree.expanded.items() if any(map(SECRET_NAME.search, names))}

    def masked(path: KeyPath, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: masked((*path, key), inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [masked((*path, index), inner) for index, inner in enumerate(value)]
        if path in hidden:
            return MASK
        for secret in secrets if isinstance(value, str) else ():
            value = value.replace(secret, MASK)
        return value

    whole: dict[str, Any] = masked((), section(config))
    return whole


def origin(config: Config, path: KeyPath) -> str:
    """Where the value at a key path was set: `file:line` and its variables, an environment variable, or `default`."""
    tree = config.tree
    while path and tree.get(*path) is None:
        above = path[:-1]
        if isinstance(tree.get(*above), dict | list):
            return DEFAULT
        path = above  # a short form, as `ccxt: kraken`
    names = tree.expanded.get(path, ())
    return str(tree.place(path)) + (f" ({', '.join(names)})" if names else "")


def leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every value of a document with its path; a list of single values, and what is empty, counts as one."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path, value


def dotted(path: KeyPath) -> str:
    """`alerts.routes[0].channels`, as messages name a key."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def section(of: Section) -> dict[str, Any]:
    """A section's keys as they are written."""
    return {
        field.alias or name: form(getattr(of, name), field.annotation, parser_of(field.metadata))
        for name, field in type(of).model_fields.items()
    }


def form(value: Any, annotation: Any, parser: object = None) -> Any:
    """A value of this type as it is written."""
    if value is None:
        return None
    if isinstance(value, Section):
        return section(value)
    if isinstance(value, SecretStr):
        return MASK
    base, metadata = unwrapped(annotation)
    parser = parser or parser_of(metadata)
    if parser in WRITERS:
        return WRITERS[parser](value)
    if isinstance(value, list) and get_args(base):
        return [form(inner, get_args(base)[0]) for inner in value]
    if isinstance(value, dict) and get_args(base):
        return {key: form(inner, get_args(base)[1]) for key, inner in value.items()}
    return str(value) if isinstance(value, Path) else value


def unwrapped(annotation: Any) -> tuple[Any, list[Any]]:
    """The type inside `Annotated` and `… | None`, and what is said of it there."""
    metadata: list[Any] = []
    while True:
        arguments = get_args(annotation)
        if hasattr(annotation, "__metadata__"):
            for one in annotation.__metadata__:
                metadata += one.metadata if isinstance(one, FieldInfo) else [one]
            annotation = annotation.__origin__
        elif type(None) in arguments and len(arguments) == 2:
            annotation = next(argument for argument in arguments if argument is not type(None))
        else:
            return annotation, metadata


def parser_of(metadata: list[Any]) -> object:
    """The function that reads the value before its type is looked at."""
    return next((one.func for one in metadata if isinstance(one, BeforeValidator)), None)


def _duration(ms: int) -> str:
    unit = max((name for name, size in UNITS_MS.items() if ms % size == 0), key=UNITS_MS.__getitem__)
    return f"{ms // UNITS_MS[unit]}{unit}" if ms else "0s"


def _percent(fraction: float) -> str:
    return f"{fraction * 100:.6f}".rstrip("0").rstrip(".") + "%"


def _time_of_day(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _share_or_count(value: float) -> str | int:
    return value if isinstance(value, int) else _percent(value)


#: How what a parser read is written again.
WRITERS: dict[object, Callable[[Any], Any]] = {
    parse_duration: _duration,
    parse_percent: _percent,
    parse_time_of_day: _time_of_day,
    parse_share_or_count: _share_or_count,
}
