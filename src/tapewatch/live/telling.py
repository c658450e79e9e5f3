"""What a step's effects tell the user: alerts in words, and the messages all alerts become."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import NamedTuple, get_args
from zoneinfo import ZoneInfo

from tapewatch.channels import book
from tapewatch.channels.chart import available
from tapewatch.channels.routing import Route, Subject, channels_for
from tapewatch.channels.templates import Templates, read_templates
from tapewatch.channels.writer import OnFallback, Writer
from tapewatch.config import Config
from tapewatch.live.messages import messages_for, messages_of_notice
from tapewatch.model import (
    AccountState,
    Alert,
    DayDone,
    Effect,
    EntriesPaused,
    EntriesResumed,
    Fill,
    Outcome,
    Position,
)
from tapewatch.store import Message, Notice
from tapewatch.store.records import Kind

_OF_A_BOOK = (AccountState, Fill, Position, DayDone, EntriesPaused, EntriesResumed, Outcome)


class Said(NamedTuple):
    """An alert in words before it is a notice; `about` is None where it is about the account."""

    kind: Kind
    identity: str
    about: Subject | None
    signal_ids: tuple[str, ...]
    late: bool
    told: book.Told


@dataclass(frozen=True)
class Teller:
    """Turns effects into what is stored and sent of them.

    Attributes:
        venue: in the ids of alerts about the account.
        routes: where alerts go.
        zone: the user's time zone.
        kinds: what is told of positions, the account and what became of alerts, `Kind`s; pauses are told always.
    """

    venue: str
    routes: Sequence[Route]
    zone: tzinfo
    kinds: frozenset[str] = frozenset()

    def tell(
        self, effects: Iterable[Effect], now_ms: int, *, possible_repeat: bool = False
    ) -> tuple[list[Notice], list[Message]]:
        """The alerts in words, and the messages of these and of signals.

        Ids are derived, so what the same effects say again is known already.

        Args:
            effects: of one step, in order.
            now_ms: the wall clock.
            possible_repeat: whether it may have been sent before.
        """
        notices: list[Notice] = []
        messages: list[Message] = []
        of_book: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Alert):
                messages += messages_for(effect, self.routes, now_ms, possible_repeat=possible_repeat)
            elif isinstance(effect, _OF_A_BOOK):
                of_book.append(effect)
        for said in self._said(of_book) if of_book else ():
            channels = channels_for(said.kind, [said.about] if said.about else [], self.routes)
            notice = Notice(said.identity, *said.told, now_ms, said.kind, said.late, said.signal_ids)
            notices.append(notice)
            messages += messages_of_notice(notice, channels, now_ms, possible_repeat=possible_repeat)
        return notices, messages

    def _said(self, effects: Sequence[Effect]) -> Iterator[Said]:
        fills: dict[str, list[Fill]] = {}
        accounts = _accounts_after(effects)
        for effect, account in zip(effects, accounts, strict=True):
            if isinstance(effect, Fill):
                fills.setdefault(effect.trade_id, []).append(effect)
            elif isinstance(effect, Position):
                yield from self._of_position(effect, fills.pop(effect.trade_id, []), account)
            elif isinstance(effect, Outcome):
                if effect.state == "passed" and "follow_up" in self.kinds:
                    yield self._of_outcome(effect)
            elif isinstance(effect, DayDone | EntriesPaused | EntriesResumed):
                yield from self._of_account(effect, account)

    def _of_position(self, position: Position, fills: list[Fill], account: AccountState | None) -> Iterator[Said]:
        entry = next((fill for fill in fills if not fill.number), None)
        closing = [fill for fill in fills if fill.number]
        trade, ids, zone = position.trade_id, (position.signal_id,), self.zone
        late = any(fill.late for fill in fills)
        if entry is not None and "entry" in self.kinds:
            told = book.entry(position, entry, account, zone)
            yield Said("entry", f"{trade}/entry", position, ids, entry.late, told)
        if position.state == "closed" and "exit" in self.kinds:
            yield Said("exit", f"{trade}/exit", position, ids, late, book.exit_(position, closing, account, zone))
        elif position.state == "open" and closing and "partial" in self.kinds:
            told = book.partial(position, closing, account, zone)
            yield Said("partial", f"{trade}/partial/{closing[0].number}", position, ids, late, told)

    def _of_account(
        self, effect: DayDone | EntriesPaused | EntriesResumed, account: AccountState | None
    ) -> Iterator[Said]:
        paper = f"{self.venue}/paper"
        if isinstance(effect, EntriesPaused):
            told = book.paused(effect, account, self.zone)
            yield Said("paused", f"{paper}/paused/{effect.since_ms}/{effect.until_ms}", None, (), False, told)
        elif isinstance(effect, EntriesResumed):
            told = book.resumed(effect, account, self.zone)
            yield Said("resumed", f"{paper}/resumed/{effect.at_ms}", None, (), False, told)
        elif "summary" in self.kinds:
            told = book.summary(effect, account, self.zone)
            yield Said("summary", f"{paper}/summary/{effect.day_ms}", None, (), False, told)

    def _of_outcome(self, outcome: Outcome) -> Said:
        identity = outcome.signal_id
        venue, symbol, timeframe, _, _, close_ms = identity.split("/")
        told = book.follow_up(outcome, f"{venue}/{symbol}/{timeframe}/{close_ms}", self.zone)
        return Said("follow_up", f"{identity}/follow_up", outcome, (identity,), outcome.late, told)


def _accounts_after(effects: Sequence[Effect]) -> list[AccountState | None]:
    """For each effect the account as it is said next: of the same event, or of one soon after it."""
    found: list[AccountState | None] = []
    account = None
    for effect in reversed(effects):
        account = effect if isinstance(effect, AccountState) else account
        found.append(account)
    return found[::-1]


def teller_of(config: Config) -> Teller:
    """What is told of this configuration's effects."""
    told = config.paper.alerts.model_dump() if config.paper is not None else {}
    told |= {"follow_up": config.alerts.follow_up}
    kinds = frozenset(kind for kind, wanted in told.items() if wanted)
    return Teller(config.exchange.venue, config.alerts.routes, ZoneInfo(config.alerts.time_zone), kinds)


#: Everything a message can be about.
KINDS: tuple[str, ...] = get_args(Kind)


def templates_of(config: Config) -> Templates:
    """The user's own templates, read. Raises SetupError where one cannot be used."""
    types = {name: spec.type for name, spec in config.channels.items()}
    folder = config.alerts.templates
    return Templates() if folder is None else read_templates(folder, types, KINDS)


def writer_of(config: Config, on_fallback: OnFallback = lambda _template, _error: None) -> Writer:
    """Who writes this configuration's messages.

    Args:
        config: which templates, time zone and links.
        on_fallback: see `Writer`.

    Raises:
        SetupError: a template of the user's cannot be used.
    """
    alerts = config.alerts
    return Writer(
        ZoneInfo(alerts.time_zone),
        templates_of(config),
        alerts.chart_url,
        on_fallback,
        record=alerts.record,
        pictures=available(),
    )
