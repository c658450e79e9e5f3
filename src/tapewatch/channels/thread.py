"""Calls that may block for good, made beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread
from typing import ParamSpec, TypeVar

from tapewatch.channels.port import DeliveryError

P = ParamSpec("P")
T = TypeVar("T")


class OwnThread:
    """Makes calls in a thread of its own, one at a time.

    Not in the event loop's pool: a call that never returns would take one of its few places from all channels, and
    keep the process from ending.
    """

    def __init__(self) -> None:
        self._last: Future[object] | None = None

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the call returns.

        Raises:
            DeliveryError: an earlier call that nobody waits for any more is still under way.
        """
        if self._last is not None and not self._last.done():
            raise DeliveryError("what was sent before is still under way", whole_channel=True)
        done: Future[T] = Future()
        context = copy_context()

        def work() -> None:
            try:
                result = context.run(call, *args, **kwargs)
            except BaseException as error:  # for who waits, where somebody does
                done.set_exception(error)
            else:
                done.set_result(result)

        done.set_running_or_notify_cancel()  # from here on it cannot be cancelled, only left alone
        self._last = done  # type: ignore[assignment]  # only asked whether it is done
        Thread(target=work, daemon=True).start()
        return await asyncio.wrap_future(done)
