"""What a start makes of journal, snapshots and ledger, whatever is left of them."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core_samples import bits, mapping, walk
from journal_samples import opened
from tapewatch import strategies
from tapewatch.engine import Engine
from tapewatch.engine.series import Frame, Runner, Series
from tapewatch.engine.state import save
from tapewatch.feeds.port import Instrument
from tapewatch.gate import GateSettings
from tapewatch.live.makeup import Makeup
from tapewatch.live.plans import TOO_OLD_MS, plan_series, resumed, states_of
from tapewatch.live.recorder import Recorder
from tapewatch.live.recovery import Recoverer, Recovery
from tapewatch.live.replay import verify
from tapewatch.model import MINUTE_MS, Alert, Bar, BarClosed, Effect, Event, History, Judged, Mute, Signal, Universe
from tapewatch.store import Ledger, Message, SeriesState, Step
from tapewatch.store.entries import Begin
from tapewatch.store.segments import segment_paths
from tapewatch.store.snapshot import snapshot_paths

VENUE = "venue"
OFTEN = {"often": mapping(long={"up": "close > open"}, duplicate={"window": "1m", "move": "0%"})}
BARS = walk(900)
#: The windows, then what is decided on.
EVENTS: list[Event] = [History(one) for one in BARS[:800]] + [BarClosed(one, one.close_ms + 5) for one in BARS[800:]]


class Run:
    """One run on a folder: what a start finds there, and a recorder that stores what follows."""

    def __init__(self, folder: Path, mappings: dict[str, Any]) -> None:
        self.journal = opened(folder / "journal", segment_bytes=20_000)
        self.ledger = Ledger.open(f"sqlite:///{folder}/ledger.db")
        self.executor = ThreadPoolExecutor(1)
        self.recorder = Recorder(self.journal, self.ledger, self.executor, 3600.0)
        makeup = Makeup(VENUE, mappings, GateSettings())
        passed = lambda: self.ledger.gate_passed(VENUE)  # noqa: E731
        found = asyncio.run(Recoverer(self.journal, self.ledger, makeup, passed, lambda: False).recover())
        assert found is not None
        self.found: Recovery = found
        self.engine: Engine = found.engine
        self.recorder.started(found.begin)
        if found.leftover:
            self.recorder.store(self._step(found.leftover), [])

    def _step(self, effects: Sequence[Effect]) -> Step:
        alerts = [effect for effect in effects if isinstance(effect, Alert)]
        return Step(VENUE, effects, [Message(alert.alert_id, "out", 1) for alert in alerts])

    def feed(self, events: Sequence[Event], *, committed: bool = True) -> None:
        """Process events, a step for every seven; without `committed` they only come into the journal."""
        for first in range(0, len(events), 7):
            some = self.recorder.admitted(events[first : first + 7])
            effects = [effect for event in some for effect in self.engine.process(event)]
            if committed:
                self.recorder.store(self._step(effects), some)
            else:
                self.journal.append(some)

    def save(self) -> None:
        """A snapshot, as at a clean stop."""
        asyncio.run(self.recorder.finish(self.engine))

    @property
    def state(self) -> list[bytes]:
        """The engine's state."""
        return list(save(self.engine))

    def position(self) -> int | None:
        """What the ledger holds of this journal."""
        return self.ledger.journal_position(self.journal.journal_id)


@contextmanager
def run(folder: Path, mappings: dict[str, Any] | None = None) -> Iterator[Run]:
    """A run that ends without any care."""
    one = Run(folder, mappings or OFTEN)
    try:
        yield one
    finally:
        one.executor.shutdown()
        one.recorder.close()
        one.ledger.close()


def uninterrupted(events: Sequence[Event]) -> tuple[list[bytes], list[Judged]]:
    """The state, and what was decided, of an engine that took all events in one go."""
    engine = Makeup(VENUE, OFTEN, GateSettings()).engine()
    effects = [effect for event in events for effect in engine.process(event)]
    return list(save(engine)), [effect for effect in effects if isinstance(effect, Judged)]


def whole(folder: Path, one: Run, events: Sequence[Event] = EVENTS) -> None:
    """Assert that run and ledger are as if nothing had ever happened, and that a replay says so."""
    state, judged = uninterrupted(events)
    assert one.state == state
    stored = {signal["id"]: signal for signal in one.ledger.stored_signals()}
    assert set(stored) == {effect.signal.id for effect in judged}
    assert len(stored) > 30
    result = verify(folder / "journal", one.ledger, VENUE)
    assert result.equal, result.differences
    assert (result.signals, result.pruned) == (len(stored), 0)


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


def test_a_snapshot_ahead_of_the_ledger_is_not_used(tmp_path: Path) -> None:
    """As with a ledger that was restored from a backup: what is between them is not lost."""
    with run(tmp_path) as one:
        one.feed(EVENTS[:820])
        position, journal_id = one.journal.position, one.journal.journal_id
        one.feed(EVENTS[820:])
        one.save()
        one.ledger.commit_step(Step(VENUE, journal_id=journal_id, position=position))
    with run(tmp_path) as one:
        assert sum(isinstance(effect, Judged) for effect in one.found.leftover) > 10
        whole(tmp_path, one)


def test_a_damaged_snapshot_is_passed_over(tmp_path: Path) -> None:
    """At each of its bytes a flipped bit is noticed; the one before it, or the beginning, is used."""
    with run(tmp_path) as one:
        one.feed(EVENTS[:200])
        one.save()
        one.feed(EVENTS[200:])
        one.save()
    (newest, _) = snapshot_paths(tmp_path / "journal")
    raw = newest.read_bytes()
    for place in range(0, len(raw), len(raw) // 11):
        newest.write_bytes(raw[:place] + bytes([raw[place] ^ 4]) + raw[place + 1 :])
        with run(tmp_path) as one:
            assert one.state == uninterrupted(EVENTS)[0]
    newest.write_bytes(raw[: len(raw) // 2])
    with run(tmp_path) as one:
        whole(tmp_path, one)


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
        result = verify(tmp_path / "journal", one.ledger, VENUE)
        assert result.equal, result.differences
        assert result.signals == len(list(one.ledger.stored_signals()))
    with run(tmp_path, other) as one:
        assert one.engine.positions() == {"AAAUSDT": BARS[-1].open_ms}


def test_the_journal_of_another_ledger_is_not_gone_on_with(tmp_path: Path) -> None:
    """Its decisions are not this ledger's, so they are not stored in it."""
    with run(tmp_path) as one:
        one.feed(EVENTS)
    (tmp_path / "ledger.db").unlink()
    with run(tmp_path) as one:
        assert (one.engine.positions(), one.found.leftover) == ({}, [])
        assert list(one.ledger.stored_signals()) == []
        assert one.position() == one.journal.position


def test_a_journal_damaged_in_its_middle_starts_fresh_and_tells_the_operator(tmp_path: Path) -> None:
    """A replay names the gap, and what is stored from there on and cannot be proved."""
    with run(tmp_path) as one:
        one.feed(EVENTS)
    path = segment_paths(tmp_path / "journal")[-1]
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"TWJ1", 200) + 50] ^= 1
    path.write_bytes(raw)
    with run(tmp_path) as one:
        ((key, subject, text),) = one.found.alerts
        assert (key, subject) == ("journal_damaged", "The journal is damaged")
        assert path.name in text
        assert one.engine.positions() == {}
        assert len(one.found.begin.passed) == 1
        result = verify(tmp_path / "journal", one.ledger, VENUE)
        assert {line["reason"] for line in result.differences} == {"journal_gap"}
        assert result.differences[0]["what"] == "journal"
        assert len(result.differences) > 10


def test_a_lost_end_without_signals_is_fetched_again_as_decided(tmp_path: Path) -> None:
    """As after a power failure: the engine goes on from where the journal ends, the ledger's position follows."""
    with run(tmp_path) as one:
        one.feed(EVENTS[:805])
        flat = [BarClosed(bar, bar.close_ms) for bar in BARS[805:810] if bar.close <= bar.open]
        first = one.journal.position
        for event in flat:
            one.feed([event])
        lost = one.journal.position - first
        known = one.ledger.series_states(VENUE)
    path = segment_paths(tmp_path / "journal")[-1]
    cut = path.read_bytes()
    for _ in range(lost):
        cut = cut[: cut.rindex(b"TWJ1")]
    path.write_bytes(cut)
    with run(tmp_path) as one:
        assert one.journal.position == one.position() == first
        assert not one.found.alerts
        kept, gone = resumed(one.engine, ["AAAUSDT"], BARS[-1].open_ms)
        (plan,) = plan_series([instrument()], [], known, BARS[-1].open_ms, kept)
        assert (plan.base_start_ms, plan.larger, gone) == (BARS[804].close_ms, {}, None)
        assert plan.last_open_ms == flat[-1].bar.open_ms
        assert states_of([plan], kept) == []


def test_a_lost_end_with_signals_starts_fresh(tmp_path: Path) -> None:
    """Only a bad disk loses what was synced; the gate remembers what passed, from the ledger."""
    with run(tmp_path) as one:
        one.feed(EVENTS)
    path = segment_paths(tmp_path / "journal")[-1]
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.rindex(b"TWJ1", 0, raw.rindex(b"TWJ1", 0, raw.rindex(b"TWJ1")))])
    with run(tmp_path) as one:
        assert "with signals among them" in one.found.alerts[0][2]
        assert one.engine.positions() == {}


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

    def failing(engine: Engine, series: Series, frame: Frame, runner: Runner, bar: Bar) -> list[Signal]:
        if bar.open_ms in failing_ms:
            raise MemoryError
        return signals(engine, series, frame, runner, bar)

    with monkeypatch.context() as once, run(tmp_path) as one:
        once.setattr(Engine, "_signals", failing)
        one.feed(EVENTS[:870])
        before = one.state
        assert not [signal for signal in one.ledger.stored_signals() if signal["open_ms"] in failing_ms]
    with run(tmp_path) as one:
        assert one.state == before != uninterrupted(EVENTS[:870])[0]
        one.feed(EVENTS[870:])
        assert len(list(one.ledger.stored_signals())) > 30
        result = verify(tmp_path / "journal", one.ledger, VENUE)
        assert result.equal, result.differences


def instrument(symbol: str = "AAAUSDT") -> Instrument:
    """A traded symbol."""
    return Instrument(symbol, "AAA", "USDT", "TRADING", trading=True)


def test_who_is_gone_on_with(tmp_path: Path) -> None:
    """Not a symbol whose last bar is too old, whose windows were not whole, or that is watched no more."""
    engine = Makeup(VENUE, OFTEN, GateSettings()).engine()
    later = walk(3, start_ms=BARS[0].open_ms + TOO_OLD_MS)
    named = {"OLD": BARS[:3], "HALF": later, "GO": later, "NEW": later}
    now_ms = later[-1].close_ms
    for name, bars in named.items():
        for one in bars:
            renamed = msgspec.structs.replace(one, symbol=name)
            engine.process(History(renamed) if name == "HALF" else BarClosed(renamed, 1))
    kept, gone = resumed(engine, ["OLD", "HALF", "NEW"], now_ms + 5 * MINUTE_MS)
    assert kept == {"NEW": named["NEW"][-1].open_ms}
    assert gone == Universe(now_ms + 5 * MINUTE_MS, (), ("GO", "HALF", "OLD"))
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
        assert verify(tmp_path / "journal", one.ledger, VENUE).equal


def test_a_beginning_says_what_an_engine_is_made_of() -> None:
    """From it the same engine is made, also with values by regime and a budget."""
    rich = mapping(
        params={"p": {"default": 1.0, "trending": 2.0}},
        long={"f": "close > open + p"},
        budget={"alerts": 2, "window": "1h"},
    )
    makeup = Makeup(VENUE, {"rich": rich}, GateSettings(max_spread=0.01, liquidity=False))
    begin = makeup.begin(makeup.engine(), [])
    assert isinstance(begin, Begin)
    assert Makeup.of(begin).engine().fingerprint == begin.fingerprint
    assert bits(begin.strategies) == bits({"rich": rich})


def test_a_deleted_journal_starts_fresh_and_nothing_is_decided_again(tmp_path: Path) -> None:
    """What the ledger has from before cannot be proved any more, which is no difference."""
    with run(tmp_path) as one:
        one.feed(EVENTS[:860])
        before = [signal["id"] for signal in one.ledger.stored_signals()]
    shutil.rmtree(tmp_path / "journal")
    with run(tmp_path) as one:
        assert len(one.found.begin.passed) == 1
        one.feed([History(bar) for bar in BARS[:860]] + EVENTS[860:])
        stored = [signal["id"] for signal in one.ledger.stored_signals()]
        assert sorted(stored) == sorted(effect.signal.id for effect in uninterrupted(EVENTS)[1])
        result = verify(tmp_path / "journal", one.ledger, VENUE)
        assert (result.equal, result.pruned, result.signals) == (True, len(before), len(stored) - len(before))


def test_a_replay_gets_over_a_gap_with_a_later_snapshot(tmp_path: Path) -> None:
    """The damaged part is named, with the signals in it; those after the snapshot are proved."""
    with run(tmp_path) as one:
        one.feed(EVENTS[:840])
        one.save()
        one.feed(EVENTS[840:])
        total = len(list(one.ledger.stored_signals()))
    path = segment_paths(tmp_path / "journal")[0]
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with run(tmp_path) as one:
        assert not one.found.alerts  # the start does not need that part
        result = verify(tmp_path / "journal", one.ledger, VENUE)
        assert {line["reason"] for line in result.differences} == {"journal_gap"}
        late = sum(effect.signal.close_ms > BARS[839].close_ms for effect in uninterrupted(EVENTS)[1])
        assert result.signals == late > 10
        assert result.signals + result.pruned == total


@pytest.mark.parametrize(("name", "value"), [("__version__", "0.0.1"), ("PYTHON", "3.10")])
def test_another_version_starts_fresh_and_a_replay_gives_that_as_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Not that something is wrong, but that nothing else could be expected."""
    with monkeypatch.context() as earlier, run(tmp_path) as one:
        earlier.setattr(f"tapewatch.live.makeup.{name}", value)
        other = Makeup(VENUE, OFTEN, GateSettings())
        one.journal.start(other.begin(one.engine, []))
        one.feed(EVENTS)
    with run(tmp_path) as one:
        assert one.engine.positions() == {}
        (first, *_) = one.ledger.stored_signals()
        execute(tmp_path, "UPDATE signals SET recv_ms = recv_ms + 1 WHERE id = ?", first["id"])
        result = verify(tmp_path / "journal", one.ledger, VENUE)
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


def test_a_changed_indicator_is_a_changed_configuration(tmp_path: Path) -> None:
    """The journal names the file; a replay by another process, with the file changed, says so."""
    file = tmp_path / "mine.py"
    file.write_text(INDICATOR % ("own_one", "0.0", "own_one"))
    with run(tmp_path, strategies.mappings({"mine": {"file": str(file)}})) as one:
        assert one.found.begin.python_files[-1] == str(file)
        one.feed(EVENTS)
        assert verify(tmp_path / "journal", one.ledger, VENUE).equal
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from tapewatch.live.replay import verify\nfrom tapewatch.store import Ledger\n"
        "folder = Path(sys.argv[1])\n"
        "result = verify(folder / 'journal', Ledger.open(f'sqlite:///{folder}/ledger.db'), 'venue')\n"
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
