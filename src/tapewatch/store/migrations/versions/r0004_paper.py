"""Paper positions with their fills and funding, the account, its days, and what became of alerted signals."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer

from tapewatch.store.types import Text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables."""
    _trades()
    _parts()
    _account()


def _trades() -> None:
    op.create_table(
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
        Column("targets", Text, nullable=False),
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
        Column("saved", Text, nullable=False),
    )
    op.create_index("ix_trades_state", "trades", ["venue", "state"])
    op.create_index("ix_trades_decided", "trades", ["decided_ms", "trade_id"])
    op.create_index("ix_trades_signal", "trades", ["signal_id"])


def _parts() -> None:
    op.create_table(
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
    op.create_table(
        "funding_paid",
        Column("trade_id", Text, primary_key=True),
        Column("ms", BigInteger, primary_key=True, autoincrement=False),
        Column("rate", Double, nullable=False),
        Column("amount", Text, nullable=False),
    )
    op.create_table(
        "touches",
        Column("signal_id", Text, primary_key=True),
        Column("symbol", Text, nullable=False),
        Column("strategy", Text, nullable=False),
        Column("side", Text, nullable=False),
        Column("timeframe", Text, nullable=False),
        Column("level", Text, nullable=False),
        Column("price", Double, nullable=False),
        Column("ms", BigInteger, nullable=False),
        Column("ambiguous", Boolean, nullable=False),
        Column("late", Boolean, nullable=False),
        Column("recv_ms", BigInteger, nullable=False),
    )


def _account() -> None:
    op.create_table(
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
    op.create_table(
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
