"""The states of compiled steps as plain values and back, to the last bit."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from tapewatch.bars import Saved
from tapewatch.strategy.step import State


def saved_state(state: State) -> Saved:
    """What `restore_state` makes it again."""
    return list(map(_saved_slot, state))


def restore_state(state: State, slots: Sequence[Any]) -> None:
    """Put what was saved into a fresh state. Raises ValueError where that is another step's."""
    if [type(slot) is bytes for slot in slots] != [isinstance(slot, array) for slot in state]:
        raise ValueError("the state is another program's")
    for place, slot in enumerate(slots):
        state[place] = _slot(state[place], slot)


def saved_number(number: float) -> Any:
    """A number as MessagePack holds it."""
    # A user's indicator may count beyond 64 bits.
    return number if type(number) is float or -(2**63) <= number < 2**63 else [str(number)]


def number_of(saved: Any) -> float:
    """What was saved."""
    value: float = int(saved[0]) if isinstance(saved, list) else saved
    return value


def ring_of(saved: bytes, length: int) -> array[float]:
    """A ring that was saved as its bytes. Raises ValueError where it had another length."""
    ring = array("d", saved)
    if len(ring) != length:
        raise ValueError("a window has another length")
    return ring


def _saved_slot(slot: float | array[float]) -> Any:
    return slot.tobytes() if isinstance(slot, array) else saved_number(slot)


def _slot(fresh: float | array[float], saved: Any) -> float | array[float]:
    return ring_of(saved, len(fresh)) if isinstance(fresh, array) else number_of(saved)
