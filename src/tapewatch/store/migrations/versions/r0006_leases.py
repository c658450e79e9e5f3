"""Who has the right to run on the ledger, and to deliver from it."""

from alembic import op
from sqlalchemy import BigInteger, Column

from tapewatch.store.types import Text

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "leases",
        Column("name", Text, primary_key=True),
        Column("number", BigInteger, nullable=False),
        Column("holder", Text, nullable=False),
    )
