"""`deploy/deploy.sh` as root of a machine that is thrown away: install, upgrade, rollback, uninstall."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from chroots import STUBS, Machine
from packages import ROOT
from packaging.requirements import Requirement
from releases import AS_USER, BACKUPS, CONFIG, LATER, SCRIPT, STATE, script

from tapewatch.store.schema import REVISION

#: Extras for commands of research: no run asks for them, whatever its configuration.
RESEARCH = {"dask", "ml"}


def test_the_script_has_no_flaw_that_shellcheck_knows() -> None:
    """Skipped by name where there is no shellcheck."""
    if shutil.which("shellcheck") is None:
        assert not os.environ.get("CI"), "shellcheck is not installed"
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_a_service_has_is_pinned_as_it_is_tested() -> None:
    """The same versions and hashes as in dev.txt; every extra that a configuration may need is among it."""
    pins = [re.split(r"\n(?=\S)", (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").strip()) for name in
            ("service", "dev")]  # fmt: skip
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    asked = {name: words for name, words in extras.items() if name not in RESEARCH}
    needed = {Requirement(one).name for words in asked.values() for one in words}
    assert needed | {"psycopg-binary"} <= {pin.split("==")[0] for pin in pins[0]}
    assert set(pins[0]) <= set(pins[1])


def test_what_fetches_a_python_is_pinned_with_its_hashes() -> None:
    """One tool, by a whole version."""
    (pin,) = re.split(r"\n(?=\S)", (ROOT / "requirements" / "uv.txt").read_text("utf-8").strip())
    assert re.match(r"uv==\d+\.\d+\.\d+ ", pin)
    assert pin.count("--hash=sha256:") > 1


@pytest.mark.parametrize("shell", [[], ["sh"]])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], ""),
        (["install", "--purge"], "install has no --purge"),
        (["upgrade", "--restore"], "upgrade has no --restore"),
        (["downgrade"], "no command downgrade"),
        (["install", "--wheel"], "--wheel needs a value"),
        (["install", "--roles", ""], "--roles needs a value"),
    ],
)
def test_what_it_does_not_know_it_does_not_do(words: list[str], says: str, shell: list[str]) -> None:
    """It says what is wrong and how it is used, by whatever shell it is started."""
    done = subprocess.run([*shell, SCRIPT, *words], capture_output=True, text=True, timeout=60, check=False)
    assert "deploy.sh install" in done.stdout + done.stderr
    assert says in done.stderr
    assert done.returncode == (0 if not words else 2)


@pytest.mark.slow
def test_what_cannot_be_done_is_said_in_words(box: Machine, place: Path) -> None:
    """Somebody else, files that are not there or nothing of ours, no system of this kind, twice at once."""
    for command, says in (
        (f"chmod go+rx {SCRIPT} && runuser -u nobody -- bash < /dev/null {SCRIPT} install", "only root"),
        (f"{SCRIPT} install --wheel /nowhere.whl", "/nowhere.whl cannot be read"),
        (f"{SCRIPT} install --wheel /etc/passwd", "is no wheel of tapewatch"),
        (f"{SCRIPT} install --python /bin/false", "/bin/false is not Python 3.11"),
        (f"{SCRIPT} upgrade", "tapewatch is not installed"),
        (f"{SCRIPT} rollback", "no release to go back to"),
        (f"flock /run/tapewatch-deploy.lock {SCRIPT} uninstall", "another deploy.sh is at work"),
        (
            f"mkdir /bare && ln -s /bin/id /bin/dirname /bare && PATH=/bare /bin/bash {SCRIPT} install",
            "systemctl is not here",
        ),
    ):
        code, said = box.run(command)
        assert (code, said.count("\n")) == (1, 1), (command, said)
        assert says in said
    assert box.must(f"{SCRIPT} uninstall") == "tapewatch is not installed"


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
    box.must(f"cp {CONFIG} /root/right.yaml && echo 'nonsense: 1' >> {CONFIG}")
    code, said = box.run(script(place, "upgrade", "1.1.0"))
    assert code == 1
    assert "nonsense" in said
    assert box.must("readlink /opt/tapewatch/current") == "releases/1.0.0"
    box.must(f"cat /root/right.yaml > {CONFIG}")

    box.must(script(place, "upgrade", "1.1.0"))
    assert "1.1.0" in box.must(f"{AS_USER} --version")
    (saved,) = box.must(f"ls -d {BACKUPS}/tapewatch-*").split()
    assert modes(box, BACKUPS, saved) == {BACKUPS: "700 tapewatch", saved: "700 tapewatch"}
    assert {"ledger.rows.gz", "config/tapewatch.yaml", "config/.env"} <= set(
        box.must(f"cd {saved} && find . -type f -printf '%P ' && sha256sum -c --quiet manifest.sha256").split()
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


@pytest.mark.slow
def test_a_ledger_that_was_migrated_is_put_back(box: Machine, place: Path) -> None:
    """The earlier version would refuse it, so the rollback does, until it is told to restore the ledger."""
    box.must(script(place, "install", "1.0.0"))
    box.must(f"{AS_USER} db upgrade -c {CONFIG}")
    box.must(script(place, "upgrade", "1.1.0"))
    box.must(f"{AS_USER} db upgrade -c {CONFIG}")
    archived = f"{STATE}/tapewatch.db.archive/new"
    box.must(f"runuser -u tapewatch -- mkdir {STATE}/tapewatch.db.archive && touch {archived}")
    assert revision(box) == LATER
    code, said = box.run(f"{SCRIPT} rollback")
    assert code == 1
    assert "--restore" in said
    assert "1.1.0" in box.must(f"{AS_USER} --version")
    said = box.must(f"{SCRIPT} rollback --restore")
    assert "may be alerted again" in said
    assert "1.0.0" in box.must(f"{AS_USER} --version")
    assert revision(box) == REVISION
    box.must(f"test -e {archived}")
    box.must(f"{AS_USER} db upgrade -c {CONFIG}")
    before, now = box.must(f"ls -d {BACKUPS}/tapewatch-*").split()
    assert f'"revision": "{REVISION}"' in box.must(f"cat {before}/manifest.json")
    assert f'"revision": "{LATER}"' in box.must(f"cat {now}/manifest.json")


def revision(box: Machine) -> str:
    """Of the ledger's tables."""
    return str(json.loads(box.must(f"{AS_USER} db info -c {CONFIG} --json"))["revision"])


@pytest.mark.slow
def test_a_version_that_cannot_look_is_not_trusted_with_tables_of_later(box: Machine, place: Path) -> None:
    """One that has no `db info` yet: the ledger has to be that of the backup still."""
    box.must(script(place, "install", "1.0.0"))
    box.must(f"{AS_USER} db upgrade -c {CONFIG}")
    box.must(script(place, "upgrade", "1.1.0"))
    earlier = "/opt/tapewatch/releases/1.0.0"
    box.must(f"sed -i 's/\"db\", //' {earlier}/lib/python3*/site-packages/tapewatch/cli/app.py")
    assert box.run(f"cd / && runuser -u tapewatch -- {earlier}/bin/tapewatch db info -c {CONFIG}")[0] == 2
    box.must(f"{AS_USER} db upgrade -c {CONFIG}")
    code, said = box.run(f"{SCRIPT} rollback")
    assert (code, "--restore" in said) == (1, True)


@pytest.mark.slow
def test_a_rollback_that_cannot_restore_changes_nothing(box: Machine, place: Path) -> None:
    """A damaged backup, or none: the later release stays, with its ledger."""
    box.must(script(place, "install", "1.0.0"))
    box.must(script(place, "upgrade", "1.1.0"))  # there is no ledger yet
    box.must(f"{AS_USER} db upgrade -c {CONFIG}")
    code, said = box.run(f"{SCRIPT} rollback --restore")
    assert (code, "saved no ledger" in said) == (1, True)
    box.must(script(place, "upgrade", "1.2.0"))
    (saved,) = box.must(f"ls -d {BACKUPS}/tapewatch-*").split()
    box.must(f"echo damage >> {saved}/ledger.rows.gz")
    code, said = box.run(f"{SCRIPT} rollback --restore")
    assert code == 1
    assert "ledger.rows.gz is not what it was" in said
    assert "1.2.0" in box.must(f"{AS_USER} --version")
    assert revision(box) == LATER


@pytest.mark.slow
def test_roles_are_services_of_their_own(box: Machine, place: Path) -> None:
    """In place of the one that has all of them, until told otherwise; a role that there is not is refused before."""
    wants = "cd /etc/systemd/system/multi-user.target.wants && ls -d tapewatch*"
    code, said = box.run(script(place, "install --roles scanner,relais", "1.0.0"))
    assert (code, "relais is none of" in said) == (1, True)
    assert box.run("ls /opt/tapewatch")[0] != 0
    box.must(script(place, "install", "1.0.0"))
    assert box.must(wants) == "tapewatch.service"
    said = box.must(script(place, "install --roles scanner,positions,relay", "1.0.0"))
    roles = ["tapewatch@positions", "tapewatch@relay", "tapewatch@scanner"]
    assert box.must(wants).split() == [f"{role}.service" for role in roles]
    assert f"systemctl start --no-block {' '.join(roles)}" in said
    box.must(script(place, "install", "1.0.0"))
    assert len(box.must(wants).split()) == 3
    box.must(f"mkdir {STUBS} && printf '#!/bin/sh\\necho \"$@\" >> /root/said\\n' > {STUBS}/systemctl")
    box.must(f"chmod +x {STUBS}/systemctl")
    box.must(script(place, "upgrade", "1.1.0"))
    assert box.must("cat /root/said").splitlines() == [
        *(f"is-active -q {role}" for role in roles),
        f"stop {' '.join(roles)}",
        "daemon-reload",
        f"start --no-block {' '.join(roles)}",
    ]
    box.must(f"rm {STUBS}/systemctl")
    box.must(script(place, "install --roles all", "1.1.0"))
    assert box.must(wants) == "tapewatch.service"
    box.must(f"{SCRIPT} uninstall")
    assert box.run(wants)[0] != 0
    assert box.run("ls /etc/systemd/system/tapewatch@.service")[0] != 0


@pytest.mark.slow
def test_what_only_root_can_read_is_at_hand_for_an_upgrade(box: Machine, place: Path) -> None:
    """Credentials of systemd: the configuration is looked at as the service has it, and nothing of them stays."""
    box.must(script(place, "install", "1.0.0"))
    mail = "{type: email, host: mail.example.com, user: a, password: '${MAIL_PASSWORD}', "
    mail += "sender: a@example.com, recipients: [b@example.com]}"
    box.must(f'sed -i "s|^channels:|&\\n  mail: {mail}|" {CONFIG}'.replace("${", "\\${"))
    box.must(
        "install -d -m 0700 /etc/tapewatch/credentials && echo swordfish > /etc/tapewatch/credentials/mail_password"
    )
    assert box.run(f"{AS_USER} check -c {CONFIG}")[0] == 2
    box.must(script(place, "upgrade", "1.1.0"))
    assert "1.1.0" in box.must(f"{AS_USER} --version")
    assert box.run("grep -rls swordfish /tmp/tmp.* /var/lib/tapewatch /var/backups /opt")[1] == ""


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
CONFIGURE = (
    '#!/bin/sh\nprefix=${1#--prefix=}\nprintf "all:\\naltinstall:\\n'
    '\\tmkdir -p $prefix/bin && ln -s PYTHON $prefix/bin/python3.11\\n" > Makefile\n'
)
#: A Python of Ubuntu 20.04, in little: it can make environments, whose pip brings a uv, which brings a Python.
OLD = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 1
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho "$@" >> /root/pip\\nln -sf /root/uv "$(dirname "$0")/uv"\\n' > "$3/bin/pip"
chmod +x "$3/bin/pip"
"""
UV = """#!/bin/sh
echo "$@" >> /root/asked
[ ! -e /root/no-network ] || exit 1
while [ "$1" != --install-dir ]; do shift; done
mkdir -p "$2/cpython-3.11.99-linux/bin" && ln -s PYTHON "$2/cpython-3.11.99-linux/bin/python3.11"
"""
#: A new Python with the SQLite of an old system.
OLD_SQLITE = """#!/bin/sh
PYTHONPATH=/root/old exec PYTHON "$@"
"""


def put(box: Machine, folder: Path, path: str, text: str) -> None:
    """A program on the machine."""
    (folder / "put").write_text(text)
    box.must(f"install -D -m 0755 {folder}/put {path}")


@pytest.fixture
def old(box: Machine, tmp_path: Path) -> Machine:
    """A machine with a Python that is too old, and no newer one in its package sources."""
    put(box, tmp_path, f"{STUBS}/old", "#!/bin/sh\nexit 1\n")
    for name in ("python3.11", "python3.12", "python3.13", "apt-cache"):
        box.must(f"ln -s old {STUBS}/{name}")
    put(box, tmp_path, f"{STUBS}/python3", OLD)
    put(box, tmp_path, f"{STUBS}/apt-get", '#!/bin/sh\necho "$@" >> /root/apt\n')
    return box


def packed(folder: Path, path: str, text: str = "", link: Path | None = None) -> Path:
    """A .tar with one file, below a folder of its own."""
    inner = folder / "Python-3.11" / path
    inner.parent.mkdir(parents=True)
    if link is None:
        inner.write_text(text)
        inner.chmod(0o755)
    else:
        inner.symlink_to(link)
    subprocess.run(["tar", "-cf", folder / "python.tar", "-C", folder, "Python-3.11"], check=True)
    return folder / "python.tar"


def only(place: Path) -> str:
    """An installation that is not told which Python."""
    return f"{SCRIPT} install --wheel {place}/dist/tapewatch-1.0.0-py3-none-any.whl"


@pytest.mark.slow
def test_a_system_whose_python_is_too_old_gets_one(old: Machine, place: Path, tmp_path: Path) -> None:
    """It is fetched, as it is pinned; where that cannot be, it says what to give, and does nothing."""
    put(old, tmp_path, "/root/uv", UV.replace("PYTHON", str(place / "python")))
    old.must("touch /root/no-network")
    code, said = old.run(only(place))
    assert code == 1
    assert "--python-source" in said
    assert old.run("ls /opt/tapewatch/releases")[0] != 0
    old.must("rm /root/no-network")
    old.must(only(place))
    assert "1.0.0" in old.must(f"{AS_USER} --version")
    assert "--require-hashes -r" in old.must("head -1 /root/pip")
    assert "python install --no-bin --install-dir /opt/tapewatch/python 3.11" in old.must("tail -1 /root/asked")
    old.must(only(place))
    assert len(old.must("cat /root/asked").splitlines()) == 2  # what is there is not fetched again


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["source", "built"])
def test_a_python_that_is_given_needs_no_network(old: Machine, place: Path, tmp_path: Path, kind: str) -> None:
    """The source of a release, which is built, or one that was built elsewhere."""
    if kind == "source":
        given = packed(tmp_path, "configure", CONFIGURE.replace("PYTHON", str(place / "python")))
    else:
        given = packed(tmp_path, "bin/python3.11", link=place / "python")
    old.must(f"{only(place)} --python-source {given}")
    assert "1.0.0" in old.must(f"{AS_USER} --version")
    assert ("build-essential" in old.run("cat /root/apt")[1]) == (kind == "source")
    assert old.run("cat /root/pip")[0] != 0


@pytest.mark.slow
def test_a_python_with_an_old_sqlite_is_none(old: Machine, place: Path, tmp_path: Path) -> None:
    """Built on Debian 11 or Ubuntu 20.04 it has theirs, which lacks what the ledger needs: it is said before."""
    put(old, tmp_path, "/root/old/sqlite3.py", "sqlite_version_info = (3, 34, 1)\n")
    put(old, tmp_path, "/root/python3.11", OLD_SQLITE.replace("PYTHON", str(place / "python")))
    code, said = old.run(f"{only(place)} --python /root/python3.11")
    assert (code, "SQLite 3.35" in said) == (1, True)
    given = packed(tmp_path, "configure", CONFIGURE.replace("PYTHON", "/root/python3.11"))
    code, said = old.run(f"{only(place)} --python-source {given}")
    assert (code, "built elsewhere" in said) == (1, True)
    assert old.run("ls /opt/tapewatch/releases")[0] != 0
