"""What assets are to each other: leveraged tokens and pairs of equal worth, and what only looks like them."""

from __future__ import annotations

import pytest

from tapewatch.assets import is_leveraged, is_stable

#: As the exchange lists them: S and J are coins, and so are names that end like a leveraged token.
_NAMES = """
BTC ETH XRP EOS BNB 1INCH S J JUP SUP SYRUP UP 龙 龙UP RED REDBULL BTCUP BTCDOWN ETHDOWN ETHBULL BULL BEAR
FOOUP FOODOWN ZUP ZDOWN BACKUP PITBULL TEDDYBEAR
"""
LISTED = frozenset(_NAMES.split())


@pytest.mark.parametrize(
    "base", ["BTCUP", "BTCDOWN", "ETHUP", "ETHDOWN", "1INCHUP", "XRPBULL", "EOSBEAR", "ETHBULL", "BULL", "BEAR"]
)
def test_leveraged_tokens(base: str) -> None:
    """An asset of the exchange and a direction; BULL and BEAR alone are Bitcoin's."""
    assert is_leveraged(base, LISTED)


@pytest.mark.parametrize("base", ["FOOUP", "FOODOWN", "ZUP", "ZDOWN"])
def test_twins_are_leveraged_although_their_asset_is_not_listed(base: str) -> None:
    """Two that differ in the direction only are no coincidence, however short their name."""
    assert is_leveraged(base, LISTED)


@pytest.mark.parametrize(
    "base",
    [
        "JUP",
        "SUP",
        "SYRUP",
        "UP",
        "DOWN",
        "PUMP",
        "BACKUP",
        "PITBULL",
        "TEDDYBEAR",
        "BTC",
        "BULLA",
        "UPBTC",
        "龙UP",
        "",
    ],
)
def test_coins_that_are_called_like_leveraged_tokens(base: str) -> None:
    """What stands before the suffix is no asset, or one of a single letter."""
    assert not is_leveraged(base, LISTED)


@pytest.mark.parametrize(
    ("base", "quote"),
    [("USDC", "USDT"), ("FDUSD", "USDT"), ("TUSD", "USDC"), ("DAI", "USDT"), ("EUR", "USDT"), ("USDT", "TRY"),
     ("EURI", "EUR"), ("WBTC", "BTC"), ("WBETH", "ETH"), ("BTC", "WBTC"), ("USDT", "USDT")],
)  # fmt: skip
def test_stable_pairs(base: str, quote: str) -> None:
    """Both hold the value of a currency, or of the same coin."""
    assert is_stable(base, quote)


@pytest.mark.parametrize(
    ("base", "quote"),
    [("BTC", "USDT"), ("S", "USDT"), ("SUSHI", "USDT"), ("PAXG", "USDT"), ("USUAL", "USDT"), ("USTC", "USDT"),
     ("WBTC", "USDT"), ("WBTC", "ETH"), ("BTC", "EUR"), ("ETH", "BTC"), ("人民币", "USDT"), ("XAUT", "USDT")],
)  # fmt: skip
def test_pairs_that_only_look_stable(base: str, quote: str) -> None:
    """Coins whose names begin or end like those, and coins against currencies."""
    assert not is_stable(base, quote)
