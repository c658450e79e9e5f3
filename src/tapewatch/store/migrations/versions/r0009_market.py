"""Instruments, market data, snapshots and daily metrics; numbered signals; roles; when rows were written."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary

from tapewatch.store.types import Double, Text

revision = "0009"
down_revision = "0008"

#: The tables that there were, but those that are made anew; `created_ms` of alerts and messages is their own.
_DATED = (
    "series", "gate_passed", "signals", "attempts", "mutes", "journals", "corrections", "trades", "fills",
    "funding_paid", "paper_accounts", "account_days", "outcomes", "baselines", "channel_states", "maintenance",
    "leases", "configurations",
)  # fmt: skip


def upgrade() -> None:
    """Create the tables and columns, and number the signals."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL statement_timeout = 0")  # of as many signals as there are
        # Every row of it is written each minute: with room beside it, no index has to be.
        op.execute("ALTER TABLE series SET (fillfactor = 40)")
    _numbers()
    _roles()
    _leases()
    for name in _DATED:
        op.add_column(name, Column("created_ms", BigInteger))
    for name in (*_DATED, "alerts", "messages"):
        op.add_column(name, Column("updated_ms", BigInteger))
    _instruments()
    _market_data()
    _market_snapshots()
    _daily_metrics()


def _numbers() -> None:
    op.add_column("signals", Column("number", BigInteger))
    op.execute(
        "UPDATE signals SET number = ordered.place"
        " FROM (SELECT id, row_number() OVER (ORDER BY close_ms, id) AS place FROM signals) AS ordered"
        " WHERE ordered.id = signals.id"
    )
    op.create_index("ix_signals_number", "signals", ["number"], unique=True)


def _roles() -> None:
    """A primary key cannot be changed everywhere: both tables are made anew."""
    op.rename_table("troubles", "troubles_0008")
    op.create_table(
        "troubles",
        Column("role", Text, primary_key=True, server_default="all"),
        Column("key", Text, primary_key=True),
        Column("subject", Text, nullable=False),
        Column("since_ms", BigInteger, nullable=False),
        Column("last_ms", BigInteger, nullable=False),
        Column("told_ms", BigInteger, nullable=False),
        Column("told", Integer, nullable=False),
        Column("count", BigInteger, nullable=False),
        Column("held", BigInteger, nullable=False),
        Column("open", Boolean, nullable=False),
        *_dates(),
    )
    op.rename_table("figures", "figures_0008")
    op.create_table(
        "figures",
        Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
        Column("started_ms", BigInteger, primary_key=True, autoincrement=False),
        Column("role", Text, primary_key=True, server_default="all"),
        Column("body", LargeBinary, nullable=False),
        *_dates(),
    )
    moved = {
        "troubles": "key, subject, since_ms, last_ms, told_ms, told, count, held, open",
        "figures": "at_ms, started_ms, body",
    }
    for name, columns in moved.items():
        op.execute(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {name}_0008")  # noqa: S608 - names of our own
        op.drop_table(f"{name}_0008")


def _leases() -> None:
    """The right to run is that of a role now."""
    op.execute("DELETE FROM leases WHERE name = 'run' AND EXISTS (SELECT 1 FROM leases WHERE name = 'scanner')")
    op.execute("UPDATE leases SET name = 'scanner' WHERE name = 'run'")


def _dates() -> tuple[Column[int], Column[int]]:
    return Column("created_ms", BigInteger), Column("updated_ms", BigInteger)


def _instruments() -> None:
    op.create_table(
        "instruments",
        Column("venue", Text, primary_key=True),
        Column("symbol", Text, primary_key=True),
        Column("base_asset", Text),
        Column("quote_asset", Text),
        Column("status", Text),
        Column("tick", Text),
        Column("step", Text),
        Column("least_notional", Text),
        Column("watched", Boolean, nullable=False),
        Column("eligible", Boolean, nullable=False),
        Column("reason", Text),
        Column("quote_volume_24h", Double),
        Column("first_seen_ms", BigInteger, nullable=False),
        Column("changed_ms", BigInteger, nullable=False),
        *_dates(),
    )


def _market_data() -> None:
    op.create_table(
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
        Column("indicators", Text, nullable=False),
        *_dates(),
    )
    op.create_index("ix_market_data_open", "market_data", ["open_ms"])


def _market_snapshots() -> None:
    op.create_table(
        "market_snapshots",
        Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
        Column("venue", Text, primary_key=True),
        Column("symbol", Text, primary_key=True),
        Column("signal_id", Text, primary_key=True),
        Column("price", Double),
        Column("quote_volume_24h", Double),
        Column("spread_bps", Double),
        Column("timeframe", Text),
        Column("regime", Text),
        Column("trend", Text),
        Column("volatility_pct", Double),
        Column("btc_correlation", Double),
        *_dates(),
    )
    op.create_index("ix_market_snapshots_symbol", "market_snapshots", ["symbol", "at_ms"])


def _daily_metrics() -> None:
    op.create_table(
        "daily_metrics",
        Column("venue", Text, primary_key=True),
        Column("day_ms", BigInteger, primary_key=True, autoincrement=False),
        Column("strategy", Text, primary_key=True),
        Column("side", Text, primary_key=True),
        Column("timeframe", Text, primary_key=True),
        Column("signals", Integer, nullable=False),
        Column("passed", Integer, nullable=False),
        Column("alerts", Integer, nullable=False),
        Column("targets", Integer, nullable=False),
        Column("stops", Integer, nullable=False),
        Column("timeouts", Integer, nullable=False),
        Column("ambiguous", Integer, nullable=False),
        Column("win_rate", Double),
        Column("expectancy_r", Double),
        Column("gross_r", Double),
        Column("net_r", Double),
        Column("trades", Integer, nullable=False),
        Column("trades_won", Integer, nullable=False),
        Column("trades_net", Text, nullable=False),
        *_dates(),
    )
