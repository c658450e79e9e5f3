"""The ledger and its outbox: what was decided, what was sent, in SQLite or another database by URL."""

from tapewatch.store.ledger import Ledger
from tapewatch.store.outbox import Outbox
from tapewatch.store.records import (
    ChannelState,
    Due,
    Maintenance,
    Message,
    MessageState,
    Notice,
    SeriesState,
    Step,
    StoredAlert,
    Trouble,
    Waiting,
)

__all__ = [
    "ChannelState",
    "Due",
    "Ledger",
    "Maintenance",
    "Message",
    "MessageState",
    "Notice",
    "Outbox",
    "SeriesState",
    "Step",
    "StoredAlert",
    "Trouble",
    "Waiting",
]
