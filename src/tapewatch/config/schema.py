"""The sections and keys of a configuration, their defaults and ranges.

Attributes carry the names of the keys; durations are int milliseconds once loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, PrivateAttr, SecretStr, model_validator

from tapewatch.config.alerts import Alerts
from tapewatch.config.channels import CHANNEL_TYPES, Channel
from tapewatch.config.documents import KeyPath, Tree
from tapewatch.config.gate import Gate
from tapewatch.config.keep import Keep
from tapewatch.config.paper import Paper
from tapewatch.config.section import Section
from tapewatch.config.values import (
    UNITS_MS,
    AccessToken,
    Amount,
    DurationMs,
    HttpUrl,
    LedgerUrl,
    Name,
    Pause,
    Percent,
    Port,
    SecretUrl,
    Whole,
    WsUrl,
)

#: Hosts that carry market data only and need no key (exchange-protocol.md 1.1).
BINANCE_REST_URL = "https://data-api.binance.vision"
BINANCE_WS_URL = "wss://data-stream.binance.vision"
BINANCE_FUTURES_URL = "https://fapi.binance.com"
COINGECKO_URL = "https://api.coingecko.com/api/v3"

#: The venue of the exchange that needs no library.
BINANCE_VENUE = "binance_spot"

Level = Literal["debug", "info", "warning", "error", "critical"]
#: The parts of the program whose verbosity can be set apart, and the libraries that log on their own.
Component = Literal[
    "archive", "channels", "cli", "config", "engine", "feeds", "live", "relay", "simulator", "store", "strategy",
    "study", "tapewatch", "telemetry", "web", "aiohttp", "alembic", "asyncio", "picows", "sqlalchemy", "uvicorn",
]  # fmt: skip


class Ccxt(Section):
    """An exchange that the CCXT library reaches; `ccxt: kraken` is short for `ccxt: {id: kraken}`.

    `streams`: whether its streams are used where it has them. `options` and `urls`: as the library has them.
    """

    id: Name
    streams: bool = True
    options: dict[str, Any] = {}
    urls: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, data: Any) -> Any:
        return {"id": data} if isinstance(data, str) else data


class Exchange(Section):
    """Which exchange, and where; without addresses its hosts for market data.

    `rest_hosts`: further hosts for REST, tried while those before refuse, ban, fail or cannot be reached.
    `futures_url`: a host that has Binance's USD-M interface (`/fapi/v1`), for funding rates; see `futures_host`.
    """

    venue: Name = BINANCE_VENUE
    rest_url: HttpUrl = BINANCE_REST_URL
    rest_hosts: list[HttpUrl] = []
    ws_url: WsUrl = BINANCE_WS_URL
    futures_url: HttpUrl | None = None
    ca_file: Path | None = None
    ccxt: Ccxt | None = None

    @model_validator(mode="before")
    @classmethod
    def _venue_of_ccxt(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "venue" in data or "ccxt" not in data:
            return data
        name = data["ccxt"].get("id") if isinstance(data["ccxt"], dict) else data["ccxt"]
        return {**data, "venue": name} if isinstance(name, str) else data

    @property
    def futures_host(self) -> str | None:
        """Where USD-M futures are asked: as configured, else of Binance where its own candles are; None is nowhere."""
        own = self.ccxt is None and self.rest_url == BINANCE_REST_URL
        return self.futures_url or (BINANCE_FUTURES_URL if own else None)


class MarketCap(Section):
    """The filter by market capitalisation, off without `min_usd`; who is worth what is asked of CoinGecko.

    `ids`: base asset -> CoinGecko's id of it, since symbols there are not unique. `top`: so many of the largest coins
    are known by their symbol too. `pass_unknown`: whether symbols are watched of which no market cap is known.
    """

    secrets: ClassVar[tuple[str, ...]] = ("api_key",)

    min_usd: Annotated[Amount, Field(gt=0)] | None = None
    ids: dict[Name, Name] = {}
    top: Annotated[Whole, Field(ge=0, le=5_000)] = 0
    pass_unknown: bool = False
    url: HttpUrl = COINGECKO_URL
    api_key: SecretStr | None = None
    refresh: Annotated[DurationMs, Field(ge=600_000)] = 21_600_000
    file: Path | None = None


class Universe(Section):
    """Who is watched: names, or patterns under which rules decide; see `tapewatch.universe.Rules`."""

    include: Annotated[list[Name], Field(min_length=1)] = ["*"]
    exclude: list[Name] = []
    quotes: Annotated[list[Name], Field(min_length=1)] = ["USDT"]
    leveraged: bool = False
    stable: bool = False
    min_volume_24h: Annotated[Amount, Field(ge=0)] = 0.0
    min_volume_1h: Annotated[Amount, Field(ge=0)] = 1_000.0
    market_cap: MarketCap = MarketCap()
    hysteresis: Annotated[Percent, Field(le=0.9)] = 0.2
    min_stay: Pause = 3_600_000
    max_symbols: Annotated[Whole, Field(ge=1, le=10_000)] = 1_000
    refresh: Annotated[DurationMs, Field(ge=60_000)] = 3_600_000


class Feeds(Section):
    """Waiting times of the market data connections.

    `settle`: how long after its boundary a bar may be missing before it is fetched. `silence`: a connection that
    delivers no data for this long is replaced. `weight_share`: the part of the exchange's request limit that is used.
    `streams_per_connection`: what one connection carries at most. `connection_attempts`: how many are made in five
    minutes at most, of the 300 that the exchange allows to an address.
    `concurrency`: REST requests at once. `breaker_after`: failures in a row after which a REST host is left alone for a
    while. `emergency_after`: streams that cannot be had for this long are replaced by polling. `recheck`: bars that
    came over REST are looked at again so long after their close.
    """

    settle: DurationMs = 3_000
    silence: DurationMs = 75_000
    connect_timeout: DurationMs = 10_000
    request_timeout: DurationMs = 15_000
    weight_share: Annotated[Percent, Field(gt=0, le=1)] = 0.5
    streams_per_connection: Annotated[int, Field(ge=1, le=1_024)] = 400
    connection_attempts: Annotated[int, Field(ge=1, le=300)] = 150
    concurrency: Annotated[Whole, Field(ge=1, le=64)] = 8
    breaker_after: Annotated[Whole, Field(ge=1, le=1_000)] = 5
    emergency_after: DurationMs = 20_000
    recheck: list[DurationMs] = [10_000, 60_000]


class Ledger(Section):
    """Where signals, alerts and their delivery are stored, and the `folder` of what is kept beside the database.

    A SQLite file has its own folder, unless one is given; with PostgreSQL one must be. `snapshots`: how often the
    market of each symbol is stored, 0 for not at all.
    """

    secrets: ClassVar[tuple[str, ...]] = ("password",)

    url: LedgerUrl = "sqlite:///tapewatch.db"
    password: SecretStr | None = None
    folder: Path | None = None
    snapshots: Pause = 900_000
    keep: Keep = Keep()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.file is None and self.folder is None:
            raise ValueError("with PostgreSQL a folder is needed: that of journal, archive and what else is in files")
        if self.file is not None and self.password is not None:
            raise ValueError("a SQLite file has no password; take it out")
        if self.snapshots and (self.snapshots % UNITS_MS["m"] or UNITS_MS["d"] % self.snapshots):
            raise ValueError("snapshots: whole minutes that divide a day, as 15m, or 0 for none")
        return self

    @property
    def file(self) -> Path | None:
        """The SQLite file, None for a database of a server."""
        name = self.url.partition("?")[0]
        return Path(name.removeprefix("sqlite:///")) if name.startswith("sqlite:///") else None

    @property
    def address(self) -> str:
        """The URL with its password, in clear, to connect with."""
        if self.password is None:
            return self.url
        parts = urlsplit(self.url)
        user, _, host = parts.netloc.rpartition("@")
        secret = quote(self.password.get_secret_value(), safe="")
        return urlunsplit(parts._replace(netloc=f"{user}:{secret}@{host}"))

    def beside(self, suffix: str) -> Path:
        """A path beside the database: its name and the suffix."""
        name = Path(urlsplit(self.url).path).name if self.file is None else self.file.name
        folder = self.folder or (Path() if self.file is None else self.file.parent)
        return folder / f"{name}{suffix}"


class Journal(Section):
    """Every event the engine gets is written to `folder` (beside the ledger where none is given) before it counts.

    A file is closed at `segment_bytes` or after `segment_age`; closed ones go when all are larger than `max_bytes`, the
    oldest first. The engine's state is saved every `snapshot_every`.
    """

    folder: Path | None = None
    max_bytes: Annotated[Whole, Field(ge=1_000_000)] = 3_000_000_000
    segment_bytes: Annotated[Whole, Field(ge=10_000)] = 64_000_000
    segment_age: Annotated[DurationMs, Field(ge=60_000)] = 86_400_000
    snapshot_every: Annotated[DurationMs, Field(ge=1_000)] = 3_600_000


class Archive(Section):
    """With `record`, candles go from closed journal files into Parquet files in `folder`, up to `max_bytes`."""

    record: bool = True
    folder: Path | None = None
    max_bytes: Annotated[Whole, Field(ge=1_000_000)] = 6_000_000_000


class Web(Section):
    """The health paths are always served (port 0: any free one), with `enabled` API and pages too; see `web.guard`."""

    secrets: ClassVar[tuple[str, ...]] = ("token",)

    enabled: bool = True
    host: Name = "127.0.0.1"
    port: Port = 8080
    token: AccessToken = None


class Logging(Section):
    """Logs go to stderr and, with `file`, to a file rotated daily and at `max_bytes`, of which `keep` are kept."""

    level: Level = "info"
    format: Literal["console", "json"] = "console"
    file: Path | None = None
    levels: dict[Component, Level] = {}
    keep: Annotated[Whole, Field(ge=1, le=1_000)] = 7
    max_bytes: Annotated[Whole, Field(ge=10_000)] = 50_000_000


class Heartbeat(Section):
    """A URL that is asked `every` so often while the run does its work; whoever is there misses it when it is not."""

    secrets: ClassVar[tuple[str, ...]] = ("url",)

    url: SecretUrl
    every: Annotated[DurationMs, Field(ge=1_000)] = 60_000


class Telemetry(Section):
    """How often a line about the state of health goes to the log, and a sign of life to somebody else."""

    health_every: DurationMs = 300_000
    heartbeat: Heartbeat | None = None


#: Sections outside `channels` that hold secrets, by where they are.
SECRET_SECTIONS: dict[KeyPath, type[Section]] = {
    ("ledger",): Ledger,
    ("universe", "market_cap"): MarketCap,
    ("telemetry", "heartbeat"): Heartbeat,
    ("web",): Web,
}


class Origin:
    """Where a loaded configuration came from; it is no part of its values."""

    def __init__(self, tree: Tree, sources: Sequence[Path], warnings: Sequence[str]) -> None:
        self.tree, self.sources, self.warnings = tree, tuple(sources), tuple(warnings)


class Config(Section):
    """A whole configuration. `strategies` are mappings as written, for `tapewatch.strategy` to compile."""

    exchange: Exchange = Exchange()
    universe: Universe
    feeds: Feeds = Feeds()
    strategies: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
    gate: Gate = Gate()
    paper: Paper | None = None
    alerts: Alerts = Alerts()
    channels: dict[Name, Channel] = {}
    ledger: Ledger
    journal: Journal = Journal()
    archive: Archive = Archive()
    web: Web = Web()
    logging: Logging = Logging()
    telemetry: Telemetry = Telemetry()
    _origin: Origin = PrivateAttr(default_factory=lambda: Origin(Tree(), (), ()))

    @classmethod
    def of(cls, values: Mapping[str, Any], origin: Origin) -> Self:
        """A validated configuration that knows where its values came from."""
        config = cls.model_validate(values)
        config._origin = origin  # noqa: SLF001  (its own class)
        return config

    @property
    def tree(self) -> Tree:
        """What was written, variables and secrets put in their places, and where each value was."""
        return self._origin.tree

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files that were read, `.env` files too, in the order they were laid over each other."""
        return self._origin.sources

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed but should be seen, each with its place."""
        return self._origin.warnings

    @property
    def journal_folder(self) -> Path:
        """Where the journal is."""
        # Not with a hyphen: `-journal` is SQLite's own name for a file beside its database.
        return self.journal.folder or self.ledger.beside(".journal")

    @property
    def archive_folder(self) -> Path:
        """Where the candles of the run are kept."""
        return self.archive.folder or self.ledger.beside(".archive")

    def where(self, key: str) -> str:
        """`file:line` (or the environment variable) of a dotted key, or of the nearest part above it."""
        tree = self._origin.tree
        return str(tree.place(tree.path_of(key)))

    def secret_values(self) -> tuple[str, ...]:
        """Every secret in clear, for the one use of masking them in what is logged."""
        sections = [*self.channels.values(), self.ledger, self.universe.market_cap, self.telemetry.heartbeat, self.web]
        found = (getattr(section, name) for section in sections if section is not None for name in section.secrets)
        headers = (value for channel in self.channels.values() for value in getattr(channel, "headers", {}).values())
        return tuple(secret.get_secret_value() for secret in (*found, *headers) if secret is not None)


def section_at(path: KeyPath, data: Tree) -> type[Section] | None:
    """The model of the mapping at a key path, None where there is none (inside a strategy, say)."""
    model: type[Section] | None = Config
    for depth, part in enumerate(path):
        if model is None or isinstance(part, int):
            continue
        if path[:depth] == ("channels",):
            model = CHANNEL_TYPES.get(str(data.get(*path[: depth + 1], "type")))
        elif part == "channels" and depth == 0:
            continue
        else:
            field = model.model_fields.get(part)
            model = None if field is None else _section_in(field.annotation)
    return model


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)
