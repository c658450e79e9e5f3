"""What perpetuals pay next: asked for once for all of them, at most once a minute, and only while somebody wants it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from tapewatch.errors import DataError, TapewatchError
from tapewatch.feeds import ExchangeClock, FundingRate
from tapewatch.feeds.network import backoff
from tapewatch.telemetry import get_logger

_log = get_logger("live")

#: Rates older than this are asked for anew, by the exchange's clock; a fast one's no more often than the second.
REFRESH_S, LEAST_S = 60.0, 1.0
#: And older ones than this are not told any more, by the wall clock.
STALE_S = 600.0
#: When rates that could not be had are asked for again; the last one repeats.
WAITS_S = (5.0, 15.0, 60.0)


class RateKeeper:
    """Keeps the rates of all perpetuals.

    Args:
        ask: for all rates; see `Feed.rates`.
        clock: the exchange's.
        wall: monotonic seconds.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[Mapping[str, FundingRate]]],
        clock: ExchangeClock,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._wall = wall
        self._rates: Mapping[str, FundingRate] = {}
        self._stale_s = -math.inf
        self._resting = False
        self._wanted, self._answered = asyncio.Event(), asyncio.Event()

    async def of(self, symbols: Iterable[str]) -> dict[str, FundingRate | None]:
        """Rates whose payment is still to come: None where that is not known now; symbols without one are left out.

        Waits for an answer only where nothing is known that is not too old.
        """
        self._wanted.set()
        if self._wall() >= self._stale_s and not self._resting:
            await self._answered.wait()
        if self._wall() >= self._stale_s:
            return dict.fromkeys(symbols)
        now_ms = self._clock.now_ms()
        found = {symbol: self._rates[symbol] for symbol in symbols if symbol in self._rates}
        return {symbol: rate if rate.next_ms > now_ms else None for symbol, rate in found.items()}

    async def run(self) -> None:
        """Ask whenever somebody wants to know, until cancelled or until nobody can be asked."""
        failures = 0
        while True:
            await self._wanted.wait()
            try:
                self._rates = await self._ask()
            except DataError as error:
                self._stale_s = math.inf  # that there are none will stay so
                self._answered.set()
                _log.info("no_funding_rates", reason=str(error))
                return
            except TapewatchError as error:
                failures += 1
                rest_s = backoff(failures, WAITS_S)
                if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th … in a row
                    _log.warning("funding_rates_failed", error=str(error), retry_s=round(rest_s))
            else:
                failures, rest_s = 0, max(LEAST_S, REFRESH_S / self._clock.rate)
                self._stale_s = self._wall() + STALE_S
            self._wanted.clear()
            self._resting = True
            self._answered.set()
            await asyncio.sleep(rest_s)
            self._resting = False
            self._answered.clear()
