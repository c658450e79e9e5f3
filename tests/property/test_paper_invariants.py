"""What holds for every account, market and list of signals."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paper_samples import MINUTE_MS, NAMES, START_MS, Minute, exits_of, minutes, protections, traded, trades_of, wishes
from tapewatch.paper import rules
from tapewatch.paper.account import G_UNTIL_MS, GUARD_PLACES, begin_guard, count_closed
from tapewatch.study import account, positions
from tapewatch.study.compiled import simulation
from tapewatch.study.settings import Account

ACCOUNTS = st.builds(
    lambda guards, **others: Account(**guards, **others),
    guards=protections(),
    kind=st.just("perpetual"),
    cash=st.sampled_from([60.0, 1_000.0]),
    risk=st.sampled_from([0.01, 0.2]),
    size_quote=st.sampled_from([None, None, 200.0]),
    cap_symbol=st.sampled_from([0.25, 1.0]),
    cap_side=st.sampled_from([0.5, 1.0]),
    cap_total=st.sampled_from([0.6, 1.0]),
    leverage=st.sampled_from([1.0, 3.0, 50.0]),
    slippage_bps=st.sampled_from([0.0, 5.0]),
    impact_bps=st.sampled_from([0.0, 0.0, 40.0]),
    levels=st.sampled_from(["signal", "fill"]),
    on_opposite=st.sampled_from(["ignore", "close", "reverse"]),
)
SHARES = st.sampled_from([(1.0,), (0.5, 0.5), (0.9, 0.1), (0.5, 0.3, 0.2)])


@st.composite
def samples(draw: st.DrawFn) -> tuple[list[list[Minute]], list[Any], tuple[float, ...], Account, bool]:
    """Up to three markets, their signals, and an account."""
    shares, markets = draw(SHARES), draw(st.lists(minutes(most=25), min_size=1, max_size=3))
    asked = [draw(wishes(len(bars), len(shares))) for bars in markets]
    return markets, asked, shares, draw(ACCOUNTS), draw(st.booleans())


@settings(max_examples=300, deadline=None)
@given(samples())
def test_no_account_is_told_lies(sample: tuple[Any, ...]) -> None:
    """The money identity, whole positions, prices that the bars had, no time travel, liquidation in time."""
    markets, asked, shares, how, optimistic = sample
    desk = traded(markets, asked, shares, how, optimistic=optimistic)
    money = desk.money
    cash = how.cash + money[account.GROSS] - money[account.FEES] - money[account.FUNDING]
    assert abs(money[account.CASH] - cash) < 1e-9 * max(1.0, abs(money[account.GROSS]), money[account.FEES])
    exits = defaultdict(list)
    for number, ms, ticks, steps, reason in exits_of(desk):
        exits[number].append((ms, ticks, steps, reason))
    until: dict[int, int] = {}
    for number, row in enumerate(trades_of(desk)):
        n, entry_ms, entry, steps, stop, best, worst, _, held = row
        s, decided_ms, side = (int(desk.asked[n, k]) for k in (account.A_SYMBOL, account.A_DECIDED_MS, account.A_SIDE))
        assert entry_ms >= decided_ms  # no trade on a bar before its signal
        assert entry_ms >= until.get(s, 0)
        assert sum(one[2] for one in exits[number]) + held == steps > 0
        assert all(one[2] > 0 for one in exits[number])
        assert (best - entry) * side >= 0 >= (worst - entry) * side
        bars = markets[s]
        assert (entry - bars[(entry_ms - START_MS) // MINUTE_MS].open) * side >= 0
        for ms, ticks, _, reason in exits[number]:
            bar = bars[(ms - START_MS) // MINUTE_MS]
            seen_best = bar.high if side > 0 else bar.low
            if reason != rules.AT_LIQUIDATION:  # beyond the margin the loss is the exchange's
                assert (ticks - seen_best) * side <= 0  # no fill is better than the bar
            if reason == rules.AT_STOP:
                assert (ticks - stop) * side <= 0
            elif reason == rules.AT_BREAK_EVEN:
                assert (ticks - entry) * side <= 0
            elif reason == rules.AT_TRAIL:
                assert (ticks - best) * side < 0
            elif reason == rules.AT_TARGET:
                assert (ticks - entry) * side > 0
            margin = entry / how.leverage
            assert (entry - ticks) * side <= margin + 1  # liquidated before more is lost than the margin
        if exits[number]:
            until[s] = exits[number][-1][0]


@settings(max_examples=300, deadline=None)
@given(samples())
def test_pauses_are_those_of_all_symbols_in_the_order_of_time(sample: tuple[Any, ...]) -> None:
    """Told again from the list of closed trades: the same pauses, and nothing was decided on within them."""
    markets, asked, shares, how, optimistic = sample
    desk = traded(markets, asked, shares, how, optimistic=optimistic)
    rows, stopped = trades_of(desk), dict[str, list[int]]()
    last = {number: (ms + MINUTE_MS, reason) for number, ms, _, _, reason in exits_of(desk)}
    closed = sorted((last[k][0], NAMES[desk.asked[row[0], 0]], k) for k, row in enumerate(rows) if not row[-1])
    guard, protecting = [0.0] * GUARD_PLACES, how.settings(optimistic=False).protections
    begin_guard(guard, how.cash)
    pauses = []
    for ms, symbol, number in closed:
        fees, paid, gross = desk.charged[number].tolist()
        why = count_closed(guard, protecting, ms, gross - fees - paid)
        if why:
            pauses.append([why, ms, int(guard[G_UNTIL_MS])])
        if last[number][1] not in {rules.AT_TARGET, rules.AT_TIME, rules.AT_OPPOSITE}:
            stopped.setdefault(symbol, []).append(ms)
    assert desk.pauses[: desk.counts[account.PAUSES]].tolist() == pauses
    for n, *_ in rows:
        s, decided_ms = desk.asked[n, :2].tolist()
        assert not any(since_ms <= decided_ms < until_ms for _, since_ms, until_ms in pauses)
        assert not any(ms <= decided_ms < ms + how.after_stop_ms for ms in stopped.get(NAMES[s], []))


@settings(max_examples=300, deadline=None)
@given(samples())
def test_bars_that_are_skipped_are_those_in_which_nothing_happens(sample: tuple[Any, ...]) -> None:
    """Taken one by one, they lead to the same, to the last bit."""
    markets, asked, shares, how, optimistic = sample
    skipping = traded(markets, asked, shares, how, optimistic=optimistic)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(positions, "rest", lambda desk, s, row, last_ms, terms: row)
        slowly = traded(markets, asked, shares, how, optimistic=optimistic)
    skipping.state[:, rules.NEXT] = slowly.state[:, rules.NEXT] = 0  # looked for where a bar may touch it
    for name, mine, other in zip(skipping._fields, skipping, slowly, strict=True):
        assert name == "settings" or np.array_equal(mine, other), name


@settings(max_examples=300, deadline=None)
@given(samples())
def test_compiled_and_interpreted_agree_to_the_bit(sample: tuple[Any, ...]) -> None:
    """Every array of the desk is the same."""
    markets, asked, shares, how, optimistic = sample
    ours = traded(markets, asked, shares, how, optimistic=optimistic)
    theirs = traded(markets, asked, shares, how, optimistic=optimistic, simulate=simulation())
    for name, mine, other in zip(ours._fields, ours, theirs, strict=True):
        assert name == "settings" or np.array_equal(mine, other, equal_nan=True), name


@settings(max_examples=200, deadline=None)
@given(samples())
def test_a_longer_market_does_not_change_what_has_happened(sample: tuple[Any, ...]) -> None:
    """The trades of a prefix are a prefix of the trades."""
    markets, asked, shares, how, optimistic = sample
    cut = [bars[: max(1, len(bars) // 2)] for bars in markets]
    early = [[wish for wish in wanted if wish.at < len(bars)] for wanted, bars in zip(asked, cut, strict=True)]
    whole = traded(markets, asked, shares, how, optimistic=optimistic)
    part = traded(cut, early, shares, how, optimistic=optimistic)
    until_ms = START_MS + min(map(len, cut)) * MINUTE_MS

    def before(desk: account.Desk) -> list[tuple[int, ...]]:
        closes = {n: tuple(desk.asked[row[0], :2].tolist()) for n, row in enumerate(trades_of(desk))}
        return sorted((*closes[row[0]], *row[1:]) for row in exits_of(desk) if row[1] < until_ms)

    assert before(whole) == before(part)
