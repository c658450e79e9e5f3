"""Digests: which waiting messages go into one, and what it is then."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tapewatch.channels.escape import units
from tapewatch.channels.routing import SEVERITIES
from tapewatch.store import Message, Notice, Waiting

#: A digest names no more alerts than this, however much room there is.
MOST = 200
#: Of a channel's room, what is left for the words around the lines.
AROUND = 500


class Packing:
    """Fills a digest line by line, until it is full.

    Args:
        room: the most that a body of the channel can hold, in UTF-16 units; None for no limit.
    """

    def __init__(self, room: int | None) -> None:
        self._left = None if room is None else room - AROUND
        self.count = 0

    def add(self, line: str) -> bool:
        """Whether the line was added: there was room, and were not too many. Two fit always, or it would be none."""
        size = units(line) + 1
        if self.count == MOST or (self._left is not None and size > self._left and self.count >= 2):
            return False
        self.count += 1
        if self._left is not None:
            self._left -= size
        return True


def digest_of(channel: str, members: Sequence[Waiting], why: str, now_ms: int) -> tuple[Notice, Message]:
    """The alert and the message that name these messages of a channel, which are in their order.

    Its id is derived from them. It is as urgent as its first and as old as its oldest.
    """
    named = "\n".join(member.message_id for member in members)
    digest = hashlib.blake2b(named.encode(), digest_size=8).hexdigest()
    notice = Notice(f"digest/{channel}/{digest}", f"{len(members)} alerts", why, now_ms, "digest")
    return notice, Message(
        notice.alert_id,
        channel,
        min(member.created_ms for member in members),
        "digest",
        members[0].priority,
        any(member.possible_repeat for member in members),
        members[0].strength,
        max((member.severity for member in members), key=_rank),
    )


def _rank(severity: str) -> int:
    return next((place for place, known in enumerate(SEVERITIES) if known == severity), 0)
