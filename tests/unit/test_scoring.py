"""A stored scoring model: what it scores, what it refuses, and that no text makes it fail in another way."""

from __future__ import annotations

import copy
import json
import random
import statistics
import time
from collections.abc import Callable
from math import exp, inf
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_samples import LOGISTIC, TREES
from tapewatch.errors import SetupError
from tapewatch.model import NAN
from tapewatch.scoring import MOST_TREES, Model, document_of, logistic


def chance(log_odds: float) -> float:
    """Of log odds, the probability."""
    return 1.0 / (1.0 + exp(-log_odds))


@pytest.mark.parametrize(
    ("features", "log_odds"),
    [
        ({"rsi": 30.0, "spread": 2.0}, 0.1 - 0.5 + 0.25),
        ({"rsi": 30.1, "spread": 2.0}, 0.1 + 0.75 + 0.25),
        ({"spread": 2.5}, 0.1 - 0.5 - 1.0),
        ({"rsi": NAN, "spread": NAN}, 0.1 - 0.5 - 1.0),
        ({"rsi": inf, "spread": -inf, "more": 1.0}, 0.1 - 0.5 - 1.0),
    ],
)
def test_trees_add_the_leaf_that_a_signal_comes_to(features: dict[str, float], log_odds: float) -> None:
    """At the threshold it goes left; what is missing or not finite goes where missing values go."""
    assert Model.read(TREES).score(features) == pytest.approx(chance(2.0 * log_odds - 0.5), abs=1e-15)


@pytest.mark.parametrize(
    ("features", "log_odds"),
    [
        ({"rsi": 60.0, "spread": 3.0}, 0.2 + 0.3 * 1.0 - 0.4 * 2.0),
        ({"rsi": 60.0}, 0.2 + 0.3),
        ({"rsi": 1e300, "spread": -1e300}, 0.2 + 0.3 * 5.0 + 0.4 * 5.0),
        ({}, 0.2),
    ],
)
def test_a_regression_adds_what_each_known_feature_weighs(features: dict[str, float], log_odds: float) -> None:
    """An unknown one adds nothing, a wild one as much as five scales."""
    assert Model.read(LOGISTIC).score(features) == pytest.approx(chance(2.0 * log_odds - 0.5), abs=1e-15)


def test_a_probability_never_overflows() -> None:
    """It is 0 and 1 at the ends."""
    assert [logistic(value) for value in (-1e9, 0.0, 1e9)] == [0.0, 0.5, 1.0]


def test_a_document_reads_back_from_json() -> None:
    """Every number as it was."""
    document = document_of(TREES)
    assert document_of(json.loads(msgspec.json.encode(document))) == document


def test_a_model_without_skill_does_not_serve_but_can_be_looked_at() -> None:
    """It says on how many signals, and by how much."""
    dull = TREES | {"skill": False}
    assert not document_of(dull).skill
    with pytest.raises(SetupError, match=r"m\.json: it has no skill and does not serve: on 400 .* \+3\.0%"):
        Model.read(dull, "m.json")


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A function that puts a value where the path leads."""

    def made(raw: dict[str, Any]) -> None:
        *inner, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place: Any = raw
        for part in inner:
            place = place[part]
        place[last] = value

    return made


@pytest.mark.parametrize(
    ("sample", "path", "value", "said"),
    [
        (TREES, "format", 2, "format 2 is not known, only 1"),
        (TREES, "feature_version", 99, "features of version 99"),
        (TREES, "formula.kind", "forest", "kind"),
        (TREES, "formula.features", [], "features"),
        (TREES, "formula.features", ["rsi", "rsi"], "named twice"),
        (TREES, "formula.trees", [], "trees are missing"),
        (TREES, "formula.weights", [[0.0, 1.0, 1.0]], "weights beside them"),
        (TREES, "formula.trees.0.0.0", 2, "there is no feature 2"),
        (TREES, "formula.trees.0.0.0", -1, "trees"),
        (TREES, "formula.trees.0.0.3", 0, "not behind it"),
        (TREES, "formula.trees.0.0.4", 3, "not behind it"),
        (TREES, "formula.trees.0.0.1", NAN, "not finite"),
        (TREES, "formula.trees.0.1.5", inf, "trees"),
        (TREES, "formula.trees.0.1.5", "1", "trees"),
        (TREES, "threshold", 1.5, "threshold"),
        (TREES, "judged.n", "many", "judged.n"),
        (TREES, "code", "import os", "code"),
        (LOGISTIC, "formula.weights", [[0.0, 1.0, 1.0]], "one weight for each"),
        (LOGISTIC, "formula.weights.0.1", 0.0, "scale is not above 0"),
        (LOGISTIC, "formula.weights.0.0", inf, "not finite"),
        (LOGISTIC, "formula.weights.0.2", 1e9, "weights"),
        (LOGISTIC, "formula.calibration.slope", None, "calibration.slope"),
    ],
)
def test_a_damaged_document_is_refused_by_name(sample: dict[str, Any], path: str, value: Any, said: str) -> None:
    """The message names the file and what is wrong in it."""
    raw = copy.deepcopy(sample)
    change(path, value)(raw)
    with pytest.raises(SetupError, match=said) as caught:
        Model.read(raw, "m.json")
    assert str(caught.value).startswith("m.json: ")


@pytest.mark.alone
def test_the_largest_trees_score_a_signal_in_less_than_100_us() -> None:
    """Of sixty features; the median of rounds."""
    draw, names = random.Random(1), [f"value.{number}" for number in range(60)]

    def tree(depth: int, nodes: list[list[Any]]) -> list[list[Any]]:
        """Grown below the last of the nodes."""
        place = len(nodes)
        nodes.append([None, 0.0, False, 0, 0, draw.gauss(0.0, 0.1)])
        if depth:
            tree(depth - 1, nodes)
            right = len(nodes)
            tree(depth - 1, nodes)
            nodes[place] = [draw.randrange(60), draw.gauss(0.0, 1.0), True, place + 1, right, 0.0]
        return nodes

    formula = TREES["formula"] | {"features": names, "trees": [tree(3, []) for _ in range(MOST_TREES)]}
    model = Model.read(TREES | {"formula": formula})
    signals = [{name: draw.gauss(0.0, 1.0) for name in names} for _ in range(200)]
    rounds = []
    for _ in range(9):
        begun = time.process_time()
        for features in signals:
            model.score(features)
        rounds.append((time.process_time() - begun) / len(signals))
    assert statistics.median(rounds) < 100e-6


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from([TREES, LOGISTIC]), st.data())
def test_a_document_either_scores_or_is_refused(sample: dict[str, Any], data: st.DataObject) -> None:
    """Whatever one of its values is replaced by; what is read scores anything from 0 to 1."""
    raw = copy.deepcopy(sample)
    place: Any = raw
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        if not (isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = data.draw(plain)
    try:
        model = Model.read(raw)
    except SetupError:
        return
    features = data.draw(st.dictionaries(st.sampled_from(["rsi", "spread"]), st.floats()))
    assert 0.0 <= model.score(features) <= 1.0


@given(plain)
def test_no_plain_value_is_read_as_a_model(raw: Any) -> None:
    """It is refused as a set-up's mistake."""
    with pytest.raises(SetupError):
        document_of(raw)
