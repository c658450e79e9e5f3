"""What an engine is made of, so that the same one can be made again: by a start, by a replay."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from tapewatch import __version__, strategies
from tapewatch.config import Config
from tapewatch.config.gate import Gate
from tapewatch.engine import Engine, MarketSettings
from tapewatch.engine.memory import Memory
from tapewatch.engine.scorers import Scoring
from tapewatch.engine.settings import CANDLES
from tapewatch.errors import SetupError
from tapewatch.gate import GateSettings
from tapewatch.live.roles import Role
from tapewatch.live.scorings import scorings_of
from tapewatch.model import MINUTE_MS, LastPassed
from tapewatch.outcomes import DEFAULT_COST_BPS, Followed, OutcomeSettings, followed_of, regime_of
from tapewatch.paper.settings import TradingSettings
from tapewatch.store import Ledger
from tapewatch.store.entries import Begin

#: Sums of doubles and powers may have other bits in another minor version.
PYTHON = ".".join(platform.python_version_tuple()[:2])

#: The types of channels that can show a chart.
PICTURED = frozenset({"discord", "email", "telegram"})


@dataclass(frozen=True)
class Makeup:
    """Strategies as whole mappings, and settings: of the gate, paper book, what is known around signals, outcomes.

    `scorings` are models that score signals.
    """

    venue: str
    mappings: Mapping[str, Mapping[str, Any]]
    gate: GateSettings
    base_ms: int = MINUTE_MS
    paper: TradingSettings | None = None
    market: MarketSettings | None = None
    outcomes: OutcomeSettings | None = None
    scorings: tuple[Scoring, ...] = ()

    @classmethod
    def of(cls, begin: Begin) -> Makeup:
        """What an earlier engine was made of. Raises SetupError where that means nothing to this version."""
        strategies.load_python_files(Path(path) for path in begin.python_files)
        known = {name: value for name, value in begin.gate.items() if name in GateSettings.__dataclass_fields__}
        try:
            paper = _trading_of(begin.paper)
            market = None if begin.market is None else msgspec.convert(begin.market, MarketSettings)
            outcomes = None if begin.outcomes is None else msgspec.convert(begin.outcomes, OutcomeSettings)
        except msgspec.ValidationError as error:
            raise SetupError(f"its settings mean nothing to this version: {error}") from None
        scorings = tuple(Scoring.read(**written) for written in begin.scorings)
        return cls(
            begin.venue, begin.strategies, GateSettings(**known), begin.base_ms, paper, market, outcomes, scorings
        )

    @cached_property
    def _template(self) -> Engine:
        chosen = strategies.from_mappings(self.mappings)
        return Engine(
            self.venue,
            chosen,
            self.gate,
            base_ms=self.base_ms,
            paper=self.paper,
            market=self.market,
            outcomes=self.outcomes,
            scorings=self.scorings,
        )

    @property
    def fingerprint(self) -> str:
        """Of its engines."""
        return self._template.fingerprint

    def engine(self, passed: Iterable[LastPassed] = (), memory: Memory | None = None) -> Engine:
        """A fresh engine. Raises SetupError, and DataError where the memory is none."""
        return self._template.renewed(passed, memory)

    def begin(self, engine: Engine, passed: Iterable[LastPassed], memory: Memory | None = None) -> Begin:
        """What a journal says of this engine, which is fresh."""
        return Begin(
            fingerprint=engine.fingerprint,
            version=__version__,
            python=PYTHON,
            venue=self.venue,
            base_ms=self.base_ms,
            strategies={name: _deciding(mapping) for name, mapping in self.mappings.items()},
            gate=asdict(self.gate),
            passed=tuple(passed),
            paper=None if self.paper is None else msgspec.to_builtins(self.paper),
            outcomes=None if self.outcomes is None else asdict(self.outcomes),
            memory=memory,
            market=None if self.market is None else asdict(self.market),
            scorings=tuple(scoring.written() for scoring in self.scorings),
            python_files=tuple(map(str, strategies.python_files())),
        )


def _deciding(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a strategy that an engine does something by."""
    return {key: value for key, value in mapping.items() if key != "search"}


def _trading_of(paper: Mapping[str, Any] | None) -> TradingSettings | None:
    """The account that a journal's beginning names. Raises ValidationError."""
    if paper is not None and "trading" in paper:  # before outcomes had settings of their own
        paper = paper["trading"]
    return None if paper is None else msgspec.convert(paper, TradingSettings)


def unlike(begin: Begin, engine: Engine) -> str | None:
    """Why what an engine that began so left behind is of no use to this one; None where it goes on from there."""
    if begin.version != __version__:
        return f"it was written by version {begin.version}"
    if begin.python != PYTHON:
        return f"it was written under Python {begin.python}"
    if begin.fingerprint != engine.fingerprint:
        return "strategies, the gate, its models, the paper account, costs or what alerts carry have been changed"
    return None


def paper_of(config: Config) -> TradingSettings | None:
    """What signals that pass are traded with on paper; None where nothing is."""
    return None if config.paper is None else config.paper.trading


def cost_bps_of(paper: TradingSettings | None) -> float:
    """What a round trip costs: fee and slippage of both ways in a paper account, where there is one."""
    return DEFAULT_COST_BPS if paper is None else 2 * (paper.taker_bps + paper.slippage_bps)


def gate_of(gate: Gate) -> GateSettings:
    """The gate's settings that a configuration asks for."""
    return GateSettings(
        gate.late_after, gate.expiry, gate.history.size, gate.history.expire, gate.liquidity, gate.max_spread
    )


def market_of(config: Config) -> MarketSettings:
    """What is known of the market around signals, as a configuration asks for it."""
    around, correlated = config.alerts.context, config.gate.correlated
    settings = MarketSettings(
        outlooks=around.regime,
        correlation=around.correlation,
        movers=around.movers,
        asks=around.asks,
        candles=CANDLES if any(spec.type in PICTURED for spec in config.channels.values()) else 0,
    )
    if correlated is None:
        return settings
    return replace(settings, correlated=correlated.min, correlated_window_ms=correlated.window)


def makeup_of(config: Config, mappings: Mapping[str, Mapping[str, Any]], role: Role) -> Makeup:
    """What the engine of a configuration is made of in this role, with its strategies as whole mappings.

    Raises:
        SetupError: a scoring model cannot be used.
    """
    paper = paper_of(config)
    venue, gate = config.exchange.venue, gate_of(config.gate)
    if role == "positions":
        return Makeup(venue, {}, gate, paper=paper)
    outcomes = OutcomeSettings(cost_bps_of(paper))
    own = None if role == "scanner" else paper
    scorings = tuple(scorings_of(config))
    return Makeup(venue, mappings, gate, paper=own, market=market_of(config), outcomes=outcomes, scorings=scorings)


def passed_of(ledger: Ledger, makeup: Makeup) -> list[LastPassed]:
    """What a ledger holds of what the gate must remember, for a fresh engine. Raises StoreError."""
    venue, market = makeup.venue, makeup.market
    budgets = (strategy.budget for strategy in strategies.from_mappings(makeup.mappings))
    windows_ms = [budget.window_ms for budget in budgets if budget is not None]
    if market is not None and market.correlated is not None:
        windows_ms.append(market.correlated_window_ms)
    decided_ms = [state.last_open_ms for state in ledger.series_states(venue) if state.last_open_ms]
    counted = ledger.passed_since(venue, max(decided_ms) - max(windows_ms)) if windows_ms and decided_ms else []
    return [*ledger.gate_passed(venue), *counted]


def memory_of(ledger: Ledger, makeup: Makeup) -> Memory:
    """What a ledger holds for a fresh engine, beside the gate's memory. Raises StoreError."""
    saved = ledger.paper.book(makeup.venue) if makeup.paper is not None else None
    if makeup.outcomes is None:
        return Memory(saved)
    return Memory(saved, tuple(_followed(ledger, makeup)), tuple(ledger.gate_stopped(makeup.venue, makeup.base_ms)))


def _followed(ledger: Ledger, makeup: Makeup) -> Iterator[Followed]:
    """Signals without an outcome whose time was not over when the ledger was written last."""
    limits = {one.name: one.time_limit for one in strategies.from_mappings(makeup.mappings)}
    decided_ms = [one.last_open_ms for one in ledger.series_states(makeup.venue) if one.last_open_ms is not None]
    if not decided_ms:
        return
    for signal, state in ledger.outcomes.unknown(makeup.venue, max(decided_ms), limits):
        one = followed_of(signal, limits[signal.strategy])
        if one is not None:
            one.state, one.regime = state, regime_of(signal)
            yield one
