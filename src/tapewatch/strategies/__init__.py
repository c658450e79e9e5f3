"""Strategies that ship, as data, and how a command or a configuration finds the one it names."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from tapewatch.errors import StrategyError, TapewatchError
from tapewatch.indicators import REGISTRY
from tapewatch.strategy import Strategy, compile_program, from_mapping, merged, with_params
from tapewatch.strategy.build import Built
from tapewatch.strategy.expression import did_you_mean

K = TypeVar("K")
V = TypeVar("V")


def shipped() -> tuple[str, ...]:
    """Names of the strategies that ship."""
    files = (entry.name for entry in resources.files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml")))


def mapping_of(name_or_path: str, others: Iterable[str] = ()) -> tuple[str, dict[str, Any]]:
    """(name, mapping) of a shipped strategy or of the one strategy in a YAML or Python file.

    Raises:
        StrategyError: also for a name that is none; a near one is suggested, of those that ship and the `others`.
    """
    if name_or_path in shipped():
        return name_or_path, dict(
            _read(resources.files(__name__).joinpath(f"{name_or_path}.yaml").read_text("utf-8"))[1]
        )
    path = Path(name_or_path)
    try:
        if not path.suffix and not path.exists():
            raise StrategyError(f"no strategy '{name_or_path}'{_near(name_or_path, others)}")
        text = path.read_text("utf-8")
    except OSError as error:
        raise StrategyError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise StrategyError(f"{path}: is not UTF-8 text") from None
    try:
        name, mapping = _read_python(path) if path.suffix == ".py" else _read(text)
    except StrategyError as error:
        raise StrategyError(f"{path}: {error.message}") from None
    return name, dict(mapping)


def _near(name: str, others: Iterable[str] = ()) -> str:
    """The name that was meant, else all that there are."""
    known = sorted({*shipped(), *others})
    return did_you_mean(name, known) or f"; there are {', '.join(known)}"


def _read(text: str) -> tuple[str, Mapping[str, Any]]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        loaded = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise StrategyError(f"cannot be read as YAML: {' '.join(str(error).split())}") from None
    except (ValueError, RecursionError) as error:  # a date that is none, brackets without end
        raise StrategyError(f"cannot be read as YAML: {error}") from None
    if not isinstance(loaded, Mapping) or len(loaded) != 1:
        raise StrategyError("must hold exactly one strategy, `name: {...}`")
    name, mapping = next(iter(loaded.items()))
    if not isinstance(name, str) or not isinstance(mapping, Mapping):
        raise StrategyError("must hold exactly one strategy, `name: {...}`")
    return name, mapping


#: Python files that were loaded, with what they said; also for processes that are started to share the work.
_PYTHON_FILES: dict[Path, tuple[bytes, Built]] = {}


def python_files() -> tuple[Path, ...]:
    """The Python files that strategies, and so perhaps indicators, were loaded from."""
    return tuple(_PYTHON_FILES)


def load_python_files(paths: Iterable[Path]) -> None:
    """Load these files, for the indicators that they add."""
    for path in paths:
        _read_python(path)


@contextmanager
def undone_on_failure() -> Iterator[None]:
    """What Python files add meanwhile is forgotten, and what was before is back, where an error is raised."""
    files, indicators = dict(_PYTHON_FILES), dict(REGISTRY)
    try:
        yield
    except BaseException:
        _restore(_PYTHON_FILES, files)
        _restore(REGISTRY, indicators)
        raise


def _restore(known: dict[K, V], before: Mapping[K, V]) -> None:
    for key in known.keys() - before.keys():
        del known[key]
    known.update(before)


def _read_python(path: Path) -> tuple[str, Mapping[str, Any]]:
    """The one strategy that a Python file builds, run again when it says something else.

    Running it is the user's own wish: it is their file.
    """
    path = path.resolve()
    try:
        text = path.read_bytes()
    except OSError as error:
        raise StrategyError(f"cannot be run: {error.strerror or error} ({path})") from None
    if path not in _PYTHON_FILES or _PYTHON_FILES[path][0] != text:
        module_name = f"tapewatch_user_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            # Not by its loader, which takes a file of the same second and size for the same.
            exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))  # noqa: S102
        except (Exception, SystemExit) as error:  # an exit() in the file is no wish to end this program
            place = _place(error, path)
            said = str(error) if isinstance(error, TapewatchError) else f"{type(error).__name__}: {_said(error)}"
            raise StrategyError(said if place in said else f"cannot be run: {said} ({place})") from None
        built = list({id(value): value for value in vars(module).values() if isinstance(value, Built)}.values())
        if len(built) != 1:
            raise StrategyError(f"must build exactly one strategy(...), has {len(built)}")
        _PYTHON_FILES[path] = text, built[0]
    built_last = _PYTHON_FILES[path][1]
    return built_last.name, built_last.mapping


def _place(error: BaseException, path: Path) -> str:
    """`file:line` of the user's own line that led to an error."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path.name}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path.name}:{lines[-1] if lines else 1}"


def _said(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error).split("\n")[0]


def load(name_or_path: str, params: Iterable[tuple[str, float]] = (), others: Iterable[str] = ()) -> Strategy:
    """The strategy that a command names, with parameters set; see `mapping_of`. Raises StrategyError."""
    name, mapping = mapping_of(name_or_path, others)
    return _checked(name, with_params(mapping, params, name))


def configured(strategies: Mapping[str, Mapping[str, Any] | None]) -> list[Strategy]:
    """The strategies of a configuration: a shipped one or one from a `file`, with what the configuration changes of it,
    or one written out.

    Raises:
        StrategyError: the first mistake, naming strategy and key.
    """
    return from_mappings(mappings(strategies))


def from_mappings(whole: Mapping[str, Mapping[str, Any]]) -> list[Strategy]:
    """The strategies that whole mappings describe. Raises StrategyError."""
    return [_checked(name, mapping) for name, mapping in whole.items()]


def mappings(strategies: Mapping[str, Mapping[str, Any] | None]) -> dict[str, dict[str, Any]]:
    """The strategies of a configuration, each written out as a whole. Raises StrategyError."""
    result = {}
    for name, changes in strategies.items():
        given = dict(changes or {})
        file = given.pop("file", None)
        if file is not None and not isinstance(file, str):
            raise StrategyError("must be the path of a YAML or Python file", where=f"{name}.file")
        if file is None and name not in shipped() and not {"long", "short", "stop"} & set(given):
            raise StrategyError(f"no strategy of this name ships, and it is not written out{_near(name)}", where=name)
        try:
            base = mapping_of(file or name)[1] if file is not None or name in shipped() else {}
        except StrategyError as error:
            raise StrategyError(error.message, where=f"{name}.file") from None
        result[name] = dict(merged(base, given))
    return result


def _checked(name: str, mapping: Mapping[str, Any]) -> Strategy:
    strategy = from_mapping(name, mapping)
    for timeframe in strategy.timeframes:
        compile_program(strategy, timeframe)
    return strategy
