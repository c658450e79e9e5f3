"""Scoring models at work: what they say of candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tapewatch.errors import SetupError
from tapewatch.features import FeatureSet, features_of
from tapewatch.gate import Scored
from tapewatch.model import Signal
from tapewatch.scoring import Model
from tapewatch.strategy import Program

#: Features that are named are no more than these.
_NAMED = 3


@dataclass(frozen=True)
class Scoring:
    """A model, and the score from which on signals pass; `where` names it in messages."""

    model: Model
    at_least: float
    where: str = "the model"

    @classmethod
    def read(cls, raw: Mapping[str, Any], at_least: float | None = None, where: str = "the model") -> Scoring:
        """One from plain values, as JSON gives them; without `at_least` its own threshold is asked for.

        Raises:
            SetupError: see `Model.read`.
        """
        model = Model.read(raw, where)
        return cls(model, model.document.threshold if at_least is None else at_least, where)

    def written(self) -> dict[str, Any]:
        """What `read` makes it again, by its arguments."""
        return {"raw": msgspec.to_builtins(self.model.document), "at_least": self.at_least}

    @property
    def reads(self) -> set[str]:
        """The features that its scores depend on."""
        formula = self.model.formula
        nodes = {node.feature for tree in formula.trees for node in tree if node.feature is not None}
        weights = {place for place, weight in enumerate(formula.weights) if weight.weight}
        return {formula.features[place] for place in nodes | weights}


class Scorers:
    """The models of an engine, each at its strategy.

    Args:
        scorings: they; none of a strategy and timeframe that another one is of.
        programs: of all strategies.

    Raises:
        SetupError: a model is of a strategy that is not there, or was another one when the model was trained.
    """

    def __init__(self, scorings: Iterable[Scoring], programs: Iterable[Program]) -> None:
        self._at_least: dict[str, float] = {}
        self._by_kind: dict[tuple[str, str], tuple[Scoring, FeatureSet]] = {}
        by_strategy: dict[str, dict[str, Program]] = {}
        for program in programs:
            by_strategy.setdefault(program.strategy.name, {})[program.timeframe] = program
        for scoring in scorings:
            document = scoring.model.document
            of_strategy = by_strategy.get(document.strategy)
            if of_strategy is None:
                raise SetupError(
                    f"{scoring.where}: it is a model of {document.strategy!r}, and there is no such strategy"
                )
            known = FeatureSet.of(next(iter(of_strategy.values())))
            lacking = [name for name in document.formula.features if name not in known.names]
            if lacking:
                few = ", ".join(lacking[:_NAMED]) + (f" and {len(lacking) - _NAMED} more" if lacking[_NAMED:] else "")
                text = (
                    f"{document.strategy} was another strategy when it was trained: it has no {few} now; train it again"
                )
                raise SetupError(f"{scoring.where}: {text}")
            self._at_least[document.strategy] = scoring.at_least
            for timeframe in document.timeframes:
                if (document.strategy, timeframe) in self._by_kind:
                    raise SetupError(f"{scoring.where}: there is another model of {document.strategy} on {timeframe}")
                self._by_kind[document.strategy, timeframe] = scoring, known

    def of(self, signal: Signal) -> Scored | None:
        """What the model of a candidate's strategy says of it; None where that has none."""
        found = self._by_kind.get((signal.strategy, signal.timeframe))
        if found is None:
            at_least = self._at_least.get(signal.strategy)
            return None if at_least is None else Scored(None, at_least)
        scoring, known = found
        return Scored(scoring.model.score(features_of(signal, known)), scoring.at_least)
