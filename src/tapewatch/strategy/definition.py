"""A strategy as its author wrote it: the YAML mapping, checked and typed."""

from __future__ import annotations

import fnmatch
import keyword
import math
import re
import reprlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from tapewatch.errors import StrategyError
from tapewatch.model import INTERVALS_MS, Side
from tapewatch.strategy.expression import did_you_mean
from tapewatch.strategy.graph import SOURCES
from tapewatch.strategy.ranges import range_of

T = TypeVar("T")

#: Names of strategies, factors and parameters: what can stand in an id and in an expression.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MAX_BARS = 1_000_000
_MAX_NUMBER = sys.float_info.max
_MAX_DURATION_MS = 36_525 * _UNIT_MS["d"]

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring = 1, 60

SIDES: tuple[Side, Side] = ("long", "short")
#: Regimes of the market, each a condition without parameters of the same name in the language.
REGIMES = ("trending", "ranging", "high_volatility", "low_volatility")


@dataclass(frozen=True)
class TargetText:
    """A target as written: `at` is a distance from entry, `share` the percentage of the position closed there."""

    at: str
    share: float


@dataclass(frozen=True)
class TrailingText:
    """A trailing stop as written: it follows the best price `by` a distance, once that is `after` from the entry."""

    after: str | None
    by: str


@dataclass(frozen=True)
class Duplicate:
    """Within `window_ms` of the last passed signal a further one is blocked unless price moved more than `move`."""

    window_ms: int
    move: float


@dataclass(frozen=True)
class Budget:
    """At most `alerts` passed signals of a strategy, over all symbols, in any `window_ms`."""

    alerts: int
    window_ms: int


@dataclass(frozen=True)
class RegimeFilter:
    """A signal passes when all of `require` hold on its timeframe and none of `avoid` does."""

    require: tuple[str, ...]
    avoid: tuple[str, ...]


@dataclass(frozen=True)
class Strategy:
    """One strategy, checked but not yet compiled.

    Attributes:
        params: parameter -> value; its default where it has values by regime.
        by_regime: parameter -> regime -> value, for those that have any; the first regime that holds decides.
        sides: side -> factor name -> condition; a side without factors never fires.
        at_least: how many factors of a side must be met.
        always: factors that must be among them.
        break_even: the distance in favour of the entry after which the stop is at the entry.
        time_limit: bars of its timeframe after which a signal's outcome is decided.
    """

    name: str
    timeframes: tuple[str, ...]
    higher: Mapping[str, str]
    params: Mapping[str, float]
    by_regime: Mapping[str, Mapping[str, float]]
    sides: Mapping[Side, Mapping[str, str]]
    at_least: Mapping[Side, int]
    always: tuple[str, ...]
    stop: str
    targets: tuple[TargetText, ...]
    break_even: str | None
    trailing: TrailingText | None
    time_limit: int
    duplicate: Duplicate
    cooldown_ms: int
    regime: RegimeFilter | None
    budget: Budget | None
    symbols: tuple[str, ...]

    @property
    def regimes(self) -> tuple[str, ...]:
        """Those that it filters by, each once."""
        return tuple(dict.fromkeys((*self.regime.require, *self.regime.avoid))) if self.regime else ()

    def watches(self, symbol: str) -> bool:
        """Whether one of its symbol patterns matches."""
        return any(fnmatch.fnmatchcase(symbol, pattern) for pattern in self.symbols)


_KEYS = (
    "timeframes", "higher", "params", "long", "short", "fire", "stop", "targets", "break_even", "trailing",
    "time_limit", "duplicate", "cooldown", "regime", "budget", "symbols", "search",
)  # fmt: skip


def from_mapping(name: str, mapping: object) -> Strategy:
    """The strategy that a YAML mapping describes. Raises StrategyError naming the key."""
    return _Checker(name).strategy(mapping)


class _Checker:
    def __init__(self, name: str) -> None:
        self.name = name

    def fail(self, key: str, message: str) -> StrategyError:
        return StrategyError(message, where=f"{self.name}.{key}" if key else self.name)

    def strategy(self, mapping: object) -> Strategy:
        if not _NAME.fullmatch(self.name):
            raise self.fail("", "a strategy's name has letters, digits and _, and starts with no digit")
        top = self.mapping("", mapping)
        for key in top:
            if key not in _KEYS:
                raise self.fail(key, f"unknown key{did_you_mean(key, _KEYS)}")
        for key in ("timeframes", "stop", "targets"):
            if key not in top:
                raise self.fail(key, "is missing")
        written = {self.param(key): value for key, value in self.part(top, "params").items()}
        by_regime = {key: self.by_regime(key, value) for key, value in written.items() if isinstance(value, Mapping)}
        params = {
            key: self.number(f"params.{key}", value["default"] if key in by_regime else value)
            for key, value in written.items()
        }
        sides = {side: self.factors(side, self.part(top, side)) for side in SIDES}
        if not any(sides.values()):
            raise self.fail("long", "there is no factor, neither long nor short")
        fire = top.get("fire", "all")
        least = fire.get("at_least") if isinstance(fire, Mapping) else None
        if isinstance(least, str) and least in by_regime:
            raise self.fail("fire.at_least", f"{least!r} has values by regime, which a count cannot have")
        at_least, always = self.fire(fire, params, sides)
        self.search(self.part(top, "search"), params)
        return Strategy(
            name=self.name,
            timeframes=self.timeframes(top["timeframes"]),
            higher=self.higher(self.part(top, "higher")),
            params=params,
            by_regime=by_regime,
            sides=sides,
            at_least=at_least,
            always=always,
            stop=self.text("stop", top["stop"]),
            targets=self.targets(top["targets"]),
            break_even=self.optional("break_even", top.get("break_even")),
            trailing=self.trailing(self.part(top, "trailing")),
            time_limit=self.whole("time_limit", top.get("time_limit", 240), 1, _MAX_BARS),
            duplicate=self.duplicate(self.part(top, "duplicate")),
            cooldown_ms=self.duration("cooldown", top.get("cooldown", "0m")),
            regime=self.regime(self.part(top, "regime")),
            budget=self.budget(self.part(top, "budget")),
            symbols=tuple(
                self.text("symbols", pattern) for pattern in self.items("symbols", top.get("symbols", ["*"]))
            ),
        )

    def mapping(self, key: str, value: object) -> Mapping[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(inner, str) for inner in value):
            raise self.fail(key, "must be a mapping of names")
        return value

    def part(self, top: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        value = top.get(key)
        return {} if value is None else self.mapping(key, value)

    def items(self, key: str, value: object) -> list[Any]:
        if not isinstance(value, list | tuple) or not value:
            raise self.fail(key, "must be a list with at least one entry")
        return list(value)

    def text(self, key: str, value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.fail(key, "must be text")
        return str(value)

    def optional(self, key: str, value: object) -> str | None:
        return None if value is None else self.text(key, value)

    def number(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_NUMBER:
            raise self.fail(key, "must be a number")
        return float(value)

    def whole(self, key: str, value: object, least: int, most: int) -> int:
        number = self.number(key, value)
        if not number.is_integer() or not least <= number <= most:
            raise self.fail(key, f"must be a whole number from {least} to {most:,}")
        return int(number)

    def duration(self, key: str, value: object) -> int:
        return self._read(key, value, duration_ms, "a duration as 30s, 5m or 1h")

    def percentage(self, key: str, value: object) -> float:
        return self._read(key, value, fraction, "a percentage as 0.3%")

    def _read(self, key: str, value: object, read: Callable[[str], T], what: str) -> T:
        try:
            return read(str(value) if isinstance(value, str | int | float) else "")
        except ValueError:
            raise self.fail(key, f"must be {what}, was {_shown(value)}") from None

    def param(self, key: str) -> str:
        if not _NAME.fullmatch(key) or key in SOURCES or keyword.iskeyword(key):
            raise self.fail(f"params.{key}", "cannot be a parameter's name" + (" (it is a source)" * (key in SOURCES)))
        return key

    def by_regime(self, key: str, value: Mapping[object, object]) -> dict[str, float]:
        """The values of a parameter beside its default."""
        if "default" not in value:
            raise self.fail(f"params.{key}.default", "is missing")
        return {
            self.regime_name(f"params.{key}", name): self.number(f"params.{key}.{name}", number)
            for name, number in value.items()
            if name != "default"
        }

    def regime_name(self, key: str, name: object) -> str:
        if name not in REGIMES:
            hint = did_you_mean(name, REGIMES) if isinstance(name, str) else ""
            raise self.fail(key, f"{_shown(name)} is no regime{hint}")
        return str(name)

    def regime(self, part: Mapping[str, Any]) -> RegimeFilter | None:
        self.known("regime", part, ("require", "avoid"))
        require, avoid = (
            tuple(self.regime_name(f"regime.{key}", name) for name in part.get(key) or ())
            for key in ("require", "avoid")
        )
        return RegimeFilter(require, avoid) if require or avoid else None

    def budget(self, part: Mapping[str, Any]) -> Budget | None:
        self.known("budget", part, ("alerts", "window"))
        if not part:
            return None
        alerts = self.whole("budget.alerts", part.get("alerts"), 1, 100_000)
        return Budget(alerts, self.duration("budget.window", part.get("window", "1h")))

    def search(self, part: Mapping[str, Any], params: Mapping[str, float]) -> None:
        """Whether it can be read; it is no part of the strategy, for it changes nothing of what it does."""
        for key, value in part.items():
            if key not in params:
                raise self.fail(f"search.{key}", f"no parameter {key!r}{did_you_mean(key, params)}")
            try:
                range_of(value, params[key])
            except ValueError as error:
                raise self.fail(f"search.{key}", f"{error}, was {_shown(value)}") from None

    def known(self, key: str, part: Mapping[str, Any], keys: tuple[str, ...]) -> None:
        for inner in part:
            if inner not in keys:
                raise self.fail(f"{key}.{inner}", f"unknown key{did_you_mean(inner, keys)}")

    def factors(self, side: str, part: Mapping[str, Any]) -> dict[str, str]:
        for key in part:
            if not _NAME.fullmatch(key):
                raise self.fail(f"{side}.{key}", "a factor's name has letters, digits and _")
        return {key: self.text(f"{side}.{key}", value) for key, value in part.items()}

    def timeframes(self, value: object) -> tuple[str, ...]:
        names = tuple(self.interval("timeframes", item) for item in self.items("timeframes", value))
        if len(set(names)) != len(names):
            raise self.fail("timeframes", "names a timeframe twice")
        return names

    def interval(self, key: str, value: object) -> str:
        if not isinstance(value, str) or value not in INTERVALS_MS:
            raise self.fail(key, f"{_shown(value)} is no timeframe; known are {', '.join(INTERVALS_MS)}")
        return value

    def higher(self, part: Mapping[str, Any]) -> dict[str, str]:
        result = {}
        for key, value in part.items():
            low, high = self.interval("higher", key), self.interval(f"higher.{key}", value)
            if INTERVALS_MS[high] <= INTERVALS_MS[low] or INTERVALS_MS[high] % INTERVALS_MS[low]:
                raise self.fail(f"higher.{key}", f"{high} is not a larger multiple of {low}")
            result[low] = high
        return result

    def fire(
        self, value: object, params: Mapping[str, float], sides: Mapping[Side, Mapping[str, str]]
    ) -> tuple[dict[Side, int], tuple[str, ...]]:
        counts = {side: len(factors) for side, factors in sides.items()}
        if value == "all":
            return counts, ()
        if value == "any":
            return dict.fromkeys(SIDES, 1), ()
        if not isinstance(value, Mapping) or not set(value) <= {"at_least", "always"}:
            raise self.fail("fire", "must be all, any, or {at_least: number, always: [factors]}")
        listed = value.get("always")
        always = () if listed in (None, []) else tuple(self.items("fire.always", listed))
        for factor in always:
            for side, factors in sides.items():
                if factors and (not isinstance(factor, str) or factor not in factors):
                    hint = did_you_mean(factor, factors) if isinstance(factor, str) else ""
                    raise self.fail("fire.always", f"{side} has no factor {_shown(factor)}{hint}")
        wanted = value.get("at_least")
        if isinstance(wanted, str) and wanted not in params:
            raise self.fail("fire.at_least", f"no parameter {wanted!r}{did_you_mean(wanted, params)}")
        if wanted is None:
            return counts, always
        smallest = min(count for count in counts.values() if count)
        number = params[wanted] if isinstance(wanted, str) else wanted
        least = self.whole(f"params.{wanted}" if isinstance(wanted, str) else "fire.at_least", number, 1, smallest)
        return dict.fromkeys(SIDES, least), always

    def targets(self, value: object) -> tuple[TargetText, ...]:
        targets = []
        for number, item in enumerate(self.items("targets", value)):
            key = f"targets[{number}]"
            entry = self.mapping(key, item)
            if set(entry) != {"at", "share"}:
                raise self.fail(key, "must be {at: distance, share: percentage}")
            share = self.percentage(f"{key}.share", entry["share"]) * 100
            targets.append(TargetText(self.text(f"{key}.at", entry["at"]), round(share, 9)))
        if abs(sum(target.share for target in targets) - 100) > 1e-6 or any(target.share <= 0 for target in targets):
            raise self.fail("targets", "the shares must be above 0% and sum to 100%")
        return tuple(targets)

    def trailing(self, part: Mapping[str, Any]) -> TrailingText | None:
        self.known("trailing", part, ("after", "by"))
        if not part:
            return None
        if part.get("by") is None:
            raise self.fail("trailing.by", "is missing")
        after = self.optional("trailing.after", part.get("after"))
        return TrailingText(after, self.text("trailing.by", part["by"]))

    def duplicate(self, part: Mapping[str, Any]) -> Duplicate:
        self.known("duplicate", part, ("window", "move"))
        return Duplicate(
            self.duration("duplicate.window", part.get("window", "5m")),
            self.percentage("duplicate.move", part.get("move", "0.3%")),
        )


def _shown(value: object) -> str:
    """A value in a message; cut short, for aliases in YAML can make a few lines into gigabytes."""
    return _SHORT.repr(value)


def duration_ms(text: str) -> int:
    """`500ms 30s 5m 1h 2d` in ms. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    lasting_ms = float(match[1]) * _UNIT_MS[match[2]] if match else math.inf
    if lasting_ms > _MAX_DURATION_MS:
        raise ValueError(text)
    return round(lasting_ms)


def fraction(text: str) -> float:
    """`0.3%` as 0.003. Raises ValueError."""
    if not text.strip().endswith("%"):
        raise ValueError(text)
    value = float(text.strip()[:-1]) / 100
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value
