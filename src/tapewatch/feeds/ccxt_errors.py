"""What an exception of the CCXT library means for who asked."""

from __future__ import annotations

import re
from typing import Any

from tapewatch.errors import DataError, EdgeError, SetupError
from tapewatch.network import told

#: How long an exchange is left alone that does not say for how long: over its limit, or firewalled.
LIMITED_S, BANNED_S = 60.0, 120.0
#: What it says is repeated up to here; some exchanges answer with whole pages of HTML.
SAID = 300
_REGION = re.compile(r"\b451\b|restricted location", re.IGNORECASE)


def meaning(error: Exception, exchange: Any) -> EdgeError | DataError | SetupError:
    """The error to raise in place of what the library raised.

    Args:
        error: what it raised; anything that is not its own it met in an answer that it could not read.
        exchange: whose last answer may say how long to wait.
    """
    import ccxt

    said = str(error) or type(error).__name__
    if isinstance(error, ccxt.NetworkError) and error.__cause__ is not None:
        said += f": {told(error.__cause__)}"  # the library names the request, and not what went wrong with it
    text = " ".join(said.split())[:SAID]
    if _REGION.search(text) or isinstance(error, ccxt.RestrictedLocation):
        return SetupError(f"exchange.ccxt: the exchange refuses this region: {text}")
    if isinstance(error, ccxt.RateLimitExceeded | ccxt.DDoSProtection):
        banned = isinstance(error, ccxt.DDoSProtection) and not re.search(r"\b429\b", text)
        return EdgeError(text, retry_after_s=_retry_after_s(exchange, BANNED_S if banned else LIMITED_S))
    if isinstance(error, ccxt.BadSymbol | ccxt.BadRequest | ccxt.ArgumentsRequired):
        return DataError(text)
    if isinstance(error, ccxt.AuthenticationError):
        return DataError(f"the exchange wants an account for this, and none is ever used: {text}")
    if isinstance(error, ccxt.NotSupported):
        return DataError(f"ccxt cannot do this at the exchange: {text}")
    if isinstance(error, ccxt.BaseError | OSError):  # NetworkError and its kinds, and what the library cannot name
        return EdgeError(text)
    return EdgeError(f"an answer that cannot be read ({type(error).__name__}: {text})")


def _retry_after_s(exchange: Any, otherwise_s: float) -> float:
    headers = exchange.last_response_headers or {}
    said = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return float(said) if str(said).isdigit() else otherwise_s
