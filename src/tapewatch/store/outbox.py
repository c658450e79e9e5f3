"""The outbox: messages that wait, are being sent, were sent or were given up, and each attempt to send them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, func, select, update

from tapewatch.store import schema
from tapewatch.store.alerts import stored_alerts
from tapewatch.store.claims import ORDER, claim, close, first_due, mark
from tapewatch.store.database import Database
from tapewatch.store.dates import own_columns
from tapewatch.store.digests import fold, members, store_notice
from tapewatch.store.fallback import Chains
from tapewatch.store.lease import Lease
from tapewatch.store.passing import orphaned, pass_on, replace_gone, settle
from tapewatch.store.records import ChannelState, Due, Kind, Marked, Message, Notice, StoredAlert, Waiting

_messages, _attempts, _states = schema.messages.c, schema.attempts.c, schema.channel_states.c
#: No attempt takes longer.
_LONGEST_MS = 600_000


def message_rows(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Rows of `messages` for new messages: queued and due at once."""
    return [_fresh(message) for message in messages]


def _fresh(message: Message) -> dict[str, Any]:
    row = msgspec.structs.asdict(message) | {"message_id": message.message_id, "rank": -message.strength}
    del row["strength"]
    return row | {"state": "queued", "due_ms": 0, "attempts": 0, "failures": 0, "delivered_to": "[]"}


class Outbox:
    """The messages of one ledger. One relay takes from it; every method raises StoreError and then changed nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lease(self) -> Lease | None:
        """The right to take messages; None while another relay has it."""
        return Lease.take(self._database, "relay")

    # What waits.

    def waiting(
        self,
        channel: str,
        now_ms: int,
        limit: int,
        *,
        kinds: Collection[Kind] = (),
        but: Collection[Kind] = (),
        foldable: bool = False,
        created: tuple[int, int] | None = None,
    ) -> list[Waiting]:
        """The queued messages of a channel whose time has come, by priority, strength, then age.

        Args:
            channel: its name.
            now_ms: the time by the wall clock.
            limit: no more than so many.
            kinds: only these.
            but: none of these.
            foldable: only what nobody has yet, of a message to several.
            created: only those stored in [from, to).
        """
        query = _due_on(select(*(_messages[name] for name in _LIGHT)), channel, now_ms)
        query = query.where(_messages.kind.in_(kinds)) if kinds else query
        query = query.where(_messages.kind.not_in(but)) if but else query
        query = query.where(_messages.delivered_to == "[]") if foldable else query
        if created is not None:
            query = query.where(_messages.created_ms >= created[0], _messages.created_ms < created[1])
        with self._database.read() as connection:
            return [_light(row) for row in connection.execute(query.order_by(*ORDER).limit(limit))]

    def due_count(self, channel: str, now_ms: int, most: int) -> int:
        """How many messages of a channel are due, counted up to `most`."""
        inner = _due_on(select(_messages.message_id), channel, now_ms).limit(most).subquery()
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).select_from(inner)) or 0

    def depth(self, channel: str) -> tuple[int, int | None]:
        """How many messages of a channel wait, due or not, and when the oldest was stored."""
        query = select(func.count(), func.min(_messages.created_ms))
        query = query.where(_messages.channel == channel, _messages.state == "queued")
        with self._database.read() as connection:
            count, oldest_ms = connection.execute(query).one()
            return count, oldest_ms

    def busy(self, channels: Collection[str]) -> bool:
        """Whether any message of these channels waits or is being sent."""
        query = select(_messages.message_id).where(
            _messages.channel.in_(channels), _messages.state.in_(("queued", "sending"))
        )
        return self._any(query)

    def stored(self, alert_ids: Sequence[str]) -> list[StoredAlert]:
        """These alerts, in this order."""
        with self._database.read() as connection:
            return stored_alerts(connection, alert_ids)

    # An attempt.

    def begin(self, notice: Notice, message: Message) -> None:
        """Store an alert in words with its only message, claimed and with its first attempt open."""
        with self._database.write() as connection:
            store_notice(connection, notice, message_rows([message])[0])
            claim(connection, message.message_id, message.created_ms)

    def take(self, message_id: str, now_ms: int) -> Due | None:
        """Claim a queued message and open an attempt; None when it is not queued any more."""
        with self._database.write() as connection:
            return claim(connection, message_id, now_ms)

    def mark_sent(
        self,
        message_id: str,
        sent_ms: int,
        *,
        late: bool = False,
        channel: ChannelState | None = None,
        go_on: bool = False,
    ) -> Marked:
        """The message was delivered, `late` when past its usefulness.

        Args:
            message_id: the message.
            sent_ms: the time by the wall clock.
            late: whether it was past its usefulness.
            channel: what has become of the channel, where that has changed.
            go_on: whether the channel's next message is taken too, all in one transaction.
        """
        with self._database.write() as connection:
            close(connection, message_id, sent_ms, "sent")
            row = mark(connection, message_id, sent_ms, late=late)
            self._state_channel(connection, channel)
            superseded = settle(connection, _named_by(connection, row))
            following = first_due(connection, row.channel, sent_ms) if go_on else None
            return Marked(superseded, None if following is None else claim(connection, following, sent_ms))

    def mark_failed(
        self,
        message_id: str,
        now_ms: int,
        error: str,
        *,
        next_ms: int | None,
        delivered_to: Sequence[str] = (),
        maybe_delivered: bool = False,
        channel: ChannelState | None = None,
        chains: Chains | None = None,
    ) -> dict[str, int]:
        """The attempt failed: queue the message again for `next_ms`, or give it up when that is None.

        Args:
            message_id: the message.
            now_ms: the time by the wall clock.
            error: why, for the user.
            next_ms: when to try again.
            delivered_to: every recipient that has it, those of earlier attempts too.
            maybe_delivered: whether it may have arrived all the same; the next attempt is then a possible repeat.
            channel: what has become of the channel, where that has changed.
            chains: where the message is put to another channel, the channels that get what one cannot deliver.

        Returns:
            By channel, how many messages are superseded now: this one may be, by what stood in for it meanwhile.
        """
        values: dict[str, Any] = {
            "state": "dead" if next_ms is None else "queued",
            "failures": _messages.failures + 1,
            "last_error": error,
            "delivered_to": msgspec.json.encode(list(delivered_to)).decode(),
        }
        if next_ms is not None:
            values["due_ms"] = next_ms
        if maybe_delivered:
            values["possible_repeat"] = True
        changed = update(schema.messages).where(_messages.message_id == message_id).values(**values)
        with self._database.write() as connection:
            close(connection, message_id, now_ms, "rejected" if next_ms is None else "failed", error)
            row = connection.execute(changed.returning(*schema.messages.c)).one()
            self._state_channel(connection, channel)
            if chains is not None and row.stand_in is None:
                pass_on(connection, [row], chains)
            return settle(connection, _named_by(connection, row))

    def recover(self, now_ms: int) -> int:
        """Queue again what an earlier run was sending when it ended, as possible repeats; returns how many.

        Channels that were disabled may be tried again.
        """
        found = select(_messages.alert_id, _messages.channel, _messages.kind).where(_messages.state == "sending")
        again = update(schema.messages).where(_messages.state == "sending")
        cut = update(schema.attempts).where(_attempts.outcome.is_(None))
        enable = update(schema.channel_states).where(_states.state == "disabled")
        with self._database.write() as connection:
            connection.execute(cut.values(outcome="cut", ended_ms=now_ms))
            connection.execute(enable.values(state="ok", until_ms=0, failures=0, reason=None, changed_ms=now_ms))
            rows = connection.execute(found).all()
            connection.execute(again.values(state="queued", possible_repeat=True, due_ms=0))
            for row in rows:  # what another channel delivered meanwhile is not sent again
                settle(connection, _named_by(connection, row))
            return len(rows)

    def clock_set_back(self, channel: str, now_ms: int, *, seen: bool) -> None:
        """What waits on a channel for a time by a clock that was set back is due at once.

        Where nobody has `seen` it be set, that is what was tried at a time that the clock has not reached (again).
        """
        later = select(_attempts.message_id).where(_attempts.started_ms > now_ms - _LONGEST_MS)
        later = later.where(func.coalesce(_attempts.ended_ms, _attempts.started_ms) > now_ms)
        waits = (_messages.channel == channel) & (_messages.state == "queued") & (_messages.due_ms > now_ms)
        waits = waits if seen else waits & _messages.message_id.in_(later)
        if self._any(select(_messages.message_id).where(waits)):
            with self._database.write() as connection:
                connection.execute(update(schema.messages).where(waits).values(due_ms=0))

    def attempts(self, message_id: str) -> list[dict[str, Any]]:
        """Each attempt to send a message: `{number, started_ms, ended_ms, outcome, error}`, in order.

        Outcomes are `sent`, `failed`, `rejected`, `cut` (the run ended) and None while it is under way.
        """
        names = ("number", "started_ms", "ended_ms", "outcome", "error")
        query = select(*(_attempts[name] for name in names)).where(_attempts.message_id == message_id)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query.order_by(_attempts.number)).mappings()]

    def attempts_since(self, channel: str, since_ms: int, *, by_hand: bool | None = None) -> list[int]:
        """When each attempt of a channel that was over after a time was so, in order; of tests only, or of no tests."""
        ended = func.coalesce(_attempts.ended_ms, _attempts.started_ms)
        query = select(ended).join(schema.messages, _messages.message_id == _attempts.message_id)
        query = query.where(_attempts.started_ms > since_ms - _LONGEST_MS, ended > since_ms)
        query = query.where(_messages.channel == channel).order_by(ended)
        query = query if by_hand is None else query.where((_messages.kind == "test").is_(by_hand))
        with self._database.read() as connection:
            return list(connection.scalars(query))

    # Channels.

    def channel_states(self) -> dict[str, ChannelState]:
        """Of each channel that ever was in trouble, how it stands."""
        with self._database.read() as connection:
            rows = connection.execute(select(*own_columns(schema.channel_states))).all()
        return {row.channel: ChannelState(*row) for row in rows}

    def give_up(self, channel: str, reason: str) -> int:
        """What waits on a channel, and was put to others where there are any, is dead; returns how many that are."""
        over = (_messages.channel == channel) & (_messages.state == "queued") & _messages.stand_in.is_not(None)
        if not self._any(select(_messages.message_id).where(over)):
            return 0
        dead = update(schema.messages).where(over).values(state="dead", last_error=reason)
        with self._database.write() as connection:
            return connection.execute(dead).rowcount

    def pass_on(self, channel: str, chains: Chains, limit: int = 10) -> int:
        """Put what waits on a channel, and was not put to another yet, to the next channels of its chains.

        Args:
            channel: its name.
            chains: channel -> the channels that get what it cannot deliver, in order.
            limit: no more than so many.

        Returns:
            How many messages were looked at; 0 when there is nothing left.
        """
        query = select(schema.messages).where(
            _messages.channel == channel, _messages.state == "queued", _messages.stand_in.is_(None)
        )
        query = query.order_by(*ORDER).limit(limit)
        if not self._any(query):
            return 0
        with self._database.write() as connection:
            rows = connection.execute(query).all()
            pass_on(connection, rows, chains)
            return len(rows)

    def replace_gone(self, channels: Collection[str], chains: Chains, limit: int = 100) -> int:
        """Put what waits to stand in on other channels than these to the next of the chains.

        Args:
            channels: those that there are.
            chains: channel -> the channels that get what it cannot deliver, in order.
            limit: no more than so many.

        Returns:
            How many messages were replaced; 0 when there is nothing left.
        """
        if not self._any(orphaned(channels)):
            return 0
        with self._database.write() as connection:
            return replace_gone(connection, channels, chains, limit)

    # Digests.

    def fold(self, digest: Notice, message: Message, message_ids: Sequence[str]) -> bool:
        """Put a digest into the queue in the place of messages; False when one of them is not queued any more."""
        with self._database.write() as connection:
            transaction = connection.begin_nested()
            done = fold(connection, digest, message_rows([message])[0], message_ids)
            transaction.commit() if done else transaction.rollback()
            return done

    # By hand.

    def resend(self, identity: str, now_ms: int) -> list[str]:
        """Queue given-up messages again; returns their ids.

        A channel of theirs that is disabled may be tried again.

        Args:
            identity: a message's id, an alert's for all of its messages (also where a digest names it), or a channel's.
            now_ms: the time by the wall clock.
        """
        digests = select(_messages.digest_id).where(_named(identity), _messages.state == "digested")
        chosen = (_messages.state == "dead") & (_named(identity) | _messages.alert_id.in_(digests))
        again = {"state": "queued", "failures": 0, "due_ms": 0, "stand_in": None}
        query = select(_messages.message_id, _messages.channel).where(chosen).order_by(_messages.message_id)
        with self._database.write() as connection:
            found = connection.execute(query).all()
            ids, channels = [row.message_id for row in found], {row.channel for row in found}
            connection.execute(update(schema.messages).where(chosen).values(**again))
            disabled = update(schema.channel_states).where(_states.channel.in_(channels), _states.state == "disabled")
            connection.execute(disabled.values(state="ok", until_ms=0, failures=0, reason=None, changed_ms=now_ms))
        return ids

    def counts(self) -> dict[str, dict[str, int]]:
        """How many messages each channel has in each state."""
        query = select(_messages.channel, _messages.state, func.count()).group_by(_messages.channel, _messages.state)
        found: dict[str, dict[str, int]] = {}
        with self._database.read() as connection:
            for channel, state, count in connection.execute(query):
                found.setdefault(channel, {})[state] = count
        return found

    def sent_since(self, since_ms: int) -> dict[str, int]:
        """How many messages each channel delivered since a time of the wall clock."""
        query = select(_messages.channel, func.count()).where(_messages.sent_ms >= since_ms)
        with self._database.read() as connection:
            return dict(connection.execute(query.group_by(_messages.channel)).all())

    def _any(self, query: Select[Any]) -> bool:
        """Whether there are rows, without taking the write lock."""
        with self._database.read() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def _state_channel(self, connection: Connection, state: ChannelState | None) -> None:
        if state is not None:
            fields = msgspec.structs.asdict(state)
            stated = self._database.upsert(schema.channel_states).values(**fields)
            connection.execute(stated.on_conflict_do_update(index_elements=["channel"], set_=fields))


_LIGHT = ("message_id", "alert_id", "kind", "priority", "rank", "severity", "created_ms", "possible_repeat")


def _due_on(query: Select[Any], channel: str, now_ms: int) -> Select[Any]:
    return query.where(_messages.channel == channel, _messages.state == "queued", _messages.due_ms <= now_ms)


def _named(identity: str) -> ColumnElement[bool]:
    return (_messages.message_id == identity) | (_messages.alert_id == identity) | (_messages.channel == identity)


def _named_by(connection: Connection, row: Any) -> list[str]:
    """The alerts that a message is about."""
    return members(connection, row.channel, row.alert_id) if row.kind == "digest" else [row.alert_id]


def _light(row: Row[Any]) -> Waiting:
    return Waiting(
        row.message_id, row.alert_id, row.kind, row.priority, -row.rank, row.severity, row.created_ms,
        row.possible_repeat,
    )  # fmt: skip
