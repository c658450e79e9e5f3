"""A scoring model of one feature, of whichever strategy."""

from __future__ import annotations

from typing import Any

from model_samples import TREES
from tapewatch.engine.scorers import Scoring

#: What it gives a signal at the threshold of its feature or below, and above it: 1 / (1 + exp(±1)).
LOW, HIGH = 0.2689414213699951, 0.7310585786300049


def document(
    strategy: str = "often", feature: str = "volume_ratio", at: float = 1.0, others: tuple[str, ...] = (), **given: Any
) -> dict[str, Any]:
    """A model as it is stored: signals are likely to hit whose feature is above `at`; `others` it does not read."""
    tree = [[0, at, True, 1, 2, 0.0], [None, 0.0, False, 0, 0, -1.0], [None, 0.0, False, 0, 0, 1.0]]
    calibration = {"slope": 1.0, "intercept": 0.0}
    formula = {
        "kind": "trees",
        "features": [feature, *others],
        "base": 0.0,
        "trees": [tree],
        "calibration": calibration,
    }
    return TREES | {"strategy": strategy, "timeframes": ["1m"], "threshold": 0.5, "formula": formula} | given


def scoring(at_least: float | None = None, **given: Any) -> Scoring:
    """The same, read."""
    return Scoring.read(document(**given), at_least)
