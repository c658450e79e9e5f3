"""What a sweep reads, to be taken to a machine that has no such files: candles, funding, and strategies in Python."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

#: Shipments that this process has unpacked -> where.
_UNPACKED: dict[str, Path] = {}


@dataclass(frozen=True)
class Shipment:
    """Files by their place in a folder: those of an archive, and the names of Python files among them.

    Attributes:
        files: place -> content.
        scripts: places of Python files that add indicators.
        digest: of all of it.
    """

    files: Mapping[str, bytes]
    scripts: tuple[str, ...]
    digest: str

    @classmethod
    def of(cls, root: Path, venue: str, symbols: Iterable[str], scripts: Iterable[Path]) -> Shipment:
        """All that an archive holds of some symbols, and Python files."""
        folders = [root / venue / quote(symbol, safe="") for symbol in symbols]
        found = sorted(path for folder in folders for path in folder.rglob("*.parquet") if path.is_file())
        files = {str(path.relative_to(root)): path.read_bytes() for path in found}
        named = {f"scripts/{k}/{path.name}": path.read_bytes() for k, path in enumerate(scripts)}
        digest = hashlib.sha256()
        for place, content in (files | named).items():
            digest.update(f"{place}\0{len(content)}\0".encode())
            digest.update(content)
        return cls(files | named, tuple(named), digest.hexdigest())

    def unpacked(self) -> tuple[Path, tuple[Path, ...]]:
        """The folder of the archive and the Python files, written down once a process and gone with it."""
        root = _UNPACKED.get(self.digest)
        if root is None:
            root = _UNPACKED[self.digest] = Path(tempfile.mkdtemp(prefix="tapewatch-shipment-"))
            atexit.register(shutil.rmtree, root, ignore_errors=True)
            for place, content in self.files.items():
                path = root / place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return root, tuple(root / place for place in self.scripts)
