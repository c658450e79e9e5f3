"""Which connection carries what, whatever is wanted and dropped; and the attempts that connections are given."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.errors import EdgeError
from tapewatch.feeds import ExchangeClock, FeedObserver, FeedSettings, FrameCounts
from tapewatch.feeds.attempts import Attempts
from tapewatch.feeds.pool import Pool

NAMES = [f"s{n}@kline_1m" for n in range(60)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.lists(st.sampled_from(NAMES), max_size=40)),
        st.tuples(st.just("drop"), st.lists(st.sampled_from(NAMES), max_size=40)),
        st.tuples(st.just("full"), st.lists(st.sampled_from(NAMES), min_size=1, max_size=5)),
    ),
    max_size=12,
)


def pool_of(streams: int) -> Pool:
    """A pool that does not run: it decides what goes where all the same."""
    ignored = lambda _: None  # noqa: E731
    settings = FeedSettings(ws_url="ws://127.0.0.1:1", streams_per_connection=streams)
    return Pool(settings, ExchangeClock(), FrameCounts(), FeedObserver(), ignored, ignored, ignored, ignored)


@given(st.integers(1, 25), STEPS)
def test_every_wanted_stream_has_one_place_and_no_place_too_many(
    streams: int, steps: list[tuple[str, list[str]]]
) -> None:
    """After any wants, drops and refusals each wanted stream is on one connection, which has room for what it has."""
    pool, wanted = pool_of(streams), set()
    for what, names in steps:
        if what == "want":
            pool.want(names)
            wanted |= set(names)
        elif what == "drop":
            pool.drop(names)
            wanted -= set(names)
        elif (shard := pool._places.get(names[0])) is not None and len(shard.share.names) > 1:
            excess = list(shard.share.names)[1:]  # the exchange took only one of them
            for name in excess:
                del shard.share.names[name]
            shard.share.room = 1
            pool._on_full(shard, excess, "4 Too many subscriptions")
    shards = list(pool._shards)
    assert sorted(name for shard in shards for name in shard.share.names) == sorted(wanted)
    assert pool._places == {name: shard for shard in shards for name in shard.share.names}
    assert all(len(shard.share.names) <= shard.share.room <= streams for shard in shards)


@given(st.integers(1, 60), st.integers(1, 60))
def test_the_load_is_even_and_no_connection_too_many(streams: int, count: int) -> None:
    """What is wanted together takes as few connections as it can, and they differ by one stream at most."""
    pool = pool_of(streams)
    pool.want(NAMES[:count])
    loads = [len(shard.share.names) for shard in pool._shards]
    assert len(loads) == -(-count // streams)
    assert max(loads) - min(loads) <= 1


class Noted(FeedObserver):
    """Keeps what is said of attempts."""

    def __init__(self) -> None:
        self.attempts: list[tuple[int, float]] = []
        self.lost: list[int] = []

    def attempt(self, number: int, delay_s: float, error: str, connection: str = "") -> None:
        """Keep it."""
        self.attempts.append((number, delay_s))

    def connection_lost(self, attempts: int, error: str) -> None:
        """Keep it."""
        self.lost.append(attempts)


def test_waits_double_and_the_operator_is_told_once() -> None:
    """1, 2, 4, 8, 16, 16 s with jitter; after five failures one alert, and another one only after a recovery."""
    noted = Noted()
    attempts = Attempts(FeedSettings(), time.monotonic, noted)
    for failures in range(1, 8):
        attempts.pause("ws1", failures, failures, "refused")
        attempts.pause("ws2", failures, failures, "refused")
    assert [number for number, _ in noted.attempts[::2]] == [2, 3, 4, 5, 6, 7, 8]
    for least_s, (_, delay_s) in zip((1, 2, 4, 8, 16, 16, 16), noted.attempts[::2], strict=True):
        assert least_s <= delay_s <= 1.25 * least_s
    assert noted.lost == [5]
    attempts.recovered()
    attempts.pause("ws1", 5, 5, "refused")
    assert noted.lost == [5, 5]


class Clock:
    """A wall clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def test_the_budget_holds_in_every_window() -> None:
    """Whoever asks whenever: never more than allowed in five minutes, and never long without any."""
    wall = Clock()
    attempts = Attempts(FeedSettings(attempts_per_5m=20), wall, FeedObserver())
    begun_s: list[float] = []
    while wall.now_s < 3_000:
        if attempts._wait_s() <= 0:
            attempts._begun_s.append(wall.now_s)
            begun_s.append(wall.now_s)
        wall.now_s += 0.25
    assert all(late - early > 300 for early, late in zip(begun_s, begun_s[20:], strict=False))
    assert max(late - early for early, late in pairwise(begun_s)) <= 31
    assert len(begun_s) > 70


async def test_in_an_outage_one_tries_for_all() -> None:
    """Of ten connections that want to, one tries at a time and the others wait; when it gets through, all do."""
    settings = FeedSettings(backoff_s=(0.05,))
    attempts = Attempts(settings, time.monotonic, FeedObserver())
    inside = most = tried = 0
    broken = True

    async def connect() -> None:
        nonlocal inside, most, tried
        while True:
            try:
                async with attempts.one():
                    inside, tried = inside + 1, tried + 1
                    most = max(most, inside)
                    try:
                        await asyncio.sleep(0.02)
                        if broken:
                            raise EdgeError("refused")
                    finally:
                        inside -= 1
                return
            except EdgeError:
                continue

    with pytest.raises(EdgeError):
        async with attempts.one():
            raise EdgeError("refused")
    tasks = [asyncio.create_task(connect()) for _ in range(10)]
    began_s = time.monotonic()
    await asyncio.sleep(0.5)
    while tried < 2:  # noqa: ASYNC110 - an attempt tells nobody
        await asyncio.sleep(0.01)
    assert most == 1
    assert tried <= (time.monotonic() - began_s) / 0.07 + 2
    broken = False
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    assert attempts.used == tried + 1
