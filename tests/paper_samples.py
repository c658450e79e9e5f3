"""Random markets and signals for paper trading, and the loop of a backtest over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tapewatch.archive.candles import Candles
from tapewatch.model import MINUTE_MS, NAN
from tapewatch.paper.instruments import Instrument
from tapewatch.paper.settings import MAINTENANCE
from tapewatch.study import account, loop
from tapewatch.study.desk import Candidates, desk_of, market_of
from tapewatch.study.settings import Account

#: A cent, and a thousandth: few enough of both that rounding matters.
COIN = Instrument(Decimal("0.01"), Decimal("0.001"), Decimal(5))
#: Twenty minutes before a UTC day ends.
START_MS = 1_700_005_200_000
#: Of markets, in another order than their numbers.
NAMES = ("BBBUSDT", "AAAUSDT", "CCCUSDT")

Tick = int


@dataclass(frozen=True)
class Minute:
    """A bar in cents; its turnover in whole coins, and in quote units where that is told."""

    open: Tick
    high: Tick
    low: Tick
    close: Tick
    volume: float = 1.0
    quote_volume: float = NAN


@dataclass(frozen=True)
class Wish:
    """A signal at the close of bar `at` (the bar's index): distances in cents, `limit` in bars.

    `even`, `after` and `by` are break-even and trailing stop, 0 where there is none.
    """

    at: int
    side: int
    stop: int
    targets: tuple[int, ...]
    limit: int
    even: int = 0
    after: int = 0
    by: int = 0


@st.composite
def minutes(draw: st.DrawFn, least: int = 2, most: int = 40) -> list[Minute]:
    """Bars that gap, stand still and run."""
    price, bars = 10_000, []
    for _ in range(draw(st.integers(least, most))):
        opened = max(100, price + draw(st.sampled_from([0, 0, 0, 1, -1, 60, -60, 400, -400])))
        close = max(100, opened + draw(st.integers(-120, 120)))
        high = max(opened, close) + draw(st.sampled_from([0, 1, 40, 150]))
        low = max(50, min(opened, close) - draw(st.sampled_from([0, 1, 40, 150])))
        volume, quote_volume = draw(st.sampled_from([(1.0, NAN), (313.7, NAN), (0.0, NAN), (9.0, 52_801.7)]))
        bars.append(Minute(opened, high, low, close, volume, quote_volume))
        price = close
    return bars


@st.composite
def wishes(draw: st.DrawFn, bars: int, targets: int) -> list[Wish]:
    """Signals on some bars, oldest first, at most one a bar."""
    places = draw(st.lists(st.integers(0, bars - 1), unique=True, max_size=bars))
    ways, far = st.integers(1, 260), st.sampled_from([0, 0, 1, 30, 80, 150])
    moves = st.just((0, 0, 0)) | st.tuples(far, far, far)
    return [
        Wish(
            at,
            draw(st.sampled_from([1, -1])),
            draw(ways),
            tuple(sorted(draw(st.tuples(*[ways] * targets)))),
            draw(st.integers(1, 30)),
            *draw(moves),
        )
        for at in sorted(places)
    ]


@st.composite
def protections(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of an account: none of them, or some that these few bars can meet."""
    pauses_ms = st.integers(1, 12).map(lambda bars: bars * MINUTE_MS)
    return {
        "daily_loss": draw(st.sampled_from([0.0, 0.0, 0.008, 0.02])),
        "max_drawdown": draw(st.sampled_from([0.0, 0.0, 0.011, 0.03])),
        "drawdown_pause_ms": draw(pauses_ms),
        "losses": draw(st.sampled_from([0, 0, 1, 2])),
        "losses_pause_ms": draw(pauses_ms),
        "after_stop_ms": draw(st.sampled_from([0, 0, 1, 5])) * MINUTE_MS,
    }


def candles_of(bars: Sequence[Minute], symbol: str = "AAAUSDT") -> Candles:
    """The bars, a minute each."""
    opens_ms = START_MS + MINUTE_MS * np.arange(len(bars), dtype=np.int64)
    columns = [np.array([getattr(bar, name) / 100 for bar in bars]) for name in ("open", "high", "low", "close")]
    columns += [np.array([getattr(bar, name) for bar in bars]) for name in ("volume", "quote_volume")]
    nothing = np.full(len(bars), np.nan)
    return Candles("v", symbol, MINUTE_MS, opens_ms, *columns, nothing, nothing)


def candidates_of(markets: Sequence[Sequence[Minute]], asked: Sequence[Sequence[Wish]], targets: int) -> Candidates:
    """The signals of each market on its bars, in the order in which they are decided."""
    rows = sorted((wish.at, s, wish) for s, of_market in enumerate(asked) for wish in of_market)
    close = np.array([markets[s][at].close / 100 for at, s, _ in rows])
    side = np.array([wish.side for _, _, wish in rows], np.int64)
    ways = np.array([[-wish.stop, *wish.targets] for _, _, wish in rows]).reshape(len(rows), targets + 1) / 100
    levels = close[:, None] + side[:, None] * ways
    decided_ms = np.array([START_MS + (at + 1) * MINUTE_MS for at, _, _ in rows], np.int64)
    return Candidates(
        symbol=np.array([s for _, s, _ in rows], np.int64),
        decided_ms=decided_ms,
        side=side,
        close=close,
        expiry_ms=decided_ms + np.array([wish.limit * MINUTE_MS for _, _, wish in rows], np.int64),
        distances=np.abs(close[:, None] - levels),
        levels=levels,
        moves=np.array([[wish.even, wish.after, wish.by] for _, _, wish in rows]).reshape(len(rows), 3) / 100,
    )


def traded(
    markets: Sequence[Sequence[Minute]],
    asked: Sequence[Sequence[Wish]],
    shares: Sequence[float],
    terms: Account,
    *,
    optimistic: bool = False,
    gone: Sequence[bool] | None = None,
    simulate: Callable[[account.Desk], Any] = loop.simulate,
) -> account.Desk:
    """A desk after everything: the signals of each market on its bars."""
    leverage = terms.leverage if terms.kind == "perpetual" else 0.0
    market = market_of(
        [candles_of(bars, NAMES[s]) for s, bars in enumerate(markets)],
        [(np.zeros(0), np.zeros(0))] * len(markets),
        gone,
    )
    end_ms = START_MS + max(map(len, markets)) * MINUTE_MS
    desk = desk_of(
        market,
        candidates_of(markets, asked, len(shares)),
        shares,
        [COIN.terms(leverage, MAINTENANCE)] * len(markets),
        terms.settings(optimistic=optimistic),
        [end_ms],
    )
    simulate(desk)
    return desk


def trades_of(desk: account.Desk) -> list[list[int]]:
    """The rows of trades."""
    rows: list[list[int]] = desk.trades[: desk.counts[account.TRADES]].tolist()
    return rows


def exits_of(desk: account.Desk) -> list[list[int]]:
    """The rows of exits."""
    rows: list[list[int]] = desk.exits[: desk.counts[account.EXITS]].tolist()
    return rows
