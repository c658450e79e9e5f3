"""The feed's cost per frame: TLS, decoding, putting in order, handing on; against a server in another process.

The server is this module run as a program. It speaks just enough of the exchange's protocol for the feed to start, and
sends a fixed number of frames after each subscription.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median

from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from tapewatch.cli.figures import Figure
from tapewatch.errors import SetupError
from tapewatch.feeds import BinanceFeed, FeedObserver, FeedSettings, SeriesPlan
from tapewatch.model import MINUTE_MS, BarClosed, Event

START_MS = 1_767_225_600_000
SYMBOLS = tuple(f"BENCH{n:02}USDT" for n in range(50))
#: A bar is pushed every two seconds and closed once.
PUSHES = 30
BURST = 250
BUFFER_BYTES = 1 << 20
TIMEOUT_S = 120.0


def measure(smoke: bool) -> Iterator[Figure]:
    """CPU of this process per frame: of the usual mix, and of frames that all close a bar."""
    count, runs = (5_000, 1) if smoke else (200_000, 5)
    for name, pushes in (("feed, usual frames over TLS", PUSHES), ("feed, closing frames over TLS", 0)):
        figure = median(_cpu_s(count, pushes) for _ in range(runs)) / count * 1e6
        yield Figure(name, figure, "us/frame", count, runs)


def _cpu_s(count: int, pushes: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        authority = certificate(Path(folder))
        command = [sys.executable, "-m", "tapewatch.cli.bench_feed", str(count), str(pushes), str(authority)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                port = int(server.stdout.readline())
                return asyncio.run(_receive(port, str(authority), count))
            finally:
                server.terminate()


def certificate(folder: Path) -> Path:
    """A certificate with its key in one file, for a server on this machine that lives a few seconds."""
    path = folder / "bench.pem"
    command: list[str | Path] = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-days", "1", "-subj", "/CN=tapewatch bench", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run([*command, "-keyout", path, "-out", folder / "crt.pem"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(f"bench feed: the command openssl is needed to make a certificate: {error}") from None
    path.write_text(path.read_text("ascii") + (folder / "crt.pem").read_text("ascii"), "ascii")
    return path


async def _receive(port: int, authority: str, count: int) -> float:
    ready = asyncio.Event()

    class Observer(FeedObserver):
        def caught_up(self) -> None:
            ready.set()

    taken = 0

    def sink(events: list[Event]) -> None:
        nonlocal taken
        taken += sum(isinstance(event, BarClosed) for event in events)

    settings = FeedSettings(rest_url=f"https://127.0.0.1:{port}", ws_url=f"wss://127.0.0.1:{port}", ca_file=authority)
    feed = BinanceFeed(settings, sink, Observer())
    task = asyncio.create_task(feed.run())
    async with asyncio.timeout(TIMEOUT_S):
        await feed.ready()
        feed.watch([SeriesPlan(symbol, START_MS) for symbol in SYMBOLS])
        await asyncio.wait((task, asyncio.ensure_future(ready.wait())), return_when=asyncio.FIRST_COMPLETED)
        before_s = time.process_time()
        while feed.counts.frames < count and not task.done():  # noqa: ASYNC110  (frames have no event: that would cost)
            await asyncio.sleep(0.05)
        used_s = time.process_time() - before_s
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    if taken != feed.counts.closed:
        raise RuntimeError(f"{feed.counts.closed} bars were sent and {taken} came out")
    return used_s


def _frames(count: int, pushes: int) -> list[bytes]:
    frames: list[bytes] = []
    open_ms = START_MS
    while len(frames) < count:
        for push in range(pushes + 1):
            closed = push == pushes
            event_ms = open_ms + (MINUTE_MS + 27 if closed else push * 2_000)
            frames += [_frame(symbol, open_ms, event_ms, closed) for symbol in SYMBOLS]
        open_ms += MINUTE_MS
    return frames[:count]


def _frame(symbol: str, open_ms: int, event_ms: int, closed: bool) -> bytes:
    return (
        f'{{"stream":"{symbol.lower()}@kline_1m","data":{{"e":"kline","E":{event_ms},"s":"{symbol}","k":{{"t":{open_ms},'
        f'"T":{open_ms + MINUTE_MS - 1},"s":"{symbol}","i":"1m","f":4000000000,"L":4000000099,"o":"87640.00000000",'
        f'"c":"87655.10000000","h":"87660.00000000","l":"87640.00000000","v":"22.04700000","n":100,'
        f'"x":{str(closed).lower()},"q":"1753008.50000000","V":"11.25000000","Q":"986073.75000000","B":"0"}}}}}}'
    ).encode()


class _Session(WSListener):
    """Acknowledges the subscription, then sends everything."""

    def __init__(self, frames: list[bytes]) -> None:
        self._frames = frames
        self._sending: asyncio.Task[None] | None = None

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, b'{"result":null,"id":1}')
            self._sending = asyncio.get_running_loop().create_task(self._send(transport))

    async def _send(self, transport: WSTransport) -> None:
        await asyncio.sleep(0.5)  # until the feed is ready
        for first in range(0, len(self._frames), BURST):
            if transport.is_disconnected:
                return
            for frame in self._frames[first : first + BURST]:
                transport.send(WSMsgType.TEXT, frame)
            while transport.underlying_transport.get_write_buffer_size() > BUFFER_BYTES:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)


_ANSWERS = {
    b"/api/v3/time": f'{{"serverTime":{START_MS}}}',
    b"/api/v3/exchangeInfo": '{"symbols":['
    + ",".join(f'{{"symbol":"{symbol}","status":"TRADING"}}' for symbol in SYMBOLS)
    + "]}",
    b"/api/v3/klines": "[]",
}


async def _serve(count: int, pushes: int, certificate: str) -> None:
    frames = _frames(count, pushes)
    logging.getLogger("picows").setLevel(logging.ERROR)  # it tells each time that the feed is slower than this

    def session(request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
        answer = _ANSWERS.get(request.path.split(b"?")[0])
        if answer is None:
            return _Session(frames)
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(answer.encode()), None)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await ws_create_server(session, "127.0.0.1", 0, ssl=context)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()  # until terminated


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
