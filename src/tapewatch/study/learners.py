"""The two kinds of a scoring model, learned with scikit-learn: shallow boosted trees and a logistic regression.

What comes back is a formula of `tapewatch.scoring`: scikit-learn is needed to learn, not to score.
"""

from __future__ import annotations

import sys
from math import log
from typing import Any, Literal

import numpy as np

from tapewatch.errors import SetupError
from tapewatch.scoring import MOST_DEVIATIONS, Calibration, Formula, Node, Scorer, Weight
from tapewatch.study.examples import Examples

Kind = Literal["trees", "logistic"]
KINDS: tuple[Kind, ...] = ("logistic", "trees")
#: Signals say little each: many small steps of trees that ask three questions, each answer of many rows.
TREES, RATE, DEPTH, LEAF_ROWS, LEAF_SHARE, RIDGE = 100, 0.05, 3, 20, 0.02, 1.0
#: The inverse of the regression's penalty; of features in standard deviations.
LOOSENESS = 0.1
AS_IT_IS = Calibration(1.0, 0.0)
#: A threshold above every value: there the known ones are apart from the unknown. JSON has no infinity.
ABOVE_ALL = sys.float_info.max


def check_installed() -> None:
    """Raises SetupError where scikit-learn is missing."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise SetupError("model train needs scikit-learn; `pip install 'tapewatch[ml]'` does it") from None


def learned(kind: Kind, examples: Examples, weights: Any, seed: int) -> Formula:
    """A formula of the features that vary, not calibrated yet, of weighted examples with hits and misses.

    The same input gives the same bits.
    """
    from threadpoolctl import threadpool_limits

    examples = examples.only(examples.varying)
    with threadpool_limits(1):  # sums of several threads differ in their last bits
        if kind == "trees":
            return _trees(boosted(examples.values, examples.hit, weights, seed), examples.names)
        return _regression(examples, weights)


def boosted(values: Any, hit: Any, weights: Any, seed: int) -> Any:
    """A fitted classifier of shallow trees."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        learning_rate=RATE,
        max_iter=TREES,
        max_depth=DEPTH,
        min_samples_leaf=max(LEAF_ROWS, round(LEAF_SHARE * len(hit))),
        l2_regularization=RIDGE,
        early_stopping=False,
        random_state=seed,
    )
    return model.fit(values, hit, sample_weight=weights)


def _trees(model: Any, names: tuple[str, ...]) -> Formula:
    trees = [_tree(stage[0].nodes) for stage in model._predictors]  # noqa: SLF001 - they are public nowhere
    base = float(model._baseline_prediction.item())  # noqa: SLF001
    return Formula(kind="trees", features=list(names), base=base, trees=trees, calibration=AS_IT_IS)


def _tree(nodes: Any) -> list[Node]:
    made = []
    for node in nodes:
        if node["is_leaf"]:
            made.append(Node(None, 0.0, False, 0, 0, float(node["value"])))
            continue
        at_most = min(float(node["num_threshold"]), ABOVE_ALL)
        ways = int(node["left"]), int(node["right"])
        made.append(Node(int(node["feature_idx"]), at_most, bool(node["missing_go_to_left"]), *ways, 0.0))
    return made


def standardised(values: Any, mean: Any, scale: Any) -> Any:
    """In standard deviations, at most `MOST_DEVIATIONS` from the mean; what is unknown is at the mean."""
    deviations = np.clip((values - mean) / scale, -MOST_DEVIATIONS, MOST_DEVIATIONS)
    return np.where(np.isnan(deviations), 0.0, deviations)


def _regression(examples: Examples, weights: Any) -> Formula:
    from sklearn.linear_model import LogisticRegression

    mean, scale = np.nanmean(examples.values, axis=0), np.nanstd(examples.values, axis=0)
    scale = np.where(scale > 0.0, scale, 1.0)
    model = LogisticRegression(C=LOOSENESS, tol=1e-8, max_iter=1_000)
    model.fit(standardised(examples.values, mean, scale), examples.hit, sample_weight=weights)
    columns = zip(mean.tolist(), scale.tolist(), model.coef_[0].tolist(), strict=True)
    return Formula(
        kind="logistic",
        features=list(examples.names),
        base=float(model.intercept_[0]),
        weights=[Weight(*column) for column in columns],
        calibration=AS_IT_IS,
    )


def log_odds(formula: Formula, examples: Examples) -> Any:
    """Of each example before calibration, as a run computes them."""
    return np.array([*map(Scorer(formula).log_odds, _rows(formula, examples))])


def scores(formula: Formula, examples: Examples) -> Any:
    """The probability of each example, as a run computes it."""
    return np.array([*map(Scorer(formula).score_row, _rows(formula, examples))])


def _rows(formula: Formula, examples: Examples) -> list[list[float]]:
    places = {name: place for place, name in enumerate(examples.names)}
    columns = [
        examples.values[:, places[name]] if name in places else np.full(examples.n, np.nan) for name in formula.features
    ]
    rows: list[list[float]] = np.column_stack(columns).tolist()
    return rows


def calibration_of(odds: Any, hit: Any) -> Calibration:
    """Platt's sigmoid over the log odds of examples that were not learned from.

    The slope is never negative: what was learned the wrong way round says nothing.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e4).fit(odds[:, None], hit)  # in effect without a penalty
    if model.coef_[0, 0] > 0.0:
        return Calibration(float(model.coef_[0, 0]), float(model.intercept_[0]))
    share = float(hit.mean())
    return Calibration(0.0, log(share / (1.0 - share)))
