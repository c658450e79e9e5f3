"""The ledger's tables. Times are int milliseconds UTC; what SQL cannot hold as NaN is NULL."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary

from tapewatch.store import dates, market  # noqa: F401 - the market's tables are among the metadata's
from tapewatch.store.dates import table
from tapewatch.store.types import Double, Text

#: The newest migration in `migrations/versions`; a start compares it with the database by one SELECT.
REVISION = "0009"

#: All tables, those of `tapewatch.store.market` too.
metadata = dates.metadata

series = table(
    "series",
    Column("venue", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("interval_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("history_start_ms", BigInteger, nullable=False),
    Column("last_open_ms", BigInteger),
)

gate_passed = table(
    "gate_passed",
    Column("venue", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("strategy", Text, primary_key=True),
    Column("timeframe", Text, primary_key=True),
    Column("side", Text, primary_key=True),
    Column("close_ms", BigInteger, nullable=False),
    Column("entry", Double, nullable=False),
)

signals = table(
    "signals",
    Column("id", Text, primary_key=True),
    Column("venue", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("timeframe", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("open_ms", BigInteger, nullable=False),
    Column("close_ms", BigInteger, nullable=False),
    Column("entry", Double, nullable=False),
    Column("stop", Double),
    Column("risk_reward", Double),
    Column("strength", Double),
    Column("bias", Text, nullable=False),
    Column("confidence_met", Integer, nullable=False),
    Column("confidence_asked", Integer, nullable=False),
    Column("settled", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("late", Boolean, nullable=False),
    Column("recv_ms", BigInteger, nullable=False),
    Column("alert_id", Text),
    Column("trace_id", Text, nullable=False),
    Column("body", Text, nullable=False),  # the whole signal as `signals --json` prints it
    Column("number", BigInteger),  # the order in which they were stored; a later one is larger
    Index("ix_signals_number", "number", unique=True),
    Index("ix_signals_order", "close_ms", "symbol", "strategy", "timeframe", "side"),
    Index("ix_signals_symbol", "symbol", "close_ms"),
)

alerts = table(
    "alerts",
    Column("alert_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("late", Boolean, nullable=False),
    Column("signal_ids", Text, nullable=False),  # JSON list, the leading signal first
    Column("subject", Text),
    Column("text", Text),
    Column("record", Text),  # JSON, what became of alerts like it so far
    Column("candles", Text),  # JSON list of open, high, low, close up to its bar
    Index("ix_alerts_created", "created_ms", "alert_id"),
)

messages = table(
    "messages",
    Column("message_id", Text, primary_key=True),
    Column("alert_id", Text, ForeignKey("alerts.alert_id"), nullable=False),
    Column("channel", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("sent_ms", BigInteger),
    Column("possible_repeat", Boolean, nullable=False),
    Column("digest_id", Text),
    Column("last_error", Text),
    Column("delivered_to", Text, nullable=False),  # JSON list of recipients
    Column("rank", Double, nullable=False, server_default="0"),  # minus its strength: of a priority the strongest first
    Column("severity", Text, nullable=False, server_default="normal"),
    Column("fallback_of", Text),  # the message of another channel that this one was made to stand in for
    Column("stand_in", Text),  # the message of another channel that stands in for this one
    Index("ix_messages_due", "channel", "state", "priority", "rank", "created_ms", "message_id"),
    Index("ix_messages_alert", "alert_id"),
    Index("ix_messages_digest", "digest_id"),
)

attempts = table(
    "attempts",
    Column("message_id", Text, ForeignKey("messages.message_id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("outcome", Text),  # sent, failed, rejected, cut; NULL while it is under way
    Column("error", Text),
    Index("ix_attempts_started", "started_ms"),
)

mutes = table(
    "mutes",
    Column("target", Text, primary_key=True),  # a symbol or a strategy
    Column("until_ms", BigInteger, nullable=False),  # wall clock
)

#: One row a journal: the effects of its events before `position` are in this ledger.
journals = table(
    "journals",
    Column("journal_id", Text, primary_key=True),
    Column("venue", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
)

corrections = table(
    "corrections",
    Column("venue", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("interval_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("open_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("recv_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("before", Text, nullable=False),  # JSON, the bar that was decided on
    Column("after", Text, nullable=False),  # JSON, the same bar as the exchange had it later
)

#: Paper positions, each as it was said last. Money, prices and quantities are exact decimals as text.
trades = table(
    "trades",
    Column("trade_id", Text, primary_key=True),
    Column("venue", Text, nullable=False),
    Column("signal_id", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("timeframe", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("decided_ms", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("entry_ms", BigInteger),
    Column("closed_ms", BigInteger),
    Column("entry", Text),
    Column("stop", Text),
    Column("targets", Text, nullable=False),  # JSON list of price and quantity
    Column("quantity", Text, nullable=False),
    Column("held", Text, nullable=False),
    Column("mark", Text),
    Column("gross", Text, nullable=False),
    Column("fees", Text, nullable=False),
    Column("funding", Text, nullable=False),
    Column("r", Double),
    Column("mfe_r", Double),
    Column("mae_r", Double),
    Column("ambiguous", Boolean, nullable=False),
    Column("saved", Text, nullable=False),  # JSON; what a fresh engine goes on from
    Index("ix_trades_state", "venue", "state"),
    Index("ix_trades_decided", "decided_ms", "trade_id"),
    Index("ix_trades_signal", "signal_id"),
)

fills = table(
    "fills",
    Column("trade_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("ms", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("price", Text, nullable=False),
    Column("quantity", Text, nullable=False),
    Column("gross", Text, nullable=False),
    Column("fee", Text, nullable=False),
    Column("late", Boolean, nullable=False),
    Column("recv_ms", BigInteger, nullable=False),
)

funding_paid = table(
    "funding_paid",
    Column("trade_id", Text, primary_key=True),
    Column("ms", BigInteger, primary_key=True, autoincrement=False),
    Column("rate", Double, nullable=False),
    Column("amount", Text, nullable=False),
)

paper_accounts = table(
    "paper_accounts",
    Column("venue", Text, primary_key=True),
    Column("started_ms", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("start_cash", Text, nullable=False),
    Column("cash", Text, nullable=False),
    Column("gross", Text, nullable=False),
    Column("fees", Text, nullable=False),
    Column("funding", Text, nullable=False),
    Column("equity", Text, nullable=False),
    Column("open", Integer, nullable=False),
    Column("paused_until_ms", BigInteger, nullable=False),
    Column("paused_why", Text),
    Column("saved", Text, nullable=False),
)

account_days = table(
    "account_days",
    Column("venue", Text, primary_key=True),
    Column("day_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("equity_before", Text, nullable=False),
    Column("equity", Text, nullable=False),
    Column("entered", Integer, nullable=False),
    Column("closed", Integer, nullable=False),
    Column("won", Integer, nullable=False),
    Column("gross", Text, nullable=False),
    Column("fees", Text, nullable=False),
    Column("funding", Text, nullable=False),
    Column("open", Integer, nullable=False),
)

#: What became of signals, each once. `source` is `live`, or `history` where it was computed from an archive.
outcomes = table(
    "outcomes",
    Column("signal_id", Text, primary_key=True),
    Column("venue", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("timeframe", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("close_ms", BigInteger, nullable=False),
    Column("strength", Double),
    Column("regime", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("price", Double, nullable=False),
    Column("ms", BigInteger, nullable=False),
    Column("bars", Integer, nullable=False),
    Column("mfe_r", Double),
    Column("mae_r", Double),
    Column("gross_r", Double),
    Column("net_r", Double),
    Column("gross_pct", Double),
    Column("risk_pct", Double),
    Column("ambiguous", Boolean, nullable=False),
    Column("late", Boolean, nullable=False),
    Column("recv_ms", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("checks", Text),  # those that blocked it, with commas; NULL of a run's, whose signal says so
    Index("ix_outcomes_kind", "venue", "strategy", "side", "timeframe", "close_ms"),
)

#: What random entries brought, by hour of the day (UTC) and symbol.
baselines = table(
    "baselines",
    Column("venue", Text, primary_key=True),
    Column("strategy", Text, primary_key=True),
    Column("side", Text, primary_key=True),
    Column("timeframe", Text, primary_key=True),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("source", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("entries", BigInteger, nullable=False),
    Column("targets", BigInteger, nullable=False),
    Column("gross_pct", Double, nullable=False),
    Column("risk_pct", Double, nullable=False),
)

#: Channels that are left alone for a while, or for good.
channel_states = table(
    "channel_states",
    Column("channel", Text, primary_key=True),
    Column("state", Text, nullable=False),  # ok, held or disabled
    Column("until_ms", BigInteger, nullable=False),  # wall clock, of a held one
    Column("failures", Integer, nullable=False),
    Column("reason", Text),
    Column("changed_ms", BigInteger, nullable=False),
)

#: What the operator was told of, or would have been: troubles that are on, and what happened lately.
troubles = table(
    "troubles",
    Column("role", Text, primary_key=True, server_default="all"),  # of the process that tells them
    Column("key", Text, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("told_ms", BigInteger, nullable=False),  # 0: never
    Column("told", Integer, nullable=False),  # how often, since it began
    Column("count", BigInteger, nullable=False),  # how often it happened, since it began
    Column("held", BigInteger, nullable=False),  # and of that, since it was told last
    Column("open", Boolean, nullable=False),
)

#: While one is on, the operator is told nothing. It goes when what happened meanwhile has been told.
maintenance = table(
    "maintenance",
    Column("name", Text, primary_key=True),
    Column("from_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("reason", Text),
)

#: Who has the right to run, or to deliver; each taking has a number, by which one that was cut off is known.
leases = table(
    "leases",
    Column("name", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
)

#: What runs counted and measured, each minute.
figures = table(
    "figures",
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),  # wall clock
    Column("started_ms", BigInteger, primary_key=True, autoincrement=False),  # of the run
    Column("role", Text, primary_key=True, server_default="all"),  # of the process
    Column("body", LargeBinary, nullable=False),  # value by figure as JSON, compressed by zlib
)

#: What runs applied, in this order; one that is the same as the one before is not there again.
configurations = table(
    "configurations",
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False),  # SHA-256 of the body
    Column("first_ms", BigInteger, nullable=False),  # wall clock, when the first run with it began
    Column("last_ms", BigInteger, nullable=False),  # and the last one
    Column("version", Text, nullable=False),  # of the program
    Column("body", Text, nullable=False),  # the whole configuration as JSON, secrets masked
)
