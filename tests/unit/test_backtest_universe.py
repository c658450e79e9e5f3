"""The universe of a backtest as of each day: decided by what was traded before, with those that have gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from command_line import Command, store
from core_samples import MONDAY_MS, candles_of, walk
from paper_samples import Minute, Wish, exits_of
from paper_samples import traded as paper_traded
from tapewatch.archive.candles import Candles
from tapewatch.model import DAY_MS, MINUTE_MS, Bar
from tapewatch.paper import rules
from tapewatch.study.account import FLAT, S_STAGE
from tapewatch.study.compiled import simulation
from tapewatch.study.loop import simulate
from tapewatch.study.membership import Membership, membership, rules_of
from tapewatch.study.settings import Account
from tapewatch.universe import Rules

FIRST = MONDAY_MS // DAY_MS
RULE = """
hourly:
  timeframes: [1m]
  long:
    when: minute == 30
  stop: 0.05 * close
  targets: [{at: 0.05 * close, share: 100%}]
  time_limit: LIMIT
"""


def traded(symbol: str, by_day: Sequence[float | None], start: int = 0) -> Candles:
    """A symbol with four candles a day that together traded so many quote units; None leaves the day out."""
    bars = [
        Bar(symbol, MINUTE_MS, (FIRST + start + day) * DAY_MS + part * DAY_MS // 4, 1, 1, 1, 1, volume, volume / 4)
        for day, volume in enumerate(by_day)
        if volume is not None
        for part in range(4)
    ]
    return candles_of(bars)


def told(found: Membership, symbol: str, days: int) -> str:
    """`x` for each day on which it is watched, `.` for the others."""
    return "".join(".x"[found.has(symbol, (FIRST + day) * DAY_MS + 1)] for day in range(days))


def asked(min_volume_24h: float | None = None, max_symbols: int | None = None) -> Rules:
    """Rules, of which there are some."""
    rules = rules_of(min_volume_24h, max_symbols)
    assert rules is not None
    return rules


def test_without_rules_there_are_none() -> None:
    """Whoever has candles is traded."""
    assert rules_of(None, None) is None


def test_the_day_before_decides() -> None:
    """Not the day itself; below 80% of the least volume a symbol goes that was there, as in a live run."""
    found = membership([traded("AAA", [100, 20, 100, 85, 75, 100])], asked(min_volume_24h=100))
    assert told(found, "AAA", 7) == ".x.xx.x"


def test_a_close_at_midnight_is_the_new_days() -> None:
    """The candle before it counts already."""
    found = membership([traded("AAA", [100, 0])], asked(min_volume_24h=100))
    assert found.has("AAA", (FIRST + 1) * DAY_MS)
    assert not found.has("AAA", (FIRST + 1) * DAY_MS - 1)
    assert not found.has("AAA", (FIRST + 2) * DAY_MS)


def test_the_most_traded_of_the_day_before_are_watched() -> None:
    """A newcomer must be clearly ahead, and who has no candles any more makes room."""
    candles = [
        traded("AAA", [100, 100, 100, None, None]),
        traded("BBB", [50, 110, 140, 140, 140]),
        traded("CCC", [10, 120], start=3),
    ]
    found = membership(candles, asked(max_symbols=1))
    assert told(found, "AAA", 6) == ".xx..."
    assert told(found, "BBB", 6) == "...xxx"
    assert told(found, "CCC", 6) == "......"
    assert told(membership(candles, asked(max_symbols=2)), "CCC", 6) == "....xx"


@pytest.mark.parametrize("seed", range(3))
def test_no_day_knows_what_came_after(seed: int) -> None:
    """With the candles cut at a midnight, every day up to that one has the same symbols."""
    draw = np.random.default_rng(seed)
    candles = [
        traded(f"S{k}", [float(v) if v > 20 else None for v in draw.exponential(100, 30)], start=int(draw.integers(5)))
        for k in range(8)
    ]
    rules = asked(min_volume_24h=60, max_symbols=3)
    whole = membership(candles, rules)
    assert {len(symbols) for symbols in whole.days.values()} >= {2, 3}
    for cut in range(8, 30):
        part = [one.slice(None, (FIRST + cut) * DAY_MS) for one in candles]
        found = membership([one for one in part if len(one)], rules).days
        assert max(found) <= FIRST + cut
        assert found == {day: symbols for day, symbols in whole.days.items() if day <= max(found)}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """OLDUSDT trades for two days of four, NEWUSDT from the third, BIGUSDT always and most."""
    for symbol, first, last, size in (("OLDUSDT", 0, 2, 1), ("NEWUSDT", 2, 4, 1), ("BIGUSDT", 0, 4, 100)):
        bars = walk((last - first) * 1_440, start_ms=MONDAY_MS + first * DAY_MS)
        store(tmp_path, [msgspec.structs.replace(bar, symbol=symbol, quote_volume=bar.quote_volume * size)
                         for bar in bars])  # fmt: skip
    return tmp_path


def options(archive: Path, limit: int = 10, *more: object) -> list[Any]:
    """A backtest of an hourly entry that is left after so many minutes."""
    (archive / "rule.yaml").write_text(RULE.replace("LIMIT", str(limit)))
    return ["backtest", "--strategy", archive / "rule.yaml", "--data", archive, "--no-gate", *more]


def trades_of(run: Command, archive: Path, *asked: object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The document and the trades."""
    path = archive / "trades.jsonl"
    (found,) = run.objects(*asked, "--trades", path)
    return found, [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def test_every_symbol_is_traded_while_it_has_candles(run: Command, archive: Path) -> None:
    """The one that has gone and the one that came, each in its days, and the document says when."""
    found, trades = trades_of(run, archive, *options(archive))
    days = {(one["symbol"], (one["entry_ms"] - MONDAY_MS) // DAY_MS) for one in trades}
    assert days == {("OLDUSDT", 0), ("OLDUSDT", 1), ("NEWUSDT", 2), ("NEWUSDT", 3),
                    *(("BIGUSDT", day) for day in range(4))}  # fmt: skip
    symbols = found["universe"]["symbols"]
    assert {name: of["gone"] for name, of in symbols.items()} == {"BIGUSDT": False, "NEWUSDT": False, "OLDUSDT": True}
    assert symbols["OLDUSDT"]["end_ms"] == symbols["NEWUSDT"]["first_ms"] == MONDAY_MS + 2 * DAY_MS


@pytest.mark.parametrize(("minutes_before", "gone"), [(24 * 60 - 1, False), (24 * 60, True)])
def test_a_day_without_candles_is_what_makes_a_symbol_gone(
    run: Command, tmp_path: Path, minutes_before: int, gone: bool
) -> None:
    """One that few trade may have none for hours, and its positions are open at the end."""
    days = 3 * 24 * 60
    for symbol, minutes in (("BIGUSDT", days), ("THINUSDT", days - minutes_before)):
        store(tmp_path, [msgspec.structs.replace(one, symbol=symbol) for one in walk(minutes)])
    found, _ = trades_of(run, tmp_path, *options(tmp_path))
    assert found["universe"]["symbols"]["THINUSDT"]["gone"] is gone


def test_rules_leave_out_whom_a_live_run_would_not_watch(run: Command, archive: Path) -> None:
    """From the second day on, on which there is a day before."""
    found, trades = trades_of(run, archive, *options(archive), "--max-symbols", 1)
    assert {one["symbol"] for one in trades} == {"BIGUSDT"}
    assert min(one["entry_ms"] for one in trades) >= MONDAY_MS + DAY_MS
    assert (found["universe"]["max_symbols"], found["universe"]["min_volume_24h"]) == (1, None)
    _, all_of_them = trades_of(run, archive, *options(archive), "--min-volume-24h", 1)
    assert {(one["symbol"], (one["entry_ms"] - MONDAY_MS) // DAY_MS) for one in all_of_them} == {
        ("OLDUSDT", 1), ("NEWUSDT", 3), ("BIGUSDT", 1), ("BIGUSDT", 2), ("BIGUSDT", 3),
    }  # fmt: skip


def test_rules_hold_for_a_single_symbol_too(run: Command, archive: Path) -> None:
    """Whose candidates come straight from the columns."""
    _, trades = trades_of(run, archive, *options(archive), "--symbols", "BIGUSDT", "--min-volume-24h", 1)
    assert {(one["entry_ms"] - MONDAY_MS) // DAY_MS for one in trades} == {1, 2, 3}
    _, trades = trades_of(run, archive, *options(archive), "--symbols", "BIGUSDT", "--min-volume-24h", 1e12)
    assert trades == []


def test_rules_are_part_of_what_was_asked(run: Command, archive: Path) -> None:
    """The hash of the configuration differs."""
    hashes = [run.objects(*options(archive), *more)[0]["hashes"]["config"] for more in ((), ("--max-symbols", 3))]
    assert hashes[0] != hashes[1]


def test_who_was_not_there_is_left_out_unless_named(run: Command, archive: Path) -> None:
    """In the last day there is no OLDUSDT."""
    period = ["--from", str(MONDAY_MS + 3 * DAY_MS)]
    (found,) = run.objects(*options(archive), *period)
    assert list(found["universe"]["symbols"]) == ["BIGUSDT", "NEWUSDT"]
    named = [*options(archive), *period, "--symbols", "BIGUSDT,OLDUSDT"]
    assert "OLDUSDT: no candles between --from and --to" in run.refused(*named)


def test_a_position_in_a_symbol_that_goes_is_closed_at_its_last_close(run: Command, archive: Path) -> None:
    """Less slippage, with a taker's fee; what the period itself ends stays open."""
    limits = (100_000, "--slippage-bps", 50, "--cap-symbol", "10%")
    found, trades = trades_of(run, archive, *options(archive, *limits))
    (gone,) = [one for one in trades if one["symbol"] == "OLDUSDT"]
    (last,) = gone["exits"]
    close = walk(2 * 1_440)[-1].close
    assert last == {"ms": MONDAY_MS + 2 * DAY_MS - MINUTE_MS, "price": pytest.approx(close * 0.995, abs=1e-7),
                    "share": 100, "reason": "gone"}  # fmt: skip
    assert gone["fees"] == pytest.approx(gone["quantity"] * (gone["entry_price"] + last["price"]) * 0.001)
    assert found["metrics"]["still_open"] == 2
    assert found["metrics"]["by"]["exit_reason"]["gone"]["trades"] == 1
    (alone,) = run.objects(*options(archive, *limits), "--symbols", "OLDUSDT")
    assert (alone["trades"], alone["metrics"]["still_open"]) == (0, 1)


def test_what_a_gone_symbol_held_can_be_used_again(run: Command, archive: Path) -> None:
    """With room for one position, the newcomer is traded once the old one has gone, and not before."""
    only = (100_000, "--size", 2_000, "--cap-total", "20%", "--symbols", "OLDUSDT,NEWUSDT")
    found, trades = trades_of(run, archive, *options(archive, *only))
    assert [one["symbol"] for one in trades] == ["OLDUSDT"]
    assert found["metrics"]["still_open"] == 1


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("on_opposite", ["ignore", "reverse"])
def test_nothing_follows_a_position_whose_symbol_is_gone(compiled: bool, on_opposite: str) -> None:
    """Of an opposite signal on the last bar nothing comes, interpreted and compiled."""
    account = Account(kind="perpetual", cash=1_000.0, slippage_bps=0, on_opposite=on_opposite)
    market = [[Minute(10_000, 10_010, 9_990, 10_000)] * 4, [Minute(10_000, 10_010, 9_990, 10_000)] * 6]
    wishes = [[Wish(0, 1, 100, (100,), 99), Wish(3, -1, 100, (100,), 99)], [Wish(1, 1, 100, (100,), 99)]]
    desk = paper_traded(
        market, wishes, (1.0,), account, gone=(True, False), simulate=simulation() if compiled else simulate
    )
    assert [rules.REASONS[row[-1]] for row in exits_of(desk)] == ["gone"]
    assert desk.skipped[rules.NO_BAR] == 1
    assert desk.symbols[0, S_STAGE] == FLAT
    cash, gross, fees, funding = desk.money
    assert cash == pytest.approx(1_000 + gross - fees - funding, rel=1e-12)
