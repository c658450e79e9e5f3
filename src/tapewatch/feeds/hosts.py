"""The exchange's REST hosts: which one may be asked now.

The first one is preferred. Another one is asked while it refuses this region, has banned this address, fails or cannot
be reached. Request weights are counted per address and not per host, so a 429 of one holds for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tapewatch.feeds.bans import Bans
from tapewatch.feeds.breaker import Breaker, BreakerState
from tapewatch.network import check_url, proxy_for


@dataclass(eq=False)
class Host:
    """One of them.

    Attributes:
        url: without a trailing slash.
        proxy: through which it is reached.
        breaker: what its failures say.
        blocked_until_s: monotonic time before which it asked not to be asked.
        refused: what it said when it refused this region, or None.
        answered: whether it ever answered as the exchange does.
    """

    url: str
    proxy: str | None
    breaker: Breaker
    blocked_until_s: float = 0.0
    refused: str | None = None
    answered: bool = False


class Hosts:
    """Chooses among them.

    Args:
        urls: in order of preference.
        breaker_after, breaker_s: when a host's failures close it off, and for how long.
        wall: monotonic seconds.
        bans: what an earlier run was told.
    """

    def __init__(
        self,
        urls: Sequence[tuple[str, str]],
        breaker_after: int,
        breaker_s: Sequence[float],
        wall: Callable[[], float],
        bans: Bans,
    ) -> None:
        self._wall = wall
        self._bans = bans
        now_s = wall()
        checked = dict.fromkeys(check_url(url, ("http", "https"), key) for url, key in urls)
        self.all = [
            Host(url, proxy_for(url), Breaker(breaker_after, breaker_s, wall), now_s + bans.remaining_s(url))
            for url in checked
        ]

    @property
    def state(self) -> BreakerState:
        """The best breaker among the hosts that do not refuse: closed where one can be asked."""
        states = {host.breaker.state for host in self.all if host.refused is None}
        return "closed" if "closed" in states else "half-open" if "half-open" in states else "open"

    def banned_s(self) -> float:
        """Seconds until some host allows requests again; 0 when one does."""
        now_s = self._wall()
        waits = [host.blocked_until_s - now_s for host in self.all if host.refused is None]
        return max(0.0, min(waits, default=0.0))

    def wait_s(self) -> float:
        """Seconds until a request may go somewhere; infinite when that depends on one that is under way."""
        return min(map(self._wait_of, self.all), default=math.inf)

    def take(self) -> Host:
        """The host for a request that goes now; `wait_s` was 0."""
        host = next(host for host in self.all if self._wait_of(host) == 0.0)
        host.breaker.enter()
        return host

    def block(self, host: Host, seconds: float) -> None:
        """This host asked to be left alone."""
        self._block([host], seconds)

    def block_all(self, seconds: float) -> None:
        """A limit was reached that counts for all hosts."""
        self._block(self.all, seconds)

    def refuse(self, host: Host, text: str) -> bool:
        """This host does not serve this region: it is left out. False when there is no other."""
        others = [other for other in self.all if other is not host and other.refused is None]
        if others:
            host.refused = text
        return bool(others)

    def _block(self, hosts: Sequence[Host], seconds: float) -> None:
        until_s = self._wall() + seconds
        for host in hosts:
            host.blocked_until_s = max(host.blocked_until_s, until_s)
        self._bans.keep({host.url: seconds for host in hosts})

    def _wait_of(self, host: Host) -> float:
        if host.refused is not None:
            return math.inf
        return max(0.0, host.blocked_until_s - self._wall(), host.breaker.wait_s())
