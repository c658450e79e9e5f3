"""What the user has muted, and until when."""

from alembic import op
from sqlalchemy import BigInteger, Column

from tapewatch.store.types import Text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "mutes",
        Column("target", Text, primary_key=True),
        Column("until_ms", BigInteger, nullable=False),
    )
