"""`tapewatch trace`: one alert's way, from what the ledger alone has of it, in either kind of database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alert_samples import surroundings
from book_samples import MINUTE_MS, SIGNAL_ID, ended, fill, position
from command_line import Command
from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from tapewatch.model import Judged, Verdict
from tapewatch.store import Ledger, Message, Step
from tapewatch.store.records import Notice

ALERT = f"{VENUE}/BTCUSDT/1m/{CLOSE_MS}"
BLOCKED = f"{VENUE}/ETHUSDT/1m/scalp/long/{CLOSE_MS}"
DIGEST = "digest/mail/1"


@pytest.fixture
def config(ledger_url: str, tmp_path: Path) -> Path:
    """A configuration whose ledger has two alerts, one of them with all that can become of it, and a blocked signal."""
    path = tmp_path / "tapewatch.yaml"
    path.write_text(
        "exchange: {venue: binance_spot}\nuniverse: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\n"
        "channels: {out: {type: file, path: alerts.jsonl}}\nalerts: {routes: [{channels: [out]}]}\n"
        f'ledger: {{url: "{ledger_url}", folder: "{tmp_path}"}}\nweb: {{enabled: false}}\n'
    )
    ledger = Ledger.open(ledger_url)
    verdicts = (Verdict("settled", True), Verdict("spread", True, "0.02%"))
    lead = signal(verdicts=verdicts, context=surroundings(next_funding_ms=CLOSE_MS))
    channels = ("out", "mail", "chat")
    ledger.commit_step(step_of(alert_of(lead), channels=channels, created_ms=CLOSE_MS + 300))
    ledger.commit_step(step_of(alert_of(signal("SOLUSDT")), created_ms=CLOSE_MS + 90_000_000))
    blocked = signal("ETHUSDT", verdicts=(Verdict("settled", True), Verdict("cooldown", False, "2 min left")))
    ledger.commit_step(Step(VENUE, [Judged(blocked, "blocked", False, CLOSE_MS + 80, None)]))
    ledger.commit_step(Step(VENUE, [fill(0), fill(2), position("closed"), ended()]))
    _deliver(ledger)
    late_ms = CLOSE_MS + 3 * MINUTE_MS + 50
    follow_up = Notice(
        f"{SIGNAL_ID}/follow_up", "Target met", "At 67240.", late_ms, "follow_up", signal_ids=(SIGNAL_ID,)
    )
    message = Message(follow_up.alert_id, "out", late_ms, "follow_up")
    ledger.commit_step(Step(VENUE, messages=[message], notices=[follow_up]))
    ledger.close()
    return path


def _deliver(ledger: Ledger) -> None:
    """`out` gets it at the second attempt, `mail` in a digest, `chat` not at all: `spare` stands in."""
    outbox = ledger.outbox
    outbox.take(f"{ALERT}@out", CLOSE_MS + 400)
    outbox.mark_failed(f"{ALERT}@out", CLOSE_MS + 650, "503 later", next_ms=CLOSE_MS + 2_000)
    outbox.take(f"{ALERT}@out", CLOSE_MS + 2_000)
    outbox.mark_sent(f"{ALERT}@out", CLOSE_MS + 2_125)
    digest = Notice(DIGEST, "Many alerts", "They came at once.", CLOSE_MS + 5_000, "digest")
    assert outbox.fold(digest, Message(DIGEST, "mail", CLOSE_MS + 5_000, "digest"), [f"{ALERT}@mail"])
    outbox.take(f"{DIGEST}@mail", CLOSE_MS + 6_000)
    outbox.take(f"{ALERT}@chat", CLOSE_MS + 400)
    outbox.mark_failed(f"{ALERT}@chat", CLOSE_MS + 500, "404 gone", next_ms=None, chains={"chat": ("spare",)})


def test_a_trace_has_every_stage_with_its_time_since_the_close(run: Command, config: Path) -> None:
    """Bar, candidate, alert, every attempt on every channel, the fallback, the digest, fills and outcome, in order."""
    (found,) = run.objects("trace", ALERT, "-c", config)
    said = [(one["since_close_ms"], one["what"], one["said"]) for one in found["events"]]
    assert [one[:2] for one in said if one[1] != "message"] == [
        (-MINUTE_MS, "bar"),
        (0, "bar"),
        (120, "bar"),
        (120, "signal"),
        (120, "alert"),
        (120, "paper"),
        (61_000, "paper"),
        (3 * MINUTE_MS, "outcome"),
        (3 * MINUTE_MS + 50, "told"),
        (4 * MINUTE_MS + 61_000, "paper"),
    ]
    messages = [(since, words) for since, what, words in said if what == "message"]
    assert [one for one in messages if one[1].startswith("out ")] == [
        (400, "out attempt 1 began"),
        (650, "out attempt 1 failed after 0.250 s: 503 later"),
        (2_000, "out attempt 2 began"),
        (2_125, "out attempt 2 sent after 0.125 s"),
    ]
    assert (300, f"{ALERT}@out queued; now sent") in messages
    assert (300, f"{ALERT}@mail queued; now digested in digest {DIGEST}") in messages
    assert (5_000, f"{DIGEST}@mail queued; now sending") in messages
    assert (6_000, "mail attempt 1 began") in messages
    (passed,) = [words for _, words in messages if f"{ALERT}@spare stands in" in words]
    assert passed.startswith(f"{ALERT}@chat queued; now dead")
    assert (3 * MINUTE_MS + 50, f"{SIGNAL_ID}/follow_up@out queued; now queued") in messages
    assert any(f"{ALERT}@spare queued for {ALERT}@chat" in words for _, words in messages)


def test_the_text_shows_verdicts_context_and_what_was_missing(run: Command, config: Path) -> None:
    """A line for each event, and the candidate's evidence below it."""
    code, lines, err = run("trace", ALERT, "-c", config)
    assert (code, err, lines[0]) == (0, "", ALERT)
    assert lines[1] == "2025-05-20 14:06:00.000       -60.000 s  bar      BTCUSDT 1m opened"
    text = "\n".join(lines)
    for words in (
        "2025-05-20 14:07:00.120        +0.120 s  signal   scalp long passed: 5 of 5 factors, strength 6.4, "
        "entry 67012.5 stop 66950.25 target 67054; trace id ",
        "gate spread passed: 0.02%",
        "context spread_bps 2.13, imbalance 0.24, ",
        "next_funding_ms 2025-05-20 14:07, btc_correlation 0.82",
        "context missing: funding",
        "paper    scalp target: 0.0075 at 67460 in the candle of 2025-05-20 14:11, gross 3.3, fee 0.5043",
        "outcome  scalp: target at 67240",
    ):
        assert words in text


@pytest.mark.parametrize(
    "identity",
    [SIGNAL_ID, f"{ALERT}@mail", signal().trace_id, signal().trace_id[:9], f"{VENUE}/BTC", f"{ALERT}@ou"],
)
def test_any_id_of_an_alert_finds_it(run: Command, config: Path, identity: str) -> None:
    """A signal's, a message's, a trace id, and how one begins when that is enough."""
    (found,) = run.objects("trace", identity, "-c", config)
    assert found["id"] == ALERT


@pytest.mark.parametrize("identity", [BLOCKED, signal("ETHUSDT").trace_id])
def test_a_signal_without_an_alert_has_a_way_too(run: Command, config: Path, identity: str) -> None:
    """It ends at the gate."""
    (found,) = run.objects("trace", identity, "-c", config)
    assert (found["id"], found["alert"], found["trades"]) == (BLOCKED, None, [])
    (event,) = [one for one in found["events"] if one["what"] == "signal"]
    assert event["said"].startswith("scalp long blocked: ")
    assert event["more"] == ["gate settled passed", "gate cooldown blocked: 2 min left"]
    assert run("trace", identity, "-c", config)[0] == 0


def test_what_was_told_later_has_a_way_of_its_own(run: Command, config: Path) -> None:
    """By its own id or what only that begins with; it shows the signal it is about, and itself once."""
    (found,) = run.objects("trace", f"{SIGNAL_ID}/fol", "-c", config)
    assert (found["id"], found["told"]) == (f"{SIGNAL_ID}/follow_up", [])
    assert [one["id"] for one in found["signals"]] == [SIGNAL_ID]


def test_a_digest_names_its_alerts(run: Command, config: Path) -> None:
    """It has no bar, so nothing is said of the time since one."""
    (found,) = run.objects("trace", DIGEST, "-c", config)
    assert found["alert"]["members"] == [ALERT]
    assert {one["since_close_ms"] for one in found["events"]} == {None}
    assert run("trace", DIGEST, "-c", config)[1][-1] == f"names {ALERT}"


def test_times_of_a_simulated_market_and_of_messages_are_not_compared(run: Command, config: Path) -> None:
    """A message is made by the wall clock, which is not the exchange's then."""
    (found,) = run.objects("trace", f"{VENUE}/SOLUSDT", "-c", config)
    known: dict[str, Any] = {one["what"]: one["since_close_ms"] for one in found["events"]}
    assert (known["alert"], known["message"]) == (120, None)


def test_an_unknown_id_suggests_and_a_beginning_of_many_names_them(run: Command, config: Path) -> None:
    """In one line, with exit 1 and nothing on stdout."""
    code, lines, err = run("trace", ALERT.replace("BTC", "BTX"), "-c", config)
    assert (code, lines) == (1, [])
    assert "no alert, signal, message or trace id" in err
    assert "; did you mean " in err
    assert ALERT in err
    code, lines, err = run("trace", "nothing like it", "-c", config)
    assert (code, lines, err.count("\n")) == (1, [], 1)
    assert "did you mean" not in err
    code, lines, err = run("trace", f"{VENUE}/", "-c", config)
    assert (code, lines, err.count("\n")) == (1, [], 1)
    assert f"is the beginning of several: {ALERT} {VENUE}/SOLUSDT/1m/{CLOSE_MS} {BLOCKED}" in err
