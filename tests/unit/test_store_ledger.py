from __future__ import annotations

import math
import time
from collections.abc import Iterator

import msgspec
import pytest
from sqlalchemy import Table, select

from core_samples import bar
from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from ledger_rows import rows_of
from outcome_samples import outcome
from tapewatch.model import MINUTE_MS, BarDone, BarIgnored, Correction, Judged, LastPassed, Rest, Target
from tapewatch.store import Ledger, Message, Notice, SeriesState, Step, Trouble, schema


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(ledger_url)
    yield opened
    opened.close()


def test_a_step_is_read_back_as_it_was_stored(ledger: Ledger) -> None:
    """Signals, alerts, the gate's state and the last bars come back from one step."""
    first = signal()
    ledger.commit_step(step_of(alert_of(first)))

    [stored] = ledger.stored_signals()
    assert stored == msgspec.json.decode(msgspec.json.encode(first)) | {
        "state": "passed",
        "late": False,
        "recv_ms": CLOSE_MS + 120,
        "alert_id": "binance_spot/BTCUSDT/1m/1747750020000",
        "outcome": None,
    }
    assert ledger.gate_passed(VENUE) == [LastPassed("BTCUSDT", "scalp", "1m", "long", CLOSE_MS, 67012.5)]
    assert ledger.series_states(VENUE) == [
        SeriesState("BTCUSDT", 60_000, CLOSE_MS - 60_000, CLOSE_MS - 60_000),
    ]
    [alert] = ledger.alerts()
    assert alert["signal_ids"] == [first.id]
    assert alert["messages"] == [
        {
            "message_id": "binance_spot/BTCUSDT/1m/1747750020000@out",
            "channel": "out",
            "state": "queued",
            "attempts": 0,
            "sent_ms": None,
            "possible_repeat": False,
            "digest_id": None,
            "last_error": None,
            "fallback_of": None,
        }
    ]


def test_storing_a_step_twice_is_storing_it_once(ledger: Ledger) -> None:
    """A step that is committed again changes nothing, not even the state of a message already sent."""
    step = step_of(alert_of(signal(), signal(strategy="trend")), alert_of(signal("ETHUSDT")), channels=("out", "mail"))
    ledger.commit_step(step)
    ledger.outbox.take("binance_spot/BTCUSDT/1m/1747750020000@out", 5)
    ledger.outbox.mark_sent("binance_spot/BTCUSDT/1m/1747750020000@out", 6)
    before = (ledger.info(), ledger.alerts(), list(ledger.stored_signals()))

    ledger.commit_step(step)

    assert (ledger.info(), ledger.alerts(), list(ledger.stored_signals())) == before
    assert ledger.info()["rows"]["messages"] == 4


def test_the_last_bar_of_a_series_never_moves_back(ledger: Ledger) -> None:
    """Late or repeated notices of older bars leave the last processed bar and the series' start as they are."""
    ledger.commit_step(Step(VENUE, series=[SeriesState("BTCUSDT", 60_000, 1_000)]))
    assert ledger.series_states(VENUE) == [SeriesState("BTCUSDT", 60_000, 1_000, None)]

    ledger.commit_step(Step(VENUE, [BarDone("BTCUSDT", 60_000, 9_000), BarDone("BTCUSDT", 60_000, 8_000)]))
    ledger.commit_step(Step(VENUE, [BarDone("BTCUSDT", 60_000, 7_000), BarIgnored("BTCUSDT", 60_000, 99_000)]))
    ledger.commit_step(Step(VENUE, series=[SeriesState("BTCUSDT", 60_000, 2_000)]))

    assert ledger.series_states(VENUE) == [SeriesState("BTCUSDT", 60_000, 2_000, 9_000)]
    assert ledger.series_states("elsewhere") == []


def test_the_gates_state_keeps_the_newest_of_each_key(ledger: Ledger) -> None:
    """Only a later signal replaces the last one that passed under its key."""
    newer, older = (LastPassed("BTCUSDT", "scalp", "1m", "long", close_ms, close_ms / 10) for close_ms in (200, 100))
    short = LastPassed("BTCUSDT", "scalp", "1m", "short", 150, 1.5)
    ledger.commit_step(Step(VENUE, [newer, short]))
    ledger.commit_step(Step(VENUE, [older]))

    assert ledger.gate_passed(VENUE) == [newer, short]


def test_the_gate_hears_of_the_stops_of_what_passed_last(ledger: Ledger) -> None:
    """Those a run has seen of signals that passed, each with the close of the candle that touched it."""
    one = outcome(3, hit=False, symbol="AAAUSDT")
    blocked, gained = outcome(3, hit=False, symbol="BBBUSDT", state="blocked"), outcome(3, symbol="CCCUSDT")
    computed, older = outcome(3, hit=False, symbol="DDDUSDT"), outcome(2, hit=False, symbol="AAAUSDT")
    for end in (older, one, blocked, gained, computed):
        passed = LastPassed(end.symbol, end.strategy, end.timeframe, end.side, end.close_ms, 100.0)
        ledger.commit_step(Step(VENUE, [passed] if end is computed else [passed, end]))
    ledger.outcomes.backfill(VENUE, [computed], {}, {})

    assert ledger.gate_stopped(VENUE, MINUTE_MS) == [Rest("AAAUSDT", "scalp", one.close_ms, one.ms + MINUTE_MS)]
    assert ledger.gate_stopped("elsewhere", MINUTE_MS) == []


def test_numbers_that_are_none_and_foreign_letters_survive(ledger: Ledger) -> None:
    """NaN comes back as null in lines and as NaN in the alert to send; names may have any letters."""
    odd = signal(
        "币安人生USDT",
        strategy="naïve 🚀",
        atr=math.nan,
        targets=(Target(math.nan, 100.0),),
        indicators={"x": math.nan},
    )
    ledger.commit_step(step_of(alert_of(odd)))

    [stored] = ledger.stored_signals(symbols=["币安人生USDT"])
    assert (stored["atr"], stored["indicators"], stored["strategy"]) == (None, {"x": None}, "naïve 🚀")
    due = ledger.outbox.take(f"{alert_of(odd).alert_id}@out", CLOSE_MS)
    assert due is not None
    assert math.isnan(due.alert.signals[0].atr)
    assert math.isnan(due.alert.signals[0].targets[0].price)
    assert msgspec.json.encode(due.alert.signals[0]) == msgspec.json.encode(odd)


def test_stored_signals_are_filtered_and_ordered(ledger: Ledger) -> None:
    """Every filter narrows the list, times are [from, to), and the order is that of the offline command."""
    later = CLOSE_MS + 60_000
    signals = [
        signal("ETHUSDT"),
        signal("BTCUSDT", strategy="trend"),
        signal("BTCUSDT"),
        signal("BTCUSDT", close_ms=later),
        signal("BTCUSDT", timeframe="5m", side="short"),
    ]
    judged = [Judged(each, "passed" if each.side == "long" else "blocked", False, 1, None) for each in signals]
    ledger.commit_step(Step(VENUE, judged))

    def found(**filters: object) -> list[str]:
        return [
            f"{line['symbol'][:3]} {line['strategy']} {line['timeframe']} {line['close_ms'] - CLOSE_MS}"
            for line in ledger.stored_signals(**filters)  # type: ignore[arg-type]
        ]

    everything = ["BTC scalp 1m 0", "BTC scalp 5m 0", "BTC trend 1m 0", "ETH scalp 1m 0", "BTC scalp 1m 60000"]
    assert found() == everything
    assert found(venue=VENUE) == everything
    assert found(venue="elsewhere") == []
    assert found(symbols=["ETHUSDT"]) == ["ETH scalp 1m 0"]
    assert found(strategies=["trend", "nothing"]) == ["BTC trend 1m 0"]
    assert found(timeframes=["5m"]) == ["BTC scalp 5m 0"]
    assert found(from_ms=later) == ["BTC scalp 1m 60000"]
    assert found(to_ms=later) == everything[:-1]
    assert found(state="blocked") == ["BTC scalp 5m 0"]


def test_alerts_can_be_limited_to_the_newest_and_to_a_state(ledger: Ledger) -> None:
    """A limit keeps the newest, a state those with a message in it; the oldest comes first."""
    alerts = [alert_of(signal(close_ms=CLOSE_MS + place * 60_000)) for place in range(4)]
    ledger.commit_step(step_of(*alerts))
    ledger.outbox.take(f"{alerts[1].alert_id}@out", 5)
    ledger.outbox.mark_failed(f"{alerts[1].alert_id}@out", 6, "550 no", next_ms=None)

    assert [line["alert_id"] for line in ledger.alerts()] == [alert.alert_id for alert in alerts]
    assert [line["alert_id"] for line in ledger.alerts(limit=2)] == [alert.alert_id for alert in alerts[2:]]
    [dead] = ledger.alerts(state="dead")
    assert dead["alert_id"] == alerts[1].alert_id
    assert dead["messages"][0]["last_error"] == "550 no"


def test_an_alert_to_the_operator_has_text_and_no_signals(ledger: Ledger) -> None:
    """A notice is stored with its messages and comes out as an alert of kind operator."""
    notice = Notice("operator/feed/5", "Connection lost", "No data for 75 s.\nStill trying.", 5)
    ledger.commit_step(Step(VENUE, notices=[notice], messages=[Message("operator/feed/5", "mail", 5, "operator")]))

    [alert] = ledger.alerts()
    assert (alert["kind"], alert["signal_ids"], alert["subject"]) == ("operator", [], "Connection lost")
    due = ledger.outbox.take("operator/feed/5@mail", 5)
    assert due is not None
    assert (due.alert.subject, due.alert.text, due.alert.signals) == (notice.subject, notice.text, ())


def test_a_second_ledger_on_it_sees_what_was_committed(ledger: Ledger, ledger_url: str) -> None:
    """Another process can read while the first has the ledger open, and a reopened ledger has everything."""
    ledger.commit_step(step_of(alert_of(signal())))
    other = Ledger.open(ledger_url, create=False)

    assert len(other.alerts()) == 1
    assert other.info()["messages"] == {"queued": 1}
    other.close()


@pytest.mark.alone
def test_a_step_of_a_whole_exchange_commits_within_50_ms(ledger: Ledger) -> None:
    """2,000 bars with 20 alerts are on disk in under 50 ms, in the best of five steps."""
    times = []
    for minute in range(5):
        close_ms = CLOSE_MS + minute * 60_000
        bars = [BarDone(f"SYM{place}USDT", 60_000, close_ms) for place in range(2_000)]
        raised = step_of(*(alert_of(signal(f"SYM{place}USDT", close_ms=close_ms)) for place in range(20)))
        step = Step(VENUE, [*bars, *raised.effects], raised.messages)
        started = time.perf_counter()
        ledger.commit_step(step)
        times.append(time.perf_counter() - started)

    assert min(times) < 0.05
    assert len(ledger.series_states(VENUE)) == 2_000


def test_what_passed_since_a_moment_is_every_passed_signal_after_it(ledger: Ledger) -> None:
    """Of one venue, all symbols and strategies; neither blocked ones nor those at or before the moment."""
    minutes = [signal(close_ms=CLOSE_MS + k * 60_000) for k in range(3)]
    other = signal("ETHUSDT", strategy="trend", close_ms=CLOSE_MS + 60_000)
    ledger.commit_step(step_of(*(alert_of(one) for one in (*minutes, other))))
    blocked = signal("BNBUSDT", close_ms=CLOSE_MS + 60_000)
    ledger.commit_step(Step(VENUE, [Judged(blocked, "blocked", False, CLOSE_MS, None)]))
    since = {(one.symbol, one.strategy, one.close_ms - CLOSE_MS) for one in ledger.passed_since(VENUE, CLOSE_MS)}

    assert since == {("BTCUSDT", "scalp", 60_000), ("BTCUSDT", "scalp", 120_000), ("ETHUSDT", "trend", 60_000)}
    assert set(ledger.gate_passed(VENUE)) & set(ledger.passed_since(VENUE, CLOSE_MS))
    assert ledger.passed_since("elsewhere", 0) == []


def test_mutes_are_kept_until_they_are_changed(ledger: Ledger) -> None:
    """One end for each target; an end that has passed is still told, for a run that must hear of it."""
    assert ledger.mutes() == {}
    ledger.mute("BTCUSDT", 10)
    ledger.mute("scalp", 20)
    ledger.mute("BTCUSDT", 5)

    assert ledger.mutes() == {"BTCUSDT": 5, "scalp": 20}


def test_the_position_of_a_journal_is_stored_with_its_step(ledger: Ledger) -> None:
    """The newest counts, also when it is a smaller one; a journal that is not this ledger's has none."""
    ledger.commit_step(Step(VENUE, journal_id="first", position=9))
    ledger.commit_step(Step(VENUE, notices=[Notice("n", "subject", "text", 1)]))
    ledger.commit_step(Step(VENUE, journal_id="first", position=4))
    assert ledger.journal_position("first") == 4
    assert ledger.journal_position("second") is None


def test_a_corrected_bar_is_stored_once_with_what_it_was(ledger: Ledger) -> None:
    """Each later version of it with the time when it came."""
    before, after = bar(1), bar(1, 101.0, quote_volume=math.nan)
    step = Step(VENUE, [Correction(before, after, 7), Correction(before, before, 9)])
    ledger.commit_step(step)
    ledger.commit_step(step)
    rows = [(row["open_ms"], row["recv_ms"], row["before"]["close"], row["after"]) for row in ledger.corrections()]
    stored = msgspec.json.decode(msgspec.json.encode(after))
    assert rows[0] == (before.open_ms, 7, 100.0, stored)
    assert [recv_ms for _, recv_ms, _, _ in rows] == [7, 9]


def test_signals_have_numbers_in_the_order_in_which_they_were_stored(ledger: Ledger) -> None:
    """Each the next one, whatever its close; one that is stored again keeps its own, and the next one's is larger."""
    steps = [
        step_of(alert_of(signal(symbol, close_ms=close_ms))) for symbol, close_ms in (("B", 9), ("A", 5), ("C", 7))
    ]
    for step in (*steps[:2], steps[0], steps[2]):
        ledger.commit_step(step)

    stored = {row["symbol"]: row["number"] for row in rows_of(ledger, schema.signals, "number")}
    assert list(stored) == ["B", "A", "C"]
    assert (stored["B"], stored["A"]) == (1, 2)
    assert stored["C"] > 2


def test_rows_say_when_they_were_written_first_and_last(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the wall clock, in each way of writing: many at once, one, again, and changed."""
    step = Step(
        VENUE,
        step_of(alert_of(signal())).effects,
        [Message("binance_spot/BTCUSDT/1m/1747750020000", "out", CLOSE_MS)],
        troubles=[Trouble("disk", "Disk", 1, 1)],
    )
    tables = (schema.signals, schema.series, schema.troubles, schema.mutes, schema.messages)
    for now_ms in (1_000, 2_000):
        at(monkeypatch, now_ms)
        ledger.commit_step(step)
        ledger.mute("BTCUSDT", 5)
    at(monkeypatch, 3_000)
    ledger.outbox.take("binance_spot/BTCUSDT/1m/1747750020000@out", 5)

    found = {table.name: dates(ledger, table) for table in tables}
    assert found == {
        "signals": [(1_000, 1_000)],  # stored again it stays
        "series": [(1_000, 1_000)],
        "troubles": [(1_000, 2_000)],
        "mutes": [(2_000, 2_000)],  # another row
        "messages": [(CLOSE_MS, 3_000)],  # its own time
    }


def at(monkeypatch: pytest.MonkeyPatch, now_ms: int) -> None:
    """It is then by the wall clock."""
    monkeypatch.setattr(time, "time_ns", lambda: now_ms * 1_000_000)


def dates(ledger: Ledger, table: Table) -> list[tuple[int, int]]:
    """When each row was written first and last."""
    with ledger._database.read() as connection:
        return [(row.created_ms, row.updated_ms) for row in connection.execute(select(table))]
