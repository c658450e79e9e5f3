"""What a start makes of journals, snapshots and ledgers that are damaged, cut short, gone, or not of each other."""

from __future__ import annotations

import shutil
from pathlib import Path

from cut_runs import BARS, EVENTS, VENUE, instrument, judged_of, run, uninterrupted, whole
from tapewatch.live.plans import plan_series, resumed, states_of
from tapewatch.live.replay import verify
from tapewatch.model import BarClosed, History, Judged
from tapewatch.store.segments import segment_paths
from tapewatch.store.snapshot import snapshot_paths


def test_a_snapshot_ahead_of_the_ledger_is_not_used(tmp_path: Path) -> None:
    """As with a ledger that was restored from a backup: what is between them is not lost."""
    with run(tmp_path) as one:
        one.feed(EVENTS[:820])
    shutil.copy(tmp_path / "ledger.db", tmp_path / "backup.db")
    with run(tmp_path) as one:
        one.feed(EVENTS[820:])
        one.save()
    shutil.move(tmp_path / "backup.db", tmp_path / "ledger.db")
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
        result = verify([tmp_path / "journal"], one.ledger, VENUE)
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
        assert sorted(stored) == sorted(effect.signal.id for effect in judged_of(uninterrupted(EVENTS)[1]))
        result = verify([tmp_path / "journal"], one.ledger, VENUE)
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
        result = verify([tmp_path / "journal"], one.ledger, VENUE)
        assert {line["reason"] for line in result.differences} == {"journal_gap"}
        late = sum(effect.signal.close_ms > BARS[839].close_ms for effect in judged_of(uninterrupted(EVENTS)[1]))
        assert result.signals == late > 10
        assert result.signals + result.pruned == total
