"""What a search has tried, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Trials:
    """Parameter sets in the order in which they were tried, a row each.

    Attributes:
        names: of the parameters that were searched.
        params: their values.
        objective: what is made large; NaN where the set makes no strategy, was given up, or has no such figure.
        trades: how many it made.
        blocks: as `sweep.Tried.blocks`; zeros where nothing was tried to the end.
        why: it has no objective; empty where it has one.
    """

    names: Sequence[str]
    params: npt.NDArray[np.float64]
    objective: npt.NDArray[np.float64]
    trades: npt.NDArray[np.int64]
    blocks: npt.NDArray[np.float64]
    why: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.params)

    @property
    def best(self) -> int:
        """The row with the largest objective, of equal ones the first; -1 where none has one."""
        known = ~np.isnan(self.objective)
        return int(np.flatnonzero(known)[np.argmax(self.objective[known])]) if known.any() else -1

    def set_of(self, row: int) -> dict[str, float]:
        """The parameters of a row by name."""
        return dict(zip(self.names, self.params[row].tolist(), strict=True))
