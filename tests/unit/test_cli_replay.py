"""`tapewatch replay` over journals that cannot be read: what is said, and the exit code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.command_line import Command
from tests.core_samples import mapping
from tests.journal_samples import minutes, opened

from engine_runs import save
from tapewatch.gate import GateSettings
from tapewatch.live.makeup import Makeup
from tapewatch.store import Ledger
from tapewatch.store.segments import segment_paths
from tapewatch.store.snapshot import SnapshotHead, SnapshotWriter

CONFIG = """
universe: {include: [BTCUSDT]}
strategies: {scalp: {}}
ledger: {url: "sqlite:///ledger.db"}
journal: {folder: journal}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with an empty ledger, and a journal of 60 bars with a saved state after 30 of them."""
    path = tmp_path / "tapewatch.yaml"
    path.write_text(CONFIG)
    Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}").close()
    makeup = Makeup("binance_spot", {"never": mapping(long={"up": "close < 0"})}, GateSettings())
    engine = makeup.engine()
    begin = makeup.begin(engine, ())
    journal = opened(tmp_path / "journal")
    journal.start(begin)
    for first in range(0, 60, 3):
        for event in (events := minutes(3, first)):
            engine.process(event)
        journal.append(events)
        if first == 27:
            writer = SnapshotWriter(tmp_path / "journal", SnapshotHead(journal.journal_id, journal.position, begin))
            writer.write(save(engine))
            writer.finish()
    journal.close()
    return path


def test_a_list_from_a_damaged_journal_is_no_success(run: Command, config: Path) -> None:
    """What can be read is listed; what cannot is named once, and the exit code is 1."""
    (path,) = segment_paths(config.parent / "journal")
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"TWJ1", len(raw) // 4) + 40] ^= 1  # neither the beginning nor the saved state gets past it
    assert run("replay", "-c", config) == (0, ["0 signals"], "")
    path.write_bytes(raw)
    code, lines, err = run("replay", "-c", config)
    assert (code, lines) == (1, ["0 signals"])
    assert err.count("a record does not have its checksum") == 1


@pytest.mark.parametrize("content", [b"", b"no journal at all" * 100])
def test_a_journal_whose_beginning_is_lost_is_damaged_and_not_missing(
    run: Command, config: Path, content: bytes
) -> None:
    """It is named, by the list and by the comparison, and both exit 1."""
    (path,) = segment_paths(config.parent / "journal")
    path.write_bytes(content)
    code, lines, err = run("replay", "-c", config)
    assert (code, lines) == (1, ["0 signals"])
    assert err == f"tapewatch: journal {path}: its beginning cannot be read\n"
    code, lines, _ = run("replay", "-c", config, "--verify")
    assert code == 1
    assert lines == [
        "0 events, 0 signals, 0 verdicts: 1 difference",
        f"  journal_gap        journal {path}: its beginning cannot be read",
    ]
    path.unlink()
    assert "holds no journal; `tapewatch run` writes one" in run.refused("replay", "-c", config)


def test_without_a_ledger_there_is_nothing_to_compare_with(run: Command, config: Path) -> None:
    """That is a matter of the configuration, as a journal that is not there is; neither is made."""
    ledger = config.parent / "ledger.db"
    ledger.unlink()
    assert f"ledger.url: {ledger} does not exist" in run.refused("replay", "-c", config, "--verify")
    assert not ledger.exists()
    (config.parent / "journal").rename(config.parent / "elsewhere")
    assert "holds no journal" in run.refused("replay", "-c", config)
    assert not (config.parent / "journal").exists()


def test_a_period_must_have_a_beginning_before_its_end(run: Command, config: Path) -> None:
    """Else nothing would be compared, and all would be equal."""
    err = run.refused("replay", "-c", config, "--verify", "--from", "2025-06-03", "--to", "2025-06-02")
    assert "--from: 2025-06-03 is not before --to 2025-06-02" in err


def test_a_terminal_gets_its_cursor_back(run: Command, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What shows the progress of a comparison is taken away before the result is printed."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)
    code, lines, err = run("replay", "-c", config, "--verify")
    assert (code, lines) == (0, ["0 events, 0 signals, 0 verdicts: all equal"])
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert err.count(hidden) == err.count(shown) == 1
    assert err.index(hidden) < err.index(shown)
