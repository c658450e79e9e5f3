from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from delivery_samples import outgoing
from tapewatch import disk
from tapewatch.channels import DeliveryError, build
from tapewatch.channels.console import ConsoleChannel
from tapewatch.channels.email import EmailChannel
from tapewatch.channels.file import FileChannel
from tapewatch.errors import SetupError

TESTS = Path(__file__).parent.parent


async def test_a_line_has_the_pinned_keys(tmp_path: Path) -> None:
    """A message is one JSON line of the keys that machines read."""
    await FileChannel("out", tmp_path / "deep/er/alerts.jsonl").send(outgoing(possible_repeat=True))

    [line] = (tmp_path / "deep/er/alerts.jsonl").read_text().splitlines()
    sent = outgoing()
    assert json.loads(line) == {
        "message_id": sent.message_id,
        "alert_id": sent.alert_id,
        "kind": "signal",
        "sent_ms": sent.sent_ms,
        "possible_repeat": True,
        "subject": sent.subject,
        "text": sent.text,
        "signal": {"id": "x", "atr": None},
    }


async def test_a_torn_line_is_ended_before_the_next(tmp_path: Path) -> None:
    """After a crash in the middle of a line the next message starts on a line of its own."""
    path = tmp_path / "alerts.jsonl"
    path.write_text('{"message_id": "whole"}\n{"message_id": "to')
    await FileChannel("out", path).send(outgoing())

    whole, torn, new = path.read_text().splitlines()
    assert json.loads(whole)["message_id"] == "whole"
    assert torn == '{"message_id": "to'
    assert json.loads(new)["message_id"] == outgoing().message_id


async def test_a_write_that_fails_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk takes a part of a line only, or cannot sync it, the file is as it was before."""
    path = tmp_path / "alerts.jsonl"
    channel = FileChannel("out", path)
    await channel.send(outgoing("a1@out"))
    before = path.read_bytes()
    real, writes = os.write, [0]

    def fills_up(handle: int, data: bytes) -> int:
        writes[0] += 1
        return real(handle, data[:20]) if writes[0] == 1 else fail()

    def fail(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    for name, replacement in (("write", fills_up), ("fsync", fail)):
        with monkeypatch.context() as patch:
            patch.setattr(disk.os, name, replacement)
            with pytest.raises(DeliveryError, match=f"file {path}: No space left on device") as caught:
                await channel.send(outgoing("a2@out"))
            assert caught.value.whole_channel
        assert path.read_bytes() == before

    await channel.send(outgoing("a2@out"))
    assert [json.loads(line)["message_id"] for line in path.read_text().splitlines()] == ["a1@out", "a2@out"]


def test_processes_may_append_to_one_file(tmp_path: Path) -> None:
    """Lines of three processes writing at once are all there and whole."""
    program = (
        "import asyncio, sys; from pathlib import Path; from delivery_samples import outgoing;"
        "from tapewatch.channels.file import FileChannel; channel = FileChannel('out', Path(sys.argv[1]))\n"
        "async def main():\n"
        "    for place in range(40):\n"
        "        await channel.send(outgoing(f'{sys.argv[2]}-{place}@out', text='x' * 9_000))\n"
        "asyncio.run(main())"
    )
    path = tmp_path / "alerts.jsonl"
    started = [subprocess.Popen([sys.executable, "-c", program, str(path), name], cwd=TESTS) for name in "abc"]
    assert [process.wait(60) for process in started] == [0, 0, 0]

    ids = [json.loads(line)["message_id"] for line in path.read_text().splitlines()]
    assert sorted(ids) == sorted(f"{name}-{place}@out" for name in "abc" for place in range(40))


async def test_a_console_without_the_letters_shows_codes() -> None:
    """A stream that cannot show a letter gets its code instead of an error."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    await ConsoleChannel("out", stream).send(outgoing(subject="[币 SCALP]"))

    assert b"[\\u5e01 SCALP]" in raw.getvalue()


async def test_a_closed_console_is_trouble_for_now() -> None:
    """A stream that was closed is a failed attempt, not a crash."""
    stream = io.StringIO()
    stream.close()
    with pytest.raises(DeliveryError, match="console") as caught:
        await ConsoleChannel("out", stream).send(outgoing())
    assert caught.value.whole_channel


async def test_a_console_that_blocks_for_good_keeps_no_other_from_its_work(tmp_path: Path) -> None:
    """Of a console that nobody reads one thread waits, however often it is tried, and none that others need."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        channel, threads = ConsoleChannel("out", stream), threading.active_count()
        for _ in range(40):
            with pytest.raises((TimeoutError, DeliveryError)):
                async with asyncio.timeout(0.05):
                    await channel.send(outgoing(text="x" * 1_000_000))
        assert threading.active_count() == threads + 1
        async with asyncio.timeout(5):
            await asyncio.to_thread(os.getpid)
            await FileChannel("file", tmp_path / "alerts.jsonl").send(outgoing())
        os.close(reading)


async def test_what_is_no_regular_file_gets_nothing(tmp_path: Path) -> None:
    """A pipe, from which nothing could be taken back, is trouble before a byte of the message is in it."""
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(DeliveryError, match="no regular file"):
        await FileChannel("out", tmp_path / "pipe").send(outgoing())
    assert os.read(reading, 100) == b""
    os.close(reading)


def test_channels_are_built_from_their_sections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each type of section becomes its channel, and a mistake in one names it."""
    mail = SimpleNamespace(
        type="email", host="localhost", port=25, tls="none", sender="a@example.com", recipients=["b@example.com"],
        user=None, password=None, ca_file=None, timeout=2_500,
    )  # fmt: skip
    assert isinstance(build("one", SimpleNamespace(type="console")), ConsoleChannel)
    assert isinstance(build("two", SimpleNamespace(type="file", path=tmp_path / "x")), FileChannel)
    built = build("three", mail)
    assert isinstance(built, EmailChannel)
    assert (built.name, built._settings.timeout_s) == ("three", 2.5)

    with pytest.raises(SetupError, match=r"channels\.two: path: .* is no regular file"):
        build("two", SimpleNamespace(type="file", path=tmp_path))
    mail.host = "mail.example.com"
    with pytest.raises(SetupError, match=r"channels\.three: tls: none"):
        build("three", mail)
