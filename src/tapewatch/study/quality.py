"""What of alerts a report shows: how they did, whether what was told with them came, and how they were delivered."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tapewatch.record import ENOUGH, Score, rate_of
from tapewatch.reliability import Reliability
from tapewatch.study.charts import Scale
from tapewatch.study.words import count, percent, ratio

#: Side of the drawing of what was told beside what came, and the room of its labels.
SIZE, FOOT = 320, 30
#: States of a message from which nothing more follows.
WAITING = ("queued", "sending")
#: Of a channel whose message another one delivered in its place.
ELSEWHERE = "superseded"


@dataclass(frozen=True)
class Judged:
    """How the signals of a strategy's timeframe did.

    Attributes:
        sentences: in words.
        scores: of all of them, and of each side.
        strength: whether stronger ones did better.
    """

    sentences: Sequence[str]
    scores: Sequence[Score]
    strength: Reliability


def quality(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """The tables of each strategy's timeframe."""
    return [
        {
            "title": f"{one.scores[0].strategy} {one.scores[0].timeframe}",
            "sentences": [sentence for sentence in one.sentences if sentence],
            "scores": [_score(score) for score in one.scores],
            "deciles": [_decile(decile) for decile in one.strength.deciles if decile.rate.n],
        }
        for one in judged
    ]


def told(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What was told with alerts (see `DeliveryTables.told`) beside what came, by tenths of the hit rate that was told.

    Only a rate of enough signals is one.
    """
    known = [
        (row["record"].all.hits / row["record"].all.n, row["hit"], row["record"].net_r, row["net_r"])
        for row in rows
        if row["record"].all.n >= ENOUGH
    ]
    bins = []
    for low in range(10):
        inside = [one for one in known if low <= min(one[0] * 10, 9.999) < low + 1]
        if inside:
            rate = rate_of(sum(hit for _, hit, *_ in inside), len(inside))
            bins.append((sum(share for share, *_ in inside) / len(inside), rate))
    if not known:
        return {"count": 0, "text": "", "rows": [], "dots": []}
    all_of_them = rate_of(sum(hit for _, hit, *_ in known), len(known))
    brier = sum((share - hit) ** 2 for share, hit, *_ in known) / len(known)
    both = [(said, came) for *_, said, came in known if came is not None and not math.isnan(said)]
    net = f"; {ratio(_mean([one[0] for one in both]), 2, ' R', sign=True)} a signal after costs was told, "
    net += f"{ratio(_mean([one[1] for one in both]), 2, ' R', sign=True)} came"
    return {
        "count": len(known),
        "text": f"With {count(len(known), 'alert')} whose end is known a hit rate was sent: "
        f"{percent(_mean([one[0] for one in known]) * 100, 1)} on average; "
        f"{percent(all_of_them.hits / len(known) * 100, 1)} "
        f"hit ({percent(all_of_them.low * 100, 0)} to {percent(all_of_them.high * 100, 0)}, 95%). Brier score "
        f"{ratio(brier, 3)}, where always telling 50% has 0.250{net if both else ''}.",
        "rows": [
            (percent(said * 100, 1), f"{of.n:,}", percent(of.hits / of.n * 100, 1), _interval(of.low, of.high))
            for said, of in bins
        ],
        "dots": [_dot(said, of) for said, of in bins],
    }


def marks() -> list[dict[str, Any]]:
    """The quarters of both axes of the drawing."""
    return [_place(share) | {"text": f"{share * 100:.0f}"} for share in (0.0, 0.25, 0.5, 0.75, 1.0)]


def delivery(messages: Sequence[Mapping[str, Any]], attempts: Mapping[tuple[str, str], int]) -> list[dict[str, str]]:
    """A row for each channel: how many messages, how many arrived, how soon."""
    rows = []
    for channel in sorted({row["channel"] for row in messages}):
        own = [row for row in messages if row["channel"] == channel]
        waiting, elsewhere = (sum(row["state"] in of for row in own) for of in (WAITING, (ELSEWHERE,)))
        dead = sum(row["state"] == "dead" for row in own)
        done = len(own) - waiting - elsewhere
        rate = rate_of(done - dead, done)
        took = sorted(row["sent_ms"] - row["created_ms"] for row in own if row["sent_ms"] is not None)
        tried = sum(number for (name, _), number in attempts.items() if name == channel)
        failed = tried - attempts.get((channel, "sent"), 0)
        rows.append(
            {
                "channel": channel,
                "messages": f"{len(own):,}",
                "arrived": percent(rate.hits / rate.n * 100, 1) if rate.n else "-",
                "interval": _interval(rate.low, rate.high) if rate.n else "",
                "dead": f"{dead:,}",
                "waiting": f"{waiting:,}",
                "elsewhere": f"{elsewhere:,}",
                "failed": f"{failed:,} of {tried:,}",
                **{name: _took(took, share) for name, share in (("half", 0.5), ("most", 0.95), ("worst", 1.0))},
            }
        )
    return rows


def _took(sorted_ms: Sequence[int], share: float) -> str:
    """The time within which a share arrived."""
    if not sorted_ms:
        return "-"
    taken_ms = sorted_ms[max(math.ceil(share * len(sorted_ms)) - 1, 0)]
    return f"{taken_ms:,} ms" if taken_ms < 1_000 else f"{taken_ms / 1_000:,.1f} s"


def _score(score: Score) -> dict[str, Any]:
    return {
        "name": score.side or "both sides",
        "n": f"{score.n:,}",
        "rate": percent(score.rate * 100, 1),
        "interval": _interval(score.low, score.high) if score.n else "",
        "random": percent(score.baseline * 100, 1),
        "lift": ratio(score.lift, 1, sign=True),
        "break_even": percent(score.break_even_rate * 100, 1),
        "net": ratio(score.net_r, 2, " R", sign=True),
        "net_value": score.net_r,
    }


def _decile(decile: Any) -> dict[str, str]:
    of = decile.rate
    return {
        "name": f"{decile.low} to {decile.low + 1}",
        "n": f"{of.n:,}",
        "rate": percent(of.hits / of.n * 100, 1),
        "interval": _interval(of.low, of.high),
        "net": ratio(decile.net_r, 2, " R", sign=True),
        "net_value": decile.net_r,
    }


def _dot(said: float, of: Any) -> dict[str, Any]:
    """Its place in the drawing, with the ends of its interval."""
    came = of.hits / of.n
    words = f"told {percent(said * 100, 1)}, came {percent(came * 100, 1)} of {of.n:,} ({_interval(of.low, of.high)})"
    ends = {"low": _place(of.low)["y"], "high": _place(of.high)["y"]}
    return {"x": _place(said)["x"], "y": _place(came)["y"], **ends, "text": words}


def _place(share: float) -> dict[str, Any]:
    """Where a share lies to the right, and upwards."""
    return {"x": Scale(0, 1, FOOT, SIZE - 8)(share), "y": Scale(0, 1, SIZE - FOOT, 8)(share)}


def _interval(low: float, high: float) -> str:
    return f"{percent(low * 100, 0)} to {percent(high * 100, 0)}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
