"""One line of `tapewatch bench`, and what the system says of a process."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class Figure(msgspec.Struct):
    """One measured figure; `peer` and `ratio` are filled where the same run measured something beside it."""

    name: str
    value: float
    unit: str
    n: int
    median_of: int
    peer: str | None = None
    ratio: float | None = None


def cpu_s(pid: int) -> float:
    """CPU time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """A process's resident memory."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
