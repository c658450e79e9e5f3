"""The catalogue of the language's functions, in words and for machines."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tapewatch.cli.app import command_line
from tapewatch.errors import SetupError
from tapewatch.indicators import REGISTRY, indicator
from tapewatch.strategy.catalogue import PARAMETERS, describe, names
from tapewatch.strategy.composed import COMPOSED
from tapewatch.strategy.expression import functions, members_of, signature


def run(*words: str) -> str:
    """What `tapewatch indicators` prints."""
    result = CliRunner().invoke(command_line(), ["indicators", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_catalogue_has_a_line_for_every_function() -> None:
    """Signature and summary, sorted by name; nothing that a strategy cannot write."""
    lines = run().splitlines()
    assert [line.split("(")[0] for line in lines] == sorted(set(functions()) - {"higher", "on"})
    assert any(line.startswith("macd(x, fast, slow, signal)") and line.endswith("divergence.") for line in lines)
    assert all(len(line.split("  ", 1)[1].strip()) > 5 for line in lines)


def test_the_catalogue_as_json_lines() -> None:
    """One object a line with name, signature and summary."""
    rows = [json.loads(line) for line in run("--json").splitlines()]
    assert [row["name"] for row in rows] == names()
    assert rows[names().index("ema")] == {
        "name": "ema", "signature": "ema(x, length)", "summary": "Exponential moving average.",
    }  # fmt: skip


def test_show_says_all_there_is_to_know() -> None:
    """Formula, parameters, members, seed, source, example, and when the example has a value and is settled."""
    text = run("show", "stoch")
    for part in (
        "stoch(length, smooth_k, smooth_d)", "formula: raw = 100", "parameter smooth_d: bars", "member .k: a number",
        "seed: ", "source: TA-Lib STOCH", "example: stoch(14, 3, 3).k < 20", "on bar 15, counted from 0",
        "settled: after 15 bars of 1m",
    ):  # fmt: skip
        assert part in text
    assert "member .upper: in units of the price" in run("show", "bb")
    assert "value: a condition" in run("show", "rising")
    assert "settled: never" in run("show", "obv")


def test_show_as_json() -> None:
    """One object with the same facts; null for what never settles."""
    shown = json.loads(run("show", "supertrend", "--json"))
    assert list(shown["parameters"]) == ["factor", "length"]
    assert (shown["first_valid"], shown["settling"]) == (10, None)
    assert shown["units"] == {"line": "price", "direction": "number"}


def test_an_unknown_function_is_named_with_the_closest() -> None:
    """Parts of other functions are unknown too."""
    with pytest.raises(SetupError, match="unknown function 'emaa'; did you mean 'ema'"):
        describe("emaa")
    for name in ("_levels", "higher", ""):
        with pytest.raises(SetupError, match="unknown function"):
            describe(name)


@pytest.mark.parametrize("name", names())
def test_every_function_is_described(name: str) -> None:
    """Each parameter has its meaning, each example can be evaluated, and no text is left out."""
    one = describe(name)
    assert set(one.parameters) <= set(PARAMETERS)
    assert one.signature == signature(name)
    assert all((one.summary, one.formula, one.seed, one.source, one.example))
    assert one.summary.endswith(".")
    assert one.settling is None or one.settling >= 0
    assert set(one.units) == {member or "value" for member in members_of(name)}
    assert set(one.units.values()) <= {"price", "number", "condition"}


@pytest.mark.usefixtures("own_indicators")
def test_an_indicator_of_a_user_without_an_example_gets_one() -> None:
    """What a user adds is in the catalogue like everything else."""

    @indicator(
        inputs=("cond", "x"),
        lengths=("half_life",),
        formula="x",
        seed="none",
        source="a test",
        first_valid=lambda _half_life: 0,
        settling=lambda _day, _half_life: 0,
        unit="input",
    )
    def mine(cond: int, x: float, half_life: int) -> tuple[float]:
        """Mine."""
        return (x,)

    one = describe("mine")
    assert one.example == "mine(close > open, close, 14)"
    assert one.parameters["half_life"].startswith("bars")
    assert (one.summary, one.units, one.first_valid, one.settling) == ("Mine.", {"value": "price"}, 0, 0)


def test_composed_functions_have_no_name_of_an_indicator() -> None:
    """One name, one meaning."""
    assert not set(COMPOSED) & set(REGISTRY)
