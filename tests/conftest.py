"""Fixtures for every test: the command, and where the real market data is, when it is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from psycopg import sql

from command_line import Command
from postgres_server import Server, programs
from tapewatch import strategies
from tapewatch.indicators import REGISTRY
from tapewatch.store import Ledger

#: How long an example takes says more about the machine's load than about the code. Examples are new ones in CI, too.
settings.register_profile("tapewatch", settings.get_profile("default"), deadline=None, print_blob=True)
settings.load_profile("tapewatch")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: when the last tests run, no process is left alone with a long one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    """The command, run in this process."""
    return Command(monkeypatch, capfdbinary)


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real market data; the test is skipped by name where there is none."""
    folder = os.environ.get("TAPEWATCH_DATA")
    if not folder:
        pytest.skip("real market data: TAPEWATCH_DATA is not set")
    return Path(folder)


@pytest.fixture
def own_indicators() -> Iterator[None]:
    """The test may load files with indicators of their own: what they added is forgotten, for those that follow."""
    before = dict(REGISTRY)
    strategies._PYTHON_FILES.clear()
    yield
    REGISTRY.clear()
    REGISTRY.update(before)
    strategies._PYTHON_FILES.clear()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server with a database `ledger` that has the tables; skipped by name where none is installed."""
    if programs() is None:
        assert not os.environ.get("CI"), "PostgreSQL is not installed"
        pytest.skip("PostgreSQL is not installed: its programs are looked for in PATH and /usr/lib/postgresql")
    with Server.running() as server:
        server.execute(sql.SQL("CREATE DATABASE ledger"))
        Ledger.open(server.url("ledger")).close()
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a new ledger is to be, in either kind of database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/tape.db"
        return
    with request.getfixturevalue("postgres").database("ledger") as url:
        yield url
