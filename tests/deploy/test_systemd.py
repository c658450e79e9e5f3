"""The systemd unit: what systemd itself says of it, and what it promises."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from tapewatch.config import load
from tapewatch.live.roles import Role

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNIT = DEPLOY / "systemd" / "tapewatch.service"
#: One service for each role.
TEMPLATE = DEPLOY / "systemd" / "tapewatch@.service"
#: In tenths, as systemd-analyze counts: no network service without capabilities can be much below.
EXPOSURE = 12


def settings(path: Path = UNIT) -> dict[str, list[str]]:
    """Every key of a unit with its values."""
    found: dict[str, list[str]] = {}
    for line in path.read_text("utf-8").splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


@pytest.fixture
def analyze() -> str:
    """The program that looks at units; skipped by name where there is none."""
    program = shutil.which("systemd-analyze")
    if program is None:
        assert not os.environ.get("CI"), "systemd-analyze is not installed"
        pytest.skip("systemd-analyze is not installed")
    return program


def ran(*words: object) -> subprocess.CompletedProcess[str]:
    """A finished command."""
    return subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit and its drop-in as they would be on a machine where the program is."""
    program = tmp_path / "tapewatch"
    program.touch(0o755)
    for path in (UNIT, TEMPLATE):
        text = path.read_text("utf-8").replace("/opt/tapewatch/current/bin/tapewatch", str(program))
        (tmp_path / path.name).write_text(text)
    unit = tmp_path / UNIT.name
    folder = tmp_path / f"{UNIT.name}.d"
    folder.mkdir()
    shutil.copy(DEPLOY / "systemd" / "credentials.conf", folder)
    return unit


def test_systemd_has_nothing_to_say_against_it(analyze: str, installed: Path) -> None:
    """No key is unknown and no value is refused, those of the drop-in too."""
    for name in (UNIT.name, "tapewatch@scanner.service"):
        verified = ran(analyze, "verify", "--man=no", installed.parent / name)
        assert (verified.returncode, verified.stdout + verified.stderr) == (0, ""), name
    installed.write_text(installed.read_text().replace("RestartSec=10", "RestartSec=soon"))
    assert "ignoring: soon" in ran(analyze, "verify", "--man=no", installed).stderr


def test_it_is_hardly_exposed(analyze: str) -> None:
    """As systemd reckons it."""
    for path in (UNIT, TEMPLATE):
        assessed = ran(analyze, "security", "--offline=true", f"--threshold={EXPOSURE}", path)
        assert assessed.returncode == 0, assessed.stdout


def test_a_service_of_one_role_differs_in_nothing_else() -> None:
    """Its role and its description; it does not run beside the one that has all of them."""
    apart = settings(TEMPLATE)
    assert apart.pop("Conflicts") == [UNIT.name]
    assert apart.pop("Description") != settings()["Description"]
    assert apart["ExecStart"] == [settings()["ExecStart"][0].replace(" run ", " run --role %i ")]
    for name in ("Description", "ExecStart"):
        apart[name] = settings()[name]
    assert apart == settings()
    known = re.search(r"\n *(scanner.*)\) ;;", (DEPLOY / "deploy.sh").read_text("utf-8"))
    assert known is not None
    assert {"all", *known[1].split(" | ")} == set(get_args(Role))


def test_it_is_restarted_watched_and_confined() -> None:
    """What the requirements ask for, by key."""
    wanted = {
        "Type": "notify", "Restart": "always", "RestartSec": "10", "StartLimitIntervalSec": "0",
        "User": "tapewatch", "StateDirectory": "tapewatch", "LogsDirectory": "tapewatch",
        "ConfigurationDirectory": "tapewatch", "NoNewPrivileges": "yes", "ProtectSystem": "strict",
        "PrivateTmp": "yes", "CapabilityBoundingSet": "", "MemoryMax": "2G",
        "ExecReload": "/bin/kill -HUP $MAINPID",
    }  # fmt: skip
    found = settings()
    assert {key: found[key] for key in wanted} == {key: [value] for key, value in wanted.items()}
    assert int(found["WatchdogSec"][0]) >= 30  # twice what a garbage collection or a full disk may cost
    assert found["SystemCallFilter"][0] == "@system-service"


def test_a_stop_may_take_as_long_as_the_program_says() -> None:
    """It is not killed while it waits for the ledger and for deliveries."""
    from tapewatch.live.shell import DELIVER_S, DRAIN_S

    assert int(settings()["TimeoutStopSec"][0]) >= DRAIN_S + DELIVER_S + 15 + 30


def test_the_configuration_of_a_service_writes_only_where_the_unit_lets_it() -> None:
    """Ledger, journal, alerts and log."""
    config = load([DEPLOY / "config" / "tapewatch.yaml"], {})
    assert config.warnings == ()
    state, logs = Path("/var/lib/tapewatch"), Path("/var/log/tapewatch")
    assert config.ledger.beside("").parent == state
    assert config.journal_folder.parent == config.archive_folder.parent == state
    assert config.logging.file is not None
    assert config.logging.file.parent == logs
    files = [Path(channel.path) for channel in config.channels.values() if channel.type == "file"]
    assert [path.parent for path in files] == [state]


def test_a_credential_is_a_secret_of_the_configuration(tmp_path: Path) -> None:
    """The drop-in hands one over as a file in a folder that systemd names, and the configuration finds it there."""
    drop_in = settings(DEPLOY / "systemd" / "credentials.conf")
    name, _, _ = drop_in["LoadCredential"][0].partition(":")
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / name).write_text("swordfish\n")
    path = tmp_path / "tapewatch.yaml"
    mail = "{type: email, host: mail.example.com, user: a, password: '${MAIL_PASSWORD}', "
    mail += "sender: a@example.com, recipients: [b@example.com]}"
    path.write_text(f"universe: {{include: [BTCUSDT]}}\nstrategies: {{scalp: {{}}}}\nchannels:\n  mail: {mail}\n")
    password = load([path], {"CREDENTIALS_DIRECTORY": str(folder)}).channels["mail"].password
    assert password.get_secret_value() == "swordfish"
