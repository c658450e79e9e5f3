"""What a run writes to, and the sign that no other one does."""

from __future__ import annotations

from collections.abc import Callable

from tapewatch import __version__
from tapewatch.config import Config
from tapewatch.config.written import document
from tapewatch.errors import TapewatchError
from tapewatch.store import Ledger
from tapewatch.store.journal import Journal, JournalSettings
from tapewatch.store.lease import Lease


def open_stores(config: Config, now_ms: Callable[[], int]) -> tuple[Ledger, Lease, Journal]:
    """Ledger, lease and journal of a configuration, which the ledger keeps. Raises SetupError and StoreError."""
    ledger = Ledger.open(config.ledger.address)
    try:
        lease = ledger.lease()
        ledger.configurations.applied(document(config), __version__, now_ms())
        settings = JournalSettings(config.journal.segment_bytes, config.journal.segment_age)
        return ledger, lease, Journal.open(config.journal_folder, settings, now_ms)
    except TapewatchError:
        ledger.close()
        raise
