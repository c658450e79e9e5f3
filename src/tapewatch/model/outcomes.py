"""What became of signals, and of the random entries they are measured against."""

from __future__ import annotations

from typing import Literal

import msgspec

from tapewatch.model.signals import Side, State

Result = Literal["target", "stop", "time"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: what became of a signal, passed or blocked, traded or not.

    R is the way from entry to stop. A base bar that touches both stop and target counts as the stop.

    Attributes:
        regime: the regimes that held at the signal, joined with `+`; empty where none did or nothing is known.
        result: what was touched first, `time` when its time limit was over before.
        price: where it ended.
        ms: open of the base bar in which it ended.
        bars: bars of its timeframe from its close to there, the last one counted.
        mfe_r, mae_r: best and worst price on the way.
        gross_r, net_r: what it brought before costs and after them.
        gross_pct: what it brought before costs, in percent of the entry.
        risk_pct: the way from entry to stop, in percent of the entry. R of many signals of one size is what they
            brought over what they risked, sums of percentages both: a mean of R is ruled by the narrowest stops.
        late: whether that bar's data came late.
    """

    signal_id: str
    symbol: str
    strategy: str
    side: Side
    timeframe: str
    state: State
    close_ms: int
    strength: float
    regime: str
    result: Result
    price: float
    ms: int
    bars: int
    mfe_r: float
    mae_r: float
    gross_r: float
    net_r: float
    gross_pct: float
    risk_pct: float
    ambiguous: bool
    late: bool
    recv_ms: int


class ControlDone(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: what became of a random entry with the stop and target its strategy would have set on that bar.

    Bars are drawn by a hash of what names them, so that live and research draw the same ones. `gross_pct` and
    `risk_pct` are as of an `Outcome`.
    """

    symbol: str
    strategy: str
    side: Side
    timeframe: str
    close_ms: int
    result: Result
    gross_pct: float
    risk_pct: float


class Rate(msgspec.Struct, frozen=True):
    """So many of `n` touched their target first: `hits`; with the Wilson interval at 95% as shares."""

    n: int
    hits: int
    low: float
    high: float


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the signals of one kind so far, beside what random entries would have brought.

    Attributes:
        last: the newest 50.
        all: all of them.
        baseline: share of random entries at the same hours that touched their target first; NaN with fewer than 30.
        baseline_n: how many there were.
        gross_r, net_r: R before and after costs, of signals of one size: all they brought over all they risked.
        net_quote: mean result after costs of 1,000 quote units.
        cost_bps: what a round trip costs, of the price.
        backfilled: how many are of history, not of a live run.
    """

    strategy: str
    side: Side
    timeframe: str
    regime: str | None = None
    last: Rate
    all: Rate
    baseline: float
    baseline_n: int
    gross_r: float
    net_r: float
    net_quote: float
    cost_bps: float
    backfilled: int = 0
