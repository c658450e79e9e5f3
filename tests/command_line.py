"""The command run in this process, and candles stored for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tapewatch.__main__ import main
from tapewatch.model import Bar


class Command:
    """Runs `tapewatch ARGUMENTS`: (exit code, lines of stdout, stderr)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]) -> None:
        self._monkeypatch, self._capture = monkeypatch, capture

    def __call__(self, *arguments: object) -> tuple[int, list[str], str]:
        """Run it."""
        self._monkeypatch.setattr(sys, "argv", ["tapewatch", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        sys.stdout.flush()
        out, err = self._capture.readouterr()
        code = stopped.value.code
        return int(code or 0), out.decode().splitlines(), err.decode()

    def objects(self, *arguments: object) -> list[dict[str, Any]]:
        """Run it with --json; it must succeed."""
        code, lines, err = self(*arguments, "--json")
        assert (code, err) == (0, ""), (code, err)
        return [json.loads(line) for line in lines]

    def refused(self, *arguments: object) -> str:
        """Run what must exit 2 with words on stderr and nothing else; the words."""
        code, lines, err = self(*arguments)
        assert (code, lines) == (2, []), (code, lines[:3], err)
        assert "Traceback" not in err
        return err


def store(root: Path, bars: Sequence[Bar], interval: str = "1m", venue: str = "binance_spot") -> None:
    """Bars of one symbol into an archive."""
    folder = root / venue / bars[0].symbol
    folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Iterable[Any]] = {"open_time": [one.open_ms for one in bars]}
    for name in Bar.__struct_fields__[3:]:
        columns["taker_buy_base" if name == "taker_buy" else name] = [getattr(one, name) for one in bars]
    pl.DataFrame(columns).write_parquet(folder / f"{interval}.parquet")
