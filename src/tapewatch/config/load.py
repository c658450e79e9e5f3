"""From files and environment to one validated `Config`, or to every problem at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tapewatch.config.checks import cross_checks, remarks
from tapewatch.config.documents import KeyPath, Place, Tree, read
from tapewatch.config.environment import Environment, expand, override
from tapewatch.config.problems import problems_of
from tapewatch.config.schema import Config, Origin
from tapewatch.config.secrets import resolve, secret_paths
from tapewatch.errors import ConfigError, StrategyError

DEFAULT_LEDGER = "sqlite:///tapewatch.db"
#: Keys whose value is a path, relative to the file it is written in; `*` stands for a name, or a place in a list.
PATH_KEYS = {
    ("exchange", "ca_file"),
    ("logging", "file"),
    ("ledger", "folder"),
    ("ledger", "password_file"),
    ("journal", "folder"),
    ("archive", "folder"),
    ("alerts", "templates"),
    ("universe", "market_cap", "file"),
    ("universe", "market_cap", "api_key_file"),
    ("telemetry", "heartbeat", "url_file"),
    ("web", "token_file"),
    ("channels", "*", "path"),
    ("channels", "*", "ca_file"),
    ("channels", "*", "password_file"),
    ("channels", "*", "url_file"),
    ("channels", "*", "token_file"),
    ("channels", "*", "secret_file"),
    ("strategies", "*", "file"),
    ("gate", "score", "*", "model"),
}
#: Sections below which any name or place may stand.
_ANY = {("channels",), ("strategies",), ("gate", "score")}


def load(
    paths: Sequence[Path],
    env: Mapping[str, str],
    *,
    compile_strategy: Callable[[str, Mapping[str, Any]], object] = lambda _name, _mapping: None,
    on_file: Callable[[Path], object] = lambda _path: None,
) -> Config:
    """The configuration of these files, each laid over the one before, with `env` over all of them.

    `.env` files beside them are read as well; the process's environment wins over them.

    Args:
        paths: the files, at least one.
        env: the process's environment.
        compile_strategy: called with each strategy's name and mapping; a StrategyError it raises is a problem too.
        on_file: called with each file, and with the folder of templates, before it is read or found missing.

    Raises:
        ConfigError: with every problem, each as `file:line: section.key: what is wrong`.
    """
    if not paths:
        raise ConfigError(["no configuration file is given; `tapewatch init` writes one"])
    base = paths[0].parent
    places: dict[KeyPath, Place] = {(): Place(str(paths[0]), 1, base), ("ledger", "url"): Place("default", None, base)}
    tree = Tree({"ledger": {"url": DEFAULT_LEDGER}}, places)
    for path in paths:
        on_file(path)
    problems, hopeless = _read_all(tree, paths)
    environment = Environment(env, paths, on_file)
    if hopeless:  # what those files would have said is unknown: further complaints could be wrong
        raise ConfigError(problems + environment.problems)
    override(tree, environment, base)
    _drop_nulls(tree)
    failed = expand(tree, environment, _literal_secrets(tree))
    _resolve_paths(tree, environment)
    failed |= resolve(tree, environment)
    problems += environment.problems
    for path in _further(tree):
        on_file(path)
    origin = Origin(tree, [*paths, *environment.sources], [*environment.warnings, *remarks(tree)])
    found = cross_checks(tree)
    problems += [f"{tree.place(path)}: {_dotted(path)}: {text}" for path, text in found if path not in failed]
    problems += _strategy_problems(tree, compile_strategy)
    try:
        config = Config.of(tree.data, origin)
    except ValidationError as error:
        problems += problems_of(error, tree, failed)
    if problems:
        raise ConfigError(_in_order(problems, paths))
    return config


def _read_all(tree: Tree, paths: Sequence[Path]) -> tuple[list[str], bool]:
    problems: list[str] = []
    hopeless = False
    for path in paths:
        try:
            layer, found = read(path)
        except ConfigError as error:
            problems += error.problems
            hopeless = True
        else:
            problems += found
            tree.merge(layer)
    return problems, hopeless


def _drop_nulls(tree: Tree) -> None:
    """A key without a value means its default, so that a section may have all its lines commented out."""

    def clean(mapping: dict[str, object], depth: int) -> None:
        for key, value in list(mapping.items()):
            if value is None:
                del mapping[key]
            elif isinstance(value, dict) and depth < 3:
                clean(value, depth + 1)

    strategies = tree.data.pop("strategies", None)
    clean(tree.data, 0)
    if strategies is not None:
        tree.data["strategies"] = strategies
    if isinstance(strategies, dict):
        strategies.update({name: {} for name, value in strategies.items() if value is None})


def _literal_secrets(tree: Tree) -> dict[KeyPath, object]:
    """Secrets whose `${VAR}` is not for plain expansion; the paths of secret files are."""
    return {path: value for path, value in secret_paths(tree).items() if not str(path[-1]).endswith("_file")}


def _resolve_paths(tree: Tree, environment: Environment) -> None:
    for path, value in list(tree.leaves()):
        pattern = tuple("*" if path[:place] in _ANY else part for place, part in enumerate(path))
        if not isinstance(value, str):
            continue
        base = tree.place(path).base
        if pattern in PATH_KEYS:
            try:
                tree.set(path, str((base / Path(value).expanduser()).absolute()))
            except RuntimeError:  # ~name of nobody
                environment.problems.append(
                    f"{tree.place(path)}: {_dotted(path)}: no home directory for {tree.quoted(path)}"
                )
        elif path == ("ledger", "url") and value.startswith("sqlite:///") and not value.endswith("/"):
            tree.set(path, f"sqlite:///{(base / value.removeprefix('sqlite:///')).absolute()}")


def _strategy_problems(tree: Tree, compile_strategy: Callable[[str, Mapping[str, Any]], object]) -> list[str]:
    strategies = tree.get("strategies")
    problems = []
    for name, mapping in strategies.items() if isinstance(strategies, dict) else ():
        if not isinstance(mapping, dict):
            continue  # said already
        try:
            compile_strategy(name, mapping)
        except StrategyError as error:
            problems.append(f"{tree.place(tree.path_of(f'strategies.{error.where}'))}: strategies.{error}")
    return problems


def _further(tree: Tree) -> Iterator[Path]:
    """What is read later: files of strategies and models, and the folder of templates."""
    strategies = tree.get("strategies")
    for mapping in strategies.values() if isinstance(strategies, dict) else ():
        if isinstance(mapping, dict) and isinstance(mapping.get("file"), str):
            yield Path(mapping["file"])
    scores = tree.get("gate", "score")
    for score in scores if isinstance(scores, list) else ():
        if isinstance(score, dict) and isinstance(score.get("model"), str):
            yield Path(score["model"])
    if isinstance(folder := tree.get("alerts", "templates"), str):
        yield Path(folder)


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))


def _in_order(problems: list[str], paths: Sequence[Path]) -> list[str]:
    """By file and line, as they are read; what is no line of a file comes last."""
    rank = {str(path): index for index, path in enumerate(paths)}

    def key(problem: str) -> tuple[int, int]:
        for name, index in rank.items():
            number = problem.removeprefix(f"{name}:").split(":", 1)[0]
            if problem.startswith(f"{name}:") and number.isdigit():
                return index, int(number)
        return len(rank), 0

    return sorted(dict.fromkeys(problems), key=key)
