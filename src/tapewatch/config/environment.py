"""What a configuration takes from outside its files: `.env`, `${VAR}`, `TAPEWATCH__SECTION__KEY`, secret files."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tapewatch.config.documents import KeyPath, Place, Tree, read_flow, read_text
from tapewatch.errors import ConfigError

PREFIX = "TAPEWATCH__"
_ENV_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_QUOTED = re.compile(r"""(?:'([^']*)'|"((?:[^"\\]|\\.)*)")\s*(?:#.*)?""")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
#: `$${` is a literal `${`; otherwise `${NAME}` or `${NAME:-default}`.
_REFERENCE = re.compile(r"(\$\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|(\$\{)")
SECRET_NAME = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|KEY|CREDENTIALS?)$")


class Environment:
    """The process's environment over the `.env` files, which lie beside the configuration files.

    `problems` and `warnings` collect what was found wrong while values were taken; `on_file` is called with each file
    before it is read or found missing.
    """

    def __init__(
        self, env: Mapping[str, str], files: Sequence[Path], on_file: Callable[[Path], object] = lambda _path: None
    ) -> None:
        self.on_file = on_file
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.sources: list[Path] = []
        self._values: dict[str, str] = {}
        self._dotenv: dict[str, Path] = {}
        for path in dict.fromkeys(file.parent / ".env" for file in files):
            on_file(path)
            if path.is_file():
                self._read(path)
        self._values.update(env)
        self._process = frozenset(env)

    def get(self, name: str) -> str | None:
        """The value of a variable."""
        return self._values.get(name)

    def secret(self, name: str) -> str | None:
        """The value of a variable that is a secret: where it came from a `.env`, that file should be private."""
        if name in self._dotenv and name not in self._process:
            self.warn_if_readable(self._dotenv[name])
        return self._values.get(name)

    def overrides(self) -> dict[str, str]:
        """The variables that override a key, by name."""
        return {name: value for name, value in sorted(self._values.items()) if name.startswith(PREFIX)}

    def _read(self, path: Path) -> None:
        try:
            found, problems = read_dotenv(path)
        except ConfigError as error:
            self.problems += error.problems
            return
        self.sources.append(path)
        self.problems += problems
        if any(value and SECRET_NAME.search(name) for name, value in found.items()):
            self.warn_if_readable(path)
        self._values.update(found)
        self._dotenv.update(dict.fromkeys(found, path))

    def warn_if_readable(self, path: Path) -> None:
        """Warn when everybody on this machine can read a file that holds a secret."""
        text = f"{path}: holds a secret and everybody can read it; chmod 600 {path}"
        if path.stat().st_mode & stat.S_IROTH and text not in self.warnings:
            self.warnings.append(text)


def read_dotenv(path: Path) -> tuple[dict[str, str], list[str]]:
    """The variables of a `.env` file, and what is wrong with its other lines.

    Raises:
        ConfigError: it cannot be read.
    """
    found: dict[str, str] = {}
    problems = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _ENV_LINE.fullmatch(stripped)
        value = None if match is None else _env_value(match[2])
        if match is None or value is None:
            problems.append(f"{path}:{number}: not a line of the form NAME=value")
        else:
            found[match[1]] = value
    return found, problems


def _env_value(text: str) -> str | None:
    if text[:1] in {"'", '"'}:
        match = _QUOTED.fullmatch(text)
        if match is None:
            return None
        if match[1] is not None:
            return match[1]
        return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), match[2])
    return re.split(r"\s+#|^#", text, maxsplit=1)[0].rstrip()


def override(tree: Tree, environment: Environment, base: Path) -> None:
    """Lay every `TAPEWATCH__SECTION__KEY` over the tree; relative paths in them are relative to `base`.

    Lists and mappings are written as in YAML's flow form. Names of channels and strategies match in any case.
    """
    for name, text in environment.overrides().items():
        place = Place(name, None, base, plain=True)
        parts = name.removeprefix(PREFIX).split("__")
        if not all(parts):
            environment.problems.append(f"{name}: not of the form {PREFIX}SECTION__KEY")
            continue
        # A schema turns text into what a key asks for; strategies have none here, so YAML's rules decide.
        by_yaml = text.lstrip()[:1] in {"[", "{"} or text in {"null", "~"} or parts[0].upper() == "STRATEGIES"
        try:
            value = read_flow(text, place) if by_yaml else text
        except (ValueError, ConfigError) as error:
            environment.problems.append(f"{name}: not valid YAML: {error}")
            continue
        _put(tree, [*parts], value, place)


def _put(tree: Tree, parts: list[str], value: object, place: Place) -> None:
    here: dict[str, Any] = tree.data
    path: KeyPath = ()
    for depth, part in enumerate(parts, start=1):
        key = next((known for known in here if known.upper() == part.upper()), part.lower())
        path = (*path, key)
        if depth == len(parts):
            here[key] = value
        else:
            if not isinstance(here.get(key), dict):
                here[key] = {}
                tree.places[path] = place
            here = here[key]
    tree.places[path] = place


def expand(tree: Tree, environment: Environment, secrets: Mapping[KeyPath, object]) -> set[KeyPath]:
    """Replace `${VAR}` and `${VAR:-default}` in every string but secrets; the paths where that failed."""
    failed: set[KeyPath] = set()
    for path, value in list(tree.leaves()):
        place = tree.place(path)
        if not isinstance(value, str) or "${" not in value or path in secrets or place.line is None:
            continue
        missing: list[str] = []
        text = _REFERENCE.sub(lambda match: _referred(match, environment, missing), value)  # noqa: B023
        names = (match[2] for match in _REFERENCE.finditer(value))
        for problem in missing:
            environment.problems.append(f"{place}: {'.'.join(map(str, path))}: {problem}")
            failed.add(path)
        tree.expanded[path] = tuple(name for name in names if name)
        tree.set(path, read_flow(text, place) if path[0] == "strategies" and place.plain and not missing else text)
    return failed


def _referred(match: re.Match[str], environment: Environment, missing: list[str]) -> str:
    escaped, name, default, broken = match.groups()
    if escaped:
        return "${"
    if broken:
        missing.append("'${' without a name and '}' (write ${NAME}, or $${ for the characters themselves)")
        return ""
    value = environment.get(name)
    if not value and default is not None:
        value = default
    if value is None:
        missing.append(f"the variable {name} is not set (${{{name}:-...}} gives a default)")
        return ""
    return value
