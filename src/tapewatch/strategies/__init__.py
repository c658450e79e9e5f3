"""Strategies that ship, as data, and how a command or a configuration finds the one it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from tapewatch.errors import StrategyError
from tapewatch.strategy import Strategy, compile_program, from_mapping, merged, with_params
from tapewatch.strategy.expression import did_you_mean


def shipped() -> tuple[str, ...]:
    """Names of the strategies that ship."""
    files = (entry.name for entry in resources.files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml")))


def mapping_of(name_or_path: str) -> tuple[str, dict[str, Any]]:
    """(name, mapping) of a shipped strategy or of the one strategy in a YAML file. Raises StrategyError."""
    if name_or_path in shipped():
        return name_or_path, dict(
            _read(resources.files(__name__).joinpath(f"{name_or_path}.yaml").read_text("utf-8"))[1]
        )
    path = Path(name_or_path)
    try:
        if not path.suffix and not path.exists():
            raise StrategyError(f"no strategy '{name_or_path}'{did_you_mean(name_or_path, shipped())}")
        text = path.read_text("utf-8")
    except OSError as error:
        raise StrategyError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise StrategyError(f"{path}: is not UTF-8 text") from None
    try:
        name, mapping = _read(text)
    except StrategyError as error:
        raise StrategyError(f"{path}: {error.message}") from None
    return name, dict(mapping)


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


def load(name_or_path: str, params: Iterable[tuple[str, float]] = ()) -> Strategy:
    """The strategy that a command names, with parameters set. Raises StrategyError."""
    name, mapping = mapping_of(name_or_path)
    return _checked(name, with_params(mapping, params, name))


def configured(strategies: Mapping[str, Mapping[str, Any] | None]) -> list[Strategy]:
    """The strategies of a configuration: a shipped one with what the configuration changes of it, or one's own.

    Raises:
        StrategyError: the first mistake, naming strategy and key.
    """
    result = []
    for name, changes in strategies.items():
        base = mapping_of(name)[1] if name in shipped() else {}
        result.append(_checked(name, merged(base, changes or {})))
    return result


def _checked(name: str, mapping: Mapping[str, Any]) -> Strategy:
    strategy = from_mapping(name, mapping)
    for timeframe in strategy.timeframes:
        compile_program(strategy, timeframe)
    return strategy
