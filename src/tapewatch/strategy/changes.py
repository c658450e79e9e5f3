"""Mappings of strategies with some of their keys or parameters changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tapewatch.errors import StrategyError
from tapewatch.strategy.expression import did_you_mean

_MERGED = ("params", "duplicate", "higher", "regime", "budget", "trailing", "search")


def merged(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `override` on top; mappings of settings merge by key, everything else replaces."""
    result = dict(base)
    for key, value in override.items():
        below = base.get(key)
        if key in _MERGED and isinstance(below, Mapping) and isinstance(value, Mapping):
            result[key] = {**below, **value}
        else:
            result[key] = value
    return result


def with_params(mapping: Mapping[str, Any], params: Iterable[tuple[str, float]], name: str) -> dict[str, Any]:
    """The mapping with parameters set (`--set k=v`). Raises StrategyError for one it does not have."""
    params = list(params)
    if not params:
        return dict(mapping)
    given = mapping.get("params")
    known = dict(given) if isinstance(given, Mapping) else {}
    for key, value in params:
        if key not in known:
            raise StrategyError(f"no parameter '{key}'{did_you_mean(key, known)}", where=f"{name}.params")
        known[key] = value
    return {**mapping, "params": known}
