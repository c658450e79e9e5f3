"""What goes from a ledger with time, and what stays because something still needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import sqlalchemy

from command_line import Command
from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from ledger_rows import rows_of
from outcome_samples import outcome
from tapewatch.model import Bar, Judged, Outcome, Signal, Verdict
from tapewatch.store import Ledger, Message, Notice, Step, market, retention, schema
from tapewatch.store.retention import prune

DAY_MS = 86_400_000
NOW_MS = CLOSE_MS + 100 * DAY_MS
KEEP = {"alerts": 7 * DAY_MS, "corrections": 90 * DAY_MS}
NOTHING = dict.fromkeys(retention.TABLES, 0)
DELIVERED = ("alerts", "messages", "attempts")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A new ledger, whose newest alert was delivered just now."""
    opened = Ledger.open(ledger_url)
    deliver(opened, alert(opened, "NEWUSDT", NOW_MS))
    yield opened
    opened.close()


def alert(ledger: Ledger, symbol: str, at_ms: int, channels: tuple[str, ...] = ("out",)) -> str:
    """Store an alert with its messages; its id."""
    one = alert_of(signal(symbol, close_ms=at_ms))
    ledger.commit_step(step_of(one, channels=channels, created_ms=at_ms))
    return one.alert_id


def deliver(ledger: Ledger, alert_id: str, channel: str = "out", at_ms: int = CLOSE_MS) -> None:
    """Its message is sent."""
    assert ledger.outbox.take(f"{alert_id}@{channel}", at_ms) is not None
    ledger.outbox.mark_sent(f"{alert_id}@{channel}", at_ms + 5)


def left(ledger: Ledger) -> set[str]:
    """The ids of the alerts that are there."""
    return {one["alert_id"] for one in ledger.alerts()}


def pruned(ledger: Ledger, now_ms: int = NOW_MS, keep: Mapping[str, int | None] = KEEP) -> dict[str, int]:
    """What goes, and that a dry run had said so and removed nothing."""
    before = ledger.info()["rows"]
    said = prune(ledger._database, keep, now_ms, dry_run=True)
    assert ledger.info()["rows"] == before
    gone = prune(ledger._database, keep, now_ms)
    assert gone == said
    assert {name: before[name] - count for name, count in ledger.info()["rows"].items() if before[name] != count} == {
        name: count for name, count in gone.items() if count
    }
    return gone


def test_alerts_go_with_messages_and_attempts_when_they_are_old(ledger: Ledger) -> None:
    """Older than seven days to the millisecond; their signals stay, and so does what is younger."""
    over, young = NOW_MS - 7 * DAY_MS - 1, NOW_MS - 7 * DAY_MS
    gone = [alert(ledger, f"A{number}USDT", over - number) for number in range(retention.BATCH + 5)]
    kept = alert(ledger, "BUSDT", young)
    for one in (*gone, kept):
        deliver(ledger, one)
    signals = ledger.info()["rows"]["signals"]

    assert pruned(ledger) == NOTHING | dict.fromkeys(DELIVERED, retention.BATCH + 5)
    assert kept in left(ledger)
    assert ledger.info()["rows"]["signals"] == signals
    assert pruned(ledger) == NOTHING


@pytest.mark.parametrize("state", ["queued", "sending"])
def test_what_waits_on_any_channel_keeps_its_alert(ledger: Ledger, state: str) -> None:
    """However old it is; when that is delivered too, all of it goes."""
    old = alert(ledger, "AUSDT", CLOSE_MS, ("out", "mail"))
    deliver(ledger, old)
    if state == "sending":
        ledger.outbox.take(f"{old}@mail", CLOSE_MS)
    assert pruned(ledger) == NOTHING

    if state == "queued":
        ledger.outbox.take(f"{old}@mail", CLOSE_MS)
    ledger.outbox.mark_sent(f"{old}@mail", CLOSE_MS + 9)
    assert pruned(ledger) == NOTHING | {"alerts": 1, "messages": 2, "attempts": 2}


def test_a_digest_that_waits_keeps_its_members_and_they_keep_it(ledger: Ledger) -> None:
    """Members are needed to write it; a member that waits on another channel still names it."""
    one, two = (alert(ledger, symbol, CLOSE_MS, ("out", "mail")) for symbol in ("AUSDT", "BUSDT"))
    digest = Notice("digest/1", "2 alerts", "", CLOSE_MS + 5, "digest")
    message = Message("digest/1", "out", CLOSE_MS + 5, "digest", 0)
    ledger.outbox.fold(digest, message, [f"{one}@out", f"{two}@out"])
    for member in (one, two):
        deliver(ledger, member, "mail")
    assert pruned(ledger) == NOTHING

    with ledger._database.write() as connection:
        mail = schema.messages.c.message_id == f"{one}@mail"
        connection.execute(sqlalchemy.update(schema.messages).where(mail).values(state="queued"))
    deliver(ledger, "digest/1")
    assert pruned(ledger)["alerts"] == 1
    assert {one, "digest/1"} < left(ledger)
    with ledger._database.write() as connection:
        connection.execute(sqlalchemy.update(schema.messages).where(mail).values(state="dead"))
    assert pruned(ledger)["alerts"] == 2
    assert left(ledger) & {one, two, "digest/1"} == set()


def test_an_alert_that_no_channel_got_is_as_old_as_the_exchange_says(ledger: Ledger) -> None:
    """It has no time of this machine: it goes when alerts that are so much newer came."""
    alert(ledger, "AUSDT", NOW_MS - 8 * DAY_MS, ())
    kept = alert(ledger, "BUSDT", NOW_MS - 6 * DAY_MS, ())
    assert pruned(ledger) == NOTHING | {"alerts": 1}
    assert kept in left(ledger)


def test_a_clock_that_is_years_ahead_removes_nothing(ledger: Ledger) -> None:
    """Age is counted from the newest of its kind."""
    deliver(ledger, alert(ledger, "AUSDT", NOW_MS - 6 * DAY_MS))
    assert pruned(ledger, NOW_MS + 3_000 * DAY_MS) == NOTHING


def test_corrections_go_after_their_time(ledger: Ledger) -> None:
    """Of which nothing is decided."""
    row = {"venue": VENUE, "symbol": "BTCUSDT", "interval_ms": 60_000, "open_ms": 0, "before": "{}", "after": "{}"}
    with ledger._database.write() as connection:
        times = (NOW_MS - 90 * DAY_MS - 1, NOW_MS - 90 * DAY_MS, NOW_MS)
        connection.execute(sqlalchemy.insert(schema.corrections), [row | {"recv_ms": at} for at in times])
    assert pruned(ledger) == NOTHING | {"corrections": 1}


def test_what_is_queued_again_meanwhile_stays(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the removal, a resend puts one back."""
    old = [alert(ledger, f"A{number}USDT", CLOSE_MS + number) for number in range(2)]
    for one in old:
        deliver(ledger, one)
    monkeypatch.setattr(retention, "BATCH", 1)
    again = sqlalchemy.update(schema.messages).where(schema.messages.c.alert_id == old[1]).values(state="queued")

    def resent(_seconds: float) -> None:
        with ledger._database.write() as connection:
            connection.execute(again)

    monkeypatch.setattr(retention.time, "sleep", resent)
    assert prune(ledger._database, KEEP, NOW_MS) == NOTHING | {"alerts": 1, "messages": 1, "attempts": 1}
    assert old[1] in left(ledger)


def test_a_stop_leaves_the_rest_for_later(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with the transaction at hand."""
    monkeypatch.setattr(retention, "BATCH", 2)
    for number in range(5):
        deliver(ledger, alert(ledger, f"A{number}USDT", CLOSE_MS + number))
    asked = iter([False, False, True])
    assert ledger.prune(KEEP, NOW_MS, lambda: next(asked, True))["alerts"] == 4


def test_the_command_says_what_goes_and_gives_the_space_back(run: Command, tmp_path: Path) -> None:
    """As the configuration keeps it; while a run is on, the file is not written anew."""
    config = tmp_path / "tapewatch.yaml"
    config.write_text(
        "universe: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\n"
        "ledger: {url: 'sqlite:///tapewatch.db', keep: {alerts: 30d}}\n"
    )
    ledger = Ledger.open(f"sqlite:///{tmp_path}/tapewatch.db")
    for age in (0, 29, 31):
        for number in range(20):
            deliver(ledger, alert(ledger, f"A{age}X{number}USDT", NOW_MS - age * DAY_MS))
    found = (
        "rows: 20 of alerts, 20 of messages, 20 of attempts, 0 of signals, 0 of market_data, 0 of market_snapshots, "
        "0 of outcomes, 0 of daily_metrics, 0 of figures, 0 of corrections, 0 of configurations"
    )
    assert run("db", "prune", "--dry-run", "-c", config) == (0, [f"would remove {found}"], "")
    lease = ledger.lease()
    assert "is in use by process" in run.refused("db", "prune", "--vacuum", "-c", config)
    assert run("db", "prune", "-c", config) == (0, [f"removed {found}"], "")
    lease.release()
    ledger.close()
    before = (tmp_path / "tapewatch.db").stat().st_size

    code, lines, err = run("db", "prune", "--vacuum", "-c", config)
    assert (code, len(lines), err) == (0, 2, "")
    assert (tmp_path / "tapewatch.db").stat().st_size < before
    assert "not with --dry-run" in run.refused("db", "prune", "--vacuum", "--dry-run", "-c", config)


@pytest.fixture
def candidates(ledger_url: str) -> Iterator[Ledger]:
    """A new ledger with blocked candidates of a hundred days, one a day, all but one of which have ended."""
    opened = Ledger.open(ledger_url)
    for day in reversed(range(100)):
        one = candidate(f"S{day}USDT", NOW_MS - day * DAY_MS)
        ends = [] if day == 95 else [outcome_of(one)]
        judged = Judged(one, "blocked", False, 5, None, bar_of(one))
        opened.commit_step(Step(VENUE, [judged, *ends]))
        opened.market.found([judged])
    yield opened
    opened.close()


def candidate(symbol: str, close_ms: int) -> Signal:
    """One that the gate blocked for its spread."""
    return signal(symbol, close_ms=close_ms, verdicts=(Verdict("spread", passed=False, reason="too wide"),))


def bar_of(one: Signal) -> Bar:
    """A candle that closes as its signal does."""
    return Bar(one.symbol, 60_000, one.open_ms, one.entry, one.entry, one.entry, one.entry, 5.0)


def outcome_of(one: Signal) -> Outcome:
    """It touched its target."""
    return outcome(
        3, symbol=one.symbol, strategy=one.strategy, signal_id=one.id, state="blocked", close_ms=one.close_ms
    )


def test_signals_go_with_what_belongs_to_them(candidates: Ledger) -> None:
    """Their candle and their snapshot; the outcome stays, for records, and says itself what blocked it.

    It may go later, but never before its signal, which would be followed again.
    """
    before = [one.checks for one in candidates.scores.ended()]
    assert pruned(candidates, keep={"signals": 90 * DAY_MS}) == NOTHING | {
        "signals": 8, "market_data": 8, "market_snapshots": 8
    }  # fmt: skip
    assert before == [("spread",)] * 99
    assert [one.checks for one in candidates.scores.ended()] == before
    assert pruned(candidates, keep={"signals": 90 * DAY_MS, "outcomes": 30 * DAY_MS}) == NOTHING | {"outcomes": 8}
    left = {one["symbol"] for one in candidates.stored_signals()}
    assert left == {f"S{day}USDT" for day in (*range(91), 95)}  # the one that is followed stays, however old it is


def test_a_candle_stays_as_long_as_another_candidate_is_of_it(candidates: Ledger) -> None:
    """Both strategies found one on it, and one of the two is followed still."""
    close_ms = NOW_MS - 98 * DAY_MS
    other = signal("S98USDT", strategy="trend", close_ms=close_ms)
    judged = Judged(other, "blocked", False, 5, None, bar_of(other))
    candidates.commit_step(Step(VENUE, [judged]))
    candidates.market.found([judged])
    gone = pruned(candidates, keep={"signals": 97 * DAY_MS})
    assert (gone["signals"], gone["market_data"], gone["market_snapshots"]) == (2, 1, 2)


def test_signals_of_alerts_and_of_open_positions_stay(ledger: Ledger) -> None:
    """An alert is written from its signals; when it has gone they may go."""
    old = alert(ledger, "AUSDT", CLOSE_MS)
    deliver(ledger, old)
    one = signal("AUSDT", close_ms=CLOSE_MS)
    newer = Judged(candidate("BUSDT", CLOSE_MS), "blocked", False, 5, None)
    ledger.commit_step(Step(VENUE, [outcome_of(one), newer]))
    keep: dict[str, int | None] = {"signals": DAY_MS}
    assert pruned(ledger, keep=keep) == NOTHING
    assert pruned(ledger)["alerts"] == 1
    with ledger._database.write() as connection:
        connection.execute(sqlalchemy.insert(schema.trades).values(trade_row(one.id)))
    assert pruned(ledger, keep=keep) == NOTHING
    with ledger._database.write() as connection:
        connection.execute(sqlalchemy.update(schema.trades).values(state="closed"))
    assert pruned(ledger, keep=keep)["signals"] == 1


def trade_row(signal_id: str) -> dict[str, object]:
    """An open position."""
    words = dict.fromkeys(("targets", "saved"), "[]") | dict.fromkeys(
        ("quantity", "held", "gross", "fees", "funding"), "0"
    )
    about = {
        "trade_id": f"{signal_id}/trade",
        "signal_id": signal_id,
        "venue": VENUE,
        "symbol": "AUSDT",
        "state": "open",
    }
    kind = {"strategy": "scalp", "side": "long", "timeframe": "1m", "decided_ms": 1, "at_ms": 1, "ambiguous": False}
    return about | kind | words


def test_the_newest_signal_never_goes(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the next one would have its number again; newest is the one that was stored last, whatever its bar."""
    last = candidate("OLDUSDT", CLOSE_MS)
    ledger.commit_step(Step(VENUE, [Judged(last, "blocked", False, 5, None), outcome_of(last)]))
    assert pruned(ledger, keep={"signals": DAY_MS}) == NOTHING
    newer = candidate("OLDUSDT", CLOSE_MS + 60_000)
    ledger.commit_step(Step(VENUE, [Judged(newer, "blocked", False, 5, None), outcome_of(newer)]))
    monkeypatch.setattr(retention, "BATCH", 1)
    assert pruned(ledger, keep={"signals": DAY_MS})["signals"] == 1
    assert [row["number"] for row in rows_of(ledger, schema.signals, "number")] == [1, 3]


@pytest.mark.parametrize(
    ("key", "table", "when", "same"),
    [
        ("figures", schema.figures, "at_ms", {"started_ms": 1, "body": b""}),
        ("snapshots", market.market_snapshots, "at_ms", {"venue": VENUE, "symbol": "A", "signal_id": ""}),
        ("configurations", schema.configurations, "last_ms", {"hash": "", "first_ms": 1, "version": "", "body": "{}"}),
    ],
)
def test_rows_go_by_their_age(
    ledger: Ledger, key: str, table: sqlalchemy.Table, when: str, same: dict[str, object]
) -> None:
    """Older than asked, counted from the newest; and none where nothing is asked."""
    times = (NOW_MS - DAY_MS - 1, NOW_MS - DAY_MS, NOW_MS)
    numbered = [{"number": number} if "number" in table.c else {} for number in range(len(times))]
    with ledger._database.write() as connection:
        rows = [same | number | {when: at_ms} for at_ms, number in zip(times, numbered, strict=True)]
        connection.execute(sqlalchemy.insert(table), rows)
    assert pruned(ledger, keep={key: None}) == NOTHING
    assert pruned(ledger, keep={key: DAY_MS}) == NOTHING | {table.name: 1}


def test_a_configuration_that_is_applied_stays(ledger: Ledger) -> None:
    """However long ago a run began with it."""
    ledger.configurations.applied({"a": 1}, "1", 5)
    ledger.configurations.applied({"a": 2}, "1", NOW_MS)
    ledger.configurations.applied({"a": 1}, "1", 7)  # a clock that was set back
    assert pruned(ledger, keep={"configurations": DAY_MS})["configurations"] == 1
    assert [one["config"] for one in ledger.configurations.history()] == [{"a": 2}, {"a": 1}]
