"""Where a download takes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tapewatch.download.files import Files
from tapewatch.feeds.history import Exchange, History
from tapewatch.model import DAY_MS


@dataclass(frozen=True)
class Source:
    """An exchange, an archive to fill from it, and what time it is there.

    Attributes:
        root: the archive's folder.
        exchange: the venue's REST interface.
        files: the exchange's file archive, None when it is not to be used.
        history: the client of its REST interface, None when it is not to be used.
        now_ms: the exchange's time.
    """

    root: Path
    exchange: Exchange
    files: Files | None
    history: History | None
    now_ms: int

    @property
    def today_ms(self) -> int:
        """The first moment of the exchange's day: files are of days before."""
        return self.now_ms - self.now_ms % DAY_MS
