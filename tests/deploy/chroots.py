"""A machine to try things on: this one's files under a layer that is thrown away, and no network."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The layer is kept in memory; what it costs is what is written. The process that mounts it takes it away by ending.
ENTER = """
mount -t tmpfs tmpfs "$1" && mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t tmpfs tmpfs "$1/root/run" && mount --rbind /dev "$1/root/dev" && mount -t proc proc "$1/root/proc"
exec 3>&1 >&2
echo ready >&3
while IFS= read -r line; do
  code=0
  chroot "$1/root" /bin/bash -c "$line" </dev/null >"$1.out" 2>&1 || code=$?
  echo "$code" >&3
done
"""


#: The first of these folders is there when a test puts a program into it.
STUBS = "/usr/local/stubs"
PATH = f"{STUBS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Machine:
    """Runs commands as its root."""

    def __init__(self, process: subprocess.Popen[str], out: Path) -> None:
        self._process = process
        self._out = out

    def run(self, command: str) -> tuple[int, str]:
        """Exit code and output of a bash command."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert "\n" not in command
        print(command, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline()), self._out.read_text()

    def must(self, command: str) -> str:
        """The output of a command that succeeds."""
        code, text = self.run(command)
        assert code == 0, f"{command}: {text}"
        return text.strip()


def missing() -> str | None:
    """Why there can be no such machine here."""
    if os.geteuid() != 0:
        return "only root can make a chroot"
    if not all(map(shutil.which, ("unshare", "chroot", "useradd", "runuser", "systemctl"))):
        return "unshare, chroot, useradd, runuser and systemctl are needed"
    return None


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """One, gone afterwards with everything that was done on it."""
    mount, errors = folder / "machine", folder / "machine.err"
    mount.mkdir()
    with errors.open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child",
             "bash", "-ec", ENTER, "bash", str(mount)],
            env={"PATH": PATH, "HOME": "/root"}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", errors.read_text()
        box = Machine(process, Path(f"{mount}.out"))
        box.must("chmod go+x /root")  # a Python may be there, and services of other users run it
        yield box
    finally:
        process.kill()
        process.communicate()
