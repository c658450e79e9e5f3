"""What an indicator is: one scalar update function and the facts that every user of it needs.

An update takes the values of one bar, its state and its constants, and returns its value or values and its new
state:

    def ema(x, last, alpha, keep):
        last = alpha * x + keep * last if last == last else x
        return last, last

It is written once. Live, its text is pasted into a strategy's step (`tapewatch.strategy.paste`); in research the same
text is pasted into a loop that Numba compiles. So it keeps to what both understand: floats and ints, `if`,
`for ... in range`, `break`, `log`, `exp`, `sqrt`, `int`, and one `return` at the end. It must not divide by zero or
leave a function's domain: there the two evaluators would differ. A condition comes as 2 for true; whatever else it is
counts as not true.

NaN rule, the same for every indicator: on a bar where an input is NaN the state stays and the value is NaN; a value
that is not finite becomes NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tapewatch.errors import SetupError
from tapewatch.model import NAN

#: `settling` of an indicator whose start never stops mattering (`obv`); it counts as settled from its first valid bar.
NEVER = math.inf

#: Longest window that may be asked for: 69 days of minutes. More would be a mistake or an attack on memory.
MAX_LENGTH = 100_000


Unit: TypeAlias = Literal["input", "price", "none"]


@dataclass(frozen=True)
class Ring:
    """State of an indicator with a window: `times` its first length plus `extra` floats, all 0 at the start."""

    extra: int = 0
    times: int = 1

    def size(self, lengths: tuple[int, ...]) -> int:
        """How many floats."""
        return self.times * lengths[0] + self.extra


@dataclass(frozen=True)
class Indicator:
    """One indicator, ready to be pasted.

    Attributes:
        name: as written in a strategy.
        inputs: series the caller writes, in order; `cond` marks a condition, anything else a number.
        lengths: constants the caller writes after them, integers of at least `least`.
        sources: series of the bar it reads by itself, after the inputs.
        outputs: names of its members, as `line` in `supertrend(3, 10).line`; one empty name for a single value.
        state: name -> initial value (float or int) or `Ring`.
        constants: from the lengths to further constants of the update.
        first_valid: from the lengths to the index of the first bar with a value, for inputs valid from bar 0; a tuple
            where the outputs differ.
        settling: from the bars of a day and the lengths to the bars after which the start's relative influence is below
            1e-12, or `NEVER`.
        units: what each output is measured in: as its first number `input`, `price`, or
            `none`.
        formula, seed, source, example: for the documentation; the example is an expression.
        update: the scalar function; parameters are inputs, sources, state and constants by name.
    """

    name: str
    inputs: tuple[str, ...]
    lengths: tuple[str, ...]
    sources: tuple[str, ...]
    outputs: tuple[str, ...]
    state: Mapping[str, float | int | Ring]
    constants: Callable[..., Mapping[str, float]]
    first_valid: Callable[..., int | tuple[int, ...]]
    settling: Callable[..., float]
    units: tuple[Unit, ...]
    formula: str
    seed: str
    source: str
    example: str
    least: int
    update: Callable[..., object]

    @property
    def signature(self) -> str:
        """How it is called, as `ema(x, length)`."""
        return f"{self.name}({', '.join((*self.inputs, *self.lengths))})"

    @property
    def summary(self) -> str:
        """What it is, in one line."""
        return (self.update.__doc__ or "").strip().split("\n")[0]

    def first_bars(self, *lengths: int) -> tuple[int, ...]:
        """Of every output the index of its first bar with a value, for inputs valid from bar 0."""
        first = self.first_valid(*lengths)
        return first if isinstance(first, tuple) else (first,) * len(self.outputs)


#: All indicators by name, in the order of their definition.
REGISTRY: dict[str, Indicator] = {}


def _no_constants(*_lengths: int) -> Mapping[str, float]:
    return {}


def indicator(
    *,
    name: str | None = None,
    formula: str,
    seed: str,
    source: str,
    inputs: tuple[str, ...] = (),
    lengths: tuple[str, ...] = (),
    sources: tuple[str, ...] = (),
    outputs: tuple[str, ...] = ("",),
    state: Mapping[str, float | int | Ring] | None = None,
    constants: Callable[..., Mapping[str, float]] = _no_constants,
    first_valid: Callable[..., int | tuple[int, ...]],
    settling: Callable[..., float],
    unit: Unit | tuple[Unit, ...],
    example: str = "",
    least: int = 1,
) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Register the decorated update function, under its own name if not another; see `Indicator` for the arguments.

    A name that begins with `_` is for the functions written in the language itself and cannot be written elsewhere.
    """

    def register(update: Callable[..., object]) -> Callable[..., object]:
        own = name or update.__name__
        known = REGISTRY.get(own)
        if known is not None and known.update.__code__.co_filename != update.__code__.co_filename:
            raise SetupError(f"indicator {own} exists already")
        REGISTRY[own] = Indicator(
            name=own,
            inputs=inputs,
            lengths=lengths,
            sources=sources,
            outputs=outputs,
            state=dict(state or {}),
            constants=constants,
            first_valid=first_valid,
            settling=settling,
            units=unit if isinstance(unit, tuple) else (unit,) * len(outputs),
            formula=formula,
            seed=seed,
            source=source,
            example=example,
            least=least,
            update=update,
        )
        return update

    return register


def decay_bars(keep: float) -> int:
    """Bars until `keep` to that power is below 1e-12: the settling of an exponential average."""
    return 1 if keep <= 0 else math.ceil(math.log(1e-12) / math.log(keep))


__all__ = ["MAX_LENGTH", "NAN", "NEVER", "REGISTRY", "Indicator", "Ring", "decay_bars", "indicator"]
