"""The routes of what was decided: signals, alerts and their delivery, candles, and why."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request, Response

from tapewatch.model import INTERVALS_MS
from tapewatch.store import Ledger
from tapewatch.store.pages import Filter
from tapewatch.strategy import Program
from tapewatch.strategy.explained import Explained, bar_entry, side_entry
from tapewatch.web import candles as journaled
from tapewatch.web import models
from tapewatch.web.asked import Channel, Cursor, Here, Limit, MessageStates, Ms, Symbol, Text, answer, page
from tapewatch.web.site import Site

router = APIRouter()

_NOTHING: dict[int | str, dict[str, Any]] = {404: {"model": models.Failure, "description": "There is no such thing."}}
Interval = Literal["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"]


@router.get("/signals", response_model=models.SignalPage)
async def signals(
    request: Request,
    site: Here,
    symbol: Symbol = None,
    strategy: Symbol = None,
    side: Literal["long", "short"] | None = None,
    state: Literal["passed", "blocked"] | None = None,
    interval: Interval | None = None,
    from_ms: Ms = None,
    to_ms: Ms = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Signals that a run has stored, the newest first; times are those of their bars' closes, as [from, to)."""
    venue = site.scene.config.exchange.venue
    chosen = Filter(symbol, strategy, side, state, interval, from_ms, to_ms)
    return await page(request, site, cursor, lambda ledger, after: ledger.pages.signals(venue, chosen, limit, after))


@router.get("/signals/{id:path}", response_model=models.SignalWhole, responses=_NOTHING)
async def signal(request: Request, site: Here, id: str) -> Response:  # noqa: A002  (the parameter's name)
    """One signal, its alert with every attempt to deliver it, and its paper position."""

    def read(ledger: Ledger) -> dict[str, Any] | None:
        found = next(iter(ledger.stored_signals(ids=[id])), None)
        if found is None:
            return None
        alert = None if found["alert_id"] is None else ledger.traces.alert(found["alert_id"])
        messages = [] if alert is None else alert["messages"]
        trades = ledger.paper.positions(states=(), signal_ids=[id])
        deliveries = [_delivery(one) for one in messages]
        return found | {"deliveries": deliveries, "messages": messages, "trade": next(iter(trades), None)}

    found = await site.reads(read)
    if found is None:
        raise HTTPException(404, f"there is no signal {id}")
    return answer(request, found)


def _delivery(message: dict[str, Any]) -> dict[str, Any]:
    told = {name: message[name] for name in ("channel", "state", "sent_ms")}
    return told | {"attempts": len(message["attempts"]), "error": message["last_error"]}


@router.get("/alerts", response_model=models.AlertPage)
async def alerts(
    request: Request,
    site: Here,
    symbol: Symbol = None,
    channel: Channel = None,
    state: MessageStates | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Alerts with what became of their messages, the newest first."""

    def read(ledger: Ledger, after: Any) -> Any:
        found = ledger.pages.alerts(limit, after, symbol=symbol, channel=channel, state=state)
        return found._replace(rows=[_alert(row) for row in found.rows])

    return await page(request, site, cursor, read)


def _alert(row: dict[str, Any]) -> dict[str, Any]:
    named = " ".join(str(row[name]) for name in ("symbol", "side", "strategy", "timeframe") if row[name] is not None)
    return {
        "alert_id": row["alert_id"],
        "ms": row["created_ms"],
        "kind": row["kind"],
        "late": row["late"],
        "symbol": row["symbol"],
        "strategy": row["strategy"],
        "side": row["side"],
        "interval": row["timeframe"],
        "title": row["subject"] or named,
        "text": row["text"],
        "record": row["record"],
        "deliveries": row["deliveries"],
    }


@router.get("/outbox", response_model=models.Outbox)
async def outbox(request: Request, site: Here) -> Response:
    """How many messages each channel has in each state, and since when the oldest of them is."""
    return answer(request, {"items": await site.reads(lambda ledger: ledger.pages.outbox())})


def _known(site: Site, symbol: str) -> None:
    """Raises HTTPException 404 where a symbol is not watched: all of the journal would be looked through for it."""
    if symbol not in site.scene.tapes and symbol not in site.health.symbols:
        raise HTTPException(404, f"{symbol} is not watched")


@router.get("/candles", response_model=models.Candles, responses=_NOTHING)
async def candles(
    request: Request,
    site: Here,
    symbol: Text,
    interval: Interval = "1m",
    strategy: Symbol = None,
    limit: Annotated[int, Query(ge=1, le=1_500)] = 500,
    before_ms: Annotated[int | None, Query(ge=0, le=2**53, description="Only candles that open before.")] = None,
) -> Response:
    """The last candles of the run's journal in columns, with the values of a strategy that are prices.

    `next` is what `before_ms` takes for those before; null where the journal has none.
    """
    _known(site, symbol)
    interval_ms = INTERVALS_MS[interval]
    chosen = [one for one in site.scene.programs if (one.strategy.name, one.timeframe) == (strategy, interval)]
    program = chosen[0] if chosen else None
    counts = {interval_ms: limit} if program is None else journaled.wanted(program, limit)
    until_ms = 2**62 if before_ms is None else before_ms - 1 + interval_ms
    folder = site.scene.config.journal_folder

    def read() -> dict[str, Any]:
        frames = journaled.frames_of(folder, symbol, counts, until_ms)
        return journaled.document(symbol, interval_ms, frames, limit, program)

    return answer(request, await site.reads.aside(read))


@router.get("/why", response_model=models.WhyList, responses=_NOTHING)
async def why(
    request: Request,
    site: Here,
    symbol: Text,
    ms: Annotated[int, Query(ge=0, le=2**53, description="The close of the bar.")],
    strategy: Symbol = None,
    interval: Interval | None = None,
) -> Response:
    """Every factor of every side on the bars that close at a moment, as `why --json` prints it, from the run's journal.

    The verdicts are those of the ledger.
    """
    _known(site, symbol)
    programs = [
        one
        for one in site.scene.programs
        if strategy in {None, one.strategy.name} and interval in {None, one.timeframe} and one.strategy.watches(symbol)
    ]
    groups = await site.reads.aside(lambda: _explained(site, programs, symbol, ms))
    if not groups:
        raise HTTPException(404, f"no bar of {symbol} that was evaluated closes at {ms}")
    stored = await site.reads(lambda ledger: ledger.around(symbol, ms))
    items = [{"bar": bar_entry(group[0]), "strategies": [side_entry(one, stored) for one in group]} for group in groups]
    return answer(request, {"items": items})


def _explained(site: Site, programs: list[Program], symbol: str, ms: int) -> list[list[Explained]]:
    """By timeframe what its bar says."""
    config = site.scene.config
    groups: dict[str, list[Explained]] = {}
    for program in programs:
        counts = journaled.wanted(program, 1)
        if ms % program.interval_ms == 0:
            frames = journaled.frames_of(config.journal_folder, symbol, counts, ms)
            sides = journaled.sides_at(program, frames, ms, config.exchange.venue)
            if sides:
                groups.setdefault(program.timeframe, []).extend(sides)
    return list(groups.values())
