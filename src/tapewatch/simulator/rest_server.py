"""Listening for REST requests: what each client has used, what faults make of the answer, and the headers."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from tapewatch.simulator.clock import Clock
from tapewatch.simulator.limits import Books, Refusal
from tapewatch.simulator.parameters import ApiError
from tapewatch.simulator.rest import PARAMETERS, Api, weight
from tapewatch.simulator.rest_faults import RestFault, RestFaults

_TIME_UNITS = {"MILLISECOND": 1, "millisecond": 1, "MICROSECOND": 1000, "microsecond": 1000}
_JSON = {"Content-Type": "application/json;charset=UTF-8"}


class RestServer:
    """Listens for `/api/v3/...` and counts what each client uses."""

    def __init__(self, api: Api, clock: Clock, books: Books, faults: RestFaults, rate: float) -> None:
        self._api, self._clock, self._books, self._faults, self._rate = api, clock, books, faults, rate

    def add_routes(self, app: web.Application) -> None:
        """Listen for requests."""
        app.router.add_get("/api/v3/{endpoint:.+}", self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        endpoint, client = request.match_info["endpoint"], request.remote or "?"
        now_ms = self._clock.now_ms()
        meter = self._books.meter(client)
        pairs = list(request.query.items())
        refusal = meter.charge(weight(endpoint, pairs))
        headers = {
            **_JSON,
            "X-MBX-USED-WEIGHT": str(meter.used),
            "X-MBX-USED-WEIGHT-1M": str(meter.used),
            "X-Tapewatch-Rate": repr(self._rate),
        }
        fault = None
        if refusal is not None:
            self._books.breach(client, refusal.limit)
            status, body = refusal.status, refused(refusal, headers)
        elif (fault := self._faults.request(now_ms, request.path, self._rate)) is not None and fault.replaces:
            status, body = fault.status, replaced(fault, headers)
        elif endpoint not in PARAMETERS:
            status, body = 404, error(-1000, "Path not found.")
        else:
            try:
                unit = time_unit(request.headers.get("X-MBX-TIME-UNIT", "MILLISECOND"))
                status, body = 200, self._api.answer(endpoint, pairs, now_ms, unit)
            except ApiError as refused_:
                status, body = 400, error(refused_.code, refused_.message)
        self._books.requests[endpoint, status] += 1
        return await sent(request, fault, status, body, headers)


def time_unit(value: str) -> int:
    """1 for milliseconds, 1000 for microseconds.

    Raises:
        ApiError: it is neither.
    """
    if value not in _TIME_UNITS:
        raise ApiError(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
    return _TIME_UNITS[value]


def error(code: int, message: str) -> bytes:
    """The body of a refusal."""
    return msgspec.json.encode({"code": code, "msg": message})


def refused(refusal: Refusal, headers: dict[str, str]) -> bytes:
    """The body for a client that asks too much; the wait goes into the headers."""
    headers["Retry-After"] = str(refusal.retry_after_s)
    return error(-1003, refusal.message)


def replaced(fault: RestFault, headers: dict[str, str]) -> bytes:
    """The body that a fault puts in place of the answer's own; what it says in headers goes there."""
    if fault.retry_after_s:
        headers["Retry-After"] = str(fault.retry_after_s)
    if fault.page:
        headers["Content-Type"] = "text/html"
        return fault.page.encode()
    return error(fault.code, fault.message)


async def sent(
    request: web.Request, fault: RestFault | None, status: int, body: bytes, headers: dict[str, str]
) -> web.StreamResponse:
    """An answer as a fault lets it through."""
    if fault is not None and fault.delay_s:
        await asyncio.sleep(fault.delay_s)
    if fault is not None and fault.cut:
        return await _cut(request, fault, body, headers)
    return web.Response(status=status, body=body, headers=headers)


async def _cut(request: web.Request, fault: RestFault, body: bytes, headers: dict[str, str]) -> web.StreamResponse:
    """The first half of an answer: as if it were all, or with the connection ending in the middle of it."""
    half = body[: len(body) // 2]
    if fault.cut == "text":
        return web.Response(body=half, headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(half)
    if request.transport is not None:
        request.transport.close()
    return response
