"""Alerts to the operator: about tapewatch itself, each trouble with its beginning and end, never a flood.

What happens is told at once; the same again at most once in a while, and everything together at most so often in an
hour. What was held back is counted and told later. In a maintenance nothing is told, and at its end what happened.
Everything known is in the ledger, so that a restart in the middle of a trouble does not tell it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from tapewatch.channels.routing import Severity
from tapewatch.config.alerts import Operator
from tapewatch.live.messages import messages_of_notice
from tapewatch.live.troubles import DAY_MS, Budget, began, clock, due, ended, listed, moved, span
from tapewatch.store import Maintenance, Message, Notice, Step, Trouble
from tapewatch.telemetry import get_logger
from tapewatch.telemetry.leap import Leap
from tapewatch.telemetry.log import masked

_log = get_logger("live")

#: More troubles than these that are to be told at one time are told as one.
AT_ONCE = 3
#: How often it is stored that what is known goes on.
STORE_MS = 60_000
Submit = Callable[[Step], None]
_Said = tuple[list[Notice], list[Message]]
_NOTHING: _Said = ([], [])


class OperatorDesk:
    """Writes alerts to the operator and decides which go out.

    Args:
        settings: channels and limits; without channels nothing goes out.
        submit: stores a step of notices, messages and what is known of troubles.
        now_ms: the wall clock.
        venue: of the steps.
        channels: every channel that is configured, for when the operator's own do not work.
    """

    def __init__(
        self,
        settings: Operator,
        submit: Submit,
        now_ms: Callable[[], int],
        venue: str = "",
        channels: Collection[str] = (),
    ) -> None:
        self._budget = Budget(settings.per_hour)
        self.change(settings, channels)
        self._submit = submit
        self._now_ms = now_ms
        self._venue = venue
        self._known: dict[str, Trouble] = {}
        self._texts: dict[str, str] = {}
        self._severities: dict[str, Severity] = {}
        self._avoided: dict[str, str] = {}
        self._changed: set[str] = set()
        self._windows: Sequence[Maintenance] = ()
        self._finished: Sequence[Maintenance] = ()
        self._stored_ms = 0
        self._last_id_ms = 0
        #: How many were told, held back, or fell into a maintenance.
        self.counts: Counter[str] = Counter({"told": 0, "held_back": 0, "maintenance": 0})
        #: Channels that do not work: alerts take others.
        self.failing: set[str] = set()

    def change(self, settings: Operator, channels: Collection[str]) -> None:
        """Tell by these settings from now on; see the class."""
        self._channels = settings.channels
        self._all_channels = channels
        self._every_ms = settings.every
        self._budget.per_hour = settings.per_hour

    def resume(self, known: Iterable[Trouble], told_ms: Iterable[int], windows: Sequence[Maintenance] = ()) -> None:
        """Go on from what an earlier run knew; call it before anything is told.

        Args:
            known: its troubles.
            told_ms: when alerts to the operator were written in the last hour.
            windows: maintenance.
        """
        now_ms = self._now_ms()
        self._known = {one.key: one for one in known if one.open or one.held or one.last_ms > now_ms - DAY_MS}
        for one in self._known.values():  # told at a time that is still to come, after the clock was set back, is now
            one.told_ms = min(one.told_ms, now_ms)
        self._budget = Budget(self._budget.per_hour, (min(one_ms, now_ms) for one_ms in told_ms))
        self._windows = windows

    def alert(
        self, key: str, subject: str, text: str, severity: Severity = "high", *, avoid: str | None = None
    ) -> None:
        """Something happened: told, unless the same `key` or too much else was told a short while ago.

        It is about the channel `avoid`, which is taken only where there is no other.
        """
        self._severities[key] = severity
        if avoid is not None:
            self._avoided[key] = avoid
        first = self._happened(key, subject, text, is_open=False)
        self._put(self._told([key]) or (_NOTHING if first else None))

    def trouble(self, key: str, subject: str, text: str) -> None:
        """A trouble began, or goes on: told once, and again only after a long while, until it is `over`."""
        known = self._known.get(key)
        news = known is None or not known.open
        if known is not None and known.open and known.subject != masked(subject):  # it has become another, as it were
            known.told = known.told_ms = 0
            news = True
        self._happened(key, subject, text, is_open=True)
        if news:
            _log.warning("trouble", key=key, subject=subject, text=text)
            self._put(self._told([key]) or _NOTHING)

    def over(self, key: str, text: str = "") -> None:
        """A trouble is over, where it had begun: told to whom its beginning was told."""
        known = self._known.get(key)
        if known is None or not known.open:
            return
        known.open, known.last_ms = False, self._now_ms()
        self._changed.add(key)
        _log.info("trouble_over", key=key, subject=known.subject, lasted_s=(known.last_ms - known.since_ms) // 1000)
        if not known.told:  # what was held back is told when its time comes
            self._texts[key] = f"{self._texts.get(key, '')}\nIt is over. {masked(text)}".strip()
        elif not self._silent(known.last_ms):
            known.held = 0
            self._put(self._written(f"over/{key}", *ended(known, text), "normal"))
        else:
            known.held += 1

    def look(self) -> None:
        """Tell what has become due, and what a maintenance that is over has kept back; call it every few seconds."""
        now_ms = self._now_ms()
        past = [window for window in self._windows if window.until_ms <= now_ms]
        if past and self._maintenance(now_ms) is None:
            self._finished = past  # until the ledger has heard of it, it brings them again
            self._put(self._after_maintenance(past), past)
            self.follow(self._windows)
        # What an earlier run left open is told again when it has shown again.
        self._put(self._told([key for key, one in self._known.items() if key in self._texts or not one.open]))
        if not 0 <= now_ms - self._stored_ms < STORE_MS:
            self.flush()

    def follow(self, windows: Sequence[Maintenance]) -> None:
        """These are the windows of maintenance now."""
        self._windows = [window for window in windows if window not in self._finished]

    def clock_set(self, leap: Leap) -> None:
        """The wall clock was set: waits and limits are kept by what has passed; maintenance is by the clock."""
        self._budget.clock_set(leap)
        self._stored_ms = leap.moved(self._stored_ms)
        for one in self._known.values():
            moved(one, leap)
        self._changed.update(self._known)

    def last_words(self, key: str, subject: str, text: str) -> Step | None:
        """As `alert`, critical, as a step to commit by hand: for when nothing else works any more."""
        self._severities[key] = "critical"
        self._happened(key, subject, text, is_open=False)
        return self._step(self._told([key])) if self._channels else None

    def flush(self) -> None:
        """Store what is known and was not stored yet."""
        if self._changed:
            self._put(_NOTHING)

    def state(self) -> dict[str, Any]:
        """As the health document shows it."""
        now_ms = self._now_ms()
        on = self._maintenance(now_ms)
        planned = [window for window in self._windows if window.from_ms > now_ms]
        return {
            "troubles": [
                {"key": one.key, "subject": one.subject, "since_ms": one.since_ms, "count": one.count}
                for one in self.troubles
            ],
            "maintenance": None if on is None else {"until_ms": on.until_ms, "reason": on.reason},
            "planned": [{"from_ms": one.from_ms, "until_ms": one.until_ms, "reason": one.reason} for one in planned],
        }

    @property
    def troubles(self) -> list[Trouble]:
        """Those that are on, the oldest first."""
        return sorted((one for one in self._known.values() if one.open), key=lambda one: (one.since_ms, one.key))

    def _happened(self, key: str, subject: str, text: str, *, is_open: bool) -> bool:
        """Note it; whether it is the first time since the operator was told."""
        now_ms, known = self._now_ms(), self._known.get(key)
        went_on = known is not None and (known.open or known.held > 0)
        if known is None or not went_on:  # anew, though it may have been told a short while ago
            known = Trouble(key, subject, now_ms, now_ms, 0 if known is None else known.told_ms)
            self._known[key] = known
        known.subject, known.last_ms, known.open = masked(subject), now_ms, is_open
        known.count += 1
        known.held += 1
        self._texts[key] = masked(text)
        self._changed.add(key)
        if self._channels and self._silent(now_ms):
            self.counts["maintenance"] += 1
        elif self._channels and not (due(known, now_ms, self._every_ms) and self._budget.room(now_ms)):
            self.counts["held_back"] += not (is_open and known.told)
        return known.held == 1

    def _told(self, keys: Sequence[str]) -> _Said | None:
        """What is to be said of those that are due now; of many at one time, one thing."""
        now_ms = self._now_ms()
        if not self._channels or self._silent(now_ms) or not self._budget.room(now_ms):
            return None
        ready = [one for key in keys if due(one := self._known[key], now_ms, self._every_ms)]
        notices: list[Notice] = []
        messages: list[Message] = []
        if len(ready) > AT_ONCE:
            said = self._written("several", f"{len(ready)} things happened", listed(ready))
            self._note_told(ready)
            return said
        for one in ready:
            if not self._budget.room(now_ms):
                break
            subject, text = began(one, self._texts.get(one.key, ""), now_ms)
            written = self._written(one.key, subject, text, self._severities.get(one.key, "high"))
            self._note_told([one])
            notices += written[0]
            messages += written[1]
        return (notices, messages) if notices else None

    def _note_told(self, troubles: Sequence[Trouble]) -> None:
        for one in troubles:
            one.told_ms, one.held, one.told = self._now_ms(), 0, one.told + 1
            self._changed.add(one.key)

    def _after_maintenance(self, past: Sequence[Maintenance]) -> _Said | None:
        happened = [one for one in self._known.values() if one.held or one.open]
        reasons = "; ".join(window.reason for window in past if window.reason)
        since_ms = min(window.from_ms for window in past)
        text = f"It lasted {span(max(window.until_ms for window in past) - since_ms)}, from {clock(since_ms)}"
        text += f" ({reasons}).\n" if reasons else ".\n"
        text += listed(happened)
        said = self._written("maintenance", "Maintenance is over", text, "normal") if self._channels else None
        self._note_told(happened)
        return said

    def _maintenance(self, now_ms: int) -> Maintenance | None:
        """The window that is on, the longest of several."""
        on = [window for window in self._windows if window.from_ms <= now_ms < window.until_ms]
        return max(on, key=lambda window: window.until_ms, default=None)

    def _silent(self, now_ms: int) -> bool:
        """Whether a maintenance is on, or over and not told of yet: that comes first."""
        return any(window.from_ms <= now_ms for window in self._windows)

    def _written(self, key: str, subject: str, text: str, severity: Severity = "high") -> _Said:
        now_ms = self._now_ms()
        self._budget.told(now_ms)
        self.counts["told"] += 1
        self._last_id_ms = max(now_ms, self._last_id_ms + 1)  # two of one moment are two
        identity = f"operator/{quote(key, safe='')}/{self._last_id_ms}"
        notice = Notice(identity, f"[tapewatch] {masked(subject)}", masked(text), now_ms)
        return [notice], messages_of_notice(notice, self._working(self._avoided.get(key)), now_ms, severity=severity)

    def _working(self, avoid: str | None) -> list[str]:
        """The operator's channels that work; where none does, others that do."""
        bad = self.failing | {avoid}
        own = [name for name in self._channels if name not in bad]
        return own or [name for name in self._all_channels if name not in bad] or self._channels

    def _put(self, said: _Said | None, maintained: Sequence[Maintenance] = ()) -> None:
        if self._channels and (said is not None or maintained):
            self._submit(self._step(said, maintained))

    def _step(self, said: _Said | None, maintained: Sequence[Maintenance] = ()) -> Step:
        notices, messages = said or _NOTHING
        changed, self._changed, self._stored_ms = sorted(self._changed), set(), self._now_ms()
        known = [msgspec.structs.replace(self._known[key]) for key in changed]  # as it is now
        return Step(self._venue, notices=notices, messages=messages, troubles=known, maintained=maintained)
