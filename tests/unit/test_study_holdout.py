"""What is held out of a search, and the register of who has looked at it."""

from __future__ import annotations

import threading
from pathlib import Path

import polars as pl
import pytest
from msgspec.structs import replace

from command_line import store
from core_samples import MONDAY_MS, walk
from core_samples import mapping as smallest
from tapewatch.errors import SetupError
from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.record import HOUR_MS
from tapewatch.strategy import from_mapping
from tapewatch.study.backtest import Plan
from tapewatch.study.holdout import Holdout, Opening, Register, said
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request
from tapewatch.study.sweep import Sweep

MINUTES = 2 * 24 * 60
OPENING = Opening(1, "binance_spot", ("AAAUSDT", "BBBUSDT"), 100, 200, "scalp", {"fast": 5.0})


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    """Two days of one symbol."""
    store(tmp_path / "archive", walk(MINUTES))
    return Request(tmp_path / "archive", "binance_spot", ["AAAUSDT"])


def test_the_last_share_of_the_period_is_held_out_from_a_full_hour(request_: Request) -> None:
    """20% of two days are the last ten hours, for 9.6 would begin within one."""
    held = Holdout.of(request_, 0.2)
    end_ms = MONDAY_MS + 2 * DAY_MS
    assert (held.from_ms, held.to_ms) == (end_ms - 10 * HOUR_MS, end_ms)
    assert (held.training.from_ms, held.training.to_ms, held.training.until_ms) == (None, held.from_ms, held.from_ms)
    assert (held.unseen.from_ms, held.unseen.to_ms, held.unseen.until_ms) == (held.from_ms, held.to_ms, None)
    with pytest.raises(SetupError, match=r"--holdout: 1% of this period"):
        Holdout.of(Request(request_.root, "binance_spot", ["AAAUSDT"], to_ms=MONDAY_MS + 20 * MINUTE_MS), 0.01)


def test_a_search_does_not_read_what_is_held_out(request_: Request) -> None:
    """With garbage in its place every figure is the same to the last bit, and without the hold-out none is."""
    held = Holdout.of(request_, 0.2)
    strategy = from_mapping("probe", smallest())

    def tried(request: Request) -> list[object]:
        sweep = Sweep(smallest(), Plan(strategy, request, Account(kind="perpetual")))
        return [(repr(dict(one.figures)), one.blocks.tobytes()) for one in sweep.tried([{}])]

    inside, whole = tried(held.training), tried(request_)
    path = request_.root / "binance_spot" / "AAAUSDT" / "1m.parquet"
    frame = pl.read_parquet(path)
    late = pl.col(frame.columns[0]) >= frame[frame.columns[0]][MINUTES - 600]
    prices = [name for name in frame.columns if frame[name].dtype == pl.Float64]
    frame.with_columns([pl.when(late).then(pl.col(name) * 7).otherwise(pl.col(name)) for name in prices]).write_parquet(
        path
    )
    assert tried(held.training) == inside
    assert tried(request_) != whole


def test_openings_are_counted_where_somebody_has_seen_some_of_the_same(tmp_path: Path) -> None:
    """The same venue, a common symbol, and periods that meet; the own opening is not among the earlier ones."""
    register = Register(tmp_path / "state" / "holdouts.jsonl")
    assert register.open(OPENING) == []
    assert register.open(replace(OPENING, opened_ms=2, symbols=("BBBUSDT",), from_ms=199, to_ms=300)) == [OPENING]
    assert register.open(replace(OPENING, from_ms=300, to_ms=400)) == []
    assert register.open(replace(OPENING, venue="other")) == []
    assert register.open(replace(OPENING, symbols=("CCCUSDT",))) == []
    earlier = register.open(replace(OPENING, strategy="trend"))
    assert [one.opened_ms for one in earlier] == [1, 2]
    assert said(earlier) == "opened 2 times before: no longer unseen"
    assert said(earlier[:1]) == "opened once before: no longer unseen"
    assert said([]) == "opened for the first time"


def test_the_register_is_in_the_folder_for_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$XDG_STATE_HOME`, else `~/.local/state`."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert Register().path == tmp_path / "tapewatch" / "holdouts.jsonl"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Register().path == tmp_path / ".local" / "state" / "tapewatch" / "holdouts.jsonl"


def test_two_at_once_lose_no_line(tmp_path: Path) -> None:
    """Of 40 openings by four threads each sees a different number before it."""
    register, seen = Register(tmp_path / "holdouts.jsonl"), []

    def work() -> None:
        seen.extend(len(register.open(OPENING)) for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(40))


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    """The option, the file and the line; and nothing is added to a file that is none."""
    path = tmp_path / "holdouts.jsonl"
    path.write_text("{}\n")
    with pytest.raises(SetupError, match=r"--holdout-register: .*holdouts.jsonl: line 1 is no opening"):
        Register(path).open(OPENING)
    assert path.read_text() == "{}\n"
    for register in (path, tmp_path):
        with pytest.raises(SetupError, match="--holdout-register: "):
            Register(register).check()
    with pytest.raises(SetupError, match=r"--holdout-register: .*: Is a directory"):
        Register(tmp_path).open(OPENING)
