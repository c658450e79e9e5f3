from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.channels import DeliveryError, RejectedError
from tapewatch.config import load
from tapewatch.live.hold import LONGEST_S, after_failure, after_success, delay_ms, lasting, message_due_ms, rest_ms
from tapewatch.live.pace import MINUTE_MS, Limiter, Pace, Rules, rules_of
from tapewatch.live.quiet import QuietHours
from tapewatch.store import ChannelState

BERLIN = ZoneInfo("Europe/Berlin")
PACE = Pace()


def at(text: str, fold: int = 0) -> int:
    """A local time in Berlin in milliseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp() * 1000)


@given(
    per_minute=st.integers(1, 40),
    burst=st.sampled_from([None, (5, 2_000), (1, 1_000)]),
    steps=st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 3_000)), min_size=1, max_size=150),
    restarts=st.sets(st.integers(0, 150)),
)
def test_a_server_never_counts_more_than_allowed_whatever_it_takes_to_answer(
    per_minute: int, burst: tuple[int, int] | None, steps: list[tuple[int, int]], restarts: set[int]
) -> None:
    """In no window by the server's own times, which lie anywhere in an attempt; with restarts at any place."""
    rules = Rules(per_minute=per_minute, burst=burst)
    limiter, now_ms = Limiter(rules), 1_000_000
    ended: list[int] = []
    arrived: list[int] = []
    for place, (pause_ms, took_ms) in enumerate(steps):
        if place in restarts:
            limiter = Limiter(rules, [one for one in ended if one > now_ms - MINUTE_MS])
        now_ms = max(now_ms + pause_ms, limiter.free_ms(now_ms + pause_ms))
        arrived.append(now_ms + random.randint(0, took_ms))
        now_ms += took_ms
        ended.append(now_ms)
        limiter.add(now_ms - took_ms, now_ms)
    for most, window_ms in [(per_minute, MINUTE_MS), *([burst] if burst else [])]:
        for first, last in zip(arrived, arrived[most:], strict=False):
            assert last - first >= window_ms


def test_a_channel_without_a_limit_is_never_waited_for() -> None:
    """However much it gets, and nothing is kept of it."""
    limiter = Limiter(Rules())
    for _ in range(10_000):
        limiter.add(5, 5)
    assert limiter.free_ms(5) == 5
    assert limiter.soon(5) is None


def test_a_limit_is_the_types_unless_the_configuration_says_another_or_none(tmp_path: Path) -> None:
    """0 is no limit; what a type is known to allow in a moment stays."""
    path = tmp_path / "tapewatch.yaml"
    mail = "{type: email, host: mail.example.com, sender: t@example.com, recipients: [a@example.com]"
    path.write_text(
        "universe: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\nledger: {url: 'sqlite:///t.db'}\n"
        f"channels: {{a: {mail}}}, b: {mail}, per_minute: 0}}, c: {mail}, per_minute: 7}}, d: {{type: console}}}}\n"
    )

    rules = rules_of(load([path], {}))

    assert {name: rule.per_minute for name, rule in rules.items()} == {"a": 30, "b": None, "c": 7, "d": None}


def test_half_a_minute_is_for_single_messages_and_digests_are_spread_over_the_rest() -> None:
    """Of 30, 15 may go singly, and a digest every four seconds; what was said a minute ago counts no more."""
    limiter = Limiter(Rules(per_minute=30))
    assert (limiter.soon(0), limiter.singles_left(0), limiter.digest_ms()) == (30, True, 0)
    for at_ms in range(0, 15_000, 1_000):
        assert limiter.singles_left(at_ms)
        limiter.add(at_ms, at_ms)
    limiter.add(16_000, 16_000, digest=True)
    assert (limiter.soon(16_000), limiter.singles_left(16_000), limiter.digest_ms()) == (14, False, 20_000)
    assert limiter.soon(51_500) == 30 - 14  # those of the first two seconds are over soon
    assert limiter.singles_left(60_000)


def test_a_channel_that_takes_long_is_not_given_more_than_it_can() -> None:
    """What goes singly in a storm takes half of the time at most, and what goes out soon is what it gets done."""
    limiter = Limiter(Rules(per_minute=30))
    for at_ms in (10_000, 20_000, 30_000):
        assert limiter.singles_left(at_ms)
        limiter.add(at_ms - 10_000, at_ms)
    assert not limiter.singles_left(30_000)
    assert limiter.soon(30_000) == 6


def test_waits_are_short_at_first_then_double_up_to_a_cap() -> None:
    """Two of 5 s, then 30, 60, ... up to 900, each shortened by up to a quarter; what is asked for is kept to."""
    waits = [delay_ms(failures, PACE) / 1000 for failures in range(1, 12)]
    assert waits[:2] == [5, 5]
    for wait_s, most_s in zip(waits[2:], [30, 60, 120, 240, 480, 900, 900, 900, 900], strict=True):
        assert 0.75 * most_s <= wait_s <= most_s
    assert len({delay_ms(9, PACE) for _ in range(20)}) > 1
    assert [delay_ms(1, PACE, asked_s) for asked_s in (0.25, 0.0, 77.0)] == [250, 0, 77_000]
    assert delay_ms(3, PACE, 0.25) >= 22_500
    assert delay_ms(1, PACE, 1e300) == LONGEST_S * 1000
    assert delay_ms(3, PACE, float("inf")) == LONGEST_S * 1000
    assert delay_ms(10**6, PACE) <= 900_000


def test_trouble_of_a_channel_holds_it_longer_each_time_and_a_delivery_ends_that() -> None:
    """Failures count up while it fails as a whole; trouble of one message shows that it works."""
    state = ChannelState("out")
    for number in range(1, 5):
        state = after_failure(state, DeliveryError("gone", whole_channel=True), 1_000, PACE)
        assert (state.state, state.failures, state.reason) == ("held", number, "gone")
        assert lasting(state, PACE) == (number >= 3)
    assert state.until_ms >= 1_000 + 45_000
    assert after_success(state, None, 9) == ChannelState("out", changed_ms=9)
    assert after_failure(state, DeliveryError("no such user"), 9, PACE) == ChannelState("out", changed_ms=9)
    assert after_failure(state, RejectedError("no such user"), 9, PACE) == ChannelState("out", changed_ms=9)


def test_a_channel_that_asks_for_a_pause_gets_it() -> None:
    """After an error and after a delivery; a long one is lasting trouble, a refused address is so at once."""
    working = ChannelState("out")
    slow = after_failure(working, DeliveryError("slow down", retry_after_s=1.5), 1_000, PACE)
    assert (slow.state, slow.until_ms, lasting(slow, PACE)) == ("held", 2_500, False)
    assert lasting(after_failure(working, DeliveryError("slow down", retry_after_s=16), 0, PACE), PACE)
    rest = after_success(working, 0.5, 1_000)
    assert (rest.state, rest.until_ms, rest.failures) == ("held", 1_500, 0)
    assert after_success(working, None, 5) is working
    disabled = after_failure(working, RejectedError("unknown webhook", disable=True), 0, PACE)
    assert (disabled.state, lasting(disabled, PACE)) == ("disabled", True)


def test_a_clock_that_is_set_back_costs_no_more_than_the_hold_itself() -> None:
    """A hold does not last until the old time has come again; one that is over does not begin anew."""
    held = ChannelState("out", "held", 7_230_000, 3, "gone", 7_200_000)
    assert rest_ms(held, 3_600_000) == 30_000
    assert [rest_ms(held, now_ms) for now_ms in (7_200_000, 7_220_000, 7_300_000)] == [30_000, 10_000, 0]
    assert rest_ms(ChannelState("out", changed_ms=5), 1) == 0


def test_a_message_waits_for_its_channel_or_for_itself() -> None:
    """One in a channel's trouble is due with it, after three times behind the others; else by its own failures."""
    whole, own = DeliveryError("gone", whole_channel=True), DeliveryError("busy mailbox")
    held = ChannelState("out", "held", 900_000, 9)
    assert message_due_ms(1, whole, held, 0, PACE) == 900_000
    assert message_due_ms(3, whole, held, 0, PACE) == 901_000
    assert message_due_ms(1, own, ChannelState("out"), 7, PACE) == 5_007
    asked = DeliveryError("slow", retry_after_s=2)
    assert message_due_ms(8, asked, ChannelState("out", "held", 2_000, 1), 0, PACE) == 2_000


@pytest.mark.parametrize(
    ("start", "end", "now", "until"),
    [
        ("22:00", "07:00", "2026-03-10T21:59", None),
        ("22:00", "07:00", "2026-03-10T22:00", "2026-03-11T07:00"),
        ("22:00", "07:00", "2026-03-11T06:59", "2026-03-11T07:00"),
        ("22:00", "07:00", "2026-03-11T07:00", None),
        ("12:00", "13:30", "2026-03-11T12:15", "2026-03-11T13:30"),
        ("12:00", "13:30", "2026-03-11T13:30", None),
        ("22:00", "07:00", "2026-03-29T01:30", "2026-03-29T07:00"),  # the night that is an hour shorter
        ("22:00", "07:00", "2026-10-24T23:00", "2026-10-25T07:00"),  # and the one that is longer
        ("22:00", "02:30", "2026-03-29T01:30", "2026-03-29T03:30"),  # an end that does not exist
    ],
)
def test_quiet_hours_go_by_the_clock_on_the_wall(start: str, end: str, now: str, until: str | None) -> None:
    """Over midnight too, and in the nights when clocks change."""
    minutes = [int(text[:2]) * 60 + int(text[3:]) for text in (start, end)]
    hours = QuietHours(*minutes, BERLIN)
    assert hours.until(at(now)) == (None if until is None else at(until))


def test_quiet_hours_that_end_in_the_hour_that_comes_twice_end_once() -> None:
    """With its second time; they do not begin anew between."""
    hours = QuietHours(22 * 60, 2 * 60 + 30, BERLIN)
    end_ms = at("2026-10-25T02:30", fold=1)
    for local, fold in [("2026-10-25T02:15", 0), ("2026-10-25T02:45", 0), ("2026-10-25T02:15", 1)]:
        assert hours.until(at(local, fold)) == end_ms
    assert hours.until(at("2026-10-25T02:45", fold=1)) is None


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(at("2026-03-20T00:00"), at("2026-11-05T00:00")))
def test_quiet_hours_come_once_a_day_and_what_was_last_is_known(start: int, end: int, now_ms: int) -> None:
    """Whatever they are: the last ones ended before now, began before they ended, and no others came between."""
    if start == end:
        return
    hours = QuietHours(start, end, BERLIN)
    last = hours.last(now_ms)
    assert last is not None
    begin_ms, end_ms = last
    assert begin_ms <= end_ms <= now_ms
    assert now_ms - end_ms <= 25 * 3_600_000
    later = sorted({hours.until(moment) for moment in range(end_ms, now_ms, 600_000)} - {None}, key=str)
    assert later in ([], [hours.until(now_ms)])
