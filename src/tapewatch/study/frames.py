"""Stored candles, and what the strategy language makes of candles, as Polars frames.

Times are whole milliseconds UTC, as everywhere; `pl.from_epoch("open_time", "ms")` makes them dates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from tapewatch.archive import resample
from tapewatch.archive.candles import VALUES, Candles
from tapewatch.archive.frames import normal, of_candles, sieve
from tapewatch.archive.intervals import INTERVALS
from tapewatch.archive.reader import inventory, series
from tapewatch.errors import SetupError
from tapewatch.model import INTERVAL_NAMES, INTERVALS_MS
from tapewatch.strategy.expression import Reader
from tapewatch.strategy.graph import Graph, Node
from tapewatch.study.columns import Array, Key, Latched
from tapewatch.study.table import evaluate_whole, last_closed


def candles(
    root: str | Path,
    symbol: str,
    interval: str,
    *,
    venue: str | None = None,
    from_: str | datetime | int | None = None,
    to: str | datetime | int | None = None,
) -> pl.DataFrame:
    """The candles of one series that open in [from_, to), oldest first.

    Columns are those of the archive's files: `open_time` (whole milliseconds UTC), `open`, `high`, `low`, `close`,
    `volume`, `quote_volume`, `trades`, `taker_buy_base`; what the source did not know is null.

    Args:
        root: the archive, `<root>/<venue>/<SYMBOL>/<interval>.parquet`.
        symbol: as BTCUSDT.
        interval: stored, or to be built from a smaller one that is.
        venue: needed where the archive has several.
        from_: an ISO time (UTC where it names no zone), a datetime or milliseconds; default the first candle.
        to: the same, excluded; default the end.

    Raises:
        SetupError: the archive does not hold it, or a time is none.
    """
    folder = Path(root)
    held = series(folder, venue_of(folder, venue), symbol, interval)
    return of_candles(held.slice(moment_ms(from_, "from_"), moment_ms(to, "to")))


def indicators(
    frame: pl.DataFrame,
    names: str | Sequence[str],
    *,
    params: Mapping[str, float] | None = None,
    higher: str | None = None,
) -> pl.DataFrame:
    """The candles with a column for each expression of the strategy language, called as it is written.

    Numbers are Float64, conditions Boolean, what is not known is null: values equal to the bit what a run computes that
    began with the first of these candles. How it began matters for a while: `tapewatch indicators show NAME` says for
    how many bars. An expression of larger candles, as `on("1h", ema(close, 50))`, has what they were when the last of
    them had closed.

    Args:
        frame: candles in order, at least two, with the columns that `candles` gives; `open_time` may also be dates.
        names: expressions as `ema(close, 9)`, `macd(close, 12, 26, 9).hist` or `crossover(close, vwap())`, or one.
        params: numbers for names in the expressions.
        higher: the timeframe that `higher(...)` means, as 1h.

    Raises:
        SetupError: these are no candles; StrategyError: an expression is wrong, with its place.
    """
    own, graph = candles_of(frame), Graph()
    higher_ms = None if higher is None else INTERVALS_MS.get(higher, 1)
    if higher_ms is not None and higher_ms % own.interval_ms:
        raise SetupError(f"higher: {higher!r} is no timeframe that candles of {INTERVAL_NAMES[own.interval_ms]} make")
    reader = Reader(graph, params or {}, {} if higher_ms is None else {own.interval_ms: higher_ms})
    nodes = {name: reader.either(name, own.interval_ms, "names") for name in each(names)}
    whole = _evaluated(graph, own)
    return frame.with_columns(_column(name, node, whole) for name, node in nodes.items())


def each(words: str | Sequence[str]) -> list[str]:
    """Them, where one may stand for a list of one."""
    return [words] if isinstance(words, str) else list(words)


def venue_of(root: Path, venue: str | None) -> str:
    """The venue asked for, else the archive's only one. Raises SetupError."""
    if venue is not None:
        return venue
    venues = sorted({stored.venue for stored in inventory(root)})
    if len(venues) != 1:
        raise SetupError(f"venue: {root} holds {', '.join(venues) or 'no candles'}; say which")
    return venues[0]


def moment_ms(moment: str | datetime | int | None, name: str) -> int | None:
    """Milliseconds UTC of a time as the caller has it. Raises SetupError."""
    if moment is None or isinstance(moment, int):
        return moment
    try:
        found = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    except ValueError:
        raise SetupError(f"{name}: {moment!r} is no ISO time as 2025-05-20T14:07") from None
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def candles_of(frame: pl.DataFrame) -> Candles:
    """The same candles as columns. Raises SetupError where they make no sense or are not in order."""
    try:
        times = frame["open_time"]
        if isinstance(times.dtype, pl.Datetime):
            frame = frame.with_columns(times.dt.epoch("ms"))
        plain = normal(frame)
    except pl.exceptions.PolarsError as error:
        raise SetupError(f"frame: is not of candles: {error}") from None
    length = plain["open_time"].diff().min()
    if not isinstance(length, int):
        raise SetupError(f"frame: {len(plain)} candles do not tell their timeframe, two do")
    if length not in INTERVAL_NAMES:
        raise SetupError(
            f"frame: candles are in order and a timeframe apart, of these one opens {length} ms after another"
        )
    _, bad = sieve(plain, INTERVALS[INTERVAL_NAMES[length]])
    if bad:
        raise SetupError(f"frame: {', '.join(f'{count} candles with {why}' for why, count in bad.items())}")
    plain = plain.rename({"taker_buy_base": "taker_buy"})
    columns = {name: plain[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in VALUES}
    return Candles("", "", length, plain["open_time"].to_numpy(), **columns, refused=0)


def _evaluated(graph: Graph, own: Candles) -> Mapping[Key, Array]:
    """All nodes of the candles' own interval as whole columns, with a row for "no bar yet" in front."""
    found: dict[int, Mapping[Key, Array]] = {}
    held: dict[int, Candles] = {}
    for frame_ms in graph.frames():
        held[frame_ms] = resample.build(own, frame_ms)
        latched = {
            other: Latched(columns, last_closed(held[frame_ms], held[other])) for other, columns in found.items()
        }
        nodes = [node for node in graph.nodes if node.frame_ms == frame_ms]
        found[frame_ms] = evaluate_whole(nodes, held[frame_ms], latched)
    return found.get(own.interval_ms, {})


def _column(name: str, node: Node, whole: Mapping[Key, Array]) -> pl.Series:
    if node.kind == "number":
        return pl.Series(name, whole[node.index, None][1:], nan_to_null=True)
    true, false = (pl.Series(whole[node.index, wanted][1:]) for wanted in (True, False))
    return pl.select(pl.when(true).then(True).when(false).then(False).alias(name)).to_series()
