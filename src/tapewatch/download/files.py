"""The exchange's file archive over HTTP: a file comes verified by its checksum or not at all."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp

from tapewatch.archive.bulk import CHECKSUM, BulkFile, parse_checksum
from tapewatch.errors import DataError, EdgeError, SetupError
from tapewatch.feeds.network import backoff
from tapewatch.network import check_url, proxy_for, tls_for_http

#: Waiting times after failures in a row; after the last one the file is given up.
BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0)
#: A file that does not fit its checksum is fetched once more.
COPIES = 2
#: The exchange may ask for patience; not for more than this.
LONGEST_WAIT_S = 120.0
#: How long connecting may take, and how long nothing may come.
CONNECT_S, READ_S = 10.0, 30.0
_CHECKSUM_BYTES = 4096


@dataclass(frozen=True)
class Fetched:
    """A file whose content has the checksum that the exchange gives for it."""

    content: bytes
    sha256: str


class Files:
    """A client for the archive's host; an async context manager.

    Args:
        url: the host.
        ca_file: certificates to trust beside the system's.
        at_once: requests under way at once.

    Raises:
        SetupError: the host is no URL, its certificate is not trusted, or it refuses this region.
    """

    def __init__(self, url: str, ca_file: str | None, at_once: int) -> None:
        self._url = check_url(url, ("http", "https"), "--bulk-url")
        self._ca_file, self._turn = ca_file, asyncio.Semaphore(at_once)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls_for_http(self._ca_file), keepalive_timeout=90.0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S),
            headers={"User-Agent": "tapewatch"},
            proxy=proxy_for(self._url),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def checksum(self, file: BulkFile) -> str | None:
        """The checksum that the exchange gives for a file now, None when it has no such file.

        Raises:
            DataError: what it gives is none.
            EdgeError: the host did not answer for long.
        """
        said = await self._get(file.path + CHECKSUM, _CHECKSUM_BYTES)
        return None if said is None else parse_checksum(said.decode("utf-8", "replace"), file.name)

    async def fetch(self, file: BulkFile, limit_bytes: int) -> Fetched | None:
        """A file, verified; None when the exchange does not have it.

        Raises:
            DataError: its content does not fit its checksum, twice, or there is no checksum, or it is too large.
            EdgeError: the host did not answer for long.
        """
        content: bytes | None = b""
        for _ in range(COPIES):
            content = await self._get(file.path, limit_bytes)
            if content is None:
                return None
            said = await self.checksum(file)
            if said is None:
                raise DataError(f"{file.name} has no checksum")
            if hashlib.sha256(content).hexdigest() == said:
                return Fetched(content, said)
        raise DataError(f"{file.name} does not fit its checksum, {COPIES} times")

    async def _get(self, path: str, limit_bytes: int) -> bytes | None:
        tries = 0
        while True:
            try:
                async with self._turn:
                    return await self._once(path, limit_bytes)
            except EdgeError as error:
                tries += 1
                if tries > len(BACKOFF_S):
                    raise
                wait_s = backoff(tries, BACKOFF_S) if error.retry_after_s is None else error.retry_after_s
            await asyncio.sleep(min(wait_s, LONGEST_WAIT_S))

    async def _once(self, path: str, limit_bytes: int) -> bytes | None:
        assert self._session is not None, "Files is used inside `async with`"
        try:
            async with self._session.get(self._url + path, allow_redirects=False) as response:
                if response.status == 404:
                    return None
                if response.status == 451:
                    raise SetupError(f"--bulk-url: {self._url} refuses this region (HTTP 451)")
                if response.status != 200:
                    after = response.headers.get("Retry-After", "")
                    text = f"{self._url}{path} answered HTTP {response.status}"
                    raise EdgeError(text, retry_after_s=float(after) if after.isdigit() else None)
                body = bytearray()
                async for chunk in response.content.iter_chunked(1 << 16):
                    body += chunk
                    if len(body) > limit_bytes:
                        raise DataError(f"{path} is larger than {limit_bytes:,} bytes")
                return bytes(body)
        except aiohttp.ClientConnectorCertificateError as error:
            text = f"--bulk-url: the certificate of {self._url} is not trusted: {error.certificate_error}"
            raise SetupError(text) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EdgeError(f"{self._url}{path}: {error or type(error).__name__}") from None
