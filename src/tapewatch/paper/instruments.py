"""What can be traded in which pieces: ticks, steps and the least notional of a symbol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tapewatch.paper.rules import Terms

#: In quote units, where nobody has told another.
LEAST_NOTIONAL = Decimal(5)


@dataclass(frozen=True)
class Instrument:
    """A symbol's filters, in quote and base units. The default stands where neither exchange nor file has told."""

    tick: Decimal = Decimal("0.00000001")
    step: Decimal = Decimal("0.00000001")
    least_notional: Decimal = LEAST_NOTIONAL

    def terms(self, leverage: float, maintenance: float) -> Terms:
        """As the rules read it; leverage 0 where nothing is borrowed."""
        unit, per = self.tick.as_integer_ratio()
        return Terms(
            float(unit), float(per), float(self.tick * self.step), float(self.least_notional), leverage, maintenance
        )


#: Filter -> key -> what it is of an `Instrument`. Futures say the notional in another key.
_FILTERS = {
    "PRICE_FILTER": {"tickSize": "tick"},
    "LOT_SIZE": {"stepSize": "step"},
    "NOTIONAL": {"minNotional": "least_notional"},
    "MIN_NOTIONAL": {"minNotional": "least_notional", "notional": "least_notional"},
}


def instrument_of(filters: Iterable[Mapping[str, Any]]) -> Instrument:
    """What the filters of an `exchangeInfo` say.

    Raises:
        KeyError, TypeError, InvalidOperation: they are none.
    """
    found: dict[str, Decimal] = {}
    for one in filters:
        for key, name in _FILTERS.get(one["filterType"], {}).items():
            if key in one and Decimal(one[key]) > 0:  # zero switches a filter off
                found[name] = Decimal(one[key])
    return Instrument(**found)
