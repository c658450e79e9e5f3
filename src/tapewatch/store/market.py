"""The ledger's tables of the market: who is watched, what candidates and moments were like, what each day came to."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer

from tapewatch.store.dates import table
from tapewatch.store.types import Double, Text

#: Who is watched, and who was: as the exchange lists them, and what was decided on them last.
instruments = table(
    "instruments",
    Column("venue", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("base_asset", Text),
    Column("quote_asset", Text),
    Column("status", Text),  # in the exchange's words
    Column("tick", Text),  # exact decimals, as far as the exchange tells them
    Column("step", Text),
    Column("least_notional", Text),
    Column("watched", Boolean, nullable=False),
    Column("eligible", Boolean, nullable=False),  # whether it is liquid enough for alerts
    Column("reason", Text),  # why it is not, or is watched no more
    Column("quote_volume_24h", Double),
    Column("first_seen_ms", BigInteger, nullable=False),  # by the exchange's clock
    Column("changed_ms", BigInteger, nullable=False),
)

#: The candle of each evaluated candidate; its signals have the same venue, symbol, timeframe and open.
market_data = table(
    "market_data",
    Column("venue", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("timeframe", Text, primary_key=True),
    Column("open_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("open", Double, nullable=False),
    Column("high", Double, nullable=False),
    Column("low", Double, nullable=False),
    Column("close", Double, nullable=False),
    Column("volume", Double, nullable=False),
    Column("quote_volume", Double),
    Column("trades", Double),
    Column("taker_buy", Double),
    Column("indicators", Text, nullable=False),  # JSON, strategy -> name -> value
    Index("ix_market_data_open", "open_ms"),
)

#: The market at a signal, and of each watched symbol every quarter of an hour; what is not known is NULL.
market_snapshots = table(
    "market_snapshots",
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),  # by the exchange's clock
    Column("venue", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("signal_id", Text, primary_key=True),  # empty for one of the clock
    Column("price", Double),
    Column("quote_volume_24h", Double),
    Column("spread_bps", Double),
    Column("timeframe", Text),  # that regime, trend and volatility are of
    Column("regime", Text),  # those that hold, joined with +; empty where none does
    Column("trend", Text),
    Column("volatility_pct", Double),  # atr(14) of the price
    Column("btc_correlation", Double),
    Index("ix_market_snapshots_symbol", "symbol", "at_ms"),
)

#: What each day's signals came to: those whose bar closed in it, with what is known of them now.
daily_metrics = table(
    "daily_metrics",
    Column("venue", Text, primary_key=True),
    Column("day_ms", BigInteger, primary_key=True, autoincrement=False),  # 00:00 UTC
    Column("strategy", Text, primary_key=True),
    Column("side", Text, primary_key=True),
    Column("timeframe", Text, primary_key=True),
    Column("signals", Integer, nullable=False),
    Column("passed", Integer, nullable=False),
    Column("alerts", Integer, nullable=False),
    Column("targets", Integer, nullable=False),  # of those that passed, by result
    Column("stops", Integer, nullable=False),
    Column("timeouts", Integer, nullable=False),
    Column("ambiguous", Integer, nullable=False),
    Column("win_rate", Double),  # targets of all results
    Column("expectancy_r", Double),  # the mean of each one's R after costs
    Column("gross_r", Double),  # all they brought over all they risked, before costs
    Column("net_r", Double),  # and after them
    Column("trades", Integer, nullable=False),  # closed paper positions
    Column("trades_won", Integer, nullable=False),
    Column("trades_net", Text, nullable=False),  # exact decimal, quote units
)
