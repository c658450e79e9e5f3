"""What a paper book does beside trading: what is late, gone or broken, and the day."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Any

import msgspec
import pytest

from book_runs import Passed, asked, bars_of, book_of, play, tell
from core_samples import bits, mapping, walk
from engine_runs import save
from paper_samples import COIN, NAMES, START_MS, Minute, Wish
from tapewatch.engine import Engine
from tapewatch.engine.series import Runner
from tapewatch.engine.state import Saving, load
from tapewatch.gate import GateSettings
from tapewatch.model import (
    DAY_MS,
    MINUTE_MS,
    BarClosed,
    BookFailed,
    Boundary,
    Context,
    DayDone,
    Event,
    Fill,
    History,
    Judged,
    Listing,
    Position,
    StepFailed,
    Universe,
)
from tapewatch.paper import living
from tapewatch.paper.book import Book
from tapewatch.paper.settings import TradingSettings
from tapewatch.strategy import from_mapping
from tapewatch.study.settings import Account

SYMBOL = NAMES[0]
FLAT = Minute(10_000, 10_010, 9_990, 10_000)
FREE = Account(kind="perpetual", cash=1_000.0, taker_bps=0, maker_bps=0, slippage_bps=0, cap_symbol=1.0)
LISTED = Universe(START_MS, listings=(Listing(SYMBOL, COIN.tick, COIN.step, COIN.least_notional),))


def minute(bars: list[Minute], number: int, *, late_ms: int = 5) -> BarClosed:
    """A bar as it comes."""
    bar = bars_of(bars, SYMBOL)[number]
    return BarClosed(bar, bar.close_ms + late_ms)


def begun(bars: list[Minute], wish: Wish, book: Book) -> int:
    """Bars up to the signal's, and its boundary, which is returned."""
    tell(book, LISTED, 0)
    for number in range(wish.at + 1):
        tell(book, minute(bars, number), 0)
    tell(book, asked(wish, SYMBOL, bars, (1.0,)), 0)
    close_ms = START_MS + (wish.at + 1) * MINUTE_MS
    tell(book, Boundary(close_ms), close_ms)
    return close_ms


def of(effects: list[Any], kind: type[Any]) -> list[Any]:
    """Those of a kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def test_a_symbol_that_is_gone_has_its_position_closed_at_its_last_close() -> None:
    """Less slippage; an entry that waits is dropped."""
    bars = [FLAT, FLAT, Minute(10_000, 10_050, 9_990, 10_040)]
    book = book_of(Account(kind="perpetual", cash=1_000.0, taker_bps=0, slippage_bps=10, cap_symbol=1.0))
    close_ms = begun(bars, Wish(0, 1, 100, (100,), 99), book)
    for number in (1, 2):
        tell(book, minute(bars, number), close_ms)
    said = tell(book, Universe(START_MS + 3 * MINUTE_MS, gone=(SYMBOL,)), close_ms)
    (fill,), (position,) = of(said, Fill), of(said, Position)
    assert (fill.reason, fill.price, fill.ms) == ("gone", Decimal("100.29"), START_MS + 2 * MINUTE_MS)
    assert (position.state, position.held) == ("closed", 0)
    waiting = book_of(FREE)
    begun(bars, Wish(0, 1, 100, (100,), 99), waiting)
    (dropped,) = of(tell(waiting, Universe(0, gone=(SYMBOL,)), close_ms), Position)
    assert (dropped.state, dropped.reason) == ("skipped", "no candle came after it")


def test_a_late_signal_enters_at_the_first_bar_that_opens_after_it_came() -> None:
    """Not in the past."""
    bars, book = [FLAT] * 6, book_of(FREE)
    tell(book, LISTED, 0)
    tell(book, minute(bars, 0), 0)
    passed = asked(Wish(0, 1, 100, (100,), 99), SYMBOL, bars, (1.0,))
    came_ms = START_MS + 3 * MINUTE_MS + 1
    late = Passed(msgspec.structs.replace(passed.judged, late=True, recv_ms=came_ms), passed.limit)
    played = play(book, [late, *(minute(bars, number) for number in range(1, 6))])
    assert [fill.ms for fills in played.fills.values() for fill in fills] == [START_MS + 4 * MINUTE_MS]


def test_bars_of_a_time_without_a_run_settle_positions_and_say_so() -> None:
    """Also those of history, which a fresh engine loads; each bar once."""
    bars = [FLAT, FLAT, Minute(10_000, 10_010, 9_800, 9_900), FLAT]
    book = book_of(FREE)
    close_ms = begun(bars, Wish(0, 1, 100, (100,), 99), book)
    assert not of(tell(book, minute(bars, 1), close_ms), Fill)[0].late
    assert book.on_bar(minute(bars, 1).bar, None) == []
    (fill,) = of(book.on_bar(minute(bars, 2).bar, None), Fill)
    assert (fill.reason, fill.late, fill.price) == ("stop", True, Decimal("99.00"))


def test_a_position_that_raises_costs_itself_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is as it was, the account too, and lives on with the next bar."""
    bars = [FLAT, FLAT, FLAT, Minute(10_000, 10_010, 9_800, 9_900)]
    book = book_of(FREE)
    close_ms = begun(bars, Wish(0, 1, 100, (100,), 99), book)
    tell(book, minute(bars, 1), close_ms)
    before = book.saved()
    with monkeypatch.context() as patched:
        patched.setattr(living, "on_bar", lambda *_: 1 // 0)
        (failed,) = of(tell(book, minute(bars, 2), close_ms), BookFailed)
    assert (failed.symbol, failed.strategy, failed.ms) == (SYMBOL, "probe", START_MS + 2 * MINUTE_MS)
    assert "ZeroDivisionError" in failed.error
    assert failed.stack.startswith("Traceback")
    assert book.saved()[0][1:4] == before[0][1:4]  # what it holds, not how far bars have come
    assert [fill.reason for fill in of(tell(book, minute(bars, 3), close_ms), Fill)] == ["stop"]


def holding() -> tuple[Engine, Iterator[Event]]:
    """An engine that holds a position, and the events that come next."""
    whole = engine()
    events: Iterator[Event] = (
        event for one in walk(1_000) for event in (BarClosed(one, one.close_ms), Boundary(one.close_ms))
    )
    for event in events:
        if any(one.state == "open" for one in of(list(whole.process(event)), Position)):
            return whole, events
    raise AssertionError("nothing was ever held")


def test_signals_go_on_where_a_position_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ones as of an engine in which none does."""
    said = []
    for broken in (True, False):
        whole, events = holding()
        with monkeypatch.context() as patched:
            if broken:
                patched.setattr(living, "on_bar", lambda *_: 1 // 0)
            effects = [effect for event in islice(events, 60) for effect in whole.process(event)]
        assert bool(of(effects, BookFailed)) is broken
        said.append([bits(one) for one in of(effects, Judged)])
    assert len(said[0]) > 5
    assert said[0] == said[1]


def test_positions_live_on_where_a_strategy_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held is closed as it would have been, though no bar has led to a signal since it was entered."""
    closed = []
    for broken in (True, False):
        whole, events = holding()
        with monkeypatch.context() as patched:
            if broken:
                patched.setattr(Runner, "feed", lambda *_, **__: 1 // 0)
            effects = [effect for event in islice(events, 600) for effect in whole.process(event)]
        assert bool(of(effects, StepFailed)) is broken
        closed.append(next((one.price, one.ms, one.reason) for one in of(effects, Fill) if one.reason != "entry"))
    assert closed[0] == closed[1]


def test_a_day_is_summed_up_when_the_next_one_begins() -> None:
    """At its first boundary, with what happened since the last one."""
    bars, book = [FLAT, FLAT, Minute(10_000, 10_200, 9_990, 10_000)], book_of(FREE)
    close_ms = begun(bars, Wish(0, 1, 100, (100,), 99), book)
    for number in (1, 2):
        tell(book, minute(bars, number), close_ms)
    midnight_ms = (close_ms // DAY_MS + 1) * DAY_MS
    assert of(tell(book, Boundary(midnight_ms - MINUTE_MS), midnight_ms - MINUTE_MS), DayDone) == []
    (done,) = of(tell(book, Boundary(midnight_ms), midnight_ms), DayDone)
    assert (done.day_ms, done.entered, done.closed, done.won) == (midnight_ms - DAY_MS, 1, 1, 1)
    assert (done.equity_before, done.gross, done.equity) == (1_000, 10, 1_010)


def engine() -> Engine:
    """One that trades often."""
    often = from_mapping("often", mapping(long={"up": "close > open"}, duplicate={"window": "1m", "move": "0%"}))
    return Engine("v", [often], paper=TradingSettings(cash=5_000.0))


def test_an_engine_that_is_saved_while_it_goes_on_keeps_its_book() -> None:
    """As it was when saving began; one with another book does not take it over."""
    events: list[Event] = []
    for one in walk(1_000):
        other = msgspec.structs.replace(one, symbol="BBBUSDT")
        events += [BarClosed(one, one.close_ms), BarClosed(other, one.close_ms), Boundary(one.close_ms)]
    whole, again, cut = engine(), engine(), 2_900
    said = [whole.process(event) for event in events[:cut]]
    assert sum(isinstance(effect, Fill) for effects in said for effect in effects) > 3
    saving = Saving(whole)
    later = []
    for event in events[cut:]:
        saving.before(event)
        later.append([bits(effect) for effect in whole.process(event)])
    load(again, [piece for _ in range(3) for piece in saving.take(1)])
    assert [[bits(effect) for effect in again.process(event)] for event in events[cut:]] == later
    assert list(save(again)) == list(save(whole))
    other = Engine("v", [], paper=TradingSettings(cash=1.0))
    assert other.fingerprint != Engine("v", []).fingerprint


def test_signals_of_a_close_are_decided_together_though_their_quotes_come_apart() -> None:
    """The most traded symbol first, whoever was answered first; nobody before all are there."""
    often = from_mapping("often", mapping(long={"up": "close > 0"}))
    whole = Engine("v", [often], GateSettings(max_spread=0.5), paper=TradingSettings(cash=5_000.0, cap_total=0.25))
    bars = walk(900)
    for one in bars[:-1]:
        for name, volume in (("AAAUSDT", 1.0), ("BBBUSDT", 9.0)):
            whole.process(History(msgspec.structs.replace(one, symbol=name, quote_volume=volume)))
    last = bars[-1]
    for name in ("AAAUSDT", "BBBUSDT"):
        whole.process(BarClosed(msgspec.structs.replace(last, symbol=name, quote_volume=1.0), last.close_ms))
    whole.process(Boundary(last.close_ms))
    first = whole.process(Context("AAAUSDT", last.close_ms, 99.0, 99.1))
    assert [effect.state for effect in of(first, Judged)] == ["passed"]
    assert of(first, Position) == []
    second = of(whole.process(Context("BBBUSDT", last.close_ms, 99.0, 99.1)), Position)
    assert [(one.symbol, one.state) for one in second] == [("BBBUSDT", "pending"), ("AAAUSDT", "skipped")]


def test_without_a_book_an_engine_says_nothing_of_paper() -> None:
    """And with one it says the same of signals."""
    plain = Engine("v", engine()._strategies.values())
    trading = engine()
    for one in walk(300):
        event = BarClosed(one, one.close_ms)
        said, more = plain.process(event), trading.process(event)
        assert bits(of(said, Judged)) == bits(of(more, Judged))
        assert not of(said, Position)
