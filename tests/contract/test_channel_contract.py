"""What every channel keeps, whatever is behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path

import pytest

from channel_benches import Bench, bench_of
from delivery_samples import outgoing, worded
from tapewatch.channels import DeliveryError, RejectedError
from tapewatch.channels.writer import Writer
from tapewatch.config.channels import CHANNEL_TYPES

HOSTILE = "BTC\r\nBcc: eve@example.com\r\n\r\n\x1b[2J\x00\u2028.\r\nQUIT\ud800 ünï 币安"


@pytest.fixture(params=sorted(CHANNEL_TYPES))
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """Each channel in turn."""
    async with bench_of(request.param, tmp_path) as bench:
        yield bench


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
    written = Writer(UTC).write(worded(HOSTILE, HOSTILE), bench.channel.style)
    await bench.channel.send(outgoing(subject=written.subject, text=written.text, html=written.html, body=written.body))

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


async def test_a_long_message_is_whole_where_there_is_room(bench: Bench) -> None:
    """Long lines, and lines of one dot, arrive unchanged; where not all has room it is cut, and says so."""
    text = "\n".join([".", "..", "From here", "x" * 5_000, "ü" * 3_000])
    await bench.channel.send(outgoing(text=text + "\n"))

    [(_, body)] = bench.arrived()
    if bench.channel.room is None:
        assert body == text
    else:
        assert body.endswith("…")
        assert text.startswith(body.removesuffix("…"))
        assert len(body) > bench.channel.room - 50
