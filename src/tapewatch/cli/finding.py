"""One line of `check`: what was looked at, and how it is."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["pass", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of `check`; `check` and `status` are always there.

    `value` is what was measured, in `unit`, and `limit` what it is judged by.
    """

    check: str
    status: Status
    target: str | None = None
    detail: str | None = None
    latency_ms: float | None = None
    clock_skew_ms: float | None = None
    value: float | str | None = None
    unit: str | None = None
    limit: float | str | None = None
