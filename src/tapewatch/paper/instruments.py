"""What can be traded in which pieces: ticks, steps and the least notional of a symbol."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tapewatch.paper.rules import Terms


@dataclass(frozen=True)
class Instrument:
    """A symbol's filters, in quote and base units. The default stands where neither exchange nor file has told."""

    tick: Decimal = Decimal("0.00000001")
    step: Decimal = Decimal("0.00000001")
    least_notional: Decimal = Decimal(5)

    def terms(self, leverage: float, maintenance: float) -> Terms:
        """As the rules read it; leverage 0 where nothing is borrowed."""
        unit, per = self.tick.as_integer_ratio()
        return Terms(
            float(unit), float(per), float(self.tick * self.step), float(self.least_notional), leverage, maintenance
        )
