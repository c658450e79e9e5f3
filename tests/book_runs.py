"""A paper book on its own: signals and bars in, and what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

import msgspec

from core_samples import strategy
from engine_runs import candidates
from paper_samples import COIN, NAMES, START_MS, Minute, Wish
from tapewatch.model import (
    MINUTE_MS,
    AccountState,
    Bar,
    BarClosed,
    Boundary,
    Effect,
    Fill,
    FundingPaid,
    Judged,
    Listing,
    Position,
    Signal,
    Target,
    Trailing,
    Universe,
    signal_id,
)
from tapewatch.paper.book import Book
from tapewatch.paper.settings import TradingSettings
from tapewatch.study.backtest import Account

LIMIT = 1_000


def a_signal() -> Signal:
    """Any signal."""
    bars = [
        Bar("AAAUSDT", MINUTE_MS, START_MS + n * MINUTE_MS, 100.0, 101.0, 99.0, 100.0 + n % 3, 5.0) for n in range(9)
    ]
    return candidates("v", strategy(), bars)[0]


SIGNAL = a_signal()


@dataclass(frozen=True)
class Passed:
    """A signal that passed, with the bars its time is limited to."""

    judged: Judged
    limit: int


def asked(wish: Wish, symbol: str, bars: Sequence[Minute], shares: Sequence[float]) -> Passed:
    """The signal of a wish."""
    close, side = bars[wish.at].close / 100, "long" if wish.side > 0 else "short"
    close_ms = START_MS + (wish.at + 1) * MINUTE_MS
    signal = msgspec.structs.replace(
        SIGNAL,
        id=signal_id("v", symbol, "1m", "probe", side, close_ms),
        symbol=symbol,
        side=side,
        open_ms=close_ms - MINUTE_MS,
        close_ms=close_ms,
        entry=close,
        stop=close - wish.side * (wish.stop / 100),
        targets=tuple(
            Target(close + wish.side * (way / 100), share * 100)
            for way, share in zip(wish.targets, shares, strict=True)
        ),
        break_even=wish.even / 100 if wish.even else None,
        trailing=Trailing(wish.after / 100, wish.by / 100) if wish.by else None,
    )
    return Passed(Judged(signal, "passed", late=False, recv_ms=close_ms + 5, alert_id="a"), wish.limit)


Told = BarClosed | Passed | Boundary | Universe


def bars_of(bars: Sequence[Minute], symbol: str) -> list[Bar]:
    """The bars of a symbol."""
    return [
        Bar(
            symbol,
            MINUTE_MS,
            START_MS + n * MINUTE_MS,
            *(getattr(one, key) / 100 for key in ("open", "high", "low", "close")),
            one.volume,
            one.quote_volume,
        )
        for n, one in enumerate(bars)
    ]


def events_of(
    markets: Sequence[Sequence[Minute]], wishes: Sequence[Sequence[Wish]], shares: Sequence[float]
) -> list[Told]:
    """Minute by minute: all bars, each with its signals, then the boundary."""
    listings = tuple(Listing(symbol, COIN.tick, COIN.step, COIN.least_notional) for symbol in NAMES[: len(markets)])
    events: list[Told] = [Universe(START_MS, listings=listings)]
    bars = [bars_of(of_symbol, symbol) for of_symbol, symbol in zip(markets, NAMES, strict=False)]
    for minute in range(max(map(len, markets))):
        for place, symbol in enumerate(NAMES[: len(markets)]):
            if minute < len(bars[place]):
                events.append(BarClosed(bars[place][minute], bars[place][minute].close_ms + 5))
                events += [asked(wish, symbol, markets[place], shares) for wish in wishes[place] if wish.at == minute]
        events.append(Boundary(START_MS + (minute + 1) * MINUTE_MS))
    return events


def book_of(how: Account) -> Book:
    """A book with such an account."""
    return Book(TradingSettings(**asdict(how)), 10_000)


@dataclass
class Played:
    """What a book said: all of it, and by trade."""

    said: list[list[Effect]] = field(default_factory=list)
    fills: dict[str, list[Fill]] = field(default_factory=dict)
    paid: list[FundingPaid] = field(default_factory=list)
    positions: dict[str, Position] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    account: AccountState | None = None

    def take(self, effects: list[Effect]) -> None:
        """Sort what was said to one event."""
        self.said.append(effects)
        for effect in effects:
            if isinstance(effect, Fill):
                self.fills.setdefault(effect.trade_id, []).append(effect)
            elif isinstance(effect, FundingPaid):
                self.paid.append(effect)
            elif isinstance(effect, Position):
                if effect.state == "skipped":
                    self.skipped[effect.reason or ""] += 1
                self.positions[effect.trade_id] = effect
            elif isinstance(effect, AccountState):
                self.account = effect

    @property
    def pending(self) -> int:
        """Entries that wait at the end."""
        return sum(one.state == "pending" for one in self.positions.values())


def tell(book: Book, event: Told, boundary_ms: int) -> list[Effect]:
    """What a book says to an event, as the engine tells it of one."""
    found: list[Effect] = []
    if isinstance(event, BarClosed):
        found += book.on_bar(event.bar, event.recv_ms)
    elif isinstance(event, Passed):
        symbol = event.judged.signal.symbol
        found += book.want(event.judged, (float(NAMES.index(symbol)), symbol), event.limit)
    elif isinstance(event, Universe):
        found += book.on_universe(event)
    return found + book.end(boundary_ms, boundary_ms)


def play_until(book: Book, events: Iterable[Told]) -> int:
    """Give it these; returns the last boundary."""
    boundary_ms = 0
    for event in events:
        boundary_ms = event.close_ms if isinstance(event, Boundary) else boundary_ms
        tell(book, event, boundary_ms)
    return boundary_ms


def play(book: Book, events: Iterable[Told], boundary_ms: int = 0) -> Played:
    """Everything a book says to these."""
    played = Played()
    for event in events:
        if isinstance(event, Boundary):
            boundary_ms = event.close_ms
        if isinstance(event, Passed):
            played.numbers[f"{event.judged.signal.id}/trade"] = len(played.numbers)
        played.take(tell(book, event, boundary_ms))
    return played
