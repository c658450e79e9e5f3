"""Instruments from a file: the exchange's own `exchangeInfo` answer, as it came."""

from __future__ import annotations

from decimal import InvalidOperation
from pathlib import Path

import msgspec

from tapewatch.errors import SetupError
from tapewatch.paper.instruments import Instrument, instrument_of


def read(path: Path) -> dict[str, Instrument]:
    """Symbol -> instrument.

    Raises:
        SetupError: the file cannot be read or is no exchangeInfo.
    """
    try:
        symbols = msgspec.json.decode(path.read_bytes())["symbols"]
        return {one["symbol"]: instrument_of(one["filters"]) for one in symbols}
    except OSError as error:
        raise SetupError(f"--instruments: {path}: {error.strerror}") from None
    except (msgspec.MsgspecError, KeyError, TypeError, InvalidOperation) as error:
        raise SetupError(f"--instruments: {path} is no exchangeInfo ({type(error).__name__}: {error})") from None
