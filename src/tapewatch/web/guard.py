"""Who may read, and what every answer says to a browser."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec

from tapewatch.network import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "tapewatch"
#: Whoever watches over the process asks these, and knows no token.
OPEN = frozenset({"/livez", "/readyz"})
#: Never ends, so that there is no head of it.
ENDLESS = "/api/v1/events"
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class Guard:
    """Lets through what may be read; the rest is answered here.

    Args:
        app: what is guarded.
        host: what the server listens on. On loopback, requests must name this machine: a page of somebody else's whose
            name was pointed here could read along.
        token: what must be shown, None for nothing.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None) -> None:
        self._app, self._token = app, None if token is None else token.encode()
        self._local = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), *_HEADERS]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await _answer(protected, *refusal)
            return
        # Whoever asks for the head of an answer gets that of a GET; the server leaves its body out.
        await self._app({**scope, "method": "GET"}, receive, protected)

    def _refusal(self, scope: Scope) -> tuple[int, dict[str, str], str] | None:
        headers = dict(reversed(scope["headers"]))
        if self._local and not is_loopback(_name_of(headers.get(b"host", b"").decode("latin-1"))):
            return 400, {}, "this is served to this machine, under its own name"
        if b"%00" in scope["query_string"] or "\0" in scope["path"]:  # a database takes it for the end of a text
            return 400, {}, "there is a null character in the address"
        methods = ("GET",) if scope["path"] == ENDLESS else ("GET", "HEAD")
        if scope["method"] not in methods:
            return 405, {"Allow": ", ".join(methods)}, "this is to be read only"
        if self._token is None or scope["path"] in OPEN or self._is(_shown(headers)):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token") if scope["path"] == "/" else None
        if given and self._is(given[0]):
            cookie = f"{COOKIE}={given[0]}; HttpOnly; SameSite=Strict; Path=/"
            return 303, {"Location": "/", "Set-Cookie": cookie}, "signed in"
        return 401, {"WWW-Authenticate": 'Bearer realm="tapewatch"'}, "the token is missing or wrong"

    def _is(self, given: str | None) -> bool:
        assert self._token is not None
        return given is not None and hmac.compare_digest(given.encode(), self._token)


def _name_of(host: str) -> str:
    """A host without its port."""
    if host.startswith("["):
        return host.partition("]")[0].removeprefix("[")
    return host.partition(":")[0]


def _shown(headers: dict[bytes, bytes]) -> str | None:
    """The token of a request, by header or cookie."""
    scheme, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    # Read as browsers write it: whatever else runs on this host has its cookies here too, of any form.
    pairs = (one.strip().partition("=") for one in headers.get(b"cookie", b"").decode("latin-1").split(";"))
    return next((value for name, _, value in pairs if name == COOKIE), None)


def refused(status: int, text: str) -> bytes:
    """The body of an answer that is none."""
    codes = {400: "bad_request", 401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 422: "invalid"}
    return msgspec.json.encode({"error": {"code": codes.get(status, "unavailable"), "message": text}})


async def _answer(send: Send, status: int, headers: dict[str, str], text: str) -> None:
    body = refused(status, text)
    sent = {"content-type": "application/json", "content-length": str(len(body))} | headers
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in sent.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
