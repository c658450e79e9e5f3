"""How a feed connects: one socket, and the waiting between attempts."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Sequence

#: Added to a waiting time at random, so that clients that were cut together do not come back together.
JITTER = 0.25


def backoff(number: int, waits_s: Sequence[float]) -> float:
    """Seconds to wait after the `number`th failure in a row (from 1): never less than the schedule says."""
    return waits_s[min(number, len(waits_s)) - 1] * (1.0 + random.random() * JITTER)


async def dial(host: str, port: int, seconds: float) -> socket.socket:
    """A socket connected to the first of the host's addresses that answers, each given so many seconds.

    Raises:
        OSError, TimeoutError: none did; the last one's reason.
    """
    loop = asyncio.get_running_loop()
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        dialled = socket.socket(family, kind, protocol)
        dialled.setblocking(False)
        try:
            async with asyncio.timeout(seconds):
                await loop.sock_connect(dialled, address)
        except OSError as error:
            dialled.close()
            failure = error
        except BaseException:
            dialled.close()
            raise
        else:
            return dialled
    raise failure
