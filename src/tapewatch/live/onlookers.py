"""What a run shows to whoever looks at its pages; neither engine nor pipeline waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tapewatch.config import Config
from tapewatch.engine import Engine
from tapewatch.engine.tape import Tape
from tapewatch.live.lane import Attempt
from tapewatch.live.pipeline import StepReport
from tapewatch.model import BarClosed, Effect, Event, History, Outlook, Universe
from tapewatch.strategy import Program


class Onlookers:
    """What is looked at.

    Args:
        config: the one in force.
        role: of the process.

    Attributes:
        tapes: of each symbol that bars came of.
        market_ms: the exchange's time, be it simulated; None where this process has no feed, or has not heard of it.
        on_step: told the events and effects of each committed step; None while nobody looks.
        on_attempt: told an alert, its channel, how an attempt to deliver it ended, and when; None while nobody looks.
    """

    def __init__(self, config: Callable[[], Config], role: str) -> None:
        self._config, self.role = config, role
        self.tapes: dict[str, Tape] = {}
        self.market_ms: Callable[[], int | None] = lambda: None
        self.engine: Callable[[], Engine | None] = lambda: None
        self.on_step: Callable[[Sequence[Event], Sequence[Effect]], None] | None = None
        self.on_attempt: Callable[[str, str, str, int], None] | None = None

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config()

    @property
    def programs(self) -> Sequence[Program]:
        """What is looked for, compiled; nothing where there is no engine, or none yet."""
        engine = self.engine()
        return () if engine is None else engine.programs

    def outlook(self, symbol: str, at_ms: int) -> Outlook | None:
        """Trend and regimes of a symbol; None where they are not known."""
        engine = self.engine()
        known = None if engine is None else engine.glance(symbol, at_ms)
        return None if known is None else known.outlook

    def processed(self, events: Sequence[Event]) -> None:
        """The engine has these."""
        tapes = self.tapes
        for event in events:
            if isinstance(event, BarClosed | History):
                bar = event.bar
                tape = tapes.get(bar.symbol)
                if tape is None:
                    tape = tapes[bar.symbol] = Tape()
                tape.take(bar)
            elif isinstance(event, Universe):
                for symbol in event.gone:
                    tapes.pop(symbol, None)

    def stepped(self, report: StepReport) -> None:
        """A step was committed."""
        if self.on_step is not None:
            self.on_step(report.events, report.effects)

    def attempted(self, attempt: Attempt) -> None:
        """An attempt to deliver ended."""
        if self.on_attempt is not None:
            self.on_attempt(attempt.alert_id, attempt.channel, attempt.outcome, attempt.ended_ms)
