"""`tapewatch universe`: who would be watched now, who not, and why."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.setup import ConfigOption, configuration
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.universe import Decision, Review

#: Who fails these was never meant: other quote assets, delisted symbols, names that no pattern matches.
_OF_COURSE = frozenset({"status", "quote", "include"})


def universe(
    config: ConfigOption = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="Also symbols that are not traded, or that nothing was said about.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON line per symbol.")] = False,
) -> None:
    """Say who would be watched now, who would not and why, the most liquid first; asks the exchange.

    Example: tapewatch universe -c tapewatch.yaml --all
    """
    from tapewatch.live.look import look
    from tapewatch.live.universe import nobody, rules_of

    loaded = configuration(config)
    review = asyncio.run(look(loaded, lambda: time.time_ns() // 1_000_000, _warn))
    named = rules_of(loaded.universe).named
    shown = [one for one in review.decisions if everybody or one.rule not in _OF_COURSE or one.symbol in named]
    if json:
        for one in shown:
            options.print_json(_line(one))
    else:
        sys.stdout.write("".join(f"{line}\n" for line in (*_table(shown), _summary(review))))
    sys.stdout.flush()
    if not review.watched:
        raise SetupError(nobody(review, named))


def _line(one: Decision) -> dict[str, Any]:
    return {
        "symbol": one.symbol,
        "watched": one.watched,
        "rule": one.rule,
        "reason": one.reason,
        "eligible": one.eligible,
        "quote_volume_24h": one.quote_volume_24h,
        "quote_volume_1h": one.quote_volume_24h / 24,
        "base": one.base,
        "quote": one.quote,
        "status": one.status,
    }


def _table(shown: list[Decision]) -> Iterator[str]:
    width = max((len(one.symbol) for one in shown), default=0)
    for one in shown:
        volume = "not known" if one.quote_volume_24h != one.quote_volume_24h else f"{one.quote_volume_24h:,.0f}"
        state = "watched" if one.watched else "left out"
        why = f"{one.rule}: {one.reason}" if one.rule is not None else "" if one.eligible else "too little for alerts"
        yield f"{one.symbol:<{width}}  {volume:>18}  {state:<8}  {why}".rstrip()


def _summary(review: Review) -> str:
    eligible = sum(one.watched and one.eligible for one in review.decisions)
    counts = Counter(one.rule for one in review.decisions if one.rule is not None)
    left_out = ", ".join(f"{count:,} by {rule}" for rule, count in counts.most_common())
    told = f"; {counts.total():,} left out: {left_out}" if counts else ""
    return f"{len(review.watched):,} watched, {eligible:,} of them liquid enough for alerts{told}"


def _warn(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")
