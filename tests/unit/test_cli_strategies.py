"""`tapewatch strategies`: what ships, what one is, and whether one's own is sound."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Command
from tapewatch import strategies


def test_the_catalogue_lists_what_ships(run: Command) -> None:
    """One line each, for people and as JSON."""
    code, lines, _ = run("strategies")
    assert code == 0
    assert [line.split()[0] for line in lines] == list(strategies.shipped())
    found = run.objects("strategies")
    assert [one["name"] for one in found] == list(strategies.shipped())
    assert found[-1]["timeframes"]


def test_show_prints_a_strategy_and_its_code(run: Command) -> None:
    """Factors, distances and settling; with --code the Python of every timeframe, which compiles."""
    _, lines, _ = run("strategies", "show", "scalp")
    text = "\n".join(lines)
    assert "scalp on 1m, 5m" in text
    assert "long: at least 5 of 5, always cross" in text
    assert "settled on 1m after 691 bars of 5m, 1,440 bars of 1m" in text
    described = json.loads(run("strategies", "show", "scalp", "--json")[1][0])
    assert described["settled_after_bars"] == {"1m": {"5m": 691, "1m": 1440}, "5m": {"1h": 691, "5m": 691}}
    assert described["duplicate"] == {"window_ms": 300_000, "move": 0.003}
    assert (described["break_even"], described["trailing"]) == (None, None)
    code = "\n".join(run("strategies", "show", "scalp", "--code")[1])
    compile(code, "shown", "exec")
    assert code.count("def step(") == 4
    assert run("strategies", "show", "scalp", "--code", "--json") == (
        2,
        [],
        "tapewatch: --code prints Python; it takes no --json\n",
    )


def test_check_accepts_a_sound_file_and_points_into_a_wrong_one(run: Command, tmp_path: Path) -> None:
    """Exit 0 and a word, or exit 2 and the place."""
    file = tmp_path / "mine.yaml"
    file.write_text("mine: {timeframes: [1m], long: {up: close > open}, stop: 1, targets: [{at: 1, share: 100%}]}")
    code, lines, _ = run("strategies", "check", file)
    assert (code, lines[-1]) == (0, "The strategy is sound.")
    sound = file.read_text()
    moves = "break_even: atr(2), trailing: {after: 3, by: 'sma(close, 900) / 50'},"
    file.write_text(sound.replace("stop: 1,", "stop: 1, " + moves))
    _, lines, _ = run("strategies", "check", file)
    assert {"break-even: after atr(2)", "trailing stop: sma(close, 900) / 50, after 3"} <= set(lines)
    assert lines[-3] == "settled on 1m after 899 bars of 1m"
    described = json.loads(run("strategies", "show", file, "--json")[1][0])
    assert described["break_even"] == "atr(2)"
    assert described["trailing"] == {"after": "3", "by": "sma(close, 900) / 50"}
    file.write_text(sound.replace("stop: 1,", "stop: 1, trailing: {by: 2 * atr(14) - 0 * clsoe},"))
    assert run("strategies", "check", file)[2].startswith("tapewatch: mine.trailing.by: unknown name 'clsoe'")
    file.write_text(sound.replace("close > open", "close > opne"))
    code, lines, err = run("strategies", "check", file)
    assert (code, lines) == (2, [])
    told = err.splitlines()
    assert told[0] == "tapewatch: mine.long.up: unknown name 'opne'; did you mean 'open'?"
    assert told[1][told[2].index("^") :] == "opne"
