"""Whether an exchange can be reached through CCXT, and how its clock stands; asked once, nothing is retried."""

from __future__ import annotations

import asyncio
import time

from tapewatch.feeds.ccxt_errors import meaning
from tapewatch.feeds.ccxt_exchange import CcxtSettings, open_exchange
from tapewatch.feeds.settings import FeedSettings

ROUNDS = 3


async def probe(ccxt: CcxtSettings, settings: FeedSettings) -> list[tuple[float, float | None, bool]]:
    """Round trips in ms, how far the exchange's clock was ahead of this machine's, and whether it is simulated.

    An exchange that does not tell its time is asked once for its symbols, and its clock is None.

    Raises:
        TapewatchError: it cannot be reached or used.
    """
    exchange = open_exchange(ccxt, settings)
    exchange.enableRateLimit = False  # its waiting would be measured; there is a pause between the rounds
    told = bool(exchange.has.get("fetchTime"))
    rounds: list[tuple[float, float | None, bool]] = []
    try:
        for _ in range(ROUNDS if told else 1):
            sent_s, sent = time.time(), time.perf_counter()
            answer = await (exchange.fetch_time() if told else exchange.load_markets())
            latency_ms = (time.perf_counter() - sent) * 1000
            skew_ms = answer - (sent_s * 1000 + latency_ms / 2) if told else None
            rounds.append((latency_ms, skew_ms, "X-Tapewatch-Rate" in (exchange.last_response_headers or {})))
            await asyncio.sleep(exchange.rateLimit / 1000)
    except Exception as error:  # the library meets malformed answers with whatever Python raises
        raise meaning(error, exchange) from None
    finally:
        await exchange.close()
    return rounds
