"""A run of today goes on with the ledger and the journal that an earlier version left when it was killed."""

from __future__ import annotations

import json
from pathlib import Path

from ruamel.yaml import YAML

from ledger_rows import left_behind
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
    ended = query(tmp_path, "SELECT * FROM trades WHERE state IN ('closed', 'skipped')")
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
    assert set(ended) <= set(query(tmp_path, "SELECT * FROM trades"))
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


def over(folder: Path, held: str) -> bool:
    """Whether the position is closed, nothing waits, and some bars have come since."""
    reached = (series_of(folder).get((SYMBOL, MINUTE_MS), (0, None))[1] or 0) >= BACK_MS + 30 * MINUTE_MS
    closed = query(folder, f"SELECT 1 FROM trades WHERE trade_id = '{held}' AND state = 'closed'")
    return reached and bool(closed) and not query(folder, "SELECT 1 FROM messages WHERE state IN ('queued', 'sending')")


def reconfigure(folder: Path, about: dict[str, str]) -> None:
    """The configuration of then, for today's exchange and with a file in the place of the mail server."""
    path = folder / "tapewatch.yaml"
    settings = YAML().load(path.read_text())
    del settings["paper"]["funding_url"]
    settings["exchange"] |= {key: about[key] for key in ("rest_url", "ws_url")} | {"futures_url": about["rest_url"]}
    settings["channels"]["mail"] = {"type": "file", "path": "mail.jsonl"}
    with path.open("w") as file:
        YAML().dump(settings, file)
