"""Fixtures for every test: where the real market data is, when it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real market data; the test is skipped by name where there is none."""
    folder = os.environ.get("TAPEWATCH_DATA")
    if not folder:
        pytest.skip("real market data: TAPEWATCH_DATA is not set")
    return Path(folder)
