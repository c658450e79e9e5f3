"""`tapewatch maintenance`: the command, and a run that follows it within seconds and across a restart."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from command_line import Command
from run_harness import (
    TO_FILE,
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
    running,
    simulated,
)

HOUR_MS = 3_600_000
#: A strategy's step raises on one symbol, so that the operator has something to hear again and again.
BROKEN_STEP = """
from tapewatch.engine.series import Runner
feed = Runner.feed
def broken(self, bar, **more):
    if bar.symbol == "ETHUSDT" and bar.interval_ms == 60_000:
        raise ArithmeticError("no such number")
    return feed(self, bar, **more)
Runner.feed = broken
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration."""
    return configure(tmp_path, "127.0.0.1:9", ["BTCUSDT"])


def test_it_says_what_is_on_and_what_is_planned(run: Command, config: Path) -> None:
    """Now unless said, with its reason; ended at once; where none is on, what is planned goes."""
    assert run("maintenance", "-c", config)[1] == ["no maintenance"]
    before_ms = time.time_ns() // 1_000_000
    (window,) = run.objects("maintenance", "2h", "--reason", "new disk", "-c", config)
    assert before_ms <= window["from_ms"] <= before_ms + 60_000
    assert window["until_ms"] - window["from_ms"] == 2 * HOUR_MS
    assert (window["reason"], window["on"]) == ("new disk", True)
    at_ms = before_ms + 5 * HOUR_MS
    run("maintenance", "30m", "--at", at_ms, "-c", config)
    first, second = run("maintenance", "-c", config)[1]
    assert first.startswith("maintenance until ")
    assert first.endswith(" UTC: new disk")
    assert second.startswith("maintenance from ")
    (left,) = run.objects("maintenance", "--end", "-c", config)
    assert (left["from_ms"], left["on"]) == (at_ms, False)
    assert run("maintenance", "--end", "-c", config)[1] == ["no maintenance"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["soon"], "maintenance: 'soon' is no duration as 30m, 2h or 1d"),
        (["0s"], "maintenance: '0s' is no duration as 30m, 2h or 1d"),
        (["9" * 400 + "d"], "is no duration as 30m, 2h or 1d"),
        (["2h", "--at", "2020-01-01"], "--at: 2020-01-01 is over"),
        (["2h", "--at", "noon"], "--at: 'noon' is neither an ISO time"),
        (["--reason", "x"], "maintenance: say how long"),
        (["2h", "--end"], "--end ends what is on; it takes no duration"),
        (["2h", "-c", "none.yaml"], "none.yaml"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_words(run: Command, config: Path, arguments: list[str], said: str) -> None:
    """Exit 2, and nothing is planned."""
    own = [] if "-c" in arguments else ["-c", config]
    assert said in run.refused("maintenance", *arguments, *own)
    assert run("maintenance", "-c", config)[1] == ["no maintenance"]


@pytest.mark.slow
def test_a_run_is_silent_meanwhile_and_says_afterwards_what_happened(tmp_path: Path) -> None:
    """Within seconds and across a restart; alerts of signals go out; `status` shows it; one alert at its end."""
    options = ("--synthetic", "4", "--symbols", "BTCUSDT,ETHUSDT", "--at-end", "hold", "--speed", "3000")
    with simulated(tmp_path, *options) as exchange:
        config = configure(tmp_path, exchange, ["BTCUSDT", "ETHUSDT"], strategies=easy("1m"), alerts=TO_FILE)
        json_lines("maintenance", "1d", "--reason", "new disk", "-c", str(config), "--json")
        with running(tmp_path, "first", BROKEN_STEP) as first:
            eventually(lambda: query(tmp_path, "SELECT 1 FROM troubles WHERE held > 0") or first.code is not None)
            eventually(lambda: deliveries(tmp_path) or first.code is not None)
            assert first.stop() == 0, first.log
        with running(tmp_path, "second", BROKEN_STEP) as second:
            url = health_url(second)
            shown = eventually(lambda: json.loads(fetch(f"{url}/health")[1])["operator"]["maintenance"])
            assert shown["reason"] == "new disk"
            port = url.rpartition(":")[2]
            assert "told nothing until" in command("status", "-c", str(config), "--port", port).stdout
            eventually(lambda: second.log.count("step_failed") > 3 or second.code is not None)
            assert notices(tmp_path) == []
            assert json_lines("maintenance", "--end", "-c", str(config), "--json") == []
            started_s = time.monotonic()
            eventually(lambda: notices(tmp_path) or second.code is not None)
            assert time.monotonic() - started_s < 15
            assert second.stop() == 0, second.log
    told = notices(tmp_path)
    assert told[0]["subject"] == "[tapewatch] Maintenance is over"
    assert "new disk" in told[0]["text"]
    assert "- Strategy scalp failed on ETHUSDT (" in told[0]["text"]
    assert " times, last at " in told[0]["text"]
    assert query(tmp_path, "SELECT * FROM maintenance") == []
