"""What the server is given of the run whose pages it serves; see `tapewatch.live.onlookers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from tapewatch.config import Config
from tapewatch.engine.tape import Tape
from tapewatch.model import Effect, Event, Outlook
from tapewatch.strategy import Program


class Scene(Protocol):
    """What a process of a run has to show, on its event loop."""

    role: str
    tapes: dict[str, Tape]
    market_ms: Callable[[], int | None]
    on_step: Callable[[Sequence[Event], Sequence[Effect]], None] | None
    on_attempt: Callable[[str, str, str, int], None] | None

    @property
    def config(self) -> Config:
        """The configuration in force."""
        ...

    @property
    def programs(self) -> Sequence[Program]:
        """What is looked for, compiled."""
        ...

    def outlook(self, symbol: str, at_ms: int) -> Outlook | None:
        """Trend and regimes of a symbol."""
        ...
