"""Numbers are written as decimals that parse to the same bits."""

import re

from hypothesis import given
from hypothesis import strategies as st

from tapewatch.simulator.decimals import places, text, texts


@given(st.floats(min_value=0, max_value=1e300, allow_nan=False))
def test_a_number_comes_back_with_the_same_bits(value: float) -> None:
    """Digits and at most one point, never an exponent."""
    shown = text(value)
    assert re.fullmatch(r"\d+(\.\d+)?", shown)
    assert float(shown).hex() == value.hex()


@given(st.lists(st.one_of(st.floats(0, 1e300), st.integers(0, 10**12).map(lambda ticks: ticks / 1e8)), max_size=20))
def test_many_numbers_are_written_as_each_alone(values: list[float]) -> None:
    """With an exponent among them or without."""
    assert texts(values) == [text(value) for value in values]


@given(st.integers(0, 10**14), st.integers(0, 8))
def test_whole_ticks_are_written_with_no_more_decimals_than_the_tick(ticks: int, decimals: int) -> None:
    """And without a trailing zero behind the point."""
    value = ticks / 10**decimals
    shown = text(value)
    assert len(shown.partition(".")[2]) <= decimals
    assert not ("." in shown and shown.endswith("0"))
    assert places([value]) <= decimals


def test_small_and_large_numbers_are_written_out() -> None:
    """Where Python would use an exponent."""
    assert (text(1e-8), text(0.0), text(1e22), text(87640.0)) == ("0.00000001", "0", "1" + "0" * 22, "87640")
    assert places([1.5, 0.125]) == 3
    assert places([]) == 0
    assert places([1e-12]) == 8
