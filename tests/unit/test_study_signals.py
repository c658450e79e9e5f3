"""Searches over stored candles: several strategies, several processes, forecasts and certificates."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from command_line import Command, store
from core_samples import MONDAY_MS, bits, walk
from tapewatch import strategies
from tapewatch.model import DAY_MS, MINUTE_MS, Bar
from tapewatch.strategy import Strategy
from tapewatch.study import certify as certify_module
from tapewatch.study import evaluate as evaluate_module
from tapewatch.study import signals as signals_module
from tapewatch.study.certify import certify
from tapewatch.study.forecast import forecast
from tapewatch.study.signals import Request, find, period

SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
BUDGETED = """
few:
  timeframes: [1m, 5m]
  long: {up: "close > sma(close, 5)", busy: "volume > sma(volume, 10)"}
  stop: 1.5 * atr(14)
  targets: [{at: atr(14), share: 100%}]
  budget: {alerts: 2, window: 15m}
  cooldown: 5m
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three symbols of two and a half days; the second starts later and has a hole."""
    root = tmp_path_factory.mktemp("archive")
    for seed, symbol in enumerate(SYMBOLS):
        bars = walk(3600, seed + 1, holes=[*range(300), *range(2000, 2040)] if seed == 1 else ())
        store(root, [msgspec.structs.replace(one, symbol=symbol) for one in bars])
    return root


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A strategy with a budget over all symbols."""
    path = tmp_path_factory.mktemp("own") / "few.yaml"
    path.write_text(BUDGETED)
    return path


def request_of(root: Path, **changes: Any) -> Request:
    """All symbols."""
    return Request(root, "binance_spot", SYMBOLS, **changes)


def loose() -> Strategy:
    """`scalp` with fewer factors asked, so that it fires often."""
    return strategies.load("scalp", [("min_factors", 3)])


# --- how it is searched ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [2, 5])
def test_processes_share_the_symbols_and_nothing_changes(archive: Path, few: Path, workers: int) -> None:
    """A budget over all symbols, cooldowns over timeframes: verdicts are those of one process."""
    plan = strategies.load(str(few))
    alone = bits(list(find(plan, request_of(archive))))
    assert len(alone) > 200
    assert {verdict["passed"] for one in alone for verdict in one["verdicts"] if verdict["check"] == "budget"} == {
        True, False,
    }  # fmt: skip
    assert bits(list(find(plan, request_of(archive), workers=workers))) == alone


def test_the_command_shares_too_and_tells_what_is_missing(run: Command, archive: Path, few: Path) -> None:
    """`--workers` prints the same lines; a symbol that is not stored is told as with one process."""
    arguments = ("signals", "--strategy", few, "--strategy", "scalp", "--set", "min_factors=3", "--data", archive)
    assert "no parameter 'min_factors'" in run.refused(*arguments)
    arguments = ("signals", "--strategy", few, "--strategy", "trend", "--interval", "1m,15m", "--data", archive)
    plain = run.objects(*arguments)
    assert plain
    assert run.objects(*arguments, "--workers", 3) == plain
    for workers in (1, 2):
        err = run.refused(*arguments, "--symbols", "AAAUSDT,NONE", "--workers", workers)
        assert "holds no NONE of binance_spot" in err


def test_several_strategies_are_merged_in_order(run: Command, archive: Path, few: Path) -> None:
    """One order over all: close, symbol, strategy, timeframe, side; each line is what its strategy alone gives."""
    both = run.objects("signals", "--strategy", few, "--strategy", "scalp", "--data", archive)
    alone = [run.objects("signals", "--strategy", name, "--data", archive) for name in (few, "scalp")]
    keys = [[one[key] for key in ("close_ms", "symbol", "strategy", "timeframe", "side")] for one in both]
    assert keys == sorted(keys)
    assert {one["strategy"] for one in both} == {"few", "scalp"}
    for name, expected in zip(("few", "scalp"), alone, strict=True):
        assert [one for one in both if one["strategy"] == name] == expected


def test_until_leaves_what_closes_later_unread(archive: Path) -> None:
    """The signals of a prefix are a prefix of the signals, larger timeframes included."""
    whole = list(find(loose(), request_of(archive)))
    until_ms = MONDAY_MS + 3001 * MINUTE_MS
    known = list(find(loose(), request_of(archive, until_ms=until_ms)))
    assert bits(known) == bits([one for one in whole if one.close_ms <= until_ms])
    assert 0 < len(known) < len(whole)


def test_a_period_is_what_is_stored_or_asked(archive: Path, run: Command) -> None:
    """From the first candle of any symbol to the last close; --from and --to put ends to it."""
    assert period([request_of(archive)]) == (MONDAY_MS, MONDAY_MS + 3600 * MINUTE_MS)
    only = Request(archive, "binance_spot", ["BBBUSDT"])
    assert period([only]) == (MONDAY_MS + 300 * MINUTE_MS, MONDAY_MS + 3600 * MINUTE_MS)
    assert period([request_of(archive, from_ms=5, to_ms=9)]) == (5, 9)


# --- forecast --------------------------------------------------------------------------------------------------------


def brute_force(lines: list[dict[str, Any]], days: float) -> dict[str, Any]:
    """Counts of printed signals by their written times."""

    def most(length: int, form: str) -> dict[str, Any] | None:
        starts = Counter(datetime.fromtimestamp(one["close_ms"] / 1000, UTC).strftime(form)[:length] for one in lines)
        if not starts:
            return None
        count = max(starts.values())
        return {"start": min(start for start in starts if starts[start] == count), "count": count}

    hour = most(13, "%Y-%m-%dT%H")
    return {
        "total": len(lines),
        "per_day": pytest.approx(len(lines) / days, abs=1e-3),
        "busiest_day": most(10, "%Y-%m-%d"),
        "worst_hour": hour and {**hour, "start": hour["start"] + ":00"},
        "worst_minute": most(16, "%Y-%m-%dT%H:%M"),
    }


def test_a_forecast_counts_what_is_printed(run: Command, archive: Path, few: Path) -> None:
    """In all, by strategy, by symbol, before and after the gate: equal to counting the lines of `signals`."""
    arguments = ("signals", "--strategy", few, "--strategy", "scalp", "--data", archive)
    lines = run.objects(*arguments)
    (said,) = run.objects(*arguments, "--forecast")
    days = 3600 * MINUTE_MS / DAY_MS
    assert (said["from_ms"], said["to_ms"]) == (MONDAY_MS, MONDAY_MS + 3600 * MINUTE_MS)
    assert said["days"] == days
    groups: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = [(said, lambda one: True)]
    groups += [(part, lambda one, name=name: one["strategy"] == name) for name, part in said["by_strategy"].items()]
    groups += [(part, lambda one, name=name: one["symbol"] == name) for name, part in said["by_symbol"].items()]
    assert set(said["by_strategy"]) == {"few", "scalp"}
    assert set(said["by_symbol"]) == set(SYMBOLS)
    for part, belongs in groups:
        before = [one for one in lines if belongs(one)]
        after = [one for one in before if all(verdict["pass"] for verdict in one["verdicts"])]
        assert part["before_gate"] == brute_force(before, days)
        assert part["after_gate"] == brute_force(after, days)
    assert 0 < said["after_gate"]["total"] < said["before_gate"]["total"]


def test_a_forecast_of_a_period_counts_that_period(run: Command, archive: Path, few: Path) -> None:
    """--from and --to; text says the same numbers; nothing found is 0 a day and no worst hour."""
    times = ("--from", "2024-01-02", "--to", "2024-01-03")
    arguments = ("signals", "--strategy", few, "--data", archive, *times)
    (said,) = run.objects(*arguments, "--forecast")
    assert said["days"] == 1
    assert said["before_gate"]["total"] == said["before_gate"]["per_day"] == len(run.objects(*arguments))
    code, lines, _ = run(*arguments, "--forecast")
    assert code == 0
    assert lines[0] == "2024-01-02 00:00 to 2024-01-03 00:00, 1 day"
    after, before = said["after_gate"], said["before_gate"]
    assert f"{after['per_day']:.2f} a day ({before['per_day']:.2f} before the gate); busiest day" in lines[1]
    assert f"worst minute {after['worst_minute']['count']} ({after['worst_minute']['start']})" in lines[1]
    assert [line.split()[0] for line in lines[1:]] == ["all", "few", *SYMBOLS]
    empty = forecast([], 0, DAY_MS)
    assert empty["before_gate"] == {
        "total": 0, "per_day": 0.0, "busiest_day": None, "worst_hour": None, "worst_minute": None,
    }  # fmt: skip
    assert empty["by_symbol"] == {}


# --- certificate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", strategies.shipped())
def test_shipped_strategies_are_certified(archive: Path, name: str) -> None:
    """Prefixes of the data give prefixes of the signals, and both evaluators say the same."""
    settings = [("pct", 0.001), ("atr_move", 0.5), ("vol_z", 0.0)] if name == "momentum" else []
    certificate = certify(strategies.load(name, settings), request_of(archive))
    assert certificate.equal
    assert certificate.differences == ()
    assert certificate.signals > 0
    assert list(certificate.cuts_ms) == sorted(set(certificate.cuts_ms))


def test_the_command_certifies(run: Command, archive: Path, few: Path) -> None:
    """Exit 0, one line a strategy, as text and as JSON; a budget over symbols too."""
    arguments = ("signals", "--strategy", few, "--strategy", "scalp", "--data", archive, "--certify")
    code, lines, _ = run(*arguments)
    assert code == 0
    assert [line.split(":")[0] for line in lines] == ["few", "scalp"]
    assert all("no signal knew the future, both evaluators agree" in line for line in lines)
    for said in run.objects(*arguments):
        assert (said["equal"], said["differences"]) == (True, [])
        assert said["signals"] > 0
        assert len(said["cuts_ms"]) == len(certify_module.CUTS)


def cheat_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both evaluators know of each bar whether the next one rises, and fire only then."""
    honest = evaluate_module.evaluate

    def evaluate(program: Any, frames: Any, evaluator: Any = "auto") -> Iterator[Any]:
        close = frames[program.interval_ms].close
        for hit in honest(program, frames, evaluator):
            if hit.row + 1 == len(close) or close[hit.row + 1] > close[hit.row]:
                yield hit

    monkeypatch.setattr(signals_module, "evaluate", evaluate)


def cheat_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns leave a signal out now and then; no look-ahead, but not what runs live."""
    honest = evaluate_module.evaluate

    def evaluate(program: Any, frames: Any, evaluator: Any = "auto") -> Iterator[Any]:
        return (hit for hit in honest(program, frames, evaluator) if evaluator == "interpreted" or hit.row % 7)

    monkeypatch.setattr(signals_module, "evaluate", evaluate)


def cheat_repaint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last bar of the data changes the volume that every bar is measured by."""
    honest = evaluate_module.evaluate

    def evaluate(program: Any, frames: Any, evaluator: Any = "auto") -> Iterator[Any]:
        last = float(frames[program.interval_ms].volume[-1])
        for hit in honest(program, frames, evaluator):
            yield remeasured(hit, last)

    monkeypatch.setattr(signals_module, "evaluate", evaluate)


def remeasured(hit: Any, last: float) -> Any:
    """The hit with its bar's volume measured by `last`."""
    from dataclasses import replace

    bar: Bar = hit.bar
    return replace(hit, bar=msgspec.structs.replace(bar, volume=bar.volume / (1 + last)))


@pytest.mark.parametrize(
    ("cheat", "said"),
    [(cheat_ahead, "is missing"), (cheat_apart, "interpreted: "), (cheat_repaint, "differs")],
)
def test_a_cheating_evaluator_is_not_certified(
    run: Command, archive: Path, few: Path, monkeypatch: pytest.MonkeyPatch, cheat: Any, said: str
) -> None:
    """Exit 1, and where it differs: a signal that knew the next bar, one that the other evaluator lacks, a repaint."""
    cheat(monkeypatch)
    arguments = ("signals", "--strategy", "scalp", "--set", "min_factors=3", "--data", archive, "--certify")
    code, lines, err = run(*arguments)
    assert (code, err) == (1, "")
    assert lines[0].endswith("NOT equal")
    assert any(said in line or "too early" in line for line in lines[1:])
    code, lines, _ = run(*arguments, "--json")
    assert code == 1
    (told,) = [json.loads(line) for line in lines]
    assert not told["equal"]
    assert told["differences"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--forecast", "--from", "999999999999999999"], "--from: 999999999999999999 is no date"),
        (["--forecast", "--symbols", "NONE"], "holds no NONE of binance_spot"),
        (["--certify", "--symbols", "NONE"], "holds no NONE of binance_spot"),
        (["--stored", "--certify"], "it takes no --data, --forecast or --certify"),
        (["--workers", "0"], "Invalid value for '--workers'"),
        (["--workers", "two"], "Invalid value for '--workers'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_words(run: Command, archive: Path, arguments: list[str], said: str) -> None:
    """Exit 2, no traceback."""
    assert said in run.refused("signals", "--strategy", "scalp", "--data", archive, *arguments)
