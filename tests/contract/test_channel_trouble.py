"""What each way a service can fail means for the message: one table, in which every channel has its place in every row.

`later` is tried again, `never` is given up; `maybe` says that the message may have arrived all the same, `channel` that
all of the channel's messages wait, `off` that the channel must not be used again. A text says why a row makes no sense.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

import channel_servers as servers
from channel_benches import http_channel
from delivery_samples import outgoing
from mail_server import HOST, Authority, scripted_server
from tapewatch.channels import Channel, DeliveryError, RejectedError
from tapewatch.channels.email import EmailChannel, EmailSettings
from tapewatch.config.channels import CHANNEL_TYPES

LOCAL = "nobody answers: a line is printed or written here"
IN_PROCESS = {"console": LOCAL, "file": LOCAL}


@dataclass(frozen=True)
class Ends:
    """How a sending ends, and how the fault is made: for services of HTTP, and as the answers of a mail server."""

    how: str
    maybe: bool = False
    channel: bool = False
    off: bool = False
    wait_s: float | None = None
    fault: servers.Fault | None = None
    answers: tuple[tuple[str, str | None], ...] = ()


def tells(code: int, description: str, **parameters: int) -> servers.Fault:
    """The Bot API's error."""

    async def fault(_request: object, _usual: object) -> web.StreamResponse:
        return servers.telegram_refuses(code, description, **parameters)

    return fault


#: To where nobody listens: whoever follows it is found out by how it ends.
elsewhere = servers.status(307, headers={"Location": "http://127.0.0.1:9/elsewhere"})

#: Case -> channel -> how it ends, or why there is no such case.
TABLE: dict[str, dict[str, Ends | str]] = {
    "slow": IN_PROCESS | {
        "email": Ends("delivered"),
        "discord": Ends("delivered", fault=servers.slow(0.3)),
        "telegram": Ends("delivered", fault=servers.slow(0.3)),
        "webhook": Ends("delivered", fault=servers.slow(0.3)),
        "apprise": Ends("delivered", fault=servers.slow(0.3)),
    },
    "4xx": IN_PROCESS | {
        "email": Ends("later", answers=(("MAIL", "451 busy"),)),
        "discord": Ends("never", fault=servers.status(400, '{"message": "Invalid Form Body", "code": 50035}')),
        "telegram": Ends("never", fault=tells(400, "Bad Request: chat not found")),
        "webhook": Ends("never", fault=servers.status(422)),
        "apprise": Ends("later", channel=True, fault=servers.status(400)),
    },
    "the address is gone": IN_PROCESS | {
        "email": Ends("never", answers=(("RCPT", "550 no such user"),)),
        "discord": Ends("never", channel=True, off=True, fault=servers.status(404, '{"message": "Unknown Webhook"}')),
        "telegram": Ends("never", channel=True, off=True, fault=tells(404, "Not Found")),
        "webhook": Ends("never", channel=True, off=True, fault=servers.status(410)),
        "apprise": Ends("later", channel=True, fault=servers.status(404)),
    },
    "not allowed": IN_PROCESS | {
        "email": Ends("never", answers=(("MAIL", "530 log in"),)),
        "discord": Ends("never", channel=True, off=True, fault=servers.status(401, '{"message": "401: Unauthorized"}')),
        "telegram": Ends("never", channel=True, off=True, fault=tells(403, "Forbidden: bot was blocked by the user")),
        "webhook": Ends("never", fault=servers.status(401)),
        "apprise": Ends("later", channel=True, fault=servers.status(401)),
    },
    "5xx": IN_PROCESS | {
        "email": Ends("never", answers=(("MAIL", "554 no"),)),
        "discord": Ends("later", maybe=True, channel=True, fault=servers.status(500)),
        "telegram": Ends("later", maybe=True, channel=True, fault=tells(502, "Bad Gateway")),
        "webhook": Ends("later", maybe=True, channel=True, fault=servers.status(500)),
        "apprise": Ends("later", maybe=True, channel=True, fault=servers.status(500)),
    },
    "unavailable": IN_PROCESS | {
        "email": Ends("later", channel=True, answers=(("hello", "421 not now"),)),
        "discord": Ends("later", channel=True, wait_s=9.0, fault=servers.status(503, headers={"Retry-After": "9"})),
        "telegram": Ends("later", channel=True, fault=servers.status(503)),
        "webhook": Ends("later", channel=True, wait_s=9.0, fault=servers.status(503, headers={"Retry-After": "9"})),
        "apprise": Ends("later", channel=True, fault=servers.status(503)),
    },
    "429 in seconds": IN_PROCESS | {
        "email": "a mail server says 4xx and no time",
        "discord": Ends("later", channel=True, wait_s=7.0, fault=servers.status(429, headers={"Retry-After": "7"})),
        "telegram": Ends("later", channel=True, wait_s=7.0, fault=tells(429, "Too Many Requests", retry_after=7)),
        "webhook": Ends("later", channel=True, wait_s=7.0, fault=servers.status(429, headers={"Retry-After": "7"})),
        "apprise": Ends("later", channel=True, fault=servers.status(429, headers={"Retry-After": "7"})),
    },
    "429 in fractions": IN_PROCESS | {
        "email": "a mail server says 4xx and no time",
        "discord": Ends(
            "later", channel=True, wait_s=0.125,
            fault=servers.status(429, '{"retry_after": 0.125, "global": true}', {"Retry-After": "1"}),
        ),
        "telegram": "Telegram says whole seconds",
        "webhook": Ends("later", channel=True, wait_s=0.5, fault=servers.status(429, headers={"Retry-After": "0.5"})),
        "apprise": "the library does not say how long to wait",
    },
    "429 until a date": IN_PROCESS | {
        "email": "a mail server says 4xx and no time",
        "discord": "Discord says seconds",
        "telegram": "Telegram says whole seconds",
        "webhook": Ends(
            "later", channel=True, wait_s=90.0,
            fault=servers.status(429, headers={
                "Retry-After": "Wed, 21 Oct 2026 07:29:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT",
            }),
        ),
        "apprise": "the library does not say how long to wait",
    },
    "429 that asks for what cannot be": IN_PROCESS | {
        "email": "a mail server says 4xx and no time",
        "discord": Ends("later", channel=True, fault=servers.status(429, '{"retry_after": "NaN"}')),
        "telegram": Ends("later", channel=True, fault=servers.status(429, '{"parameters": {"retry_after": "soon"}}')),
        "webhook": Ends("later", channel=True, fault=servers.status(429, headers={"Retry-After": "soon"})),
        "apprise": "the library does not say how long to wait",
    },
    "reset": IN_PROCESS | {
        "email": Ends("later", maybe=True, channel=True, answers=((".", ""),)),
        "discord": Ends("later", maybe=True, channel=True, fault=servers.reset),
        "telegram": Ends("later", maybe=True, channel=True, fault=servers.reset),
        "webhook": Ends("later", maybe=True, channel=True, fault=servers.reset),
        "apprise": Ends("later", maybe=True, channel=True, fault=servers.reset),
    },
    "reset in the middle of the answer": IN_PROCESS | {
        "email": "the same as the row above: an answer is one line",
        "discord": Ends("later", maybe=True, channel=True, fault=servers.cut),
        "telegram": Ends("later", maybe=True, channel=True, fault=servers.cut),
        "webhook": Ends("delivered", fault=servers.cut),
        "apprise": Ends("later", maybe=True, channel=True, fault=servers.cut),
    },
    "garbage": IN_PROCESS | {
        "email": Ends("later", maybe=True, channel=True, answers=((".", "what?"),)),
        "discord": Ends("later", maybe=True, channel=True, fault=servers.garbage),
        "telegram": Ends("later", maybe=True, channel=True, fault=servers.garbage),
        "webhook": Ends("later", maybe=True, channel=True, fault=servers.garbage),
        "apprise": Ends("later", maybe=True, channel=True, fault=servers.garbage),
    },
    "good, but not its answer": IN_PROCESS | {
        "email": "a code of a mail server has no content",
        "discord": Ends("later", maybe=True, channel=True, fault=servers.status(200, "<html>log in</html>")),
        "telegram": Ends("later", maybe=True, channel=True, fault=servers.status(200, "<html>log in</html>")),
        "webhook": "any answer of 2xx says that it was taken",
        "apprise": "the library reads of an answer what the service needs",
    },
    "hang": IN_PROCESS | {
        "email": Ends("later", maybe=True, channel=True, answers=((".", None),)),
        "discord": Ends("later", maybe=True, channel=True, fault=servers.hang),
        "telegram": Ends("later", maybe=True, channel=True, fault=servers.hang),
        "webhook": Ends("later", maybe=True, channel=True, fault=servers.hang),
        "apprise": Ends("later", maybe=True, channel=True, fault=servers.hang),
    },
    "a redirect": IN_PROCESS | {
        "email": "mail servers do not redirect",
        "discord": Ends("never", fault=elsewhere),
        "telegram": Ends("never", fault=elsewhere),
        "webhook": Ends("never", fault=elsewhere),
        "apprise": Ends("later", maybe=True, channel=True, fault=elsewhere),
    },
    "an endless answer": IN_PROCESS | {
        "email": Ends("later", maybe=True, channel=True, answers=((".", "250" + "x" * 200_000),)),
        "discord": Ends("later", maybe=True, channel=True, fault=servers.huge),
        "telegram": Ends("later", maybe=True, channel=True, fault=servers.huge),
        "webhook": Ends("delivered", fault=servers.huge),
        "apprise": Ends("later", maybe=True, channel=True, fault=servers.huge),
    },
}  # fmt: skip
PLACES = [(case, channel) for case in TABLE for channel in sorted(CHANNEL_TYPES)]
#: Only the channel's own patience ends these.
WITHOUT_END = {"hang", "an endless answer"}
#: The library does not say how far a sending came.
UNKNOWING = {"apprise"}
REAL = [place for place in PLACES if isinstance(TABLE[place[0]].get(place[1]), Ends)]


def test_every_channel_has_its_place_in_every_row() -> None:
    """A new type of channel must say what each trouble means to it."""
    assert [place for place in PLACES if place[1] not in TABLE[place[0]]] == []


@asynccontextmanager
async def channel_in_trouble(name: str, ends: Ends, timeout_s: float) -> AsyncIterator[Channel]:
    """A channel whose next message meets the trouble."""
    async with AsyncExitStack() as stack:
        if name == "email":
            port = await stack.enter_async_context(scripted_server(dict(ends.answers)))
            settings = EmailSettings(HOST, port, "none", "a@example.com", ["b@example.com"], timeout_s=timeout_s)
            yield EmailChannel("out", settings)
        else:
            channel, service = await http_channel(stack, name, timeout_s=timeout_s)
            if ends.fault is not None:
                service.script.append(ends.fault)
            yield channel


@pytest.mark.parametrize(("case", "name"), REAL)
async def test_a_trouble_means_what_the_table_says(case: str, name: str) -> None:
    """Whether it is tried again, whether it may have arrived, and whether the channel as such is in trouble."""
    ends = TABLE[case][name]
    assert isinstance(ends, Ends)
    async with channel_in_trouble(name, ends, 0.8 if case in WITHOUT_END else 30.0) as channel:
        if ends.how == "delivered":
            await channel.send(outgoing())
            return
        with pytest.raises(DeliveryError) as caught:
            await channel.send(outgoing())
    error = caught.value
    said = (isinstance(error, RejectedError), error.maybe_delivered, error.whole_channel, error.disable)
    assert said == (ends.how == "never", ends.maybe, ends.channel, ends.off)
    assert error.retry_after_s == ends.wait_s
    assert str(error)
    assert "sesame" not in str(error)


@pytest.mark.parametrize("name", sorted(servers.SERVICES))
async def test_a_server_without_the_right_certificate_gets_nothing(name: str, tmp_path: Path) -> None:
    """Nothing is said to a server that cannot prove who it is; the same one with the right authority is spoken to."""
    authority = Authority(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    wrong = Authority(other)
    async with AsyncExitStack() as stack:
        channel, service = await http_channel(stack, name, tls=authority.server_context(), ca_file=wrong.file)
        with pytest.raises(DeliveryError) as caught:
            await channel.send(outgoing())
        assert not isinstance(caught.value, RejectedError)
        assert (caught.value.maybe_delivered, caught.value.whole_channel) == (name in UNKNOWING, True)
        assert service.paths == []

        if name in UNKNOWING:
            return  # its authorities are those of the requests library, for the whole process
        trusted, service = await http_channel(stack, name, tls=authority.server_context(), ca_file=authority.file)
        await trusted.send(outgoing())
        assert len(service.paths) == 1


@pytest.mark.parametrize("name", sorted(servers.SERVICES))
async def test_nobody_at_the_port_is_trouble_of_the_channel(name: str) -> None:
    """The message did not arrive, and the channel's others need not be tried."""
    async with AsyncExitStack() as stack:
        channel, _ = await http_channel(stack, name)
        await stack.aclose()
        with pytest.raises(DeliveryError) as caught:
            await channel.send(outgoing())
    assert (caught.value.maybe_delivered, caught.value.whole_channel) == (name in UNKNOWING, True)
    assert "sesame" not in str(caught.value)
