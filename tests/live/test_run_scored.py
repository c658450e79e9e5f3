"""A scoring model at the gate of a whole run: scored live, over a kill and another model, as on stored candles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from run_harness import (
    HOUR_MS,
    archive,
    command,
    configure,
    deliveries,
    easy,
    eventually,
    json_lines,
    query,
    reached,
    running,
    simulated,
    stored_signals,
)
from scored_samples import HIGH, LOW, document

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 4


def write_model(folder: Path, **given: Any) -> Path:
    """The file that the configuration names; replaced whole, as a train does."""
    path, fresh = folder / "model.json", folder / "fresh.json"
    fresh.write_text(json.dumps(document("scalp", **given)))
    fresh.rename(path)
    return path


def count(folder: Path) -> int:
    """How many signals are stored so far."""
    return len(query(folder, "SELECT id FROM signals"))


def scores(folder: Path) -> set[float | None]:
    """Those of the signals stored so far."""
    return {json.loads(body)["score"] for (body,) in query(folder, "SELECT body FROM signals")}


def test_signals_are_scored_and_blocked_by_their_scores(tmp_path: Path) -> None:
    """Over a kill and a change of the file; a replay comes to the same without it, and so does a search."""
    root, start_ms = archive(tmp_path, SYMBOLS, hours=HOURS)
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "600")
    model = write_model(tmp_path, at=1e9)  # above which no volume is: all are unlikely
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy("1m"), gate={"score": [{"model": "model.json"}]})
        with running(tmp_path, "first") as run:
            eventually(lambda: count(tmp_path) > 3 or run.code is not None)
            run.kill()
        assert scores(tmp_path) == {LOW}
        before = count(tmp_path)
        with running(tmp_path, "second") as run:
            eventually(lambda: count(tmp_path) > before or run.code is not None)
            write_model(tmp_path, at=1.0)
            eventually(lambda: "gate.score: other contents" in run.log or run.code is not None)
            eventually(lambda: HIGH in scores(tmp_path) or run.code is not None)
            write_model(tmp_path, at=1.0, skill=False)
            eventually(lambda: "configuration_refused" in run.log or run.code is not None)
            eventually(lambda: reached(tmp_path, SYMBOLS, start_ms + HOURS * HOUR_MS) or run.code is not None)
            assert run.stop() == 0, run.log
    assert "it has no skill and does not serve" in run.log
    write_model(tmp_path, at=1.0)
    stored = stored_signals(tmp_path)
    late = [one for one in stored if one["score"] == HIGH]
    assert {one["score"] for one in stored} == {LOW, HIGH}
    for one in stored:
        said = next(verdict for verdict in one["verdicts"] if verdict["check"] == "score")
        assert said["pass"] is (one["score"] == HIGH)
        assert said["pass"] or said["reason"] == "the model gives it 26.9%, at least 50.0% is asked"
    told = deliveries(tmp_path)
    assert {line["alert_id"] for line in told} == {one["alert_id"] for one in late if one["state"] == "passed"}
    assert told
    assert all("Model: 73% to touch the target first" in line["text"] for line in told)
    asked = ("--strategy", "scalp", "--set", "min_factors=3", "--interval", "1m", "--data", str(root))
    found = {one["id"]: one for one in json_lines("signals", *asked, "--model", str(model), "--json")}
    assert all(found[one["id"]]["score"] == HIGH for one in late)
    model.unlink()
    done = command("replay", "-c", str(tmp_path / "tapewatch.yaml"), "--verify", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["signals"] == len(stored)
