"""What several commands take, and how they print."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tapewatch.errors import SetupError
from tapewatch.model import INTERVALS_MS

#: The first and the last moment that can be written as a date; a number beyond is in microseconds, say.
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def words(values: Iterable[str] | None) -> list[str]:
    """Entries of a repeatable option that also takes commas: `--symbols A,B --symbols C`."""
    return [word.strip() for value in values or () for word in value.split(",") if word.strip()]


def moment_ms(text: str | None, option: str) -> int | None:
    """ISO time (UTC where it names no zone) or milliseconds, as ms. Raises SetupError."""
    if text is None:
        return None
    if re.fullmatch(r"-?[0-9]{9,18}", text):
        if not FIRST_MS <= int(text) <= LAST_MS:
            raise SetupError(f"{option}: {text} is no date when read as milliseconds")
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SetupError(f"{option}: {text!r} is neither an ISO time as 2025-05-20T14:07 nor milliseconds") from None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)


def period_ms(from_: str | None, to: str | None) -> tuple[int | None, int | None]:
    """`--from` and `--to` as ms. Raises SetupError, also when nothing is between them."""
    from_ms, to_ms = moment_ms(from_, "--from"), moment_ms(to, "--to")
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise SetupError(f"--from: {from_} is not before --to {to}")
    return from_ms, to_ms


def parameters(settings: Iterable[str] | None, option: str = "--set") -> list[tuple[str, float]]:
    """`k=v` entries of `--set` or another option. Raises SetupError."""
    pairs = []
    for setting in settings or ():
        key, separator, value = setting.partition("=")
        try:
            pairs.append((key.strip(), float(value)))
        except ValueError:
            separator = ""
        if not separator:
            raise SetupError(f"{option}: {setting!r} is not parameter=number")
    return pairs


def history_starts(values: Iterable[str] | None) -> dict[int, int]:
    """`--history-start MS` under key 0, `--history-start 1h=MS` under the interval. Raises SetupError."""
    starts = {}
    for value in values or ():
        interval, separator, moment = value.rpartition("=")
        if separator and interval not in INTERVALS_MS:
            raise SetupError(f"--history-start: {interval!r} is no interval; known are {', '.join(INTERVALS_MS)}")
        start_ms = moment_ms(moment, "--history-start")
        assert start_ms is not None
        starts[INTERVALS_MS[interval] if separator else 0] = start_ms
    return starts


def venue_of(root: Path, venue: str | None) -> str:
    """The venue asked for, else the archive's only one. Raises SetupError."""
    if venue is not None:
        return venue
    from tapewatch.archive.reader import inventory

    venues = sorted({stored.venue for stored in inventory(root)})
    if len(venues) != 1:
        raise SetupError(f"--venue: {root} holds {', '.join(venues) or 'no candles'}; say which")
    return venues[0]


def symbols_of(root: Path, venue: str, symbols: Iterable[str] | None) -> list[str]:
    """The symbols asked for, else all that the archive has of the venue. Raises SetupError when it has none."""
    asked = words(symbols)
    if asked:
        return list(dict.fromkeys(asked))
    from tapewatch.archive.reader import inventory, missing

    held = sorted({stored.symbol for stored in inventory(root) if stored.venue == venue})
    if not held:
        raise missing(root, venue, "", "")
    return held


@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[], None]]:
    """A function that shows one more as done; nothing is shown of one, nor when stderr is not a terminal."""
    if not sys.stderr.isatty() or total < 2:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:  # what fails or is stopped takes it away too
        task = bar.add_task(what, total=total)

        def done() -> None:
            bar.advance(task)
            if bar.finished:
                bar.stop()

        yield done


def print_json(value: Any) -> None:
    """One JSON line on stdout; NaN is null."""
    import msgspec

    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")


def counted(number: int, noun: str, ending: str = "s") -> str:
    """`1 symbol`, `2,000 symbols`."""
    return f"{number:,} {noun}{ending * (number != 1)}"


def iso(ms: int) -> str:
    """`2025-05-20 14:07` UTC, with seconds where it is not on a minute."""
    form = "%Y-%m-%d %H:%M:%S" if ms // 1000 % 60 else "%Y-%m-%d %H:%M"
    return datetime.fromtimestamp(ms / 1000, UTC).strftime(form)
