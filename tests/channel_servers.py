"""Services that speak as the real ones do, on loopback: they check every limit, and fail as a test scripts it."""

from __future__ import annotations

import asyncio
import hmac
import html
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

HOST = "127.0.0.1"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)

#: What happens to a request in place of what usually would; it gets the usual as a call.
Fault = Callable[[web.Request, Callable[[], Awaitable[web.StreamResponse]]], Awaitable[web.StreamResponse]]


def status(code: int, body: str | bytes = b"", headers: Mapping[str, str] | None = None) -> Fault:
    """Answers so and takes nothing."""

    async def fault(_request: web.Request, _usual: object) -> web.StreamResponse:
        data = body.encode() if isinstance(body, str) else body
        return web.Response(status=code, body=data, headers=headers)

    return fault


def slow(seconds: float) -> Fault:
    """Takes its time and then does as usual."""

    async def fault(_request: web.Request, usual: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await usual()

    return fault


async def hang(_request: web.Request, _usual: object) -> web.StreamResponse:
    """Takes the request and says nothing."""
    await asyncio.sleep(60)
    raise AssertionError("the client waited")


async def reset(request: web.Request, _usual: object) -> web.StreamResponse:
    """Takes the request and cuts the connection."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut(request: web.Request, usual: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """Does as usual, and cuts the connection in the middle of telling so."""
    await usual()
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"ok": tr')
    assert request.transport is not None
    request.transport.abort()
    return response


async def garbage(request: web.Request, _usual: object) -> web.StreamResponse:
    """Answers with what is no HTTP."""
    assert request.transport is not None
    request.transport.write(b"\x00\xff\x00 no such protocol\r\n\r\n")
    request.transport.close()
    return web.Response()


async def huge(request: web.Request, _usual: object) -> web.StreamResponse:
    """Answers well and without end; notes how much the client took."""
    response, transport = web.StreamResponse(), request.transport
    assert transport is not None
    await response.prepare(request)
    try:
        for _ in range(100_000):
            await response.write(b" " * 65_536)
    finally:
        transport.abort()  # what nobody reads any more would keep the connection
    return response


class Service:
    """A server whose `script` is used up, one fault for each request; then it does as usual.

    `paths` has each request's method and path with query, `usual` is for a service to override.
    """

    def __init__(self) -> None:
        self.script: list[Fault] = []
        self.always: Fault | None = None
        self.paths: list[str] = []
        self.url = ""

    async def usual(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """What the real service does with a request."""
        raise NotImplementedError

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        self.paths.append(f"{request.method} {request.path_qs}")
        body = await request.read()
        fault = self.script.pop(0) if self.script else self.always
        return await (self.usual(request, body) if fault is None else fault(request, lambda: self.usual(request, body)))

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Its URL, while it listens."""
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.05, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, HOST, 0, ssl_context=tls)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self.url = f"{'http' if tls is None else 'https'}://{HOST}:{port}"
        try:
            yield self.url
        finally:
            await runner.cleanup()


def answer(code: int, document: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(status=code, body=json.dumps(document), content_type="application/json", headers=headers)


def utf16(text: str) -> int:
    """Length as Discord and Telegram count it; a half character is an error, as it is there."""
    return len(text.encode("utf-16-le")) // 2


async def parts_of(request: web.Request, body: bytes) -> dict[str, tuple[str | None, bytes]]:
    """Filename and content of each field of a multipart request."""
    import email.message
    import email.parser
    import email.policy

    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    found: dict[str, tuple[str | None, bytes]] = {}
    for part in message.iter_parts():  # type: ignore[attr-defined]
        name = part.get_param("name", header="content-disposition")
        found[str(name)] = (part.get_filename(), part.get_payload(decode=True))
    return found


class Discord(Service):
    """Webhook 123 with the token `sesame-open-sesame`.

    `messages` are those that were stored, with their `files`; `pings` is who each would have pinged. `burst` requests
    are allowed in `window_s`, told in headers and enforced.
    """

    path = "/api/webhooks/123/sesame-open-sesame"

    def __init__(self, burst: int = 10_000, window_s: float = 2.0) -> None:
        super().__init__()
        self.burst, self.window_s = burst, window_s
        self.messages: list[dict[str, Any]] = []
        self.limited = 0
        self._calls, self._ends = 0, 0.0

    async def usual(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """Stores a message, or says why not."""
        if request.path != self.path:
            return answer(404, {"message": "Unknown Webhook", "code": 10015})
        if request.method == "GET":
            return answer(
                200, {"id": "123", "type": 1, "name": "tape", "channel_id": "5", "token": "sesame-open-sesame"}
            )
        now = asyncio.get_running_loop().time()
        if now >= self._ends:
            self._ends, self._calls = now + self.window_s, 0
        left_s = self._ends - now
        if self._calls >= self.burst:
            self.limited += 1
            wait = {"message": "You are being rate limited.", "retry_after": round(left_s, 3), "global": False}
            return answer(429, wait, {"Retry-After": str(int(left_s) + 1), "X-RateLimit-Scope": "user"})
        self._calls += 1
        limits = {
            "X-RateLimit-Limit": str(self.burst),
            "X-RateLimit-Remaining": str(self.burst - self._calls),
            "X-RateLimit-Reset-After": f"{left_s + 0.001:.3f}",
            "X-RateLimit-Bucket": "abcd",
        }
        files: dict[str, bytes] = {}
        if request.content_type == "multipart/form-data":
            parts = await parts_of(request, body)
            document = msgspec.json.decode(parts["payload_json"][1])
            files = {name or "": data for key, (name, data) in parts.items() if key.startswith("files[")}
        elif request.content_type == "application/json":
            document = msgspec.json.decode(body)
        else:
            return answer(400, {"message": "Invalid Form Body", "code": 50035}, limits)
        wrong = discord_mistakes(document, files)
        if wrong:
            return answer(400, {"message": "Invalid Form Body", "code": 50035, "errors": wrong}, limits)
        self.messages.append({**document, "files": files, "thread_id": request.query.get("thread_id")})
        if request.query.get("wait") != "true":
            return web.Response(status=204, headers=limits)
        return answer(200, {"id": str(len(self.messages)), "channel_id": "5"}, limits)


_DISCORD_KEYS = {"content", "embeds", "username", "avatar_url", "allowed_mentions", "flags", "attachments"}
_EMBED_KEYS = {"title", "description", "url", "color", "timestamp", "footer", "image", "fields", "author", "thumbnail"}


def discord_mistakes(document: dict[str, Any], files: Mapping[str, bytes]) -> list[str]:
    """What Discord refuses a message for (exchange-protocol.md 11.1), and what would let somebody be pinged."""
    wrong = [f"unknown key {key}" for key in document.keys() - _DISCORD_KEYS]
    content, embeds = document.get("content", "").strip(), document.get("embeds", [])
    if not content and not embeds and not files:
        wrong.append("cannot send an empty message")
    if utf16(content) > 2_000 or len(embeds) > 10:
        wrong.append("content or embeds too long")
    if document.get("allowed_mentions") != {"parse": []}:
        wrong.append("somebody could be pinged")
    wrong += [mistake for embed in embeds for mistake in embed_mistakes(embed, files)]
    if sum(utf16(embed.get(key, "").strip()) for embed in embeds for key in ("title", "description")) > 6_000:
        wrong.append("embeds too long together")
    return wrong


def embed_mistakes(embed: dict[str, Any], files: Mapping[str, bytes]) -> list[str]:
    """Of one embed."""
    wrong = [f"unknown key {key}" for key in embed.keys() - _EMBED_KEYS]
    for key, most in (("title", 256), ("description", 4_096)):
        if utf16(embed.get(key, "").strip()) > most:
            wrong.append(f"{key} too long")
    if not embed.get("title", "").strip() and not embed.get("description", "").strip():
        wrong.append("an embed that says nothing")
    if not 0 <= embed.get("color", 0) <= 0xFFFFFF:
        wrong.append("color")
    if (image := embed.get("image")) and image["url"].removeprefix("attachment://") not in files:
        wrong.append("an image that is not attached")
    if "timestamp" in embed and not re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)", embed["timestamp"]):
        wrong.append("timestamp")
    if "url" in embed and not embed["url"].startswith(("http://", "https://")):
        wrong.append("url")
    return wrong


def discord_shows(markdown: str) -> str:
    """What is read of Markdown in which every mark is escaped."""
    marks = re.sub(r"\\[^A-Za-z0-9\s]", "", markdown)
    assert not re.search(r"[*_`~|<>\[\]#@]", marks), f"{marks!r} has a mark that counts"
    return re.sub(r"\\([^A-Za-z0-9\s])", r"\1", markdown)


class Telegram(Service):
    """The Bot API, which knows the bot 42 with the token `42:sesame-open-sesame`, and the chats `CHATS` says.

    `messages` are those that were sent, with what is shown of them as `shown`.
    """

    token = "42:sesame-open-sesame"
    path = f"/bot{token}"

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[dict[str, Any]] = []

    async def usual(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """Sends a message, or says why not."""
        *_, token, method = ["", "", *request.path.split("/")]
        if not re.fullmatch(r"bot\d+:[\w-]+", token):
            return telegram_refuses(404, "Not Found")
        if token != f"bot{self.token}":
            return telegram_refuses(401, "Unauthorized")
        if method == "getMe":
            return answer(200, {"ok": True, "result": {"id": 42, "is_bot": True, "username": "tape_bot"}})
        asked: dict[str, Any] = {}
        if request.content_type == "multipart/form-data":
            parts = await parts_of(request, body)
            asked = {name: data if filename else data.decode() for name, (filename, data) in parts.items()}
        elif body:
            asked = msgspec.json.decode(body)
        chat = str(asked.get("chat_id"))
        if chat == "-13":
            return telegram_refuses(403, "Forbidden: bot was blocked by the user")
        if chat != "-1001":
            return telegram_refuses(400, "Bad Request: chat not found")
        text, most = (asked.get("caption", ""), 1_024) if method == "sendPhoto" else (asked.get("text", ""), 4_096)
        if method == "sendPhoto" and not bytes(asked.get("photo", b"")).startswith(PNG[:8]):
            return telegram_refuses(400, "Bad Request: IMAGE_PROCESS_FAILED")
        try:
            shown = telegram_shows(text) if asked.get("parse_mode") == "HTML" else text
        except ValueError as error:
            return telegram_refuses(400, f"Bad Request: can't parse entities: {error}")
        if not shown.strip() and method == "sendMessage":
            return telegram_refuses(400, "Bad Request: message text is empty")
        if utf16(shown) > most:
            what = "message caption" if method == "sendPhoto" else "message"
            return telegram_refuses(400, f"Bad Request: {what} is too long")
        self.messages.append({**asked, "method": method, "shown": shown})
        return answer(200, {"ok": True, "result": {"message_id": len(self.messages), "chat": {"id": -1001}}})


def telegram_refuses(code: int, description: str, **parameters: int) -> web.Response:
    """An error as the Bot API says it."""
    document: dict[str, Any] = {"ok": False, "error_code": code, "description": description}
    return answer(code, {**document, "parameters": parameters} if parameters else document)


_TAGS = {"b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "code", "pre", "a", "tg-spoiler", "blockquote"}


def telegram_shows(text: str) -> str:
    """What is read of HTML as Telegram parses it: strictly, with few tags and four named entities."""
    shown, open_tags, place = [], [], 0
    for match in re.finditer(r"<(/?)([^\s<>]*)([^<>]*)>|&(#\d+|#x[0-9a-fA-F]+|lt|gt|amp|quot);|[<>&]", text):
        shown.append(text[place : match.start()])
        place = match.end()
        if match.group() in {"<", "&"}:
            raise ValueError(f"unexpected {match.group()} at {match.start()}")
        if match[4] or match.group() == ">":
            shown.append(html.unescape(match.group()))
        elif match[1]:
            if not open_tags or open_tags.pop() != match[2]:
                raise ValueError(f"unexpected end tag at {match.start()}")
        elif match[2] not in _TAGS or (match[3] and not re.fullmatch(r' href="https?://[^"]+"', match[3])):
            raise ValueError(f"unsupported start tag {match[2]!r} at {match.start()}")
        else:
            open_tags.append(match[2])
    if open_tags:
        raise ValueError(f"can't find end tag of {open_tags}")
    return "".join([*shown, text[place:]])


class Webhook(Service):
    """A server of the user's, who checks signatures as the documentation says.

    `documents` are those that were taken, each once by its idempotency key; `repeats` counts the others.
    """

    path = "/hook/sesame-open-sesame"
    secret = "sesame-secret"

    def __init__(self) -> None:
        super().__init__()
        self.documents: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.repeats = 0
        self._keys: set[str] = set()

    async def usual(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """Takes what is signed."""
        if request.path != self.path:
            return web.Response(status=404)
        if request.method == "OPTIONS":
            return web.Response(status=204, headers={"Allow": "POST"})
        at = request.headers.get("X-Tapewatch-Timestamp", "")
        signed = hmac.new(self.secret.encode(), f"{at}.".encode() + body, "sha256").hexdigest()
        if not hmac.compare_digest(f"v1={signed}", request.headers.get("X-Tapewatch-Signature", "")):
            return web.Response(status=401)
        if request.headers["Idempotency-Key"] in self._keys:
            self.repeats += 1
            return web.Response(status=202)
        self._keys.add(request.headers["Idempotency-Key"])
        self.headers.append(request.headers)
        self.documents.append(msgspec.json.decode(body))
        return web.Response(status=202)


class JsonService(Service):
    """What the Apprise library's `json://` posts to."""

    path = "/sesame-open-sesame"

    def __init__(self) -> None:
        super().__init__()
        self.documents: list[dict[str, Any]] = []

    async def usual(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """Takes a title and a message."""
        self.documents.append(msgspec.json.decode(body))
        return web.Response()


SERVICES: dict[str, Callable[[], Any]] = {
    "discord": Discord,
    "telegram": Telegram,
    "webhook": Webhook,
    "apprise": JsonService,
}
