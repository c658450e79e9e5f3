"""The tables of the first version: series, gate, signals, alerts, messages, attempts."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Integer

from tapewatch.store.types import Text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    _engine_state()
    _signals()
    _alerts()


def _engine_state() -> None:
    op.create_table(
        "series",
        Column("venue", Text, primary_key=True),
        Column("symbol", Text, primary_key=True),
        Column("interval_ms", BigInteger, primary_key=True, autoincrement=False),
        Column("history_start_ms", BigInteger, nullable=False),
        Column("last_open_ms", BigInteger),
    )
    op.create_table(
        "gate_passed",
        Column("venue", Text, primary_key=True),
        Column("symbol", Text, primary_key=True),
        Column("strategy", Text, primary_key=True),
        Column("timeframe", Text, primary_key=True),
        Column("side", Text, primary_key=True),
        Column("close_ms", BigInteger, nullable=False),
        Column("entry", Double, nullable=False),
    )


def _signals() -> None:
    op.create_table(
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
        Column("body", Text, nullable=False),
    )
    op.create_index("ix_signals_order", "signals", ["close_ms", "symbol", "strategy", "timeframe", "side"])
    op.create_index("ix_signals_symbol", "signals", ["symbol", "close_ms"])


def _alerts() -> None:
    op.create_table(
        "alerts",
        Column("alert_id", Text, primary_key=True),
        Column("kind", Text, nullable=False),
        Column("created_ms", BigInteger, nullable=False),
        Column("late", Boolean, nullable=False),
        Column("signal_ids", Text, nullable=False),
        Column("subject", Text),
        Column("text", Text),
    )
    op.create_index("ix_alerts_created", "alerts", ["created_ms", "alert_id"])
    op.create_table(
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
        Column("delivered_to", Text, nullable=False),
    )
    op.create_index("ix_messages_due", "messages", ["channel", "state", "priority", "created_ms"])
    op.create_index("ix_messages_alert", "messages", ["alert_id"])
    op.create_table(
        "attempts",
        Column("message_id", Text, ForeignKey("messages.message_id"), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("started_ms", BigInteger, nullable=False),
        Column("ended_ms", BigInteger),
        Column("outcome", Text),
        Column("error", Text),
    )
