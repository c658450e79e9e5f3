"""What a feed can be told: hosts, deadlines and limits, with the defaults that suit Binance itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: The market-data-only hosts: no key, same market streams (exchange-protocol 1.1).
REST_URL = "https://data-api.binance.vision"
REST_KEY = "exchange.rest_url"
WS_URL = "wss://data-stream.binance.vision"


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """Settings of the Binance feed; durations are wall-clock seconds unless they end in `_ms` (exchange clock)."""

    rest_url: str = REST_URL
    ws_url: str = WS_URL
    #: Which key of the configuration names it.
    rest_key: str = REST_KEY
    #: A host with Binance's USD-M interface, None where there is none: what perpetuals pay comes from there.
    futures_url: str | None = None
    #: Further REST hosts, tried in this order while those before refuse, ban, fail or cannot be reached.
    rest_hosts: tuple[str, ...] = ()
    #: Where the end of a ban is kept, so that a restart obeys it.
    state_file: Path | None = None
    #: Certificates to trust beside the system's, as a PEM file.
    ca_file: str | None = None
    #: How long after its close a candle of REST is not trusted, and a missing one not asked for.
    settle_ms: int = 3_000
    #: The least wall time a missing bar is waited for, whatever the exchange's clock does.
    settle_wall_s: float = 0.5
    #: No frame for this long: the connection is replaced. Every symbol closes a bar a minute.
    silence_s: float = 75.0
    #: Connections are replaced before the exchange cuts them at 24 hours.
    max_age_s: float = 23 * 3600.0
    #: Streams carried by one connection at most; the exchange allows 1,024.
    streams_per_connection: int = 400
    #: Connection attempts in any five minutes; the exchange allows 300 to an address, and others there need some too.
    attempts_per_5m: int = 150
    #: No connection has worked for this long: bars have to come by other ways.
    down_after_s: float = 10.0
    #: And for this long beyond that, or from the start: bars come by polling.
    emergency_after_s: float = 20.0
    #: Bars that came over REST are looked at again so long after their close; the exchange's answer may change.
    recheck_ms: tuple[int, ...] = (10_000, 60_000)
    #: Waiting times between attempts to reach a host, REST's or the stream's; the last one repeats.
    backoff_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    #: The same for a REST request that a failure answers: mostly it is one server's, and the next one works.
    rest_backoff_s: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    #: Failures in a row after which a REST host is left alone, and for how long; the last one repeats.
    breaker_after: int = 5
    breaker_s: tuple[float, ...] = (4.0, 8.0, 16.0, 30.0, 60.0)
    #: Failed attempts in a row after which `connection_lost` is reported.
    alert_after: int = 5
    #: When a bar that REST did not have either is asked for again; the last one repeats.
    recheck_s: tuple[float, ...] = (2.0, 5.0, 10.0, 20.0, 60.0)
    #: How often the clock is looked at; only bars that did not come wait for it.
    tick_s: float = 0.1
    connect_timeout_s: float = 10.0
    request_timeout_s: float = 15.0
    #: REST requests under way at once.
    concurrency: int = 8
    #: The share of the exchange's weight limit that is used at most; others on this address need some too.
    weight_share: float = 0.5
