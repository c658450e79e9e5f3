"""The configurations that runs applied."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer

from tapewatch.store.types import Text

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "configurations",
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("hash", Text, nullable=False),
        Column("first_ms", BigInteger, nullable=False),
        Column("last_ms", BigInteger, nullable=False),
        Column("version", Text, nullable=False),
        Column("body", Text, nullable=False),
    )
