"""A scoring model in words: whether it serves, what it was trained on, and how it did on later signals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tapewatch.cli import options
from tapewatch.cli.scoring import percent
from tapewatch.model import Rate
from tapewatch.record import rate_of, share
from tapewatch.scoring import Document, Formula, Judged, skill_words

#: Features that are named of those it decides by.
NAMED = 6


def lines_of(document: Document, name: str) -> Iterator[str]:
    """The judgement first, then what it is of."""
    judged, trained, formula = document.judged, document.trained, document.formula
    verdict = "skill" if document.skill else "no skill, it does not serve"
    yield f"{name}: {verdict}: {skill_words(judged)}"
    of_what = f"{document.strategy} {', '.join(document.timeframes)}"
    kind = options.counted(len(formula.trees), "tree") if formula.kind == "trees" else "a logistic regression"
    yield f"  trained    {kind} on {options.counted(trained.rows, 'signal')} of {of_what}"
    yield f"             {options.iso(trained.from_ms)} to {options.iso(trained.to_ms)}"
    yield f"  judged     {options.iso(judged.from_ms)} to {options.iso(judged.to_ms)}"
    yield f"  Brier      {judged.brier:.4f}, telling each the hit rate {judged.base_brier:.4f}"
    yield f"  decides by {', '.join(decisive(formula)) or 'nothing: every signal has the same score'}"
    yield from _precision(document)
    yield from _deciles(judged)


def decisive(formula: Formula) -> list[str]:
    """Features it decides by most: in the most nodes, or of the largest weights; none where every score is the same."""
    if formula.calibration.slope == 0.0:
        return []
    counts = Counter[int]()
    for tree in formula.trees:
        counts.update(node.feature for node in tree if node.feature is not None)
    sizes = dict(counts) | {place: abs(one.weight) for place, one in enumerate(formula.weights) if one.weight}
    return [formula.features[place] for place in sorted(sizes, key=lambda place: (-sizes[place], place))[:NAMED]]


def _precision(document: Document) -> Iterator[str]:
    judged = document.judged
    yield f"  all        {_said(rate_of(judged.hits, judged.n), judged.net_r)}"
    kept = f"scores from {document.threshold:.3f}, of training {percent(document.keep)}"
    yield f"  kept       {_said(rate_of(judged.kept_hits, judged.kept), judged.kept_net_r)}; {kept}"


def _said(rate: Rate, net_r: float | None) -> str:
    """A hit rate with its interval, the false positives that are left, and money."""
    if net_r is None:
        return "none"
    hits = (
        f"target first {percent(share(rate.hits, rate.n))} of {rate.n:,} ({100 * rate.low:.0f}-{100 * rate.high:.0f}%)"
    )
    return f"{hits}, false positives {percent(1.0 - rate.hits / rate.n)}, {net_r:+.2f} R after costs"


def _deciles(judged: Judged) -> Iterator[str]:
    yield f"  {'score':>8} {'n':>6}  target first"
    for one in judged.deciles:
        rate = rate_of(one.hits, one.n)
        yield f"  {one.told:>8.1%} {one.n:>6,}  {percent(one.hits / one.n):>6} {_interval(rate)}"


def _interval(rate: Rate) -> str:
    return f"{100 * rate.low:.0f}-{100 * rate.high:.0f}%"
