"""What other channels do in a channel's place: to whom a message is passed on, and what that makes needless.

A message's `stand_in` is the message of the same alert that was asked to do its work, by another channel: one made for
that (its `fallback_of` says for which), or one that channel had by a route of its own. These functions look at all
messages of one alert, its posts, and decide; `store.outbox` stores what they decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

#: A `stand_in` of a message that nobody is left for.
NOBODY = ""
_WAITING = frozenset({"queued", "dead"})

Chains = Mapping[str, Sequence[str]]


class Post(NamedTuple):
    """A message as far as others of its alert are concerned; `delivered` by itself or in a digest."""

    message_id: str
    channel: str
    state: str
    delivered: bool
    fallback_of: str | None = None
    stand_in: str | None = None
    digest_id: str | None = None


Posts = Mapping[str, Post]


def next_channel(posts: Posts, failing: Post, chains: Chains) -> str | None:
    """The channel that is asked to deliver what `failing` cannot, None where nobody is left.

    That is the next one in the fallbacks of the channel where the alert was first to go, and of those for whom it
    stands in; not one that gave the alert up already, nor one that itself waits for this.
    """
    relying = {post.message_id for post in _relying(posts, failing)}
    for rest in _rests(posts, failing, chains):
        for name in rest:
            other = next((post for post in posts.values() if post.channel == name), None)
            if other is None or (other.state != "dead" and other.message_id not in relying and other is not failing):
                return name
    return None


def needless(posts: Posts) -> set[str]:
    """The messages that another one delivered in their place, and those made to stand in for nobody any more."""
    done = {post.message_id for post in posts.values() if post.delivered or post.state == "superseded"}
    found: set[str] = set()
    while True:
        more = {
            post.message_id
            for post in posts.values()
            if post.message_id not in done
            and (
                (post.state in {*_WAITING, "digested"} and _delivered_for(posts, post))
                or (post.state in _WAITING and post.fallback_of is not None and _unneeded(posts, post, done))
            )
        }
        if not more:
            return found
        found |= more
        done |= more


def _origin(posts: Posts, post: Post) -> Post:
    return posts.get(post.fallback_of or "", post)


def _rests(posts: Posts, failing: Post, chains: Chains) -> Iterator[Sequence[str]]:
    """What is left of each chain that leads to a message."""
    for first in (_origin(posts, failing), *(_origin(posts, post) for post in _relying(posts, failing))):
        chain = list(chains.get(first.channel, ()))
        if failing.channel in chain:
            yield chain[chain.index(failing.channel) + 1 :]
        elif first is failing:
            yield chain


def _relying(posts: Posts, post: Post) -> list[Post]:
    """Those for whom a message stands in, at first or second hand."""
    return [other for other in posts.values() if any(each is post for each in _successors(posts, other))]


def _successors(posts: Posts, post: Post) -> Iterator[Post]:
    seen = {post.message_id}
    following = posts.get(post.stand_in or NOBODY)
    while following is not None and following.message_id not in seen:
        yield following
        seen.add(following.message_id)
        following = posts.get(following.stand_in or NOBODY)


def _delivered_for(posts: Posts, post: Post) -> bool:
    return any(other.delivered for other in _successors(posts, post))


def _unneeded(posts: Posts, post: Post, done: set[str]) -> bool:
    """Whether all for whom it stands in need it no more."""
    relying = [other for other in posts.values() if other.stand_in == post.message_id]
    return bool(relying) and all(other.message_id in done for other in relying)
