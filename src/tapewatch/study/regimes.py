"""The regimes that held on bars of stored candles, as a run knows them."""

from __future__ import annotations

import numpy as np

from tapewatch.archive.candles import Candles, Times
from tapewatch.engine.outlook import OutlookRunner, outlook_step
from tapewatch.strategy.definition import REGIMES
from tapewatch.study.evaluate import Evaluator, interpreted


def regimes_at(candles: Candles, rows: Times, evaluator: Evaluator = "auto") -> list[str]:
    """Those that held on some bars, whose rows ascend, joined with `+`; none where they are not settled."""
    if not len(rows):
        return []
    if interpreted({candles.interval_ms: candles}, evaluator):
        return _interpreted(candles, rows)
    from tapewatch.study.columns import CHUNK, FrameColumns

    step, columns = outlook_step(candles.interval_ms), FrameColumns(candles, {})
    cells = [columns.truth(step.step.nodes[place]) for place in step.places[: len(REGIMES)]]
    found: list[str] = []
    for start in range(0, int(rows[-1]) + 1, CHUNK):
        stop = min(start + CHUNK, len(candles))
        columns.run(start, stop)
        inside = rows[slice(*np.searchsorted(rows, (start, stop)))]
        held = np.column_stack([cell.now[inside - start] for cell in cells]) & (inside >= step.settled_at)[:, None]
        found += [_named(of_row) for of_row in held.tolist()]
    return found


def _interpreted(candles: Candles, rows: Times) -> list[str]:
    runner, wanted, found = OutlookRunner(candles.interval_ms), set(rows.tolist()), []
    for row, bar in enumerate(candles.slice(None, int(candles.open_ms[rows[-1]]) + 1).bars()):
        runner.feed(bar)
        if row in wanted:
            regimes = runner.outlook(row + 1).regimes
            found.append(_named([regimes[name] is True for name in REGIMES]))
    return found


def _named(holds: list[bool]) -> str:
    return "+".join(name for name, held in zip(REGIMES, holds, strict=True) if held)
