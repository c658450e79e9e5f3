"""`tapewatch why`: every factor of a bar, the closest misses, and how the user's mistakes are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from command_line import Command, store
from core_samples import MONDAY_MS, bits, walk
from tapewatch import strategies
from tapewatch.archive.candles import Candles
from tapewatch.archive.reader import series
from tapewatch.cli import options
from tapewatch.model import MINUTE_MS, Bar
from tapewatch.study.signals import Request, find
from tapewatch.study.why import explain
from why_samples import builtins, every_bar, loose_file, request_of, two_symbols

archive = pytest.fixture(two_symbols, scope="module")
loose = pytest.fixture(loose_file, scope="module")


def test_every_factor_of_every_bar_is_what_the_engine_sees(archive: Path, loose: Path) -> None:
    """Both sides, met, unmet and unknown, with both sides of the comparison and the margin, to the last bit."""
    plan = strategies.load(str(loose))
    seen = set()
    for timeframe in plan.timeframes:
        expected = every_bar(archive, plan, timeframe)
        for close_ms in [*sorted(expected)[:20], *sorted(expected)[20::97]]:
            explained = explain(plan, timeframe, "AAAUSDT", close_ms, request_of(archive))
            assert [one.side for one in explained] == ["long", "short"]
            for one in explained:
                assert bits(one.factors) == bits(expected[close_ms][one.side])
                seen |= {factor.met for factor in one.factors}
                for factor in one.factors:
                    assert factor.margin is None or (factor.margin >= 0) is factor.met or factor.margin == 0
    assert seen == {True, False, None}


def test_json_has_the_bar_the_factors_and_the_verdicts_of_the_search(run: Command, archive: Path, loose: Path) -> None:
    """As interfaces.md pins it; a fired side has the verdicts that `signals` gives it."""
    found = list(find(strategies.load(str(loose)), request_of(archive)))
    blocked = next(one for one in found if one.settled and not all(v.passed for v in one.verdicts))
    passed = next(one for one in found if all(v.passed for v in one.verdicts))
    for signal in (blocked, passed, found[0]):
        arguments = ("why", "AAAUSDT", signal.close_ms, "--strategy", loose, "--data", archive)
        (line,) = run.objects(*arguments, "--interval", signal.timeframe)
        assert line["bar"]["open_ms"] == signal.open_ms
        assert (line["bar"]["close_ms"], line["bar"]["timeframe"]) == (signal.close_ms, signal.timeframe)
        sides = {entry["side"]: entry for entry in line["strategies"]}
        assert list(sides) == ["long", "short"]
        entry = sides[signal.side]
        assert list(entry) == ["strategy", "side", "fired", "factors", "verdicts", "delivery"]
        assert (entry["strategy"], entry["fired"], entry["delivery"]) == ("loose", True, None)
        assert entry["verdicts"] == builtins(signal.verdicts)
        assert [factor["name"] for factor in entry["factors"]] == [factor.name for factor in signal.factors]
        assert entry["factors"][0]["left"] == signal.factors[0].left
        other = next(entry for side, entry in sides.items() if side != signal.side)
        assert other["fired"] or other["verdicts"] == []


def test_a_bar_closes_on_several_timeframes(run: Command, archive: Path, loose: Path) -> None:
    """One line for each timeframe that closes then, with all strategies; --interval asks for one."""
    at = options.iso(MONDAY_MS + 500 * MINUTE_MS).replace(" ", "T")
    lines = run.objects("why", "AAAUSDT", at, "--strategy", loose, "--strategy", "scalp", "--data", archive)
    assert [line["bar"]["timeframe"] for line in lines] == ["1m", "5m"]
    assert [entry["strategy"] for entry in lines[0]["strategies"]] == ["loose", "loose", "scalp", "scalp"]
    lines = run.objects("why", "AAAUSDT", MONDAY_MS + 501 * MINUTE_MS, "--strategy", loose, "--data", archive)
    assert [line["bar"]["timeframe"] for line in lines] == ["1m"]
    lines = run.objects("why", "AAAUSDT", at, "--strategy", loose, "--interval", "5m", "--data", archive)
    assert [line["bar"]["timeframe"] for line in lines] == ["5m"]


def test_the_text_says_each_factor_with_its_numbers(run: Command, archive: Path, loose: Path) -> None:
    """Met, unmet or unknown, the text, what was compared, and the margin; then the gate's verdicts."""
    signal = next(
        one
        for one in find(strategies.load(str(loose)), request_of(archive, intervals=["1m"]))
        if any(v.check == "cooldown" and not v.passed for v in one.verdicts) and one.settled
    )
    code, lines, _ = run("why", "AAAUSDT", signal.close_ms, "--strategy", loose, "--interval", "1m", "--data", archive)
    assert code == 0
    text = "\n".join(lines)
    assert lines[0].startswith(f"AAAUSDT 1m, closed {options.iso(signal.close_ms)} UTC: open ")
    assert f"loose {signal.side}: fired" in text
    first = signal.factors[0]
    assert f"met      cross      {first.text}  {first.left:.8g} < 4  margin +" in text
    assert re.search(r"gate cooldown   blocked: \d of 3 min since the last one", text)
    assert "gate settled    passed" in text


def test_unknown_is_said_as_unknown(run: Command, archive: Path, loose: Path) -> None:
    """On the first bar nothing that looks back has a value."""
    _, lines, _ = run("why", "AAAUSDT", MONDAY_MS + MINUTE_MS, "--strategy", loose, "--data", archive)
    assert any(line.startswith("  unknown  bias       higher(close > ema(close, 10))") for line in lines)
    (line,) = run.objects("why", "AAAUSDT", MONDAY_MS + MINUTE_MS, "--strategy", loose, "--data", archive)
    bias = line["strategies"][0]["factors"][3]
    assert (bias["met"], bias["left"], bias["margin"]) == (None, None, None)


@pytest.mark.parametrize(
    ("minute", "said"),
    [
        (1010, "1m bars close at 2024-01-01 16:40 and 2024-01-01 17:11"),
        (-5, "1m bars close at 2024-01-01 00:01 (stored: 2024-01-01 00:01 to 2024-01-02 16:00)"),
        (99_999, "1m bars close at 2024-01-02 16:00 (stored"),
    ],
)
def test_a_bar_that_does_not_exist_names_those_around(
    run: Command, archive: Path, loose: Path, minute: int, said: str
) -> None:
    """In an outage, before the first and after the last."""
    err = run.refused("why", "AAAUSDT", MONDAY_MS + minute * MINUTE_MS, "--strategy", loose, "--data", archive)
    assert err.startswith("tapewatch: no bar of AAAUSDT closes at ")
    assert said in err


def test_a_time_between_minutes_names_both(run: Command, archive: Path, loose: Path) -> None:
    """TIME is a close, so 16:07:30 is none."""
    err = run.refused("why", "AAAUSDT", "2024-01-01T14:07:30", "--strategy", loose, "--data", archive)
    assert "no bar of AAAUSDT closes at 2024-01-01 14:07:30: " in err
    assert "1m bars close at 2024-01-01 14:07 and 2024-01-01 14:08" in err
    assert "5m bars close at 2024-01-01 14:05 and 2024-01-01 14:10" in err


def test_the_verdict_of_a_budget_counts_all_symbols(run: Command, archive: Path, tmp_path: Path) -> None:
    """Asking about one symbol gives the verdicts that a search over all gives."""
    file = tmp_path / "few.yaml"
    file.write_text(
        "few: {timeframes: [1m], long: {up: close > open}, stop: atr(14), targets: [{at: atr(14), share: 100%}],\n"
        "  budget: {alerts: 1, window: 20m}}"
    )
    plan = strategies.load(str(file))
    both = Request(archive, "binance_spot", ["AAAUSDT", "BBBUSDT"])
    alone = {one.id: one.verdicts for one in find(plan, request_of(archive))}
    signals = [one for one in find(plan, both) if one.symbol == "AAAUSDT"]
    taken = next((one for one in signals if one.verdicts != alone[one.id]), None)
    assert taken is not None
    (line,) = run.objects("why", "AAAUSDT", taken.close_ms, "--strategy", file, "--data", archive)
    assert line["strategies"][0]["verdicts"] == builtins(taken.verdicts)


def test_a_timeframe_that_cannot_be_built_is_left_out(run: Command, tmp_path: Path) -> None:
    """Stored hours answer for momentum on 1h, though its smaller timeframes cannot be had; nothing fitting is said."""
    hours = [
        Bar("AAAUSDT", 3_600_000, MONDAY_MS + k * 3_600_000, one.open, one.high, one.low, one.close, one.volume)
        for k, one in enumerate(walk(300))
    ]
    store(tmp_path, hours, "1h")
    (line,) = run.objects("why", "AAAUSDT", hours[200].close_ms, "--strategy", "momentum", "--data", tmp_path)
    assert line["bar"]["timeframe"] == "1h"
    found = run.objects("signals", "--strategy", "momentum", "--interval", "1h", "--data", tmp_path)
    assert all(one["timeframe"] == "1h" for one in found)
    err = run.refused("why", "AAAUSDT", hours[200].close_ms, "--strategy", "scalp", "--data", tmp_path)
    assert "holds binance_spot AAAUSDT as 1h; 5m cannot be built from that" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["AAAUSDT"], "say either the TIME of a bar, or --near N with a period"),
        (["AAAUSDT", "2024-01-01T10:00", "--near", "3"], "say either the TIME of a bar, or --near N with a period"),
        (["AAAUSDT", "2024-01-01T10:00", "--from", "2024-01-01"], "--from and --to are the period of --near"),
        (["AAAUSDT", "noon"], "TIME: 'noon' is neither an ISO time"),
        (["AAAUSDT", "999999999999999999"], "TIME: 999999999999999999 is no date when read as milliseconds"),
        (["AAAUSDT", "9999-12-31T23:59"], "no bar of AAAUSDT closes at 9999-12-31 23:59"),
        (["AAAUSDT", "0001-01-01"], "no bar of AAAUSDT closes at "),
        (["AAAUSDX", "2024-01-01T10:00"], "holds no AAAUSDX of binance_spot; did you mean AAAUSDT"),
        (["../x", "2024-01-01T10:00"], "holds no ../x of binance_spot"),
        (["", "2024-01-01T10:00"], "holds no  of binance_spot"),
        (["AAAUSDX", "--near", "3"], "holds no AAAUSDX of binance_spot"),
        (["AAAUSDT", "2024-01-01T10:00", "--interval", "7m"], "--interval: no timeframe 7m; loose has 1m, 5m"),
        (["AAAUSDT", "2024-01-01T10:00", "--venue", "bybit"], "holds nothing of venue bybit"),
        (["AAAUSDT", "--near", "0"], "Invalid value for '--near'"),
        (["AAAUSDT", "--near", "3", "--from", "2024-01-02", "--to", "2024-01-01"], "--from: 2024-01-02 is not before"),
        (["AAAUSDT", "--near", "3", "--from", "soon"], "--from: 'soon' is neither"),
        (["AAAUSDT", "2024-01-01T10:00", "-c", "none.yaml"], "none.yaml"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_mistake_is_told_in_words(run: Command, archive: Path, loose: Path, arguments: list[str], said: str) -> None:
    """Exit 2, on stderr, no traceback."""
    own = [] if "-c" in arguments else ["--strategy", loose]
    assert said in run.refused("why", *arguments, *own, "--data", archive)


def test_data_must_be_said(run: Command) -> None:
    """There is nothing to recompute from without candles."""
    assert "say where with --data" in run.refused("why", "AAAUSDT", "2024-01-01T10:00")


def test_candles_are_what_they_were(archive: Path) -> None:
    """The fixture holds the hole that the tests rely on."""
    candles: Candles = series(archive, "binance_spot", "AAAUSDT", "1m")
    assert len(candles) == 2400 - 30
