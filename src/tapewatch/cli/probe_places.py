"""What `check --connect` finds where a run writes: ledger, folders, disks, who may read and change what."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from tapewatch.cli.finding import Finding, Status
from tapewatch.config.channels import FileChannel
from tapewatch.config.schema import Config
from tapewatch.disk import sync_ms
from tapewatch.errors import TapewatchError

DISK_FAIL_BYTES, DISK_WARN_BYTES = 100_000_000, 1_000_000_000
#: A write that takes longer to last holds up every bar that closes meanwhile.
WRITE_WARN_MS = 250.0
LASTS = "a small write lasts after"


def ledger(config: Config) -> list[Finding]:
    """Whether it can be written, how fast, of which revision it is and who has it."""
    file = config.ledger.file
    if file is not None and not file.exists():
        return [written("ledger", file)]
    from tapewatch.store.probe import try_out

    target = config.ledger.url if file is None else str(file)
    try:
        trial = try_out(config.ledger.address)
    except TapewatchError as error:
        return [Finding("ledger", "fail", target, str(error))]
    write_ms = round(trial.write_ms, 1)
    return [
        _lasting("ledger", target, f"can be written; {LASTS} {write_ms:g} ms", write_ms),
        Finding("version", "pass", "ledger", trial.server, value=trial.server),
        _revision(trial.revision),
        *(_right(name, holder) for name, holder in trial.rights.items()),
    ]


def _lasting(check: str, target: str, detail: str, took_ms: float) -> Finding:
    status: Status = "warn" if took_ms > WRITE_WARN_MS else "pass"
    return Finding(check, status, target, detail, took_ms, value=took_ms, unit="ms", limit=WRITE_WARN_MS)


def _revision(revision: str | None) -> Finding:
    """Whether this version knows the tables."""
    from tapewatch.errors import StoreError
    from tapewatch.store.migrate import check_known
    from tapewatch.store.schema import REVISION

    def finding(status: Status, detail: str) -> Finding:
        return Finding("revision", status, "ledger", detail, value=revision or "none", limit=REVISION)

    if revision is None:
        return finding("pass", "it has no tables yet; a start makes them")
    try:
        check_known("the ledger", revision)
    except StoreError as error:
        return finding("fail", str(error))
    if revision == REVISION:
        return finding("pass", f"{revision}, this version's")
    return finding("warn", f"{revision}: a start migrates it to {REVISION}, and the earlier version then refuses it")


def _right(name: str, holder: str | None) -> Finding:
    held = "free" if holder is None else f"held by {holder}"
    return Finding("lease", "pass", name, held, value=holder or "free")


def folders(config: Config) -> list[Finding]:
    """Whether journal, archive and log can be written, or made."""
    found = [_folder("journal", config.journal_folder)]
    if config.archive.record:
        found.append(_folder("archive", config.archive_folder))
    if config.logging.file is not None:
        found.append(written("log file", config.logging.file))
    return found


def _folder(check: str, path: Path) -> Finding:
    if path.exists() and not path.is_dir():
        return Finding(check, "fail", str(path), "is not a folder")
    if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
        return Finding(check, "fail", str(path), "may not be written by this user")
    return Finding(check, "pass", str(path), "can be written") if path.exists() else written(check, path)


def written(check: str, path: Path) -> Finding:
    """Whether a file could be written, or made, with the permissions as they are."""
    if path.is_dir():
        return Finding(check, "fail", str(path), "is a directory")
    if path.exists():
        if os.access(path, os.W_OK):
            return Finding(check, "pass", str(path), "can be written")
        return Finding(check, "fail", str(path), "may not be written by this user")
    folder = _existing(path)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return Finding(check, "fail", str(path), f"cannot be made: {folder} may not be written by this user")
    return Finding(check, "pass", str(path), "will be made")


def _written(config: Config) -> Iterator[Path]:
    """Everything that a run writes."""
    yield config.ledger.beside("")
    yield config.journal_folder / "segment"
    if config.archive.record:
        yield config.archive_folder / "candles"
    if config.logging.file is not None:
        yield config.logging.file
    yield from (spec.path for spec in config.channels.values() if isinstance(spec, FileChannel))


def disks(config: Config) -> list[Finding]:
    """Each disk that is written to: how much is free, and whether a write lasts there and how long that takes."""
    return list(_disks(_written(config)))


def _disks(paths: Iterable[Path]) -> Iterator[Finding]:
    seen: set[int] = set()
    for path in paths:
        folder = _existing(path)
        if (device := folder.stat().st_dev) in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(folder).free
        status: Status = "pass"
        if free < DISK_WARN_BYTES:
            status = "fail" if free < DISK_FAIL_BYTES else "warn"
        yield Finding(
            "disk", status, str(folder), f"{free / 1e9:.1f} GB free", value=free, unit="bytes", limit=DISK_WARN_BYTES
        )
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):  # else that is said already
            yield _write(folder)


def _write(folder: Path) -> Finding:
    try:
        took_ms = round(sync_ms(folder), 1)
    except OSError as error:
        return Finding("write", "fail", str(folder), f"a file of 4 KB cannot be written: {error.strerror}")
    return _lasting("write", str(folder), f"{LASTS} {took_ms:g} ms", took_ms)


def _existing(path: Path) -> Path:
    return next(folder for folder in path.absolute().parents if folder.exists())


def permissions(config: Config) -> list[Finding]:
    """Whether others may change what is run with: the configuration, and strategies, which may be programs.

    And whether this is root where a service has a user of its own: what root makes there, that user cannot write.
    """
    paths = [*config.sources, *(Path(spec["file"]) for spec in config.strategies.values() if "file" in spec)]
    open_to_all = [path for path in paths if path.exists() and _changeable(path)]
    found = [
        Finding("permissions", "warn", str(path), f"everybody can change it; chmod o-w {path} and its folder")
        for path in open_to_all
    ]
    folder = _existing(config.ledger.beside(""))
    if os.geteuid() == 0 and folder.stat().st_uid != 0:
        owner = _name_of(folder.stat().st_uid)
        detail = f"belongs to {owner}, and this is root: run commands as {owner} (runuser -u {owner} -- tapewatch …)"
        found.append(Finding("permissions", "warn", str(folder), detail))
    return found or [Finding("permissions", "pass", detail="nobody else may change the configuration")]


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _changeable(path: Path) -> bool:
    """By everybody, where it is or by putting another in its place."""
    folder = path.absolute().parent.stat().st_mode
    return bool(path.stat().st_mode & stat.S_IWOTH or (folder & stat.S_IWOTH and not folder & stat.S_ISVTX))
