"""Setups planted into a synthetic market, and the alerts that `run` makes of them; strategies that agree on a bar."""

from __future__ import annotations

from pathlib import Path

from run_harness import (
    HOUR_MS,
    MINUTE_MS,
    configure,
    deliveries,
    eventually,
    query,
    running,
    series_of,
    simulated,
    stored_signals,
    undelivered,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
START_MS = 1_748_822_400_000  # 2025-06-02 00:00 UTC, where a synthetic market begins to be played
PLANTS = """
quiet: true
plants:
  - {side: long, symbol: BTCUSDT, at: 2025-06-02T01:30Z, repeat_after: 3m, again_after_move: 0.3%}
  - {side: short, symbol: ETHUSDT, at: 2025-06-02T02:10Z}
"""


def played_to(folder: Path, close_ms: int) -> bool:
    """Whether every symbol's bars up to then are stored."""
    series = series_of(folder)
    lasts = [series.get((symbol, MINUTE_MS), (0, None))[1] for symbol in SYMBOLS]
    return all(last_ms is not None and last_ms + MINUTE_MS >= close_ms for last_ms in lasts)


def test_planted_setups_give_exactly_the_planted_alerts(tmp_path: Path) -> None:
    """Nothing else fires; the repeat within 5 minutes is blocked as a duplicate, the one after the move passes."""
    (tmp_path / "plants.yaml").write_text(PLANTS)
    options = ("--synthetic", "7", "--symbols", ",".join(SYMBOLS), "--plants", str(tmp_path / "plants.yaml"))
    with simulated(tmp_path, *options, "--speed", "60000") as exchange:
        configure(tmp_path, exchange, SYMBOLS)
        with running(tmp_path) as run:
            eventually(lambda: played_to(tmp_path, START_MS + 4 * HOUR_MS) or run.code is not None)
            assert run.stop() == 0, run.log
        planted = exchange.about["planted"]
    stored = stored_signals(tmp_path)
    names = ("close_ms", "symbol", "strategy", "side", "state")
    assert [{name: one[name] for name in names} for one in stored] == planted
    assert [(one["symbol"], one["side"], one["state"]) for one in stored] == [
        ("BTCUSDT", "long", "passed"),
        ("BTCUSDT", "long", "blocked"),
        ("BTCUSDT", "long", "passed"),
        ("ETHUSDT", "short", "passed"),
    ]
    first, repeat, again, _ = stored
    assert repeat["close_ms"] - first["close_ms"] == 3 * MINUTE_MS
    assert [verdict["check"] for verdict in repeat["verdicts"] if not verdict["pass"]] == ["duplicate"]
    assert abs(again["entry"] / first["entry"] - 1) > 0.003
    assert [line["signal"]["id"] for line in deliveries(tmp_path)] == [
        one["id"] for one in stored if one["state"] == "passed"
    ]


TWINS = {
    "eager": {
        "timeframes": ["1m"],
        "long": {"up": "close > open"},
        "fire": {"at_least": 1},
        "stop": "1.5 * atr(14)",
        "targets": [{"at": "1.0 * atr(14)", "share": "100%"}],
        "duplicate": {"window": "1m", "move": "0.3%"},
        "symbols": ["BTCUSDT"],
    }
}
TWINS["patient"] = {**TWINS["eager"], "long": {"higher_close": "close > close[1]"}}


def test_two_strategies_on_one_bar_are_one_alert_that_names_both(tmp_path: Path) -> None:
    """Each has its own stored signal, the alert says both, and starting again does not repeat it."""
    with simulated(tmp_path, "--synthetic", "4", "--symbols", "BTCUSDT", "--speed", "60000") as exchange:
        configure(tmp_path, exchange, ["BTCUSDT"], strategies=TWINS)
        for place in (1, 2):
            with running(tmp_path, f"run-{place}") as run:
                eventually(lambda enough=20 * place: len(query(tmp_path, "SELECT 1 FROM signals")) > enough)
                assert run.stop() == 0, run.log
    assert not undelivered(tmp_path)
    stored = stored_signals(tmp_path)
    together: dict[str, list[str]] = {}
    for one in stored:
        if one["state"] == "passed":
            together.setdefault(one["alert_id"], []).append(one["strategy"])
    written = deliveries(tmp_path)
    assert {line["alert_id"] for line in written} == set(together)
    assert len({line["message_id"] for line in written}) == len(written)
    shared = [line for line in written if len(together[line["alert_id"]]) == 2]
    assert shared
    for line in shared:
        assert sorted(together[line["alert_id"]]) == ["eager", "patient"]
        assert {"eager", "patient"} <= set(line["text"].replace(",", " ").split())
