"""Research: the same strategies over stored candles.

What notebooks and scripts use, with Polars frames; all else in this package may change with any version:

    from tapewatch import study

    frame = study.candles("candles", "BTCUSDT", "5m")
    study.indicators(frame, ["ema(close, 9)", "rsi(close, 14) < 30"])
    study.Research("scalp", "candles", symbols=["BTCUSDT"]).backtest().metrics["sharpe"]

Nothing is imported before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapewatch.study.compare import Comparison
    from tapewatch.study.folds import WalkForward
    from tapewatch.study.frames import candles, indicators
    from tapewatch.study.research import Research
    from tapewatch.study.results import Searched, Traded
    from tapewatch.study.search import Asked
    from tapewatch.study.settings import Account

__all__ = ["Account", "Asked", "Comparison", "Research", "Searched", "Traded", "WalkForward", "candles", "indicators"]

_PLACES = {
    "Account": "settings",
    "Asked": "search",
    "Comparison": "compare",
    "Research": "research",
    "Searched": "results",
    "Traded": "results",
    "WalkForward": "folds",
    "candles": "frames",
    "indicators": "frames",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
