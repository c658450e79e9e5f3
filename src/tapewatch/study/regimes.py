"""The regimes and the trend on bars of stored candles, as a run knows them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from tapewatch.archive.candles import Candles, Times
from tapewatch.engine.outlook import OutlookRunner, outlook_step
from tapewatch.model import INTERVAL_NAMES, Outlook
from tapewatch.strategy.definition import REGIMES
from tapewatch.study.evaluate import Evaluator, interpreted

_HOLDS = {1: True, 0: None, -1: False}


def regimes_at(candles: Candles, rows: Times, evaluator: Evaluator = "auto") -> list[str]:
    """Those that held on some bars, whose rows ascend, joined with `+`; none where they are not settled."""
    outlooks = outlooks_at(candles, rows, evaluator)
    return ["+".join(name for name, holds in outlook.regimes.items() if holds) for outlook in outlooks]


def outlooks_at(candles: Candles, rows: Times, evaluator: Evaluator = "auto") -> list[Outlook]:
    """What the market was like on some bars, whose rows ascend; nothing is known where it is not settled."""
    if not len(rows):
        return []
    if interpreted({candles.interval_ms: candles}, evaluator):
        return _interpreted(candles, rows)
    from tapewatch.study.columns import CHUNK, FrameColumns

    step, columns = outlook_step(candles.interval_ms), FrameColumns(candles, {})
    nodes = [step.step.nodes[place] for place in step.places]
    cells = [(columns.truth(node), columns.truth(node, wanted=False)) for node in nodes]
    found: list[Outlook] = []
    for start in range(0, int(rows[-1]) + 1, CHUNK):
        stop = min(start + CHUNK, len(candles))
        columns.run(start, stop)
        inside = rows[slice(*np.searchsorted(rows, (start, stop)))]
        settled = (inside >= step.settled_at)[:, None]
        holds, fails = (np.column_stack([pair[k].now[inside - start] for pair in cells]) & settled for k in (0, 1))
        found += _told(INTERVAL_NAMES[candles.interval_ms], holds, fails)
    return found


def _told(timeframe: str, holds: Any, fails: Any) -> list[Outlook]:
    known = (holds.astype(np.int8) - fails).tolist()
    return [
        Outlook(timeframe, {name: _HOLDS[code] for name, code in zip(REGIMES, row, strict=False)}, _trend(*row[-2:]))
        for row in known
    ]


def _trend(up: int, down: int) -> Literal["up", "down", "flat"] | None:
    if not up or not down:
        return None
    return "up" if up > 0 else "down" if down > 0 else "flat"


def _interpreted(candles: Candles, rows: Times) -> list[Outlook]:
    runner, wanted, found = OutlookRunner(candles.interval_ms), set(rows.tolist()), []
    for row, bar in enumerate(candles.slice(None, int(candles.open_ms[rows[-1]]) + 1).bars()):
        runner.feed(bar)
        if row in wanted:
            found.append(runner.outlook(row + 1))
    return found
