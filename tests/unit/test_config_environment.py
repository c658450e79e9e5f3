"""What the configuration takes from variables, `.env` files and overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapewatch.config import Config, load
from tapewatch.errors import ConfigError

BASE = """\
universe: {include: [BTCUSDT]}
strategies: {scalp: {}}
channels: {Out: {type: console}}
alerts: {routes: [{channels: [Out]}]}
"""


@pytest.fixture
def loaded(tmp_path: Path):
    """Loads the base configuration with more text and variables."""

    def load_with(more: str = "", env: dict[str, str] | None = None, dotenv: str | None = None) -> Config:
        path = tmp_path / "t.yaml"
        path.write_text(BASE + more, encoding="utf-8")
        if dotenv is not None:
            (tmp_path / ".env").write_text(dotenv, encoding="utf-8")
        return load([path], env or {})

    return load_with


def test_variables_are_replaced(loaded, tmp_path: Path) -> None:
    """`${VAR}` takes the variable, `:-` its default when unset or empty, and `$${` is itself."""
    more = "logging: {file: '${DIR}/${NAME:-tape}$${x}.log', level: '${LEVEL:-warning}'}\nweb: {port: ${PORT}}\n"
    config = loaded(more, {"DIR": "logs", "NAME": "", "PORT": "0"})
    assert config.logging.file == tmp_path / "logs/tape${x}.log"
    assert (config.logging.level, config.web.port) == ("warning", 0)


def test_unset_variables_are_all_named(loaded, tmp_path: Path) -> None:
    """Each unset variable is a problem at its key and line; the key gets no second complaint."""
    with pytest.raises(ConfigError) as caught:
        loaded("web: {port: ${PORT}}\nlogging:\n  level: ${LEVEL}\ngate:\n  expiry: ${}\n")
    assert caught.value.problems == [
        f"{tmp_path}/t.yaml:5: web.port: the variable PORT is not set (${{PORT:-...}} gives a default)",
        f"{tmp_path}/t.yaml:7: logging.level: the variable LEVEL is not set (${{LEVEL:-...}} gives a default)",
        f"{tmp_path}/t.yaml:9: gate.expiry: '${{' without a name and '}}' (write ${{NAME}}, or $${{ for the characters "
        "themselves)",
    ]


def test_a_replaced_variable_is_not_asked_for(tmp_path: Path) -> None:
    """A variable of an earlier file whose key a later file sets need not exist."""
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(BASE + "web: {port: ${NOT_SET}}\n", encoding="utf-8")
    second.write_text("web: {port: 0}\n", encoding="utf-8")
    assert load([first, second], {}).web.port == 0


def test_values_of_variables_are_not_shown(loaded) -> None:
    """A wrong value that came from a variable is not repeated: it could be a secret in the wrong place."""
    with pytest.raises(ConfigError) as caught:
        loaded("web: {port: '${OOPS}'}\nlogging: {level: '${OOPS}'}\n", {"OOPS": "hunter2"})
    assert len(caught.value.problems) == 2
    assert "hunter2" not in str(caught.value)


def test_strategy_values_follow_yaml(tmp_path: Path) -> None:
    """Inside a strategy an unquoted variable becomes what YAML makes of it, a quoted one stays text."""
    path = tmp_path / "t.yaml"
    text = BASE.replace("scalp: {}", "scalp: {params: {fast: ${FAST}, slow: '${SLOW:-21}'}}")
    path.write_text(text, encoding="utf-8")
    config = load([path], {"FAST": "9", "TAPEWATCH__STRATEGIES__SCALP__PARAMS__SPIKE": "2.5"})
    assert config.strategies["scalp"]["params"] == {"fast": 9, "slow": "21", "spike": 2.5}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("LEVEL=debug", "debug"),
        ("export LEVEL = debug # why", "debug"),
        ("LEVEL='debug'", "debug"),
        ('LEVEL="de\\bug" # why', "debug"),
        ("LEVEL=", "info"),
        ("LEVEL= # why", "info"),
    ],
)
def test_dotenv_forms(loaded, line: str, value: str) -> None:
    """A `.env` beside the configuration gives variables, quoted or not, with comments."""
    assert loaded("logging: {level: '${LEVEL:-info}'}\n", dotenv=f"# head\n\n{line}\n").logging.level == value


def test_process_environment_beats_dotenv(loaded, tmp_path: Path) -> None:
    """The process's environment wins over `.env`, for variables and for overrides; both files are sources."""
    dotenv = "LEVEL=debug\nTAPEWATCH__WEB__PORT=1\nTAPEWATCH__GATE__EXPIRY=1h\n"
    config = loaded("logging: {level: '${LEVEL}'}\n", {"LEVEL": "error", "TAPEWATCH__WEB__PORT": "2"}, dotenv)
    assert (config.logging.level, config.web.port, config.gate.expiry) == ("error", 2, 3_600_000)
    assert config.sources == (tmp_path / "t.yaml", tmp_path / ".env")


@pytest.mark.parametrize("line", ["no equals sign", "2X=1", "X='open", 'X="a" b'])
def test_dotenv_mistakes_have_lines(loaded, tmp_path: Path, line: str) -> None:
    """A line of `.env` that is none is named with its number, never with its text."""
    with pytest.raises(ConfigError) as caught:
        loaded(dotenv=f"A=1\n{line}\n")
    assert caught.value.problems == [f"{tmp_path}/.env:2: not a line of the form NAME=value"]


def test_dotenv_must_be_text(loaded, tmp_path: Path) -> None:
    """A `.env` that is not UTF-8 is a problem of its own."""
    (tmp_path / ".env").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        loaded()


def test_overrides_set_any_key(loaded, tmp_path: Path) -> None:
    """`TAPEWATCH__SECTION__KEY` sets scalars, lists and mappings, and finds names in any case."""
    env = {
        "TAPEWATCH__UNIVERSE__INCLUDE": "[SOLUSDT, ETHUSDT]",
        "TAPEWATCH__CHANNELS__OUT": "{type: file}",
        "TAPEWATCH__CHANNELS__OUT__PATH": "x.jsonl",
        "TAPEWATCH__WEB__ENABLED": "no",
        "TAPEWATCH__GATE__HISTORY__SIZE": "7",
        "TAPEWATCH__LOGGING__FILE": "null",
        "TAPEWATCH_DATA": "not ours",
    }
    config = loaded("logging: {file: x.log}\n", env)
    assert config.universe.include == ["SOLUSDT", "ETHUSDT"]
    assert config.channels["Out"].path == tmp_path / "x.jsonl"  # type: ignore[union-attr]
    assert (config.web.enabled, config.gate.history.size, config.logging.file) == (False, 7, None)
    assert config.where("web.enabled") == "TAPEWATCH__WEB__ENABLED"


def test_wrong_overrides_name_the_variable(loaded) -> None:
    """A mistake in an override is reported by the variable's name, with a suggestion."""
    env = {
        "TAPEWATCH__WEB__PROT": "1",
        "TAPEWATCH__WEBB__PORT": "1",
        "TAPEWATCH__WEB__PORT": "many",
        "TAPEWATCH__FEEDS": "fast",
        "TAPEWATCH__GATE____X": "1",
        "TAPEWATCH__UNIVERSE__INCLUDE": "[BTCUSDT",
        "TAPEWATCH__STRATEGIES__SCALP": "{a: 1, a: 2}",
    }
    with pytest.raises(ConfigError) as caught:
        loaded("", env)
    assert sorted(caught.value.problems) == [
        "TAPEWATCH__FEEDS: feeds: must be a mapping, not 'fast'",
        "TAPEWATCH__GATE____X: not of the form TAPEWATCH__SECTION__KEY",
        "TAPEWATCH__STRATEGIES__SCALP: not valid YAML: 1: a: the key is given twice, first on line 1",
        "TAPEWATCH__UNIVERSE__INCLUDE: not valid YAML: expected ',' or ']', but got '<stream end>'",
        "TAPEWATCH__WEBB__PORT: webb: unknown key, did you mean 'web'?",
        "TAPEWATCH__WEB__PORT: web.port: must be a whole number, not 'many'",
        "TAPEWATCH__WEB__PROT: web.prot: unknown key, did you mean 'port'?",
    ]
