"""The words and tables of `shipped.md`, from what `shipped.py` has measured. Every number in a sentence is counted."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shipped import Row, Study
    from tapewatch.record import Score
    from tapewatch.study.bootstrap import Interval
    from tapewatch.study.settings import Account

#: Signals or trades from which a row is counted in a sentence.
MANY = 30
HEAD = """# How the shipped strategies do

`scalp`, `momentum` and `trend` over recorded candles, with costs, on a part of the time that came before and on a part
that was held out. It is made by one command, words and numbers:

```sh no-run: the recorded candles are the exchanges' and cannot be shipped
python docs/shipped.py --data candles
```

`candles` holds archives, one a folder; with others than these the numbers are others. Those that have the candles of
another once more are left out.
"""
METHOD = """## How it was measured

- The last {held_out:.0%} of each set is held out. Indicators and the gate read the candles before it; what was searched
could not read a candle of it. The table of candles says how often somebody had looked there before, as the register
of hold-outs counts it, earlier makings of this page among them; nothing was chosen by what was seen.
- Strategies are as they ship, on every timeframe that the candles make. **Signals** are all of them, those too that the
gate blocks, each followed to its stop, its first target or its time limit, with {spot_cost:g} bps a round trip on spot
and {perpetual_cost:g} bps on perpetuals. Beside them are random entries at the same hours of the day, with the stop and
the target that the strategy would have set there. [What became of signals](outcomes.md) has the rules; a *lift* is in
points of the share that touched the target first.
- **Trades** are those of one [backtest](backtest.md) over all symbols of a set, with the gate and one account: spot
with {spot}, which sells nothing short, or perpetual with {perpetual}. The archives have no funding rates, so perpetual
trades pay none. The gate lets nothing pass before every indicator is [settled](strategies.md#settled), which on short
sets leaves few trades before the hold-out, or none.
- R is what the way from the entry to the stop is worth. Intervals are at 95%; those of trades from {draws:,} draws of
blocks of trades. Signals of many symbols in the same minute are not independent, which makes the intervals of lifts
narrower than they should be. *Surely* means by more than the interval; of many rows one in forty is surely above by
chance alone, and one in forty surely below.
"""
SEARCH = """- **Searched** is the best of {trials:,} parameter sets drawn at random from the strategy's own ranges, by R
a trade before the hold-out, [judged](research.md#honesty) there with {permutations:,} permutations of its entries, and
then tried in the hold-out.
"""


def page(rows: Sequence[Row], study: Study) -> str:
    """All of it."""
    words = {
        "held_out": study.held_out,
        "spot_cost": cost_bps(study.spot),
        "perpetual_cost": cost_bps(study.perpetual),
        "spot": _costs(study.spot),
        "perpetual": _costs(study.perpetual),
        "draws": study.draws,
        "trials": study.trials,
        "permutations": study.permutations,
    }
    method = (METHOD + SEARCH * bool(study.trials)).format(**words)
    parts = [HEAD, "## In short", "", *_in_short(rows), "", method, "## The candles", "", *_sets(rows), ""]
    for name in _names(rows):
        mine = [row for row in rows if row.strategy == name]
        parts += [f"## {name}", "", "Signals, before the hold-out and in it:", "", *_signals(mine), ""]
        parts += ["Trades, before the hold-out and in it:", "", *_trades(mine), ""]
        if any(row.searched for row in mine):
            parts += ["Searched before the hold-out:", "", *_searched(mine), ""]
    return "\n".join(_wrapped("\n".join(parts)))


def cost_bps(account: Account) -> float:
    """What going in and out at the market costs."""
    return 2 * (account.taker_bps + account.slippage_bps)


def _wrapped(text: str) -> Iterator[str]:
    """Its lines, those of lists as long as they may be; what goes on below an item belongs to it."""
    for part in re.split(r"\n(?=\n|- |\||#|```)", text):
        if part.startswith("- "):
            yield from textwrap.wrap(part, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        else:
            yield part.rstrip()


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.strategy for row in rows))


def _costs(account: Account) -> str:
    return f"fees of {account.taker_bps:g} (maker {account.maker_bps:g}) and slippage of {account.slippage_bps:g} bps"


def _in_short(rows: Sequence[Row]) -> Iterator[str]:
    for name in _names(rows):
        mine = [row for row in rows if row.strategy == name]
        yield f"- **{name}**: {_of_signals(mine)} {_of_trades(mine)}"
    every = _many(rows)
    above, below = _apart(every)
    yield (
        f"- All together, in the hold-outs {above} of {len(every)} lifts over random entries are surely above 0 and "
        f"{below} surely below. {_both(rows)}"
    )
    yield from _defaults(rows)
    yield (
        "- None of this is a reason to trade them as they are. They show how a strategy is written and what an alert "
        "says. Whoever has an idea of their own can put it through [the same tests](research.md)."
    )


def _of_signals(rows: Sequence[Row]) -> str:
    scores = _many(rows)
    if not scores:
        return f"no hold-out has {MANY} signals and random entries beside them."
    above, below = _apart(scores)
    lift, net_r, random_r = (
        _signed(_middle([getattr(score, name) for score in scores]), decimals)
        for name, decimals in (("lift", 1), ("net_r", 2), ("baseline_net_r", 2))
    )
    cost_r = _middle([score.gross_r - score.net_r for score in scores])
    return (
        f"in the hold-outs the lift of its signals over random entries is {lift} points, {above} of {len(scores)} are "
        f"surely above 0 and {below} surely below. Costs take {cost_r:.2f} R of each signal; after them it brings "
        f"{net_r} R, a random entry {random_r} R. (Medians of the rows with {MANY} signals or more.)"
    )


def _many(rows: Sequence[Row]) -> list[Score]:
    """Of the hold-outs, what has enough signals and random entries beside them."""
    every = [score for row in rows for score in row.after.scores.values()]
    return [score for score in every if score.n >= MANY and not math.isnan(score.lift)]


def _of_trades(rows: Sequence[Row]) -> str:
    traded = [row.after for row in rows if row.after.figures["trades"] >= MANY]
    if not traded:
        return f"No backtest has {MANY} trades there."
    gross, won = sum(part.gross_r > 0 for part in traded), sum(part.figures["net_pct"] > 0 for part in traded)
    sure, lost = sum(part.expectancy_r.low > 0 for part in traded), sum(part.expectancy_r.high < 0 for part in traded)
    return (
        f"Of its {len(traded)} backtests with {MANY} trades or more, {gross} won before costs and {won} after; R a "
        f"trade is surely above 0 in {sure} and surely below in {lost}."
    )


def _both(rows: Sequence[Row]) -> str:
    """What is surely apart from chance on the same side before the hold-out and in it."""
    found = []
    for row in rows:
        for timeframe, after in row.after.scores.items():
            before = row.before.scores[timeframe]
            for side, word in ((1, "above"), (-1, "below")):
                if all(min(side * one.lift_low, side * one.lift_high) > 0 for one in (before, after)):
                    found.append(f"{row.strategy} on {timeframe} of {row.market.name} ({word})")
    if not found:
        return "None is surely on the same side before the hold-out and in it."
    return f"Surely on the same side before the hold-out and in it: {', '.join(found)}."


def _defaults(rows: Sequence[Row]) -> Iterator[str]:
    pairs = [(row, row.searched) for row in rows if row.searched is not None]
    if not pairs:
        return
    survive = [row for row, one in pairs if one.judged.survives]
    held = [row for row, one in pairs if one.expectancy_r.low > 0]
    better = sum(one.expectancy_r.low > row.after.expectancy_r.high for row, one in pairs)
    kept = [f"{row.strategy} on {row.market.name}" for row in survive if row in held]
    yield (
        f"- Of {len(rows)} searches {len(rows) - len(pairs)} had no set with {MANY} trades, and {len(survive)} found a "
        f"set that passes every test on the candles that were searched. In the hold-out the best set's R a trade is "
        f"surely above 0 in {len(held)}, and its interval lies above that of the default's in {better}."
    )
    if kept:
        yield f"- Both hold for {', '.join(kept)}: one set of candles, which is not enough to change a default."
    else:
        yield "- So no default was changed: no searched set passes the tests and is surely above 0 in the hold-out."


def _sets(rows: Sequence[Row]) -> Iterator[str]:
    found = {row.market.name + row.market.venue: row for row in rows}
    yield from _table(
        ["Set", "Venue", "Symbols", "Smallest candles", "From", "Held out from", "To", "Hold-out"],
        [
            [
                row.market.name,
                row.market.venue,
                str(len(row.market.symbols)),
                f"{row.market.base_ms // 60_000} min",
                _day(row.market.times[0]),
                _day(row.holdout.from_ms),
                _day(row.holdout.to_ms),
                row.opened,
            ]
            for row in found.values()
        ],
    )


def _signals(rows: Sequence[Row]) -> Iterator[str]:
    lines = []
    for row in rows:
        for timeframe, after in row.after.scores.items():
            before = row.before.scores[timeframe]
            lines.append(
                [
                    row.market.name,
                    timeframe,
                    f"{before.n:,} / {after.n:,}",
                    _lift(before),
                    _lift(after),
                    f"{_share(after.rate)} / {_share(after.baseline)}",
                    _signed(after.gross_r),
                    _signed(after.net_r),
                    _signed(after.baseline_net_r),
                ]
            )
    head = ["Set", "Timeframe", "Signals", "Lift before", "Lift in it", "Target first / random"]
    yield from _table([*head, "R before costs", "R after costs", "Random, after costs"], lines)


def _trades(rows: Sequence[Row]) -> Iterator[str]:
    def line(row: Row) -> list[str]:
        before, after = row.before, row.after
        return [
            row.market.name,
            row.market.account.kind,
            f"{before.figures['trades']:,} / {after.figures['trades']:,}",
            _interval(before.expectancy_r),
            _interval(after.expectancy_r),
            _signed(after.gross_r),
            _percent(before.figures["net_pct"]),
            _percent(after.figures["net_pct"]),
            _percent(after.held_pct),
            f"{after.figures['max_drawdown_pct']:.1f}%",
        ]

    head = ["Set", "Account", "Trades", "R a trade before", "R a trade in it", "In it, before costs"]
    yield from _table([*head, "Net before", "Net in it", "Held instead", "Drawdown in it"], [line(row) for row in rows])


def _searched(rows: Sequence[Row]) -> Iterator[str]:
    lines, words = [], []
    for row in rows:
        if row.searched is None:
            continue
        one = row.searched
        best = ", ".join(f"{name} {value:g}" for name, value in one.params.items())
        found = f"{_interval(one.expectancy_r)} of {one.trades:,}"
        lines.append(
            [
                row.market.name,
                best,
                "may survive" if one.judged.survives else "no",
                _interval(row.after.expectancy_r),
                found,
            ]
        )
        words.append(f"- {row.market.name}: {one.judged.sentence}")
    yield from _table(["Set", "Best set", "Survives", "Default in the hold-out", "Best set in the hold-out"], lines)
    yield ""
    yield from words


def _apart(scores: Iterable[Score]) -> tuple[int, int]:
    """How many lifts are surely above chance, and how many below."""
    known = list(scores)
    return sum(score.lift_low > 0 for score in known), sum(score.lift_high < 0 for score in known)


def _middle(values: Sequence[float]) -> float:
    known = sorted(value for value in values if not math.isnan(value))
    return (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2 if known else math.nan


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join('---' for _ in head)}|"
    for line in lines:
        yield f"| {' | '.join(line)} |"


def _lift(score: Score) -> str:
    if math.isnan(score.lift):
        return "-"
    return f"{_signed(score.lift, 1)} ({_signed(score.lift_low, 1)} to {_signed(score.lift_high, 1)})"


def _interval(of: Interval) -> str:
    if math.isnan(of.value):
        return "-"
    if math.isnan(of.low):
        return _signed(of.value)
    return f"{_signed(of.value)} ({_signed(of.low)} to {_signed(of.high)})"


def _signed(value: float, decimals: int = 2) -> str:
    return "-" if math.isnan(value) else f"{value:+.{decimals}f}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value * 100:.1f}%"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.1f}%"


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")
