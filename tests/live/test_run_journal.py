"""`run` and its journal: trouble with the disk, stops that could not store everything, restarts, replays meanwhile."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from run_harness import (
    HOUR_MS,
    TO_FILE,
    Line,
    Process,
    agree,
    archive,
    command,
    configure,
    deliveries,
    easy,
    eventually,
    fetch,
    health_url,
    json_lines,
    notices,
    query,
    reached,
    running,
    simulated,
    stored_signals,
    undelivered,
)
from tapewatch.store.segments import segment_paths
from tapewatch.store.snapshot import snapshot_paths

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 6


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An archive, and where its last hours begin."""
    return archive(tmp_path_factory.mktemp("archive"), SYMBOLS, hours=HOURS)


def exchange_options(candles: tuple[Path, int], speed: int) -> tuple[str, ...]:
    """What the simulated exchange is told."""
    return ("--data", str(candles[0]), "--start", str(candles[1]), "--at-end", "hold", "--speed", str(speed))


def verified(folder: Path) -> Line:
    """What `replay --verify` says, asserted to be that all is equal."""
    (result,) = json_lines("replay", "-c", str(folder / "tapewatch.yaml"), "--verify", "--json")
    assert result["equal"], result["differences"]
    return result


def to_the_end(folder: Path, candles: tuple[Path, int], run: Process) -> int:
    """Wait for the last bar, stop, and assert that everything is as it must be; how many events there were."""
    eventually(lambda: reached(folder, SYMBOLS, candles[1] + HOURS * HOUR_MS) or run.code is not None)
    eventually(lambda: not undelivered(folder) or run.code is not None)
    assert run.stop() == 0, run.log
    stored = agree(folder, candles[0], SYMBOLS, candles[1])
    result = verified(folder)
    assert result["signals"] == len(stored)
    return int(result["events"])


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of a few hundred kilobytes and a few dozen files."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k,nr_inodes=64", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def no_more_files(folder: Path) -> bool:
    """Fill a file system with empty files until it takes no more."""
    for number in count(len(list(folder.iterdir()))):
        try:
            (folder / str(number)).touch()
        except OSError:
            return True
    raise AssertionError


@pytest.mark.slow
@pytest.mark.parametrize("where", ["append", "snapshot"])
def test_a_full_disk_under_the_journal_holds_back_and_loses_nothing(
    tmp_path: Path, candles: tuple[Path, int], where: str
) -> None:
    """An append that finds no room holds its step back, as a locked ledger does; a snapshot is only left out."""
    with small_disk(tmp_path / "disk") as disk, simulated(tmp_path, *exchange_options(candles, 3_000)) as exchange:
        journal = {"folder": str(disk / "journal"), "snapshot_every": "1s" if where == "snapshot" else "1h"}
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), alerts=TO_FILE, journal=journal)
        with running(tmp_path) as run:
            url = health_url(run)
            eventually(lambda: "caught_up" in run.log and snapshot_paths(disk / "journal"), every_s=0.01)
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            (disk / "ballast").mkdir()
            if where == "append":
                (disk / "ballast" / "0").write_bytes(bytes(free))
                eventually(lambda: "the disk is full" in fetch(f"{url}/readyz")[1])
                assert fetch(f"{url}/livez")[0] == 200
                assert "ledger_trouble" in run.log
            else:
                # Appends go into a file that is there; a snapshot needs a new one.
                eventually(lambda: no_more_files(disk / "ballast") and "snapshot_failed" in run.log)
                assert not list((disk / "journal").glob("*.saving"))
            shutil.rmtree(disk / "ballast")
            to_the_end(tmp_path, candles, run)
    assert "Traceback" not in run.log


def test_a_stop_while_the_ledger_is_locked_is_made_up_for_by_the_next_run(
    tmp_path: Path, candles: tuple[Path, int]
) -> None:
    """It ends with 0 in its time; what was accepted is in the journal and stored by the next start."""
    with simulated(tmp_path, *exchange_options(candles, 900)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy())
        hasty = "from tapewatch.live import shell\nshell.DRAIN_S = 3.0\n"
        with running(tmp_path, "first", hasty) as run:
            eventually(lambda: query(tmp_path, "SELECT 1 FROM signals"))
            eventually(lambda: "[store] snapshot" in run.log)  # what is stored for one may be a position alone
            with closing(sqlite3.connect(tmp_path / "tapewatch.db", timeout=5.0, isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                eventually(lambda: "[store] ledger_trouble" in run.log or run.code is not None)
                assert run.stop() == 0, run.log
                assert "stopped_with_a_step_not_stored" in run.log
                other.execute("ROLLBACK")
        with running(tmp_path, "second") as run:
            said = eventually(lambda: re.search(r" recovered .*leftover=(\d+)", run.log) or run.code is not None)
            assert said is not True, run.log
            assert int(said[1]) > 0
            to_the_end(tmp_path, candles, run)


def test_a_restart_goes_on_without_loading_anything_again(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """After a clean stop the state is there: nothing is left to be processed, and only what was missed is fetched."""
    with simulated(tmp_path, *exchange_options(candles, 2_000)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy())
        with running(tmp_path, "first") as run:
            eventually(lambda: query(tmp_path, "SELECT 1 FROM signals"))
            assert run.stop() == 0, run.log
        whole = verified(tmp_path)["events"]
        with running(tmp_path, "second") as run:
            eventually(lambda: "caught_up" in run.log or run.code is not None)
            assert re.search(r"recovered .*leftover=0", run.log)
            assert "engine_starts_fresh" not in run.log
            assert to_the_end(tmp_path, candles, run) < 1.5 * whole  # the windows are most of it


def test_alerts_of_a_ledger_that_was_put_back_are_possible_repeats(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """The journal completes an older ledger; what may have been sent is sent again, and says so, once more only."""
    ledger, old = tmp_path / "tapewatch.db", tmp_path / "old"

    def backed_up_with_all_sent() -> bool:
        with closing(sqlite3.connect(ledger)) as now, closing(sqlite3.connect(old)) as then:
            now.backup(then)
            waiting = then.execute("SELECT count(*) FROM messages WHERE state IN ('queued', 'sending')")
            return waiting.fetchone() == (0,)

    with simulated(tmp_path, *exchange_options(candles, 2_000)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), alerts=TO_FILE)
        with running(tmp_path, "first") as run:
            eventually(lambda: len(deliveries(tmp_path)) > 3)
            eventually(backed_up_with_all_sent)
            before = len(deliveries(tmp_path))
            eventually(lambda: len(deliveries(tmp_path)) > before + 10)
            assert run.stop() == 0, run.log
        sent = deliveries(tmp_path)
        assert not any(line["possible_repeat"] for line in sent)
        for rest in tmp_path.glob("tapewatch.db-*"):
            rest.unlink()
        old.replace(ledger)
        with running(tmp_path, "second") as run:
            to_the_end(tmp_path, candles, run)
    again = deliveries(tmp_path)[len(sent) :]
    known = {line["message_id"] for line in sent}
    assert [line["possible_repeat"] for line in again if line["kind"] == "signal"].count(True) >= 10
    fresh = [line for line in again if line["kind"] == "signal" and line["message_id"] not in known]
    assert fresh
    assert not any(line["possible_repeat"] for line in fresh)
    assert "older than its journal" in notices(tmp_path)[0]["subject"]


def test_who_is_liquid_enough_stays_so_across_a_restart(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """A volume that was enough, and is a little less than that now, is enough still: hysteresis knows no restart."""
    with simulated(tmp_path, *exchange_options(candles, 60)) as exchange:
        day = json.loads(fetch(f"{exchange.about['rest_url']}/api/v3/ticker/24hr?symbol=BTCUSDT")[1])
        hourly = float(day["quoteVolume"]) / 24
        eligible = []
        for name, least in (("enough", 0.95), ("less", 1.1), ("far less", 1.4)):
            universe = {"include": ["BTCUSDT"], "min_volume_1h": hourly * least}
            configure(tmp_path, exchange, SYMBOLS, strategies=easy(), universe=universe)
            with running(tmp_path, name) as run:
                eventually(lambda: "caught_up" in run.log or run.code is not None)
                health = json.loads(fetch(f"{health_url(run)}/health")[1])
                eligible.append(health["universe"]["eligible"])
                assert run.stop() == 0, run.log
    assert eligible == [1, 1, 0]


@pytest.mark.slow
def test_a_run_that_was_killed_is_said_by_the_next_and_a_stop_is_not(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """How long it was down and how many candles it missed; low, so that a route by severity can leave it out."""
    with simulated(tmp_path, *exchange_options(candles, 600)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), alerts=TO_FILE)
        with running(tmp_path, "stopped") as run:
            eventually(lambda: query(tmp_path, "SELECT 1 FROM signals") or run.code is not None)
            assert run.stop() == 0, run.log
        with running(tmp_path, "killed") as run:
            eventually(lambda: "caught_up" in run.log or run.code is not None)
            before = run.log.count(" signal ")
            eventually(lambda: run.log.count(" signal ") > before or run.code is not None)
        assert notices(tmp_path) == []
        time.sleep(12.0)  # for ten seconds a simulator waits at a boundary for a client that is gone
        with running(tmp_path, "next") as run:
            eventually(lambda: notices(tmp_path) or run.code is not None)
            assert run.stop() == 0, run.log
        with running(tmp_path, "last") as run:
            eventually(lambda: "caught_up" in run.log or run.code is not None)
            assert run.stop() == 0, run.log
    (notice,) = notices(tmp_path)
    assert notice["subject"] == "[tapewatch] tapewatch goes on"
    said = re.search(r"was down for (\d+) s\. Candles that were missed, .*: (\d+)\.", notice["text"])
    assert said
    assert 12 <= int(said[1]) < 60
    assert int(said[2]) > 0
    assert query(tmp_path, "SELECT severity FROM messages WHERE kind = 'operator'") == [("low",)]


def test_a_damaged_journal_is_said_aloud_and_survived(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """The operator is told, the engine starts fresh, no signal and no alert is lost or doubled; a replay names it."""
    with simulated(tmp_path, *exchange_options(candles, 3_000)) as exchange:
        config = configure(tmp_path, exchange, SYMBOLS, strategies=easy(), alerts=TO_FILE)
        with running(tmp_path, "first") as run:
            eventually(lambda: len(query(tmp_path, "SELECT 1 FROM signals")) > 4 or run.code is not None)
        (path,) = segment_paths(tmp_path / "tapewatch.db.journal")
        raw = bytearray(path.read_bytes())
        middle = raw.index(b"TWJ1", len(raw) * 3 // 4)
        raw[middle + 40] ^= 1
        path.write_bytes(raw)
        with running(tmp_path, "second") as run:
            eventually(lambda: notices(tmp_path) or run.code is not None)
            assert "engine_starts_fresh" in run.log
            eventually(lambda: reached(tmp_path, SYMBOLS, candles[1] + HOURS * HOUR_MS) or run.code is not None)
            eventually(lambda: not undelivered(tmp_path) or run.code is not None)
            assert run.stop() == 0, run.log
    agree(tmp_path, candles[0], SYMBOLS, candles[1])
    assert [notice["subject"] for notice in notices(tmp_path)] == ["[tapewatch] The journal is damaged"]
    done = command("replay", "-c", str(config), "--verify")
    assert done.returncode == 1
    assert "journal_gap" in done.stdout
    assert path.name in done.stdout
    assert "Traceback" not in done.stderr


def test_a_bar_that_breaks_the_engine_ends_one_run_and_no_second(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """The first run exits 1 with an alert to the operator; the next leaves that bar out and goes on to the end."""
    bad_ms = candles[1] + 40 * 60_000
    program = f"""
from tapewatch.engine import Engine
from tapewatch.model import BarClosed
process = Engine.process
def broken(self, event):
    if isinstance(event, BarClosed) and (event.bar.symbol, event.bar.open_ms) == ("ETHUSDT", {bad_ms}):
        raise RuntimeError("cannot be")
    return process(self, event)
Engine.process = broken
"""
    with simulated(tmp_path, *exchange_options(candles, 3_000)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), alerts=TO_FILE)
        with running(tmp_path, "first", program) as run:
            assert run.wait() == 1
        with running(tmp_path, "second", program) as run:
            eventually(lambda: reached(tmp_path, SYMBOLS, candles[1] + HOURS * HOUR_MS) or run.code is not None)
            assert run.stop() == 0, run.log
    assert any("unexpected error" in notice["subject"] for notice in notices(tmp_path))
    assert not query(tmp_path, f"SELECT 1 FROM signals WHERE symbol = 'ETHUSDT' AND open_ms = {bad_ms}")
    assert verified(tmp_path)["signals"] == len(stored_signals(tmp_path))


def test_a_replay_works_while_the_run_is_on(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """All that is stored by then is equal; without --verify its signals are listed as stored, but for outcomes."""
    with simulated(tmp_path, *exchange_options(candles, 600)) as exchange:
        config = configure(tmp_path, exchange, SYMBOLS, strategies=easy())
        assert command("replay", "-c", str(config), "--verify").returncode == 2  # there is no ledger yet
        missing = command("replay", "-c", str(config))
        assert (missing.returncode, "holds no journal" in missing.stderr) == (2, True)
        with running(tmp_path) as run:
            eventually(lambda: query(tmp_path, "SELECT 1 FROM signals"))
            (tmp_path / "other").mkdir()
            other = configure(
                tmp_path / "other", exchange, SYMBOLS, journal={"folder": str(tmp_path / "tapewatch.db.journal")}
            )
            refused = command("run", "-c", str(other))
            assert (refused.returncode, "journal.folder" in refused.stderr) == (2, True)
            first = verified(tmp_path)["signals"]
            assert first > 0
            eventually(lambda: verified(tmp_path)["signals"] > first)
            assert run.code is None
            assert run.stop() == 0, run.log
    listed = json_lines("replay", "-c", str(config), "--json")
    stored = [{key: one[key] for key in one if key != "outcome"} for one in stored_signals(tmp_path)]
    order = sorted(listed, key=lambda one: (one["close_ms"], one["symbol"], one["timeframe"], one["side"]))
    assert order == sorted(stored, key=lambda one: (one["close_ms"], one["symbol"], one["timeframe"], one["side"]))
    middle = stored[len(stored) // 2]["close_ms"]
    part = json_lines("replay", "-c", str(config), "--json", "--from", str(middle))
    assert {one["id"] for one in part} == {one["id"] for one in stored if one["close_ms"] >= middle}
    with closing(sqlite3.connect(tmp_path / "tapewatch.db")) as ledger:
        ledger.execute(
            "UPDATE signals SET late = 1, body = replace(body, '\"entry\":', '\"entry\":1') WHERE id = ?",
            [part[0]["id"]],
        )
        ledger.execute("DELETE FROM signals WHERE id = ?", [part[1]["id"]])
        ledger.execute("UPDATE signals SET id = id || '0' WHERE id = ?", [part[2]["id"]])
        ledger.commit()
    done = command("replay", "-c", str(config), "--verify", "--json")
    assert done.returncode == 1
    assert '"equal":false' in done.stdout
    for reason in ("value", "verdict", "missing_in_ledger", "missing_in_replay"):
        assert f'"reason":"{reason}"' in done.stdout
