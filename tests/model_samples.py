"""Two small scoring models as they are stored: trees and a logistic regression."""

from __future__ import annotations

from typing import Any

from tapewatch.features import VERSION

COMMON: dict[str, Any] = {
    "format": 1,
    "feature_version": VERSION,
    "strategy": "scalp",
    "timeframes": ["1m"],
    "trained": {"from_ms": 0, "to_ms": 60_000, "rows": 1_000, "hashes": {"strategy": "00"}},
    "judged": {
        "from_ms": 120_000,
        "to_ms": 180_000,
        "n": 400,
        "hits": 200,
        "brier": 0.2425,
        "base_brier": 0.25,
        "skill": 0.03,
        "skill_low": 0.01,
        "skill_high": 0.05,
        "kept": 80,
        "kept_hits": 52,
        "net_r": -0.5,
        "kept_net_r": None,
        "deciles": [{"n": 40, "told": 0.5, "hits": 20}],
    },
    "skill": True,
    "keep": 0.2,
    "threshold": 0.6,
}
FEATURES: dict[str, Any] = {"features": ["rsi", "spread"], "calibration": {"slope": 2.0, "intercept": -0.5}}
BRANCHES = [
    [[0, 30.0, True, 1, 2, 0.0], [None, 0.0, False, 0, 0, -0.5], [None, 0.0, False, 0, 0, 0.75]],
    [[1, 2.0, False, 1, 2, 0.0], [None, 0.0, False, 0, 0, 0.25], [None, 0.0, False, 0, 0, -1.0]],
]
TREES: dict[str, Any] = COMMON | {"formula": FEATURES | {"kind": "trees", "base": 0.1, "trees": BRANCHES}}
WEIGHTS = [[50.0, 10.0, 0.3], [2.0, 0.5, -0.4]]
LOGISTIC: dict[str, Any] = COMMON | {"formula": FEATURES | {"kind": "logistic", "base": 0.2, "weights": WEIGHTS}}
