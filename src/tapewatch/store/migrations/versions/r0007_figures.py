"""What runs count and measure, minute by minute."""

from alembic import op
from sqlalchemy import BigInteger, Column, LargeBinary

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "figures",
        Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
        Column("started_ms", BigInteger, primary_key=True, autoincrement=False),
        Column("body", LargeBinary, nullable=False),
    )
