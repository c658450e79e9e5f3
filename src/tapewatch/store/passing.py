"""Stores what `store.fallback` decides: messages put to other channels, and those nobody needs any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, insert, select, update

from tapewatch.store import schema
from tapewatch.store.fallback import NOBODY, Chains, Post, needless, next_channel

_messages = schema.messages.c
_digests = schema.messages.alias()
#: The messages of alerts, each with the state of the digest that it is in; built once, as every delivery asks for it.
_POSTS = (
    select(
        *(
            _messages[name]
            for name in ("message_id", "channel", "state", "fallback_of", "stand_in", "digest_id", "alert_id")
        ),
        _digests.c.state.label("digest_state"),
    )
    .join(
        _digests,
        (_digests.c.alert_id == _messages.digest_id) & (_digests.c.channel == _messages.channel),
        isouter=True,
    )
    .where(_messages.alert_id.in_(bindparam("alert_ids", expanding=True)))
)
_COPIED = ("alert_id", "kind", "created_ms", "priority", "rank", "severity")


def pass_on(connection: Connection, rows: Sequence[Row[Any]], chains: Chains) -> None:
    """Put messages to the next channel of their chains, of a digest each that it names."""
    for row in rows:
        if row.kind == "digest":
            query = select(schema.messages).where(_messages.digest_id == row.alert_id, _messages.state == "digested")
            for member in connection.execute(query).all():
                _pass_on(connection, member, chains)
            _point(connection, row.message_id, NOBODY)
        else:
            _pass_on(connection, row, chains)


def replace_gone(connection: Connection, channels: Collection[str], chains: Chains, limit: int) -> int:
    """Supersede some of what waits on other channels than these to stand in; the next of the chains get it."""
    orphans = connection.execute(orphaned(channels).limit(limit)).all()
    ids = [row.message_id for row in orphans]
    relying = connection.execute(select(schema.messages).where(_messages.stand_in.in_(ids))).all()
    found = update(schema.messages).where(_messages.message_id.in_(ids))
    connection.execute(found.values(state="superseded", digest_id=None))
    empty = update(schema.messages).where(
        _messages.message_id.in_(_emptied(connection, {row.digest_id for row in orphans} - {None}, set()))
    )
    connection.execute(empty.values(state="superseded"))
    pass_on(connection, [row for row in relying if row.state in ("queued", "dead", "digested")], chains)
    return len(orphans)


def orphaned(channels: Collection[str]) -> Select[Any]:
    """Ids, and digests if any, of what waits on other channels than these to stand in, singly or in a digest."""
    digests = select(_digests.c.alert_id).where(
        _digests.c.kind == "digest", _digests.c.state == "queued", _digests.c.channel == _messages.channel
    )
    waits = (_messages.state == "queued") | ((_messages.state == "digested") & _messages.digest_id.in_(digests))
    query = select(_messages.message_id, _messages.digest_id)
    return query.where(waits, _messages.fallback_of.is_not(None), _messages.channel.not_in(channels))


def settle(connection: Connection, alert_ids: Sequence[str]) -> dict[str, int]:
    """Supersede the messages of these alerts that nobody needs any more; by channel, how many those are."""
    found: set[str] = set()
    digests: set[str] = set()
    for posts in _posts(connection, alert_ids):
        superseded = needless(posts)
        found |= superseded
        digests |= {posts[one].digest_id or "" for one in superseded if posts[one].state == "digested"}
    if not found:
        return {}
    empty = _emptied(connection, digests - {""}, found)
    chosen = _messages.message_id.in_(found | empty)
    channels = Counter(connection.scalars(select(_messages.channel).where(chosen)))
    connection.execute(update(schema.messages).where(chosen).values(state="superseded"))
    return dict(channels)


def _pass_on(connection: Connection, row: Row[Any], chains: Chains) -> None:
    [posts] = _posts(connection, [row.alert_id])
    failing = posts[row.message_id]
    name = next_channel(posts, failing, chains)
    if name is None:
        _point(connection, row.message_id, NOBODY)
        return
    stand_in = f"{row.alert_id}@{name}"
    other = posts.get(stand_in)
    if other is None:
        fresh = {column: getattr(row, column) for column in _COPIED} | {"message_id": stand_in, "channel": name}
        fresh |= {"state": "queued", "due_ms": 0, "attempts": 0, "failures": 0, "possible_repeat": False}
        fresh |= {"delivered_to": "[]", "fallback_of": row.fallback_of or row.message_id}
        connection.execute(insert(schema.messages), fresh)
    elif other.state == "superseded":  # for whom it stood in needed it no more; this one does
        connection.execute(_of(stand_in).values(state="queued", digest_id=None))
    _point(connection, row.message_id, stand_in)
    settle(connection, [row.alert_id])


def _posts(connection: Connection, alert_ids: Sequence[str]) -> list[dict[str, Post]]:
    """The messages of alerts that have several, by alert."""
    found: dict[str, dict[str, Post]] = {}
    for row in connection.execute(_POSTS, {"alert_ids": list(alert_ids)}):
        delivered = (row.digest_state if row.state == "digested" else row.state) in ("sent", "late")
        post = Post(
            row.message_id, row.channel, row.state, delivered, row.fallback_of, row.stand_in, row.digest_id
        )  # fmt: skip
        found.setdefault(row.alert_id, {})[row.message_id] = post
    return list(found.values())


def _emptied(connection: Connection, digests: set[str], superseded: set[str]) -> set[str]:
    """The messages of digests that wait and name nothing that is still needed."""
    found: set[str] = set()
    for identity in digests:
        needed = select(_messages.message_id).where(
            _messages.digest_id == identity, _messages.state == "digested", _messages.message_id.not_in(superseded)
        )
        if connection.execute(needed.limit(1)).first() is None:
            waiting = select(_messages.message_id).where(
                _messages.alert_id == identity, _messages.state.in_(("queued", "dead"))
            )
            found |= set(connection.scalars(waiting))
    return found


def _point(connection: Connection, message_id: str, stand_in: str) -> None:
    connection.execute(_of(message_id).values(stand_in=stand_in))


def _of(message_id: str) -> Any:
    return update(schema.messages).where(_messages.message_id == message_id)
