"""A scoring model as it is stored, and the probability it gives a signal to touch its target first. Pure.

`tapewatch model train` makes the document with scikit-learn; here it is read and applied by plain arithmetic, so that a
run needs neither scikit-learn nor NumPy, and no file can hold code. The log odds of a signal are `base` plus the leaf
of each tree, or plus `weight * (value - mean) / scale` of each feature, at most `MOST_DEVIATIONS` scales from its mean,
where an unknown value adds nothing. Calibrated they are `slope * log odds + intercept` (J. Platt, Probabilistic outputs
for support vector machines, 1999).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, inf, isfinite, isnan
from typing import Annotated, Any, Final, Literal

import msgspec

from tapewatch.errors import SetupError
from tapewatch.features import VERSION
from tapewatch.model import NAN

#: What is read and written; a change of the document's meaning is another format.
FORMAT: Final = 1
#: Scoring takes a step for each level of each tree: with these a signal stays well below 100 µs.
MOST_TREES, MOST_NODES, MOST_FEATURES = 100, 31, 1_000
#: How far from its mean a value counts in a logistic regression: a single wild one shall not rule the score.
MOST_DEVIATIONS = 5.0

Index = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
#: Log odds and what they are made of: far more than a sound model has, and no sum of them is infinite.
Odds = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


class Node(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A place in a tree. A leaf has no `feature` and a `value`; else `left` is where `feature <= at_most` leads.

    `missing_left` says whether an unknown value goes left. `left` and `right` are places in the tree, behind this one.
    """

    feature: Index | None
    at_most: float
    missing_left: bool
    left: Index
    right: Index
    value: Odds


class Weight(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a feature adds to the log odds of a logistic regression: `weight * (value - mean) / scale`."""

    mean: float
    scale: float
    weight: Odds


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What log odds are turned into: `slope * log odds + intercept`."""

    slope: Odds
    intercept: Odds


class Trained(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """On what a model was trained: closes from `from_ms` to `to_ms`, so many rows, and hashes of what decides them."""

    from_ms: int
    to_ms: int
    rows: Index
    hashes: dict[str, str]


class Bin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenth of the judged signals, by score: the mean of their scores, and how many of them hit."""

    n: Index
    told: Share
    hits: Index


class Judged(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a model did on signals later than all it was trained on.

    Attributes:
        from_ms, to_ms: the closes of the first and the last of them.
        n, hits: how many, and how many touched their target first.
        brier: mean of (score - hit)²; `base_brier` that of telling each the hit rate of the training.
        skill: 1 - brier / base_brier; `skill_low` and `skill_high` are its interval at 95%.
        kept, kept_hits: those whose score reached the threshold.
        net_r, kept_net_r: R a signal after costs, of all and of those; None of none.
        deciles: by score, the lowest first.
    """

    from_ms: int
    to_ms: int
    n: Index
    hits: Index
    brier: float
    base_brier: float
    skill: float
    skill_low: float
    skill_high: float
    kept: Index
    kept_hits: Index
    net_r: float | None
    kept_net_r: float | None
    deciles: list[Bin]


class Formula(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What turns features into a probability; `trees` or `weights` are there by `kind`.

    Attributes:
        features: the names of what nodes and weights refer to by place.
        base: log odds before any feature.
    """

    kind: Literal["trees", "logistic"]
    features: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST_FEATURES)]
    base: Odds
    trees: Annotated[
        list[Annotated[list[Node], msgspec.Meta(min_length=1, max_length=MOST_NODES)]],
        msgspec.Meta(max_length=MOST_TREES),
    ] = []
    weights: list[Weight] = []
    calibration: Calibration


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A stored model.

    Attributes:
        feature_version: of the features' meaning, as `tapewatch.features.VERSION`.
        strategy, timeframes: whose signals it scores.
        skill: whether the judgement found any; without it the model does not serve.
        keep: the share of signals that was asked to be kept.
        threshold: the score from which so many were kept in training.
    """

    format: Literal[1] = FORMAT
    feature_version: int
    strategy: str
    timeframes: list[str]
    trained: Trained
    judged: Judged
    skill: bool
    keep: Share
    threshold: Share
    formula: Formula


def document_of(raw: Any, where: str = "the model") -> Document:
    """A document from plain values, as JSON gives them, whether or not it has skill.

    Raises:
        SetupError: it is no model, or not one that this version can apply; `where` names it.
    """
    if isinstance(raw, Mapping) and raw.get("format", FORMAT) != FORMAT:
        raise SetupError(f"{where}: format {raw['format']!r} is not known, only {FORMAT}; train it again")
    try:
        document = msgspec.convert(raw, Document)
    except msgspec.ValidationError as error:
        raise SetupError(f"{where}: no scoring model: {error}") from None
    problem = _problem(document.formula)
    if problem:
        raise SetupError(f"{where}: no scoring model: {problem}")
    if document.feature_version != VERSION:
        theirs = f"features of version {document.feature_version}"
        raise SetupError(f"{where}: it was trained on {theirs}, this program makes version {VERSION}; train it again")
    return document


def _problem(formula: Formula) -> str | None:
    count = len(formula.features)
    if len(set(formula.features)) < count:
        return "a feature is named twice"
    if formula.kind == "logistic" and (formula.trees or len(formula.weights) != count):
        return f"a logistic regression has one weight for each of its {count} features, and no trees"
    if formula.kind == "trees" and (formula.weights or not formula.trees):
        return "trees are missing, or have weights beside them"
    for number, tree in enumerate(formula.trees):
        for place, node in enumerate(tree):
            if node.feature is None:
                continue
            if node.feature >= count:
                return f"tree {number}, node {place}: there is no feature {node.feature}"
            if not place < min(node.left, node.right) <= max(node.left, node.right) < len(tree):
                return f"tree {number}, node {place}: what it leads to is not behind it"
    if any(weight.scale <= 0.0 for weight in formula.weights):
        return "a scale is not above 0"
    levels = [level for weight in formula.weights for level in (weight.mean, weight.scale)]
    levels += [node.at_most for tree in formula.trees for node in tree]
    return None if all(map(isfinite, levels)) else "a number is not finite"


#: A node as it is walked: feature, at_most, missing_left, left, right; a leaf is its value.
Step = tuple[int, float, bool, Any, Any] | float


class Scorer:
    """A formula, made ready."""

    def __init__(self, formula: Formula) -> None:
        self.formula = formula
        self._trees = [_walked(tree) for tree in formula.trees]
        self._weights = [(weight.mean, weight.scale, weight.weight) for weight in formula.weights]

    def score(self, features: Mapping[str, float]) -> float:
        """The probability that a signal with these features touches its target first, 0 to 1.

        What is missing, NaN or infinite is unknown to the model.
        """
        return self.score_row([features.get(name, NAN) for name in self.formula.features])

    def score_row(self, row: Sequence[float]) -> float:
        """The same of the features' values, in the order of the formula's names."""
        calibration = self.formula.calibration
        return logistic(calibration.slope * self.log_odds(row) + calibration.intercept)

    def log_odds(self, row: Sequence[float]) -> float:
        """Before calibration."""
        total = self.formula.base
        known = [value if -inf < value < inf else NAN for value in row]
        for tree in self._trees:
            place = tree
            while place.__class__ is tuple:
                feature, at_most, missing_left, left, right = place
                value = known[feature]
                place = left if value <= at_most or (missing_left and isnan(value)) else right
            total += place
        for (mean, scale, weight), value in zip(self._weights, known, strict=False):
            if not isnan(value):
                total += weight * min(MOST_DEVIATIONS, max(-MOST_DEVIATIONS, (value - mean) / scale))
        return total


class Model(Scorer):
    """A model that may serve.

    Attributes:
        document: as it was read.
    """

    def __init__(self, document: Document) -> None:
        super().__init__(document.formula)
        self.document = document

    @classmethod
    def read(cls, raw: Any, where: str = "the model") -> Model:
        """A model from plain values, as JSON gives them.

        Raises:
            SetupError: it is no model, was trained on other features, or has no skill; `where` names it.
        """
        document = document_of(raw, where)
        if not document.skill:
            raise SetupError(f"{where}: it has no skill and does not serve: {skill_words(document.judged)}")
        return cls(document)


def _walked(tree: Sequence[Node]) -> Any:
    """A tree as nested steps."""
    made: list[Step] = [0.0] * len(tree)
    for place in range(len(tree) - 1, -1, -1):
        node = tree[place]
        if node.feature is None:
            made[place] = node.value
        else:
            made[place] = (node.feature, node.at_most, node.missing_left, made[node.left], made[node.right])
    return made[0]


def skill_words(judged: Judged) -> str:
    """The judgement's figure in words."""
    low, high = f"{judged.skill_low:+.1%}", f"{judged.skill_high:+.1%}"
    signals = f"{judged.n:,} signals later than its training"
    return f"on {signals} its Brier score beats that of the hit rate by {judged.skill:+.1%} ({low} to {high})"


def logistic(log_odds: float) -> float:
    """1 / (1 + exp(-log_odds)), without overflow."""
    if log_odds >= 0.0:
        return 1.0 / (1.0 + exp(-log_odds))
    raised = exp(log_odds)
    return raised / (1.0 + raised)
