"""Signals that go from the ledger: which may, and what goes with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from sqlalchemy import ColumnElement, Connection, Table, func, select, tuple_, update

from tapewatch.store import market, schema
from tapewatch.store.paper import LIVE
from tapewatch.store.scores import judged_in

#: Rows of a table.
Rows: TypeAlias = tuple[Table, ColumnElement[bool]]
_SIGNALS = schema.signals.c


def needless() -> list[ColumnElement[bool]]:
    """That nothing needs a signal: no alert, no open position, nobody who follows it; nor is it the newest."""
    alerts, trades, ends = schema.alerts.c, schema.trades.c, schema.outcomes.c
    alerted = select(alerts.alert_id).where(alerts.alert_id == _SIGNALS.alert_id)
    open_ = select(trades.trade_id).where(trades.signal_id == _SIGNALS.id, trades.state.in_(LIVE))
    ended = select(ends.signal_id).where(ends.signal_id == _SIGNALS.id)
    newest = select(func.max(_SIGNALS.number)).scalar_subquery()
    return [~alerted.exists(), ~open_.exists(), ended.exists(), _SIGNALS.number < newest]


def rows_of(connection: Connection, signal_ids: Sequence[str]) -> list[Rows]:
    """What belongs to these signals; a candle only where no other candidate is of it."""
    data, snapshots = market.market_data, market.market_snapshots.c
    bar = (_SIGNALS.venue, _SIGNALS.symbol, _SIGNALS.timeframe, _SIGNALS.open_ms)
    going = select(*bar, _SIGNALS.close_ms, _SIGNALS.id).where(_SIGNALS.id.in_(signal_ids))
    rows = connection.execute(going).all() if signal_ids else []
    closes = {(row.symbol, row.close_ms) for row in rows}
    others = select(*bar).where(tuple_(_SIGNALS.symbol, _SIGNALS.close_ms).in_(list(closes)))
    others = others.where(_SIGNALS.id.not_in(signal_ids))
    needed = {tuple(row) for row in connection.execute(others)} if closes else set()
    candles = {tuple(row[:4]) for row in rows} - needed
    moments = [(row.close_ms, row.venue, row.symbol, row.id) for row in rows]
    key = (snapshots.at_ms, snapshots.venue, snapshots.symbol, snapshots.signal_id)
    return [
        (data, tuple_(*data.primary_key).in_(sorted(candles))),
        (market.market_snapshots, tuple_(*key).in_(moments)),
        (schema.signals, _SIGNALS.id.in_(signal_ids)),
    ]


def keep_checks(connection: Connection, signal_ids: Sequence[str]) -> None:
    """What blocked these signals is said by their outcomes from now on: records by check are made of it."""
    ends = schema.outcomes
    query = select(_SIGNALS.id, _SIGNALS.body).where(_SIGNALS.id.in_(signal_ids), _SIGNALS.state == "blocked")
    for row in connection.execute(query).all():
        said = update(ends).where(ends.c.signal_id == row.id, ends.c.checks.is_(None))
        connection.execute(said.values(checks=",".join(judged_in(row.body)[0])))
