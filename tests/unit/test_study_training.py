"""A scoring model: what is there is learned, noise does not serve, the judgement is of what nobody learned from."""

from __future__ import annotations

from math import nan

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from examples_samples import MINUTE_MS, examples
from tapewatch.errors import SetupError
from tapewatch.record import Sums
from tapewatch.scoring import Document, Model, Scorer, document_of
from tapewatch.strategies import load
from tapewatch.study.examples import Examples
from tapewatch.study.judging import judged_on, skill_of
from tapewatch.study.labels import uniqueness
from tapewatch.study.learners import LOOSENESS, boosted, calibration_of, learned, scores
from tapewatch.study.training import BLOCKS, Asked, blocks, judged_again, parted, train

SCALP = load("scalp")
LIMIT_MS = SCALP.time_limit * MINUTE_MS


def trained(of: Examples, asked: Asked | None = None) -> Document:
    """A model of examples as if they were of scalp on 1m."""
    return train(SCALP, ["1m"], of, asked or Asked())


@pytest.fixture(scope="module")
def planted() -> tuple[Examples, Document]:
    """Examples whose first feature tells a lot, and what is learned of them."""
    made = examples(3_000, 0.9)
    return made, trained(made)


def test_what_a_feature_tells_is_learned_and_served(planted: tuple[Examples, Document]) -> None:
    """Its scores are right on average in each decile, and those it keeps hit more often."""
    document = planted[1]
    judged = document.judged
    assert document.skill
    assert 0.0 < judged.skill_low < judged.skill < judged.skill_high
    assert judged.kept_hits / judged.kept > judged.hits / judged.n + 0.1
    assert judged.kept / judged.n == pytest.approx(0.2, abs=0.05)
    assert judged.kept_net_r is not None
    assert judged.net_r is not None
    assert judged.kept_net_r > judged.net_r
    for decile in judged.deciles:
        assert decile.hits / decile.n == pytest.approx(decile.told, abs=0.2)  # three deviations of 70 signals
    likely, unlikely = ({"value.0": value, "value.1": nan} for value in (1.5, -1.5))
    model = Model.read(msgspec.to_builtins(document))
    assert model.score(likely) > 0.7 > 0.4 > model.score(unlikely)


def test_trees_learn_what_a_line_cannot_tell() -> None:
    """Walk-forward decides between the kinds."""
    document = trained(examples(2_000, 1.0, shape="bowl"))
    assert document.formula.kind == "trees"
    assert document.skill


@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_skill_and_does_not_serve(seed: int) -> None:
    """None of 100 seeds had any when this was written."""
    document = trained(examples(1_500, 0.0, seed))
    assert not document.skill
    with pytest.raises(SetupError, match="it has no skill and does not serve"):
        Model.read(msgspec.to_builtins(document))


def test_the_same_input_gives_the_same_document(planted: tuple[Examples, Document]) -> None:
    """Bit by bit, also through JSON."""
    made, document = planted
    text = msgspec.json.encode(document)
    assert msgspec.json.encode(trained(made)) == text
    assert document_of(msgspec.json.decode(text)) == document


def test_what_is_judged_on_is_not_learned_from(planted: tuple[Examples, Document]) -> None:
    """With other ends and other features there, the formula and the threshold are the same to the last bit."""
    made, document = planted
    later = made.close_ms >= document.judged.from_ms
    assert made.known_ms[made.close_ms <= document.trained.to_ms].max() <= document.judged.from_ms
    other = made._replace(
        hit=np.where(later, ~made.hit, made.hit), values=np.where(later[:, None], made.values * 7.0, made.values)
    )
    again = trained(other)
    assert again.formula == document.formula
    assert again.threshold == document.threshold
    assert again.judged != document.judged


def test_nothing_is_foretold_from_what_was_not_known(planted: tuple[Examples, Document]) -> None:
    """An embargo lies between the last outcome that was learned from and what is foretold."""
    made = planted[0]
    past, later = parted(made, 0.3, LIMIT_MS)
    assert past.known_ms.max() <= later.close_ms.min() - LIMIT_MS
    assert later.passed.all()
    walked = list(blocks(past, LIMIT_MS))
    assert len(walked) == BLOCKS - 1
    for before, block in walked:
        assert past.known_ms[before].max() <= past.close_ms[block].min() - LIMIT_MS
        assert past.passed[block].all()
    seen = np.concatenate([block for _, block in walked])
    assert len(np.unique(seen)) == len(seen)


def test_a_judgement_again_on_the_same_signals_is_the_same(planted: tuple[Examples, Document]) -> None:
    """And it looks at none that is earlier than what the model was judged on."""
    made, document = planted
    assert judged_again(document, made, 20.0) == document
    with pytest.raises(SetupError, match="too few signals that passed the gate and are later than its training: 0, "):
        judged_again(document, made.rows(made.close_ms < document.judged.from_ms), 20.0)


def test_trees_score_as_scikit_learn_does() -> None:
    """To 1e-12, whatever is unknown."""
    made = examples(800, 0.9)
    made.values[made.hit, 5] = nan  # being unknown is all that this one tells
    weights = uniqueness(made.close_ms, made.known_ms)
    formula = learned("trees", made, weights, 0)
    theirs = boosted(made.values, made.hit, weights, 0).predict_proba(made.values)[:, 1]
    np.testing.assert_allclose(scores(formula, made), theirs, rtol=0, atol=1e-12)
    assert any(node.at_most > 1e300 for tree in formula.trees for node in tree)


def test_a_regression_scores_as_scikit_learn_does() -> None:
    """To 1e-12: standardised, five deviations at most, what is unknown at the mean."""
    made = examples(800, 0.9)
    made.values[3, 2] = 1e6
    weights = uniqueness(made.close_ms, made.known_ms)
    theirs = make_pipeline(
        StandardScaler(),
        FunctionTransformer(lambda values: np.nan_to_num(np.clip(values, -5.0, 5.0))),
        LogisticRegression(C=LOOSENESS, tol=1e-8, max_iter=1_000),
    )
    theirs.fit(made.values, made.hit, logisticregression__sample_weight=weights)
    ours = scores(learned("logistic", made, weights, 0), made)
    np.testing.assert_allclose(ours, theirs.predict_proba(made.values)[:, 1], rtol=0, atol=1e-12)


def test_features_that_do_not_vary_are_no_part_of_a_model() -> None:
    """Those that are never known, too."""
    made = examples(400, 0.5)
    made.values[:, 1], made.values[:, 2] = 7.0, nan
    formula = learned("logistic", made, np.ones(made.n), 0)
    assert formula.features == ["value.0", "value.3", "value.4", "value.5"]


def test_calibration_finds_the_true_log_odds() -> None:
    """And what was learned the wrong way round tells everyone the hit rate."""
    random = np.random.default_rng(1)
    odds = random.normal(size=20_000)
    hit = random.random(20_000) < 1.0 / (1.0 + np.exp(-(0.5 * odds + 0.2)))
    found = calibration_of(odds, hit)
    assert (found.slope, found.intercept) == pytest.approx((0.5, 0.2), abs=0.05)
    reverse = calibration_of(-odds, hit)
    assert reverse.slope == 0.0
    assert 1.0 / (1.0 + np.exp(-reverse.intercept)) == pytest.approx(hit.mean())


def test_a_judgement_is_of_the_figures_that_it_says() -> None:
    """Against scikit-learn's Brier score, and sums by hand."""
    made = examples(600, 0.5)
    told = np.random.default_rng(2).random(made.n)
    judged = judged_on(made, told, 0.75, 20.0, 0)
    assert judged.brier == pytest.approx(brier_score_loss(made.hit, told))
    assert judged.base_brier == pytest.approx(brier_score_loss(made.hit, np.full(made.n, made.hit.mean())))
    assert judged.skill == pytest.approx(1.0 - judged.brier / judged.base_brier)
    assert (judged.n, judged.hits) == (600, made.hit.sum())
    assert (judged.kept, judged.kept_hits) == ((told >= 0.75).sum(), made.hit[told >= 0.75].sum())
    assert judged.net_r == pytest.approx(Sums(600, 0, made.gross_pct.sum(), 0.0, made.risk_pct.sum()).net_r(20.0))
    assert [decile.n for decile in judged.deciles] == [60] * 10
    order = np.argsort(told)
    assert [decile.hits for decile in judged.deciles] == [made.hit[part].sum() for part in np.split(order, 10)]
    assert judged_on(made, told, 2.0, 20.0, 0).kept_net_r is None


def test_the_interval_of_skill_covers_it() -> None:
    """Of 100 judgements of one true skill about 95 do."""
    inside, true = 0, 0.0
    many = examples(60_000, 0.9, 5)
    known = np.nan_to_num(many.values[:, 0])
    told = 1.0 / (1.0 + np.exp(-0.3 - 0.9 * known))
    true = 1.0 - ((told - many.hit) ** 2).mean() / many.hit.mean() / (1.0 - many.hit.mean())
    for part in np.array_split(np.arange(many.n), 100):
        _, low, high = skill_of(many.rows(part), told[part], 0)
        inside += low <= true <= high
    assert 86 <= inside <= 100


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (examples(9, 0.0).rows([0]), "too few signals that ended: 1, at least 200 are needed"),
        (examples(300, 0.0), r"too few signals that passed the gate in the judged part: \d+, at least 100"),
        (examples(900, 0.0)._replace(hit=np.ones(900, np.bool_)), "too few signals that passed .* blocks: 0, "),
        (examples(900, 0.0)._replace(known_ms=np.full(900, 2**50)), "too few signals to learn from .*: 0, "),
    ],
)
def test_too_little_to_learn_from_is_said(made: Examples, said: str) -> None:
    """With how much would do."""
    with pytest.raises(SetupError, match=said):
        trained(made)


def test_a_time_too_short_for_an_interval_is_said() -> None:
    """Stretches must be longer than what signals take to end."""
    made = examples(400, 0.0)
    short = made._replace(known_ms=made.close_ms + int(made.close_ms[-1]))
    with pytest.raises(SetupError, match="span too short a time"):
        judged_on(short, np.full(400, 0.5), 0.5, 20.0, 0)


def test_a_scorer_gives_what_its_log_odds_give(planted: tuple[Examples, Document]) -> None:
    """By name or by row."""
    scorer, made = Scorer(planted[1].formula), planted[0]
    named = dict(zip(made.names, made.values[0].tolist(), strict=True))
    row = [named[name] for name in scorer.formula.features]
    assert scorer.score(named) == scorer.score_row(row)
