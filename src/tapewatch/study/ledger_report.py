"""What a ledger has of a paper account and of its alerts, as a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np

from tapewatch import __version__
from tapewatch.archive.candles import Candles
from tapewatch.model import DAY_MS, NAN
from tapewatch.study.backtest import Result
from tapewatch.study.charts import Chart, over_time
from tapewatch.study.drawing import drawdown_chart, drawn_trades
from tapewatch.study.metrics import by_part, metrics
from tapewatch.study.page import figures_of, months_of, render_page, tables_of
from tapewatch.study.quality import Judged, delivery, quality, told
from tapewatch.study.trades import Exit, Trade, columns_of
from tapewatch.study.words import count, moment, money, percent, ratio

#: With fewer days the equity is drawn by trade.
FEW_DAYS = 3
#: Points of that, at most.
MOST_POINTS = 500
#: A growth by year says nothing of fewer days.
LEAST_DAYS = 30
_PARTS = (
    ("equity", "Equity"), ("months", "Months"), ("bounds", "Costs"), ("quality", "Alert quality"),
    ("told", "Told and come"), ("delivery", "Delivery"), ("groups", "Where it came from"),
    ("drawn", "Trades on candles"), ("trades", "Trades"), ("asked", "What it is of"),
)  # fmt: skip

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Kept:
    """What a ledger has of a period.

    Attributes:
        venue: whose.
        asked: what was asked for, as the report says it.
        account: the paper account as it was last, None without one.
        days: of the account, those that are over, oldest first.
        positions: closed ones by entry, as `positions --closed --json` prints them.
        still_open: how many are.
        skipped: why signals led to no position, with counts.
        judged: how signals did, by strategy and timeframe.
        told: what was told with alerts, and what came.
        messages, attempts: of `DeliveryTables`.
    """

    venue: str
    asked: Sequence[tuple[str, str]]
    account: Row | None
    days: Sequence[Row]
    positions: Sequence[Row]
    still_open: int
    skipped: Mapping[str, int]
    judged: Sequence[Judged]
    told: Sequence[Row]
    messages: Sequence[Row]
    attempts: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """Where the trades of a ledger are drawn from."""

    kept: Kept
    candles: Callable[[str], Candles | None]
    stop: Callable[[str], float | None]

    def candles_of(self, trade: Trade) -> Candles | None:
        """Those of its symbol, None where none of its life are there."""
        found = self.candles(trade.symbol)
        if found is None or not len(found.slice(trade.entry_ms, trade.exits[-1].ms + found.interval_ms)):
            return None
        return found

    def levels_of(self, trade: Trade) -> tuple[float, ...]:
        """The stop that the signal told, or the last one, and the targets of the position."""
        row = next(row for row in self.kept.positions if row["trade_id"] == trade.trade_id)
        told = self.stop(trade.signal_id)
        stop = float(row["stop"]) if told is None else told
        return stop, *(float(one["price"]) for one in row["targets"])


def render(
    kept: Kept, candles: Callable[[str], Candles | None], stop: Callable[[str], float | None] = lambda _: None
) -> str:
    """The report's HTML.

    Args:
        kept: what the ledger has.
        candles: the base ones of a symbol, None where there are none.
        stop: with which a signal of this id was told, None where that is not known.
    """
    trades = [_trade(row) for row in kept.positions]
    result = None if kept.account is None else _result(kept, kept.account, trades)
    found = None if result is None else _figures(kept, result)
    by = {} if found is None else found["by"]
    sent = delivery(kept.messages, kept.attempts)
    has = {"months": result is not None, "bounds": result is not None}
    return render_page(
        trades,
        "`tapewatch positions --closed` lists all",
        parts=[part for part in _PARTS if has.get(part[0], True)],
        version=__version__,
        title=f"{kept.venue}: paper account and alerts",
        subtitle=_subtitle(kept, trades),
        tiles=_tiles(kept, found, sent),
        **_charts(kept, result),
        months=months_of(result) if result is not None else [],
        costs=_costs(found) if found is not None else None,
        costs_title="Costs",
        figures=figures_of(found) if found is not None else [],
        tables=tables_of(by),
        skipped=[(why, f"{number:,}") for why, number in kept.skipped.items()],
        pauses=[],
        drawn=drawn_trades(Drawn(kept, candles, stop), trades),
        quality=quality(kept.judged),
        told=told(kept.told),
        delivery=sent,
        asked=kept.asked,
        foot="Paper trades of a run; no order was sent anywhere. Money is of the ledger, where it is exact. What the "
        "figures mean is in docs/backtest.md, docs/outcomes.md and docs/paper.md.",
    )


def _trade(row: Row) -> Trade:
    """A closed position; R is NaN where the ledger does not know it."""
    quantity = float(row["quantity"])
    exits = tuple(
        Exit(fill["ms"], float(fill["price"]), float(fill["quantity"]) / quantity * 100, fill["reason"])
        for fill in row["fills"]
        if fill["number"]
    )
    last = Exit(row["closed_ms"], float(row["mark"] or row["entry"]), 100.0, row["reason"] or "")
    values: dict[str, Any] = {
        name: row[name] for name in ("trade_id", "signal_id", "symbol", "side", "timeframe", "entry_ms")
    }
    values |= {name: float(row[name]) for name in ("fees", "funding", "gross", "net")}
    values |= {name: NAN if row[name] is None else row[name] for name in ("r", "mfe_r", "mae_r")}
    return Trade(
        **values,
        entry_price=float(row["entry"]),
        exits=exits or (last,),
        quantity=quantity,
        ambiguous=row["ambiguous"],
    )


def _result(kept: Kept, account: Row, trades: Sequence[Trade]) -> Result:
    """The account as a backtest would have it; the day that is on ends with the last candle."""
    days = list(kept.days)
    ends = [(day["day_ms"] + DAY_MS, float(day["equity"])) for day in days]
    start = float(days[0]["equity_before"] if days else account["start_cash"])
    if not ends or account["at_ms"] > ends[-1][0]:
        ends.append((account["at_ms"], float(account["equity"])))
    return Result(
        trades=trades,
        still_open=kept.still_open,
        skipped=dict(kept.skipped),
        days_ms=[ms for ms, _ in ends],
        equity=[start, *(equity for _, equity in ends)],
        bars=0,
        cash=start,
        gross=sum(one.gross for one in trades),
        fees=sum(one.fees for one in trades),
        funding=sum(one.funding for one in trades),
        exposure=NAN,
    )


def _figures(kept: Kept, result: Result) -> dict[str, Any]:
    """Those of a backtest that a ledger has."""
    found = metrics(result)
    gone = ("exposure_pct", *(("cagr_pct", "calmar") if len(result.days_ms) < LEAST_DAYS else ()))
    strategies = np.array([row["strategy"] for row in kept.positions], np.str_)
    by = found["by"] | {"strategy": by_part(columns_of(result.trades), strategies)}
    return {name: value for name, value in found.items() if name not in gone} | {"by": by}


def _charts(kept: Kept, result: Result | None) -> dict[str, Chart | None]:
    """Equity and drawdown: at the ends of days, or of few days after each closed trade."""
    if result is None:
        return {"equity": None, "drawdown": None}
    account = kept.account
    assert account is not None
    begun_ms = kept.days[0]["day_ms"] if kept.days else account["started_ms"]
    times_ms, values, what = [begun_ms, *result.days_ms], list(result.equity), "at the end of each UTC day"
    if len(result.days_ms) < FEW_DAYS and result.trades:
        closed = sorted((one.exits[-1].ms, one.net) for one in result.trades)
        nets = list(accumulate((net for _, net in closed), initial=result.equity[0]))
        every = -(-len(nets) // MOST_POINTS)
        times_ms, values = [begun_ms, *(ms for ms, _ in closed)][::every], nets[::every]
        what = "after each closed trade, open ones left out"
    change = percent((values[-1] / values[0] - 1) * 100, 2, sign=True)
    text = f"From {money(values[0])} to {money(values[-1])} ({change}), {what}."
    said = [f"{moment(ms)}: {money(value)}" for ms, value in zip(times_ms, values, strict=True)]
    equity = over_time("Equity", text, times_ms, [("equity", "equity", values)], said)
    return {"equity": equity, "drawdown": drawdown_chart(times_ms, values)}


def _subtitle(kept: Kept, trades: Sequence[Trade]) -> list[str]:
    symbols = sorted({trade.symbol for trade in trades})
    more = [f"{len(symbols) - 6} more"] if len(symbols) > 6 else []
    until = [f"as of {moment(kept.account['at_ms'])} UTC"] if kept.account is not None else []
    return [*symbols[:6], *more, *sorted({row["strategy"] for row in kept.positions}), *until]


def _tiles(kept: Kept, found: Mapping[str, Any] | None, sent: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    def tile(name: str, text: str, value: float = 0.0, more: str = "") -> dict[str, Any]:
        return {"name": name, "text": text, "value": value, "more": more}

    tiles = []
    if found is not None:
        won = f"{percent(found['win_rate_low_pct'], 0)} to {percent(found['win_rate_high_pct'], 0)}"
        days = count(found["max_drawdown_days"], "day")
        tiles += [
            tile("Net", percent(found["net_pct"], 2, sign=True), found["net_pct"], money(found["final_equity"])),
            tile("Trades", f"{found['trades']:,}", more=f"{kept.still_open} still open"),
            tile("Won", percent(found["win_rate_pct"], 1), more=f"{won} (95%)" if found["trades"] else ""),
            tile("Expectancy", ratio(found["expectancy_r"], 3, " R"), more=money(found["expectancy_quote"])),
            tile("Profit factor", ratio(found["profit_factor"]), more=f"SQN {ratio(found['sqn'])}"),
            tile("Deepest fall", percent(found["max_drawdown_pct"], 2), more=f"{days} long"),
        ]
    ended = sum(one.scores[0].n for one in kept.judged)
    hits = sum(one.scores[0].hits for one in kept.judged)
    rate = percent(hits / ended * 100, 1) if ended else "-"
    tiles.append(tile("Target first", rate, more=f"of {count(ended, 'signal')} that passed and ended"))
    arrived = ", ".join(f"{row['channel']} {row['arrived']}" for row in sent)
    tiles.append(tile("Messages", f"{len(kept.messages):,}", more=f"arrived: {arrived}" if arrived else ""))
    return tiles


def _costs(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("Fees", f"{money(found['fees'])} of closed trades"),
        ("Funding", money(found["funding"])),
        ("Ambiguous", f"{count(found['ambiguous'], 'trade')} met stop and target in one candle; the stop is assumed"),
    ]
