"""The application: the health paths always, pages and what they read where they are wanted. Nothing can be changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from tapewatch import __version__
from tapewatch.errors import StoreError
from tapewatch.telemetry.document import health_document, memory_bytes, verdict_document
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics
from tapewatch.web import api, pages
from tapewatch.web.guard import Guard, refused
from tapewatch.web.site import Site

_HEALTH_TYPE = "application/health+json"
#: Less is not worth compressing, and more effort not the time of the event loop.
LEAST_BYTES, LEVEL = 1_000, 1


def build_app(
    health: Health,
    metrics: Metrics,
    now_ms: Callable[[], int],
    site: Site | None = None,
    *,
    host: str = "127.0.0.1",
    token: str | None = None,
) -> FastAPI:
    """The application; without a site the health paths alone.

    Args:
        health: answers `/livez`, `/readyz`, `/health`.
        metrics: answers `/metrics`.
        now_ms: the wall clock.
        site: answers everything else.
        host: what is listened on; see `Guard`.
        token: what must be shown; see `Guard`.
    """
    app = FastAPI(title="tapewatch", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(GZipMiddleware, minimum_size=LEAST_BYTES, compresslevel=LEVEL)
    app.add_middleware(Guard, host=host, token=token)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StoreError, _no_ledger)
    app.include_router(health_paths(health, metrics, now_ms))
    if site is not None:
        app.state.site = site
        app.include_router(api.router, prefix=api.PREFIX)
        app.add_api_route(f"{api.PREFIX}/openapi.json", api.description, include_in_schema=False)
        app.include_router(pages.routes())
    return app


def health_paths(health: Health, metrics: Metrics, now_ms: Callable[[], int]) -> APIRouter:
    """The paths that are there with or without pages."""
    router = APIRouter(include_in_schema=False)

    def answer(document: dict[str, Any]) -> Response:
        code = 503 if document["status"] == "fail" else 200
        # Thousands of symbols have an entry each: written by msgspec it is a tenth of the work.
        return Response(msgspec.json.encode(document), code, media_type=_HEALTH_TYPE)

    @router.get("/livez")
    async def livez() -> Response:
        return answer(verdict_document(health.live(now_ms())))

    @router.get("/readyz")
    async def readyz() -> Response:
        return answer(verdict_document(health.ready(now_ms())))

    @router.get("/health")
    async def state() -> Response:
        return answer(health_document(health, now_ms(), memory_bytes()))

    @router.get("/metrics")
    async def figures(request: Request) -> Response:
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"Content-Type": kind})

    return router


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = "there is nothing here" if error.detail == "Not Found" else str(error.detail)
    return Response(refused(error.status_code, text), error.status_code, error.headers, "application/json")


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = (f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
    return Response(refused(422, "; ".join(wrong)), 422, media_type="application/json")


async def _no_ledger(_request: Request, error: Exception) -> Response:
    return Response(refused(503, str(error)), 503, media_type="application/json")
