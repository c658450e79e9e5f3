"""The files of the pages, and the chart library as its package carries it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "static"
#: Asked for again each time, and answered by 304 while nothing has changed.
_FRESH = {"Cache-Control": "no-cache"}


def chart_library() -> Path:
    """The folder of `lightweight-charts.js`; the package around it is not imported."""
    spec = find_spec("litecharts")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "js"


def routes() -> APIRouter:
    """`/` and what it loads."""
    router = APIRouter(include_in_schema=False)
    pages = StaticFiles(directory=FOLDER, check_dir=False)
    charts = StaticFiles(directory=chart_library())

    async def file(files: StaticFiles, path: str, request: Request) -> Response:
        answer = await files.get_response(path, request.scope)
        answer.headers.update(_FRESH)
        return answer

    @router.get("/")
    async def index(request: Request) -> Response:
        return await file(pages, "index.html", request)

    @router.get("/static/lightweight-charts.js")
    async def charting(request: Request) -> Response:
        return await file(charts, "lightweight-charts.js", request)

    @router.get("/static/{path:path}")
    async def static(path: str, request: Request) -> Response:
        return await file(pages, path, request)

    return router
