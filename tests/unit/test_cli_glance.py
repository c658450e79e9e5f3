"""What `status --watch` shows, in terminals of several sizes."""

from __future__ import annotations

from typing import Any

import pytest
from rich.text import Text

from book_samples import account
from book_samples import position as position_of
from delivery_samples import CLOSE_MS, signal
from tapewatch.cli.glance import Book, View, frame
from tapewatch.cli.status import summary
from tapewatch.store.paper import told_row
from tapewatch.telemetry.document import health_document
from tapewatch.telemetry.health import Health

T0 = CLOSE_MS + 60_000
SIGNAL = signal()


def health() -> Health:
    """A run that does its work."""
    known = Health(T0 - 3_600_000, ["BTCUSDT", "ETHUSDT"])
    known.connected()
    known.caught_up(T0 - 2_000)
    known.progress = (2, 2)
    known.parts["universe"] = lambda: {"watched": 2, "eligible": 1, "listed": 9, "left_out": {}}
    return known


def alert(number: int, **changes: Any) -> dict[str, Any]:
    """As `alerts ls --json` prints one."""
    message = {"channel": "mail", "state": "sent", "attempts": 1, "last_error": None}
    return {
        "alert_id": f"a{number}", "signal_ids": [SIGNAL.id], "kind": "signal", "created_ms": CLOSE_MS, "subject": None,
        "messages": [message],
    } | changes  # fmt: skip


def book(**changes: Any) -> Book:
    """An open position, an alert that was sent, one that was given up, and one of the operator's."""
    open_one = told_row("binance_spot", position_of(), []) | {"net": "-1.0053", "unrealised": "1.2", "risk": "4.5"}
    dead = {"channel": "chat", "state": "dead", "attempts": 5, "last_error": "410 Gone"}
    stored = {"entry": 67012.5, "symbol": "BTCUSDT", "side": "long", "strategy": "scalp", "timeframe": "1m"}
    values: dict[str, Any] = {
        "positions": [open_one],
        "alerts": [
            alert(1, signal_ids=[], kind="operator", subject="No candles come"),
            alert(2, messages=[dead]),
            alert(3),
        ],
        "signals": {SIGNAL.id: stored | {"outcome": {"result": "target"}}},
        "account": {
            name: str(getattr(account(), name)) for name in ("equity", "start_cash", "cash")
        } | {"open": 1, "paused_until_ms": 0, "paused_why": None},
        "drawdown_pct": (1.25, 3.5),
        "last_bars": {"BTCUSDT": ("1m", CLOSE_MS)},
    }  # fmt: skip
    return Book(**(values | changes))


def view(**changes: Any) -> View:
    """A run that works, with a ledger."""
    values: dict[str, Any] = {
        "found": summary(health_document(health(), T0, 50_000_000)),
        "ages_s": {"BTCUSDT": 3.0, "ETHUSDT": 190.0},
        "watched": {"BTCUSDT": {"symbol": "BTCUSDT", "price": 67100.5, "change_pct": -1.234}},
        "book": book(),
    }
    return View(T0, "binance_spot", **(values | changes))


def shown(lines: list[Text], width: int) -> list[str]:
    """As a terminal has them."""
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return [line.plain.rstrip() for line in lines]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 50), (300, 80), (40, 10), (10, 3), (1, 1)])
def test_it_fits_any_terminal(width: int, height: int) -> None:
    """Never more lines than there are, with hundreds of alerts and symbols too."""
    many = view(
        book=book(alerts=[alert(number) for number in range(300)], positions=list(book().positions) * 40),
        ages_s={f"S{number}USDT": number for number in range(2_000)},
    )
    for one in (many, view(), view(found=None, gone="nothing runs", book=None), View(T0, "binance_spot")):
        assert 0 < len(frame(one, T0, width, height)) <= height


def test_everything_at_a_glance_in_a_small_terminal() -> None:
    """State, freshness, account and drawdown, open positions, alerts with their delivery: in 80 columns."""
    lines = shown(frame(view(), T0, 80, 24), 80)
    assert lines[0].startswith("tapewatch ")
    assert lines[0].endswith("2025-05-20 14:08:00 UTC  q ends")
    assert lines[1] == "status    pass"
    assert "account   equity 10,000.19 (+0.19), 1 open, drawdown 1.25% (deepest 3.50%)" in lines
    assert "symbols   ETHUSDT (190 s ago), BTCUSDT 1m 14:07 67100.5 (3 s ago)" in lines
    first = lines.index("positions (1)")
    assert lines[first + 2].split() == [
        "BTCUSDT", "long", "scalp", "1m", "67020", "67100", "66800", "+1.20", "+0.19", "05-20", "14:07",
    ]  # fmt: skip
    sent, dead, told = [line.split()[2:] for line in lines[first + 5 : first + 8]]
    assert sent == ["BTCUSDT", "long", "scalp", "1m", "mail", "sent"]
    assert " ".join(dead) == "BTCUSDT long scalp 1m chat dead 5x (410 Gone)"
    assert told == ["No", "candles", "come", "mail", "sent"]
    assert "67012.5 → target  mail sent" in "\n".join(shown(frame(view(), T0, 119, 24), 119))


def test_in_a_wide_terminal_symbols_stand_beside() -> None:
    """The longest unheard first, marked where stale, with the last bar."""
    sick = health()
    sick.freshness["ETHUSDT"].seen_ms = T0 - 190_000
    lines = shown(frame(view(found=summary(health_document(sick, T0, 1))), T0, 140, 30), 140)
    at = next(number for number, line in enumerate(lines) if "symbols (2), the longest unheard first" in line)
    assert lines[at].startswith("positions (1)")
    assert lines[at + 2].split()[-4:] == ["ETHUSDT", "190", "s", "stale"]
    assert lines[at + 3].split()[-8:] == ["BTCUSDT", "67100.5", "-1.23%", "3", "s", "1m", "05-20", "14:07"]


def test_what_is_wrong_comes_first() -> None:
    """Its reasons stand above everything that is well, and leave room for positions and alerts."""
    sick = health()
    sick.disconnected()
    sick.ledger.error = "the disk is full"
    lines = shown(frame(view(found=summary(health_document(sick, T0, 1))), T0, 80, 24), 80)
    assert lines[1].startswith("status    fail: ")
    assert "check     fail  ledger:writable: the disk is full" in lines[2:7]
    assert any(line.startswith("positions") for line in lines)


def test_without_a_run_it_says_so_and_shows_the_ledger() -> None:
    """What is known of the account stays; a ledger that cannot be read is said, too."""
    lines = shown(frame(view(found=None, gone="nothing runs: x", ages_s={}), T0, 80, 24), 80)
    assert lines[1:3] == ["status    no run", "          nothing runs: x; asked again all the time"]
    assert any(line.startswith("account") for line in lines)
    lines = shown(frame(view(book=None, unread="no ledger yet"), T0, 80, 24), 80)
    assert "ledger    no ledger yet" in lines


def test_what_is_told_later_of_a_signal_is_not_taken_for_another() -> None:
    """It is named what it is."""
    lines = shown(frame(view(book=book(alerts=[alert(1), alert(2, kind="follow_up")])), T0, 120, 24), 120)
    assert [" ".join(line.split()[2:5]) for line in lines if "mail sent" in line] == [
        "BTCUSDT follow up",
        "BTCUSDT long scalp",
    ]


def test_what_is_old_is_called_old() -> None:
    """Where whoever is asked takes long."""
    assert "old" not in frame(view(), T0 + 4_000, 80, 24)[0].plain
    assert "  9 s old  2025-05-20 14:08:09 UTC  q ends" in frame(view(), T0 + 9_000, 80, 24)[0].plain


def test_names_cannot_move_the_cursor() -> None:
    """A control character in a symbol or an error is shown as a question mark."""
    evil = alert(1, messages=[{"channel": "m", "state": "dead", "attempts": 1, "last_error": "\x1b[2Jgone\r\n"}])
    positions = [dict(book().positions[0]) | {"symbol": "A\x1b]0;x\x07USDT"}]
    lines = frame(view(book=book(alerts=[evil], positions=positions), ages_s={"\x1b[1mB": 1.0}), T0, 200, 40)
    text = "".join(line.plain for line in lines)
    assert text.isprintable()
    assert "A?]0;x?USDT" in text
