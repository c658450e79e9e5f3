"""Fault and planting scripts are read whole, and every mistake is named with its line."""

from pathlib import Path

import pytest

from tapewatch.errors import ConfigError, SetupError
from tapewatch.simulator import load_faults, load_plants


def written(folder: Path, text: str) -> Path:
    """A script file with that text."""
    path = folder / "script.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_faults_are_read(tmp_path: Path) -> None:
    """Offsets count from the start, ISO times are UTC, durations have units."""
    first, second, third, fourth = load_faults(
        written(
            tmp_path,
            """
            - {at: 10m, kind: drop, for: 30s}
            - {every: 1.5h, kind: late_close, symbols: [BTCUSDT], probability: 0.5}
            - {at: 2025-01-02T03:04, kind: stall}
            - {at: "2025-01-02T05:04+02:00", kind: http_429}
            """,
        )
    )
    assert (first.kind, first.first_ms(1_000), first.lasting, first.every) == ("drop", 601_000, 30_000, None)
    assert (second.first_ms(0), second.symbols, second.probability) == (5_400_000, ("BTCUSDT",), 0.5)
    assert third.first_ms(0) == fourth.first_ms(0) == 1_735_787_040_000


def test_at_is_the_first_time_of_what_comes_again_and_again(tmp_path: Path) -> None:
    """Without it the first is after `every`; an offset may be behind or ahead."""
    both, alone, behind, ahead = load_faults(
        written(
            tmp_path,
            """
            - {at: 3m, every: 20m, kind: drop, connections: 1}
            - {every: 20m, kind: drop}
            - {at: 0s, kind: skew, offset: -90s}
            - {at: 0s, kind: skew, offset: +2s}
            """,
        )
    )
    assert (both.first_ms(0), both.every, both.connections) == (180_000, 1_200_000, 1)
    assert alone.first_ms(0) == 1_200_000
    assert (behind.offset, ahead.offset) == (-90_000, 2_000)


def test_plants_are_read_as_a_list_or_with_quiet(tmp_path: Path) -> None:
    """A list is a market that is not quiet; the strategy is scalp unless named."""
    entry = "{side: long, symbol: BTCUSDT, at: 2025-01-02T03:04, repeat_after: 3m, again_after_move: 0.3%+}"
    plain = load_plants(written(tmp_path, f"- {entry}"))
    quiet = load_plants(written(tmp_path, f"quiet: true\nplants:\n  - {entry}"))
    assert plain.plants == quiet.plants
    assert (plain.quiet, quiet.quiet) == (False, True)
    (plant,) = plain.plants
    assert (plant.strategy, plant.at, plant.repeat_after) == ("scalp", 1_735_787_040_000, 180_000)
    assert plant.again_after_move == pytest.approx(0.003)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{kind: drop}", "script.yaml:2: needs at or every"),
        ("{at: 1m, every: 1m, kind: delist, symbols: [BTCUSDT]}", "every has no meaning for delist"),
        ("{at: 1m, kind: delist}", "delist needs symbols"),
        ("{at: 1m, kind: volume, symbols: [BTCUSDT]}", "volume needs factor"),
        ("{at: 1m, kind: volume, symbols: [BTCUSDT], factor: 0}", "factor: Input should be greater than 0"),
        ("{at: 1m, kind: skew}", "skew needs offset"),
        ("{at: 1m, kind: http_slow}", "http_slow needs delay"),
        ("{at: 1m, kind: depth, symbols: [BTCUSDT]}", "depth needs factor"),
        ("{at: 1m, kind: drop, endpoints: [depth]}", "endpoints has no meaning for drop"),
        ("{at: 1m, kind: skew, offset: late}", "offset: 'late' is not a duration"),
        ("{at: 1m, kind: stall, delay: 3s}", "delay has no meaning for stall"),
        ("{at: 1m, kind: duplicate, connections: 1}", "connections has no meaning for duplicate"),
        ("{at: 1m, kind: drop, connections: 0}", "connections: Input should be greater than 0"),
        ("{at: 1m, kind: age, for: 5s}", "for has no meaning for age"),
        ("{at: 1m, kind: http_403, files: daily}", "files has no meaning for http_403"),
        ("{at: 1m, kind: explode}", "kind: unknown 'explode'; known here: age, archive_corrupt,"),
        ("{at: 1m, kind: dorp}", "kind: unknown 'dorp', did you mean 'drop'?"),
        ("{at: 5, kind: drop}", "at: 5 is neither an offset from the start like 10m nor an ISO time"),
        ("{at: 1m, kind: drop, conections: 1}", "conections: unknown key, did you mean 'connections'?"),
        ("{at: 1m, kind: drop, fro: 1m}", "fro: unknown key, did you mean 'for'?"),
        ("{at: soon, kind: drop}", "at: 'soon' is neither an offset from the start like 10m nor an ISO time"),
        ("{every: 5, kind: drop}", "every: 5 is not a duration"),
        ("{every: 0s, kind: drop}", "every: Input should be greater than 0"),
        ("{at: 1m, kind: drop, until: 5m}", "until: unknown key; known here: at, connections, delay,"),
        ("{at: 1m, kind: drop, probability: 2}", "probability: Input should be less than or equal to 1"),
        ("{at: 1m, kind: http_5xx, symbols: [BTCUSDT]}", "symbols has no meaning for http_5xx"),
        ("just text", "script.yaml:2: must be a mapping of keys"),
    ],
)
def test_a_mistake_in_a_fault_names_file_line_and_key(tmp_path: Path, entry: str, said: str) -> None:
    """The text says what is expected."""
    path = written(tmp_path, f"- {{at: 1m, kind: drop}}\n- {entry}\n")
    with pytest.raises(ConfigError) as caught:
        load_faults(path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("symbol: BTCUSDT, side: up, at: 2025-01-02T03:04", "side: unknown 'up'; known here: long, short"),
        ("symbol: BTCUSDT, side: long, at: noon", "at: 'noon' is not a time"),
        ("symbol: BTCUSDT, side: long, at: true", "at: True is not a time"),
        ("symbol: BTCUSDT, side: long, at: 2025-01-02T03:04:05", "at and repeat_after must be whole minutes"),
        ("symbol: A, side: long, at: 2025-01-02T03:04, repeat_after: 90s", "at and repeat_after must be whole minutes"),
        ("symbol: A, side: long, at: 2025-01-02T03:04, again_after_move: 3", "again_after_move: 3 is not a percentage"),
        ("side: long, at: 2025-01-02T03:04", "symbol: Field required"),
    ],
)
def test_a_mistake_in_a_plant_names_file_line_and_key(tmp_path: Path, keys: str, said: str) -> None:
    """The text says what is expected."""
    with pytest.raises(ConfigError) as caught:
        load_plants(written(tmp_path, f"\n- {{{keys}}}\n"))
    assert f"script.yaml:2: {said}" in str(caught.value)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    """One problem for each."""
    with pytest.raises(ConfigError) as caught:
        load_faults(written(tmp_path, "- {kind: x, at: 1m}\n- {kind: drop}\n- {at: 1m, kind: drop, for: x}\n"))
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{at: 1m}", "expected a list"),
        ("- {at: 1m\n", "script.yaml:"),
        ("- {at: 1m, at: 2m, kind: drop}", "duplicate key"),
        ("", "expected a list"),
    ],
)
def test_what_is_no_script_is_said(tmp_path: Path, text: str, said: str) -> None:
    """Not a list, or not YAML."""
    with pytest.raises(SetupError) as caught:
        load_faults(written(tmp_path, text))
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["plants: []\nloud: true", "quiet: maybe\nplants: []", "plants: 5", "quiet: true"])
def test_a_planting_script_of_another_shape_is_said(tmp_path: Path, text: str) -> None:
    """Only `plants` and `quiet` are known, of their types."""
    with pytest.raises(ConfigError, match="expected"):
        load_plants(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """Missing, or not text."""
    with pytest.raises(SetupError, match="cannot be read"):
        load_faults(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SetupError, match="cannot be read"):
        load_plants(tmp_path / "binary.yaml")
