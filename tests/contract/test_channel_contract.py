"""What every channel keeps, whatever is behind it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from delivery_samples import outgoing
from mail_server import HOST, Mailbox, mail_server
from tapewatch.channels import Channel, DeliveryError, RejectedError
from tapewatch.channels.console import ConsoleChannel
from tapewatch.channels.email import EmailChannel, EmailSettings
from tapewatch.channels.file import FileChannel

HOSTILE = "BTC\r\nBcc: eve@example.com\r\n\r\n\x1b[2J\x00\u2028.\r\nQUIT\ud800 ünï 币安"


@dataclass
class Bench:
    """A channel, what arrived behind it as (subject, text), and how to break and mend what is behind it."""

    channel: Channel
    arrived: Callable[[], list[tuple[str, str]]]
    break_it: Callable[[], object]
    mend_it: Callable[[], object]


class Terminal(io.StringIO):
    """A stream whose reader can go away."""

    encoding = "utf-8"
    gone = False

    def write(self, text: str) -> int:
        """Write, while there is a reader."""
        if self.gone:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)


def console_bench() -> Bench:
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


def file_bench(folder: Path) -> Bench:
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


async def email_bench(stack: AsyncExitStack) -> Bench:
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


@pytest.fixture(params=["console", "file", "email"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """Each channel in turn."""
    async with AsyncExitStack() as stack:
        if request.param == "email":
            yield await email_bench(stack)
        else:
            yield console_bench() if request.param == "console" else file_bench(tmp_path)


async def test_a_message_arrives_with_subject_and_text(bench: Bench) -> None:
    """What was sent is there when send returns, letters of all alphabets included."""
    await bench.channel.send(outgoing(subject="[BTC SCALP] LONG — ünï", text="Entry: 1\nTrace: 币安 🚀\n"))

    assert bench.channel.name == "out"
    assert bench.arrived() == [("[BTC SCALP] LONG — ünï", "Entry: 1\nTrace: 币安 🚀")]


async def test_messages_arrive_in_order_each_once(bench: Bench) -> None:
    """Messages sent one after the other arrive as that many, in that order."""
    for place in range(5):
        await bench.channel.send(outgoing(f"a{place}@out", subject=f"number {place}"))

    assert [subject for subject, _ in bench.arrived()] == [f"number {place}" for place in range(5)]


async def test_hostile_text_stays_inside_its_message(bench: Bench) -> None:
    """Line breaks, control characters, half characters and protocol words in a subject make no second message."""
    from tapewatch.channels.render import render_notice

    written = render_notice(HOSTILE, HOSTILE)
    await bench.channel.send(outgoing(subject=written.subject, text=written.text, html=written.html))

    [(subject, text)] = bench.arrived()
    assert subject == "BTC  Bcc: eve@example.com     [2J  .  QUIT  ünï 币安"
    assert "Bcc: eve@example.com" in text


async def test_trouble_is_raised_and_passes(bench: Bench) -> None:
    """While what is behind it is broken a message is refused for now; afterwards the same one arrives once."""
    await bench.channel.send(outgoing("a1@out", subject="before"))
    bench.break_it()
    for _ in range(2):
        with pytest.raises(DeliveryError) as caught:
            await bench.channel.send(outgoing("a2@out", subject="during"))
        assert not isinstance(caught.value, RejectedError)
        assert not caught.value.maybe_delivered
        assert str(caught.value)

    bench.mend_it()
    await bench.channel.send(outgoing("a2@out", subject="during"))
    assert [subject for subject, _ in bench.arrived()] == ["before", "during"]


async def test_a_long_message_is_whole(bench: Bench) -> None:
    """Lines longer than any protocol's limit, and lines of one dot, arrive unchanged."""
    text = "\n".join(["x" * 5_000, ".", "..", "From here", "ü" * 3_000])
    await bench.channel.send(outgoing(text=text + "\n"))

    assert [body for _, body in bench.arrived()] == [text]
