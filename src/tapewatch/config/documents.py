"""One configuration file as plain data, with the place of every key in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tapewatch.errors import ConfigError

KeyPath = tuple[str | int, ...]

#: Aliases may be used; a document that grows beyond this by them is refused.
MAX_NODES = 100_000
NO_FILE = "no such file"
#: Far more than the longest list of symbols; a second's work for the reader.
MAX_BYTES = 1_000_000
_TAG = "tag:yaml.org,2002:"
# Inside [ ] and { } YAML would take the braces of ${VAR} for its own; while it reads they are other characters.
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*(?::-[^}\n]*)?)\}")
_HIDE = "$\ue000\\1\ue001"
_INDEX = re.compile(r"\[(\d+)\]")
_SHOW = str.maketrans({"\ue000": "{", "\ue001": "}"})


@dataclass(frozen=True)
class Place:
    """Where a value was set: `origin` is a file as the user named it, or an environment variable (then no line)."""

    origin: str
    line: int | None
    base: Path
    plain: bool = False  # written without quotes, so YAML decides its type

    def __str__(self) -> str:
        return self.origin if self.line is None else f"{self.origin}:{self.line}"


@dataclass
class Tree:
    """Plain data (mappings, lists, scalars) and the place of each key path in it."""

    data: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)
    #: Paths whose text came from variables, with their names: it is not repeated in messages, since it could be
    #: anybody's secret.
    expanded: dict[KeyPath, tuple[str, ...]] = field(default_factory=dict)

    def place(self, path: KeyPath) -> Place:
        """The place of a key path, or of the nearest part above it that was written."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]

    def path_of(self, key: str) -> KeyPath:
        """The path that a dotted key (`a.b[0].c`) names, or that of the nearest part above it that was written."""
        key = _INDEX.sub(r".\1", key)
        best: KeyPath = ()
        for path in self.places:
            dotted = ".".join(map(str, path))
            if len(path) > len(best) and (key == dotted or key.startswith(dotted + ".")):
                best = path
        return best

    def get(self, *path: str | int) -> Any:
        """The value at a key path, None where there is none."""
        value: Any = self.data
        for part in path:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def quoted(self, path: KeyPath) -> str:
        """What was written there, for a message; not what a variable gave, which could be a secret gone astray."""
        value = self.get(*path)
        if isinstance(value, (dict, list)):
            return "a mapping" if isinstance(value, dict) else "a list"
        return "what its variable gives" if path in self.expanded else repr(value)

    def set(self, path: KeyPath, value: object) -> None:
        """Replace the value at a path whose parents are mappings or lists."""
        self.get(*path[:-1])[path[-1]] = value

    def merge(self, other: Tree) -> None:
        """Lay another tree over this one: mappings merge, anything else of the later one replaces."""
        _merge(self.data, other.data)
        self.places.update(other.places)

    def leaves(self) -> Iterator[tuple[KeyPath, Any]]:
        """Every scalar with its path."""
        yield from _leaves((), self.data)


def _merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _leaves(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves((*path, key), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves((*path, index), item)
    else:
        yield path, value


def read(path: Path) -> tuple[Tree, list[str]]:
    """The file's tree, and problems that do not keep the rest of it from being checked (duplicate keys).

    Raises:
        ConfigError: the file cannot be read at all, or is not a mapping; one line.
    """
    try:
        text = read_text(path)
    except ConfigError as error:
        if error.problems == [f"{path}: {NO_FILE}"]:
            raise ConfigError([f"{path}: {NO_FILE}; `tapewatch init` writes one, -c names another"]) from None
        raise
    try:
        if path.suffix == ".json" and text.strip():
            json.loads(text)  # YAML alone would let trailing commas and comments pass
            text = text.replace("\t", " ")  # outside strings only: JSON allows no raw tab inside one
        node = YAML(typ="safe", pure=True).compose(_REFERENCE.sub(_HIDE, text))
    except json.JSONDecodeError as error:
        raise ConfigError([f"{path}:{error.lineno}: not valid JSON: {error.msg}"]) from None
    except YAMLError as error:
        raise ConfigError([f"{path}{_line_of(error)}: not valid YAML: {_brief(error)}"]) from None
    except RecursionError:
        raise ConfigError([f"{path}: nested too deeply"]) from None
    if node is None:
        raise ConfigError([f"{path}: the file is empty; `tapewatch init` writes one to start from"])
    if not isinstance(node, MappingNode):
        raise ConfigError([f"{path}:{node.start_mark.line + 1}: must be a mapping of sections, not {_kind(node)}"])
    reader = _Reader(path)
    data = reader.value((), node, frozenset())
    return Tree(data, reader.places), reader.problems


def read_text(path: Path) -> str:
    """A file as text.

    Raises:
        ConfigError: missing, a directory, unreadable, too large or not UTF-8; one line.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)  # no more of what has no end
        if len(raw) > MAX_BYTES:
            raise ConfigError([f"{path}: larger than {MAX_BYTES / 1e6:g} MB; a configuration is not"])
        return raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise ConfigError([f"{path}: {NO_FILE}"]) from None
    except IsADirectoryError:
        raise ConfigError([f"{path}: is a directory, not a file"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8 text (byte {error.start})"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None


def read_flow(text: str, place: Place) -> Any:
    """A value written outside a file (an environment variable), by YAML's rules.

    Raises:
        ValueError: not valid YAML; the text says what.
    """
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except YAMLError as error:
        raise ValueError(_brief(error)) from None
    if node is None:
        return None
    reader = _Reader(Path(place.origin))
    value = reader.value((), node, frozenset())
    if reader.problems:
        raise ValueError(reader.problems[0].removeprefix(f"{place.origin}:"))
    return value


class _Reader:
    """Walks a composed document; composing keeps the lines and lets every duplicate key be named."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[str] = []
        self._nodes = 0
        self._scalars = YAML(typ="safe", pure=True).constructor

    def value(self, path: KeyPath, node: Node, above: frozenset[int]) -> Any:
        self._nodes += 1
        line = node.start_mark.line + 1
        if id(node) in above or self._nodes > MAX_NODES:
            text = f"over {MAX_NODES:,} values: an alias refers to itself or grows without end"
            raise ConfigError([f"{self.path}:{line}: {text}"])
        plain = isinstance(node, ScalarNode) and node.style is None
        self.places.setdefault(path, Place(str(self.path), line, self.path.parent, plain))
        if isinstance(node, MappingNode):
            return self._mapping(path, node, above | {id(node)})
        if isinstance(node, SequenceNode):
            items = enumerate(node.value)
            return [self.value((*path, index), item, above | {id(node)}) for index, item in items]
        return self._scalar(path, node)

    def _mapping(self, path: KeyPath, node: MappingNode, above: frozenset[int]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            where = ".".join(map(str, path))
            if not isinstance(key_node, ScalarNode) or key_node.tag == _TAG + "merge":
                self._problem(line, where, "a key must be a word (merge keys are not part of YAML 1.2)")
                continue
            key = str(key_node.value).translate(_SHOW)
            inner = (*path, key)
            if key in result:
                first = self.places[inner].line
                self._problem(line, ".".join(map(str, inner)), f"the key is given twice, first on line {first}")
                continue
            plain = isinstance(value_node, ScalarNode) and value_node.style is None
            self.places[inner] = Place(str(self.path), line, self.path.parent, plain)
            result[key] = self.value(inner, value_node, above)
        return result

    def _scalar(self, path: KeyPath, node: Node) -> Any:
        kind = str(node.tag).removeprefix(_TAG)
        try:
            match kind:
                case "null":
                    return None
                case "bool":
                    return self._scalars.construct_yaml_bool(node)
                case "int":
                    return self._scalars.construct_yaml_int(node)
                case "float":
                    return self._scalars.construct_yaml_float(node)
                case "str" | "timestamp":
                    # JSON writes characters outside the basic plane as two escapes; this joins them.
                    return str(node.value).translate(_SHOW).encode("utf-16", "surrogatepass").decode("utf-16")
        except ValueError:
            self._problem(node.start_mark.line + 1, ".".join(map(str, path)), f"not a {kind} that can be read")
            return None
        self._problem(node.start_mark.line + 1, ".".join(map(str, path)), f"the tag !{kind} is not supported")
        return None

    def _problem(self, line: int, where: str, text: str) -> None:
        self.problems.append(f"{self.path}:{line}: {where}: {text}" if where else f"{self.path}:{line}: {text}")


def _line_of(error: YAMLError) -> str:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    return "" if mark is None else f":{mark.line + 1}"


def _brief(error: YAMLError) -> str:
    if isinstance(error, MarkedYAMLError):
        return str(error.problem or error.context)
    return str(error).splitlines()[0]


def _kind(node: Node) -> str:
    return "a list" if isinstance(node, SequenceNode) else "a single value"
