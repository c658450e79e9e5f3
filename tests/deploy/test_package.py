"""What is built from the sources works where they are not."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest
from packages import ROOT, bare, built, copied, environment, install, unpacked

import run_harness
from run_harness import Process, configure, eventually, json_lines, lines_of, query


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    return unpacked(built("sdist", copied(folder / "copy"), folder / "dist"), folder)


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """The wheel, built from the source distribution."""
    return built("wheel", sdist, sdist.parent / "dist")


def files(folder: Path) -> set[str]:
    """The files of a source tree that belong to it, by their paths in it."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {str(path) for path in found if not {"__pycache__", "tapewatch.egg-info"} & set(path.parts)}


@pytest.mark.slow
def test_everything_is_in_what_is_built(sdist: Path, wheel: Path) -> None:
    """Templates, strategies, examples, migrations, in both; documents and deployment in the sources."""
    package = files(ROOT / "src")
    assert {"tapewatch/config/examples/.env.example", "tapewatch/store/migrations/env.py"} <= package
    assert {"tapewatch/web/static/index.html", "tapewatch/web/static/main.js"} <= package
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == package
    assert files(sdist / "src") == package
    for folder in ("deploy", "docs", "requirements", "tests"):
        assert files(sdist / folder) == files(ROOT / folder)
    assert (sdist / "mkdocs.yml").is_file()


@pytest.mark.slow
def test_the_sources_build_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """From a checkout as from the source distribution, file by file."""
    direct = built("wheel", copied(tmp_path / "copy"), tmp_path / "dist")
    assert direct.name == wheel.name
    contents = []
    for path in (wheel, direct):
        with zipfile.ZipFile(path) as archive:
            contents.append({name: archive.read(name) for name in archive.namelist()})
    assert contents[0] == contents[1]


@pytest.mark.slow
def test_the_wheel_runs_where_there_is_nothing_else(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment of the pinned requirements alone, no checkout: the demo, and a run on a simulated exchange."""
    binaries = environment(tmp_path / "venv", "runtime")
    install(wheel, binaries)
    program = str(binaries / "tapewatch")
    where = subprocess.check_output(
        [binaries / "python", "-c", "import tapewatch; print(tapewatch.__file__)"], cwd=tmp_path, env=bare(), text=True
    )
    assert Path(where.strip()).is_relative_to(tmp_path)
    demo = subprocess.run(
        [program, "demo", "--hours", "2"],
        cwd=tmp_path,
        env=bare(),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert demo.returncode == 0, demo.stderr
    monkeypatch.setattr(run_harness, "COMMAND", (program,))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    options = (
        "--port",
        "0",
        "--json",
        "--synthetic",
        "3",
        "--symbols",
        "BTCUSDT",
        "--at-end",
        "hold",
        "--speed",
        "60000",
    )
    exchange = Process(tmp_path, "exchange", "simulate", *options)
    run = None
    try:
        eventually(lambda: lines_of(exchange.out) or exchange.code is not None)
        about = lines_of(exchange.out)[0]
        config = configure(
            tmp_path, about["rest_url"].removeprefix("http://"), ["BTCUSDT"], strategies=run_harness.easy()
        )
        run = Process(tmp_path, "run", "run", "-c", str(config))
        eventually(lambda: query(tmp_path, "SELECT 1 FROM signals") or run.code is not None)
        assert run.stop() == 0, run.log
        assert json_lines("signals", "--stored", "-c", str(config), "--json")
    finally:
        exchange.kill()
        if run is not None:
            run.kill()
