"""A run of today goes on with the ledger and the journal that an earlier version left when it was killed."""

from __future__ import annotations

import json
from pathlib import Path

from ruamel.yaml import YAML

from ledger_rows import LEFT_0008, left_behind
from run_harness import (
    MINUTE_MS,
    Line,
    archive,
    command,
    eventually,
    lines_of,
    query,
    running,
    series_of,
    simulated,
)

SYMBOL = "BTCUSDT"
#: The last bar of the version that was killed opened here; today's comes back ten minutes later.
KILLED_MS = 1_748_911_500_000
BACK_MS = KILLED_MS + 10 * MINUTE_MS


def test_what_an_earlier_version_left_is_taken_over(tmp_path: Path) -> None:
    """What waited is delivered, what was open ends by its own levels, and both journals lead to the same trades."""
    left_behind(tmp_path)
    root, _ = archive(tmp_path, (SYMBOL,), hours=26)
    waiting = {one for (one,) in query(tmp_path, "SELECT message_id FROM messages WHERE state = 'queued'")}
    ((held, stop),) = query(tmp_path, "SELECT trade_id, stop FROM trades WHERE state = 'open'")
    trades = ", ".join(name for _, name, *_ in query(tmp_path, "PRAGMA table_info(trades)"))
    ended = query(tmp_path, f"SELECT {trades} FROM trades WHERE state IN ('closed', 'skipped')")
    options = ("--data", str(root), "--start", str(BACK_MS), "--at-end", "hold", "--speed", "600")
    with simulated(tmp_path, *options) as exchange:
        reconfigure(tmp_path, exchange.about)
        with running(tmp_path) as run:
            eventually(lambda: over(tmp_path, held) or run.code is not None)
            assert run.stop() == 0, run.log
    assert "engine_starts_fresh" in run.log
    assert len(waiting) > 5
    assert waiting <= {line["message_id"] for line in lines_of(tmp_path / "mail.jsonl")}
    assert query(tmp_path, "SELECT 1 FROM messages WHERE state NOT IN ('sent', 'late')") == []
    ((entered, left),) = query(
        tmp_path, f"SELECT sum(number = 0), sum(number > 0) FROM fills WHERE trade_id = '{held}'"
    )
    assert (entered, left) == (1, 2)  # the first target before the kill, the stop after it
    ((price, reason),) = query(tmp_path, f"SELECT price, reason FROM fills WHERE trade_id = '{held}' AND number = 2")
    assert reason == "stop"
    assert float(price) <= float(stop)
    assert set(ended) <= set(query(tmp_path, f"SELECT {trades} FROM trades"))
    ((first,),) = query(tmp_path, f"SELECT count(*) FROM signals WHERE close_ms <= {KILLED_MS + MINUTE_MS}")
    assert first == 31
    done = command("replay", "-c", str(tmp_path / "tapewatch.yaml"), "--verify", "--json")
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert {line["reason"] for line in result["differences"]} == {"version"}
    by_kind: dict[str, list[Line]] = {"verdict": [], "outcome": []}
    for line in result["differences"]:
        by_kind[line["what"]].append(line)
    assert (len(by_kind["verdict"]), len(by_kind["outcome"])) == (first, 4)  # all signals, all alerts of then
    for line in by_kind["verdict"]:  # a check that there was not
        assert line["live"] == [one for one in line["replayed"] if one["check"] != "correlated"]
    assert {line["replayed"] for line in by_kind["outcome"]} == {None}  # it followed alerts only, and in its own way
    assert result["signals"] > first
    assert result["trades"] > len(ended) + 1


def test_what_the_last_revision_left_is_taken_over_once(tmp_path: Path) -> None:
    """Its journal is of another version, so the engine starts fresh: what was followed ends, and nothing is doubled."""
    left_behind(tmp_path, LEFT_0008)
    root, _ = archive(tmp_path, (SYMBOL,), hours=26)
    killed_ms = series_of(tmp_path)[SYMBOL, MINUTE_MS][1] or 0
    waiting = {one for (one,) in query(tmp_path, "SELECT message_id FROM messages WHERE state = 'queued'")}
    signals, ended = "id, state, alert_id, body", "signal_id, result, price, ms"
    found = set(query(tmp_path, f"SELECT {signals} FROM signals"))
    known = set(query(tmp_path, f"SELECT {ended} FROM outcomes"))
    followed = {one for one, *_ in found} - {one for one, *_ in known}
    options = ("--data", str(root), "--start", str(killed_ms + 10 * MINUTE_MS), "--at-end", "hold", "--speed", "600")
    with simulated(tmp_path, *options) as exchange:
        reconfigure(tmp_path, exchange.about)
        with running(tmp_path) as run:
            eventually(lambda: taken_over(tmp_path, killed_ms + 45 * MINUTE_MS, followed) or run.code is not None)
            assert run.stop() == 0, run.log
    assert "it was written by version 0.0.8" in run.log
    assert followed
    assert found <= set(query(tmp_path, f"SELECT {signals} FROM signals"))
    assert known <= set(query(tmp_path, f"SELECT {ended} FROM outcomes"))
    numbers = [number for (number,) in query(tmp_path, "SELECT number FROM signals ORDER BY number")]
    assert numbers[: len(found)] == list(range(1, len(found) + 1))
    assert len(numbers) > len(found)
    assert query(tmp_path, f"SELECT id FROM signals WHERE number > {len(found)} AND close_ms <= {killed_ms}") == []
    delivered = [line["message_id"] for line in lines_of(tmp_path / "mail.jsonl")]
    assert waiting <= set(delivered)
    assert len(delivered) == len(set(delivered))
    assert query(tmp_path, "SELECT name FROM leases ORDER BY name") == [("positions",), ("relay",), ("scanner",)]
    assert query(tmp_path, "SELECT watched FROM instruments") == [(1,)]
    [(days,)] = query(tmp_path, "SELECT count(DISTINCT day_ms) FROM daily_metrics")
    assert days == 2


def taken_over(folder: Path, until_ms: int, followed: set[str]) -> bool:
    """Whether bars have come up to then, what was followed but for the position that is held has ended, none waits."""
    reached = (series_of(folder).get((SYMBOL, MINUTE_MS), (0, None))[1] or 0) >= until_ms
    ended = {one for (one,) in query(folder, "SELECT signal_id FROM outcomes")}
    left = {one for one in followed - ended if "/hold/" not in one}
    waits = query(folder, "SELECT 1 FROM messages WHERE state IN ('queued', 'sending')")
    return reached and not left and not waits


def over(folder: Path, held: str) -> bool:
    """Whether the position is closed, nothing waits, and some bars have come since."""
    reached = (series_of(folder).get((SYMBOL, MINUTE_MS), (0, None))[1] or 0) >= BACK_MS + 30 * MINUTE_MS
    closed = query(folder, f"SELECT 1 FROM trades WHERE trade_id = '{held}' AND state = 'closed'")
    return reached and bool(closed) and not query(folder, "SELECT 1 FROM messages WHERE state IN ('queued', 'sending')")


def reconfigure(folder: Path, about: dict[str, str]) -> None:
    """The configuration of then, for today's exchange and with a file in the place of the mail server."""
    path = folder / "tapewatch.yaml"
    settings = YAML().load(path.read_text())
    settings["paper"].pop("funding_url", None)
    settings["exchange"] |= {key: about[key] for key in ("rest_url", "ws_url")} | {"futures_url": about["rest_url"]}
    settings["channels"]["mail"] = {"type": "file", "path": "mail.jsonl"}
    with path.open("w") as file:
        YAML().dump(settings, file)
