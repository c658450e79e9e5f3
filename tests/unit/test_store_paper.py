"""Paper trading in the ledger: written once however often, newest state of a position, exact money."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book_samples import DAY_MS, MINUTE_MS, SIGNAL_ID, account, day, fill, paid, position
from delivery_samples import CLOSE_MS, VENUE
from tapewatch.model import BookSaved, Effect, decimal_text
from tapewatch.store import Ledger, Step

TABLES = ("trades", "fills", "funding_paid", "paper_accounts", "account_days")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(ledger_url)
    yield opened
    opened.close()


def store(ledger: Ledger, *effects: Effect) -> None:
    """One step."""
    ledger.commit_step(Step(VENUE, effects))


def test_a_position_is_read_back_as_it_was_said(ledger: Ledger) -> None:
    """With its fills and what it has brought, in exact decimals."""
    store(ledger, position("closed"), fill(), fill(1), fill(2), paid())
    [row] = ledger.paper.positions(VENUE, states=("closed",))

    assert (row["trade_id"], row["symbol"], row["strategy"], row["side"]) == (SIGNAL_ID, "BTCUSDT", "scalp", "long")
    assert (row["entry"], row["quantity"], row["held"]) == ("67020", "0.015", "0")
    assert row["targets"] == [{"price": "67240", "quantity": "0.0075"}, {"price": "67460", "quantity": "0.0075"}]
    assert (row["gross"], row["fees"], row["funding"], row["net"]) == ("4.95", "2.01555", "0", "2.93445")
    assert (row["r"], row["mfe_r"], row["mae_r"], row["ambiguous"]) == (0.889, 2.0, -0.3, False)
    assert [(one["number"], one["reason"], one["price"], one["fee"]) for one in row["fills"]] == [
        (0, "entry", "67020", "1.0053"),
        (1, "target", "67240", "0.5043"),
        (2, "target", "67460", "0.5043"),
    ]
    assert ledger.paper.funding([SIGNAL_ID]) == [
        {"trade_id": SIGNAL_ID, "ms": CLOSE_MS, "rate": 0.0001, "amount": "0.1005"}
    ]


def test_storing_what_a_book_said_twice_is_storing_it_once(ledger: Ledger) -> None:
    """Every table of paper trading."""
    effects = [position(), position("closed"), fill(), fill(1), paid(), account(), day()]
    store(ledger, *effects)
    before = everything(ledger)
    assert [ledger.info()["rows"][name] for name in TABLES] == [1, 2, 1, 1, 1]

    store(ledger, *effects)
    assert everything(ledger) == before


def everything(ledger: Ledger) -> list[Any]:
    """All that can be read of paper trading."""
    paper = ledger.paper
    positions = paper.positions(states=())
    return [positions, paper.account(VENUE), paper.days(VENUE), paper.book(VENUE), ledger.info()]


LIFE = [
    position("pending", at_ms=CLOSE_MS),
    position(),
    position(at_ms=CLOSE_MS + 3 * MINUTE_MS, held=Decimal("0.0075")),
    position("closed"),
]


@pytest.mark.parametrize("cut", range(1, 4))
@pytest.mark.parametrize("older", range(3))
def test_an_older_state_does_not_come_over_a_newer_one(ledger: Ledger, cut: int, older: int) -> None:
    """Though an engine that went back says again what was: whatever of a life it repeats, the newest stays."""
    store(ledger, *LIFE[: cut + 1])
    newest = ledger.paper.positions(states=())
    for one in LIFE[min(older, cut) : cut + 1]:
        store(ledger, one)
        assert ledger.paper.positions(states=()) == newest
    assert newest[0]["state"] == LIFE[cut].state


def test_a_closed_position_stays_closed(ledger: Ledger) -> None:
    """Also where an open one claims to be newer."""
    store(ledger, position("closed"))
    store(ledger, position(at_ms=CLOSE_MS + 9 * MINUTE_MS))
    assert [row["state"] for row in ledger.paper.positions(states=())] == ["closed"]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_a_position_never_goes_back(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    """In whatever order and steps its states are said, the newest one said is what is stored."""
    ledger = Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('ledger')}/tape.db")
    for place in order:
        store(ledger, LIFE[place])
    [row] = ledger.paper.positions(states=())
    ledger.close()
    assert (row["state"], row["at_ms"]) == (LIFE[max(order)].state, LIFE[max(order)].at_ms)


def test_the_account_does_not_go_back_either(ledger: Ledger) -> None:
    """Of equally old ones the last said counts."""
    store(ledger, account(), account(cash=Decimal(7)))
    store(ledger, account(at_ms=CLOSE_MS, cash=Decimal(9)))
    row = ledger.paper.account(VENUE)
    assert row is not None
    assert row["cash"] == "7"
    assert ledger.paper.account("elsewhere") is None


def test_a_fresh_engine_gets_what_was_saved(ledger: Ledger) -> None:
    """Of positions that pend or are open, by decision; as it was given, through JSON."""
    assert ledger.paper.book(VENUE) is None
    pending = position("pending", trade_id="b", decided_ms=CLOSE_MS + 5, saved=["b", 0.1 + 0.2])
    skipped = position("skipped", trade_id="d", reason="no room under a limit")
    closed = position("closed", trade_id="c")
    store(ledger, pending, skipped, position(), closed, account())

    assert ledger.paper.book(VENUE) == BookSaved(
        [[1, 2], {"peak": 1.5}], [[1, 0.1, [67020, None], "x"], ["b", 0.1 + 0.2]]
    )
    assert ledger.paper.book("elsewhere") is None


def test_positions_are_filtered_and_limited_to_the_newest(ledger: Ledger) -> None:
    """Those that pend or are open unless others are asked for."""
    rows = [
        position(trade_id="1", decided_ms=1),
        position("pending", trade_id="2", decided_ms=2, symbol="ETHUSDT"),
        position("closed", trade_id="3", decided_ms=3, strategy="trend", signal_id="s"),
        position("skipped", trade_id="4", decided_ms=4, reason="no room under a limit"),
        position("skipped", trade_id="5", decided_ms=5, reason="no room under a limit"),
    ]
    store(ledger, *rows)

    def found(**filters: Any) -> str:
        return "".join(row["trade_id"] for row in ledger.paper.positions(**filters))

    assert found() == "12"
    assert found(states=()) == "12345"
    assert found(states=(), limit=2) == "45"
    assert found(symbols=["ETHUSDT"]) == "2"
    assert found(states=("closed",), strategies=["trend"]) == "3"
    assert found(states=(), signal_ids=["s"]) == "3"
    assert found(venue="elsewhere") == ""
    assert ledger.paper.skipped(VENUE) == {"no room under a limit": 2}


def test_days_are_kept_as_they_were_first_said(ledger: Ledger) -> None:
    """What was told once is not told otherwise."""
    store(ledger, day())
    store(ledger, day(won=0), day(day_ms=DAY_MS - 86_400_000))
    assert [(row["day_ms"], row["won"]) for row in ledger.paper.days(VENUE)] == [(DAY_MS - 86_400_000, 1), (DAY_MS, 1)]


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_money_is_written_with_all_its_digits(value: Decimal) -> None:
    """And without an exponent, whatever it was worked out as."""
    assert Decimal(decimal_text(value)) == value
    assert "E" not in decimal_text(value)
    assert decimal_text(Decimal("1E+3")) == "1000"
    assert decimal_text(Decimal("1.50")) == "1.5"
    assert decimal_text(Decimal(100)) == "100"
