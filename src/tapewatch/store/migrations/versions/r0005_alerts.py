"""Outcomes of signals, where `touches` goes to, and random entries; channels' states, troubles, maintenance."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer

from tapewatch.store.types import Text

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables and columns."""
    op.add_column("alerts", Column("record", Text))
    op.add_column("alerts", Column("candles", Text))
    _messages()
    _outcomes()
    _take_touches()
    _operation()


def _messages() -> None:
    op.add_column("messages", Column("rank", Double, nullable=False, server_default="0"))
    op.add_column("messages", Column("severity", Text, nullable=False, server_default="normal"))
    op.add_column("messages", Column("fallback_of", Text))
    op.add_column("messages", Column("stand_in", Text))
    op.drop_index("ix_messages_due", "messages")
    order = ["channel", "state", "priority", "rank", "created_ms", "message_id"]
    op.create_index("ix_messages_due", "messages", order)
    op.create_index("ix_messages_digest", "messages", ["digest_id"])
    op.create_index("ix_attempts_started", "attempts", ["started_ms"])


def _take_touches() -> None:
    """What was known of alerted signals: not how far the price went on the way, nor what costs were reckoned with."""
    sign = "CASE touches.side WHEN 'long' THEN 1 ELSE -1 END"
    way, risk = f"(touches.price - signals.entry) * ({sign})", f"((signals.entry - signals.stop) * ({sign}))"
    bars = "(touches.ms - signals.close_ms) / (signals.close_ms - signals.open_ms)"
    op.execute(  # names and signs of our own
        "INSERT INTO outcomes (signal_id, venue, symbol, strategy, side, timeframe, state, close_ms, strength, regime,"  # noqa: S608
        " result, price, ms, bars, gross_r, gross_pct, risk_pct, ambiguous, late, recv_ms, source)"
        " SELECT touches.signal_id, signals.venue, touches.symbol, touches.strategy, touches.side, touches.timeframe,"
        " signals.state, signals.close_ms, signals.strength, '', touches.level, touches.price, touches.ms,"
        f" CASE touches.level WHEN 'time' THEN {bars} ELSE {bars} + 1 END,"
        f" {way} / NULLIF({risk}, 0), {way} / NULLIF(signals.entry, 0) * 100,"
        f" {risk} / NULLIF(signals.entry, 0) * 100,"
        " touches.ambiguous, touches.late, touches.recv_ms, 'live'"
        " FROM touches JOIN signals ON signals.id = touches.signal_id"
    )
    op.drop_table("touches")


def _outcomes() -> None:
    op.create_table(
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
        Column("checks", Text),
    )
    op.create_index("ix_outcomes_kind", "outcomes", ["venue", "strategy", "side", "timeframe", "close_ms"])
    op.create_table(
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


def _operation() -> None:
    op.create_table(
        "channel_states",
        Column("channel", Text, primary_key=True),
        Column("state", Text, nullable=False),
        Column("until_ms", BigInteger, nullable=False),
        Column("failures", Integer, nullable=False),
        Column("reason", Text),
        Column("changed_ms", BigInteger, nullable=False),
    )
    op.create_table(
        "troubles",
        Column("key", Text, primary_key=True),
        Column("subject", Text, nullable=False),
        Column("since_ms", BigInteger, nullable=False),
        Column("last_ms", BigInteger, nullable=False),
        Column("told_ms", BigInteger, nullable=False),
        Column("told", Integer, nullable=False),
        Column("count", BigInteger, nullable=False),
        Column("held", BigInteger, nullable=False),
        Column("open", Boolean, nullable=False),
    )
    op.create_table(
        "maintenance",
        Column("name", Text, primary_key=True),
        Column("from_ms", BigInteger, nullable=False),
        Column("until_ms", BigInteger, nullable=False),
        Column("reason", Text),
    )
