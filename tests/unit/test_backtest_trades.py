"""Trades as columns, and each one as it is looked at."""

from __future__ import annotations

from dataclasses import fields

import pytest

from paper_samples import COIN, START_MS, Minute, Wish, traded
from tapewatch.model import MINUTE_MS
from tapewatch.paper.settings import MAINTENANCE
from tapewatch.study.settings import Account
from tapewatch.study.trades import Columns, Trades, columns_of

FLAT = Minute(10_000, 10_010, 9_990, 10_000)
UP, DOWN = Minute(10_000, 10_250, 9_990, 10_200), Minute(10_000, 10_010, 9_800, 9_800)
HOW = Account(kind="perpetual", cash=1_000.0, size_quote=200.0, cap_symbol=0.5, slippage_bps=0)


@pytest.fixture
def trades() -> Trades:
    """Of the later symbol one closed in two parts, entered with one of the first; one after them, and one held on."""
    markets = [[FLAT, FLAT, UP, FLAT, FLAT, DOWN, FLAT], [FLAT, FLAT, DOWN, FLAT, FLAT, FLAT, FLAT]]
    both, far = (100, 200), (4_000, 4_000)
    wishes = [
        [Wish(0, 1, 100, both, 99), Wish(4, 1, 150, both, 99)],
        [Wish(0, 1, 100, both, 99), Wish(4, -1, 4_000, far, 99)],
    ]
    desk = traded(markets, wishes, (0.5, 0.5), HOW)
    return Trades(
        desk, ["BBBUSDT", "AAAUSDT"], [COIN] * 2, [COIN.terms(1.0, MAINTENANCE)] * 2, "v/{}/1m/s/long/0".format
    )


def test_they_are_in_the_order_of_their_entries_then_symbols(trades: Trades) -> None:
    """And what is still held is counted, not among them."""
    assert [(one.entry_ms, one.symbol) for one in trades] == [
        (START_MS + MINUTE_MS, "AAAUSDT"), (START_MS + MINUTE_MS, "BBBUSDT"), (START_MS + 5 * MINUTE_MS, "BBBUSDT"),
    ]  # fmt: skip
    assert (len(trades), trades.still_open) == (3, 1)


def test_a_trade_has_its_own_exits(trades: Trades) -> None:
    """Both targets of the one, the stops of the others; signal ids by the candidate."""
    told = [[(exit_.price, exit_.share, exit_.reason) for exit_ in one.exits] for one in trades]
    assert told[1] == [(101.0, 50.0, "target"), (102.0, 50.0, "target")]
    assert [[reason for *_, reason in exits] for exits in told] == [["stop"], ["target", "target"], ["stop"]]
    assert trades[1].signal_id == "v/0/1m/s/long/0"
    assert trades[-1] == trades[2] == trades[1:][1]


def test_columns_say_what_the_trades_say(trades: Trades) -> None:
    """To the last bit, and so do rows of them."""
    made = columns_of(list(trades))
    for one in fields(Columns):
        assert getattr(trades.columns, one.name).tolist() == getattr(made, one.name).tolist(), one.name
    winner = trades.columns.rows(trades.columns.net > 0)
    assert (winner.symbol.tolist(), winner.r.tolist()) == (["BBBUSDT"], [trades[1].r])
    assert len(columns_of([])) == 0
