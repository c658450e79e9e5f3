"""What `tapewatch download` says about a series, and about options that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.command_line import Command

from tapewatch.cli.download_screen import NOTES, Screen
from tapewatch.download.report import Done


def shown(capsys: pytest.CaptureFixture[str], notes: list[str], error: str | None) -> list[str]:
    """The lines below that of the series."""
    Screen("files", as_json=False).finished(Done("v", "BTCUSDT", "1m", 0, 60_000, notes=notes, error=error))
    first, *below = capsys.readouterr().out.splitlines()
    assert first.startswith("BTCUSDT ")
    return below


def test_a_host_that_is_down_does_not_fill_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """Some remarks, how many more there are, and the error."""
    notes = [f"file {number}: no connection" for number in range(30)]
    below = shown(capsys, notes, "file 29: no connection")
    assert below[:NOTES] == [f"    {note}" for note in notes[:NOTES]]
    assert below[NOTES:] == [
        f"    and {29 - NOTES} more; --json has all of them",
        "    failed: file 29: no connection",
    ]


def test_what_the_error_says_is_not_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """A remark that became part of the error."""
    assert shown(capsys, ["Invalid symbol."], "Invalid symbol.; the exchange does not list it") == [
        "    failed: Invalid symbol.; the exchange does not list it"
    ]


def test_certificates_that_cannot_be_read_are_told_by_their_option(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    """Before anything is asked for."""
    run = Command(monkeypatch, capfdbinary)
    err = run.refused(
        *("download", "--data", tmp_path / "d", "--symbols", "BTCUSDT"),
        *("--rest-url", "http://127.0.0.1:1", "--ca-file", tmp_path / "none.pem"),
    )
    assert err.startswith(f"tapewatch: --ca-file: {tmp_path}/none.pem: no certificates could be read")
