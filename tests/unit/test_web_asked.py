"""Lists of the API a page at a time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import HTTPException

from tapewatch.store.pages import WrongCursorError
from tapewatch.web.asked import page


def site() -> Any:
    """One whose reads are done at once, of no ledger."""

    async def reads(read: Callable[[Any], Any]) -> Any:
        return read(None)

    return SimpleNamespace(reads=reads)


def failing(error: Exception) -> Callable[[Any, Any], Any]:
    """A read that fails."""

    def read(_ledger: Any, _after: Any) -> Any:
        raise error

    return read


@pytest.mark.parametrize("cursor", ["zz", "00", "7b7d"])
async def test_a_cursor_that_is_none_is_refused(cursor: str) -> None:
    """Whoever sent it is told so, and nothing is read."""
    with pytest.raises(HTTPException, match="cursor") as refused:
        await page(SimpleNamespace(headers={}), site(), cursor, failing(AssertionError("it was read")))  # type: ignore[arg-type]
    assert refused.value.status_code == 400


async def test_only_a_cursor_is_called_one() -> None:
    """One of another list is refused; what else goes wrong is nobody's cursor."""
    with pytest.raises(HTTPException, match="cursor"):
        await page(SimpleNamespace(headers={}), site(), "5b315d", failing(WrongCursorError()))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a row"):
        await page(SimpleNamespace(headers={}), site(), None, failing(ValueError("a row that cannot be read")))  # type: ignore[arg-type]
