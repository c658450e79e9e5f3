"""The routes of the API: reads of what a run has and is, as JSON."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from starlette.responses import StreamingResponse

from tapewatch import __version__
from tapewatch.store.pages import Filter, Page
from tapewatch.telemetry.document import health_document, memory_bytes
from tapewatch.web import models
from tapewatch.web.site import Site

PREFIX = "/api/v1"
#: Of what is asked again each time, unless it is the same.
_HEADERS = {"Cache-Control": "no-cache"}

router = APIRouter(
    responses={
        400: {"model": models.Failure, "description": "What was asked makes no sense."},
        422: {"model": models.Failure, "description": "A parameter is none, or out of its range."},
        503: {"model": models.Failure, "description": "The ledger cannot be read."},
    }
)


async def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


Here = Annotated[Site, Depends(_site)]
Symbol = Annotated[str | None, Query(max_length=100)]
Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(max_length=1_000)]
Ms = Annotated[int | None, Query(ge=0, le=2**53)]


def answer(request: Request, document: Any) -> Response:
    """A document, or that it has not changed; numbers that are none are null."""
    body = msgspec.json.encode(document)
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = _HEADERS | {"ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def after_of(cursor: str | None) -> list[Any] | None:
    """Where a page begins. Raises HTTPException 400 where that is no cursor."""
    if cursor is None:
        return None
    try:
        return msgspec.json.decode(bytes.fromhex(cursor), type=list[Any])
    except (ValueError, msgspec.MsgspecError):
        raise HTTPException(400, "cursor: it is none that this list gave") from None


def page_of(page: Page) -> dict[str, Any]:
    """A page as it is answered."""
    return {"items": page.rows, "next": None if page.after is None else msgspec.json.encode(page.after).hex()}


async def description(request: Request) -> Response:
    """The OpenAPI description of all of this."""
    return answer(request, request.app.openapi())


@router.get("/state", response_model=models.State)
async def state(request: Request, site: Here) -> Response:
    """What runs, and the number of the last event: what happens from now on is kept for whoever opens the stream."""
    site.hub.attend()
    config, scene = site.scene.config, site.scene
    found: dict[str, dict[str, Any]] = {}
    for program in scene.programs:
        one = found.setdefault(program.strategy.name, {"timeframes": [], "sides": []})
        one["timeframes"].append(program.timeframe)
        one["sides"] = list(dict.fromkeys([*one["sides"], *(plan.side for plan in program.sides)]))
    return answer(
        request,
        {
            "version": __version__,
            "venue": config.exchange.venue,
            "role": scene.role,
            "started_ms": site.health.started_ms,
            "now_ms": site.now_ms(),
            "paper": config.paper is not None,
            "strategies": [{"name": name} | one for name, one in found.items()],
            "channels": [{"name": name, "type": channel.type} for name, channel in config.channels.items()],
            "symbols": len(site.health.symbols),
            "seq": site.hub.seq,
        },
    )


_Sort = Literal["symbol", "price", "change", "volume_z", "regime", "signal", "age"]
_VOLATILITY = {"low": 0, "normal": 1, "high": 2}


def _key(sort: _Sort, row: dict[str, Any]) -> Any:
    """What a row is sorted by; None is unknown."""
    match sort:
        case "change":
            return row["change_pct"]
        case "regime":
            return _VOLATILITY.get(row["volatility"])
        case "signal":
            return None if row["last_signal"] is None else row["last_signal"]["ms"]
        case "age":
            return None if row["last_bar_ms"] is None else -row["last_bar_ms"]
    return row[sort]


@router.get("/watchlist", response_model=models.WatchList)
async def watchlist(
    request: Request,
    site: Here,
    q: Annotated[str | None, Query(max_length=100, description="A part of the symbol.")] = None,
    sort: _Sort = "symbol",
    order: Literal["asc", "desc"] = "asc",
    limit: Annotated[int, Query(ge=1, le=5_000)] = 5_000,
) -> Response:
    """Every watched symbol at a glance; what is not known comes last, whatever the order."""
    site.hub.attend()
    rows = sorted(await site.rows(), key=lambda row: str(row["symbol"]))
    if q is not None:
        rows = [row for row in rows if q.upper() in row["symbol"].upper()]
    known = [row for row in rows if _key(sort, row) is not None]
    known.sort(key=lambda row: _key(sort, row), reverse=order == "desc")
    unknown = [row for row in rows if _key(sort, row) is None]
    return answer(request, {"items": [*known, *unknown][:limit]})


@router.get("/signals", response_model=models.SignalPage)
async def signals(
    request: Request,
    site: Here,
    symbol: Symbol = None,
    strategy: Symbol = None,
    side: Literal["long", "short"] | None = None,
    state: Literal["passed", "blocked"] | None = None,
    interval: Symbol = None,
    from_ms: Ms = None,
    to_ms: Ms = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Signals that a run has stored, the newest first; times are those of their bars' closes, as [from, to)."""
    venue, after = site.scene.config.exchange.venue, after_of(cursor)
    chosen = Filter(symbol, strategy, side, state, interval, from_ms, to_ms)
    try:
        page = await site.reads(lambda ledger: ledger.pages.signals(venue, chosen, limit, after))
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    return answer(request, page_of(page))


@router.get("/health", response_model=models.Health)
async def health(request: Request, site: Here) -> Response:
    """The health document, 200 whatever it says."""
    return answer(request, health_document(site.health, site.now_ms(), memory_bytes()))


@router.get("/events", responses={200: {"content": {"text/event-stream": {}}}}, response_class=StreamingResponse)
async def events(
    request: Request,
    site: Here,
    after: Annotated[
        int | None, Query(ge=0, le=2**53, description="The number of the last event that is known.")
    ] = None,
) -> Response:
    """What happens, as server-sent events; see the documentation of each."""
    last = request.headers.get("last-event-id", "")
    known = int(last) if last.isdecimal() and len(last) < 17 else after
    return StreamingResponse(site.hub.stream(known), media_type="text/event-stream")
