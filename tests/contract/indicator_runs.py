"""An expression over bars by either evaluator, and the bars that the contract of the indicators runs on."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from core_samples import bar
from tapewatch.archive.candles import Candles
from tapewatch.errors import StrategyError
from tapewatch.model import MINUTE_MS, NAN, Bar
from tapewatch.strategy.expression import Reader
from tapewatch.strategy.graph import FALSE, TRUE, Graph, Node
from tapewatch.strategy.step import FrameStep, compile_frame
from tapewatch.study.columns import CHUNK, FrameColumns

Floats = npt.NDArray[np.float64]

#: A condition as a number: true, false, and NaN for unknown.
_TRUTH = {TRUE: 1.0, FALSE: 0.0}


def parsed(text: str, source: str = "close") -> tuple[Graph, Node]:
    """The graph of an expression, and its node; `X` stands for the source."""
    text = re.sub(r"\bX\b", source, text)
    for kind in ("number", "condition"):
        graph = Graph()
        try:
            return graph, Reader(graph, {}, {}).read(text, MINUTE_MS, kind, text)  # type: ignore[arg-type]
        except StrategyError as error:
            wrong = error
    raise wrong


def step_of(text: str, source: str) -> tuple[FrameStep, Node]:
    """The live step of an expression."""
    graph, node = parsed(text, source)
    return compile_frame(graph, MINUTE_MS, None), node


def feed(step: FrameStep, node: Node, bars: Sequence[Bar], state: list[Any]) -> list[float]:
    """The node's value on every bar; `state` is changed."""
    values = []
    for one in bars:
        result = step.function(one, state, (), False)
        assert result is not None
        value = result[1][node.index]
        values.append(value if node.kind == "number" else _TRUTH.get(int(value), NAN))
    return values


def interpreted(text: str, bars: Sequence[Bar], source: str = "close") -> Floats:
    """The live evaluator's values from a fresh start."""
    step, node = step_of(text, source)
    return np.array(feed(step, node, bars, step.fresh_state()), np.float64)


def compiled(text: str, candles: Candles, source: str = "close", edges: Sequence[int] = ()) -> Floats:
    """The research evaluator's values from a fresh start, in pieces that end at `edges`."""
    _, node = parsed(text, source)
    columns = FrameColumns(candles, {})
    cells = (
        [columns.number(node)] if node.kind == "number" else [columns.truth(node), columns.truth(node, wanted=False)]
    )
    out = np.full(len(candles), NAN)
    stops = sorted({*edges, *range(CHUNK, len(candles), CHUNK), len(candles)})
    for start, stop in zip([0, *stops], stops, strict=False):
        columns.run(start, stop)
        if node.kind == "number":
            out[start:stop] = cells[0].now
        else:
            out[start:stop][np.broadcast_to(cells[0].now, stop - start)] = 1.0
            out[start:stop][np.broadcast_to(cells[1].now, stop - start)] = 0.0
    return out


def market(count: int, seed: int = 3, *, scale: float = 100.0) -> list[Bar]:
    """A noisy price that stays near `scale`, over several sessions, with holes and bars without volume."""
    random = np.random.default_rng(seed)
    prices = scale * (1 + 0.02 * random.standard_normal(count + 1).cumsum() / math.sqrt(count) + 0.001)
    minutes = np.arange(count) * 7 + random.integers(0, 3, count).cumsum() * 11
    bars = []
    for k in range(count):
        opened, closed = float(prices[k]), float(prices[k + 1])
        high, low = max(opened, closed) * (1 + random.random() / 900), min(opened, closed) * (1 - random.random() / 900)
        volume = 0.0 if random.random() < 0.1 else float(random.lognormal())
        bars.append(
            bar(
                int(minutes[k]), closed, open=opened, high=high, low=low, volume=volume,
                taker_buy=NAN if random.random() < 0.2 else closed,
            )
        )  # fmt: skip
    return bars


def restless(count: int, seed: int = 11) -> list[Bar]:
    """Bars that jump about between 99 and 102, always above their open, all columns known and none standing still."""
    noise = np.random.default_rng(seed).random((count, 5))
    return [
        bar(k, 100 + close, open=99.5, high=101 + high, low=99.5 - low, volume=1 + volume, taker_buy=taker)
        for k, (close, high, low, volume, taker) in enumerate(noise.tolist())
    ]
