"""Checking the parameters of REST requests, and the exchange's errors about them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_INTEGER = re.compile(r"[0-9]{1,20}")
_SYMBOL = re.compile(r"(?:(?![a-z])[\w.-]){1,50}")  # not ASCII only: symbols may be in any script
_ZONE = re.compile(r"([+-]?)(\d{1,2})(?::(\d{2}))?")
#: Times above are microseconds.
_MICROSECONDS_FROM = 10**14


class ApiError(Exception):
    """The answer to a bad request: the exchange's code and words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Parameters:
    """The query of one request.

    Args:
        pairs: name and value as sent, in order.
        known: the parameters of the endpoint.

    Raises:
        ApiError: a parameter is unknown, sent twice or empty.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], known: Sequence[str]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise ApiError(-1101, "Duplicate values for a parameter detected.")
        unknown = [name for name in names if name not in known]
        if unknown:
            read = len(names) - len(unknown)
            text = f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(names)}'."
            raise ApiError(-1104, text)
        self._values = dict(pairs)
        for name, value in pairs:
            if not value:
                raise ApiError(-1105, f"Parameter '{name}' was empty.")

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def mandatory(self, name: str) -> str:
        """A value that must be sent."""
        if name not in self._values:
            raise ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        return self._values[name]

    def symbol(self, symbols: Mapping[str, Any]) -> str:
        """The one symbol that must be named."""
        return _known(self.mandatory("symbol"), symbols)

    def selection(self, symbols: Mapping[str, Any]) -> list[str] | None:
        """The symbols named by `symbol` or `symbols`, None when neither is sent."""
        if "symbol" in self and "symbols" in self:
            raise ApiError(-1128, "Combination of optional parameters invalid. Recommendation: 'symbol' or 'symbols'")
        if "symbol" in self:
            return [self.symbol(symbols)]
        if "symbols" not in self:
            return None
        try:
            named = json.loads(self._values["symbols"])
        except ValueError as error:
            raise ApiError(-1135, "JSON sent for parameter 'symbols' is not valid.") from error
        if not isinstance(named, list) or not named or not all(isinstance(name, str) for name in named):
            raise ApiError(-1130, "Data sent for parameter 'symbols' is not valid.")
        if len(set(named)) < len(named):
            raise ApiError(-1151, "Symbol is present multiple times in the list.")
        return [_known(name, symbols) for name in named]

    def integer(self, name: str) -> int | None:
        """A whole number, None when it is not sent."""
        if name not in self._values:
            return None
        if not _INTEGER.fullmatch(self._values[name]):
            raise ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
        return int(self._values[name])

    def limit(self, default: int, most: int) -> int:
        """How many rows; more than the most is cut down without a word."""
        limit = self.integer("limit")
        if limit == 0:
            raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(most, limit or default)

    def time_ms(self, name: str, *, up: bool = False) -> int | None:
        """A time sent in ms or µs, None when it is not sent; µs are rounded up or down."""
        value = self.integer(name)
        if value is None or value < _MICROSECONDS_FROM:
            return value
        return -(-value // 1000) if up else value // 1000

    def zone_ms(self) -> int:
        """`timeZone` as milliseconds east of UTC, 0 when it is not sent."""
        match = _ZONE.fullmatch(self._values.get("timeZone", "0"))
        offset = (int(match[2]) * 60 + int(match[3] or 0)) * (-1 if match[1] == "-" else 1) if match else 10**6
        if not -12 * 60 <= offset <= 14 * 60:
            raise ApiError(-1130, "Data sent for parameter 'timeZone' is not valid.")
        return offset * 60_000

    def choice(self, name: str, choices: Sequence[str], error: ApiError) -> str | None:
        """One of some words, None when it is not sent."""
        value = self._values.get(name)
        if value is not None and value not in choices:
            raise error
        return value


def _known(symbol: str, symbols: Mapping[str, Any]) -> str:
    if not _SYMBOL.fullmatch(symbol):
        legal = r"^[\w\-._&&[^a-z]]{1,50}$"
        raise ApiError(-1100, f"Illegal characters found in parameter 'symbol'; legal range is '{legal}'.")
    if symbol not in symbols:
        raise ApiError(-1121, "Invalid symbol.")
    return symbol
