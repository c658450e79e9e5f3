"""What an instrument's assets tell about it: leveraged tokens, and pairs whose two sides are worth the same."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

#: Suffix of a leveraged token -> that of its twin in the other direction.
_TWINS = {"UP": "DOWN", "DOWN": "UP", "BULL": "BEAR", "BEAR": "BULL"}
#: BULL and BEAR alone are Bitcoin's. What is leveraged is an asset of its own, and none has one letter: JUP and SUP are
#: coins although the exchange lists S, so a stem that short needs its twin too.
_STEM = 2

#: Coins that hold the value of a currency (the dollar, then others), and the currencies that are traded against them.
_CURRENCIES = """
USD USDT USDC BUSD TUSD FDUSD USDP PAX DAI GUSD SUSD LUSD FRAX PYUSD USDE USDD USDS USD1 RLUSD XUSD BFUSD USDB USDF
USDG USDJ USDN USDX USDSB UST CUSD DUSD MUSD OUSD HUSD ZUSD VAI MIM FEI GHO CRVUSD
EUR AEUR EURI EURC EURS EURT GBP GBPT BGBP AUD BRL TRY JPY BIDR IDRT BVND BKRW NGN RUB UAH ZAR PLN ARS MXN COP CZK IDR
CHF CAD
"""
_STABLE = frozenset(_CURRENCIES.split())
#: Quote assets of the exchanges, as suffixes of symbols that are written without a separator, the longest first.
_QUOTES = """
USDT USDC FDUSD TUSD BUSD USDP USD1 USDE USDS UST USD DAI BTC ETH BNB SOL XRP TRX DOGE DOT EUR EURI TRY
BRL GBP JPY AUD UAH RUB ARS ZAR PLN RON MXN COP CZK IDR IDRT BIDR BVND BKRW NGN VAI PAX GYEN
"""
_BY_LENGTH = sorted(_QUOTES.split(), key=len, reverse=True)
#: Coins that hold the value of another one.
_PEGGED = {
    "WBTC": "BTC", "BTCB": "BTC", "TBTC": "BTC", "CBBTC": "BTC", "WETH": "ETH", "BETH": "ETH", "WBETH": "ETH",
    "STETH": "ETH", "WSTETH": "ETH", "BNSOL": "SOL",
}  # fmt: skip


def is_leveraged(base: str, bases: AbstractSet[str]) -> bool:
    """Whether a base asset is a leveraged token, as BTCUP, ETHDOWN, XRPBULL or BEAR.

    A suffix alone proves nothing: what stands before it must be an asset itself.

    Args:
        base: the asset.
        bases: every base asset of the exchange, those that are not traded at the moment too.
    """
    if base in {"BULL", "BEAR"}:
        return True
    for suffix, other in _TWINS.items():
        stem = base.removesuffix(suffix)
        if stem != base and stem:
            return f"{stem}{other}" in bases or (len(stem) >= _STEM and stem in bases)
    return False


def is_stable(base: str, quote: str) -> bool:
    """Whether both assets of a pair are worth the same, or are currencies: its price says nothing about coins."""
    if base in _STABLE and quote in _STABLE:
        return True
    return _PEGGED.get(base, base) == _PEGGED.get(quote, quote)


def split(symbol: str) -> tuple[str, str]:
    """Base and quote asset: BTC and USDT of `BTCUSDT`, `BTC/USDT` and `BTC/USDT:USDT`; an unknown quote is empty."""
    if "/" in symbol:
        base, quote = symbol.split("/", 1)
        return base, quote.split(":", 1)[0]
    for quote in _BY_LENGTH:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol.removesuffix(quote), quote
    return symbol, ""
