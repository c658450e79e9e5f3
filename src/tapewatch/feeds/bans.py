"""Until when each host is to be left alone, kept in a file: a restart must not ask a host that has banned this address.

A ban grows with every request made during it (2 minutes to 3 days), so this has to be known before the first one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

#: No ban is longer; what says so was written by a clock that was wrong.
LONGEST_MS = 3 * 86_400_000


def epoch_ms() -> int:
    """The wall clock in ms: it alone means the same after a restart."""
    return time.time_ns() // 1_000_000


class Bans:
    """Host -> wall-clock ms until which it must not be asked.

    Without a `path` nothing is kept. A file that cannot be read is as none, one that cannot be written is reported: the
    ban is obeyed by this process all the same.
    """

    def __init__(self, path: Path | None, warn: Callable[[str], None], now_ms: Callable[[], int] = epoch_ms) -> None:
        self._path = path
        self._warn = warn
        self._now_ms = now_ms
        self._until_ms = self._load()

    def remaining_s(self, host: str) -> float:
        """How long this host must still be left alone."""
        return max(0, self._until_ms.get(host, 0) - self._now_ms()) / 1000

    def keep(self, seconds_by_host: Mapping[str, float]) -> None:
        """These hosts are to be left alone for so long; of two bans the longer holds."""
        now_ms = self._now_ms()
        for host, seconds in seconds_by_host.items():
            self._until_ms[host] = max(self._until_ms.get(host, 0), now_ms + int(seconds * 1000))
        self._until_ms = {host: until_ms for host, until_ms in self._until_ms.items() if until_ms > now_ms}
        if self._path is not None:
            try:
                _write_whole(self._path, msgspec.json.encode({"banned_until_ms": self._until_ms}))
            except OSError as error:
                self._warn(f"{self._path}: a ban could not be kept for the next start: {error.strerror}")

    def _load(self) -> dict[str, int]:
        if self._path is None:
            return {}
        try:
            stored = _decode(self._path.read_bytes()).banned_until_ms
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            self._warn(f"{self._path}: cannot be read, so bans of an earlier run are unknown: {error}")
            return {}
        now_ms = self._now_ms()
        return {host: min(until_ms, now_ms + LONGEST_MS) for host, until_ms in stored.items() if until_ms > now_ms}


class _Stored(msgspec.Struct):
    banned_until_ms: dict[str, int]


_decode = msgspec.json.Decoder(_Stored).decode


def _write_whole(path: Path, content: bytes) -> None:
    """Either the old content stays or the new one is there, whatever happens in between."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise
