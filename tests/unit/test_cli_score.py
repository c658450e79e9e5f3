"""`tapewatch alerts score`, and the ledger that `signals --outcomes --store` fills for it."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from book_runs import a_signal
from command_line import Command, store
from core_samples import walk
from outcome_samples import VENUE, control, outcome
from tapewatch.model import Effect, Judged, Verdict
from tapewatch.store import Ledger, Step

CONFIG = """
exchange: {venue: binance_spot}
universe: {include: [AAAUSDT]}
strategies: {scalp: {timeframes: [1m], params: {min_factors: 3}}}
channels: {out: {type: file, path: alerts.jsonl}}
alerts: {routes: [{channels: [out]}]}
ledger: {url: "sqlite:///tape.db"}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose ledger is not there yet."""
    path = tmp_path / "tapewatch.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols, five days of minutes each."""
    root = tmp_path_factory.mktemp("archive")
    store(root, walk(7_200, 1))
    store(root, [msgspec.structs.replace(one, symbol="BBBUSDT") for one in walk(7_200, 2)])
    return root


def filled(config: Path, *effects: Effect) -> Ledger:
    """Its ledger, with these."""
    ledger = Ledger.open(f"sqlite:///{config.parent}/tape.db")
    ledger.commit_step(Step(VENUE, effects=effects))
    return ledger


def rows(config: Path, table: str) -> list[tuple[Any, ...]]:
    """A table, in its order, without the dates of its rows, which come last."""
    with closing(sqlite3.connect(config.parent / "tape.db")) as connection:
        found = connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4, 5, 6").fetchall()
    return [row[:-2] for row in found]


def scores(run: Command, config: Path, *arguments: object) -> list[dict[str, Any]]:
    """The lines about both sides together."""
    lines = run.objects("alerts", "score", "-c", config, *arguments)
    return [line for line in lines if line["what"] == "score" and line["side"] is None]


# --- the back-fill -------------------------------------------------------------------------------------------------


def test_a_new_user_has_a_record_before_the_first_run(run: Command, config: Path, archive: Path) -> None:
    """The ledger is made; it holds what `--outcomes` prints, and random entries beside it."""
    code, lines, err = run("signals", "--outcomes", "--store", "-c", config, "--data", archive)
    assert code == 0
    assert "outcomes and" in err
    assert "target first" in lines[0]
    printed = run.objects(
        "signals", "--strategy", "scalp", "--set", "min_factors=3", "--interval", "1m", "--data", archive, "--outcomes"
    )
    ended = [line for line in printed if line["outcome"]["result"] != "open"]
    (score,) = scores(run, config, "--state", "all")
    assert score["n"] == score["backfilled"] == len(ended) > 100
    assert score["hits"] == sum(line["outcome"]["result"] == "target" for line in ended)
    passed = [line for line in ended if all(verdict["pass"] for verdict in line["verdicts"])]
    assert scores(run, config)[0]["n"] == len(passed)
    blocked = Counter(verdict["check"] for line in ended for verdict in line["verdicts"] if not verdict["pass"])
    checks = [line for line in run.objects("alerts", "score", "-c", config) if line["what"] == "check"]
    assert {line["check"]: line["rate"]["n"] for line in checks} == blocked
    assert blocked["duplicate"] > 0
    assert score["baseline_n"] > 100


def test_a_back_fill_again_changes_nothing(run: Command, config: Path, archive: Path) -> None:
    """Not one value of a row."""
    arguments = ("signals", "--outcomes", "--store", "-c", config, "--data", archive)
    assert run(*arguments)[0] == 0
    first = rows(config, "outcomes"), rows(config, "baselines")
    assert run(*arguments)[0] == 0
    assert (rows(config, "outcomes"), rows(config, "baselines")) == first


def test_a_back_fill_takes_the_place_of_the_one_before(run: Command, config: Path, archive: Path) -> None:
    """With other parameters, or another period, nothing of the old record is left."""
    arguments = ("signals", "--outcomes", "--store", "-c", config, "--data", archive)
    assert run(*arguments)[0] == 0
    before = scores(run, config, "--state", "all")[0]
    config.write_text(CONFIG.replace("min_factors: 3", "min_factors: 4"))
    assert run(*arguments)[0] == 0
    after = scores(run, config, "--state", "all")[0]
    assert 0 < after["n"] < before["n"]
    assert after["baseline_n"] == before["baseline_n"]
    assert run(*arguments, "--from", "2024-01-03")[0] == 0
    assert 0 < scores(run, config, "--state", "all")[0]["n"] < after["n"]


def test_symbols_filled_one_after_the_other_are_as_if_filled_together(
    run: Command, config: Path, archive: Path, tmp_path: Path
) -> None:
    """In any order and however often, to the last figure; a score of one of them is beside its own chance."""
    other = tmp_path / "other" / "tapewatch.yaml"
    other.parent.mkdir()
    other.write_text(CONFIG)
    arguments = ("signals", "--outcomes", "--store", "--data", archive)
    assert run(*arguments, "-c", other)[0] == 0
    for symbol in ("BBBUSDT", "AAAUSDT", "BBBUSDT"):
        assert run(*arguments, "-c", config, "--symbols", symbol)[0] == 0
    whole, parts = (run.objects("alerts", "score", "-c", path, "--state", "all") for path in (other, config))
    assert parts == whole
    both, of_a, of_b = (
        scores(run, config, "--state", "all", *asked)[0]
        for asked in ((), ("--symbols", "AAAUSDT"), ("--symbols", "BBBUSDT"))
    )
    for name in ("n", "hits", "baseline_n"):
        assert both[name] == of_a[name] + of_b[name]
        assert min(of_a[name], of_b[name]) > 0


def test_what_a_run_has_seen_stays(run: Command, config: Path, archive: Path) -> None:
    """A back-fill leaves its outcomes and its random entries as they are."""
    arguments = ("signals", "--outcomes", "--store", "-c", config, "--data", archive)
    assert run(*arguments)[0] == 0
    found = run.objects(
        "signals", "--strategy", "scalp", "--set", "min_factors=3", "--interval", "1m", "--data", archive
    )
    seen = outcome(0, signal_id=found[-50]["id"], close_ms=found[-50]["close_ms"], side=found[-50]["side"])
    filled(config, seen, control(5)).close()
    assert run(*arguments)[0] == 0
    live = [row for row in rows(config, "outcomes") if "live" in row]
    assert [row[0] for row in live] == [seen.signal_id]
    assert sum("live" in row for row in rows(config, "baselines")) == 1
    assert scores(run, config, "--source", "live")[0]["n"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--store"], "goes with --outcomes"),
        (["--outcomes", "--store", "--set", "fast=5"], "set parameters there"),
        (["--outcomes", "--store", "--strategy", "trend"], "has no strategy trend; it has scalp"),
        (["--outcomes", "--store", "--venue", "binance_usdm"], "the ledger is of binance_spot"),
        (["--outcomes", "--store", "--interval", "5m"], "no timeframe 5m; scalp has 1m"),
    ],
)
def test_mistakes_of_a_back_fill_are_told(
    run: Command, config: Path, archive: Path, arguments: list[str], words: str
) -> None:
    """Exit 2 in words, and no ledger is made."""
    assert words in run.refused("signals", "-c", config, "--data", archive, *arguments)
    assert not (config.parent / "tape.db").exists()


# --- the score -----------------------------------------------------------------------------------------------------


def test_the_first_line_says_plainly_that_there_is_no_skill(run: Command, config: Path) -> None:
    """60% of a hundred beside 60% of random entries, and what costs leave of it."""
    signals = [outcome(7 * n, hit=n % 5 < 3, gross_pct=0.1 if n % 5 < 3 else -0.15, risk_pct=0.15) for n in range(100)]
    random = [control(n, hit=n % 5 < 3) for n in range(1_000)]
    filled(config, *signals, *random).close()
    code, lines, err = run("alerts", "score", "-c", config)
    assert (code, err) == (0, "")
    text = " ".join(" ".join(lines).split())
    assert text.startswith(
        "scalp 1m: target first 60.0% of 100 signals (50-69%), random entries 60.0%: no better than chance; "
        "after costs of 20 bps it loses 1.3 R a signal, 2.00 of 1,000 quote units"
    )
    assert "False positives 40.0%: signals that passed the gate and did not touch the target first" in text
    assert "The gate blocked" not in text
    assert "no hit rate would pay" in text
    assert max(map(len, lines)) < 80


def test_figures_are_those_of_the_outcomes(run: Command, config: Path) -> None:
    """By side and together; costs are an option; the last fifty are the newest."""
    longs = [outcome(n, hit=n < 30) for n in range(60)]
    shorts = [outcome(n, hit=True, side="short") for n in range(60, 80)]
    random = [*(control(n, hit=False) for n in range(30)), *(control(n, side="short") for n in range(60, 90))]
    filled(config, *longs, *shorts, *random).close()
    lines = run.objects("alerts", "score", "-c", config, "--cost-bps", 50)
    both, long_, short = (line for line in lines if line["what"] == "score")
    assert (both["n"], both["hits"], long_["n"], long_["hits"], short["n"], short["hits"]) == (80, 50, 60, 30, 20, 20)
    assert (both["side"], long_["side"], short["side"]) == (None, "long", "short")
    assert (long_["rate"], long_["false_positive_rate"], long_["baseline"], short["baseline"]) == (0.5, 0.5, 0.0, 1.0)
    assert both["baseline"] == pytest.approx(20 / 80)
    assert long_["lift"] == pytest.approx(50.0)
    assert (long_["gross_r"], long_["net_r"], long_["net_quote"]) == pytest.approx((0.0, -0.5, -5.0))
    assert long_["break_even_rate"] == pytest.approx(0.75)
    assert (long_["last"]["n"], long_["last"]["hits"]) == (50, 20)
    assert short["break_even_rate"] is None


def test_gates_are_judged_by_what_they_blocked(run: Command, config: Path) -> None:
    """A check whose signals would have hit less often was right, one whose signals did better was not."""
    effects: list[Effect] = [outcome(n, hit=n % 2 == 0) for n in range(100)]
    even = [("muted", True), ("muted", False)] * 10
    for n, (check, hit) in enumerate([("cooldown", False)] * 60 + [("duplicate", True)] * 60 + even):
        one = outcome(1_000 + n, hit=hit, state="blocked")
        verdicts = (Verdict("settled", passed=True), Verdict(check, passed=False))
        signal = msgspec.structs.replace(a_signal(), id=one.signal_id, verdicts=verdicts)
        effects += [Judged(signal, "blocked", late=False, recv_ms=0, alert_id=None), one]
    filled(config, *effects).close()
    checks = {line["check"]: line for line in run.objects("alerts", "score", "-c", config) if line["what"] == "check"}
    assert {name: (line["rate"]["n"], line["right"]) for name, line in checks.items()} == {
        "cooldown": (60, True),
        "duplicate": (60, False),
        "muted": (20, None),
    }
    text = " ".join(run("alerts", "score", "-c", config)[1])
    assert "of 100 signals" in text
    assert "The gate blocked 140 more" in text
    assert "hit less often than what passed" in text
    assert "hit MORE often than what passed" in text
    assert "no difference shown" in text


def test_a_model_is_judged_by_what_it_let_pass(run: Command, config: Path) -> None:
    """False positives without it and with it, of signals that nothing else blocked; scores beside what came."""
    effects: list[Effect] = []
    for n in range(200):
        score, hit = (0.75, n % 4 > 0) if n % 2 else (0.25, n % 8 == 0)
        passed, duplicate = score > 0.5, n >= 160
        one = outcome(n, hit=hit, state="passed" if passed and not duplicate else "blocked")
        verdicts = (Verdict("duplicate", passed=not duplicate), Verdict("score", passed=passed))
        signal = msgspec.structs.replace(a_signal(), id=one.signal_id, verdicts=verdicts, score=score)
        state = "passed" if passed and not duplicate else "blocked"
        effects += [Judged(signal, state, late=False, recv_ms=0, alert_id=None), one]
    filled(config, *effects, *(outcome(500 + n, hit=False) for n in range(40))).close()
    lines = run.objects("alerts", "score", "-c", config)
    (model,) = (line for line in lines if line["what"] == "model")
    hits = sum(n % 4 > 0 for n in range(1, 160, 2)), sum(n % 8 == 0 for n in range(0, 160, 2))
    assert (model["every"]["n"], model["every"]["hits"]) == (160, sum(hits))
    assert (model["kept"]["n"], model["kept"]["hits"]) == (80, hits[0])
    assert model["false_positive_rate_without"] == pytest.approx(1 - sum(hits) / 160)
    assert model["false_positive_rate"] == pytest.approx(1 - hits[0] / 80)
    squares = [(0.75 - 1) ** 2] * hits[0] + [0.75**2] * (80 - hits[0])
    squares += [(0.25 - 1) ** 2] * hits[1] + [0.25**2] * (80 - hits[1])
    assert model["brier"] == pytest.approx(sum(squares) / 160)
    assert model["base_brier"] == pytest.approx(sum(hits) / 160 * (1 - sum(hits) / 160))
    assert (model["every_net_r"], model["kept_net_r"]) == pytest.approx(
        (2 * sum(hits) / 160 - 1.2, 2 * hits[0] / 80 - 1.2)
    )
    tenths = {line["low"]: line for line in lines if line["what"] == "model_tenth"}
    assert sorted(tenths) == list(range(0, 100, 10))
    assert (tenths[20]["told"], tenths[20]["came"]["n"], tenths[20]["came"]["hits"]) == (0.25, 80, hits[1])
    assert (tenths[90]["told"], tenths[90]["came"]["n"]) == (None, 0)
    text = " ".join(" ".join(run("alerts", "score", "-c", config)[1]).split())
    assert "The model scored 160 signals that nothing else blocked. False positives: without it" in text
    assert "better than the" in text
    assert "70-80%" in text


def test_without_a_model_nothing_is_said_of_one(run: Command, config: Path) -> None:
    """Of signals without scores."""
    filled(config, *(outcome(n) for n in range(40))).close()
    assert {"model", "model_tenth"}.isdisjoint(line["what"] for line in run.objects("alerts", "score", "-c", config))
    assert "The model" not in " ".join(run("alerts", "score", "-c", config)[1])


def test_strength_is_judged_by_decile(run: Command, config: Path) -> None:
    """Stronger signals that hit more often are told as such, with a rank correlation."""
    effects = [outcome(n, hit=n % 10 < n // 20, strength=float(n // 20) + 0.5) for n in range(200)]
    filled(config, *effects).close()
    lines = run.objects("alerts", "score", "-c", config)
    deciles = [line for line in lines if line["what"] == "decile"]
    assert [line["rate"]["n"] for line in deciles] == [20] * 10
    assert [line["rate"]["hits"] for line in deciles] == [2 * n for n in range(10)]
    (strength,) = (line for line in lines if line["what"] == "strength")
    assert strength["rho"] > 0.4
    assert strength["p"] < 0.001
    assert "stronger signals hit more often" in " ".join(run("alerts", "score", "-c", config)[1])


@pytest.mark.parametrize(("state", "words"), [("blocked", "of 40 blocked signals"), ("all", "of 50 signals")])
def test_what_did_not_pass_is_no_false_positive(run: Command, config: Path, state: str, words: str) -> None:
    """Which signals are counted is said, and nothing of false positives, which have passed the gate."""
    blocked = [outcome(n, hit=n % 2 == 0, state="blocked") for n in range(40)]
    filled(config, *blocked, *(outcome(100 + n, hit=n % 2 == 0) for n in range(10))).close()
    text = " ".join(" ".join(run("alerts", "score", "-c", config, "--state", state)[1]).split())
    assert words in text
    assert "50.0% did not touch the target first" in text
    assert "False positives" not in text
    assert "The gate blocked" not in text


def test_timeframes_are_told_from_the_shortest(run: Command, config: Path) -> None:
    """Not in the order of their letters; in a table, shares stand below each other."""
    effects = [
        outcome(7 * n, timeframe=timeframe, hit=hit, side=side)
        for timeframe in ("1h", "15m", "5m")
        for n, (hit, side) in enumerate([(True, "long"), (True, "short"), (False, "long"), (True, "short")])
    ]
    filled(config, *effects).close()
    lines = run("alerts", "score", "-c", config)[1]
    assert [line.split(":")[0] for line in lines if ": target first" in line] == ["scalp 5m", "scalp 15m", "scalp 1h"]
    whole, of_longs, of_shorts = (line for line in lines if re.match(r"scalp 5m( long| short)? +\d", line))
    assert whole.index("75.0% ") == of_longs.index("50.0% ") == of_shorts.index("100.0% ") + 1


def test_of_few_strengths_nothing_is_concluded(run: Command, config: Path) -> None:
    """Twenty-nine that hit the more often the stronger they are prove nothing, thirty may."""
    effects = [outcome(n, hit=n >= 15, strength=n / 3) for n in range(30)]
    ledger = filled(config, *effects[:29])
    assert "strength cannot be judged yet" in run("alerts", "score", "-c", config)[1]
    ledger.commit_step(Step(VENUE, effects=effects[29:]))
    ledger.close()
    assert any("stronger signals hit more often" in line for line in run("alerts", "score", "-c", config)[1])


def test_regimes_with_enough_signals_have_a_row(run: Command, config: Path) -> None:
    """Thirty of one are enough, twenty-nine are not."""
    effects = [outcome(n, regime="trending") for n in range(30)]
    effects += [outcome(100 + n, regime="ranging") for n in range(29)]
    filled(config, *effects).close()
    lines = run.objects("alerts", "score", "-c", config, "--by-regime")
    assert [(line["regime"], line["n"]) for line in lines if line["what"] == "score"] == [(None, 59), ("trending", 30)]


@pytest.mark.parametrize("count", [0, 1])
def test_few_signals_are_told_as_few(run: Command, config: Path, count: int) -> None:
    """Without any it says how to have some; of one nothing is concluded."""
    filled(config, *(outcome(n) for n in range(count))).close()
    code, lines, err = run("alerts", "score", "-c", config)
    assert (code, err) == (0, "")
    text = " ".join(" ".join(lines).split())
    assert ("no signal has ended yet" in text) == (count == 0)
    assert ("of 1 signal (21-100%)" in text) == (count == 1)
    assert "better than chance" not in text


@pytest.mark.parametrize("option", ["--side", "--source", "--state"])
def test_values_that_mean_nothing_are_told(run: Command, config: Path, option: str) -> None:
    """With those that do."""
    filled(config).close()
    assert f"{option}: 'both' is none of" in run.refused("alerts", "score", "-c", config, option, "both")
