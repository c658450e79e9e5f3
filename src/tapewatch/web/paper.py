"""The routes of paper trading: the account, what it holds and held, and its curve."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from tapewatch.store import Ledger
from tapewatch.store.pages import Filter
from tapewatch.web import holdings
from tapewatch.web.asked import Cursor, Here, Limit, Ms, Symbol, answer, page

router = APIRouter()


@router.get("/positions", response_model=holdings.Positions)
async def positions(request: Request, site: Here) -> Response:
    """The paper account, null without one, and its open and pending positions; amounts are exact, as text."""
    venue = site.scene.config.exchange.venue

    def read(ledger: Ledger) -> dict[str, Any]:
        return {"account": ledger.paper.standing(venue), "items": ledger.paper.positions(venue)}

    return answer(request, await site.reads(read))


@router.get("/trades", response_model=holdings.TradePage)
async def trades(
    request: Request,
    site: Here,
    symbol: Symbol = None,
    strategy: Symbol = None,
    from_ms: Ms = None,
    to_ms: Ms = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Closed paper positions, the last closed first; times are those at which they were closed, as [from, to)."""
    venue = site.scene.config.exchange.venue
    chosen = Filter(symbol, strategy, from_ms=from_ms, to_ms=to_ms)
    return await page(request, site, cursor, lambda ledger, after: ledger.pages.trades(venue, chosen, limit, after))


@router.get("/equity", response_model=holdings.Equity)
async def equity(
    request: Request,
    site: Here,
    from_ms: Ms = None,
    to_ms: Ms = None,
    points: Annotated[int, Query(ge=2, le=5_000)] = 500,
) -> Response:
    """The account's equity as each position was closed, at the end as it is now, and how far it is below its peak."""
    venue = site.scene.config.exchange.venue

    def read(ledger: Ledger) -> tuple[dict[str, Any] | None, list[tuple[int, float]]]:
        return ledger.paper.account(venue), ledger.paper.results(venue)

    account, results = await site.reads(read)
    curve = [] if account is None else _curve(account, results)
    inside = [one for one in curve if (from_ms or 0) <= one[0] and (to_ms is None or one[0] < to_ms)]
    kept = thinned(inside, points)
    columns = zip(*kept, strict=True) if kept else ((), (), ())
    return answer(request, dict(zip(("ms", "equity", "drawdown_pct"), columns, strict=True)))


def _curve(account: dict[str, Any], results: Sequence[tuple[int, float]]) -> list[tuple[int, float, float]]:
    """When, equity, and percent below the peak until then."""
    value = peak = float(account["start_cash"])
    points = [(account["started_ms"], value)]
    for ms, net in results:
        value += net
        points.append((ms, value))
    curve = []
    for ms, now in [*points, (account["at_ms"], float(account["equity"]))]:
        peak = max(peak, now)
        curve.append((ms, now, 100.0 * (1.0 - now / peak)))
    return curve


def thinned(curve: Sequence[tuple[int, float, float]], points: int) -> list[tuple[int, float, float]]:
    """So many of them at most, the first and the last among them, each the deepest of its part."""
    if len(curve) <= points:
        return list(curve)
    inner, parts = curve[1:-1], points - 2
    edges = [len(inner) * number // parts for number in range(parts + 1)] if parts else []
    found = [max(inner[start:end], key=lambda one: one[2]) for start, end in pairwise(edges)]
    return [curve[0], *found, curve[-1]]
