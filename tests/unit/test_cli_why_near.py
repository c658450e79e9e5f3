"""`tapewatch why --near`: the closest misses."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import pytest

from command_line import Command
from core_samples import MONDAY_MS
from tapewatch import strategies
from tapewatch.cli import options
from tapewatch.model import MINUTE_MS, Factor
from tapewatch.study.why import nearest
from why_samples import LOOSE, every_bar, loose_file, request_of, two_symbols

archive = pytest.fixture(two_symbols, scope="module")
loose = pytest.fixture(loose_file, scope="module")


def lacking(factors: tuple[Factor, ...], at_least: int, always: tuple[str, ...]) -> list[Factor]:
    """Brute force: of all sets of unmet factors that would have made it fire, the one that was least short."""
    unmet = [factor for factor in factors if factor.met is not True]
    met = len(factors) - len(unmet)
    for size in range(len(unmet) + 1):
        sets = [
            chosen
            for chosen in combinations(unmet, size)
            if met + size >= at_least and all(f in chosen for f in unmet if f.name in always)
        ]
        if sets:
            return list(min(sets, key=lambda chosen: sum(2.0 if f.margin is None else -f.margin for f in chosen)))
    raise AssertionError


@pytest.mark.parametrize("at_least", [2, 1])
def test_near_is_what_brute_force_finds(archive: Path, tmp_path: Path, at_least: int) -> None:
    """Fewest lacking factors first, then least short; bars that fired or on which one is unknown are no misses."""
    file = tmp_path / "loose.yaml"
    file.write_text(LOOSE.replace("FIRE", str(at_least)))
    plan = strategies.load(str(file))
    from_ms, to_ms = MONDAY_MS + 300 * MINUTE_MS, MONDAY_MS + 1500 * MINUTE_MS
    expected = []
    for close_ms, sides in every_bar(archive, plan, "1m").items():
        for side, factors in sides.items():
            short = lacking(factors, at_least, plan.always)
            if short and from_ms <= close_ms < to_ms and all(f.met is False for f in short):
                expected.append((len(short), -math.fsum(f.margin or 0.0 for f in short), close_ms, side))
    expected.sort()
    assert {one[0] for one in expected} == ({1, 2} if at_least == 2 else {1})
    found = nearest(plan, "1m", "AAAUSDT", request_of(archive, from_ms=from_ms, to_ms=to_ms), 60)
    assert [(len(one.short), one.bar.close_ms, one.side) for _, one in found] == [
        (count, close_ms, side) for count, _, close_ms, side in expected[:60]
    ]
    assert [short for short, _ in found] == pytest.approx([short for _, short, _, _ in expected[:60]])


def test_near_prints_the_factor_that_was_short(run: Command, archive: Path, loose: Path) -> None:
    """The N closest over all timeframes and strategies asked, as text and as JSON."""
    arguments = ("why", "AAAUSDT", "--near", 5, "--strategy", loose, "--data", archive)
    period = ("--from", "2024-01-01T08:00", "--to", "2024-01-02")
    lines = run.objects(*arguments, *period)
    assert len(lines) == 5
    for line in lines:
        (entry,) = line["strategies"]
        assert not entry["fired"]
        assert entry["unmet"]
        assert all(f["met"] is False for f in entry["factors"] if f["name"] in entry["unmet"])
        assert "2024-01-01 08:00" <= options.iso(line["bar"]["close_ms"]) < "2024-01-02"
    assert [line["strategies"][0]["short"] for line in lines] == sorted(
        line["strategies"][0]["short"] for line in lines
    )
    code, printed, _ = run(*arguments, *period)
    assert code == 0
    assert len([line for line in printed if "short by" in line]) == 5
    assert sum(line.startswith("    unmet") for line in printed) == sum(
        len(line["strategies"][0]["unmet"]) for line in lines
    )
