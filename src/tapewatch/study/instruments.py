"""Instruments from a file: the exchange's own `exchangeInfo` answer, as it came."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from tapewatch.errors import SetupError
from tapewatch.paper.instruments import Instrument

#: Filter -> key -> what it is of an `Instrument`. Futures say the notional in another key.
_FILTERS = {
    "PRICE_FILTER": {"tickSize": "tick"},
    "LOT_SIZE": {"stepSize": "step"},
    "NOTIONAL": {"minNotional": "least_notional"},
    "MIN_NOTIONAL": {"minNotional": "least_notional", "notional": "least_notional"},
}


def read(path: Path) -> dict[str, Instrument]:
    """Symbol -> instrument.

    Raises:
        SetupError: the file cannot be read or is no exchangeInfo.
    """
    try:
        symbols = msgspec.json.decode(path.read_bytes())["symbols"]
        return {one["symbol"]: _instrument(one["filters"]) for one in symbols}
    except OSError as error:
        raise SetupError(f"--instruments: {path}: {error.strerror}") from None
    except (msgspec.MsgspecError, KeyError, TypeError, InvalidOperation) as error:
        raise SetupError(f"--instruments: {path} is no exchangeInfo ({type(error).__name__}: {error})") from None


def _instrument(filters: list[Mapping[str, Any]]) -> Instrument:
    found: dict[str, Decimal] = {}
    for one in filters:
        for key, name in _FILTERS.get(one["filterType"], {}).items():
            if key in one and Decimal(one[key]) > 0:  # zero switches a filter off
                found[name] = Decimal(one[key])
    return Instrument(**found)
