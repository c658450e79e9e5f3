"""The metrics of a run as plain figures, small enough to be kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

#: Quantiles of what a histogram took since the last sample.
QUANTILES = (0.5, 0.95, 0.99)
#: Labels with many values: their samples are summed up.
_MANY = frozenset({"connection"})
_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
#: So many decimals are kept.
_DECIMALS = 6


class Sampler:
    """Reads a registry again and again.

    Args:
        registry: what is sampled.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._buckets: dict[str, dict[float, float]] = {}

    def sample(self) -> dict[str, float]:
        """Figure -> value now, by the name Prometheus has for it with its labels; what is zero is left out.

        A histogram gives its `_count` and `_sum`, and as labels `quantile` the quantiles of what it took since the last
        sample, if that was anything, as Prometheus would estimate them.
        """
        found: dict[str, float] = {}
        for family in self._registry.collect():
            if family.type == "info":
                continue
            for sample in family.samples:
                if sample.name.endswith(("_created", "_bucket")):
                    continue
                name = named(sample.name, {key: one for key, one in sample.labels.items() if key not in _MANY})
                found[name] = found.get(name, 0.0) + sample.value
            if family.type == "histogram":
                found |= self._quantiles(family)
        rounded = {name: round(value, _DECIMALS) for name, value in found.items()}
        return {name: int(value) if value.is_integer() else value for name, value in rounded.items() if value}

    def _quantiles(self, family: Metric) -> dict[str, float]:
        buckets: dict[str, dict[float, float]] = {}
        labels: dict[str, dict[str, str]] = {}
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                own = {key: one for key, one in sample.labels.items() if key != "le"}
                name = named(family.name, own)
                labels[name] = own
                buckets.setdefault(name, {})[float(sample.labels["le"])] = sample.value
        found: dict[str, float] = {}
        for name, now in buckets.items():
            before = self._buckets.get(name, {})
            added = [(most, count - before.get(most, 0.0)) for most, count in sorted(now.items())]
            self._buckets[name] = now
            if added[-1][1] > 0:
                for share in QUANTILES:
                    found[named(family.name, labels[name] | {"quantile": f"{share:g}"})] = quantile(added, share)
        return found


def named(name: str, labels: Mapping[str, str]) -> str:
    """A metric with its labels as Prometheus writes them."""
    if not labels:
        return name
    pairs = (f'{key}="{one.translate(_ESCAPED)}"' for key, one in labels.items())
    return f"{name}{{{','.join(pairs)}}}"


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float:
    """A quantile of cumulated counts by upper bound, spread evenly over each bucket.

    One beyond the last finite bound is that bound.
    """
    rank = share * buckets[-1][1]
    low, below = 0.0, 0.0
    for most, count in buckets:
        if count >= rank and count > below:
            return low if most == float("inf") else low + (most - low) * (rank - below) / (count - below)
        low, below = most, count
    return low
