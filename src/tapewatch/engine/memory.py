"""What an engine of another make goes on from."""

from __future__ import annotations

import msgspec

from tapewatch.model import BookSaved, Rest
from tapewatch.outcomes import Followed


class Memory(msgspec.Struct, frozen=True):
    """What a ledger knows of an earlier run, beside what the gate remembers.

    Attributes:
        saved: what was told of the paper account and its positions.
        followed: signals that were decided and not seen to end.
        stopped: signals that passed and have touched their stop, for the cooldown.
    """

    saved: BookSaved | None = None
    followed: tuple[Followed, ...] = ()
    stopped: tuple[Rest, ...] = ()
