"""The instruments of the synthetic market: names people know, with prices and sizes of the right order.

The last of them is in another script, as symbols may be.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

#: Symbol without USDT: price, price decimals, quantity decimals, quote volume a minute, annual volatility in percent.
_KNOWN = """
BTC 64000 2 5 1200000 45
ETH 3100 2 4 700000 60
SOL 150 2 3 400000 80
BNB 590 2 3 120000 50
XRP 0.52 4 0 150000 70
DOGE 0.14 5 0 140000 95
ADA 0.45 4 1 50000 75
AVAX 35 2 2 45000 85
LINK 14.5 2 2 35000 80
DOT 7.1 3 2 25000 75
TRX 0.12 5 1 30000 45
LTC 84 2 3 35000 65
BCH 460 1 3 25000 75
NEAR 6.7 3 1 30000 100
UNI 7.5 3 2 15000 85
ATOM 8.6 3 2 15000 75
ETC 27 2 2 15000 75
FIL 5.9 3 2 15000 85
APT 9 3 2 18000 90
ARB 1.05 4 1 25000 95
OP 2.6 3 2 20000 100
INJ 24 2 2 16000 105
SUI 1.05 4 1 28000 110
SEI 0.52 4 1 15000 110
PEPE 0.00000845 8 0 160000 130
SHIB 0.0000245 8 0 70000 95
FET 2.2 3 1 30000 110
RUNE 5.6 3 1 18000 105
AAVE 88 2 3 14000 85
MKR 2800 0 4 8000 75
ALGO 0.19 4 0 9000 80
XLM 0.11 4 0 9000 65
VET 0.036 5 1 8000 80
HBAR 0.1 5 0 12000 85
ICP 12.5 3 2 14000 90
GRT 0.29 4 0 8000 95
IMX 2.2 3 2 8000 95
LDO 2 3 2 10000 100
STX 2.2 3 1 10000 100
TIA 9.5 3 2 18000 105
EOS 0.82 4 1 9000 70
SAND 0.45 4 0 6000 85
MANA 0.44 4 0 5000 85
AXS 7.6 2 2 5000 85
CHZ 0.12 4 0 6000 85
GALA 0.045 5 0 12000 100
ENS 15 2 2 6000 95
CRV 0.44 3 1 8000 95
SNX 2.8 3 1 4000 90
COMP 58 2 3 4000 80
币安人生 0.18 5 1 9000 140
"""
_MINUTES_A_YEAR = 525_600


@dataclass(frozen=True)
class Listing:
    """One instrument: price in units of 10**-price_places, volatility as the deviation of one minute's log return.

    `activity` is the probability that a minute has a trade at all.
    """

    symbol: str
    price: float
    price_places: int
    quantity_places: int
    quote_per_minute: float
    volatility: float
    beta: float
    activity: float


def _parsed() -> dict[str, Listing]:
    found = {}
    for order, line in enumerate(_KNOWN.split("\n")[1:-1]):
        name, *numbers = line.split()
        price, price_places, quantity_places, quote_per_minute, annual = map(float, numbers)
        symbol = f"{name}USDT"
        volatility = annual / 100 / _MINUTES_A_YEAR**0.5
        activity = 0.35 if order % 10 == 9 else 1.0  # a market has its quiet corners
        beta = 1.0 if order == 0 else 0.6 + zlib.crc32(symbol.encode()) % 70 / 100
        found[symbol] = Listing(
            symbol, price, int(price_places), int(quantity_places), quote_per_minute, volatility, beta, activity
        )
    return found


KNOWN = _parsed()


def listing(symbol: str) -> Listing:
    """The instrument of that name; one that nobody knows gets properties that follow from its name."""
    if symbol in KNOWN:
        return KNOWN[symbol]
    digest = zlib.crc32(symbol.encode())
    magnitude = digest % 6 - 2  # prices from 0.01 to 9,999
    price = round((1 + digest // 7 % 900 / 100) * 10.0**magnitude, 4)
    price_places = max(0, 3 - magnitude)
    volatility = (60 + digest // 11 % 80) / 100 / _MINUTES_A_YEAR**0.5
    activity = 0.35 if digest % 5 == 0 else 1.0
    quote_per_minute = 1000.0 + digest // 13 % 30_000
    return Listing(symbol, price, price_places, max(0, magnitude + 2), quote_per_minute, volatility, 0.8, activity)


def names(count: int) -> tuple[str, ...]:
    """The first `count` symbols of the synthetic market."""
    known = list(KNOWN)[:count]
    return (*known, *(f"SYN{number:03d}USDT" for number in range(1, count - len(known) + 1)))
