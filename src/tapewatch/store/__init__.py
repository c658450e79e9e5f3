"""The ledger and its outbox: what was decided, what was sent, in SQLite or another database by URL."""

from tapewatch.store.ledger import Ledger
from tapewatch.store.outbox import Outbox
from tapewatch.store.records import Due, Message, MessageState, Notice, SeriesState, Step, StoredAlert

__all__ = ["Due", "Ledger", "Message", "MessageState", "Notice", "Outbox", "SeriesState", "Step", "StoredAlert"]
