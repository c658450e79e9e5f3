"""Who may read: names of this machine, methods, the token and the cookie that it is changed for."""

from __future__ import annotations

from typing import Any

import pytest

from tapewatch.web.guard import Guard

TOKEN = "a-token-of-20-letters"


async def asked(
    guard: Guard, path: str = "/health", method: str = "GET", query: str = "", **headers: str
) -> tuple[int, dict[str, str]]:
    """Status and headers of what a guard answers, 200 where it lets a request through."""
    sent: list[Any] = []
    named = {"host": "127.0.0.1:8080"} | headers
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    scope = {"type": "http", "path": path, "method": method, "query_string": query.encode(), "headers": raw}

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    await guard(scope, receive, send)
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


async def let_through(_scope: Any, _receive: Any, send: Any) -> None:
    """What is guarded."""
    await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("localhost:8080", 200), ("127.0.0.1:1", 200), ("[::1]:8080", 200), ("[::1]", 200),
        ("example.com", 400), ("example.com:8080", 400), ("127.0.0.1.example.com", 400), ("", 400), ("[::1", 200),
    ],
)  # fmt: skip
async def test_on_loopback_a_request_names_this_machine(host: str, status: int) -> None:
    """Else a page of somebody else's, whose name was pointed here, could read along."""
    assert (await asked(Guard(let_through, "127.0.0.1", None), host=host))[0] == status
    assert (await asked(Guard(let_through, "0.0.0.0", None), host=host))[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_nothing_but_reading(method: str) -> None:
    """It is said what is allowed; the stream has no head."""
    status, headers = await asked(Guard(let_through, "::1", None), method=method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert (await asked(Guard(let_through, "::1", None), "/api/v1/events", "HEAD"))[1]["allow"] == "GET"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401), ({"authorization": f"Bearer {TOKEN}"}, 200), ({"authorization": f"bearer {TOKEN}"}, 200),
        ({"authorization": f"Bearer {TOKEN}x"}, 401), ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"cookie": f"other=1; tapewatch={TOKEN}"}, 200), ({"cookie": "tapewatch=wrong"}, 401),
        ({"cookie": "tapewatch"}, 401), ({"cookie": "\u00e9=;;="}, 401), ({"authorization": "Bearer \u00e9"}, 401),
    ],
)  # fmt: skip
async def test_a_token_is_shown(headers: dict[str, str], status: int) -> None:
    """By header or cookie; the paths for who watches over the process need none."""
    guard = Guard(let_through, "0.0.0.0", TOKEN)
    found, answered = await asked(guard, **headers)
    assert found == status
    assert ("www-authenticate" in answered) == (status == 401)
    assert answered["content-security-policy"].startswith("default-src 'none'")
    assert [(await asked(guard, path))[0] for path in ("/livez", "/readyz", "/metrics", "/")] == [200, 200, 401, 401]


async def test_no_text_ends_early() -> None:
    """A null character is in no name; a database would not take it."""
    guard = Guard(let_through, "127.0.0.1", None)
    assert (await asked(guard, "/api/v1/signals", query="symbol=%00"))[0] == 400
    assert (await asked(guard, "/api/v1/signals/\0"))[0] == 400


async def test_a_token_is_changed_for_a_cookie() -> None:
    """That scripts cannot read, and that other sites do not send; the address loses it."""
    guard = Guard(let_through, "0.0.0.0", TOKEN)
    status, headers = await asked(guard, "/", query=f"token={TOKEN}")
    assert (status, headers["location"]) == (303, "/")
    assert headers["set-cookie"] == f"tapewatch={TOKEN}; HttpOnly; SameSite=Strict; Path=/"
    assert (await asked(guard, "/", query="token=wrong"))[0] == 401
    assert (await asked(guard, "/health", query=f"token={TOKEN}"))[0] == 401
