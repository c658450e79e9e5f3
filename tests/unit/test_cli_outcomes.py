"""`tapewatch signals --outcomes`: its lines, its summary, and how mistakes are told."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from command_line import Command, store
from core_samples import MONDAY_MS, walk
from tapewatch.model import MINUTE_MS

LOOSE = ["--strategy", "scalp", "--set", "min_factors=3"]
KEYS = {
    "result", "ambiguous", "bars", "mfe_r", "mae_r", "baseline", "net_r", "gross_r", "gross_pct", "risk_pct", "regime",
    "price", "ms", "known_ms",
}  # fmt: skip
#: Four hours before the candles end.
FEW_FROM = MONDAY_MS + (4_320 - 240) * MINUTE_MS


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of minutes."""
    root = tmp_path_factory.mktemp("archive")
    store(root, walk(4_320, 1))
    return root


def test_every_line_says_what_became_of_its_candidate(run: Command, archive: Path) -> None:
    """The pinned keys and a few more; everything else is as without the option, and R is what prices say."""
    plain = run.objects("signals", *LOOSE, "--data", archive)
    lines = run.objects("signals", *LOOSE, "--data", archive, "--outcomes")
    assert [{**line, "outcome": None} for line in plain] == [{**line, "outcome": None} for line in lines]
    ended = 0
    for line in lines:
        outcome = line["outcome"]
        assert set(outcome) == KEYS
        assert outcome["result"] in ("target", "stop", "time", "open")
        if line["timeframe"] == "1m":  # three days settle no bar of 5m
            assert 0.0 <= outcome["baseline"] <= 1.0
        if outcome["result"] == "open":
            assert (outcome["net_r"], outcome["price"], outcome["ms"]) == (None, None, None)
            continue
        ended += 1
        assert outcome["bars"] >= 1
        assert outcome["mae_r"] <= min(0.0, outcome["gross_r"]) <= max(0.0, outcome["gross_r"]) <= outcome["mfe_r"]
        risk = line["entry"] - line["stop"]
        assert outcome["gross_r"] == pytest.approx((outcome["price"] - line["entry"]) / risk)
        assert outcome["net_r"] == pytest.approx(outcome["gross_r"] - 0.002 * line["entry"] / abs(risk))
        if outcome["result"] == "target":
            assert outcome["price"] == line["targets"][0]["price"]
    assert ended > 50


def test_a_candidate_is_open_where_the_candles_end(run: Command, tmp_path: Path) -> None:
    """One on the last candle has had no bar at all."""
    bars = walk(4_320, 1)
    store(tmp_path / "whole", bars)
    found = run.objects("signals", *LOOSE, "--data", tmp_path / "whole", "--interval", "1m")
    close_ms = found[-5]["close_ms"]
    store(tmp_path / "cut", [bar for bar in bars if bar.close_ms <= close_ms])
    lines = run.objects("signals", *LOOSE, "--data", tmp_path / "cut", "--interval", "1m", "--outcomes")
    last = lines[-1]
    assert last["close_ms"] == close_ms
    assert (last["outcome"]["result"], last["outcome"]["bars"], last["outcome"]["mfe_r"]) == ("open", 0, 0.0)


def test_costs_are_the_users(run: Command, archive: Path) -> None:
    """Without any, a signal brings after them what it brought before."""
    arguments = ("signals", *LOOSE, "--data", archive, "--interval", "1m", "--outcomes")
    for line in run.objects(*arguments, "--cost-bps", 0):
        assert line["outcome"]["net_r"] == line["outcome"]["gross_r"]
    code, lines, _ = run(*arguments, "--cost-bps", 7.5)
    assert code == 0
    assert "costs of 7.5 bps" in " ".join(lines)


def test_the_summary_says_what_it_is_worth(run: Command, archive: Path) -> None:
    """By timeframe: the rate beside chance, what is left after costs, and that it fits 100 columns."""
    code, lines, err = run("signals", *LOOSE, "--data", archive, "--outcomes")
    assert (code, err) == (0, "")
    start = next(n for n, line in enumerate(lines) if line.endswith(" signals"))
    text = "\n".join(lines[start + 1 :])
    assert text.count("target first") == 2
    for words in ("scalp 1m", "scalp 5m", "random entries", "after costs", "break even", "lift"):
        assert words in text
    assert max(map(len, lines[start + 1 :])) < 80


def test_an_ambiguous_one_is_among_those_stopped(run: Command, archive: Path, tmp_path: Path) -> None:
    """A candle holds both levels of a signal before it: the counts add up to those that are told."""
    close_ms = run.objects("signals", *LOOSE, "--data", archive, "--interval", "1m")[50]["close_ms"]
    bars = walk(4_320, 1)
    place = next(n for n, bar in enumerate(bars) if bar.open_ms == close_ms)
    bars[place] = msgspec.structs.replace(bars[place], high=bars[place].high * 1.1, low=bars[place].low * 0.9)
    store(tmp_path, bars)
    arguments = ("signals", *LOOSE, "--data", tmp_path, "--interval", "1m", "--outcomes")
    fates = [line["outcome"] for line in run.objects(*arguments)]
    ends, ambiguous = Counter(fate["result"] for fate in fates), sum(fate["ambiguous"] for fate in fates)
    (ended,) = (line.split(maxsplit=1)[1] for line in run(*arguments)[1] if line.startswith("  ended"))
    assert ambiguous > 0
    assert ended.startswith(f"target {ends['target']}, stop {ends['stop']} ({ambiguous} of them ambiguous)")


def test_what_is_not_known_has_no_row(run: Command, archive: Path) -> None:
    """With few random entries neither chance nor lift, with few signals no newest ones apart."""
    lines = run("signals", *LOOSE, "--data", archive, "--interval", "1m", "--from", FEW_FROM, "--outcomes")[1]
    rows = {line[2:15].strip(): line[15:] for line in lines if line.startswith("  ")}
    assert set(rows) == {"ended", "random", "before costs", "after costs", "break even"}
    assert rows["random"].endswith(", too few for a rate")
    assert rows["after costs"].endswith(" R a signal")


def test_no_candidate_is_told_as_none(run: Command, archive: Path) -> None:
    """A period without any has no figures to be mistaken for some."""
    to_ms = MONDAY_MS + 2 * MINUTE_MS
    code, lines, _ = run("signals", *LOOSE, "--data", archive, "--to", to_ms, "--interval", "1m", "--outcomes")
    assert (code, lines) == (0, ["0 signals", "scalp 1m: no signal has ended yet"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--outcomes", "--forecast"], "ask one at a time"),
        (["--outcomes", "--certify"], "ask one at a time"),
        (["--cost-bps", "5"], "--cost-bps is of what became of candidates; it goes with --outcomes"),
        (["--outcomes", "--cost-bps", "-1"], "--cost-bps"),
        (["--outcomes", "--stored"], "it takes no --data"),
    ],
)
def test_mistakes_are_told(run: Command, archive: Path, arguments: list[str], words: str) -> None:
    """Exit 2, in words."""
    assert words in run.refused("signals", *LOOSE, "--data", archive, *arguments)


def test_json_lines_are_one_document_each(run: Command, archive: Path) -> None:
    """No summary among them."""
    _, lines, _ = run("signals", *LOOSE, "--data", archive, "--outcomes", "--json")
    assert all("outcome" in json.loads(line) for line in lines)
