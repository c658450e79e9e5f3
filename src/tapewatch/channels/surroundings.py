"""What a market was like when a signal was found, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import tzinfo

from tapewatch.channels.labels import compact, moment, percent, quote_asset, short
from tapewatch.channels.lines import Line
from tapewatch.model import Mover, Outlook, Signal, Surroundings

#: Spreads in bps up to which a market is called so; wider ones are low.
SPREADS_BPS = ((5.0, "high"), (20.0, "medium"))
#: Movers beyond these are counted, not named; those an alert stands for are all named.
MOST_MOVERS = 8


def context_lines(signal: Signal, zone: tzinfo) -> list[Line]:
    """A line for each thing known; what was asked for and did not come is said last."""
    context = signal.context
    if context is None:
        return []
    quote = short(quote_asset(signal.symbol))
    return [
        *_market(context.outlooks),
        *_movers("Stands for", [mover for mover in context.movers if mover.listed], None),
        *_movers("Moves with", [mover for mover in context.movers if not mover.listed], MOST_MOVERS),
        *_liquidity(context, signal, quote),
        *_funding(context, zone),
        *_known("With BTC", context.btc_correlation, lambda value: f"correlation {value:.2f}"),
        *([Line("Missing", ", ".join(map(short, context.missing)))] if context.missing else []),
    ]


def liquidity_word(spread_bps: float) -> str:
    """`high`, `medium` or `low`; see `SPREADS_BPS`."""
    return next((word for most, word in SPREADS_BPS if spread_bps <= most), "low")


def market_words(outlooks: Sequence[Outlook]) -> str:
    """Regime and trend with the timeframes that agree: `trending up on 15m and 1h`; empty where nothing is known."""
    directions = _agreeing(outlooks, _direction)
    ranges = _agreeing(outlooks, _volatility)
    return "; ".join(filter(None, (directions, ranges)))


def _agreeing(outlooks: Sequence[Outlook], say: Callable[[Outlook], str]) -> str:
    said: dict[str, list[str]] = {}
    for outlook in outlooks:
        if words := say(outlook):
            said.setdefault(words, []).append(short(outlook.timeframe, 20))
    return "; ".join(f"{words} on {listed(timeframes)}" for words, timeframes in said.items())


def _direction(outlook: Outlook) -> str:
    way = outlook.trend if outlook.trend in {"up", "down"} else ""
    if outlook.regimes.get("trending"):
        return f"trending {way}".rstrip()
    if outlook.regimes.get("ranging"):
        return f"ranging, leaning {way}" if way else "ranging"
    if outlook.trend is None:
        return ""
    return f"leaning {way}" if way else "no trend"


def _volatility(outlook: Outlook) -> str:
    if outlook.regimes.get("high_volatility"):
        return "high volatility"
    return "low volatility" if outlook.regimes.get("low_volatility") else ""


def _market(outlooks: Sequence[Outlook]) -> list[Line]:
    words = market_words(outlooks)
    return [Line("Market", words)] if words else []


def _movers(label: str, movers: Sequence[Mover], most: int | None) -> list[Line]:
    named = [f"{short(mover.symbol, 40)} {percent(mover.move_pct)} ({_correlation(mover)})" for mover in movers[:most]]
    more = len(movers) - len(named)
    if more:
        named.append(f"{more} more")
    return [Line(label, ", ".join(named))] if named else []


def _correlation(mover: Mover) -> str:
    return f"correlation {mover.correlation:.2f}" if math.isfinite(mover.correlation) else "correlation unknown"


def _liquidity(context: Surroundings, signal: Signal, quote: str) -> Iterator[Line]:
    yield from _known("Spread", context.spread_bps, lambda bps: f"{bps:.3g} bps, {liquidity_word(bps)} liquidity")
    book = []
    if context.imbalance is not None and math.isfinite(context.imbalance):
        book.append(f"{(1 + context.imbalance) / 2:.0%} bids, {(1 - context.imbalance) / 2:.0%} asks")
    if context.slippage_bps is not None and context.slippage_quote is not None:
        verb = "buying" if signal.side == "long" else "selling"
        amount = f"{context.slippage_quote:,.0f} {quote}".rstrip()
        book.append(f"{verb} {amount} slips {context.slippage_bps:.3g} bps")
    if book:
        yield Line("Order book", "; ".join(book))
    yield from _known("Hourly volume", context.hourly_volume_quote, lambda value: f"{compact(value)} {quote}".rstrip())


def _funding(context: Surroundings, zone: tzinfo) -> list[Line]:
    rate = context.funding_rate
    if rate is None or not math.isfinite(rate):
        return []
    payer = " (longs pay)" if rate > 0 else " (shorts pay)" if rate < 0 else ""
    at = f", next {moment(context.next_funding_ms, zone)}" if context.next_funding_ms else ""
    return [Line("Funding", f"{rate * 100:+.4f}%{payer}{at}")]


def _known(label: str, value: float | None, say: Callable[[float], str]) -> list[Line]:
    return [] if value is None or not math.isfinite(value) else [Line(label, say(value))]


def listed(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
