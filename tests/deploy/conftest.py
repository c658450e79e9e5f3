"""A machine to try things on, and what is installed there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chroots import Machine, machine, missing
from packages import stand_in
from releases import wheel


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of three versions, and a Python, that the user of the service can reach; the first has other tables."""
    folder = tmp_path_factory.mktemp("deploy")
    stand_in(folder)
    wheel(folder, "1.0.0")
    for version in ("1.1.0", "1.2.0"):
        wheel(folder, version, migrates=True)
    return folder


@pytest.fixture
def box(place: Path, tmp_path: Path) -> Iterator[Machine]:
    """A machine; skipped by name where there can be none."""
    if (why := missing()) is not None:
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    with machine(tmp_path) as one:
        for folder in (place, *place.parents):  # the service's user reads what its environment links to
            one.must(f"chmod go+x {folder}")
        yield one
