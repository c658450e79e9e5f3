"""The pieces a view is made of."""

from __future__ import annotations

from typing import NamedTuple


class Line(NamedTuple):
    """One labelled value."""

    label: str
    value: str


class FactorLine(NamedTuple):
    """One factor: `met`, `not met` or `unknown`, with its text and the values it compared."""

    mark: str
    name: str
    text: str
