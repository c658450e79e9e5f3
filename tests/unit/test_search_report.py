"""The report of a search: what is to be believed comes first, all that says so is there, and no host is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from html_pages import Elements, asks_nobody
from search_samples import Made, made
from tapewatch.study.search_report import page, write_report
from tapewatch.study.trials import Trials

HOSTILE = "<script>alert(1)</script>\"'&A"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A search of a strategy that would like to be a script."""
    return made(tmp_path_factory.mktemp("searched"), HOSTILE)


def shown(text: str) -> str:
    """All texts of a page as one."""
    return " ".join(" ".join(Elements(text).texts).split())


def test_the_verdict_comes_first_with_everything_behind_it(
    searched: Made,
) -> None:
    """The sentence, what speaks against it, the choice, each fold's parameters, and the hashes."""
    plan, found, trials, walk = searched
    text = page(plan, found, trials, walk)
    words = shown(text)
    assert not found["survives"]
    assert Elements(text).count("div", **{"class": "verdict not"}) == 1
    assert words.index(found["sentence"]) < words.index("Sets tried")
    for reason in found["honesty"]["reasons"]:
        assert reason in words
    assert walk.sentence in words
    assert "Held out 2023-11-14 22:13 to 2023-11-16 02:00: not read." in words
    for name, value in found["best"]["params"].items():
        assert f"{name} {value:g}" in words
    for fold in walk.folds:
        assert all(f"{value:g}" in words for value in fold.params.values())
    assert all(value in words for value in found["hashes"].values())
    assert "AAAUSDT, BBBUSDT" in words
    assert "kind perpetual" in words
    for part in found["honesty"]["stability"]["symbols"]:
        assert part["name"] in words


def test_it_asks_nobody_and_runs_nothing(searched: Made) -> None:
    """Whatever the strategy is called; its anchors lead somewhere."""
    text = page(*searched)
    asks_nobody(text)
    elements = Elements(text)
    names = {of.get("id") for _, of in elements.found}
    assert {of["href"] for tag, of in elements.found if tag == "a"} <= {f"#{name}" for name in names}
    assert elements.count("a") == 5
    assert HOSTILE in shown(text)


def test_a_walk_forward_alone_has_no_search_of_all_of_it(
    searched: Made,
) -> None:
    """Only its folds, and its own sentence first."""
    plan, found, _, walk = searched
    alone = {"strategy": "tried", **{key: walk.document()[key] for key in ("survives", "sentence")}}
    text = page(plan, alone | {"hashes": found["hashes"]}, None, walk)
    assert Elements(text).count("h2") == 2
    assert shown(text).index(walk.sentence) < shown(text).index("Out of sample")


def test_where_nothing_was_found_that_is_said(searched: Made) -> None:
    """Without a drawing of what is not there."""
    plan, found, trials, _ = searched
    none = Trials(trials.names, trials.params, np.full(len(trials), np.nan), trials.trades, trials.blocks)
    nothing = {"survives": False, "sentence": "Nothing found: so.", "reasons": ["so"], "sets": len(trials)}
    text = page(plan, found | {"best": None, "honesty": nothing, "sentence": "Nothing found: so."}, none, None)
    assert "Nothing found: so." in shown(text)
    assert f"None of {len(trials)} sets has an objective." in shown(text)
    assert Elements(text).count("svg") == 0


def test_an_opened_holdout_is_told_with_who_looked_before(
    searched: Made,
) -> None:
    """And with what the choice came to there."""
    plan, found, trials, walk = searched
    opened = {
        "said": "opened twice before: no longer unseen",
        "expectancy_r": {"value": 0.5, "low": -0.25, "high": 1.0},
    }
    words = shown(page(plan, found | {"holdout": found["holdout"] | {"opened": opened}}, trials, walk))
    assert "opened twice before: no longer unseen, +0.500 R a trade (95% −0.250 to +1.000)." in words  # noqa: RUF001


def test_the_same_gives_the_same_file(searched: Made, tmp_path: Path) -> None:
    """Byte by byte, and under half a megabyte."""
    for name in ("one.html", "other.html"):
        write_report(tmp_path / name, *searched)
    written = (tmp_path / "one.html").read_bytes()
    assert written == (tmp_path / "other.html").read_bytes()
    assert len(written) < 500_000
