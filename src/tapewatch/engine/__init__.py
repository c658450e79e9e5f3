"""The engine: events in, effects out."""

from tapewatch.engine.engine import Engine
from tapewatch.engine.windows import programs_of, start_of, windows_of

__all__ = ["Engine", "programs_of", "start_of", "windows_of"]
