"""Which bars are random entries: drawn by a hash of what names them, so that live and research draw the same ones.

A bar is drawn when a 64-bit hash of its close, XORed with a salt of its symbol, strategy, timeframe and side, is at
most (2**64 - 1) // one_in. The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, 2014), the salt the first 8
bytes of BLAKE2b, big-endian: after the salt all is arithmetic of unsigned 64-bit integers, the same in columns. What is
drawn with a larger `one_in` is drawn with every smaller one.
"""

from __future__ import annotations

import hashlib

from tapewatch.model import Side

#: A run draws one bar in so many of each symbol, strategy, timeframe and side: 300 symbols on 1m have 2,160 random
#: entries of a side in a day, and a step seldom has one.
LIVE_ONE_IN = 200
#: Research often has few symbols: 45 days of one on 1m have 3,240 of a side.
RESEARCH_ONE_IN = 20

MASK = (1 << 64) - 1
#: The steps of the finaliser: shift right and XOR, then multiply; `LAST_SHIFT` ends it.
STEPS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST_SHIFT = 31


def salt_of(symbol: str, strategy: str, timeframe: str, side: Side) -> int:
    """64 bits of what draws apart; the parts are joined by a character that none of them has."""
    parts = "\0".join((symbol, strategy, timeframe, side)).encode()
    return int.from_bytes(hashlib.blake2b(parts, digest_size=8).digest(), "big")


def mixed(close_ms: int) -> int:
    """64 bits of a close, the same for every salt."""
    for shift, factor in STEPS:
        close_ms = ((close_ms ^ (close_ms >> shift)) * factor) & MASK
    return close_ms ^ (close_ms >> LAST_SHIFT)


def threshold_of(one_in: int) -> int:
    """The largest `mixed(close_ms) ^ salt` that is drawn."""
    return MASK // one_in


def drawn(symbol: str, strategy: str, timeframe: str, side: Side, close_ms: int, one_in: int) -> bool:
    """Whether the bar that closes then is one of the one in so many."""
    return mixed(close_ms) ^ salt_of(symbol, strategy, timeframe, side) <= threshold_of(one_in)
