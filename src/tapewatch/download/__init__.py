"""Fetching history into an archive: the exchange's files first, its REST interface for what they lack."""

from tapewatch.download.job import Job, Order, Summary
from tapewatch.download.report import Done, Listener

__all__ = ["Done", "Job", "Listener", "Order", "Summary"]
