"""The engine: events in, effects out."""

from tapewatch.engine.engine import Engine
from tapewatch.engine.settings import MarketSettings
from tapewatch.engine.windows import programs_of, start_of, windows_of

__all__ = ["Engine", "MarketSettings", "programs_of", "start_of", "windows_of"]
