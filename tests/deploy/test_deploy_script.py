"""`deploy/deploy.sh` as root of a machine that is thrown away: install, upgrade, rollback, uninstall."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chroots import STUBS, Machine, machine, missing
from packages import ROOT, built, copied, stand_in

SCRIPT = ROOT / "deploy" / "deploy.sh"
CONFIG = "/etc/tapewatch/tapewatch.yaml"
TAPEWATCH = "/opt/tapewatch/current/bin/tapewatch"
AS_USER = f"cd / && runuser -u tapewatch -- {TAPEWATCH}"


def test_the_script_has_no_flaw_that_shellcheck_knows() -> None:
    """Skipped by name where there is no shellcheck."""
    if shutil.which("shellcheck") is None:
        assert not os.environ.get("CI"), "shellcheck is not installed"
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_a_service_has_is_pinned_as_it_is_tested() -> None:
    """The same versions and hashes as in dev.txt."""
    pins = [re.split(r"\n(?=\S)", (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").strip()) for name in
            ("service", "dev")]  # fmt: skip
    assert {pin.split("==")[0] for pin in pins[0]} == {"pillow", "psycopg", "psycopg-binary"}
    assert set(pins[0]) <= set(pins[1])


@pytest.mark.parametrize("words", [[], ["install", "--purge"], ["upgrade", "--restore"], ["downgrade"]])
def test_what_it_does_not_know_it_does_not_do(words: list[str]) -> None:
    """It says how it is used."""
    done = subprocess.run([SCRIPT, *words], capture_output=True, text=True, timeout=60, check=False)
    assert "deploy.sh install" in done.stdout + done.stderr
    assert done.returncode == (0 if not words else 2)


def wheel(folder: Path, version: str) -> Path:
    """A wheel of the sources as this version."""
    source = copied(folder / f"source-{version}")
    project = source / "pyproject.toml"
    project.write_text(re.sub('(?m)^version = ".*"$', f'version = "{version}"', project.read_text()))
    init = source / "src" / "tapewatch" / "__init__.py"
    init.write_text(re.sub('__version__ = ".*"', f'__version__ = "{version}"', init.read_text()))
    return built("wheel", source, folder / "dist")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of three versions, and a Python, that the user of the service can reach."""
    folder = tmp_path_factory.mktemp("deploy")
    stand_in(folder)
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        wheel(folder, version)
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


def script(place: Path, command: str, version: str = "") -> str:
    """The script's command, of a version."""
    wheels = f" --wheel {place}/dist/tapewatch-{version}-py3-none-any.whl --python {place}/python" if version else ""
    return f"{SCRIPT} {command}{wheels}"


def modes(box: Machine, *paths: str) -> dict[str, str]:
    """Mode and owner of each."""
    lines = box.must(f"stat -c '%n %a %U' {' '.join(paths)}").splitlines()
    return dict(line.split(" ", 1) for line in lines)


@pytest.mark.slow
def test_it_is_installed_once_and_again(box: Machine, place: Path) -> None:
    """With owners and modes; what the user of the machine changed stays as it is."""
    box.must(script(place, "install", "1.0.0"))
    assert modes(box, CONFIG, "/etc/tapewatch/.env", "/etc/tapewatch", "/var/lib/tapewatch", "/var/log/tapewatch") == {
        CONFIG: "600 tapewatch",
        "/etc/tapewatch/.env": "600 tapewatch",
        "/etc/tapewatch": "750 root",
        "/var/lib/tapewatch": "700 tapewatch",
        "/var/log/tapewatch": "750 tapewatch",
    }
    assert "1.0.0" in box.must("cd / && runuser -u tapewatch -- tapewatch --version")
    assert box.run(f"{AS_USER} check -c {CONFIG}")[0] == 0
    assert (
        box.must("cat /etc/systemd/system/tapewatch.service")
        == (ROOT / "deploy" / "systemd" / "tapewatch.service").read_text().strip()
    )
    box.must("test -L /etc/systemd/system/multi-user.target.wants/tapewatch.service")
    box.must(f"echo '# mine' >> {CONFIG}")
    box.must(script(place, "install", "1.0.0"))
    assert box.must(f"tail -1 {CONFIG}") == "# mine"
    code, said = box.run(script(place, "install", "1.1.0"))
    assert code == 1
    assert "upgrade" in said


@pytest.mark.slow
def test_an_upgrade_can_be_taken_back(box: Machine, place: Path) -> None:
    """The ledger is saved before; a version that does not take the configuration changes nothing."""
    box.must(script(place, "install", "1.0.0"))
    box.must(f"{AS_USER} db upgrade -c {CONFIG}")
    box.must("echo before > /var/lib/tapewatch/said && chown tapewatch: /var/lib/tapewatch/said")
    box.must(f"cp {CONFIG} /root/right.yaml && echo 'nonsense: 1' >> {CONFIG}")
    code, said = box.run(script(place, "upgrade", "1.1.0"))
    assert code == 1
    assert "nonsense" in said
    assert box.must("readlink /opt/tapewatch/current") == "releases/1.0.0"
    box.must(f"cat /root/right.yaml > {CONFIG}")

    box.must(script(place, "upgrade", "1.1.0"))
    assert "1.1.0" in box.must(f"{AS_USER} --version")
    (saved,) = box.must("ls /var/backups/tapewatch/*").split()
    assert modes(box, saved) == {saved: "600 root"}
    assert {"var/lib/tapewatch/tapewatch.db", "etc/tapewatch/tapewatch.yaml"} <= set(
        box.must(f"tar -tzf {saved}").split()
    )
    box.must("echo after > /var/lib/tapewatch/said")
    box.must(script(place, "rollback"))
    assert "1.0.0" in box.must(f"{AS_USER} --version")
    assert box.must("cat /var/lib/tapewatch/said") == "after"  # what happened since is kept


@pytest.mark.slow
def test_the_service_stands_still_while_it_is_changed_and_no_longer(box: Machine, place: Path) -> None:
    """Stopped, saved, switched, started; what the script cannot save, a ledger in PostgreSQL, it asks about before."""
    box.must(script(place, "install", "1.0.0"))
    url = "postgresql://tapewatch@/tapewatch?host=/run"
    box.must(f"sed -i 's|^ledger:.*|ledger: {{url: \"{url}\", folder: /var/lib/tapewatch}}|' {CONFIG}")
    box.must(f"mkdir {STUBS} && printf '#!/bin/sh\\necho \"$@\" >> /root/said\\n' > {STUBS}/systemctl")
    box.must(f"chmod +x {STUBS}/systemctl")
    code, said = box.run(script(place, "upgrade", "1.1.0"))
    assert code == 1
    assert "--ledger-saved" in said
    assert box.run("cat /root/said")[0] != 0
    box.must(script(place, "upgrade --ledger-saved", "1.1.0"))
    steps = ["is-active -q tapewatch", "stop tapewatch", "daemon-reload", "start --no-block tapewatch"]
    assert box.must("cat /root/said").splitlines() == steps
    box.must("echo '}' > /root/broken && rm /root/said && cat /root/broken > " + CONFIG)
    code, _ = box.run(script(place, "rollback"))  # it stopped before it looked
    assert code == 1
    assert box.must("cat /root/said").splitlines() == [steps[0], steps[1], steps[3]]


#: What a later version's start does to a ledger.
LATER = """
import sqlite3
with sqlite3.connect("/var/lib/tapewatch/tapewatch.db") as ledger:
    ledger.execute("UPDATE alembic_version SET version_num = 'r9999_later'")
"""


@pytest.mark.slow
def test_a_ledger_that_was_migrated_is_put_back(box: Machine, place: Path, tmp_path: Path) -> None:
    """The earlier version would refuse it, so the rollback does, until it is told to restore the ledger."""
    box.must(script(place, "install", "1.0.0"))
    box.must(f"{AS_USER} db upgrade -c {CONFIG}")
    box.must("mkdir /var/lib/tapewatch/tapewatch.db.archive && echo before > /var/lib/tapewatch/said")
    box.must(script(place, "upgrade", "1.1.0"))
    later = tmp_path / "later.py"
    later.write_text(LATER)
    box.must(f"/opt/tapewatch/current/bin/python {later}")
    box.must("echo after > /var/lib/tapewatch/said; touch /var/lib/tapewatch/tapewatch.db.archive/new")
    code, said = box.run(script(place, "rollback"))
    assert code == 1
    assert "--restore" in said
    assert "1.1.0" in box.must(f"{AS_USER} --version")
    box.must(f"{SCRIPT} rollback --restore")
    assert "1.0.0" in box.must(f"{AS_USER} --version")
    assert box.must("cat /var/lib/tapewatch/said") == "before"
    box.must("test -e /var/lib/tapewatch/tapewatch.db.archive/new")
    box.must(f"{AS_USER} db upgrade -c {CONFIG}")
    saved = box.must("ls -t /var/backups/tapewatch/*").split()
    assert len(saved) == 2
    assert box.must(f"tar -xzOf {saved[0]} var/lib/tapewatch/said") == "after"


@pytest.mark.slow
def test_uninstalling_keeps_what_was_written_unless_told(box: Machine, place: Path) -> None:
    """Releases that are not needed any more go with an upgrade; everything goes with --purge."""
    for command, version in (("install", "1.0.0"), ("upgrade", "1.1.0"), ("upgrade", "1.2.0")):
        box.must(script(place, command, version))
    assert box.must("ls /opt/tapewatch/releases").split() == ["1.1.0", "1.2.0"]
    kept = f"{CONFIG} /var/lib/tapewatch /var/log/tapewatch /var/backups/tapewatch"
    box.must(f"{SCRIPT} uninstall")
    assert box.run(f"ls -d {kept}")[0] == 0
    gone = "/opt/tapewatch /etc/systemd/system/tapewatch.service /usr/local/bin/tapewatch"
    assert all(box.run(f"ls -d {path}")[0] for path in gone.split())
    box.must(script(place, "install", "1.2.0"))
    box.must(f"{SCRIPT} uninstall --purge")
    assert all(box.run(f"ls -d {path}")[0] for path in (gone + " " + kept).split())
    assert box.run("getent passwd tapewatch")[0] != 0


#: What `./configure && make altinstall` does, in little: a Python of this machine under the name that was built.
SOURCES = {
    "configure": '#!/bin/sh\nprefix=${1#--prefix=}\nprintf "all:\\naltinstall:\\n'
    '\\tmkdir -p $prefix/bin && ln -s PYTHON $prefix/bin/python3.11\\n" > Makefile\n',
}


@pytest.mark.slow
def test_a_system_whose_python_is_too_old_gets_one(box: Machine, place: Path, tmp_path: Path) -> None:
    """From its packages, else built from a source that it is given; without either it says so and does nothing."""
    box.must(f"mkdir {STUBS} && printf '#!/bin/sh\\nexit 1\\n' > {STUBS}/old && chmod +x {STUBS}/old")
    for name in ("python3", "python3.11", "python3.12", "python3.13", "apt-cache"):
        box.must(f"ln -s old {STUBS}/{name}")
    box.must(f"printf '#!/bin/sh\\necho \"$@\" >> /root/apt\\n' > {STUBS}/apt-get && chmod +x {STUBS}/apt-get")
    only = f"{SCRIPT} install --wheel {place}/dist/tapewatch-1.0.0-py3-none-any.whl"
    code, said = box.run(only)
    assert code == 1
    assert "--python-source" in said
    assert box.run("ls /opt/tapewatch")[0] != 0
    source = tmp_path / "Python-3.11"
    source.mkdir()
    (source / "configure").write_text(SOURCES["configure"].replace("PYTHON", str(place / "python")))
    (source / "configure").chmod(0o755)
    subprocess.run(["tar", "-cf", tmp_path / "python.tar", "-C", tmp_path, source.name], check=True)
    box.must(f"{only} --python-source {tmp_path}/python.tar")
    assert "1.0.0" in box.must(f"{AS_USER} --version")
    assert "build-essential" in box.must("cat /root/apt")
