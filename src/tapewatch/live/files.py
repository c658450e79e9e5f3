"""The files of a configuration, looked at every so often: whether what was read is still what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: What a file is known by: when it was written, its size, and which file it is; of a folder that of each in it.
Signature = tuple[Any, ...] | None
#: Templates are in a folder, and in folders in it.
FOLDERS = 2


class FileWatch:
    """Files as they were when they were read.

    A file that is replaced, written again, gone or there at last is a change, which has settled when two looks in a row
    see the same: a file may be half written.
    """

    def __init__(self) -> None:
        self._read: dict[Path, Signature] = {}
        self._seen: dict[Path, Signature] = {}

    def begin(self) -> None:
        """They are read again, perhaps others than before."""
        self._read = {}

    def note(self, path: Path) -> None:
        """This file is read next, or was looked for; how it is now counts."""
        self._read[path] = signature_of(path)

    def settled(self) -> bool:
        """Whether there is a change, the same as at the look before."""
        seen = {path: signature_of(path) for path in self._read}
        same, self._seen = seen == self._seen, seen
        return same and seen != self._read


def signature_of(path: Path, depth: int = FOLDERS) -> Signature:
    """How a file is now, or a folder with what is in it; None where there is none."""
    try:
        known = path.stat()
        inside = sorted(path.iterdir()) if depth and path.is_dir() else []
    except OSError:
        return None
    return known.st_mtime_ns, known.st_size, known.st_ino, *((one.name, signature_of(one, depth - 1)) for one in inside)
