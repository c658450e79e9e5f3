"""Lists a page at a time, in either kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from tapewatch.model import Judged
from tapewatch.store import Ledger, Step
from tapewatch.store.pages import Filter, Page
from tapewatch.store.records import Notice

SIGNALS = [
    signal(symbol, side=side, close_ms=CLOSE_MS + 60_000 * minute)
    for minute in range(4)
    for symbol in ("BTCUSDT", "aaausdt", "ETHUSDT")
    for side in ("long", "short")
]


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A ledger in which every long passed, and with a word to the operator."""
    ledger = Ledger.open(ledger_url)
    for one in SIGNALS:
        blocked = Step(VENUE, [Judged(one, "blocked", late=False, recv_ms=one.close_ms, alert_id=None)])
        ledger.commit_step(step_of(alert_of(one), channels=("out", "mail")) if one.side == "long" else blocked)
    ledger.commit_step(Step(VENUE, notices=[Notice("operator/x", "A word", "to the operator", CLOSE_MS)]))
    yield ledger
    ledger.close()


def walked(read: Callable[[Any], Page]) -> list[dict[str, Any]]:
    """All rows of a list, by pages of different sizes."""
    rows, after = [], None
    for _ in range(50):
        page = read(after)
        rows += page.rows
        after = page.after
        if after is None:
            return rows
    raise AssertionError("it never ends")


@pytest.mark.parametrize("limit", [1, 5, 24, 500])
def test_every_signal_comes_once(ledger: Ledger, limit: int) -> None:
    """The newest first, in the opposite order of the list that is printed."""
    rows = walked(lambda after: ledger.pages.signals(VENUE, Filter(), limit, after))
    assert [one["id"] for one in rows] == [one["id"] for one in ledger.stored_signals()][::-1]
    assert [len(one["deliveries"]) for one in rows] == [2 if one["side"] == "long" else 0 for one in rows]
    assert rows[-1]["state"] == ("passed" if rows[-1]["side"] == "long" else "blocked")
    assert ledger.pages.signals("elsewhere", Filter(), limit).rows == []


def test_signals_are_filtered(ledger: Ledger) -> None:
    """By each of what can be asked, and by all together."""
    chosen = Filter("ETHUSDT", "scalp", "short", "blocked", "1m", CLOSE_MS + 60_000, CLOSE_MS + 180_000)
    rows = ledger.pages.signals(VENUE, chosen, 10).rows
    assert [one["close_ms"] for one in rows] == [CLOSE_MS + 120_000, CLOSE_MS + 60_000]
    assert ledger.pages.signals(VENUE, chosen._replace(state="passed"), 10).rows == []


def test_the_last_signal_of_each_symbol(ledger: Ledger) -> None:
    """Of two of one bar the one that passed."""
    last = ledger.pages.last_signals(VENUE)
    assert last.keys() == {"BTCUSDT", "aaausdt", "ETHUSDT"}
    assert {(one["ms"], one["side"], one["state"]) for one in last.values()} == {(CLOSE_MS + 180_000, "long", "passed")}


@pytest.mark.parametrize("limit", [1, 4, 500])
def test_every_alert_comes_once(ledger: Ledger, limit: int) -> None:
    """With the signal that leads it, where there is one."""
    rows = walked(lambda after: ledger.pages.alerts(limit, after))
    assert [one["created_ms"] for one in rows] == sorted((one["created_ms"] for one in rows), reverse=True)
    assert len({one["alert_id"] for one in rows}) == len(rows) == 13
    assert {one["symbol"] for one in rows} == {"BTCUSDT", "aaausdt", "ETHUSDT", None}
    assert len(ledger.pages.alerts(500, symbol="ETHUSDT", channel="mail", state="queued").rows) == 4
    assert ledger.pages.alerts(500, channel="nobody").rows == []


def test_messages_are_counted(ledger: Ledger) -> None:
    """By channel and state, with the oldest."""
    counted = {"state": "queued", "count": 12, "oldest_ms": CLOSE_MS}
    assert ledger.pages.outbox() == [{"channel": name} | counted for name in ("mail", "out")]


@pytest.mark.parametrize(
    "after", [[], [1], ["a", "b"], [True, "a"], [2**70, "a"], [1, "\0"], [1, "a", "b", "c", "d"][:4]]
)
def test_a_cursor_of_another_list_is_refused(ledger: Ledger, after: list[Any]) -> None:
    """It is the reader's mistake."""
    with pytest.raises(ValueError, match="cursor"):
        ledger.pages.signals(VENUE, Filter(), 1, after)
    with pytest.raises(ValueError, match="cursor"):
        ledger.pages.alerts(1, after)
    with pytest.raises(ValueError, match="cursor"):
        ledger.pages.trades(VENUE, Filter(), 1, after)


def test_what_is_known_around_a_bar(ledger: Ledger) -> None:
    """The signals of that bar alone, with their messages."""
    found = ledger.around("BTCUSDT", CLOSE_MS)
    assert {one["side"]: len(one["messages"]) for one in found.values()} == {"long": 2, "short": 0}
    assert {one["trade"] for one in found.values()} == {None}
