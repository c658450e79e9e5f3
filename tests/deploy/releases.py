"""Releases of these sources under other numbers, and the script that installs them."""

from __future__ import annotations

import re
from pathlib import Path

from packages import ROOT, built, copied

from tapewatch.store.schema import REVISION

SCRIPT = ROOT / "deploy" / "deploy.sh"
CONFIG = "/etc/tapewatch/tapewatch.yaml"
STATE = "/var/lib/tapewatch"
BACKUPS = "/var/backups/tapewatch"
TAPEWATCH = "/opt/tapewatch/current/bin/tapewatch"
AS_USER = f"cd / && runuser -u tapewatch -- {TAPEWATCH}"

#: The tables of a later version, which this one does not know.
LATER = "0999"
_MIGRATION = f'''"""Something that only a later version has."""

from alembic import op
from sqlalchemy import Column, Integer

revision = "{LATER}"
down_revision = "{REVISION}"


def upgrade() -> None:
    """Add it."""
    op.add_column("alerts", Column("later", Integer))
'''


def wheel(folder: Path, version: str, *, migrates: bool = False) -> Path:
    """A wheel of the sources as this version, which may bring the tables to a revision of its own."""
    source = copied(folder / f"source-{version}")
    package = source / "src" / "tapewatch"
    _change(source / "pyproject.toml", '(?m)^version = ".*"$', f'version = "{version}"')
    _change(package / "__init__.py", '__version__ = ".*"', f'__version__ = "{version}"')
    if migrates:
        _change(package / "store" / "schema.py", '(?m)^REVISION = ".*"$', f'REVISION = "{LATER}"')
        (package / "store" / "migrations" / "versions" / f"r{LATER}_later.py").write_text(_MIGRATION)
    return built("wheel", source, folder / "dist")


def _change(path: Path, pattern: str, text: str) -> None:
    before = path.read_text()
    after = re.sub(pattern, text, before)
    assert after != before, path
    path.write_text(after)


def script(place: Path, command: str, version: str = "") -> str:
    """The script's command, of a version."""
    wheels = f" --wheel {place}/dist/tapewatch-{version}-py3-none-any.whl --python {place}/python" if version else ""
    return f"{SCRIPT} {command}{wheels}"
