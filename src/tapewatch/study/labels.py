"""What became of candidates as labels, and what each tells alone: those that overlap share what happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tapewatch.model import Signal
from tapewatch.outcomes import followed_of
from tapewatch.study.dataset import KEYS, Column, Dataset, keys_of
from tapewatch.study.outcomes import Known

#: Raised with every change after which a column means something else.
VERSION = 1
Label = Mapping[str, Any]

_LABELS = (
    Column("result", "string", "", "target or stop, whichever was touched first; time if neither; open if not yet"),
    Column("end_ms", "integer", "ms since 1970 UTC", "close of the candle that ended it: from then on it is known"),
    Column("price", "number", "quote units", "where it ended"),
    Column("bars", "integer", "bars", "bars of its timeframe to its end, the last one counted"),
    Column("gross_r", "number", "R", "what it brought before costs; R is the way from entry to stop"),
    Column("net_r", "number", "R", "what it brought after costs"),
    Column("gross_pct", "number", "percent", "what it brought before costs, of the entry"),
    Column("risk_pct", "number", "percent", "way from entry to stop, of the entry"),
    Column("mfe_r", "number", "R", "best price on the way"),
    Column("mae_r", "number", "R", "worst price on the way"),
    Column("ambiguous", "boolean", "", "whether its last candle touched both stop and target; it counts as the stop"),
    Column("weight", "number", "share", "its average uniqueness among all rows: 1 alone, less where others overlap it"),
    Column("symbol_weight", "number", "share", "its average uniqueness among the rows of its symbol"),
)  # fmt: skip
COLUMNS = (*KEYS, *_LABELS)
_TOLD = [column.name for column in _LABELS if not column.name.endswith("weight")]


def outcomes_dataset(labelled: Iterable[tuple[Signal, Label | None]], about: Mapping[str, Any]) -> Dataset:
    """A row for each candidate with what became of it, weighed by overlap.

    A label has the names of `COLUMNS` from `result` to `ambiguous`; None where nothing is known, as of a candidate
    whose stop or target rounding left at its entry. Only labels that have ended have weights. One that is open overlaps
    whatever ends after it began, as it will once it has ended, so rows that have ended stay as they are.
    """
    found = list(labelled)
    ended = [n for n, (_, label) in enumerate(found) if label is not None and label.get("end_ms") is not None]
    there = [n for n, (_, label) in enumerate(found) if label is not None]
    ends_ms = [label.get("end_ms") for _, label in found if label is not None]
    last_ms = max((end for end in ends_ms if end is not None), default=0)
    starts = [found[n][0].close_ms for n in there]
    ends = [max(last_ms, start + 1) if end is None else end for start, end in zip(starts, ends_ms, strict=True)]
    symbols = [found[n][0].symbol for n in there]
    weights = np.full((len(found), 2), np.nan)
    weights[there] = np.column_stack([uniqueness(starts, ends), uniqueness_by(symbols, starts, ends)])
    kept = np.full_like(weights, np.nan)
    kept[ended] = weights[ended]
    rows = (
        [*keys_of(signal), *((label or {}).get(name) for name in _TOLD), *of_row]
        for (signal, label), of_row in zip(found, kept.tolist(), strict=True)
    )
    return Dataset.of("outcomes", VERSION, COLUMNS, rows, about)


def labels_of(known: Known) -> Iterator[tuple[Signal, Label | None]]:
    """Candidates of stored candles with what became of them."""
    for signal, fate in known.signals:
        if fate is None:
            yield signal, None
            continue
        told = {name: getattr(fate, name) for name in _TOLD if name != "end_ms"}
        yield signal, told | {"end_ms": fate.known_ms}


def stored_labels(labelled: Iterable[tuple[Signal, Label | None]], limit: int) -> Iterator[tuple[Signal, Label | None]]:
    """The stored signals of a strategy: of those of which nothing is known the ones that are open yet are told so.

    These are the ones whose time, `limit` bars, was not over when the last was known that has ended.
    """
    found = list(labelled)
    last_ms = max((label["end_ms"] for _, label in found if label is not None), default=0)
    for signal, label in found:
        path = followed_of(signal, limit) if label is None else None
        is_open = path is not None and path.path.expiry_ms >= last_ms
        yield signal, {"result": "open"} if is_open else label


def uniqueness(starts_ms: Any, ends_ms: Any) -> Any:
    """The average uniqueness of labels: of each the mean over its time of 1 / (labels that lie there), 0 to 1.

    Lopez de Prado, Advances in Financial Machine Learning (2018), section 4.4, over time itself instead of bars. A
    label that ends where another starts does not overlap it. What a label weighs does not depend on what starts after
    it has ended.

    Args:
        starts_ms: where labels start, in any order.
        ends_ms: where they end, after their starts.
    """
    starts, ends = np.asarray(starts_ms, np.int64), np.asarray(ends_ms, np.int64)
    times = np.unique(np.concatenate([starts, ends]))
    first, last = np.searchsorted(times, starts), np.searchsorted(times, ends)
    steps = np.bincount(first, minlength=len(times)) - np.bincount(last, minlength=len(times))
    there = np.maximum(np.cumsum(steps)[:-1], 1)
    shared = np.concatenate([[0.0], np.cumsum(np.diff(times) / there)])
    return (shared[last] - shared[first]) / (ends - starts)


def uniqueness_by(groups: Sequence[Any], starts_ms: Any, ends_ms: Any) -> Any:
    """The same within groups: labels of different ones do not overlap."""
    starts, ends = np.asarray(starts_ms, np.int64), np.asarray(ends_ms, np.int64)
    found = np.ones(len(starts))
    names, mine = np.unique(np.asarray(groups), return_inverse=True)
    for number in range(len(names)):
        rows = np.flatnonzero(mine == number)
        found[rows] = uniqueness(starts[rows], ends[rows])
    return found
