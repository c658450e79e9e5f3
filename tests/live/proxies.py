"""Proxies of both kinds, each a real one on a socket, that ask for `me` and `secret`."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

#: Reads what the client wants, answers it, and says whether it may pass.
Greeting = Callable[["Proxy", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]


class Proxy:
    """Passes everything to one port, whatever host was asked for, and notes what was."""

    def __init__(self, greeting: Greeting, target_port: int) -> None:
        self.asked: list[str] = []
        self.refusing = False
        self._greeting, self._target_port = greeting, target_port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        """Listens."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cuts everything."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.02)  # turns of the loop, in which the sockets are closed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if not await self._greeting(self, reader, writer):
            writer.close()
            return
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers.append(back_writer)
        self._tasks |= {
            asyncio.create_task(_pipe(reader, back_writer)),
            asyncio.create_task(_pipe(back_reader, writer)),
        }


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    writer.close()


async def http(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """HTTP CONNECT with a user and a password."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    proxy.asked.append(head.split(" ")[1])
    allowed = base64.b64encode(b"me:secret").decode() in head and not proxy.refusing
    status = b"200 OK" if allowed else b"407 Proxy Authentication Required"
    writer.write(b"HTTP/1.1 " + status + b"\r\nVia: test\r\n\r\n")
    return allowed


async def socks5(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """SOCKS5 with a user and a password; the host goes to the proxy by name."""
    _version, count = await reader.readexactly(2)
    assert 2 in await reader.readexactly(count)
    writer.write(b"\x05\x02")
    _version, length = await reader.readexactly(2)
    user = await reader.readexactly(length)
    password = await reader.readexactly((await reader.readexactly(1))[0])
    writer.write(b"\x01\x00" if (user, password) == (b"me", b"secret") else b"\x01\x01")
    _version, command, _zero, kind = await reader.readexactly(4)
    assert (command, kind) == (1, 3), "the name was looked up here"
    host = await reader.readexactly((await reader.readexactly(1))[0])
    port = int.from_bytes(await reader.readexactly(2), "big")
    proxy.asked.append(f"{host.decode()}:{port}")
    writer.write(b"\x05" + (b"\x05" if proxy.refusing else b"\x00") + b"\x00\x01\x7f\x00\x00\x01\x00\x00")
    return not proxy.refusing


@asynccontextmanager
async def proxied(greeting: Greeting, port: int) -> AsyncIterator[Proxy]:
    """A proxy at work."""
    proxy = Proxy(greeting, port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
