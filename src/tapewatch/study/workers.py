"""Symbols shared among processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tapewatch import strategies

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

#: Symbols that a worker takes at a time.
TOGETHER = 4


@contextmanager
def sharing(one: Callable[[str], T], symbols: Sequence[str], workers: int = 1) -> Iterator[Callable[[], Iterator[T]]]:
    """A function that gives what `one` finds of each symbol, in no order.

    This process is one of the workers, from when it is called; the others begin at once.
    """
    if workers == 1 or len(symbols) == 1:
        yield lambda: map(one, symbols)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Processes start fresh: a forked one would share our threads' locks in whatever state they are.
    context = multiprocessing.get_context("spawn")
    files = strategies.python_files()
    parts = [symbols[k : k + TOGETHER] for k in range(0, len(symbols), TOGETHER)]
    pool = ProcessPoolExecutor(workers - 1, context, strategies.load_python_files, (files,))
    try:
        futures = [pool.submit(_each, one, part) for part in parts]
        yield partial(_gathered, one, parts, futures)
    finally:
        pool.shutdown(cancel_futures=True)


def _gathered(
    one: Callable[[str], T], parts: Sequence[Sequence[str]], futures: Sequence[Future[list[T]]]
) -> Iterator[T]:
    for part, future in zip(reversed(parts), reversed(futures), strict=True):
        if future.cancel():  # nobody has begun it
            yield from map(one, part)
    for future in futures:
        if not future.cancelled():
            yield from future.result()


def _each(one: Callable[[str], T], symbols: Sequence[str]) -> list[T]:
    return [one(symbol) for symbol in symbols]
