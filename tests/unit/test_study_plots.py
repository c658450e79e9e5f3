"""Drawings of a search: dots where the values are, bars as high as the counts, intervals on one scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.study import plots
from tapewatch.study.charts import CARD_HEIGHT, CARD_WIDTH, HEIGHT, WIDTH

NAN = float("nan")


def test_values_in_turn_have_a_dot_each_and_a_line_of_the_best() -> None:
    """What is not known has none; the best is marked."""
    drawn = plots.in_turn("title", "text", np.array([1.0, NAN, 3.0, 2.0]))
    assert drawn.dots.count("M") == 3
    assert drawn.chosen is not None
    x, y = drawn.chosen
    assert (x, y) == (pytest.approx(8 + (WIDTH - 16) * 2 / 3, abs=0.1), 14.0)
    assert drawn.line.startswith("M8.0 ")
    assert drawn.line.count("V") == 2
    assert drawn.line.endswith(f"H{WIDTH - 8.0}")


def test_outliers_lie_on_the_lower_edge() -> None:
    """So that one bad set does not press all others together."""
    values = np.array([-1e9, *np.linspace(1.0, 2.0, 99)])
    places = [float(dot.split()[1].removesuffix("h0")) for dot in plots.in_turn("", "", values).dots.split("M")[1:]]
    assert max(places) == places[0]
    assert sorted(places)[50] < 0.7 * HEIGHT


def test_a_parameters_values_go_to_the_right() -> None:
    """Each at its place, whatever the order; one that never varies has a place too."""
    drawn = plots.by_value("fast", "", np.array([10.0, 5.0, 15.0]), np.array([1.0, 2.0, 3.0]))
    places = [float(dot.split()[0]) for dot in drawn.dots.split("M")[1:]]
    assert places == [CARD_WIDTH / 2, 10.0, CARD_WIDTH - 10.0]
    same = plots.by_value("fast", "", np.array([7.0, 7.0]), np.array([1.0, 1.0]))
    assert [mark.text for mark in same.columns] == ["7.000"]


def test_bars_are_as_high_as_their_counts() -> None:
    """What is empty has none; a value beside them has a line, even outside."""
    drawn = plots.histogram("", "", [0.0, 1.0, 2.0, 3.0], [1, 0, 4], own=5.0)
    assert drawn.bars.count("M") == 2
    heights = [float(bar.split("V")[1].split("H")[0]) for bar in drawn.bars.split("M")[1:]]
    bottom = float(drawn.bars.split("V")[2].split("Z")[0])
    assert (bottom - heights[0]) * 4 == pytest.approx(bottom - heights[1], abs=0.3)
    assert drawn.line.startswith(f"M{CARD_WIDTH - 8.0} ")
    assert bottom < CARD_HEIGHT


def test_intervals_share_a_scale_that_has_nothing_in_it() -> None:
    """What is above is up, what is below down, what is neither open; what is not known has no bar."""
    parts = [(0.5, 0.1, 1.0), (-0.5, -1.0, -0.1), (0.0, -0.5, 0.5), (0.3, NAN, NAN)]
    bars = plots.intervals([dict(zip(("value", "low", "high"), one, strict=True)) for one in parts])
    up, down, neither, unknown = bars
    assert up is not None
    assert down is not None
    assert neither is not None
    assert unknown is None
    assert (up.kind, down.kind, neither.kind) == ("up", "down", "open")
    assert up.zero == down.zero == neither.zero == plots.BAR_WIDTH / 2
    assert down.start == plots.BAR_ROOM
    assert up.end == plots.BAR_WIDTH - plots.BAR_ROOM
    assert plots.intervals([{"value": NAN, "low": NAN, "high": NAN}]) == [None]


def test_importance_is_the_share_of_variance_between_cells() -> None:
    """All of it for what decides the value, nothing for what has no bearing on it; as by sums of squares."""
    first, second = np.repeat([1.0, 2.0, 3.0], 4), np.tile([0.0, 1.0], 6)
    found = plots.importance(np.column_stack((first, second)), first * 2.0)
    assert found == pytest.approx([1.0, 0.0])
    values = np.array([1.0, 2.0, 6.0, NAN])
    column = np.array([[0.0], [0.0], [1.0], [1.0]])
    whole = sum((value - 3.0) ** 2 for value in (1.0, 2.0, 6.0))
    assert plots.importance(column, values) == pytest.approx([(2 * 1.5**2 + 3.0**2) / whole])
    assert plots.importance(column, np.array([1.0, 1.0, 1.0, NAN])).tolist() == [0.0]


def test_a_map_has_the_mean_of_each_cell() -> None:
    """Shaded by how far from nothing it is; cells without a set are empty, and many values make few cells."""
    across, down = np.array([1.0, 1.0, 2.0, 2.0]), np.array([5.0, 5.0, 5.0, 6.0])
    drawn = plots.heat(across, down, np.array([1.0, 3.0, -4.0, NAN]))
    assert drawn["heads"] == ["1", "2"]
    assert [row["name"] for row in drawn["rows"]] == ["5"]
    one, other = drawn["rows"][0]["cells"]
    assert (one["value"], one["sets"], one["shade"]) == (2.0, 2, 2)
    assert (other["value"], other["shade"]) == (-4.0, -4)
    many = plots.heat(np.linspace(0.0, 1.0, 100), np.zeros(100), np.ones(100))
    assert len(many["heads"]) == plots.PARTS
    assert sum(cell["sets"] for cell in many["rows"][0]["cells"] if cell) == 100


@given(st.lists(st.one_of(st.just(NAN), st.floats(-1e6, 1e6)), min_size=1, max_size=60))
def test_any_values_lie_inside_the_drawing(values: list[float]) -> None:
    """Every dot and every mark, where one value is known."""
    if all(value != value for value in values):
        return
    drawn = plots.in_turn("", "", np.array(values))
    for dot in drawn.dots.split("M")[1:]:
        x, y = (float(part) for part in dot.removesuffix("h0").split())
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert all(0 <= mark.at <= WIDTH for mark in drawn.columns)
