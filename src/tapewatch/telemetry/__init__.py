"""Telemetry: logs, metrics and the state of health."""

from tapewatch.telemetry.log import LogSetup, get_logger

__all__ = ["LogSetup", "get_logger"]
