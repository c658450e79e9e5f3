"""Ranges of parameters, and the space that they make."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from core_samples import mapping
from tapewatch import strategies
from tapewatch.errors import SetupError, StrategyError
from tapewatch.gate import GateSettings
from tapewatch.live.makeup import Makeup
from tapewatch.strategy import from_mapping, merged
from tapewatch.strategy.ranges import Range, range_of
from tapewatch.study.space import Space, space_of


@pytest.mark.parametrize(
    ("written", "default", "wanted"),
    [
        ("5..8", 6.0, Range(5, 8, (5, 6, 7, 8))),
        ("-1..1", 0.0, Range(-1, 1, (-1, 0, 1))),
        ("5..8", 6.5, Range(5, 8)),
        ("0.5..8", 6.0, Range(0.5, 8)),
        (" 1..2/0.25 ", 1.0, Range(1, 2, (1, 1.25, 1.5, 1.75, 2))),
        ("0.1..0.75/.2", 1.0, Range(0.1, 0.7, (0.1, 0.3, 0.5, 0.7))),
        ("1e-3..2E-3/5e-4", 1.0, Range(0.001, 0.002, (0.001, 0.0015, 0.002))),
        ([30, 20, 25.5, 20], 1.0, Range(20, 30, (20, 25.5, 30))),
        ([7], 1.0, Range(7, 7, (7,))),
    ],
)
def test_a_range_is_read(written: object, default: float, wanted: Range) -> None:
    """Steps are counted in decimals, so that three tenths are 0.3; whole numbers only where everything is whole."""
    assert range_of(written, default) == wanted


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("5", "must be LOW..HIGH"),
        (5, "must be LOW..HIGH"),
        ("a..b", "must be LOW..HIGH"),
        ("nan..5", "must be LOW..HIGH"),
        ("1..1e999", "must be LOW..HIGH"),
        ("5..5", "5 is not below 5"),
        ("8..5", "8 is not below 5"),
        ("1..2/0", "its step must be above 0"),
        ("1..2/-1", "its step must be above 0"),
        ("0..1e9", "has more than 10,000 values"),
        ([], "must be LOW..HIGH"),
        ([1, "2"], "must be LOW..HIGH"),
        ([True], "must be LOW..HIGH"),
        ([1, math.nan], "finite numbers"),
        ([1, math.inf], "finite numbers"),
    ],
)
def test_what_is_no_range_is_refused(written: object, message: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(ValueError, match=message):
        range_of(written, 1.0)


def test_what_lies_next_to_a_value() -> None:
    """One value below and one above, where there are such; a tenth of the range where it has no steps."""
    stepped, smooth = range_of("1..5/2", 1.0), Range(0.0, 10.0)
    assert [stepped.near(value) for value in (1, 3, 5, 4, 0, 9)] == [(3,), (1, 5), (3,), (3, 5), (1,), (5,)]
    assert [smooth.near(value) for value in (5, 0, 9.5)] == [(4, 6), (1,), (8.5,)]


@pytest.mark.parametrize("name", strategies.shipped())
def test_what_ships_can_be_searched(name: str) -> None:
    """Every set of its own `search`, as far as a corner of it tells, makes a strategy that holds its default."""
    whole = strategies.mapping_of(name)[1]
    strategy = strategies.load(name)
    space = space_of(name, whole, strategy.params, {})
    assert space.size > 100
    for end in (0, -1):
        corner = {key: one.values[end] for key, one in space.ranges.items()}
        assert strategies.load(name, corner.items()).params == {**strategy.params, **corner}
    outside = [key for key, one in space.ranges.items() if strategy.params[key] not in one.values]
    assert outside == []


def test_what_is_asked_for_beats_what_the_strategy_says() -> None:
    """Only what is named is searched."""
    whole = mapping(params={"a": 1, "b": 2, "c": 3}, search={"a": "0..3", "b": [1, 2]})
    params = from_mapping("probe", whole).params
    assert space_of("probe", whole, params, {}).ranges == {"a": range_of("0..3", 1.0), "b": range_of([1, 2], 2.0)}
    space = space_of("probe", whole, params, {"c": "1,2,4", "b": "5"})
    assert space.names == ("c", "b")
    assert [one.values for one in space.ranges.values()] == [(1, 2, 4), (5,)]
    assert space.size == 3
    assert list(space.every()) == [{"c": c, "b": 5} for c in (1, 2, 4)]


def test_neighbours_are_a_step_away_in_one_parameter() -> None:
    """Of a corner there are fewer."""
    space = Space({"a": range_of("1..3", 1.0), "b": range_of("1..2", 1.0)})
    assert space.neighbours({"a": 2, "b": 1}) == [{"a": 1, "b": 1}, {"a": 3, "b": 1}, {"a": 2, "b": 2}]


@pytest.mark.parametrize(
    ("search", "asked", "message"),
    [
        ({}, {}, "--range: probe says nothing of what to search"),
        ({"fast": "5..9"}, {"fats": "1..2"}, "--range: no parameter 'fats'; did you mean 'fast'?"),
        ({}, {"x": "1..2"}, "--range: no parameter 'x'; probe has fast"),
        ({}, {"fast": "9..5"}, "--range: fast=9..5: 9 is not below 5"),
        ({}, {"fast": "a,b"}, "--range: fast=a,b: must be LOW..HIGH"),
    ],
)
def test_what_cannot_be_searched_is_refused(search: dict[str, Any], asked: dict[str, str], message: str) -> None:
    """By the option, with what there is instead."""
    whole = mapping(params={"fast": 9}, search=search)
    with pytest.raises(SetupError) as caught:
        space_of("probe", whole, {"fast": 9.0}, asked)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"fats": "1..2"}, "probe.search.fats: no parameter 'fats'; did you mean 'fast'?"),
        ({"fast": "2..1"}, "probe.search.fast: 2 is not below 1, was '2..1'"),
        ({"fast": 5}, "probe.search.fast: must be LOW..HIGH, LOW..HIGH/STEP or a list of numbers, was 5"),
        (["fast"], "probe.search: must be a mapping of names"),
    ],
)
def test_a_strategy_with_a_wrong_search_is_refused(search: Any, message: str) -> None:
    """When it is loaded, by the key."""
    with pytest.raises(StrategyError) as caught:
        from_mapping("probe", mapping(params={"fast": 9}, search=search))
    assert str(caught.value) == message


def test_what_is_searched_changes_nothing_of_a_run() -> None:
    """The strategy is the same one, and its journal says nothing of it."""
    whole = mapping(params={"fast": 9})
    searched = merged(whole, {"search": {"fast": "5..9"}})
    assert from_mapping("probe", whole) == from_mapping("probe", searched)
    begins = []
    for one in (whole, searched):
        makeup = Makeup("venue", {"probe": one}, GateSettings())
        begins.append(makeup.begin(makeup.engine(), []))
    assert begins[0] == begins[1]


def test_a_strategy_in_python_says_what_to_search(tmp_path: Path) -> None:
    """As in YAML."""
    file = tmp_path / "own.py"
    file.write_text(
        "from tapewatch.strategy.build import close, ema, param, strategy\n"
        'S = strategy("own", timeframes=["1m"], params={"n": 9}, search={"n": "5..9"},\n'
        '  long={"up": close > ema(close, param("n"))}, stop=1.0, targets=[{"at": 1.0, "share": "100%"}])\n'
    )
    name, whole = strategies.mapping_of(str(file))
    assert space_of(name, whole, {"n": 9.0}, {}).ranges == {"n": range_of("5..9", 9.0)}
