"""What every route takes and gives: its site, pages with cursors, answers that say whether they have changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Depends, HTTPException, Query, Request, Response

from tapewatch.store import Ledger
from tapewatch.store.pages import Page, WrongCursorError
from tapewatch.web.site import Site

#: Of what is asked again each time, unless it is the same.
_HEADERS = {"Cache-Control": "no-cache"}


async def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


Here = Annotated[Site, Depends(_site)]
Text = Annotated[str, Query(min_length=1, max_length=100)]
Symbol = Annotated[str | None, Query(max_length=100)]
Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(max_length=1_000)]
Ms = Annotated[int | None, Query(ge=0, le=2**53)]
Channel = Annotated[str | None, Query(max_length=100)]
MessageStates = Literal["queued", "sending", "sent", "superseded", "digested", "late", "dead"]


def answer(request: Request, document: Any) -> Response:
    """A document, or that it has not changed; numbers that are none are null."""
    body = msgspec.json.encode(document)
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = _HEADERS | {"ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


async def page(request: Request, site: Site, cursor: str | None, read: Callable[[Ledger, Any], Page]) -> Response:
    """A page of a list that begins at a cursor. Raises HTTPException 400 where that is none of this list."""
    try:
        after = None if cursor is None else _read(cursor)
        found = await site.reads(lambda ledger: read(ledger, after))
    except WrongCursorError:
        raise HTTPException(400, "cursor: it is none that this list gave") from None
    following = None if found.after is None else msgspec.json.encode(found.after).hex()
    return answer(request, {"items": found.rows, "next": following})


def _read(cursor: str) -> list[Any]:
    try:
        return msgspec.json.decode(bytes.fromhex(cursor), type=list[Any])
    except (ValueError, msgspec.MsgspecError) as error:
        raise WrongCursorError(str(error)) from None
