"""The roles of a run: together in one process, or each in its own, which speak through the ledger only.

Of what only one process can have - a journal, a log file, a port - each role has its own. Candles are recorded, the
ledger is kept in order and the sign of life is given by the scanner.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from tapewatch.config import Config
from tapewatch.errors import SetupError
from tapewatch.store.lease import Right

Role = Literal["all", "scanner", "positions", "relay"]
#: In the order of their ports: the scanner has the one that is configured, positions the next one, and so on.
ROLES: tuple[Role, ...] = get_args(Role)

#: What each role writes in the ledger, and so must have the right to. Who delivers is found out by waiting.
RIGHTS: dict[Role, tuple[Right, ...]] = {
    "all": ("scanner", "positions"),
    "scanner": ("scanner",),
    "positions": ("positions",),
    "relay": (),
}
MAX_PORT = 65_535
_OWN_FILES: tuple[Role, ...] = ("positions", "relay")


def apart(config: Config, role: Role) -> Config:
    """The configuration as the process of this role has it.

    Raises:
        SetupError: it has nothing for this role to do.
    """
    if role == "positions" and config.paper is None:
        raise SetupError(
            "paper: there is no account whose positions could be kept; --role positions needs this section"
        )
    if role not in _OWN_FILES:
        return config
    of_role: dict[str, object] = {
        "archive": config.archive.model_copy(update={"record": False}),
        "telemetry": config.telemetry.model_copy(update={"heartbeat": None}),
        "journal": config.journal.model_copy(update={"folder": journal_of(config, role)}),
        "web": config.web.model_copy(update={"port": port_of(config, role)}),
    }
    if config.logging.file is not None:
        of_role["logging"] = config.logging.model_copy(update={"file": _named(config.logging.file, role)})
    return config.model_copy(update=of_role)


def port_of(config: Config, role: Role) -> int:
    """Where its health paths are served; 0 is any free port."""
    port = config.web.port
    if not port or role not in _OWN_FILES:
        return port
    if (own := port + _OWN_FILES.index(role) + 1) > MAX_PORT:
        raise SetupError(f"web.port: the health paths of --role {role} would be at {own}, which is no port")
    return own


def journal_of(config: Config, role: Role) -> Path:
    """Where its journal is; a relay has none."""
    folder = config.journal_folder
    return folder.with_name(f"{folder.name}-{role}") if role in _OWN_FILES else folder


def _named(file: Path, role: Role) -> Path:
    """`tapewatch.log` becomes `tapewatch-relay.log`."""
    return file.with_name(f"{file.stem}-{role}{file.suffix}")
