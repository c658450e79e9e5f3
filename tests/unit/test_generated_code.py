"""Updates that are pasted into generated code, and where compiled scans are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tapewatch.errors import SetupError
from tapewatch.indicators import REGISTRY
from tapewatch.strategy.paste import paste
from tapewatch.study import scans

EMA_NAMES = {"x": "n0", "last": "s1", "alpha": "0.5", "keep": "0.5"}


def two_returns(x: float, last: float) -> tuple[float, float]:
    """Leaves in the middle."""
    if x > last:
        return x, x
    return last, last


def no_state(x: float, last: float) -> tuple[float, ...]:
    """Forgets to return its state."""
    value = x + last
    return (value,)


def no_tuple(x: float, last: float) -> float:
    """Returns a bare number."""
    return x + last


def test_pasting_renames_everything_and_assigns_what_is_returned() -> None:
    """Inputs, state and constants become the names given, the return becomes assignments."""
    lines = paste(REGISTRY["ema"], EMA_NAMES, ["n7"], "n7_")
    assert lines == ["s1 = 0.5 * n0 + 0.5 * s1 if s1 == s1 else n0", "n7 = s1"]


def test_local_names_of_two_pasted_updates_do_not_meet() -> None:
    """Each is put behind the prefix of its own call."""
    names = {name: name for name in ("x", "last", "up", "down", "seen", "length", "share", "keep")}
    first, second = ("\n".join(paste(REGISTRY["rsi"], names, ["v"], prefix)) for prefix in ("a_", "b_"))
    assert "a_change" in first
    assert "a_change" not in second
    assert first == second.replace("b_", "a_")


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (two_returns, "its update must end in its one return"),
        (no_tuple, "its update must end in its one return"),
        (no_state, "its update must return 2 values"),
    ],
)
def test_an_update_that_does_not_keep_to_the_form_is_refused(update: object, message: str) -> None:
    """Its author is told what the form is."""
    spec = replace(REGISTRY["ema"], name="odd", update=update)  # type: ignore[arg-type]
    with pytest.raises(SetupError, match=f"indicator odd: {message}"):
        paste(spec, EMA_NAMES, "v", "v_")


@pytest.fixture
def fresh_scans() -> Iterator[None]:
    """No scan is loaded before, and none of the test's stays after."""
    scans._loaded.cache_clear()
    scans._cache_folder.cache_clear()
    yield
    scans._loaded.cache_clear()
    scans._cache_folder.cache_clear()


def ema_of_two(values: list[float]) -> list[float]:
    """EMA(2) by the compiled scan."""
    out = np.empty(len(values))
    scans.scan_of(("ema", ("x",)))(np.array(values), out, np.array([np.nan]), np.zeros(0, np.int64), 2, 2 / 3, 1 / 3)
    return out.tolist()


@pytest.mark.usefixtures("fresh_scans")
def test_a_scan_is_written_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that is asked for has one module a scan; a second process would load it as it is."""
    monkeypatch.setenv("TAPEWATCH_CACHE_DIR", str(tmp_path))
    assert ema_of_two([3.0, 6.0]) == [3.0, 5.0]
    (module,) = (tmp_path / "scans").glob("scan_ema_*.py")
    written = module.stat().st_mtime_ns
    scans._loaded.cache_clear()
    assert ema_of_two([3.0, float("nan"), 6.0])[2] == 5.0
    assert module.stat().st_mtime_ns == written
    assert list((tmp_path / "scans").glob("*.tmp")) == []


@pytest.mark.usefixtures("fresh_scans")
def test_without_a_folder_to_write_to_scans_live_for_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache folder that cannot be made is no reason to fail."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("TAPEWATCH_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert scans._cache_folder().parent == tmp_path
    assert scans._cache_folder().is_dir()


@pytest.mark.usefixtures("fresh_scans")
def test_the_cache_folder_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`XDG_CACHE_HOME`, else `~/.cache`."""
    monkeypatch.delenv("TAPEWATCH_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert scans._cache_folder() == tmp_path / "cache" / "tapewatch" / "scans"
    scans._cache_folder.cache_clear()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert scans._cache_folder() == tmp_path / ".cache" / "tapewatch" / "scans"
