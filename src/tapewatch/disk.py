"""What every part that writes files needs of the disk."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make names that were made or changed in a folder last. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_ms(folder: Path, rounds: int = 3) -> float:
    """How long a small file takes until it lasts, as the middle of some attempts; it has no name and is gone then.

    Raises:
        OSError: it cannot be written there.
    """
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryFile(dir=folder) as file:
            began = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)
