"""Over any course of the market: nobody comes and goes faster than stated, order does not matter, nothing is lost."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tapewatch.feeds import Instrument
from tapewatch.universe import Rules, Watchlist

BASES = ["A", "B", "C", "D"]
RULES = st.builds(
    Rules,
    include=st.sampled_from([("*",), ("AUSDT", "*"), ("BUSDT",)]),
    min_volume_24h=st.sampled_from([0.0, 100.0]),
    min_volume_1h=st.sampled_from([0.0, 4.0]),
    min_market_cap=st.sampled_from([None, 100.0]),
    unknown_market_cap=st.booleans(),
    hysteresis=st.sampled_from([0.0, 0.2, 0.5]),
    min_stay_ms=st.sampled_from([0, 5, 20]),
    max_symbols=st.sampled_from([1, 2, 10]),
)
NUMBERS = st.one_of(st.floats(0, 300), st.sampled_from([79.0, 80.0, 99.0, 100.0, 125.0, math.nan]))
STATES = st.sampled_from(["TRADING"] * 5 + ["HALT", ""])
MARKETS = st.fixed_dictionaries(dict.fromkeys(BASES, st.tuples(STATES, NUMBERS, NUMBERS)))
COURSES = st.lists(st.tuples(st.integers(0, 8), MARKETS), min_size=1, max_size=30)
Market = dict[str, tuple[str, float, float]]


def of(market: Market) -> tuple[list[Instrument], dict[str, float], dict[str, float]]:
    """What the exchange lists, what is traded, what is known of market caps; a status of "" is not listed."""
    listed = [
        Instrument(f"{base}USDT", base, "USDT", status, trading=status == "TRADING")
        for base, (status, _, _) in market.items()
        if status
    ]
    volumes = {f"{base}USDT": volume for base, (_, volume, _) in market.items()}
    return listed, volumes, {base: cap for base, (_, _, cap) in market.items() if not math.isnan(cap)}


@given(RULES, COURSES)
def test_nobody_flaps_faster_than_stated(rules: Rules, course: list[tuple[int, Market]]) -> None:
    """Who came is watched for `min_stay` unless it trades no more, or a name takes its place; no list is too long."""
    watchlist, now_ms, since_ms = Watchlist(rules), 0, {}
    for passed_ms, market in course:
        now_ms += passed_ms
        listed, volumes, caps = of(market)
        review = watchlist.review(listed, volumes, caps, now_ms)
        trading = {one.symbol for one in listed if one.trading}
        crowded_out = bool(rules.named & set(review.added))
        for symbol in review.removed:
            assert symbol not in trading or now_ms - since_ms[symbol] >= rules.min_stay_ms or crowded_out
            del since_ms[symbol]
        since_ms.update(dict.fromkeys(review.added, now_ms))
        watchlist.accept(review)
        assert since_ms.keys() == set(review.watched)
        assert len(watchlist) == len(since_ms) <= rules.max_symbols
        assert set(review.watched) <= trading
        assert len({one.symbol for one in review.decisions}) == len(review.decisions)
        assert all((one.rule is None) == one.watched == (one.reason is None) for one in review.decisions)


@given(RULES, MARKETS, st.lists(st.lists(st.floats(0.01, 0.99), min_size=8, max_size=8), min_size=1, max_size=8))
def test_a_number_must_cross_the_whole_band(rules: Rules, market: Market, course: list[list[float]]) -> None:
    """While volumes and caps stay between what it takes to stay and to enter, nobody comes and nobody goes."""
    rules = replace(rules, include=("*",), min_volume_24h=100.0, hysteresis=0.5, max_symbols=10)
    watchlist = Watchlist(rules)
    trading = {base: ("TRADING", volume, cap) for base, (_, volume, cap) in market.items()}
    watchlist.accept(watchlist.review(*of(trading), 0))
    for now_ms, numbers in enumerate(course, start=1):
        between = [50 + 50 * number for number in numbers]
        calm = {base: ("TRADING", between[at], between[-1 - at]) for at, base in enumerate(BASES)}
        review = watchlist.review(*of(calm), now_ms * 1000)
        watchlist.accept(review)
        assert (review.added, review.removed) == ((), ())


@given(RULES, COURSES, st.randoms(use_true_random=False))
def test_the_order_of_the_list_does_not_matter(rules: Rules, course: list[tuple[int, Market]], random: object) -> None:
    """Two watchlists that hear the same in another order decide the same."""
    one, other = Watchlist(rules), Watchlist(rules)
    for now_ms, (_, market) in enumerate(course):
        listed, volumes, caps = of(market)
        shuffled = list(listed)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        first = one.review(listed, volumes, caps, now_ms * 10)
        second = other.review(shuffled, dict(reversed(volumes.items())), caps, now_ms * 10)
        assert repr(first) == repr(second)
        one.accept(first)
        other.accept(second)
