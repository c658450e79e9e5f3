"""Who is watched and why not: each rule alone, their order, names that are always watched, standings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tapewatch.feeds import Instrument
from tapewatch.model import NAN, Standing, Universe
from tapewatch.universe import Review, Rules, Watchlist, is_pattern

HOUR_MS = 3_600_000
T0 = 1_750_000_000_000


def coin(base: str, quote: str = "USDT", status: str = "TRADING") -> Instrument:
    """An instrument as the exchange lists it."""
    return Instrument(f"{base}{quote}", base, quote, status, trading=status == "TRADING")


def look(
    rules: Rules, *listed: Instrument, volumes: dict[str, float] | None = None, caps: dict[str, float] | None = None
) -> Review:
    """A first review; who has no volume given trades a million."""
    traded = {one.symbol: 1e6 for one in listed} | (volumes or {})
    return Watchlist(rules).review(listed, traded, caps or {}, T0)


def why(review: Review, symbol: str) -> tuple[Any, str]:
    """The rule that a symbol fails, and the reason."""
    decision = next(one for one in review.decisions if one.symbol == symbol)
    assert decision.watched is (decision.rule is None)
    return decision.rule, decision.reason or ""


def test_the_whole_market_of_a_quote_is_watched_by_default() -> None:
    """What trades for USDT, without leveraged tokens and stable pairs; each that is left out with its reason."""
    review = look(
        Rules(), coin("BTC"), coin("ETH"), coin("JUP"), coin("币安人生"), coin("BTC", "EUR"), coin("BTCUP"),
        coin("USDC"), coin("LUNA", status="BREAK"),
    )  # fmt: skip
    assert set(review.watched) == {"BTCUSDT", "ETHUSDT", "JUPUSDT", "币安人生USDT"}
    assert why(review, "BTCEUR") == ("quote", "it is priced in EUR, not in USDT")
    assert why(review, "LUNAUSDT") == ("status", "its status is BREAK")
    assert why(review, "BTCUPUSDT") == ("leveraged", "BTCUP is a leveraged token")
    assert why(review, "USDCUSDT") == ("stable", "USDC and USDT are worth the same")


@pytest.mark.parametrize(
    ("rules", "watched"),
    [
        (Rules(include=("BTC*",)), {"BTCUSDT", "BTCUPUSDT"}),
        (Rules(include=("?TCUSDT", "[ES]*")), {"BTCUSDT", "ETHUSDT", "LTCUSDT", "SUSDT"}),
        (Rules(exclude=("*USDT",)), set()),
        (Rules(exclude=("ETH*", "S?S*")), {"BTCUSDT", "BTCUPUSDT", "LTCUSDT"}),
        (Rules(quotes=("USDC", "USDT"), include=("ETH*",)), {"ETHUSDT", "ETHUSDC"}),
        (Rules(include=("btc*",)), set()),
        (Rules(exclude=("USDT",)), {"BTCUSDT", "BTCUPUSDT", "ETHUSDT", "SUSDT", "LTCUSDT"}),
    ],
)  # fmt: skip
def test_patterns(rules: Rules, watched: set[str]) -> None:
    """A pattern matches whole names, case and all; exclude wins over a pattern of include."""
    market = [coin(base) for base in ("BTC", "BTCUP", "ETH", "S", "LTC")] + [coin("ETH", "USDC")]
    rules = replace(rules, leveraged=True)
    assert set(look(rules, *market).watched) == watched


def test_a_name_is_watched_whatever_the_other_rules_say() -> None:
    """As long as it trades; it takes a place of `max_symbols` too."""
    rules = Rules(
        include=("BTCEUR", "ETHUPUSDT", "USDCUSDT", "HALTUSDT", "NOPEUSDT", "DOGE*"), exclude=("*",),
        min_volume_24h=1e9, min_market_cap=1e9, max_symbols=3,
    )  # fmt: skip
    market = [coin("BTC", "EUR"), coin("ETHUP"), coin("ETH"), coin("USDC"), coin("HALT", status="HALT"), coin("DOGE")]
    review = look(rules, *market, volumes={"BTCEUR": 1.0})
    assert set(review.watched) == {"BTCEUR", "ETHUPUSDT", "USDCUSDT"}
    assert why(review, "HALTUSDT") == ("status", "its status is HALT")
    assert why(review, "NOPEUSDT") == ("unknown", "the exchange does not list it")
    assert why(review, "DOGEUSDT") == ("exclude", "'*' matches it")
    assert why(look(Rules(include=("AUSDT", "*"), max_symbols=1), coin("A"), coin("B"), volumes={"AUSDT": 0.0}),
               "BUSDT")[0] == "max_symbols"  # fmt: skip


def test_the_first_rule_that_fails_is_named() -> None:
    """Everything is wrong with this one; mending one thing after the other shows the order."""
    order = []
    rules: dict[str, Any] = {
        "include": ("X*",), "exclude": ("B*",), "quotes": ("USDT",), "min_market_cap": 1e9, "min_volume_24h": 1e9,
        "max_symbols": 1,
    }  # fmt: skip
    one, listed = coin("BTCUP", "BTC", "BREAK"), [coin("BTC", "USDT"), coin("X")]
    volumes, caps = {"BTCUPBTC": 1.0, "XUSDT": 1e12}, {"X": 1e12}
    mending: list[tuple[str, Any]] = [
        ("status", None), ("quotes", ("USDT", "BTC")), ("include", ("*",)), ("exclude", ()), ("leveraged", True),
        ("caps", 1e9), ("volume", 1e9), ("max_symbols", 5),
    ]  # fmt: skip
    for key, value in mending:
        order.append(why(look(Rules(**rules), one, *listed, volumes=volumes, caps=caps), "BTCUPBTC")[0])
        if key == "status":
            one = coin("BTCUP", "BTC")
        elif key == "caps":
            caps["BTCUP"] = value
        elif key == "volume":
            volumes["BTCUPBTC"] = value
        else:
            rules[key] = value
    assert order == ["status", "quote", "include", "exclude", "leveraged", "market_cap", "volume_24h", "max_symbols"]
    assert "BTCUPBTC" in look(Rules(**rules), one, *listed, volumes=volumes, caps=caps).watched


def test_the_most_liquid_are_watched_and_come_first() -> None:
    """With their rank as the reason of the others."""
    market = [coin(name) for name in "ABCDE"]
    volumes = {f"{name}USDT": float(volume) for name, volume in zip("ABCDE", (5, 50, 1, 40, 40), strict=True)}
    review = look(Rules(max_symbols=3), *market, volumes=volumes)
    assert review.watched == review.added == ("BUSDT", "DUSDT", "EUSDT")
    assert why(review, "AUSDT") == ("max_symbols", "number 4 by volume of at most 3")
    assert [one.symbol for one in review.decisions] == ["BUSDT", "DUSDT", "EUSDT", "AUSDT", "CUSDT"]


def test_more_names_than_places() -> None:
    """All of them are watched, and nobody else."""
    review = look(Rules(include=("AUSDT", "BUSDT", "*"), max_symbols=1), coin("A"), coin("B"), coin("C"))
    assert set(review.watched) == {"AUSDT", "BUSDT"}


def test_volume_is_harder_to_enter_by_than_to_stay_by() -> None:
    """In at the minimum, out below four fifths of it, back at the minimum."""
    rules, market = Rules(min_volume_24h=1000.0, min_stay_ms=0), [coin("A")]
    watchlist, states = Watchlist(rules), []
    for step, volume in enumerate([999.0, 1000.0, 801.0, 800.0, 799.0, 999.0, 1000.0]):
        review = watchlist.review(market, {"AUSDT": volume}, {}, T0 + step)
        watchlist.accept(review)
        states.append(bool(review.watched))
    assert states == [False, True, True, True, False, False, True]
    lost = watchlist.review(market, {"AUSDT": 799.0}, {}, T0 + 9)
    assert why(lost, "AUSDT") == ("volume_24h", "24 h volume 799 of at least 800")


def test_who_came_stays_for_a_while() -> None:
    """Whatever the numbers say; a status or a delisting ends it at once."""
    rules, market = Rules(min_volume_24h=1000.0, min_market_cap=10.0, max_symbols=1), [coin("A"), coin("B")]
    watchlist = Watchlist(rules)
    watchlist.accept(watchlist.review(market, {"AUSDT": 1000.0, "BUSDT": 500.0}, {"A": 10.0, "B": 10.0}, T0))
    low, richer = {"AUSDT": 1.0, "BUSDT": 9000.0}, {"A": 1.0, "B": 10.0}
    review = watchlist.review(market, low, richer, T0 + HOUR_MS - 1)
    assert review.watched == ("AUSDT",)
    assert why(review, "BUSDT")[0] == "max_symbols"
    later = watchlist.review(market, low, richer, T0 + HOUR_MS)
    assert (later.added, later.removed) == (("BUSDT",), ("AUSDT",))
    halted = watchlist.review([coin("A", status="HALT"), coin("B")], low, richer, T0 + 1)
    assert (halted.added, halted.removed) == (("BUSDT",), ("AUSDT",))
    assert watchlist.review([coin("B")], low, richer, T0 + 1).removed == ("AUSDT",)


def test_a_newcomer_must_be_clearly_more_liquid_to_take_a_place() -> None:
    """By the share of hysteresis."""
    watchlist, market = Watchlist(Rules(max_symbols=1, min_stay_ms=0)), [coin("A"), coin("B")]
    watchlist.accept(watchlist.review(market, {"AUSDT": 100.0, "BUSDT": 99.0}, {}, T0))
    assert watchlist.review(market, {"AUSDT": 100.0, "BUSDT": 124.0}, {}, T0 + 1).added == ()
    assert watchlist.review(market, {"AUSDT": 100.0, "BUSDT": 126.0}, {}, T0 + 1).added == ("BUSDT",)


def test_whom_an_earlier_run_watched_counts_as_present() -> None:
    """Between the two thresholds they stay; they need not stay longer, and nobody else is taken for one."""
    market = [coin("A"), coin("B"), coin("C")]
    watchlist = Watchlist(Rules(min_volume_24h=1000.0), ["AUSDT", "CUSDT", "GONEUSDT"])
    review = watchlist.review(market, {"AUSDT": 900.0, "BUSDT": 900.0, "CUSDT": 700.0}, {}, T0)
    assert (review.watched, review.added, review.removed) == (("AUSDT",), (), ("CUSDT", "GONEUSDT"))
    assert [standing.symbol for standing in review.standings] == ["AUSDT"]


def test_volume_that_is_not_known() -> None:
    """Nobody enters a universe with a minimum without it, nobody leaves it for lack of it, and it silences nobody."""
    market = [coin("A"), coin("B")]
    watchlist = Watchlist(Rules(min_volume_24h=1.0), ["AUSDT"])
    review = watchlist.review(market, {"AUSDT": NAN}, {}, T0)
    assert review.watched == ("AUSDT",)
    assert why(review, "BUSDT") == ("volume_24h", "its 24 h volume is not known")
    assert review.standings[0].eligible
    assert set(look(Rules(), *market, volumes={"AUSDT": NAN}).watched) == {"AUSDT", "BUSDT"}


@pytest.mark.parametrize(("unknown", "watched"), [(False, {"AUSDT"}), (True, {"AUSDT", "CUSDT"})])
def test_market_cap(unknown: bool, watched: set[str]) -> None:
    """By base asset; whether a symbol passes whose market cap is not known is for the configuration to say."""
    rules = Rules(min_market_cap=1e8, unknown_market_cap=unknown)
    review = look(rules, coin("A"), coin("B"), coin("C"), caps={"A": 1e8, "B": 9.9e7})
    assert set(review.watched) == watched
    assert why(review, "BUSDT") == ("market_cap", "market cap 99,000,000 USD of at least 100,000,000")
    if not unknown:
        assert why(review, "CUSDT") == ("market_cap", "its market cap is not known")


def standings(review: Review) -> dict[str, bool]:
    """Who is told to be eligible or not."""
    return {standing.symbol: standing.eligible for standing in review.standings}


def test_hourly_volume_decides_who_is_eligible_not_who_is_watched() -> None:
    """1,000 quote units an hour on average unless set; the reason has both numbers."""
    review = look(Rules(), coin("A"), coin("B"), volumes={"AUSDT": 24_000.0, "BUSDT": 23_976.0})
    assert set(review.watched) == {"AUSDT", "BUSDT"}
    assert standings(review) == {"AUSDT": True, "BUSDT": False}
    assert review.standings[1] == Standing(
        "BUSDT", False, "999 quote units an hour on average over 24 h, at least 1,000 are asked", 23_976.0
    )
    assert {one.symbol: one.eligible for one in review.decisions} == standings(review)
    assert standings(look(Rules(min_volume_1h=0.0), coin("A"), volumes={"AUSDT": 0.0})) == {"AUSDT": True}


def test_standings_are_told_when_they_change() -> None:
    """When somebody comes, becomes eligible or is not any more, or when the volume has moved by a fifth."""
    watchlist, told = Watchlist(Rules(min_volume_1h=1000.0)), []
    hourly = [1000.0, 1000.0, 900.0, 801.0, 799.0, 1000.0, 999.0, 1200.0, 1201.0, NAN, NAN, 900.0]
    for step, volume in enumerate(hourly):
        review = watchlist.review([coin("A")], {"AUSDT": volume * 24}, {}, T0 + step)
        watchlist.accept(review)
        told.append(standings(review).get("AUSDT"))
    assert told == [True, None, None, None, False, True, None, None, True, True, None, False]
    assert (watchlist.eligible, len(watchlist)) == (0, 1)


def test_after_a_restart_standings_are_told_anew_and_hysteresis_goes_on() -> None:
    """Who had reached the minimum keeps it down to its eased value, who had not does not, and only for this once."""
    earlier = [Standing("AUSDT", True, None, 24_000.0), Standing("BUSDT", False, "too little", 20_000.0)]
    market, volumes = [coin("A"), coin("B")], {"AUSDT": 21_600.0, "BUSDT": 21_600.0}
    watchlist = Watchlist(Rules(min_volume_1h=1000.0), ["AUSDT", "BUSDT"], earlier)
    first = watchlist.review(market, volumes, {}, T0)
    assert standings(first) == {"AUSDT": True, "BUSDT": False}
    watchlist.accept(first)
    watchlist.accept(watchlist.review([coin("B")], volumes, {}, T0 + 1))
    again = watchlist.review(market, volumes, {}, T0 + 2)
    assert standings(again) == {"AUSDT": False}


def test_the_event_says_what_the_engine_must_know() -> None:
    """Standings and who is gone; nothing when there is neither."""
    watchlist = Watchlist(Rules())
    first = watchlist.review([coin("A"), coin("B")], {"AUSDT": 1e6, "BUSDT": 1e6}, {}, T0)
    assert first.event() == Universe(T0, first.standings, ())
    watchlist.accept(first)
    assert watchlist.review([coin("A"), coin("B")], {"AUSDT": 1e6, "BUSDT": 1e6}, {}, T0).event() is None
    gone = watchlist.review([coin("A")], {"AUSDT": 1e6}, {}, T0 + 1)
    assert gone.event() == Universe(T0 + 1, (), ("BUSDT",))


def test_a_review_changes_nothing_until_it_is_accepted() -> None:
    """Asked twice it says the same."""
    watchlist = Watchlist(Rules())
    assert watchlist.review([coin("A")], {}, {}, T0) == watchlist.review([coin("A")], {}, {}, T0)
    assert len(watchlist) == 0


def test_a_symbol_listed_twice_counts_once() -> None:
    """The one that trades, wherever it stands in the list."""
    twice = [coin("A", status="BREAK"), coin("A")]
    for market in (twice, twice[::-1]):
        assert look(Rules(), *market).watched == ("AUSDT",)


@pytest.mark.parametrize(("word", "pattern"), [("BTCUSDT", False), ("*", True), ("A?", True), ("[AB]C", True)])
def test_wildcards(word: str, pattern: bool) -> None:
    """What makes a pattern of a name."""
    assert is_pattern(word) is pattern
