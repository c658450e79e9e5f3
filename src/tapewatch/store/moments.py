"""What the market was like, in the ledger: candles of candidates, snapshots, and who is watched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, case, func, or_, select, update

from tapewatch.model import NAN, Judged, Listing, Outlook, Signal, Surroundings, decimal_text
from tapewatch.outcomes import regime_of
from tapewatch.store import market
from tapewatch.store.database import Database, Many
from tapewatch.store.dates import own_columns
from tapewatch.store.rows import Row, known

#: The `signal_id` of a snapshot that is the clock's.
NO_SIGNAL = ""
_HOURS = 24
#: What stays known where the exchange tells nothing, and what is looked at to say whether an instrument has changed.
_LASTING = ("base_asset", "quote_asset", "tick", "step", "least_notional")
_CHANGING = ("status", "tick", "step", "least_notional", "watched", "eligible")


class Instrument(msgspec.Struct, frozen=True):
    """A symbol as its exchange lists it, and whether it is watched; see the table `instruments`."""

    symbol: str
    base_asset: str | None = None
    quote_asset: str | None = None
    status: str | None = None
    watched: bool = True
    eligible: bool = True
    reason: str | None = None
    quote_volume_24h: float = NAN
    listing: Listing | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """A symbol's market at a moment of the clock; NaN and None are unknown. `natr` is of the outlook's timeframe."""

    symbol: str
    price: float = NAN
    quote_volume_24h: float = NAN
    spread_bps: float = NAN
    outlook: Outlook | None = None
    natr: float = NAN
    btc_correlation: float | None = None


class MarketTables:
    """What a ledger holds of the market. Every method raises StoreError, which leaves the ledger unchanged."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._data = Many(database.upsert(market.market_data).on_conflict_do_nothing())
        self._snapshots = Many(database.upsert(market.market_snapshots).on_conflict_do_nothing())
        table, upsert = market.instruments, database.upsert(market.instruments)
        changed = or_(*(table.c[name].is_distinct_from(upsert.excluded[name]) for name in _CHANGING))
        told = [column.name for column in own_columns(table) if not column.primary_key]
        values: dict[str, Any] = {name: upsert.excluded[name] for name in told if name != "first_seen_ms"}
        for name in _LASTING:
            values[name] = func.coalesce(upsert.excluded[name], table.c[name])
        values["changed_ms"] = case((changed, upsert.excluded.changed_ms), else_=table.c.changed_ms)
        self._instruments = upsert.on_conflict_do_update(index_elements=["venue", "symbol"], set_=values)

    def found(self, judged: Sequence[Judged]) -> None:
        """Store candles and snapshots of candidates; those that are there stay."""
        if not judged:
            return
        data, snapshots = data_rows(judged), [signal_row(one.signal) for one in judged]
        with self._database.write() as connection:
            for statement, rows in ((self._data, data), (self._snapshots, snapshots)):
                if rows:
                    statement.execute(connection, rows)

    def keep(self, venue: str, at_ms: int, snapshots: Sequence[Snapshot]) -> None:
        """Store snapshots of the clock; those that are there stay."""
        rows = [snapshot_row(venue, at_ms, one) for one in snapshots]
        if rows:
            with self._database.write() as connection:
                self._snapshots.execute(connection, rows)

    def watch(self, venue: str, instruments: Sequence[Instrument], now_ms: int, *, only: bool = False) -> None:
        """Store what is known of instruments, by the exchange's clock; `only`: nobody else is watched any more."""
        table = market.instruments
        rows = [instrument_row(venue, one, now_ms) for one in instruments]
        others = update(table).where(table.c.venue == venue, table.c.watched)
        others = others.where(table.c.symbol.not_in([one.symbol for one in instruments]))
        with self._database.write() as connection:
            if only:
                connection.execute(others.values(watched=False, reason="it is not chosen any more", changed_ms=now_ms))
            if rows:
                connection.execute(self._instruments, rows)

    def instruments(self, venue: str) -> list[Row]:
        """Who is and was watched, by symbol."""
        table = market.instruments
        query = select(*own_columns(table)).where(table.c.venue == venue).order_by(table.c.symbol)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def snapshots(
        self, from_ms: int | None = None, to_ms: int | None = None, symbols: Sequence[str] = ()
    ) -> Iterator[Row]:
        """Snapshots of [from, to) by time, venue and symbol; of all symbols where none is named."""
        table = market.market_snapshots
        query = select(*own_columns(table)).order_by(*table.primary_key)
        return self._found(_between(query, table.c.at_ms, from_ms, to_ms), table.c.symbol, symbols)

    def prices(self, venue: str, since_ms: int) -> list[tuple[str, int, float]]:
        """Symbol, time and price of the clock's snapshots from a time on."""
        table = market.market_snapshots.c
        query = select(table.symbol, table.at_ms, table.price).where(
            table.venue == venue, table.signal_id == NO_SIGNAL, table.at_ms >= since_ms, table.price.is_not(None)
        )
        with self._database.read() as connection:
            return [(symbol, at_ms, price) for symbol, at_ms, price in connection.execute(query)]

    def candles(
        self, from_ms: int | None = None, to_ms: int | None = None, symbols: Sequence[str] = ()
    ) -> Iterator[Row]:
        """Candles of candidates that open in [from, to), by time, with their `indicators` by strategy."""
        table = market.market_data
        query = select(*own_columns(table)).order_by(table.c.open_ms, *table.primary_key)
        for row in self._found(_between(query, table.c.open_ms, from_ms, to_ms), table.c.symbol, symbols):
            yield row | {"indicators": msgspec.json.decode(row["indicators"])}

    def _found(self, query: Select[Any], column: ColumnElement[str], symbols: Sequence[str]) -> Iterator[Row]:
        query = query.where(column.in_(symbols)) if symbols else query
        with self._database.read() as connection:
            for row in connection.execution_options(yield_per=500).execute(query).mappings():
                yield dict(row)


def _between(query: Select[Any], column: ColumnElement[int], from_ms: int | None, to_ms: int | None) -> Select[Any]:
    query = query.where(column >= from_ms) if from_ms is not None else query
    return query.where(column < to_ms) if to_ms is not None else query


def data_rows(judged: Iterable[Judged]) -> list[Row]:
    """Rows of `market_data`: a candle once, with what each of its candidates' strategies computed."""
    rows: dict[tuple[str, int, int], tuple[Row, dict[str, Any]]] = {}
    for one in judged:
        bar, signal = one.bar, one.signal
        if bar is None:
            continue
        key = bar.symbol, bar.interval_ms, bar.open_ms
        if key not in rows:
            values = {
                name: known(value) for name, value in msgspec.structs.asdict(bar).items() if name != "interval_ms"
            }
            rows[key] = {"venue": signal.venue, "timeframe": signal.timeframe} | values, {}
        rows[key][1].setdefault(signal.strategy, {}).update(signal.indicators)
    return [row | {"indicators": msgspec.json.encode(computed).decode()} for row, computed in rows.values()]


def signal_row(signal: Signal) -> Row:
    """A row of `market_snapshots`: what was known around a signal, on its own timeframe."""
    around = signal.context or Surroundings()
    outlook = next((one for one in around.outlooks if one.timeframe == signal.timeframe), None)
    hourly = around.hourly_volume_quote
    return {
        "at_ms": signal.close_ms,
        "venue": signal.venue,
        "symbol": signal.symbol,
        "signal_id": signal.id,
        "price": known(signal.entry),
        "quote_volume_24h": None if hourly is None else _HOURS * hourly,
        "spread_bps": around.spread_bps,
        "timeframe": signal.timeframe,
        "regime": regime_of(signal) if outlook is not None or signal.regime else None,
        "trend": None if outlook is None else outlook.trend,
        "volatility_pct": known(100 * signal.atr / signal.entry) if signal.entry else None,
        "btc_correlation": around.btc_correlation,
    }


def snapshot_row(venue: str, at_ms: int, one: Snapshot) -> Row:
    """A row of `market_snapshots`, of the clock."""
    outlook = one.outlook
    holding = None if outlook is None or None in outlook.regimes.values() else outlook.regimes
    return {
        "at_ms": at_ms,
        "venue": venue,
        "symbol": one.symbol,
        "signal_id": NO_SIGNAL,
        "price": known(one.price),
        "quote_volume_24h": known(one.quote_volume_24h),
        "spread_bps": known(one.spread_bps),
        "timeframe": None if outlook is None else outlook.timeframe,
        "regime": None if holding is None else "+".join(name for name, holds in holding.items() if holds),
        "trend": None if outlook is None else outlook.trend,
        "volatility_pct": known(one.natr),
        "btc_correlation": one.btc_correlation,
    }


def instrument_row(venue: str, one: Instrument, now_ms: int) -> Row:
    """A row of `instruments`, seen first and changed now unless it is known."""
    row = msgspec.structs.asdict(one) | {"venue": venue, "quote_volume_24h": known(one.quote_volume_24h)}
    listing = row.pop("listing")
    for name in ("tick", "step", "least_notional"):
        row[name] = None if listing is None else decimal_text(getattr(listing, name))
    return row | {"first_seen_ms": now_ms, "changed_ms": now_ms}
