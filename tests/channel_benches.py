"""Each channel with what is behind it: what arrived there, and how to break and mend it."""

from __future__ import annotations

import io
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import channel_servers as servers
from mail_server import HOST, Mailbox, mail_server
from tapewatch.channels import Channel
from tapewatch.channels.apprise import AppriseChannel, AppriseSettings
from tapewatch.channels.console import ConsoleChannel
from tapewatch.channels.discord import DiscordChannel, DiscordSettings
from tapewatch.channels.email import EmailChannel, EmailSettings
from tapewatch.channels.file import FileChannel
from tapewatch.channels.http import Connection
from tapewatch.channels.telegram import TelegramChannel, TelegramSettings
from tapewatch.channels.webhook import WebhookChannel, WebhookSettings


@dataclass
class Bench:
    """A channel, what arrived behind it as (subject, text), how to break and mend it, and its HTTP service."""

    channel: Channel
    arrived: Callable[[], list[tuple[str, str]]]
    break_it: Callable[[], object]
    mend_it: Callable[[], object]
    service: servers.Service | None = None


class Terminal(io.StringIO):
    """A stream whose reader can go away."""

    encoding = "utf-8"
    gone = False

    def write(self, text: str) -> int:
        """Write, while there is a reader."""
        if self.gone:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)


async def console_bench(_stack: AsyncExitStack, _folder: Path) -> Bench:
    """A console channel on a stream."""
    terminal = Terminal()

    def arrived() -> list[tuple[str, str]]:
        parts = terminal.getvalue().split("-" * 60 + "\n")[1:]
        return [(subject.strip(), text.strip()) for subject, text in zip(parts[::2], parts[1::2], strict=True)]

    return Bench(
        ConsoleChannel("out", terminal),
        arrived,
        lambda: setattr(terminal, "gone", True),
        lambda: setattr(terminal, "gone", False),
    )


async def file_bench(_stack: AsyncExitStack, folder: Path) -> Bench:
    """A file channel in a folder that can be taken away."""
    path, aside = folder / "out" / "alerts.jsonl", folder / "aside"

    def arrived() -> list[tuple[str, str]]:
        lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []
        return [(line["subject"], line["text"].strip()) for line in lines]

    def break_it() -> None:
        if path.parent.exists():
            path.parent.rename(aside)
        path.parent.write_text("in the way")

    def mend_it() -> None:
        path.parent.unlink()
        if aside.exists():
            aside.rename(path.parent)

    return Bench(FileChannel("out", path), arrived, break_it, mend_it)


async def email_bench(stack: AsyncExitStack, _folder: Path) -> Bench:
    """An e-mail channel to a server that can be busy."""
    box = Mailbox()
    port = await stack.enter_async_context(mail_server(box))
    settings = EmailSettings(HOST, port, "none", "tape@example.com", ["ann@example.com"], timeout_s=2)

    def arrived() -> list[tuple[str, str]]:
        bodies = [(mail["Subject"], mail.get_body(("plain",))) for mail in box.mails]
        texts = [(subject, body.get_content()) for subject, body in bodies if body is not None]
        return [(subject, text.replace("\r\n", "\n").strip()) for subject, text in texts]

    return Bench(
        EmailChannel("out", settings),
        arrived,
        lambda: box.to_recipient.update({"ann@example.com": ["451 busy"] * 9}),
        box.to_recipient.clear,
    )


async def http_channel(
    stack: AsyncExitStack,
    name: str,
    *,
    timeout_s: float = 2.0,
    tls: ssl.SSLContext | None = None,
    ca_file: Path | None = None,
) -> tuple[Channel, Any]:
    """A channel of a type that speaks HTTP, and the service behind it, listening."""
    service = servers.SERVICES[name]()
    url = await stack.enter_async_context(service.running(tls))
    address, connection = f"{url}{service.path}", Connection(timeout_s, ca_file)
    made: dict[str, Callable[[], Channel]] = {
        "discord": lambda: DiscordChannel("out", DiscordSettings(address, connection=connection)),
        "telegram": lambda: TelegramChannel(
            "out", TelegramSettings(service.token, "-1001", api_url=url, connection=connection)
        ),
        "webhook": lambda: WebhookChannel("out", WebhookSettings(address, service.secret, {}, connection)),
        "apprise": lambda: AppriseChannel("out", AppriseSettings((address.replace("http", "json", 1),), timeout_s)),
    }
    return made[name](), service


async def http_bench(stack: AsyncExitStack, name: str) -> Bench:
    """A channel that speaks HTTP to a service that can be down."""
    channel, service = await http_channel(stack, name)
    return Bench(channel, lambda: shown(service), *down(service), service)


def shown(service: servers.Service) -> list[tuple[str, str]]:
    """Subject and text of what arrived, as a user reads them."""
    if isinstance(service, servers.Discord):
        embeds = [message["embeds"][0] for message in service.messages]
        return [(servers.discord_shows(one["title"]), servers.discord_shows(one["description"])) for one in embeds]
    if isinstance(service, servers.Telegram):
        texts = [message["shown"].replace("\u2060", "").partition("\n\n") for message in service.messages]
        return [(subject, text.strip()) for subject, _, text in texts]
    if isinstance(service, servers.Webhook):
        return [(one["subject"], one["text"].strip()) for one in service.documents]
    assert isinstance(service, servers.JsonService)
    texts = [(one["title"], one["message"].strip()) for one in service.documents]
    return [(title.replace("\u2060", ""), text.replace("\u2060", "")) for title, text in texts]


def down(service: servers.Service) -> tuple[Callable[[], object], Callable[[], object]]:
    """How a service is taken down and brought back."""
    return (
        lambda: setattr(service, "always", servers.status(503)),
        lambda: setattr(service, "always", None),
    )


BENCHES: dict[str, Callable[[AsyncExitStack, Path], Awaitable[Bench]]] = {
    "console": console_bench,
    "file": file_bench,
    "email": email_bench,
} | {name: lambda stack, _folder, name=name: http_bench(stack, name) for name in servers.SERVICES}


@asynccontextmanager
async def bench_of(name: str, folder: Path) -> AsyncIterator[Bench]:
    """The bench of this channel, while it is up."""
    async with AsyncExitStack() as stack:
        yield await BENCHES[name](stack, folder)
