"""Configuration: YAML or JSON files, `.env`, environment; validated as a whole before anything starts.

`load` returns a `Config` or raises `ConfigError` with every problem at once.
"""

from tapewatch.config.load import load
from tapewatch.config.schema import Config

__all__ = ["Config", "load"]
