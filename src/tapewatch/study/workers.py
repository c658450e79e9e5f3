"""Symbols, or parameter sets, shared among processes."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from weakref import finalize

from tapewatch import strategies

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

    from tapewatch.study.sweep import Sweep, Tried

T = TypeVar("T")
U = TypeVar("U")

#: Symbols that a worker takes at a time.
TOGETHER = 4
#: Parameter sets that are shared out together, that a process takes of them at a time at most, and how often each
#: takes some where they are fewer.
WINDOW, SETS, TURNS = 1_024, 16, 4
#: Sweeps that a process of a crew keeps at hand: a search may have one of the whole period and one of its begin.
KEPT = 2

ParameterSet: TypeAlias = Mapping[str, float]


@contextmanager
def sharing(one: Callable[[str], T], symbols: Sequence[str], workers: int = 1) -> Iterator[Callable[[], Iterator[T]]]:
    """A function that gives what `one` finds of each symbol, in no order.

    This process is one of the workers, from when it is called; the others begin at once.
    """
    if workers == 1 or len(symbols) == 1:
        yield lambda: map(one, symbols)
        return
    files = strategies.python_files()
    parts = [symbols[k : k + TOGETHER] for k in range(0, len(symbols), TOGETHER)]
    pool = _pool(workers - 1, strategies.load_python_files, files)
    try:
        futures = [pool.submit(_each, one, part) for part in parts]
        yield partial(_gathered, one, parts, futures)
    finally:
        pool.shutdown(cancel_futures=True)


def _gathered(
    one: Callable[[str], T], parts: Sequence[Sequence[str]], futures: Sequence[Future[list[T]]]
) -> Iterator[T]:
    for part, future in _backwards(parts, futures):
        if future.cancel():  # nobody has begun it
            yield from map(one, part)
    for future in futures:
        if not future.cancelled():
            yield from future.result()


def _backwards(parts: Sequence[U], futures: Sequence[Future[T]]) -> Iterator[tuple[U, Future[T]]]:
    return zip(reversed(parts), reversed(futures), strict=True)


def _each(one: Callable[[str], T], symbols: Sequence[str]) -> list[T]:
    return [one(symbol) for symbol in symbols]


class Crew:
    """Processes that share the sets of sweeps, this one among them. They begin when they are needed and end with it."""

    def __init__(self) -> None:
        self._pools: dict[int, ProcessPoolExecutor] = {}
        finalize(self, _end, self._pools)

    def tried(self, sweep: Sweep, sets: Iterable[ParameterSet], workers: int) -> Iterator[Tried]:
        """As `sweep.tried`, by so many processes, at least 2; the others get the sweep pickled."""
        if workers not in self._pools:
            self._pools[workers] = _pool(workers - 1, strategies.load_python_files, strategies.python_files())
        pool, pickled, waiting = self._pools[workers], pickle.dumps(sweep), iter(sets)
        while begun := list(islice(waiting, WINDOW)):
            # Sets that are alike read the same columns: the others begin at one end, this process at the other.
            order = sorted(range(len(begun)), key=lambda k: tuple(begun[k].values()))
            size = min(SETS, -(-len(order) // (TURNS * workers)))
            parts = [[begun[k] for k in order[start : start + size]] for start in range(0, len(order), size)]
            futures = [pool.submit(_tried, pickled, part) for part in parts]
            mine = [list(sweep.tried(part)) if future.cancel() else None for part, future in _backwards(parts, futures)]
            done = zip(futures, reversed(mine), strict=True)
            found = (one for future, own in done for one in (future.result() if own is None else own))
            yield from (one for _, one in sorted(zip(order, found, strict=True), key=itemgetter(0)))


def _end(pools: Mapping[int, ProcessPoolExecutor]) -> None:
    """What nobody has begun stays undone. Waits for the rest: one that ends while the interpreter does may complain."""
    for pool in pools.values():
        pool.shutdown(cancel_futures=True)


@lru_cache(KEPT)
def _sweep(pickled: bytes) -> Sweep:
    """With all that it has at hand from one task to the next."""
    sweep: Sweep = pickle.loads(pickled)  # noqa: S301 - by the process that started this one
    return sweep


def _tried(pickled: bytes, sets: Sequence[ParameterSet]) -> list[Tried]:
    return list(_sweep(pickled).tried(sets))


def _pool(workers: int, begin: Callable[[Any], None], what: Any) -> ProcessPoolExecutor:
    """Processes that start fresh: a forked one would share our threads' locks in whatever state they are."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), begin, (what,))
