"""The book of a run and the loop of a backtest lead to the same fills from the same signals and bars."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from book_runs import Passed, Played, Told, book_of, events_of, play, play_until, tell
from core_samples import bits
from paper_samples import COIN, Minute, Wish, exits_of, minutes, protections, traded, trades_of, wishes
from tapewatch.model import BarClosed, BookSaved, Boundary
from tapewatch.paper import rules
from tapewatch.study import account
from tapewatch.study.settings import Account

SHARES = ((1.0,), (0.5, 0.5), (0.25, 0.25, 0.5))


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    """Any account."""
    kind = draw(st.sampled_from(["spot", "perpetual"]))
    return Account(
        kind=kind,
        cash=draw(st.sampled_from([60.0, 1_000.0, 25_000.0])),
        risk=draw(st.sampled_from([0.001, 0.01, 0.2])),
        size_quote=draw(st.sampled_from([None, None, 77.7])),
        cap_symbol=draw(st.sampled_from([0.1, 0.25, 1.0])),
        cap_side=draw(st.sampled_from([0.5, 1.0])),
        cap_total=draw(st.sampled_from([0.6, 1.0])),
        leverage=draw(st.sampled_from([1.0, 5.0, 50.0])) if kind == "perpetual" else 1.0,
        taker_bps=draw(st.sampled_from([0.0, 10.0, 7.5])),
        maker_bps=draw(st.sampled_from([0.0, 2.0])),
        slippage_bps=draw(st.sampled_from([0.0, 2.0, 33.3])),
        impact_bps=draw(st.sampled_from([0.0, 0.0, 50.0])),
        levels=draw(st.sampled_from(["signal", "fill"])),
        on_opposite=draw(st.sampled_from(["ignore", "close", "reverse"])),
        **draw(protections()),
    )


@st.composite
def markets(draw: st.DrawFn) -> tuple[list[list[Minute]], list[list[Wish]], tuple[float, ...]]:
    """Up to three symbols with signals on their bars, but for the last one."""
    shares, count = draw(st.sampled_from(SHARES)), draw(st.integers(2, 40))
    bars = [draw(minutes(count, count)) for _ in range(draw(st.integers(1, 3)))]
    return bars, [draw(wishes(count - 1, len(shares))) for _ in bars], shares


def life_of(desk: account.Desk) -> list[Any]:
    """Every trade of a loop: entry, stop, first and last price, and its exits."""
    exits: dict[int, list[Any]] = {}
    for number, ms, ticks, steps, why in exits_of(desk):
        exits.setdefault(number, []).append((ms, ticks, steps, rules.REASONS[why]))
    return sorted(
        (
            row[account.T_ENTRY_MS],
            row[account.T_CANDIDATE],
            row[account.T_ENTRY],
            row[account.T_STEPS],
            exits.get(n, []),
        )
        for n, row in enumerate(trades_of(desk))
    )


def life_in(played: Played) -> list[Any]:
    """The same of a book."""
    lives = []
    for identity, fills in played.fills.items():
        entry, *rest = [
            (one.ms, int(one.price / COIN.tick), int(one.quantity / COIN.step), one.reason) for one in fills
        ]
        lives.append((entry[0], played.numbers[identity], entry[1], entry[2], rest))
    return sorted(lives)


@settings(max_examples=300, deadline=None)
@given(markets(), accounts())
def test_book_and_loop_fill_the_same(
    market: tuple[list[list[Minute]], list[list[Wish]], tuple[float, ...]], how: Account
) -> None:
    """Every entry and exit: bar, ticks, steps and reason; money to a billionth; what was not taken, and why."""
    bars, signals, shares = market
    desk = traded(bars, signals, shares, how)
    played = play(book_of(how), events_of(bars, signals, shares))
    assert life_in(played) == life_of(desk)
    skipped = {rules.SKIPPED[why]: int(n) for why, n in enumerate(desk.skipped) if n}
    assert played.skipped == skipped
    money = desk.money
    for place, name in ((account.CASH, "cash"), (account.GROSS, "gross"), (account.FEES, "fees")):
        assert abs(float(getattr(played.account, name)) - money[place]) < 1e-9 * how.cash, name
    assert abs(float(played.account.equity) - desk.equity[-1]) < 1e-9 * how.cash


Market = tuple[list[list[Minute]], list[list[Wish]], tuple[float, ...]]


@settings(max_examples=100, deadline=None)
@given(markets(), accounts())
def test_money_is_exact(market: Market, how: Account) -> None:
    """The account is the sum of its fills to the last unit, at every moment, and its positions are at their closes."""
    bars, signals, shares = market
    book, played, boundary_ms = book_of(how), Played(), 0
    closes: dict[str, Decimal] = {}
    for event in events_of(bars, signals, shares):
        if isinstance(event, BarClosed):
            closes[event.bar.symbol] = Decimal(str(event.bar.close))
        boundary_ms = event.close_ms if isinstance(event, Boundary) else boundary_ms
        played.take(tell(book, event, boundary_ms))
        now = played.account
        if now is None:
            continue
        fills = [fill for of_trade in played.fills.values() for fill in of_trade]
        assert now.gross == sum((fill.gross for fill in fills), Decimal(0))
        assert now.fees == sum((fill.fee for fill in fills), Decimal(0))
        assert now.start_cash + now.gross - now.fees - now.funding == now.cash
        if isinstance(event, Boundary):
            assert now.equity == now.cash + sum(
                (closes[one.symbol] - one.entry) * one.held * (1 if one.side == "long" else -1)
                for one in played.positions.values()
                if one.state == "open"
            )
    for identity, fills in played.fills.items():
        position = played.positions[identity]
        assert fills[0].quantity == position.quantity
        assert position.quantity - sum(fill.quantity for fill in fills[1:]) == position.held >= 0
        assert position.gross == sum(fill.gross for fill in fills)
        assert position.fees == sum(fill.fee for fill in fills)
        assert (position.state == "closed") == (position.held == 0)


@settings(max_examples=100, deadline=None)
@given(markets(), accounts(), st.data())
def test_a_book_saved_anywhere_goes_on_as_it_would_have(market: Market, how: Account, data: st.DataObject) -> None:
    """With the same effects, to the last bit."""
    events = events_of(*market)
    cut = data.draw(st.integers(0, len(events)))
    whole, first, again = book_of(how), book_of(how), book_of(how)
    said = play(whole, events).said
    boundary_ms = play_until(first, events[:cut])
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(first.saved())))
    assert [bits(one) for one in play(again, events[cut:], boundary_ms).said] == [bits(one) for one in said[cut:]]


@settings(max_examples=100, deadline=None)
@given(markets(), accounts(), st.data())
def test_a_book_of_another_make_goes_on_from_what_was_told(market: Market, how: Account, data: st.DataObject) -> None:
    """After a boundary everything that matters has been told, in a form that JSON keeps."""
    events = events_of(*market)
    bounds = [place for place, event in enumerate(events, 1) if isinstance(event, Boundary)]
    cut = data.draw(st.sampled_from(bounds))
    whole = play(book_of(how), events)
    before, again = play(book_of(how), events[:cut]), book_of(how)
    assert before.account is not None
    lives = [one.saved for one in before.positions.values() if one.state in {"pending", "open"} and one.saved]
    told = msgspec.json.encode(BookSaved(before.account.saved, lives))
    again.remember(msgspec.json.decode(told, type=BookSaved))
    again.on_universe(events[0])  # type: ignore[arg-type]
    later = play(again, events[cut:], events[cut - 1].close_ms)  # type: ignore[union-attr]
    assert {
        **before.fills,
        **{key: before.fills.get(key, []) + fills for key, fills in later.fills.items()},
    } == whole.fills
    assert (later.account or before.account).cash == whole.account.cash  # type: ignore[union-attr]
    assert before.skipped + later.skipped == whole.skipped


@settings(max_examples=100, deadline=None)
@given(markets(), accounts(), st.randoms(use_true_random=False))
def test_the_order_in_which_symbols_come_does_not_matter(market: Market, how: Account, random: Random) -> None:
    """Bars of one close in any order lead to the same; only what is said in between comes in theirs."""
    events = events_of(*market)
    shuffled: list[Told] = []
    minute: list[list[Told]] = []
    for event in events:
        if isinstance(event, BarClosed):
            minute.append([event])
        elif isinstance(event, Passed):
            minute[-1].append(event)
        else:
            random.shuffle(minute)
            shuffled += [one for of_symbol in minute for one in of_symbol]
            shuffled.append(event)
            minute = []
    one, other = play(book_of(how), events), play(book_of(how), shuffled)
    assert (one.fills, one.skipped, one.positions) == (other.fills, other.skipped, other.positions)
    assert one.account == other.account
