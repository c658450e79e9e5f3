"""Examples to learn from: features of which one tells something, or none does, with some unknown."""

from __future__ import annotations

import numpy as np

from tapewatch.study.examples import Examples

MINUTE_MS = 60_000


def examples(count: int, effect: float, seed: int = 0, shape: str = "line") -> Examples:
    """Signals in bunches, each known within 20 minutes; a log odds of `effect` for each unit of the first feature.

    With the shape `bowl` it is the distance of the second feature from 0 that tells; a tenth of values is unknown.
    """
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, 6))
    told = values[:, 0] if shape == "line" else np.abs(values[:, 1]) * 2.0 - 1.6
    hit = random.random(count) < 1.0 / (1.0 + np.exp(-0.3 - effect * told))
    values[random.random(values.shape) < 0.1] = np.nan
    close_ms = np.sort(random.integers(0, count // 3, count)) * 15 * MINUTE_MS
    known_ms = close_ms + random.integers(1, 21, count) * MINUTE_MS
    gross_pct = np.where(hit, 1.0, -1.5)
    names = tuple(f"value.{number}" for number in range(6))
    passed = random.random(count) < 0.8
    return Examples(names, values, hit, passed, close_ms, known_ms, gross_pct, np.full(count, 1.5))
