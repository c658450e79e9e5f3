"""The book against a straight-line telling of its rules, in exact fractions, that shares no code with it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor, isnan, sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paper_samples import START_MS, Minute, Wish, exits_of, minutes, protections, traded, trades_of, wishes
from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.paper.account import PAUSES
from tapewatch.study import account
from tapewatch.study.settings import Account

CENT, STEP, LEAST = Fraction(1, 100), Fraction(1, 1000), Fraction(5)
NEAR = Fraction(1, 10**6)


class Straight:
    """One market, bar by bar.

    Attributes:
        trades: [(entry bar, entry cents, steps, [(bar, cents, steps, reason)])].
        cash: with everything that is closed.
        pauses: [(why, bar closes until then, bar closes until its end)].
    """

    def __init__(self, bars: Sequence[Minute], shares: Sequence[Fraction], how: Account) -> None:
        self.bars, self.shares, self.how = bars, shares, how
        self.cash, self.trades = Fraction(how.cash), list[Any]()
        self.taker, self.maker = Fraction(how.taker_bps) / 10_000, Fraction(how.maker_bps) / 10_000
        self.position: dict[str, Any] = {}
        self.pauses, self.cool, self.peak, self.lost = list[tuple[str, int, int]](), 0, self.cash, 0
        self.realised = self.begun = self.cash
        self.day = START_MS // DAY_MS

    def play(self, asked: Sequence[Wish]) -> None:
        """Every bar: leave for time, enter what waits, stop or target, listen."""
        wanted, pending = {wish.at: wish for wish in asked}, None
        for i, bar in enumerate(self.bars):
            if self.position and i >= self.position["until"]:
                self.left(i, bar.open, "time")
            if pending is not None:
                self.enter(i, bar, pending)
                pending = None
            if self.position:
                self.live(i, bar, self.position)
            barred = i + 1 < max([self.cool, *(until for _, _, until in self.pauses)])
            if not self.position and not barred and i in wanted and i + 1 < len(self.bars):
                pending = wanted[i]

    def market(self, i: int, cents: int, side: int, worth: Fraction) -> int:
        """What an order worth so much gets in bar i, in floating point where it has an impact."""
        if not self.how.impact_bps:
            slip = Fraction(self.how.slippage_bps) / 10_000
            return ceil(cents * (1 + slip)) if side > 0 else floor(cents * (1 - slip))
        bar, lost = self.bars[i], 0.1
        traded = bar.volume * (bar.close / 100) if isnan(bar.quote_volume) else bar.quote_volume
        if traded > 0:
            lost = min(lost, self.how.slippage_bps / 1e4 + self.how.impact_bps / 1e4 * sqrt(float(worth) / traded))
        return ceil(cents * (1.0 + lost)) if side > 0 else floor(cents * (1.0 - lost))

    def enter(self, i: int, bar: Minute, wish: Wish) -> None:
        """At the open, if that is between the levels and enough."""
        side, signal_close, how = wish.side, self.bars[wish.at].close, self.how
        risk = self.cash * Fraction(how.risk).limit_denominator(10_000)
        planned = min(risk / wish.stop * signal_close, self.cash / 4)
        fill = self.market(i, bar.open, side, planned)
        origin = fill if how.levels == "fill" else signal_close
        stop, targets = origin - side * wish.stop, [origin + side * way for way in wish.targets]
        if (fill - stop) * side <= 0 or any((target - fill) * side <= 0 for target in targets):
            return
        steps = floor(min(risk / ((fill - stop) * side * CENT), planned / (fill * CENT)) / STEP + NEAR)
        if steps < 1 or steps * STEP * fill * CENT < LEAST:
            return
        legs = self.legs(steps, targets)
        self.position = {"side": side, "entry": fill, "stop": stop, "left": steps, "exits": []}
        self.position |= {"best": fill, "why": "stop", "wish": wish}
        self.position["targets"] = [(target, n) for target, n in zip(targets, legs, strict=True) if n]
        self.position["until"] = wish.at + 1 + wish.limit
        self.trades.append((i, fill, steps, self.position["exits"]))
        self.cash -= fill * CENT * steps * STEP * self.taker

    def legs(self, steps: int, targets: Sequence[int]) -> list[int]:
        """Steps of each target."""
        legs = [0] * len(targets)
        for k, target in enumerate(targets):
            final = k == len(targets) - 1
            upto = steps if final else floor(steps * sum(self.shares[: k + 1]) + NEAR)
            mine = upto - sum(legs)
            small = mine * STEP * target * CENT < LEAST
            if small and final and any(legs):
                legs[max(j for j in range(k) if legs[j])] += mine
            elif not small or final:
                legs[k] = mine
        return legs

    def live(self, i: int, bar: Minute, position: dict[str, Any]) -> None:
        """Through one bar: the stop first."""
        side, stop = position["side"], position["stop"]
        worst, best = (bar.low, bar.high) if side > 0 else (bar.high, bar.low)
        if (worst - stop) * side <= 0:
            gapped = (bar.open - stop) * side < 0
            self.left(i, bar.open if gapped else stop, position["why"])
            return
        while position["targets"] and (best - position["targets"][0][0]) * side >= 0:
            target, steps = position["targets"].pop(0)
            self.sold(i, target, steps, "target")
        wish, entry = position["wish"], position["entry"]
        best = position["best"] = max(position["best"] * side, best * side) * side
        if wish.even and abs(best - entry) >= wish.even and (entry - stop) * side > 0:
            position["stop"], position["why"] = entry, "break_even"
        if wish.by and abs(best - entry) >= wish.after and (best - side * wish.by - position["stop"]) * side > 0:
            position["stop"], position["why"] = best - side * wish.by, "trailing_stop"

    def left(self, i: int, cents: int, reason: str) -> None:
        """The rest is closed at the market."""
        side, steps = self.position["side"], self.position["left"]
        self.sold(i, self.market(i, cents, -side, cents * CENT * steps * STEP), steps, reason)

    def sold(self, i: int, cents: int, steps: int, reason: str) -> None:
        """A part is closed and paid."""
        profit = self.position["side"] * (cents - self.position["entry"]) * CENT * steps * STEP
        self.cash += profit - cents * CENT * steps * STEP * (self.maker if reason == "target" else self.taker)
        self.position["exits"].append((i, cents, steps, reason))
        self.position["left"] -= steps
        if self.position["left"] == 0:
            self.position = {}
            self.closed(i + 1, reason)

    def closed(self, at: int, reason: str) -> None:
        """What the protections make of it, in bar closes."""
        how, net, paused = self.how, self.cash - self.realised, list[tuple[int, str]]()
        day = (START_MS + (at - 1) * MINUTE_MS) // DAY_MS
        if day > self.day:
            self.day, self.begun = day, self.realised
        self.realised = self.cash
        midnight = ((day + 1) * DAY_MS - START_MS) // MINUTE_MS
        if how.daily_loss and self.begun - self.realised >= Fraction(how.daily_loss) * self.begun and midnight > at:
            paused.append((midnight, "daily_loss"))
        self.peak = max(self.peak, self.realised)
        if how.max_drawdown and self.realised <= (1 - Fraction(how.max_drawdown)) * self.peak:
            self.peak = self.realised
            paused.append((at + how.drawdown_pause_ms // MINUTE_MS, "max_drawdown"))
        self.lost = self.lost + 1 if net < 0 else 0
        if how.losses and self.lost == how.losses:
            self.lost = 0
            paused.append((at + how.losses_pause_ms // MINUTE_MS, "losses"))
        if paused:
            until = max(until for until, _ in paused)
            if until > max([0, *(until for _, _, until in self.pauses)]):
                self.pauses.append((next(why for one, why in paused if one == until), at, until))
        if reason in {"stop", "break_even", "trailing_stop"}:
            self.cool = at + how.after_stop_ms // MINUTE_MS


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_every_fill_is_the_one_that_the_rules_say(data: st.DataObject) -> None:
    """Same bars, prices, quantities and reasons; the same money to 1e-9."""
    bars = data.draw(minutes())
    parts = data.draw(
        st.sampled_from(
            [(Fraction(1),), (Fraction(1, 2), Fraction(1, 2)), (Fraction(1, 2), Fraction(3, 10), Fraction(1, 5))]
        )
    )
    asked = data.draw(wishes(len(bars), len(parts)))
    how = Account(
        kind="perpetual",
        cash=data.draw(st.sampled_from([100.0, 10_000.0])),
        levels=data.draw(st.sampled_from(["signal", "fill"])),
        slippage_bps=data.draw(st.sampled_from([0.0, 2.0, 37.0])),
        impact_bps=data.draw(st.sampled_from([0.0, 0.0, 13.0, 700.0])),
        maker_bps=data.draw(st.sampled_from([0.0, 10.0])),
        **data.draw(protections()),
    )
    told = Straight(bars, parts, how)
    told.play(asked)
    desk = traded([bars], [asked], [float(part) for part in parts], how)
    reasons = {1: "stop", 2: "target", 3: "time", 6: "break_even", 7: "trailing_stop"}
    found: list[Any] = [
        ((row[account.T_ENTRY_MS] - START_MS) // MINUTE_MS, row[account.T_ENTRY], row[account.T_STEPS], [])
        for row in trades_of(desk)
    ]
    for number, ms, ticks, steps, reason in exits_of(desk):
        found[number][3].append(((ms - START_MS) // MINUTE_MS, ticks, steps, reasons[reason]))
    assert found == told.trades
    pauses = [
        (PAUSES[why], (since_ms - START_MS) // MINUTE_MS, (until_ms - START_MS) // MINUTE_MS)
        for why, since_ms, until_ms in desk.pauses[: desk.counts[account.PAUSES]].tolist()
    ]
    assert pauses == told.pauses
    assert desk.money[account.CASH] == pytest.approx(float(told.cash), rel=1e-9)
