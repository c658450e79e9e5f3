"""What became of signals like one, in words that do not flatter: beside chance, and after costs."""

from __future__ import annotations

import math
from typing import NamedTuple

from tapewatch.channels.labels import quote_asset, short
from tapewatch.channels.lines import Line
from tapewatch.model import Rate, Record, Signal
from tapewatch.record import FEW, skill_of


class Told(NamedTuple):
    """A record in words: its lines, what they come to, and whether that is a warning."""

    lines: list[Line]
    verdict: str = ""
    warning: bool = False


def record_words(record: Record | None, signal: Signal) -> Told:
    """The record as at most two lines and a verdict; nothing where there is no record."""
    if record is None:
        return Told([])
    regime = short(record.regime or "").replace("+", ", ").replace("_", " ")
    label = f"Record ({regime})" if regime else "Record"
    every = record.all
    if every.n == 0:
        return Told([Line(label, "no signal like this has ended yet")])
    lines = [Line(label, _hits(record)), *_costs(record, signal)]
    skill = skill_of(every, record.baseline, record.baseline_n)
    verdicts = [_SKILLS[skill]] if skill in _SKILLS else []
    warning = skill in {"none", "worse"}
    if record.net_r < 0:
        verdicts.append("loses after costs")
        warning = True
    joint = ", but " if warning and verdicts[:1] == [_BETTER] else "; "
    verdict = joint.join(verdicts)
    return Told(lines, verdict[:1].upper() + verdict[1:], warning)


_BETTER = "more often right than random entries"
_SKILLS = {
    "better": _BETTER,
    "worse": "worse than chance",
    "none": "no better than chance so far",
    "few": "too few to tell",
}


def _hits(record: Record) -> str:
    every, last = record.all, record.last
    history = f"{record.backfilled:,} of them from history" if record.backfilled else ""
    known = math.isfinite(record.baseline) and record.baseline_n
    chance = f"random entry {record.baseline:.0%}" if known else "random entry not known yet"
    if every.n < FEW:
        return f"target first {every.hits} of {every.n}{f' ({history})' if history else ''}, {chance}"
    words = f"target first {_share(every)} of {every.n:,} ({_interval(every)}{f'; {history}' if history else ''})"
    words += f", {chance}"
    if last.n < every.n:
        words += f"; last {last.n}: {_share(last)} ({_interval(last)})"
    return words


def _costs(record: Record, signal: Signal) -> list[Line]:
    if not math.isfinite(record.net_r):
        return []
    quote = short(quote_asset(signal.symbol)) or "quote"
    brought = f"{record.net_r:+.2f} R a signal"
    if math.isfinite(record.net_quote):
        brought += f", {record.net_quote:+.2f} per 1,000 {quote}"
    return [Line(f"After costs of {record.cost_bps:g} bps", brought)]


def _share(rate: Rate) -> str:
    return f"{rate.hits / rate.n:.0%}"


def _interval(rate: Rate) -> str:
    return f"{rate.low * 100:.0f}-{rate.high * 100:.0f}%"
