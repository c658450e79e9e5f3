"""What a start makes of journal, snapshots and ledger, however the run before it ended."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from core_samples import bits, mapping, walk
from cut_runs import BARS, EVENTS, OFTEN, OUTCOMES, VENUE, instrument, run, uninterrupted, whole
from ledger_rows import outcomes_of
from tapewatch import strategies
from tapewatch.engine import Engine, MarketSettings
from tapewatch.engine.series import Frame, Runner, Series
from tapewatch.gate import GateSettings
from tapewatch.live.makeup import Makeup
from tapewatch.live.plans import TOO_OLD_MS, plan_series, resumed
from tapewatch.live.replay import verify
from tapewatch.model import (
    MINUTE_MS,
    Alert,
    Bar,
    BarClosed,
    Effect,
    Event,
    History,
    Judged,
    Mute,
    Outcome,
    Signal,
    Universe,
)
from tapewatch.store import SeriesState
from tapewatch.store.entries import Begin
from tapewatch.store.outcomes import outcome_row
from tapewatch.store.snapshot import snapshot_paths


@pytest.mark.parametrize("snapshots", [0, 1, 3])
def test_a_start_goes_on_from_beginning_or_snapshot(tmp_path: Path, snapshots: int) -> None:
    """Several runs, each cut off; the last is as if it had been the only one."""
    for number, first in enumerate(range(0, 900, 150)):
        with run(tmp_path) as one:
            assert not one.found.leftover
            one.feed(EVENTS[first : first + 150])
            if number < snapshots:
                one.save()
    with run(tmp_path) as one:
        whole(tmp_path, one)
    assert len(snapshot_paths(tmp_path / "journal")) <= 3


@pytest.mark.parametrize("saved", [False, True])
def test_what_was_journaled_and_not_committed_is_committed_by_the_next_start(tmp_path: Path, saved: bool) -> None:
    """Signals and alerts of events after the ledger's position, and none of those before it."""
    with run(tmp_path) as one:
        one.feed(EVENTS[:850])
        if saved:
            one.save()
        one.feed(EVENTS[850:], committed=False)
    with run(tmp_path) as one:
        left = [effect.signal.close_ms for effect in one.found.leftover if isinstance(effect, Judged)]
        assert min(left) > BARS[849].close_ms
        whole(tmp_path, one)
        assert one.position() == one.journal.position == 901


def test_a_step_cut_off_is_no_repeat_and_a_ledger_put_back_is(tmp_path: Path) -> None:
    """The last step may not have been stored; that those before it were is sure, since another one was journaled."""
    with run(tmp_path) as one:
        one.feed(EVENTS[:848])
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as now, closing(sqlite3.connect(tmp_path / "old")) as old:
            now.backup(old)
        one.feed(EVENTS[848:855])
        one.feed(EVENTS[855:862], committed=False)
    with run(tmp_path) as one:
        assert any(isinstance(effect, Judged) for effect in one.found.leftover)
        assert (one.found.repeated, one.found.alerts) == (False, [])
        one.feed(EVENTS[862:])
    for rest in tmp_path.glob("ledger.db*"):
        rest.unlink()
    (tmp_path / "old").rename(tmp_path / "ledger.db")
    with run(tmp_path) as one:
        assert one.found.repeated
        ((key, _, text),) = one.found.alerts
        assert key == "ledger_behind_journal"
        alerts = [effect for effect in one.found.leftover if isinstance(effect, Alert)]
        assert len(alerts) > 10
        assert f"{len(alerts)} alerts" in text
        whole(tmp_path, one)
    with run(tmp_path) as one:
        assert (one.found.repeated, one.found.leftover, one.found.alerts) == (False, [], [])


def test_other_strategies_start_fresh_and_what_was_decided_stays(tmp_path: Path) -> None:
    """A new journal begins; the gate remembers what the ledger does; a replay knows the strategies of each part."""
    other = {"often": OFTEN["often"] | {"long": {"up": "close > open * 1.0005"}}}
    with run(tmp_path) as one:
        one.feed(EVENTS[:860])
        before, first_id = one.ledger.gate_passed(VENUE), one.journal.journal_id
    with run(tmp_path, other) as one:
        assert one.found.begin.passed == tuple(before)
        assert one.journal.journal_id != first_id
        assert one.engine.positions() == {}
        one.feed([History(bar) for bar in BARS[:860]] + EVENTS[860:])
        assert len(list(one.ledger.stored_signals())) > 30
        result = verify([tmp_path / "journal"], one.ledger, VENUE)
        assert result.equal, result.differences
        assert result.signals == len(list(one.ledger.stored_signals()))
    with run(tmp_path, other) as one:
        assert one.engine.positions() == {"AAAUSDT": BARS[-1].open_ms}


def test_a_fresh_engine_follows_the_signals_that_were_on_their_way(tmp_path: Path) -> None:
    """On the candles of the meantime, which came late; none is lost, and each ends where it would have."""
    other = {"often": OFTEN["often"] | {"long": {"up": "close > open * 2"}}}
    with run(tmp_path) as one:
        one.feed(EVENTS[:840])
        under_way = {signal["id"] for signal in one.ledger.stored_signals() if signal["outcome"] is None}
    with run(tmp_path, other) as one:
        assert sum(one.engine.followed().values()) == len(under_way) > 10
        one.feed([History(bar) for bar in BARS[:870]] + EVENTS[870:])
        found = {row["signal_id"]: row for row in outcomes_of(one.ledger)}
        assert verify([tmp_path / "journal"], one.ledger, VENUE).equal
    ends = [effect for effect in uninterrupted(EVENTS)[1] if isinstance(effect, Outcome)]
    expected = {end.signal_id: outcome_row(VENUE, end) for end in ends if end.close_ms <= BARS[839].close_ms}
    assert found.keys() == expected.keys()
    late = {key for key, row in found.items() if row["late"]}
    assert late == {key for key, row in expected.items() if BARS[840].open_ms <= row["ms"] <= BARS[869].open_ms}
    assert late & under_way
    for key, row in found.items():
        came = {} if key not in late else {"late": True, "recv_ms": row["ms"] + MINUTE_MS}
        assert row == expected[key] | came


def test_a_fresh_engine_rests_after_the_stops_that_were_seen(tmp_path: Path) -> None:
    """Its gate says what the one before it would have said; a restart of it does too."""
    resting = OFTEN["often"] | {"cooldown": "9m", "stop": "0.3"}
    mappings = [{"often": resting | {"time_limit": limit}} for limit in (240, 239)]
    engine = Makeup(VENUE, mappings[0], GateSettings(), outcomes=OUTCOMES).engine()
    said = [(place, effect) for place, event in enumerate(EVENTS) for effect in engine.process(event)]
    stopped = [place for place, effect in said if isinstance(effect, Outcome) and effect.state == "passed"]
    cut, expected = next(
        (place, effect)
        for place, effect in said
        if isinstance(effect, Judged) and place - 2 in stopped and "the stop of" in str(effect.signal.verdicts)
    )
    with run(tmp_path, mappings[0]) as one:
        one.feed(EVENTS[:cut])
    for number, events in enumerate(([History(bar) for bar in BARS[:cut]], [])):
        with run(tmp_path, mappings[1]) as one:
            assert one.found.begin.memory is not None
            assert len(one.found.begin.memory.stopped) == 1
            one.feed(events)
            if number:
                one.feed(EVENTS[cut : cut + 1])
                [decided] = [row for row in one.ledger.stored_signals() if row["id"] == expected.signal.id]
                assert verify([tmp_path / "journal"], one.ledger, VENUE).equal
    reasons = {verdict["check"]: verdict["reason"] for verdict in decided["verdicts"]}
    assert reasons["cooldown"] == next(one.reason for one in expected.signal.verdicts if one.check == "cooldown")


def test_an_event_that_makes_the_engine_fail_is_left_out_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the journal with a mark; later starts do not fail, its bar is not taken again, and replays agree."""
    bad, process = EVENTS[820], Engine.process

    def failing(engine: Engine, event: Event) -> list[Effect]:
        if event == bad:
            raise ZeroDivisionError("no such number")
        return process(engine, event)

    monkeypatch.setattr(Engine, "process", failing)
    with run(tmp_path) as one:
        one.feed(EVENTS[:819])
        one.recorder.failed(EVENTS[819:821], ZeroDivisionError("no such number"))
    for _ in range(2):
        with run(tmp_path) as one:
            assert one.engine.positions() == {"AAAUSDT": BARS[819].open_ms}
            assert one.recorder.admitted(EVENTS[820:822]) == [EVENTS[821]]
    with run(tmp_path) as one:
        one.feed(EVENTS[820:])
        whole(tmp_path, one, [*EVENTS[:820], *EVENTS[821:]])


def test_a_start_that_meets_a_failing_event_in_the_journal_gets_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is marked and told to the operator once; the start goes on at once, as do all later ones."""
    with run(tmp_path) as one:
        one.feed(EVENTS)
    bad, process = EVENTS[300], Engine.process

    def failing(engine: Engine, event: Event) -> list[Effect]:
        if event == bad:
            raise KeyError("no such thing")
        return process(engine, event)

    monkeypatch.setattr(Engine, "process", failing)
    with run(tmp_path) as one:
        assert [alert[0] for alert in one.found.alerts] == ["event_skipped"]
        assert one.engine.positions() == {"AAAUSDT": BARS[-1].open_ms}
    with run(tmp_path) as one:
        assert one.found.alerts == []


def test_a_step_that_failed_once_fails_in_every_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason was: the bar was skipped for that strategy, so it is when the journal is read again."""
    signals, failing_ms = Engine._signals, [BARS[820].open_ms, BARS[825].open_ms]

    def failing(
        engine: Engine, series: Series, frame: Frame, runner: Runner, bar: Bar, recv_ms: int | None
    ) -> list[Signal]:
        if bar.open_ms in failing_ms:
            raise MemoryError
        return signals(engine, series, frame, runner, bar, recv_ms)

    with monkeypatch.context() as once, run(tmp_path) as one:
        once.setattr(Engine, "_signals", failing)
        one.feed(EVENTS[:870])
        before = one.state
        assert not [signal for signal in one.ledger.stored_signals() if signal["open_ms"] in failing_ms]
    with run(tmp_path) as one:
        assert one.state == before != uninterrupted(EVENTS[:870])[0]
        one.feed(EVENTS[870:])
        assert len(list(one.ledger.stored_signals())) > 30
        result = verify([tmp_path / "journal"], one.ledger, VENUE)
        assert result.equal, result.differences


def test_who_is_gone_on_with(tmp_path: Path) -> None:
    """Not a symbol whose last bar is too old, whose windows were not whole, or that is watched no more."""
    engine = Makeup(VENUE, OFTEN, GateSettings(), outcomes=OUTCOMES).engine()
    later = walk(3, start_ms=BARS[0].open_ms + TOO_OLD_MS)
    named = {"OLD": BARS[:3], "HALF": later, "GO": later, "NEW": later}
    now_ms = later[-1].close_ms
    for name, bars in named.items():
        for one in bars:
            renamed = msgspec.structs.replace(one, symbol=name)
            engine.process(History(renamed) if name == "HALF" else BarClosed(renamed, 1))
    kept, gone = resumed(engine, ["OLD", "HALF", "NEW"], now_ms + 5 * MINUTE_MS)
    assert kept == {"NEW": named["NEW"][-1].open_ms}
    assert gone == Universe(now_ms + 5 * MINUTE_MS, (), ("GO",), anew=("HALF", "OLD"))
    known = [SeriesState("OLD", MINUTE_MS, 5, BARS[2].open_ms)]
    plans = plan_series([instrument("OLD"), instrument("NEW")], [], known, now_ms + 5 * MINUTE_MS, kept)
    assert plans[0].last_open_ms is None
    assert plans[1].base_start_ms == now_ms
    engine.process(gone)
    assert engine.symbols() == ["NEW"]


def test_mutes_are_in_the_journal(tmp_path: Path) -> None:
    """What was muted when a bar was decided is so in a replay, and after a restart."""
    until_ms = BARS[850].close_ms
    with run(tmp_path) as one:
        one.feed([*EVENTS[:820], Mute("often", until_ms)])
    with run(tmp_path) as one:
        one.feed(EVENTS[820:])
        states = {signal["close_ms"]: signal["state"] for signal in one.ledger.stored_signals()}
        assert {state for ms, state in states.items() if BARS[820].open_ms < ms < until_ms} == {"blocked"}
        assert {state for ms, state in states.items() if ms >= until_ms} == {"passed"}
        assert verify([tmp_path / "journal"], one.ledger, VENUE).equal


def test_a_beginning_says_what_an_engine_is_made_of() -> None:
    """From it the same engine is made, also with values by regime, a budget, and what is known around signals."""
    rich = mapping(
        params={"p": {"default": 1.0, "trending": 2.0}},
        long={"f": "close > open + p"},
        budget={"alerts": 2, "window": "1h"},
    )
    market = MarketSettings(outlooks=True, correlated=0.8)
    makeup = Makeup(VENUE, {"rich": rich}, GateSettings(max_spread=0.01, liquidity=False), market=market)
    begin = makeup.begin(makeup.engine(), [])
    assert isinstance(begin, Begin)
    assert Makeup.of(begin).engine().fingerprint == begin.fingerprint
    assert Makeup(VENUE, {"rich": rich}, makeup.gate).engine().fingerprint != begin.fingerprint
    assert bits(begin.strategies) == bits({"rich": rich})


@pytest.mark.parametrize(("name", "value"), [("__version__", "0.0.1"), ("PYTHON", "3.10")])
def test_another_version_starts_fresh_and_a_replay_gives_that_as_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Not that something is wrong, but that nothing else could be expected."""
    with monkeypatch.context() as earlier, run(tmp_path) as one:
        earlier.setattr(f"tapewatch.live.makeup.{name}", value)
        other = Makeup(VENUE, OFTEN, GateSettings(), outcomes=OUTCOMES)
        one.journal.start(other.begin(one.engine, []))
        one.feed(EVENTS)
    with run(tmp_path) as one:
        assert one.engine.positions() == {}
        (first, *_) = one.ledger.stored_signals()
        execute(tmp_path, "UPDATE signals SET recv_ms = recv_ms + 1 WHERE id = ?", first["id"])
        result = verify([tmp_path / "journal"], one.ledger, VENUE)
        assert [(line["field"], line["reason"]) for line in result.differences] == [("recv_ms", "version")]


INDICATOR = """
from tapewatch.strategy import build
@build.indicator(inputs=("x",), state={"last": 0.0}, first_valid=lambda: 0, settling=lambda _day: 1, unit="input",
    formula="", seed="", source="", name="%s")
def own(x, last):
    value = x + last * 0.0 + %s
    last = x
    return value, last
mine = build.strategy("mine", timeframes=["1m"], long={"up": "%s(close) > open"}, stop="2.0",
    targets=[{"at": "1.0", "share": "100%%"}])
"""


@pytest.mark.usefixtures("own_indicators")
def test_a_changed_indicator_is_a_changed_configuration(tmp_path: Path) -> None:
    """The journal names the file; a replay by another process, with the file changed, says so."""
    file = tmp_path / "mine.py"
    file.write_text(INDICATOR % ("own_one", "0.0", "own_one"))
    with run(tmp_path, strategies.mappings({"mine": {"file": str(file)}})) as one:
        assert one.found.begin.python_files[-1] == str(file)
        one.feed(EVENTS)
        assert verify([tmp_path / "journal"], one.ledger, VENUE).equal
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from tapewatch.live.replay import verify\nfrom tapewatch.store import Ledger\n"
        "folder = Path(sys.argv[1])\n"
        "result = verify([folder / 'journal'], Ledger.open(f'sqlite:///{folder}/ledger.db'), 'venue')\n"
        "print(sorted({line['reason'] for line in result.differences}))"
    )
    for changed, reasons in (("0.0", "[]"), ("0.25", "['configuration']")):
        file.write_text(INDICATOR % ("own_one", changed, "own_one"))
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.stdout.strip() == reasons, done.stderr


def execute(folder: Path, text: str, *values: object) -> None:
    """Change the ledger behind its back."""
    with closing(sqlite3.connect(folder / "ledger.db")) as connection, connection:
        connection.execute(text, values)
