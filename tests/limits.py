"""Limits of this process, lower for a while."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def limited(kind: int, soft: int) -> Iterator[None]:
    """A lower limit of this process; what it imports meanwhile leaves no bytecode.

    Before Python 3.14 a module's bytecode is cut off without an error where its file may not grow (or a disk is full),
    and whoever imports the module next, in whatever process, fails.
    """
    before, writing = resource.getrlimit(kind), not sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)
        sys.dont_write_bytecode = not writing
