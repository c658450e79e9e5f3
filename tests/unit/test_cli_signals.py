"""`tapewatch signals`: what is printed, and how the user's mistakes are told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from command_line import Command, store
from core_samples import CHECKS, MONDAY_MS, bits, walk
from engine_runs import candidates
from tapewatch import strategies
from tapewatch.archive.reader import series
from tapewatch.cli import options
from tapewatch.gate import GateSettings
from tapewatch.model import INTERVALS_MS, MINUTE_MS, Judged
from tapewatch.store import Ledger, Step
from tapewatch.study.signals import Request, find

KEYS = [
    "id", "venue", "symbol", "timeframe", "strategy", "side", "open_ms", "close_ms", "entry", "stop", "targets",
    "break_even", "trailing", "atr", "risk_reward", "stop_distance_pct", "profit_distance_pct", "bias",
    "confidence", "strength", "factors", "indicators", "settled", "verdicts", "history_start_ms", "trace_id",
]  # fmt: skip
LOOSE = ["--strategy", "scalp", "--set", "min_factors=3"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols, three days of minutes each, with a hole."""
    root = tmp_path_factory.mktemp("archive")
    store(root, walk(4320, 1, holes=range(2000, 2030)))
    store(root, [msgspec.structs.replace(one, symbol="BBBUSDT") for one in walk(4320, 2)])
    return root


def objects(lines: list[str]) -> list[dict[str, Any]]:
    """JSON Lines, read."""
    return [json.loads(line) for line in lines]


def test_each_line_has_the_pinned_keys_and_types(run: Command, archive: Path) -> None:
    """Every key of interfaces.md in its order, with the pinned types; NaN is null."""
    code, lines, err = run("signals", *LOOSE, "--data", archive, "--json")
    assert (code, err) == (0, "")
    found = objects(lines)
    assert found
    for one in found:
        assert [key for key in one if key in KEYS] == KEYS
        assert {type(one[key]) for key in ("open_ms", "close_ms", "history_start_ms")} == {int}
        assert {type(one[key]) for key in ("entry", "stop", "risk_reward", "strength")} == {float}
        assert one["confidence"].keys() == {"met", "asked"}
        assert all(target.keys() == {"price", "share"} for target in one["targets"])
        assert all(
            list(factor) == ["name", "met", "text", "left", "op", "right", "margin"] for factor in one["factors"]
        )
        assert [verdict["check"] for verdict in one["verdicts"]] == CHECKS
        assert all(list(verdict) == ["check", "pass", "reason"] for verdict in one["verdicts"])
        assert one["id"].split("/") == [
            "binance_spot", one["symbol"], one["timeframe"], "scalp", one["side"], str(one["close_ms"]),
        ]  # fmt: skip
    assert {one["settled"] for one in found} == {True, False}
    assert {one["timeframe"] for one in found} == {"1m", "5m"}
    assert {one["symbol"] for one in found} == {"AAAUSDT", "BBBUSDT"}
    order = [(one["close_ms"], one["symbol"], one["strategy"], one["timeframe"], one["side"]) for one in found]
    assert order == sorted(order)
    assert len(set(order)) == len(order)


def test_the_lines_are_what_the_engine_finds(run: Command, archive: Path) -> None:
    """The same ids and values as the live engine's from the same first bar, verdicts among them."""
    _, lines, _ = run("signals", *LOOSE, "--data", archive, "--symbols", "AAAUSDT", "--json")
    scalp = strategies.load("scalp", [("min_factors", 3)])
    live = candidates("binance_spot", scalp, series(archive, "binance_spot", "AAAUSDT", "1m").bars())
    found = list(find(scalp, Request(archive, "binance_spot", ["AAAUSDT"])))
    assert sorted(bits(live), key=lambda one: one["id"]) == sorted(bits(found), key=lambda one: one["id"])
    assert [one["id"] for one in objects(lines)] == [one.id for one in found]
    assert [one["entry"] for one in objects(lines)] == [one.entry for one in found]


def test_only_what_is_asked_for_is_printed(run: Command, archive: Path) -> None:
    """Symbols and intervals by commas or repeated; one that is asked twice is given once."""
    _, all_lines, _ = run("signals", *LOOSE, "--data", archive, "--json")
    everything = objects(all_lines)
    data = ("--data", archive, "--json")
    for arguments, wanted in (
        (["--interval", "5m"], lambda one: one["timeframe"] == "5m"),
        (["--interval", "1m,5m"], lambda one: True),
        (["--symbols", "BBBUSDT,AAAUSDT,BBBUSDT"], lambda one: True),
        (["--symbols", "BBBUSDT", "--symbols", "BBBUSDT"], lambda one: one["symbol"] == "BBBUSDT"),
        (["--venue", "binance_spot"], lambda one: True),
    ):
        assert objects(run("signals", *LOOSE, *data, *arguments)[1]) == [one for one in everything if wanted(one)]


def test_from_and_to_are_on_the_close_and_leave_out_the_end(run: Command, archive: Path) -> None:
    """[from, to), as ms or as ISO in UTC or with a zone; values do not depend on it."""
    arguments = ("signals", *LOOSE, "--data", archive, "--interval", "1m", "--json")
    everything = objects(run(*arguments)[1])
    first, last = everything[3]["close_ms"], everything[9]["close_ms"]
    wanted = [one for one in everything if first <= one["close_ms"] < last]
    assert objects(run(*arguments, "--from", first, "--to", last)[1]) == wanted
    iso = [f"{options.iso(ms).replace(' ', 'T')}:00" for ms in (first, last)]
    assert objects(run(*arguments, "--from", iso[0], "--to", f"{iso[1]}+00:00")[1]) == wanted
    assert run(*arguments, "--from", last, "--to", first)[1] == []


def test_set_changes_a_parameter(run: Command, archive: Path) -> None:
    """Fewer factors asked, more found; the parameters are in the line."""
    counts = []
    for number in ("5", "4", "3"):
        _, lines, _ = run(
            "signals", "--strategy", "scalp", "--data", archive, "--set", f"min_factors={number}", "--set", "fast=8",
            "--json",
        )  # fmt: skip
        assert all(one["params"]["fast"] == 8.0 for one in objects(lines))
        counts.append(len(lines))
    assert counts == sorted(set(counts))


def test_history_start_moves_where_a_series_starts(run: Command, archive: Path) -> None:
    """For the evaluated timeframe, the others starting as live would; or for each interval by name."""
    arguments = ("signals", *LOOSE, "--data", archive, "--interval", "1m", "--symbols", "BBBUSDT", "--json")
    start_ms = MONDAY_MS + 500 * MINUTE_MS
    plain = objects(run(*arguments)[1])
    assert {one["history_start_ms"] for one in plain} == {MONDAY_MS}
    later = objects(run(*arguments, "--history-start", start_ms)[1])
    assert {one["history_start_ms"] for one in later} == {start_ms}
    assert all(one["close_ms"] > start_ms for one in later)
    named = run(*arguments, "--history-start", f"1m={start_ms}", "--history-start", f"5m={MONDAY_MS + 600_000}")
    found = {one["id"]: one for one in objects(named[1])}
    assert {one["history_start_ms"] for one in found.values()} == {start_ms}
    settled = {one["id"] for one in plain if one["close_ms"] > start_ms + 2000 * MINUTE_MS}
    assert settled
    assert settled <= set(found)
    assert run(*arguments, "--history-start", "2024-01-01T08:20")[1] == run(*arguments, "--history-start", start_ms)[1]


def test_a_history_start_by_name_cuts_only_that_interval(run: Command, archive: Path) -> None:
    """The larger timeframe's series starts where it is told, the others with the data."""
    request = Request(archive, "binance_spot", ["BBBUSDT"], ["1m"], starts={INTERVALS_MS["5m"]: MONDAY_MS + 2 * 10**8})
    scalp = strategies.load("scalp", [("min_factors", 3)])
    found = list(find(scalp, request))
    early = [one for one in found if one.close_ms <= MONDAY_MS + 2 * 10**8]
    assert early
    assert all(one.factors[4].met is None for one in early)
    assert any(one.factors[4].met is not None for one in found)


def test_text_output_is_one_line_a_signal_and_a_count(run: Command, archive: Path) -> None:
    """For people: time, symbol, side, prices, what blocked it; and how many there were."""
    _, lines, _ = run("signals", *LOOSE, "--data", archive, "--json")
    code, printed, _ = run("signals", *LOOSE, "--data", archive)
    assert code == 0
    assert printed[-1] == f"{len(lines)} signals"
    first = objects(lines)[0]
    assert printed[0].startswith(f"{options.iso(first['close_ms'])}  {first['symbol']}")
    assert printed[0].endswith("blocked (settled)")
    assert any(line.endswith("passed") for line in printed)


def test_a_strategy_with_a_cooldown_counts_all_its_timeframes(run: Command, archive: Path, tmp_path: Path) -> None:
    """What passed on one timeframe rests the other, though only that one is printed."""
    file = tmp_path / "rest.yaml"
    file.write_text(
        "rest: {timeframes: [1m, 5m], long: {up: close > open}, stop: 1, targets: [{at: 1, share: 100%}], cooldown: 1h}"
    )
    arguments = ("signals", "--strategy", file, "--data", archive, "--symbols", "AAAUSDT", "--json")
    everything = {one["id"]: one["verdicts"] for one in objects(run(*arguments)[1])}
    live = candidates(
        "binance_spot", strategies.load(str(file)), series(archive, "binance_spot", "AAAUSDT", "1m").bars()
    )
    assert everything == {one.id: json.loads(msgspec.json.encode(one.verdicts)) for one in live}
    minutes = {one["id"]: one["verdicts"] for one in objects(run(*arguments, "--interval", "1m")[1])}
    assert minutes == {key: verdicts for key, verdicts in everything.items() if "/1m/" in key}
    assert any(not verdicts[3]["pass"] for verdicts in minutes.values())


def test_stored_lists_a_ledgers_signals(run: Command, archive: Path, tmp_path: Path) -> None:
    """The same keys and what was decided; filters are the same."""
    config = tmp_path / "tapewatch.yaml"
    config.write_text(
        "exchange: {venue: binance_spot}\nuniverse: {include: [AAAUSDT]}\nstrategies: {scalp: {}}\n"
        "channels: {out: {type: file, path: alerts.jsonl}}\nalerts: {routes: [{channels: [out]}]}\n"
        'ledger: {url: "sqlite:///tape.db"}\nweb: {enabled: false}\n'
    )
    scalp = strategies.load("scalp", [("min_factors", 3)])
    found = list(find(scalp, Request(archive, "binance_spot", ["AAAUSDT"])))[:20]
    ledger = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    expiry_ms = GateSettings().expiry_ms
    ledger.commit_step(
        Step("binance_spot", [Judged(one, "blocked", True, one.close_ms + expiry_ms, None) for one in found])
    )
    ledger.close()
    code, lines, _ = run("signals", "--stored", "-c", config, "--interval", "1m", "--from", found[5].close_ms, "--json")
    wanted = [one for one in found if one.timeframe == "1m" and one.close_ms >= found[5].close_ms]
    assert code == 0
    assert [one["id"] for one in objects(lines)] == [one.id for one in wanted]
    assert {(one["state"], one["late"], one["alert_id"]) for one in objects(lines)} == {("blocked", True, None)}
    assert run("signals", "--stored", "-c", config, "--strategy", "other")[1] == ["0 signals"]
    printed = run("signals", "--stored", "-c", config)[1]
    assert len(printed) == len(found) + 1
    assert " blocked" in printed[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategy", "sclap"], "no strategy 'sclap'; did you mean 'scalp'?"),
        (["--interval", "7m"], "--interval: no timeframe 7m; scalp has 1m, 5m"),
        (["--symbols", "AAAUSD"], "holds no AAAUSD of binance_spot; did you mean AAAUSDT"),
        (["--venue", "bybit"], "holds nothing of venue bybit; it holds binance_spot"),
        (["--from", "yesterday"], "--from: 'yesterday' is neither an ISO time as 2025-05-20T14:07 nor milliseconds"),
        (["--to", "--123456789"], "--to: '--123456789' is neither"),
        (["--to", "²²²²²²²²²"], "--to: '²²²²²²²²²' is neither"),
        (["--set", "fast"], "--set: 'fast' is not parameter=number"),
        (["--set", "fast=nine"], "--set: 'fast=nine' is not parameter=number"),
        (["--set", "fsat=9"], "scalp.params: no parameter 'fsat'; did you mean 'fast'?"),
        (["--set", "fast=0"], "length of ema must be a whole number from 1 to 100,000, was 0"),
        (["--set", "fast=nan"], "scalp.params.fast: must be a number"),
        (["--set", "min_factors=9"], "scalp.params.min_factors: must be a whole number from 1 to 5"),
        (["--history-start", "7m=0"], "--history-start: '7m' is no interval; known are 1m, 3m"),
        (["--history-start", "1m=soon"], "--history-start: 'soon' is neither an ISO time"),
        (["--from", "2024-01-02", "--to", "2024-01-01"], "--from: 2024-01-02 is not before --to 2024-01-01"),
        (["--from", "2024-01-02", "--to", "2024-01-02"], "--from: 2024-01-02 is not before --to 2024-01-02"),
        (
            ["--forecast", "--from", "2030-01-01"],
            "--from: 2030-01-01 00:00 is not before the last stored candle's 2024",
        ),
        (["--forecast", "--to", "2020-01-01"], "--to: 2020-01-01 00:00 is not after the first stored candle's 2024"),
        (["--forecast", "--certify"], "--forecast and --certify are two questions; ask one at a time"),
        (["-c", "tapewatch.yaml"], "-c names a ledger for --stored"),
        (["--stored"], "--stored lists a ledger's signals; it takes no --data"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_exits_2_and_says_what_is_wrong(
    run: Command, archive: Path, arguments: list[str], message: str
) -> None:
    """On stderr, in words, nothing on stdout."""
    given = ["--strategy", "scalp", *arguments] if "--strategy" not in arguments else arguments
    code, lines, err = run("signals", "--data", archive, *given)
    assert code == 2
    assert lines == []
    assert message in err
    assert "Traceback" not in err
    assert all(line.startswith("tapewatch: ") for line in err.splitlines())


def test_what_is_missing_exits_2(run: Command, archive: Path, tmp_path: Path) -> None:
    """No strategy, no data, an option that does not exist, a folder that is not there or holds several venues."""
    store(tmp_path / "two", walk(10), venue="one")
    store(tmp_path / "two", walk(10), venue="other")
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (["--data", archive], "--strategy and --data say what to look for and where"),
        (["--strategy", "scalp"], "--strategy and --data say what to look for and where"),
        (["--strategy", "scalp", "--data", tmp_path / "none"], "is not a folder of candles"),
        (["--strategy", "scalp", "--data", tmp_path / "empty"], "holds no candles"),
        (["--strategy", "scalp", "--data", tmp_path / "two"], "holds one, other; say which"),
        (["--stored", "-c", tmp_path / "none.yaml"], "none.yaml"),
        (["--nonsense"], "No such option"),
    ):
        code, lines, err = run("signals", *arguments)
        assert code == 2
        assert lines == []
        assert message in err
        assert "Traceback" not in err


def test_progress_is_shown_on_a_terminal_only(
    run: Command, archive: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """With several symbols and a terminal a bar runs on stderr; stdout is the same."""
    plain = run("signals", *LOOSE, "--data", archive, "--json")[1]
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, lines, err = run("signals", *LOOSE, "--data", archive, "--json")
    assert (code, lines) == (0, plain)
    assert "symbols" in err


def test_a_search_that_is_stopped_gives_the_terminal_its_cursor_back(
    run: Command, archive: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The bar goes away with what it is about."""

    def stopped(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)
    monkeypatch.setattr("tapewatch.study.signals.find", stopped)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    code, _, err = run("signals", *LOOSE, "--data", archive)
    assert code == 130
    assert err.count("\x1b[?25l") == err.count("\x1b[?25h") == 1
