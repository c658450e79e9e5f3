"""The routes of the API: reads of what a run has and is, as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from tapewatch import __version__
from tapewatch.config import written
from tapewatch.telemetry.document import health_document, memory_bytes
from tapewatch.web import decided, models, paper
from tapewatch.web.asked import Here, answer

PREFIX = "/api/v1"

router = APIRouter(
    responses={
        400: {"model": models.Failure, "description": "What was asked makes no sense."},
        422: {"model": models.Failure, "description": "A parameter is none, or out of its range."},
        503: {"model": models.Failure, "description": "The ledger cannot be read."},
    }
)


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
            "market_ms": scene.market_ms(),
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


@router.get("/health", response_model=models.Health)
async def health(request: Request, site: Here) -> Response:
    """The health document, 200 whatever it says."""
    return answer(request, health_document(site.health, site.now_ms(), memory_bytes()))


@router.get("/config", response_model=dict[str, Any])
async def config(request: Request, site: Here) -> Response:
    """The configuration in force, as `config show --json` prints it: secrets are `***`."""
    return answer(request, written.document(site.scene.config))


@router.get("/universe", response_model=models.Universe)
async def universe(request: Request, site: Here) -> Response:
    """Who is and was watched, by symbol, and why not."""
    venue = site.scene.config.exchange.venue
    return answer(request, {"items": await site.reads(lambda ledger: ledger.market.instruments(venue))})


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


router.include_router(decided.router)
router.include_router(paper.router)
