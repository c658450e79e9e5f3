"""Random markets through a whole run and through a backtest: the same trades, skips, pauses and money.

Holes, silences, candles without volume, gaps; every kind of account, with its limits and protections; stops that move.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from paper_markets import ASKS, CALM, COIN, Tape, asked, backtest_of, compare_with_a_run, write
from tapewatch.strategy import Strategy
from tapewatch.study.settings import Account
from tapewatch.study.signals import find

MINUTES = 240
#: (at, share in percent) of each target.
LADDERS = ([(1, 100)], [(0.5, 50), (2, 50)], [(1, 50), (2, 30), (4, 20)])


def market(dice: random.Random, symbol: str) -> Tape:
    """Some hours after the calm, in which one bar in eight asks for a position."""
    tape = Tape(symbol)
    hole, gap, empty = (dice.choice(chances) for chances in ((0, 0.02, 0.1), (0, 0.05), (0, 0.2)))
    while tape.minute < CALM + MINUTES:
        if dice.random() < hole:
            tape.silence(dice.choice((1, 3, 20, 70)))
        volume = 0.0 if dice.random() < empty else dice.choice((1.0, 10.0, 55.5, *([ASKS[dice.choice((1, -1))]] * 2)))
        opened = tape.price + (dice.choice((-300, -60, 60, 300)) if dice.random() < gap else 0)
        close = opened + dice.randint(-60, 60)
        above, below = dice.choice((0, 1, 40, 120)), dice.choice((0, 1, 40, 120))
        tape.bar(opened, max(opened, close) + above, min(opened, close) - below, close, volume=volume)
    return tape


def strategy(dice: random.Random) -> Strategy:
    """With any distances and moves."""
    targets = [{"at": str(at), "share": f"{share}%"} for at, share in dice.choice(LADDERS)]
    changes: dict[str, Any] = {
        "targets": targets,
        "stop": dice.choice(("0.8", "2", "atr(14) + 0.2")),
        "time_limit": dice.choice((5, 60, 1_000)),
        "duplicate": {"window": dice.choice(("0m", "5m"))},
        "cooldown": dice.choice(("0m", "0m", "7m")),
        "timeframes": dice.choice((["1m"], ["1m", "3m"])),
        "break_even": dice.choice((None, "0.3", "0.5 * atr(14) + 0.1")),
        "trailing": dice.choice((None, {"by": "0.4"}, {"after": "0.7", "by": "1"})),
    }
    return asked(**changes)


def account(dice: random.Random) -> Account:
    """Of any kind."""
    perpetual = dice.random() < 0.7
    return Account(
        kind="perpetual" if perpetual else "spot",
        cash=dice.choice((300.0, 10_000.0)),
        risk=dice.choice((0.01, 0.1)),
        size_quote=dice.choice((None, None, 25.0)),
        cap_symbol=dice.choice((0.25, 1.0)),
        cap_side=dice.choice((0.5, 1.0)),
        cap_total=dice.choice((0.6, 1.0)),
        leverage=dice.choice((1.0, 5.0, 50.0)) if perpetual else 1.0,
        taker_bps=dice.choice((0, 10, 7.5)),
        maker_bps=dice.choice((0, 2)),
        slippage_bps=dice.choice((0, 2, 33.3)),
        impact_bps=dice.choice((0, 0, 50)),
        levels=dice.choice(("signal", "fill")),
        on_opposite=dice.choice(("ignore", "close", "reverse")),
        daily_loss=dice.choice((0, 0, 0.02)),
        max_drawdown=dice.choice((0, 0, 0.03)),
        drawdown_pause_ms=3_600_000,
        losses=dice.choice((0, 0, 3)),
        losses_pause_ms=1_800_000,
        after_stop_ms=dice.choice((0, 0, 600_000)),
    )


@pytest.mark.parametrize("seed", range(40))
def test_a_run_and_a_backtest_trade_alike(tmp_path: Path, seed: int) -> None:
    """From the candles on: signals, gate, decisions, fills, funding, protections."""
    dice = random.Random(seed)
    tapes = [market(dice, symbol) for symbol in ("BBBUSDT", "AAAUSDT", "CCCUSDT")[: dice.randint(1, 3)]]
    for tape in tapes:
        tape.calm(max(other.minute for other in tapes) - tape.minute)  # none is gone before the others
    funded = [(CALM + minute, dice.choice((0.001, -0.002))) for minute in range(0, MINUTES, 60)]
    request = write(tmp_path, tapes, funded if dice.random() < 0.5 else ())
    traded, how = strategy(dice), account(dice)
    result = backtest_of(request, traded, how).run()
    compare_with_a_run(result, request, traded, how, COIN)
    passed = sum(all(verdict.passed for verdict in one.verdicts) for one in find(traded, request))
    assert len(result.trades) + result.still_open + sum(result.skipped.values()) == passed > 0
