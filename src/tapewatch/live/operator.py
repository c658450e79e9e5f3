"""Alerts to the operator: about tapewatch itself, rate limited, through the same outbox as all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import quote

from tapewatch.channels.operator import OperatorLimit
from tapewatch.config.schema import Operator
from tapewatch.live.relay import messages_of_notice
from tapewatch.store import Message, Notice, Step

Submit = Callable[[Notice, Sequence[Message]], None]


class OperatorDesk:
    """Writes alerts to the operator and decides which go out.

    Args:
        settings: channels and limits; without channels nothing goes out.
        submit: stores a notice with its messages.
        now_ms: the wall clock.
    """

    def __init__(self, settings: Operator, submit: Submit, now_ms: Callable[[], int]) -> None:
        self._channels = settings.channels
        self._limit = OperatorLimit(settings.every, settings.per_hour)
        self._submit = submit
        self._now_ms = now_ms

    def alert(self, key: str, subject: str, text: str) -> None:
        """Tell the operator, unless the same `key` or too much else was told a short while ago."""
        written = self._write(key, subject, text)
        if written is not None:
            self._submit(*written)

    def last_words(self, venue: str, key: str, subject: str, text: str) -> Step | None:
        """The same as a step to commit by hand, for when nothing else works any more."""
        written = self._write(key, subject, text)
        return None if written is None else Step(venue, messages=written[1], notices=[written[0]])

    def _write(self, key: str, subject: str, text: str) -> tuple[Notice, list[Message]] | None:
        now_ms = self._now_ms()
        held_back = self._limit.admit(key, now_ms) if self._channels else None
        if held_back is None:
            return None
        more = f"\n{held_back} further alerts were held back before this one." if held_back else ""
        notice = Notice(f"operator/{quote(key, safe='')}/{now_ms}", f"[tapewatch] {subject}", text + more, now_ms)
        return notice, messages_of_notice(notice, self._channels, now_ms)
