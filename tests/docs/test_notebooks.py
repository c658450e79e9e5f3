"""The example notebooks run from beginning to end, without the outside world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from markdown_pages import ROOT
from nbclient import NotebookClient

from tapewatch import study

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
#: Of a cell that hangs.
LIMIT_S = 200


def code_of(notebook: Any) -> list[Any]:
    """Its cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    """Every cell, in order; those that end in a value show one."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=LIMIT_S, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in code_of(notebook):
        last = cell.source.splitlines()[-1]
        if not last.startswith((" ", "research =", "ARCHIVE =")):
            assert cell.outputs, last


def test_the_notebook_uses_everything_that_there_is() -> None:
    """Of the API for notebooks; and it is kept without what it printed once."""
    notebook = nbformat.read(ROOT / "examples" / "research.ipynb", as_version=4)
    nbformat.validate(notebook)
    text = "\n".join(cell.source for cell in code_of(notebook))
    given = {"Comparison", "Searched", "Traded", "WalkForward"}  # by methods of Research
    assert [name for name in study.__all__ if name not in given and f"study.{name}(" not in text] == []
    assert [name for name in vars(study.Research) if not name.startswith("_") and f".{name}(" not in text] == []
    shown = [
        *(name for name in vars(study.Traded) if not name.startswith("_")),
        "metrics",
        "trials",
        "sentence",
        "lines",
    ]
    assert [name for name in shown if f".{name}" not in text] == []
    assert not any(cell.outputs or cell.execution_count for cell in code_of(notebook))
