"""How far the ledger holds what each journal's events led to, and bars that the exchange corrected."""

from alembic import op
from sqlalchemy import BigInteger, Column

from tapewatch.store.types import Text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "journals",
        Column("journal_id", Text, primary_key=True),
        Column("venue", Text, nullable=False),
        Column("position", BigInteger, nullable=False),
    )
    op.create_table(
        "corrections",
        Column("venue", Text, primary_key=True),
        Column("symbol", Text, primary_key=True),
        Column("interval_ms", BigInteger, primary_key=True, autoincrement=False),
        Column("open_ms", BigInteger, primary_key=True, autoincrement=False),
        Column("recv_ms", BigInteger, primary_key=True, autoincrement=False),
        Column("before", Text, nullable=False),
        Column("after", Text, nullable=False),
    )
