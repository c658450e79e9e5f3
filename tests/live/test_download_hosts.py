"""A download from hosts that behave badly: what they send is refused, and what others have is taken instead."""

import asyncio
import hashlib
import io
import json
import os
import pty
import resource
import sys
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import polars as pl
import pytest
import trustme
from aiohttp import web
from command_process import command, ran
from history_market import (
    FIRST_MS,
    HOUR_MS,
    NOW_MS,
    HourMarket,
    contents,
    equals_the_market,
    fetch,
    history,
)
from simulated import eventually

from tapewatch.archive import reader
from tapewatch.archive.manifest import Manifest, Series
from tapewatch.cli import download_screen
from tapewatch.download import Done, files
from tapewatch.errors import SetupError
from tapewatch.model import DAY_MS

Answer = Callable[[web.Request], web.StreamResponse]


@asynccontextmanager
async def host(answers: dict[str, Answer | bytes], seen: list[str] | None = None) -> AsyncIterator[str]:
    """A server with these paths; 404 for everything else."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if seen is not None:
            seen.append(request.path)
        answer = answers.get(request.path)
        if answer is None:
            return web.Response(status=404)
        return web.Response(body=answer) if isinstance(answer, bytes) else answer(request)

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def packed(content: str | bytes, name: str = "BTCUSDT-1h-2024-11-28.csv") -> bytes:
    """A zip file with one member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
    return buffer.getvalue()


def rows(count: int = 24, step_ms: int = HOUR_MS, first_ms: int = FIRST_MS) -> str:
    """Rows of a klines file."""
    opens = (first_ms + number * step_ms for number in range(count))
    return "".join(f"{at},10,12,9,11,1.5,{at + step_ms - 1},16,4,0.5,5,0\n" for at in opens)


def with_checksum(path: str, content: bytes) -> dict[str, Answer | bytes]:
    """A file and the checksum that fits it."""
    said = f"{hashlib.sha256(content).hexdigest()}  {path.rpartition('/')[2]}\n"
    return {path: content, f"{path}.CHECKSUM": said.encode()}


DAY = "/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-11-28.zip"
ONE_DAY = {"to_ms": FIRST_MS + DAY_MS}


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (with_checksum(DAY, packed(b"\0" * 30_000_000)), "would unpack to 30,000,000 bytes"),
        (with_checksum(DAY, packed(rows(), "../../../etc/cron.d/x.csv")), "instead of a CSV file"),
        (with_checksum(DAY, b"<html>welcome</html>"), "no sound zip file"),
        (with_checksum(DAY, os.urandom(2_000_000)), "is larger than"),
        (with_checksum(DAY, packed("one,two,three\n1,2,3\n")), "has 3 columns"),
        ({DAY: packed(rows())}, "has no checksum"),
        ({DAY: packed(rows()), DAY + ".CHECKSUM": b"<html>"}, "is no checksum"),
        ({DAY: packed(rows()), DAY + ".CHECKSUM": b"0" * 64 + b"  other.zip\n"}, "is no checksum"),
        ({DAY: lambda _: web.Response(status=302, headers={"Location": "http://example.invalid"})}, "HTTP 302"),
        ({DAY: lambda _: web.Response(status=403)}, "HTTP 403"),
    ],
)
async def test_what_is_no_sound_file_is_refused_and_rest_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: dict[str, Answer | bytes], said: str
) -> None:
    """Bombs, names that lead elsewhere, pages instead of files; nothing of it is stored."""
    monkeypatch.setattr(files, "BACKOFF_S", (0.01, 0.01))
    async with history() as simulator, host(answers) as url:
        summary, heard = await fetch(simulator, tmp_path, bulk_url=url, **ONE_DAY)
        assert any(said in note for note in heard.done["BTCUSDT", "1h"].notes), heard.done["BTCUSDT", "1h"].notes
        assert (summary.rows, summary.files, summary.missing, summary.failed) == (24, 0, 0, 0)
        alone, _ = await fetch(simulator, tmp_path / "alone", bulk_url=url, source="bulk", **ONE_DAY)
        assert (alone.rows, alone.missing, alone.failed) == (0, 24, 1)
    stored = reader.load(tmp_path, "binance_spot", "BTCUSDT", "1h")
    assert stored.close.tolist() == HourMarket().candles("BTCUSDT").close[:24].tolist()


async def test_a_host_that_fails_now_and_then_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """5xx, a body that does not end; `Retry-After` is obeyed."""
    monkeypatch.setattr(files, "READ_S", 1.0)
    content, tries = packed(rows()), iter(range(10))

    def answer(request: web.Request) -> web.StreamResponse:
        match next(tries):
            case 0:
                return web.Response(status=503, headers={"Retry-After": "1"})
            case 1:
                return web.Response(body=content[:50], headers={"Content-Length": str(len(content))})
            case _:
                return web.Response(body=content)

    answers = with_checksum(DAY, content) | {DAY: answer}
    async with history() as simulator, host(answers) as url:
        began = asyncio.get_running_loop().time()
        summary, _ = await fetch(simulator, tmp_path, bulk_url=url, source="bulk", **ONE_DAY)
    assert (summary.rows, summary.files, summary.failed) == (24, 1, 0)
    assert asyncio.get_running_loop().time() - began >= 1.0


async def test_rows_of_another_day_are_not_taken(tmp_path: Path) -> None:
    """They are counted as refused, with those that make no sense."""
    content = packed(rows() + rows(3, first_ms=FIRST_MS + 5 * DAY_MS) + rows(1).replace(",12,", ",8,"))
    async with history() as simulator, host(with_checksum(DAY, content)) as url:
        summary, _ = await fetch(simulator, tmp_path, bulk_url=url, source="bulk", **ONE_DAY)
    assert (summary.rows, summary.refused) == (24, 4)


@pytest.mark.parametrize(("interval", "step"), [("1M", None), ("1w", 7 * DAY_MS), ("3d", 3 * DAY_MS)])
async def test_longer_candles_come_by_month_under_the_exchanges_names(
    tmp_path: Path, interval: str, step: int | None
) -> None:
    """A month is `1mo` in the archive, `1M` over REST; there are no files of days."""
    name = "1mo" if interval == "1M" else interval
    first, december, january = FIRST_MS - 27 * DAY_MS, FIRST_MS + 3 * DAY_MS, FIRST_MS + 34 * DAY_MS
    opens = {"1mo": [first, december, january], "1w": [FIRST_MS - 3 * DAY_MS, FIRST_MS + 4 * DAY_MS]}.get(
        name, [FIRST_MS, FIRST_MS + 3 * DAY_MS]
    )
    answers: dict[str, Answer | bytes] = {}
    for month, from_ms, to_ms in (("2024-11", first, december), ("2024-12", december, january)):
        inside = [at for at in opens if from_ms <= at < to_ms]
        path = f"/data/spot/monthly/klines/BTCUSDT/{name}/BTCUSDT-{name}-{month}.zip"
        answers |= with_checksum(path, packed("".join(rows(1, step or DAY_MS, at) for at in inside)))
    asked: list[str] = []
    async with history() as simulator, host(answers, asked) as url:
        span = {"from_ms": first, "to_ms": FIRST_MS + 7 * DAY_MS}
        summary, _ = await fetch(simulator, tmp_path, bulk_url=url, source="bulk", intervals=[interval], **span)
    wanted = [at for at in opens if at < FIRST_MS + 7 * DAY_MS]
    assert summary.files == 2
    assert not [path for path in asked if "daily" in path]
    stored = pl.read_parquet(tmp_path / f"binance_spot/BTCUSDT/{name}")
    assert stored["open_time"].to_list() == wanted


async def test_symbols_that_rest_has_forgotten_come_from_files(tmp_path: Path) -> None:
    """It answers with nothing, or refuses: neither is taken for a proof that there was nothing."""
    listed = b'{"symbols":[{"symbol":"BTCUSDT","status":"TRADING"}],"rateLimits":[]}'
    now = {"/api/v3/time": f'{{"serverTime":{NOW_MS}}}'.encode(), "/api/v3/exchangeInfo": listed}
    refusal = b'{"code":-1121,"msg":"Invalid symbol."}'
    async with history() as simulator:
        for name, klines in (("nothing", b"[]"), ("refused", lambda _: web.Response(status=400, body=refusal))):
            root, asked = tmp_path / name, []
            async with host(now | {"/api/v3/klines": klines}, asked) as url:  # type: ignore[dict-item]
                summary, _ = await fetch(simulator, root, rest_url=url, from_ms=FIRST_MS - 400 * DAY_MS)
            assert (summary.rows, summary.files, summary.failed) == (67 * 24, 5, 0)
            stored = reader.load(root, "binance_spot", "BTCUSDT", "1h")
            assert stored.open_ms.tolist() == list(range(FIRST_MS, FIRST_MS + 67 * DAY_MS, HOUR_MS))
    assert sum(simulator.books.requests[key] for key in simulator.books.requests if "daily" in key[0]) < 150


async def test_files_of_one_kind_are_enough(tmp_path: Path) -> None:
    """Part of a month out of its file where days have none; days where no month has one, and REST refuses."""
    from_ms, to_ms = FIRST_MS + 10 * DAY_MS + 5 * HOUR_MS, FIRST_MS + 13 * DAY_MS + HOUR_MS
    wanted = list(range(from_ms, to_ms, HOUR_MS))
    async with history({"kind": "archive_missing", "at": "0s", "files": "daily"}) as simulator:
        summary, _ = await fetch(simulator, tmp_path / "a", source="bulk", from_ms=from_ms, to_ms=to_ms)
        assert (summary.files, summary.missing) == (1, 0)
        assert reader.load(tmp_path / "a", "binance_spot", "BTCUSDT", "1h").open_ms.tolist() == wanted
        simulator.books.requests.clear()
        again, _ = await fetch(simulator, tmp_path / "a", source="bulk", from_ms=from_ms, to_ms=to_ms)
        assert (again.files, again.added) == (0, 0)
        assert not [path for path, status in simulator.books.requests if status == 200]
    listed = b'{"symbols":[{"symbol":"ETHUSDT","status":"TRADING"}],"rateLimits":[]}'
    now = {"/api/v3/time": f'{{"serverTime":{NOW_MS}}}'.encode(), "/api/v3/exchangeInfo": listed}
    refusal = b'{"code":-1121,"msg":"Invalid symbol."}'
    answers = now | {"/api/v3/klines": lambda _: web.Response(status=400, body=refusal)}
    async with (
        history({"kind": "archive_missing", "at": "0s", "files": "monthly"}) as simulator,
        host(answers) as url,  # type: ignore[arg-type]
    ):
        summary, _ = await fetch(simulator, tmp_path / "b", rest_url=url)
    assert (summary.files, summary.rows, summary.failed) == (67, 67 * 24, 0)


async def test_a_name_that_is_nearly_right_is_suggested(tmp_path: Path) -> None:
    """And one that is nothing like it is said to be unknown."""
    async with history() as simulator:
        _, heard = await fetch(simulator, tmp_path, symbols=["btcusdt", "QQQQ"], **ONE_DAY)
    assert "; did you mean BTCUSDT" in str(heard.done["btcusdt", "1h"].error)
    assert str(heard.done["QQQQ", "1h"].error).endswith("the exchange does not list it")


async def test_certificates_are_checked(tmp_path: Path) -> None:
    """Of both hosts; those of `--ca-file` are trusted too."""
    import ssl

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with history(ssl_context=context) as simulator:
        urls = ("--rest-url", simulator.rest_url, "--bulk-url", simulator.rest_url)
        wanted = ("--symbols", "BTCUSDT", "--interval", "1h", "--from", FIRST_MS, *urls)
        trusted = ("--ca-file", tmp_path / "ca.pem")
        code, lines, err = await ran("download", "--data", tmp_path / "a", *wanted, *trusted)
        assert (code, err, lines[-1]["failed"]) == (0, "", 0)
        arguments = ("download", "--data", tmp_path / "b", *wanted, "--source", "bulk", "--to", FIRST_MS + DAY_MS)
        code, lines, err = await ran(*arguments)
        assert (code, lines) == (2, [])
        assert "--bulk-url: the certificate of https://127.0.0.1" in err
    assert equals_the_market(tmp_path / "a")


async def test_a_full_disk_ends_it_with_words_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """What was stored stands, no half file is left, and the same command completes it."""
    async with history() as simulator:
        urls = ("--rest-url", simulator.rest_url, "--bulk-url", simulator.rest_url)
        wanted = ("--symbols", "BTCUSDT", "--interval", "1h", "--from", FIRST_MS, *urls)
        root = tmp_path / "archive"
        await fetch(simulator, root, to_ms=FIRST_MS + DAY_MS)
        small = max(path.stat().st_size for path in root.rglob("*") if path.is_file())
        limited = (
            "import os, resource, sys\n"
            f"resource.setrlimit(resource.RLIMIT_FSIZE, ({small}, {small}))\n"
            "os.execv(sys.executable, [sys.executable, '-B', '-m', 'tapewatch', *sys.argv[1:]])"
        )
        arguments = ("-c", limited, "download", "--data", root, *wanted)
        pipe = asyncio.subprocess.PIPE
        # Whoever measures coverage would write a file of its own, which is as limited.
        alone = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
        process = await asyncio.create_subprocess_exec(
            sys.executable, *map(str, arguments), stdout=pipe, stderr=pipe, env=alone
        )
        _, err = await process.communicate()
        assert process.returncode == 1
        assert b"tapewatch: " in err
        assert b"Traceback" not in err
        assert not list(root.rglob("*.tmp"))
        for path in root.rglob("*.parquet"):
            assert len(pl.read_parquet(path))
        code, lines, err_text = await ran("download", "--data", root, *wanted)
        assert (code, err_text, lines[-1]["missing"]) == (0, "", 0)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert equals_the_market(root)


async def test_a_damaged_manifest_is_said(tmp_path: Path) -> None:
    """With what to do; without it the same candles are there."""
    async with history() as simulator:
        await fetch(simulator, tmp_path)
        (tmp_path / "imports.sqlite").write_bytes(b"no database, but long enough to be looked at" * 100)
        urls = ("--rest-url", simulator.rest_url, "--bulk-url", simulator.rest_url)
        wanted = ("--symbols", "BTCUSDT", "--interval", "1h", "--from", FIRST_MS, *urls)
        code, _, err = await ran("download", "--data", tmp_path, *wanted)
        assert code == 1
        assert "imports.sqlite: file is not a database; without this file everything works" in err
        (tmp_path / "imports.sqlite").unlink()
        summary, _ = await fetch(simulator, tmp_path)
        assert (summary.added, summary.changed, summary.files) == (0, 0, 7)
    assert len(Manifest(tmp_path).imports(Series("binance_spot", "BTCUSDT", "1h"))) == 7


async def test_a_ban_is_obeyed_by_the_next_download_too(tmp_path: Path) -> None:
    """Told by the first, kept in the archive's folder, said by the second."""

    def ban(request: web.Request) -> web.StreamResponse:
        return web.Response(status=418, headers={"Retry-After": "3"}, body=b'{"code":-1003,"msg":"banned"}')

    async with history() as simulator, host({"/api/v3/time": ban}) as url:
        wanted = ("--symbols", "BTCUSDT", "--interval", "1h", "--from", FIRST_MS, "--rest-url", url)
        arguments = ("download", "--data", tmp_path, *wanted, "--bulk-url", simulator.rest_url)
        async with command(*arguments) as process, asyncio.timeout(60):
            await eventually((tmp_path / "bans.json").exists, 60)
            process.kill()
        asked: list[str] = []
        began = time.time()
        async with host({}, asked) as other:
            banned = {"banned_until_ms": {other: int((began + 3) * 1000)}}
            (tmp_path / "bans.json").write_text(json.dumps(banned))
            with pytest.raises(SetupError, match="is not the exchange"):
                await fetch(simulator, tmp_path, rest_url=other, source="rest")
        assert time.time() - began >= 3
        assert asked == ["/api/v3/time"]


async def test_a_file_is_no_archive(tmp_path: Path) -> None:
    """Said before anything is fetched."""
    (tmp_path / "file").touch()
    async with history() as simulator:
        with pytest.raises(SetupError, match="cannot be made a folder"):
            await fetch(simulator, tmp_path / "file")
        assert not simulator.books.requests


async def test_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    """Exit 130, no traceback, whole files."""
    import signal

    async with history({"kind": "archive_missing", "at": "0s", "files": "monthly"}) as simulator:
        urls = ("--rest-url", simulator.rest_url, "--bulk-url", simulator.rest_url)
        wanted = ("--symbols", "BTCUSDT", "--interval", "1h", "--from", FIRST_MS, "--workers", 1, *urls)
        async with command("download", "--data", tmp_path / "a", *wanted) as process, asyncio.timeout(60):
            await eventually(lambda: sum(simulator.books.requests.values()) >= 12, 60)
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert contents(tmp_path, ".tmp") == {}


def test_a_bar_is_shown_where_somebody_watches_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal after two seconds, never before; it is gone at the end."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", terminal)
        early = download_screen.Screen("files", as_json=False)
        early.expected(4)
        early.close()
        patched.setattr(download_screen, "BAR_AFTER_S", 0.0)
        screen = download_screen.Screen("files", as_json=False)
        terminal.write("begin")
        terminal.flush()
        screen.expected(4)
        screen.advanced(2)
        screen.finished(Done("v", "S", "1m", 0, 60_000, notes=["said meanwhile"]))
        screen.close()
    said = _all_of(master).decode()
    assert said.startswith("begin")
    assert "files" in said
    assert "%" in said


def _all_of(master: int) -> bytes:
    """What was written to a terminal that is closed now."""
    with os.fdopen(master, "rb", buffering=0) as terminal:
        parts = []
        while True:
            try:
                parts.append(terminal.read(4096))
            except OSError:  # a closed terminal has no end, only an error
                return b"".join(parts)
