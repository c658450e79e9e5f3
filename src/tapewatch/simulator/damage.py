"""What faults do to what is sent: frames cut, wrapped or with more in them, bars that come out differently."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tapewatch.simulator.tape import Kline


def revised(bar: Kline) -> Kline:
    """The bar as a later count has it: another close within its range, and a quarter more volume."""
    close = next((price for price in (bar.high, bar.low, bar.open) if price != bar.close), bar.close)
    volume = round(bar.volume * 1.25, 8)
    if volume == bar.volume:
        volume = bar.volume + 1.0
    return msgspec.structs.replace(
        bar,
        close=close,
        volume=volume,
        quote_volume=round(volume * (bar.quote_volume / bar.volume if bar.volume else close), 8),
        taker_buy=round(bar.taker_buy * 1.25, 8),
        trades=bar.trades + 1,
        first_id=max(bar.first_id, 1),
    )


def in_array(body: str) -> str:
    """The event as the only one of an array."""
    return f"[{body}]"


def with_more(body: str) -> str:
    """The event with members that nobody has heard of, one in each object that is easily reached."""
    more = '"zz":{"st":0,"ps":["?"],"nq":null},'
    return body.replace("{", "{" + more, 1).replace('"k":{', '"k":{' + more, 1)


def truncated(body: str) -> str:
    """The first half."""
    return body[: len(body) // 2]


def _no_number(body: str) -> str:
    return body.replace('"c":"', '"c":"x', 1)


def _no_close(body: str) -> str:
    return body.replace('"c":', '"was":', 1)


def _upside_down(body: str) -> str:
    return (
        body.replace('"h":', '"_":', 1)
        .replace('"l":', '"h":', 1)
        .replace('"_":', '"l":', 1)
        .replace('"l":"', '"l":"9', 1)
    )


def _no_object(_body: str) -> str:
    return "[]"


#: The ways in which a frame is malformed.
DAMAGES: tuple[Callable[[str], str], ...] = (truncated, _no_number, _no_close, _upside_down, _no_object)
