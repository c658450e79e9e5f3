"""The gate over candidates as columns: what `tapewatch.gate` says of them offline, in a loop written to be compiled.

Offline nothing is late, muted, illiquid or related to another symbol: what is left are the checks that a candidate
passes by itself, which are columns, and those that depend on what passed before, which are the loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

#: NumPy arrays.
Cells: TypeAlias = Any

#: Of a candidate: its symbol, which kind of its symbol it is (of one timeframe and side), when it is decided and when
#: its stop was touched, 0 where it was not.
G_SYMBOL, G_KIND, G_DECIDED_MS, G_STOPPED_MS = 0, 1, 2, 3
#: Of a kind: when the last one passed, and the how manieth of its symbol it was; 0 where none did.
K_PASSED_MS, K_NUMBER = 0, 1
#: Of a symbol: how many passed, and of the last of them when it did and when its stop was touched.
O_COUNT, O_PASSED_MS, O_STOPPED_MS = 0, 1, 2
#: As `tapewatch.gate` rounds.
ROUNDING = 1e-12


class Checks(NamedTuple):
    """What a strategy asks of its candidates.

    Attributes:
        window_ms, move: of `Duplicate`.
        history: passed candidates of a symbol that are remembered.
        cooldown_ms: of the strategy.
        alerts, budget_ms: of `Budget`; -1 alerts for none.
    """

    window_ms: int
    move: float
    history: int
    cooldown_ms: int
    alerts: int
    budget_ms: int


def duplicate(checks: Checks, kind: Cells, entry: float, of: Cells, now_ms: int, close: float) -> bool:
    """Whether one of its kind passed just before, and the price has hardly moved since."""
    forgotten = kind[K_NUMBER] == 0 or of[O_COUNT] - kind[K_NUMBER] >= checks.history
    if forgotten or now_ms - kind[K_PASSED_MS] >= checks.window_ms:
        return False
    return not abs(close / entry - 1) - checks.move > ROUNDING


def resting(checks: Checks, of: Cells, now_ms: int) -> bool:
    """Whether its symbol's last one, or that one's stop, is not long enough ago."""
    if of[O_COUNT] == 0:
        return False
    stopped = 0 < of[O_STOPPED_MS] < now_ms
    return bool(now_ms - (of[O_STOPPED_MS] if stopped else of[O_PASSED_MS]) < checks.cooldown_ms)


def let_through(
    asked: Cells, closes: Cells, checks: Checks, kinds: Cells, entries: Cells, symbols: Cells, passed: Cells
) -> int:
    """How many candidates pass; their rows are written to the begin of `passed`.

    Args:
        asked: a row each, `G_SYMBOL` and so on, in the order in which they are decided.
        closes: their closes.
        checks: what is asked.
        kinds: what is remembered of each, `K_PASSED_MS` and so on, zeros at first.
        entries: of each kind the close of the last one that passed.
        symbols: what is remembered of each, `O_COUNT` and so on, zeros at first.
        passed: room for as many rows as there are candidates.
    """
    count = oldest = 0
    for n in range(len(asked)):
        now_ms, number = asked[n, G_DECIDED_MS], asked[n, G_KIND]
        kind, of = kinds[number], symbols[asked[n, G_SYMBOL]]
        while oldest < count and asked[passed[oldest], G_DECIDED_MS] <= now_ms - checks.budget_ms:
            oldest += 1
        spent = 0 <= checks.alerts <= count - oldest
        if spent or resting(checks, of, now_ms) or duplicate(checks, kind, entries[number], of, now_ms, closes[n]):
            continue
        of[O_COUNT] += 1
        of[O_PASSED_MS], of[O_STOPPED_MS] = now_ms, asked[n, G_STOPPED_MS]
        kind[K_PASSED_MS], kind[K_NUMBER], entries[number] = now_ms, of[O_COUNT], closes[n]
        passed[count] = n
        count += 1
    return count
