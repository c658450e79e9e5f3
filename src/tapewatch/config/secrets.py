"""Secrets come from the environment or from files of their own, never from the configuration's text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import SecretStr

from tapewatch.config.channels import CHANNEL_TYPES
from tapewatch.config.documents import KeyPath, Tree, read_text
from tapewatch.config.environment import Environment
from tapewatch.config.schema import SECRET_SECTIONS
from tapewatch.errors import ConfigError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def secret_paths(tree: Tree) -> dict[KeyPath, object]:
    """Every secret that is given in the tree, with what stands there; `<key>_file` counts too."""
    return dict(_given(tree))


def _given(tree: Tree) -> Iterator[tuple[KeyPath, object]]:
    channels = tree.get("channels")
    for name, channel in channels.items() if isinstance(channels, dict) else ():
        if not isinstance(channel, dict):
            continue
        model = CHANNEL_TYPES.get(str(channel.get("type")))
        # A channel without a known type is refused later; what could be a secret in it must not be printed then.
        keys = model.secrets if model else {key for known in CHANNEL_TYPES.values() for key in known.secrets}
        yield from _written(("channels", name), channel, keys)
    for path, section in SECRET_SECTIONS.items():
        mapping = tree.get(*path)
        if isinstance(mapping, dict):
            yield from _written(path, mapping, section.secrets)


def _written(path: KeyPath, mapping: Mapping[str, object], keys: Iterable[str]) -> Iterator[tuple[KeyPath, object]]:
    for key in keys:
        for written in (key, f"{key}_file"):
            if mapping.get(written) is not None:
                yield (*path, written), mapping[written]


def resolve(tree: Tree, environment: Environment) -> set[KeyPath]:
    """Put each secret in its place as a SecretStr, read from its variable or file; the paths where that failed."""
    failed: set[KeyPath] = set()
    given = secret_paths(tree)
    for path, written in given.items():
        name = str(path[-1])
        target = (*path[:-1], name.removesuffix("_file"))
        try:
            if name.endswith("_file"):
                if target in given:
                    raise ValueError(f"give {target[-1]} or {name}, not both")
                by_variable = path in tree.expanded or tree.place(path).line is None
                value = _from_file(Path(str(written)), environment, by_variable=by_variable)
                del tree.get(*path[:-1])[name]
                tree.places[target] = tree.place(path)
            else:
                value = _value(tree, path, written, environment)
            if not value:
                raise ValueError("the secret is empty")
            tree.set(target, SecretStr(value))
        except ValueError as error:
            environment.problems.append(f"{tree.place(path)}: {'.'.join(map(str, path))}: {error}")
            tree.set(target, None)
            failed.add(path)
            failed.add(target)
    return failed


def _value(tree: Tree, path: KeyPath, written: object, environment: Environment) -> str:
    if tree.place(path).line is None:  # an override: it is in the environment already
        environment.secret(tree.place(path).origin)
        return str(written)
    key = str(path[-1])
    match = _VARIABLE.fullmatch(written) if isinstance(written, str) else None
    if match is None:
        variable = f"{path[-2]}_{key}".upper().replace("-", "_")
        raise ValueError(
            f"a secret does not belong in a configuration file; write {key}: ${{{variable}}} and set {variable} in the "
            f"environment or in .env, or write {key}_file: with the path of a file that holds it"
        )
    name = match[1]
    tree.expanded[path] = (name,)
    value, file = environment.secret(name), environment.get(f"{name}_FILE")
    if value is not None and file is not None:
        raise ValueError(f"both {name} and {name}_FILE are set; one of them must go")
    if value is not None:
        return value
    if file is None and (credential := _credential(name, environment)) is not None:
        return _from_file(credential, environment, by_variable=False)
    if file is None:
        raise ValueError(f"neither {name} nor {name}_FILE is set")
    return _from_file(Path(file), environment, by_variable=True)


def _credential(name: str, environment: Environment) -> Path | None:
    """The file in which systemd hands over a service's credential of this name, in small letters; None without one."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    path = Path(folder or "/", name.lower())
    return path if folder and path.is_file() else None


def _from_file(path: Path, environment: Environment, *, by_variable: bool) -> str:
    environment.on_file(path)
    try:
        text = read_text(path)
    except ConfigError as error:
        # A variable that should name a file is where a secret lands by mistake.
        named = str(error).replace(str(path), "the file that is named there") if by_variable else str(error)
        raise ValueError(named) from None
    environment.warn_if_readable(path)
    return text.rstrip("\r\n")
