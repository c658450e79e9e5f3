"""The package built from a copy of the sources, and environments with nothing else in them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
#: What is built from; nothing that lies about in a checkout is among it.
SOURCES = ("bench", "deploy", "docs", "requirements", "src", "tests", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE",
           "MANIFEST.in", "Makefile", "README.md", "mkdocs.yml", "pyproject.toml")  # fmt: skip


def copied(to: Path) -> Path:
    """The sources in a folder of their own."""
    to.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, to)
    return to


def built(kind: str, source: Path, to: Path) -> Path:
    """A wheel or an sdist, by the backend that pyproject.toml names; it must have no complaint."""
    program = f"from setuptools import build_meta\nprint(build_meta.build_{kind}({str(to)!r}))"
    to.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=source,
        env=bare(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    complaints = [line for line in done.stderr.splitlines() if re.search("(?i)warning|deprecat", line)]
    assert not [line for line in complaints if not re.search("byte-compiling|previously-included", line)], complaints
    return to / done.stdout.splitlines()[-1]


def unpacked(sdist: Path, to: Path) -> Path:
    """What is in an sdist."""
    with tarfile.open(sdist) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian 12 has a Python of before it
        archive.extractall(to)
    return to / sdist.name.removesuffix(".tar.gz")


def bare() -> dict[str, str]:
    """The environment without what leads to a checkout."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHONPATH", "COV", "TAPEWATCH"))}


#: Stands for Python: an environment it makes has what is pinned already, and asks no package index for it.
_PYTHON = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then exec cp -Rs "{prepared}" "$3"; fi
exec "{python}" "$@"
"""
_PIP = """#!/bin/sh
case "$*" in *--require-hashes*) exit 0 ;; esac
exec "{python}" -m pip --python "$(dirname "$0")/python" "$@" --no-index
"""


def stand_in(folder: Path) -> Path:
    """A program in this folder that stands for Python on a machine without a network."""
    prepared, python = folder / "prepared", folder / "python"
    pip = environment(prepared, "build", "runtime", "service") / "pip"
    pip.write_text(_PIP.format(python=sys.executable))
    python.write_text(_PYTHON.format(prepared=prepared, python=sys.executable))
    pip.chmod(0o755)
    python.chmod(0o755)
    return python


def environment(folder: Path, *pins: str) -> Path:
    """An environment with exactly what these requirements pin, from what is installed here; its bin folder."""
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    texts = [(ROOT / "requirements" / f"{name}.txt").read_text("utf-8") for name in pins]
    for line in dict.fromkeys("".join(texts).splitlines()):  # two of them may pin the same
        if line[:1].isalnum() and _needed(pin := Requirement(line.rstrip("\\ "))):
            for file in distribution(pin.name).files or ():
                path = Path(str(file.locate()))
                if ".." not in file.parts and path.exists():  # what is compiled there need not be compiled again
                    to = site / file
                    to.parent.mkdir(parents=True, exist_ok=True)
                    _linked(path, to)
    return folder / "bin"


def _needed(pin: Requirement) -> bool:
    return pin.marker is None or pin.marker.evaluate()


def _linked(file: Path, to: Path) -> None:
    try:
        os.link(file, to)
    except OSError:  # another disk
        shutil.copy2(file, to)


def install(wheel: Path, binaries: Path) -> None:
    """The wheel in an environment, and nothing with it."""
    words = ["--python", binaries / "python", "install", "-q", "--no-deps", "--no-index", "--no-compile", wheel]
    subprocess.run([sys.executable, "-m", "pip", *map(str, words)], env=bare(), timeout=240, check=True)
