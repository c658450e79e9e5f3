"""What is said of the best of a search: noise is called noise, an edge is not, and the first line says it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_markets import FREE, SALT, hashed, market, salts, searched
from tapewatch.strategy import from_mapping
from tapewatch.study.backtest import Backtest, Plan
from tapewatch.study.bootstrap import Bootstrapped, Interval
from tapewatch.study.deflated import Deflated, sharpe
from tapewatch.study.judgement import Evidence, Judged, JudgedBy, judge
from tapewatch.study.overfitting import Overfitting
from tapewatch.study.permuted import Permuted
from tapewatch.study.plateau import Plateau, plateau
from tapewatch.study.stability import Stability, stability

NAN = math.nan
GOOD = Evidence(
    step_ms=3_600_000,
    deflated=Deflated(0.3, 0.1, 0.99, 20, 200),
    overfitting=Overfitting(0.1, 0.0, np.array([1.0, -20.0])),
    permuted=Permuted(0.2, np.array([0.0, NAN]), 0.01),
    bootstrapped=Bootstrapped(Interval(0.2, 0.1, 0.3), Interval(100.0, 50.0, 150.0), Interval(NAN, NAN, NAN)),
    plateau=Plateau([], NAN),
    stability=Stability([], [], [], NAN, NAN),
)
DRAWS = (np.array([0.1, NAN]), np.array([NAN]))


def near(params: Mapping[str, float]) -> list[dict[str, float]]:
    """The salts beside one."""
    return [{"salt": params["salt"] + step} for step in (-1.0, 1.0)]


@pytest.mark.slow
def test_noise_is_called_noise_and_an_edge_survives(tmp_path: Path) -> None:
    """Of 20 searches among random entries at least 19 end so, though nothing is paid; a planted edge is found."""

    def judged(seed: int, edge: float) -> tuple[dict[str, float], Judged]:
        request = market(tmp_path / f"{seed}_{edge}", seed, edge=edge, bars=8000)
        sweep, trials = searched(request, hashed(), salts(11))
        asked = JudgedBy(near, permutations=60, bootstraps=200, seed=seed)
        return trials.set_of(trials.best), judge(sweep, trials, asked)

    noise = [judged(seed, 0.0)[1] for seed in range(20)]
    assert sum(one.survives for one in noise) <= 1
    assert all(one.sentence.startswith("May survive" if one.survives else "Would not survive") for one in noise)
    for seed in range(3):
        best, found = judged(seed, 0.3)
        assert best == {"salt": SALT}
        assert found.survives, found.sentence


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"deflated": Deflated(0.3, 0.2, 0.9499, 20, 200)}, "more than luck is only 95% sure"),
        ({"deflated": Deflated(0.0, 0.2, NAN, 20, 200)}, "more than luck is only - sure"),
        ({"permuted": Permuted(0.2, np.array([0.3]), 0.051)}, "entries at other times (p 0.051)"),
        ({"overfitting": Overfitting(0.5, 0.1, np.zeros(2))}, "below the middle in the other in 50% of the cases"),
        (
            {"bootstrapped": GOOD.bootstrapped._replace(expectancy_r=Interval(0.2, 0.0, 0.3))},
            "its mean may be 0 or less, +0.200 (+0.000 to +0.300) R a trade",
        ),
        (
            {"bootstrapped": GOOD.bootstrapped._replace(expectancy_r=Interval(NAN, NAN, NAN))},
            "its mean may be 0 or less, - (- to -) R a trade",
        ),
    ],
)
def test_one_test_that_fails_is_enough(change: dict[str, object], reason: str) -> None:
    """The first line names it, and only it."""
    assert Judged(20, GOOD).survives
    judged = Judged(20, replace(GOOD, **change))
    assert not judged.survives
    assert judged.sentence.startswith("Would not survive, the best of 20 sets is no better than noise: ")
    assert judged.sentence.endswith(f"{reason}.")
    assert len(judged.reasons) == 1


def test_draws_that_close_nothing_have_no_mean() -> None:
    """The line has a dash, and the others count."""
    lines = [Judged(20, replace(GOOD, permuted=GOOD.permuted._replace(drawn=drawn))).lines for drawn in DRAWS]
    assert lines[0][2] == "  entries    +0.200 R a trade, +0.100 R at other times: p 0.010 of 2 draws"
    assert lines[1][2] == "  entries    +0.200 R a trade, - R at other times: p 0.010 of 1 draw"


def test_what_loses_is_said_to_lose_whatever_else(tmp_path: Path) -> None:
    """One reason, though everything speaks against it."""
    worst = replace(
        GOOD,
        deflated=Deflated(-0.3, 0.2, 0.0, 1, 200),
        bootstrapped=GOOD.bootstrapped._replace(expectancy_r=Interval(-0.2, -0.3, -0.1)),
    )
    assert Judged(1, worst).sentence == (
        "Would not survive, the best of 1 set is no better than noise: it loses, -0.200 (-0.300 to -0.100) R a trade."
    )


def test_where_every_set_is_good_it_does_not_matter_which_is_best() -> None:
    """A choice that is below the middle as often as not is none to hold against it while few choices lose."""
    assert Judged(20, replace(GOOD, overfitting=Overfitting(0.8, 0.09, np.zeros(2)))).survives
    assert Judged(1, replace(GOOD, overfitting=Overfitting(NAN, NAN, np.zeros(0)))).survives


def test_without_an_objective_nothing_is_found(tmp_path: Path) -> None:
    """No set has one."""
    sweep, trials = searched(market(tmp_path, 1, bars=2000), hashed(), salts(2))
    judged = judge(sweep, replace(trials, objective=np.full(2, NAN)), JudgedBy(near))
    assert judged.sentence == "Nothing found: no set makes a strategy with enough trades."
    assert (judged.lines, judged.survives, judged.evidence) == ([], False, None)
    assert judged.document() == {
        "survives": False,
        "sentence": judged.sentence,
        "reasons": judged.reasons,
        "sets": 2,
    }


def test_the_document_is_plain_and_the_same_again(tmp_path: Path) -> None:
    """JSON with every figure; the same seed gives the same, another one other draws."""
    sweep, trials = searched(market(tmp_path, 5), hashed(), salts(4))
    asked = JudgedBy(near, permutations=30, bootstraps=50, seed=3)
    judged = judge(sweep, trials, asked)
    document = json.loads(msgspec.json.encode(judged.document()))
    assert msgspec.json.encode(judge(sweep, trials, asked).document()) == msgspec.json.encode(judged.document())
    assert judge(sweep, trials, replace(asked, seed=4)).document() != judged.document()
    assert document["sentence"] == judged.sentence
    assert document["step_ms"] == 3_600_000
    assert document["deflated_sharpe"]["sets"] == 4
    assert sum(document["overfitting"]["logits"]["counts"]) == document["overfitting"]["choices"] == 12_870
    assert len(document["entries"]["drawn"]) == 30
    assert document["trades"]["net"]["low"] < document["trades"]["net"]["value"] < document["trades"]["net"]["high"]
    assert [part["trades"] for part in document["stability"]["symbols"]] == [trials.trades[trials.best]]
    assert [line.split()[0] for line in judged.lines[:6]] == [
        "Sharpe",
        "choice",
        "entries",
        "trades",
        "plateau",
        "symbols",
    ]


def test_a_plateau_is_neighbours_that_keep_half_of_it(tmp_path: Path) -> None:
    """Of three, one that makes no strategy is left out; without a ratio above 0 there is no half of it."""
    sweep, trials = searched(market(tmp_path, 1, edge=0.3), hashed(), salts(12))
    ratios = sharpe(trials.blocks.sum(axis=1).T)
    own = float(ratios[trials.best])
    sets = [{"salt": SALT}, {"salt": SALT - 1}, {"salt": math.nan}]
    found = plateau(sweep, own, sets)
    assert [one.params for one in found.neighbours] == sets[:2]
    assert [one.sharpe for one in found.neighbours] == [own, ratios[trials.best - 1]]
    assert found.share == 0.5
    assert plateau(sweep, 2 * own, sets).share == 0.5
    assert plateau(sweep, 2.01 * own, sets).share == 0.0
    assert math.isnan(plateau(sweep, -1.0, sets).share)
    assert math.isnan(plateau(sweep, own, []).share)


def test_parts_of_the_trades_are_all_of_them(tmp_path: Path) -> None:
    """By symbol and by third each trade is in one part, by regime in at least one; shares are of the whole net."""
    for seed, symbol in enumerate(("AAAUSDT", "BBBUSDT")):
        request = market(tmp_path, seed, edge=0.3, symbol=symbol)
    request = replace(request, symbols=["AAAUSDT", "BBBUSDT"])
    strategy = from_mapping("hashed", hashed(params={"salt": SALT}))
    backtest = Backtest(Plan(strategy, request, FREE))
    result = backtest.run()
    found = stability(backtest, result, 50, seed=1)
    nets = np.array([trade.net for trade in result.trades])
    assert [part.name for part in found.symbols] == ["AAAUSDT", "BBBUSDT"]
    assert [part.name for part in found.thirds] == ["from 2024-01-01", "from 2024-01-03", "from 2024-01-05"]
    for parts in (found.symbols, found.thirds):
        assert sum(part.trades for part in parts) == len(nets)
        assert sum(part.net for part in parts) == pytest.approx(nets.sum())
    assert sum(part.trades for part in found.regimes) >= len(nets)
    assert len(found.regimes) > 1
    assert found.largest_trade == pytest.approx(nets.max() / nets.sum())
    assert found.largest_symbol == pytest.approx(max(part.net for part in found.symbols) / nets.sum())
