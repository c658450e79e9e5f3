"""Market capitalisations from CoinGecko, by base asset: asked for every few hours, kept in a file, never in the way.

Its symbols are not unique, so `ids` says which coin an asset is; of the largest ones the symbol may be believed too.
An answer that fails changes nothing: what was known last goes on to hold, also across restarts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec

from tapewatch.disk import write_whole
from tapewatch.errors import EdgeError
from tapewatch.network import proxy_for, told
from tapewatch.socks import Connector

#: The most rows of one answer (exchange-protocol 12).
PAGE = 250
#: How long it is left alone where a 429 does not say.
RETRY_AFTER_S = 60.0
#: Longer than this nobody means by Retry-After.
LONGEST_S = 3_600.0
#: The paid service has a host and a header of its own.
_PRO = "pro-api.coingecko.com"


@dataclass(frozen=True)
class CapSettings:
    """What to ask for, and where.

    Attributes:
        url: of its API, without a slash at the end.
        ids: base asset -> CoinGecko's id of the coin.
        top: so many of the largest coins are known by their symbol too, where `ids` does not say otherwise.
        file: what was known last.
        every_ms: how old that may become.
        api_key: goes into a header; None for the public service.
        timeout_s: for one request.
        pause_s: between two: without a key some ten a minute are answered, with one thirty (exchange-protocol 12).
    """

    url: str
    ids: Mapping[str, str]
    top: int
    file: Path
    every_ms: int
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 15.0
    pause_s: float = 6.0


class _Row(msgspec.Struct):
    """One row of `/coins/markets`: `{"id":"bitcoin","symbol":"btc","market_cap":1317802988326,…}`; null is unknown."""

    id: str
    symbol: str = ""
    market_cap: float | None = None


class _Stored(msgspec.Struct):
    """The file: who was asked for, and what came."""

    fetched_ms: int
    ids: list[str]
    top: int
    by_id: dict[str, float]
    by_symbol: dict[str, float]


_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_row = msgspec.json.Decoder(_Row, strict=False).decode
_stored = msgspec.json.Decoder(_Stored).decode


class MarketCaps:
    """The market capitalisations that are known.

    Args:
        settings: see `CapSettings`.
        now_ms: the wall clock.

    Attributes:
        values: USD by base asset.
        trouble: why the file could not be read or written the last time, None when it could.
    """

    def __init__(self, settings: CapSettings, now_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._known: _Stored | None = None
        self.values: dict[str, float] = {}
        self.trouble: str | None = None
        self._load()

    @property
    def due_in_s(self) -> float:
        """Seconds until they should be asked for again; 0 when now."""
        known, settings = self._known, self._settings
        if known is None or not set(settings.ids.values()) <= set(known.ids) or known.top < settings.top:
            return 0.0
        age_ms = self._now_ms() - known.fetched_ms
        # A file from the future comes from a clock that was wrong.
        return max(0.0, (settings.every_ms - age_ms) / 1000) if age_ms >= 0 else 0.0

    async def refresh(self) -> None:
        """Asks for all of them.

        Raises:
            EdgeError: no usable answer; what was known before is still known.
        """
        settings = self._settings
        ids = sorted(set(settings.ids.values()))
        timeout = aiohttp.ClientTimeout(total=settings.timeout_s)
        headers = {"User-Agent": "tapewatch", "Accept": "application/json"}
        if settings.api_key is not None:
            headers["x-cg-pro-api-key" if _PRO in settings.url else "x-cg-demo-api-key"] = settings.api_key
        by_id: dict[str, float] = {}
        by_symbol: dict[str, float] = {}
        async with aiohttp.ClientSession(
            connector=Connector(), timeout=timeout, headers=headers, proxy=proxy_for(settings.url)
        ) as session:
            for number, query in enumerate(_queries(ids, settings.top)):
                await asyncio.sleep(settings.pause_s if number else 0)
                for row in await self._page(session, query):
                    if row.market_cap is None or not row.market_cap > 0:
                        continue
                    by_id[row.id] = row.market_cap
                    if "ids" not in query:
                        symbol = row.symbol.upper()
                        by_symbol[symbol] = max(row.market_cap, by_symbol.get(symbol, 0.0))
        if not by_id:
            raise EdgeError("CoinGecko knows the market cap of none of the coins asked for")
        self._take(_Stored(self._now_ms(), ids, settings.top, by_id, by_symbol))
        self._save()

    async def _page(self, session: aiohttp.ClientSession, query: Mapping[str, str]) -> list[_Row]:
        url = f"{self._settings.url}/coins/markets"
        try:
            async with session.get(url, params={"vs_currency": "usd", **query}, allow_redirects=False) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EdgeError(f"{url}: {told(error)}") from None
        if answer.status != 200:
            asked = answer.headers.get("Retry-After", "")
            wait_s = min(float(asked), LONGEST_S) if asked.isdigit() else RETRY_AFTER_S
            told_s = wait_s if answer.status == 429 else None
            raise EdgeError(f"{url} answered HTTP {answer.status}", retry_after_s=told_s)
        try:
            return list(_readable(body))
        except ValueError as error:
            raise EdgeError(f"{url} answered what cannot be read: {error}") from None

    def _take(self, known: _Stored) -> None:
        self._known = known
        mapped = self._settings.ids
        self.values = {base: cap for base, cap in known.by_symbol.items() if base not in mapped}
        self.values.update((base, known.by_id[name]) for base, name in mapped.items() if name in known.by_id)

    def _load(self) -> None:
        try:
            self._take(_stored(self._settings.file.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self.trouble = f"{self._settings.file} cannot be read: {error}"

    def _save(self) -> None:
        assert self._known is not None
        path = self._settings.file
        try:
            write_whole(path, msgspec.json.encode(self._known), 0o600)
        except OSError as error:
            self.trouble = f"{path} cannot be written: {error.strerror}"
        else:
            self.trouble = None


def _readable(body: bytes) -> Iterator[_Row]:
    """The rows of an answer; a coin whose row makes no sense is one of which nothing is known."""
    for raw in _rows(body):
        with suppress(ValueError):
            yield _row(raw)


def _queries(ids: list[str], top: int) -> Iterator[dict[str, str]]:
    """What must be asked: the coins by id, then the largest ones, a page at a time."""
    for first in range(0, len(ids), PAGE):
        yield {"ids": ",".join(ids[first : first + PAGE]), "per_page": str(PAGE), "page": "1"}
    for page in range(-(-top // PAGE)):
        yield {"order": "market_cap_desc", "per_page": str(PAGE), "page": str(page + 1)}
