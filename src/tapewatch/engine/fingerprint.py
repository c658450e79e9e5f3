"""What says whether two engines lead the same events to the same effects."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from tapewatch.engine.outlook import outlook_frames, outlook_step
from tapewatch.engine.settings import MarketSettings
from tapewatch.strategy import Program


def fingerprint_of(settings: Sequence[Any], market: MarketSettings, programs: Sequence[Program]) -> str:
    """Of an engine that is made of these: every setting, and what its programs do and where they begin."""
    made = [*settings] if market == MarketSettings() else [*settings, market]
    if market.outlooks:
        strategies = {program.strategy.name: program.strategy for program in programs}
        frames = sorted(set().union(*map(outlook_frames, strategies.values())))
        made += [outlook_step(frame_ms).step.code for frame_ms in frames]
    for program in programs:
        initial = [[slot for slot in step.initial if isinstance(slot, float | int)] for step in program.steps]
        made.append([program.timeframe, [step.code for step in program.steps], repr(initial)])
    return hashlib.blake2b(msgspec.json.encode(made), digest_size=16).hexdigest()
