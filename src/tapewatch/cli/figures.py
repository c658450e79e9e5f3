"""One line of `tapewatch bench`."""

from __future__ import annotations

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
