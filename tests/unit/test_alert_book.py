"""What is told of paper trading: which effects, in which words, to whom, and each of them once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from book_samples import DAY_MS, MINUTE_MS, SIGNAL_ID, account, day, ended, fill, paused, position
from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, worded
from tapewatch.channels.writer import Writer
from tapewatch.config import load
from tapewatch.config.alerts import Route
from tapewatch.live.messages import PRIORITY_BOOK, PRIORITY_LATE, PRIORITY_OPERATOR, PRIORITY_SIGNAL
from tapewatch.live.telling import Teller, teller_of
from tapewatch.model import Effect, EntriesPaused, EntriesResumed
from tapewatch.store import Ledger, Notice, Step

EVERYTHING = frozenset({"entry", "partial", "exit", "summary", "follow_up"})
HALF = {"held": Decimal("0.0075"), "gross": Decimal("1.65"), "fees": Decimal("1.5096")}
#: A position's life, a pause, and what a day brought.
LIFE: list[Effect] = [
    fill(),
    position(),
    account(),
    fill(1),
    position(**HALF),
    account(),
    fill(2),
    position("closed"),
    account(open=0, equity=Decimal("10002.93445")),
    paused(),
    EntriesResumed(CLOSE_MS, DAY_MS + 86_400_000),
    day(),
    account(open=0),
    ended(),
]


def teller(*routes: Route, kinds: frozenset[str] = EVERYTHING, zone: str = "UTC") -> Teller:
    """One that tells these kinds, by default to `out`."""
    return Teller(VENUE, routes or [Route(channels=["out"])], ZoneInfo(zone), kinds)


def told(effects: Sequence[Effect], **options: frozenset[str] | str) -> list[Notice]:
    """The alerts in words."""
    return teller(**options).tell(effects, 5)[0]  # type: ignore[arg-type]


def test_each_event_of_a_life_is_told_with_a_derived_id() -> None:
    """In order, with the signal each is about; the same effects give the same again."""
    notices = told(LIFE)
    assert [(one.kind, one.alert_id, one.signal_ids) for one in notices] == [
        ("entry", f"{SIGNAL_ID}/entry", (SIGNAL_ID,)),
        ("partial", f"{SIGNAL_ID}/partial/1", (SIGNAL_ID,)),
        ("exit", f"{SIGNAL_ID}/exit", (SIGNAL_ID,)),
        ("paused", f"{VENUE}/paper/paused/{CLOSE_MS}/{DAY_MS + 86_400_000}", ()),
        ("resumed", f"{VENUE}/paper/resumed/{DAY_MS + 86_400_000}", ()),
        ("summary", f"{VENUE}/paper/summary/{DAY_MS}", ()),
        ("follow_up", f"{SIGNAL_ID}/follow_up", (SIGNAL_ID,)),
    ]
    assert told(LIFE) == notices


@pytest.mark.parametrize("kind", sorted(EVERYTHING))
def test_what_is_not_asked_for_is_not_told(kind: str) -> None:
    """Pauses and their end always are."""
    always = {"paused", "resumed"}
    assert {one.kind for one in told(LIFE, kinds=EVERYTHING - {kind})} == (EVERYTHING - {kind}) | always
    assert {one.kind for one in told(LIFE, kinds=frozenset({kind}))} == {kind} | always


def test_subjects_say_it_all() -> None:
    """To be read on a telephone's screen."""
    assert [one.subject for one in told(LIFE)] == [
        "[BTC SCALP] LONG entry at 67020",
        "[BTC SCALP] LONG partial exit at target: 50% closed",
        "[BTC SCALP] LONG exit at target: +0.89 R",
        "[paper] Entries paused until 2025-05-21 00:00 UTC",
        "[paper] Entries go on",
        "[paper] 2025-05-20: +2.93 (+0.03%), 1 of 1 trade won",
        "[BTC SCALP] LONG: target touched at 67240",
    ]


def test_an_exit_in_words() -> None:
    """Why, at which price, in UTC and the user's zone, what it cost and brought, what the account has now."""
    exit_ = next(one for one in told(LIFE, zone="Europe/Berlin") if one.kind == "exit")
    assert exit_.text.splitlines() == [
        "Paper position: LONG BTCUSDT, scalp on 1m, closed at target.",
        "Entered: 0.015 BTC at 67020, 2025-05-20 14:07 UTC (16:07 CEST)",
        "Closed before: 0.0075 BTC",
        "Closed: 0.0075 BTC at 67460 (target), 2025-05-20 14:11 UTC (16:11 CEST), gross +3.30 USDT, fee 0.50 USDT",
        "Open: nothing of it",
        "Net: +2.93 USDT (gross +4.95, fees 2.02), +0.89 R",
        "Best and worst price: +2.00 R and -0.30 R",
        "Equity: 10,002.93 USDT, 0 positions open",
        f"Trade: {SIGNAL_ID}",
    ]


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("stop", "stop"),
        ("time", "its time limit"),
        ("opposite", "an opposite signal"),
        ("break_even", "its break-even stop"),
        ("trailing_stop", "its trailing stop"),
        ("liquidation", "liquidation"),
        ("gone", "its last close"),
    ],
)
def test_an_exit_says_why(reason: str, words: str) -> None:
    """In words, with a loss as a loss."""
    gross, quantity = Decimal("-3.3"), Decimal("0.015")
    closed = position("closed", reason=reason, gross=gross, r=-1.2345, side="short")
    [exit_] = told([fill(1, reason=reason, gross=gross, quantity=quantity), closed])
    assert exit_.subject == f"[BTC SCALP] SHORT exit at {words}: -1.23 R"
    assert "Net: -5.32 USDT (gross -3.30, fees 2.02), -1.23 R\n" in exit_.text
    assert "Closed before" not in exit_.text
    assert "Equity" not in exit_.text


def test_what_came_late_says_from_which_candles_it_was_settled() -> None:
    """And whether a candle touched both; its messages go last."""
    fills = [fill(1, late=True), fill(2, late=True, ms=CLOSE_MS + 3 * MINUTE_MS)]
    notices, messages = teller().tell([*fills, position("closed", ambiguous=True)], 5)
    assert notices[0].late
    assert "Settled from candles of 2025-05-20 14:09 to 14:11 UTC, which came late, as after a downtime." in (
        notices[0].text
    )
    assert "A candle touched stop and target; the stop is assumed to have come first." in notices[0].text
    assert [one.priority for one in messages] == [PRIORITY_LATE]


def test_a_life_of_one_candle_is_told_as_entry_and_exit() -> None:
    """Both fills of the same event."""
    notices = told([fill(), fill(1, quantity=Decimal("0.015")), position("closed")])
    assert [one.kind for one in notices] == ["entry", "exit"]
    assert notices[1].text.count("Closed: ") == 1


def test_what_only_changed_is_not_told() -> None:
    """A position that pends, is marked anew or was skipped; the account alone."""
    quiet = [position("pending"), position(), position("skipped", reason="no room under a limit"), account()]
    assert told(quiet) == []


@pytest.mark.parametrize(
    ("closed", "won", "said"), [(0, 0, "no trade closed"), (1, 1, "1 of 1 trade won"), (3, 1, "1 of 3 trades won")]
)
def test_a_summarys_subject_counts_trades(closed: int, won: int, said: str) -> None:
    """In words that fit the number."""
    (one,) = told([day(closed=closed, won=won)])
    assert one.subject.endswith(f", {said}")


def test_a_summary_in_words() -> None:
    """Its trades, what they brought and cost, and the account since it began."""
    [summary] = told([day(funding=Decimal("0.004"), open=2), account(equity=Decimal(10_100))])
    assert summary.text.splitlines() == [
        "Paper account, the UTC day 2025-05-20, which ended 2025-05-21 00:00 UTC.",
        "Trades: 1 closed, 1 won; 2 entered",
        "Equity: 10,002.93, +2.93 (+0.03%) since the day began",
        "Closed and paid: gross +4.95, fees 2.02, funding 0.004, net +2.93",
        "Open: 2 positions",
        "Since 2025-05-20 00:00 UTC: +100.00 (+1.00%)",
    ]


def test_a_pause_says_what_and_until_when() -> None:
    """And that signals go on."""
    [pause] = told([paused()], zone="Asia/Tokyo")
    assert pause.text.splitlines() == [
        "A protection of the paper account (daily_loss) pauses entries: closed trades leave it with 9,680.00, "
        "it had 10,000.00 when the UTC day began (-3.20%).",
        "Since: 2025-05-20 14:07 UTC (23:07 JST)",
        "Until: 2025-05-21 00:00 UTC (09:00 JST)",
        "Signals are told as before, open positions live on.",
    ]


@pytest.mark.parametrize(
    ("pause", "says"),
    [
        (paused(why="losses", lost=5), "(losses) pauses entries: 5 positions lost in a row.\n"),
        (paused(why="losses", lost=1), "(losses) pauses entries: 1 position lost in a row.\n"),
        (
            paused(why="max_drawdown", realised=8_500.0),
            "entries: closed trades leave it with 8,500.00, it had 10,000.00 at its peak (-15.00%).\n",
        ),
    ],
)
def test_each_protection_has_its_numbers(pause: EntriesPaused, says: str) -> None:
    """What it counts."""
    assert says in told([pause])[0].text


def test_a_follow_up_names_its_alert() -> None:
    """Touched, or over; late where its candle was."""
    [stop] = told([ended(result="stop", late=True, ambiguous=True)])
    assert stop.late
    assert stop.text.splitlines() == [
        "LONG BTCUSDT, scalp on 1m: stop touched.",
        "Price: 67240",
        "In: the candle of 2025-05-20 14:09 UTC, which came late, as after a downtime",
        "That candle touched stop and target; the stop is assumed to have come first.",
        f"Alert: {VENUE}/BTCUSDT/1m/{CLOSE_MS}",
    ]
    assert told([ended(result="time")])[0].subject == "[BTC SCALP] LONG: time is over at 67240"
    assert told([ended(state="blocked")]) == []


def test_routes_choose_who_hears_of_a_position_and_all_hear_of_the_account() -> None:
    """By strategy and symbol, as for signals; each channel once."""
    routes = [
        Route(channels=["all", "twice"]),
        Route(channels=["trend"], strategies=["trend"]),
        Route(channels=["eth"], symbols=["ETH*"]),
        Route(channels=["btc", "twice"], symbols=["BTC*"], strategies=["scalp"]),
    ]
    _, messages = teller(*routes).tell([*LIFE, alert_of(signal())], 5)
    heard: dict[str, list[str]] = {}
    for one in messages:
        heard.setdefault(one.kind, []).append(one.channel)
    for kind in ("signal", "entry", "partial", "exit", "follow_up"):
        assert heard[kind] == ["all", "twice", "btc"], kind
    for kind in ("summary", "paused", "resumed"):
        assert heard[kind] == ["all", "twice", "trend", "eth", "btc"], kind
    assert PRIORITY_SIGNAL < PRIORITY_BOOK < PRIORITY_OPERATOR < PRIORITY_LATE
    assert {one.priority for one in messages if one.kind == "exit"} == {PRIORITY_BOOK}


def test_what_may_have_been_told_before_says_so() -> None:
    """All messages of such a step, those of signals too."""
    _, messages = teller().tell([*LIFE, alert_of(signal())], 5, possible_repeat=True)
    assert len(messages) == 8
    assert all(one.possible_repeat for one in messages)
    assert not any(one.possible_repeat for one in teller().tell(LIFE, 5)[1])


def test_it_is_stored_once_and_read_back(tmp_path: Path) -> None:
    """With its kind and the signal it is about; said again, nothing changes."""
    ledger = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    for now_ms in (5, 6):
        notices, messages = teller().tell(LIFE, now_ms)
        ledger.commit_step(Step(VENUE, LIFE, messages, notices=notices))
    alerts = ledger.alerts()
    assert len(alerts) == 7
    assert {one["created_ms"] for one in alerts} == {5}
    exit_ = next(one for one in alerts if one["kind"] == "exit")
    assert (exit_["signal_ids"], exit_["late"], len(exit_["messages"])) == ([SIGNAL_ID], False, 1)
    taken = [ledger.outbox.take(one.message_id, 10) for one in ledger.outbox.waiting("out", 10, 100)]
    due = [one for one in taken if one is not None]
    assert {one.message.kind for one in due} == EVERYTHING | {"paused", "resumed"}
    assert all(one.alert.signals == () and one.alert.text for one in due)
    ledger.close()


def test_the_configuration_says_what_is_told(tmp_path: Path) -> None:
    """Exits alone by default; nothing of positions without an account."""
    path = tmp_path / "t.yaml"
    base = "universe: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\nalerts: {time_zone: Asia/Tokyo}\n"
    for paper, kinds in [("", set()), ("paper: {}", {"exit"}), ("paper: {alerts: {entry: true}}", {"entry", "exit"})]:
        path.write_text(base + paper, encoding="utf-8")
        found = teller_of(load([path], {}))
        assert (found.kinds, str(found.zone), found.venue) == (kinds, "Asia/Tokyo", VENUE)
    path.write_text(base.replace("Tokyo}", "Tokyo, follow_up: true}"), encoding="utf-8")
    assert teller_of(load([path], {})).kinds == {"follow_up"}


def test_a_late_message_in_words_says_so() -> None:
    """In its subject and its text, as plain lines and HTML; hostile text stays text."""
    exit_ = worded("Exit\x1b[2J", "a <b>\nb", kind="exit")
    written = Writer(UTC).write(exit_, "html", late="this alert waited 7 min.", repeat=True)
    assert written.subject == "Exit [2J (late)"
    late, repeat, *lines = written.text.splitlines()
    assert (late, lines) == ("Late: this alert waited 7 min.", ["a <b>", "b"])
    assert repeat.startswith("Possible repeat")
    assert "a &lt;b&gt;" in written.body
