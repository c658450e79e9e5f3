"""What a download says about itself."""

from __future__ import annotations

import msgspec


class Done(msgspec.Struct):
    """One series, or the funding rates of one symbol, as it is after a download; a line of `download --json`.

    Attributes:
        interval: of candles, or `funding`.
        from_ms, to_ms: what was wanted, as far as it is over.
        rows: candles stored in that time now.
        added: of them, by this download.
        changed: stored candles that got other values.
        refused: candles that made no sense.
        files: files of the exchange's archive that were fetched and verified.
        requests: REST requests for candles or rates.
        absent: candles that the exchange has confirmed not to have.
        missing: candles that could not be had.
        notes: what went another way than usual, in words.
        error: why something is missing; None when nothing is that could be had.
    """

    venue: str
    symbol: str
    interval: str
    from_ms: int
    to_ms: int
    rows: int = 0
    added: int = 0
    changed: int = 0
    refused: int = 0
    files: int = 0
    requests: int = 0
    absent: int = 0
    missing: int = 0
    notes: list[str] = []
    error: str | None = None


class Listener:
    """Takes a download's reports; does nothing with them. Calls are synchronous and must be quick."""

    def expected(self, steps: int) -> None:
        """So many more steps (files, spans of REST) are to be done."""

    def advanced(self, steps: int = 1) -> None:
        """So many are done."""

    def finished(self, done: Done) -> None:
        """A series is done."""

    def note(self, text: str) -> None:
        """Something the user should read now."""
