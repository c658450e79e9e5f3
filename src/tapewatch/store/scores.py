"""What records are made of, out of the ledger: outcomes summed where that is enough, one by one where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Select, case, func, select

from tapewatch.model import MINUTE_MS, NAN, Signal
from tapewatch.record import HOUR_MS, HOURS, NEWEST, Baseline, Kind, Sums, Tally
from tapewatch.store import schema
from tapewatch.store.database import Database
from tapewatch.store.rows import Row, signal_of

_OUTCOMES = schema.outcomes.c
_KIND = (_OUTCOMES.strategy, _OUTCOMES.side, _OUTCOMES.timeframe)
_HIT = case((_OUTCOMES.result == "target", 1), else_=0)
#: When the candle has closed in which it ended: a run's is a minute, and of an archive's `recv_ms` is that close.
_known_ms = case((_OUTCOMES.source == "history", _OUTCOMES.recv_ms), else_=_OUTCOMES.ms + MINUTE_MS)
_BACKFILLED = case((_OUTCOMES.source == "history", 1), else_=0)


#: What is told of an outcome where signals are told with what became of them; `end_ms` is when that was known.
LABELS = (
    "result", "price", "bars", "mfe_r", "mae_r", "gross_r", "net_r", "gross_pct", "risk_pct", "ambiguous",
)  # fmt: skip


class Part(NamedTuple):
    """What of a kind's outcomes is told together: a regime, empty where none is known."""

    kind: Kind
    regime: str


class Filled(NamedTuple):
    """The random entries that were computed from an archive: how many, hits among them, what they risked; or None."""

    n: int | None
    hits: int | None
    risk_pct: float | None


class Ended(NamedTuple):
    """An outcome as scores need it.

    `known_ms` is when the candle in which it ended had closed; `checks` are those of the gate that blocked its signal,
    as far as is known; `score` is what a model gave it, NaN where none did.
    """

    kind: Kind
    regime: str
    signal_id: str
    state: str
    close_ms: int
    known_ms: int
    strength: float
    sums: Sums
    checks: tuple[str, ...]
    score: float = NAN


class ScoreTables:
    """Outcomes and random entries of a ledger, to be read. Every method raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def filled(self, venue: str) -> Filled:
        """What tells whether somebody has filled the ledger from an archive."""
        table = schema.baselines.c
        query = select(func.sum(table.entries), func.sum(table.targets), func.sum(table.risk_pct))
        with self._database.read() as connection:
            return Filled(*connection.execute(query.where(table.venue == venue, table.source == "history")).one())

    def tallies(self, venue: str, until_ms: int) -> tuple[dict[Part, Tally], bool]:
        """Of signals that passed, by kind and regime, those known by `until_ms`; and whether others are known later."""
        passed = _countable().where(_OUTCOMES.venue == venue, _OUTCOMES.state == "passed")
        known = passed.where(_known_ms <= until_ms)
        later = passed.where(_known_ms > until_ms, _OUTCOMES.source == "history").limit(1)
        hour = ((_OUTCOMES.close_ms // HOUR_MS) % HOURS).label("hour")
        group = (*_KIND, _OUTCOMES.regime, hour)
        summed = known.with_only_columns(
            *group, func.count(), func.sum(_HIT), func.sum(_OUTCOMES.gross_pct),
            func.sum(_OUTCOMES.gross_pct * _HIT), func.sum(_OUTCOMES.risk_pct), func.sum(_BACKFILLED),
        ).group_by(*group)  # fmt: skip
        newest = known.with_only_columns(_OUTCOMES.close_ms, _OUTCOMES.signal_id, _HIT)
        newest = newest.order_by(_OUTCOMES.close_ms.desc(), _OUTCOMES.signal_id.desc()).limit(NEWEST)
        found: dict[Part, Tally] = {}
        with self._database.read() as connection:
            for *key, at, n, hits, gross_pct, won_pct, risk_pct, backfilled in connection.execute(summed):
                tally = found.setdefault(_part(key), Tally())
                tally.count(int(at), Sums(n, hits, gross_pct, won_pct, risk_pct, backfilled))
            for part, tally in found.items():
                mine = (column == value for column, value in zip(_KIND, part.kind, strict=True))
                for close_ms, signal_id, hit in connection.execute(
                    newest.where(*mine, _OUTCOMES.regime == part.regime)
                ):
                    tally.note(close_ms, signal_id, hit=bool(hit))
            return found, connection.execute(later).first() is not None

    def baselines(self, venue: str, symbols: Sequence[str] = ()) -> dict[Kind, Baseline]:
        """The random entries of each kind, of runs and of archives; of all symbols where none is named."""
        table = schema.baselines.c
        group = (table.strategy, table.side, table.timeframe, table.hour, table.source)
        sums = (table.entries, table.targets, table.gross_pct, table.risk_pct)
        query = select(*group, *map(func.sum, sums)).where(table.venue == venue).group_by(*group)
        query = (query.where(table.symbol.in_(symbols)) if symbols else query).order_by(*group)
        found: dict[Kind, Baseline] = {}
        with self._database.read() as connection:
            for strategy, side, timeframe, hour, source, n, hits, gross_pct, risk_pct in connection.execute(query):
                entries = int(n)  # PostgreSQL's sums of whole numbers are decimals
                of_hour = Sums(entries, int(hits), gross_pct, 0.0, risk_pct, entries if source == "history" else 0)
                found.setdefault(Kind(strategy, side, timeframe), Baseline()).add(hour, of_hour)
        return found

    def ended(
        self,
        *,
        venue: str | None = None,
        strategies: Sequence[str] = (),
        symbols: Sequence[str] = (),
        sides: Sequence[str] = (),
        timeframes: Sequence[str] = (),
        source: str | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
    ) -> Iterator[Ended]:
        """Outcomes by close, then signal; an empty filter lets everything through, times are closes as [from, to)."""
        signals = schema.signals.c
        query = _countable().with_only_columns(
            *_KIND, _OUTCOMES.regime, _OUTCOMES.signal_id, _OUTCOMES.state, _OUTCOMES.close_ms, _known_ms,
            _OUTCOMES.strength, _OUTCOMES.gross_pct, _OUTCOMES.risk_pct, _HIT, _BACKFILLED,
            _OUTCOMES.checks, signals.body,
        )  # fmt: skip
        query = query.select_from(schema.outcomes.outerjoin(schema.signals, signals.id == _OUTCOMES.signal_id))
        chosen: dict[ColumnElement[Any], Sequence[str]] = {
            _OUTCOMES.strategy: strategies, _OUTCOMES.symbol: symbols, _OUTCOMES.side: sides,
            _OUTCOMES.timeframe: timeframes, _OUTCOMES.venue: [venue] if venue else (),
            _OUTCOMES.source: [source] if source else (),
        }  # fmt: skip
        for column, values in chosen.items():
            query = query.where(column.in_(values)) if values else query
        query = query.where(_OUTCOMES.close_ms >= from_ms) if from_ms is not None else query
        query = query.where(_OUTCOMES.close_ms < to_ms) if to_ms is not None else query
        query = query.order_by(_OUTCOMES.close_ms, _OUTCOMES.signal_id)
        with self._database.read() as connection:
            rows = connection.execution_options(yield_per=500).execute(query)
            for (
                *key, regime, signal_id, state, close_ms, known_ms, strength, gross, risk, hit, history, checks, body,
            ) in rows:  # fmt: skip
                sums = Sums(1, hit, gross, gross if hit else 0.0, risk, history)
                known = NAN if strength is None else strength
                by, score = ((), NAN) if body is None else judged_in(body)
                if checks is not None:
                    by = tuple(filter(None, checks.split(",")))
                yield Ended(Kind(*key), regime, signal_id, state, close_ms, known_ms, known, sums, by, score)

    def labelled(
        self,
        venue: str,
        strategy: str,
        *,
        symbols: Sequence[str] = (),
        timeframes: Sequence[str] = (),
        from_ms: int | None = None,
        to_ms: int | None = None,
    ) -> Iterator[tuple[Signal, Row | None]]:
        """A strategy's stored signals with what became of them, by close, symbol, timeframe and side.

        That has `LABELS` and `end_ms`, and is None where it is not known. Filters are as those of `ended`.
        """
        table = schema.signals.c
        ends = [_OUTCOMES[name] for name in LABELS]
        query = select(table.body, _known_ms.label("end_ms"), *ends)
        query = query.outerjoin_from(schema.signals, schema.outcomes, _OUTCOMES.signal_id == table.id)
        query = query.where(table.venue == venue, table.strategy == strategy)
        query = query.where(table.symbol.in_(symbols)) if symbols else query
        query = query.where(table.timeframe.in_(timeframes)) if timeframes else query
        query = query.where(table.close_ms >= from_ms) if from_ms is not None else query
        query = query.where(table.close_ms < to_ms) if to_ms is not None else query
        query = query.order_by(table.close_ms, table.symbol, table.timeframe, table.side)
        with self._database.read() as connection:
            for found in connection.execution_options(yield_per=500).execute(query).mappings():
                label = dict(found)
                signal = signal_of(label.pop("body"))
                yield signal, None if label["result"] is None else label


class _Verdict(msgspec.Struct, rename={"passed": "pass"}):
    check: str
    passed: bool


class _Judged(msgspec.Struct):
    verdicts: list[_Verdict]
    score: float | None = None


def judged_in(body: str) -> tuple[tuple[str, ...], float]:
    """The checks that blocked a signal, and what a model gave it, NaN where none did; as its body says."""
    judged = msgspec.json.decode(body, type=_Judged)
    score = NAN if judged.score is None else judged.score
    return tuple(one.check for one in judged.verdicts if not one.passed), score


def _countable() -> Select[Any]:
    """Outcomes of which it is known what they brought and risked."""
    return select(schema.outcomes).where(_OUTCOMES.gross_pct.is_not(None), _OUTCOMES.risk_pct.is_not(None))


def _part(key: Sequence[str]) -> Part:
    strategy, side, timeframe, regime = key
    return Part(Kind(strategy, "long" if side == "long" else "short", timeframe), regime)
