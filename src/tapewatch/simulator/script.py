"""Reading the simulator's scripts (YAML): faults and planted setups, with errors that name file, line and key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from tapewatch.config.problems import suggest
from tapewatch.errors import ConfigError, SetupError
from tapewatch.simulator.rules import Duration, FaultKind, FaultRule, Time
from tapewatch.strategy.definition import fraction

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["FaultKind", "FaultRule", "Plant", "PlantScript", "load_faults", "load_plants"]

Model = TypeVar("Model", bound=BaseModel)


def _share(value: object) -> float:
    try:
        return fraction(str(value).strip().removesuffix("+"))
    except ValueError as error:
        raise ValueError(f"{value!r} is not a percentage; write it like 0.3%") from error


Percent = Annotated[float, BeforeValidator(_share)]


class Plant(BaseModel):
    """One line of a planting script: a strategy's setup on the bar of `symbol` that closes `at`.

    `repeat_after` plants the same setup again that much later, `again_after_move` once more after the price has moved
    by more than that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: str = "scalp"
    side: Literal["long", "short"]
    symbol: str
    at: Time
    repeat_after: Duration | None = Field(default=None, ge=60_000)
    again_after_move: Percent | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _on_minutes(self) -> Plant:
        if self.at % 60_000 or (self.repeat_after or 0) % 60_000:
            raise ValueError("at and repeat_after must be whole minutes")
        return self


class PlantScript(BaseModel):
    """Planted setups; with `quiet` the synthetic market fires on no other bar from the start on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plants: tuple[Plant, ...]
    quiet: bool = False


def load_faults(path: Path) -> tuple[FaultRule, ...]:
    """The rules of a fault script, a YAML list.

    Raises:
        ConfigError: all its mistakes, each with file and line.
    """
    return tuple(_validated(path, _items(path, _read(path)), FaultRule))


def load_plants(path: Path) -> PlantScript:
    """The planting script: a YAML list of plants, or a mapping of `plants` and `quiet`.

    Raises:
        ConfigError: all its mistakes, each with file and line.
    """
    body = _read(path)
    quiet = False
    if isinstance(body, Mapping):
        unknown = sorted(set(body) - {"plants", "quiet"})
        if unknown or not isinstance(body.get("quiet", False), bool):
            raise ConfigError(
                [f"{path}: expected plants (a list) and quiet (true or false), got {' '.join(map(str, body))}"]
            )
        quiet, body = body.get("quiet", False), body.get("plants")
    return PlantScript(plants=tuple(_validated(path, _items(path, body), Plant)), quiet=quiet)


def _read(path: Path) -> Any:
    try:
        return YAML(typ="rt", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} cannot be read: {error}") from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError([f"{path}:{line}: {error.problem or 'not YAML'}"]) from error


def _items(path: Path, body: Any) -> list[tuple[int, Any]]:
    if not isinstance(body, list):
        raise ConfigError([f"{path}: expected a list"])
    lines = [body.lc.item(row)[0] + 1 for row in range(len(body))] if hasattr(body, "lc") else [1] * len(body)
    return list(zip(lines, body, strict=True))


def _validated(path: Path, items: list[tuple[int, Any]], model: type[Model]) -> list[Model]:
    problems: list[str] = []
    valid: list[Model] = []
    for line, item in items:
        try:
            valid.append(model.model_validate(item))
        except ValidationError as error:
            for problem in error.errors():
                where = ".".join(str(part) for part in problem["loc"])
                said = _said(problem, model)
                problems.append(f"{path}:{line}: {where + ': ' if where else ''}{said}")
    if problems:
        raise ConfigError(problems)
    return valid


def _said(problem: ErrorDetails, model: type[BaseModel]) -> str:
    """A mistake in the words of a configuration's."""
    match problem["type"]:
        case "extra_forbidden":
            known = [field.alias or name for name, field in model.model_fields.items()]
            return f"unknown key{suggest(str(problem['loc'][-1]), known)}"
        case "literal_error":
            choices = problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            return f"unknown {problem['input']!r}{suggest(str(problem['input']), choices)}"
        case "model_type":
            return "must be a mapping of keys"
    return problem["msg"].removeprefix("Value error, ")
