"""Parameter sets tried on other machines, by the workers of a Dask scheduler."""

from __future__ import annotations

import pickle
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Any

from tapewatch import __version__
from tapewatch.errors import SetupError, TapewatchError
from tapewatch.study.backtest import Plan
from tapewatch.study.signals import Request
from tapewatch.study.sweep import Sweep, Tried

ParameterSet = Mapping[str, float]

#: How long a scheduler may take to answer, and to have a worker.
WITHIN_S = 20
#: Sets in a task at most; several tasks a thread, so that none waits long for the last.
SETS, TASKS_A_THREAD = 50, 2


@contextmanager
def cluster(address: str) -> Iterator[Callable[..., Sweep]]:
    """Makes sweeps, from what `Sweep` is made of, whose sets are tried by the workers of a scheduler.

    Args:
        address: of the scheduler, as `tcp://host:8786`. Whoever is there reads what is sent, and answers what is
            unpickled here: it is to be trusted.

    Raises:
        SetupError: Dask is not installed, nothing answers there, it has no workers, or their tapewatch is another.
        TapewatchError: the workers were lost.
    """
    try:
        from distributed import Client
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise SetupError("--dask: Dask is not installed; pip install 'tapewatch[dask]'") from None
    try:
        client: Any = Client(address, timeout=WITHIN_S, set_as_default=False, name="tapewatch")  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise SetupError(f"--dask: {address}: {str(error).splitlines()[0]}") from None
    with client:
        _check(client, address)
        try:
            yield partial(Spread, client)
        except (KilledWorker, FutureCancelledError) as error:
            raise TapewatchError(f"--dask: {address}: its workers were lost: {error}") from None


def _check(client: Any, address: str) -> None:
    """Whether it has workers that can do this work."""
    try:
        client.wait_for_workers(1, timeout=WITHIN_S)
    except TimeoutError:
        raise SetupError(f"--dask: {address} has no workers") from None
    try:
        versions = client.run(_version)
    except ImportError:
        raise SetupError("--dask: its workers have no tapewatch; install the same as here") from None
    other = {worker: found for worker, found in versions.items() if found != __version__}
    if other:
        worker, found = next(iter(other.items()))
        raise SetupError(f"--dask: {worker} has tapewatch {found}, here is {__version__}")


class Spread(Sweep):
    """A sweep whose sets are tried by others; all else is done here."""

    def __init__(self, client: Any, mapping: Mapping[str, Any], plan: Plan, *, ship: bool = False) -> None:
        super().__init__(mapping, plan, ship=ship)
        self._client = client
        rooted = replace(plan, request=replace(plan.request, root=plan.request.root.resolve()))
        self._pickled = pickle.dumps(Sweep(mapping, rooted, ship=ship))
        self._name = blake2b(self._pickled, digest_size=16).hexdigest()

    def over(self, request: Request) -> Spread:
        """The same strategy and account, tried elsewhere."""
        return Spread(self._client, self._mapping, replace(self.plan, request=request), ship=self._ship)

    def tried(self, sets: Iterable[ParameterSet], workers: int = 1) -> Iterator[Tried]:  # noqa: ARG002
        """See `Sweep.tried`; how many workers there are, is the scheduler's matter."""
        waiting = list(sets)
        size = max(1, min(SETS, -(-len(waiting) // (TASKS_A_THREAD * self._threads()))))
        parts = [waiting[k : k + size] for k in range(0, len(waiting), size)]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)  # candles that were asked to be sent
            # By a task, not as data: what a lost worker had is made again.
            pickled = self._client.submit(_itself, self._pickled, key=f"sweep-{self._name}")
            futures = [self._client.submit(_tried, self._name, pickled, part, pure=False) for part in parts]
        try:
            for future in futures:
                yield from future.result()
        except SetupError as error:
            raise SetupError(f"--dask: a worker says: {error}") from None

    def _threads(self) -> int:
        return sum(self._client.nthreads().values()) or 1


#: Of a worker's process: the sweeps that it had last, by name, and who may use one.
_KEPT: OrderedDict[str, Sweep] = OrderedDict()
_KEEP = 3
_TURN = threading.Lock()


def _version() -> str:
    return __version__


def _itself(pickled: bytes) -> bytes:
    return pickled


def _tried(name: str, pickled: bytes, sets: Sequence[ParameterSet]) -> list[Tried]:
    """In a worker. Its threads take turns: a sweep is for one at a time, and they share one interpreter."""
    with _TURN:
        if name not in _KEPT:
            _KEPT[name] = pickle.loads(pickled)  # noqa: S301 - from the client, like this very function
        _KEPT.move_to_end(name)
        while len(_KEPT) > _KEEP:
            _KEPT.popitem(last=False)
        return list(_KEPT[name].tried(sets))
