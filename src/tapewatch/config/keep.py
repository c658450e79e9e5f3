"""How long the ledger keeps what."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tapewatch.config.section import Section
from tapewatch.config.values import DurationMs

_DAY_MS = 86_400_000
Kept = Annotated[DurationMs, Field(ge=_DAY_MS)]


class Keep(Section):
    """How long the ledger keeps what nothing needs any more; what has no duration stays for good.

    `signals` with their market data and snapshots; `outcomes`, which records are made of; `alerts` with their messages
    and attempts; `snapshots` of the clock; daily `metrics`.
    """

    signals: Kept | None = 365 * _DAY_MS
    outcomes: Kept | None = None
    alerts: Kept = 7 * _DAY_MS
    snapshots: Kept | None = 90 * _DAY_MS
    figures: Kept | None = 30 * _DAY_MS
    metrics: Kept | None = None
    corrections: Kept | None = 90 * _DAY_MS
    configurations: Kept | None = None
