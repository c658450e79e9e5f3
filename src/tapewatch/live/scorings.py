"""The scoring models of a configuration, read from their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tapewatch.config import Config
from tapewatch.engine.scorers import Scoring
from tapewatch.errors import SetupError

#: Far more than the largest model is.
MAX_BYTES = 50_000_000
#: What of `alerts.context` a run needs to know a feature, by its name or what that begins with.
_SOURCES = {
    "regime.": "regime",
    "higher.": "regime",
    "context.spread_bps": "spread",
    "context.imbalance": "depth",
    "context.slippage_bps": "slippage",
    "context.hourly_volume_quote": "volume",
    "context.funding": "funding",
    "context.btc_correlation": "correlation",
}


def read_plain(path: Path, named: str) -> Any:
    """What is in a model's file, as `document_of` takes it, for one that need not serve; messages begin with `named`.

    Raises:
        SetupError: it cannot be read, or is no JSON.
    """
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_BYTES))
    except OSError as error:
        raise SetupError(f"{named}: cannot be read: {error.strerror or error}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SetupError(f"{named}: no scoring model: {error}") from None


def read_scoring(path: Path, at_least: float | None = None, where: str = "") -> Scoring:
    """The model in a file; see `Scoring.read`. `where` is the option or key that names it.

    Raises:
        SetupError: it cannot be read, or does not serve.
    """
    named = f"{where}: {path}" if where else str(path)
    return Scoring.read(read_plain(path, named), at_least, named)


def scorings_of(config: Config) -> Iterator[Scoring]:
    """Those that the gate of a configuration asks.

    Raises:
        SetupError: one cannot be read, does not serve, or reads what this run does not know of its signals.
    """
    around = config.alerts.context
    for place, score in enumerate(config.gate.score):
        scoring = read_scoring(score.model, score.at_least, f"gate.score[{place}].model")
        for feature in sorted(scoring.reads):
            key = next((key for start, key in _SOURCES.items() if feature.startswith(start)), None)
            if key is not None and not getattr(around, key):
                raise SetupError(f"{scoring.where}: it reads {feature}, which needs alerts.context.{key}")
        yield scoring
