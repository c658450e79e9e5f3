"""A search or a walk-forward as a report: whether its choice may be believed, and everything by which that is said."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapewatch.study import plots
from tapewatch.study.backtest import Plan
from tapewatch.study.charts import CARD_HEIGHT, CARD_WIDTH, Chart, over_time
from tapewatch.study.document import write_whole
from tapewatch.study.folds import Fold, WalkForward
from tapewatch.study.page import render
from tapewatch.study.report import asked_of
from tapewatch.study.signals import period
from tapewatch.study.trials import Trials
from tapewatch.study.words import count, moment, money, percent, ratio

#: Bars of the histogram of moved entries.
BINS = 30
#: Rows of a table of symbols, at most; those that brought and cost most.
MOST_SYMBOLS = 60
_FIGURES = {
    "sharpe": "Sharpe of a step", "expected": "expected of luck", "probability": "more than luck",
    "expectancy_r": "expectancy, R", "profit_factor": "profit factor",
}  # fmt: skip
_TITLES = {"all": "All trades", "thirds": "By third of the period", "regimes": "By regime", "symbols": "By symbol"}
_FOOT = (
    "Paper trades over stored candles; no order was sent anywhere. The same candles, strategy and options give this "
    "file again, byte by byte. What each figure means is in docs/research.md."
)


def write_report(
    path: Path, plan: Plan, found: Mapping[str, Any], trials: Trials | None, walk: WalkForward | None
) -> None:
    """Write the report of `found`, which is what `--json` prints.

    Raises:
        TapewatchError: the file cannot be written.
    """
    write_whole("--report", path, page(plan, found, trials, walk).encode())


def page(plan: Plan, found: Mapping[str, Any], trials: Trials | None, walk: WalkForward | None) -> str:
    """The report's HTML.

    Args:
        plan: what was searched, and where.
        found: with `strategy`, `survives`, `sentence` and `hashes`, and where there was a search over the whole period
            `best`, `honesty` and `holdout`.
        trials: what the search over the whole period tried, None where there was none.
        walk: what its folds came to, None where there were none.
    """
    honesty, searched = found.get("honesty") or {}, trials is not None and trials.best >= 0
    parts = [
        ("search", "Search", trials is not None),
        ("chance", "Chance", "deflated_sharpe" in honesty),
        ("stability", "Stability", "stability" in honesty),
        ("folds", "Walk-forward", walk is not None),
        ("asked", "What was asked", True),
    ]
    return render(
        "search.html",
        parts=[(name, words) for name, words, there in parts if there],
        version=found["hashes"]["version"],
        title=f"{found['strategy']}: {'search' if trials is not None else 'walk-forward'}",
        subtitle=_chosen(found),
        survives=found["survives"],
        sentences=_sentences(found, walk),
        tiles=[*_tiles(trials, honesty), *_walked(walk)],
        card_wide=CARD_WIDTH,
        card_high=CARD_HEIGHT,
        bar_wide=plots.BAR_WIDTH,
        bar_high=plots.BAR_HEIGHT,
        searched=_searched(trials) if trials is not None else None,
        parameters=_parameters(trials) if searched and trials is not None else [],
        heat=_heat(trials) if searched and trials is not None else None,
        chance=_chance(honesty) if "deflated_sharpe" in honesty else None,
        stability=_stability(honesty) if "stability" in honesty else None,
        folds=_folds(walk) if walk is not None else None,
        asked=list(_asked(plan, found)),
        foot=_FOOT,
    )


def _chosen(found: Mapping[str, Any]) -> list[str]:
    best = found.get("best") or {}
    return [f"{name} {value:g}" for name, value in best.get("params", {}).items()] or [
        "no set was chosen for all of it"
    ]


def _sentences(found: Mapping[str, Any], walk: WalkForward | None) -> list[str]:
    """What comes first, and what else is said, each once."""
    said = [found["sentence"], (found.get("honesty") or {}).get("sentence", "")]
    if walk is not None:
        said.append(walk.sentence)
    if held := found.get("holdout"):
        part = f"Held out {moment(held['from_ms'])} to {moment(held['to_ms'])}"
        seen = held["opened"]
        said.append(f"{part}: {seen['said']}, {_interval(seen['expectancy_r'])}." if seen else f"{part}: not read.")
    return [sentence for sentence in dict.fromkeys(said) if sentence]


def _interval(of: Mapping[str, float]) -> str:
    value, low, high = (ratio(of[name], 3, sign=True) for name in ("value", "low", "high"))
    return f"{value} R a trade (95% {low} to {high})"


def _tile(name: str, text: str, value: float = 0.0, more: str = "") -> dict[str, Any]:
    return {"name": name, "text": text, "value": value, "more": more}


def _tiles(trials: Trials | None, honesty: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if trials is not None:
        known = int((~np.isnan(trials.objective)).sum())
        yield _tile("Sets tried", f"{len(trials):,}", more=f"{known:,} with an objective")
    if "deflated_sharpe" not in honesty:
        return
    sure, choice, entries = honesty["deflated_sharpe"]["probability"], honesty["overfitting"], honesty["entries"]
    r, near = honesty["trades"]["expectancy_r"], honesty["plateau"]
    yield _tile("More than luck", _share(sure), 1.0 if sure >= 0.95 else -1.0, "of the deflated Sharpe ratio")
    yield _tile("Overfitting", _share(choice["probability"]), more="of choices are below the middle elsewhere")
    yield _tile("Entries", f"p {ratio(entries['p'], 3)}", 1.0 if entries["p"] <= 0.05 else -1.0, "beside random times")
    spread = f"{ratio(r['low'], 3, sign=True)} to {ratio(r['high'], 3, sign=True)} (95%)"
    yield _tile(
        "Expectancy", ratio(r["value"], 3, " R", sign=True), r["low"] if r["low"] > 0 else min(r["value"], 0.0), spread
    )
    yield _tile("Plateau", _share(near["share"]), more=f"of {count(len(near['neighbours']), 'neighbour')} keep half")


def _walked(walk: WalkForward | None) -> Iterator[dict[str, Any]]:
    if walk is None:
        return
    value, low, high = walk.expectancy_r
    spread = f"{ratio(low, 3, sign=True)} to {ratio(high, 3, sign=True)} (95%)"
    yield _tile("Out of sample", ratio(value, 3, " R", sign=True), low if low > 0 else min(value, 0.0), spread)
    net = walk.metrics["net_pct"]
    yield _tile("Net out of sample", percent(net, 2, sign=True), net, count(len(walk.tested.trades), "trade"))
    yield _tile("Efficiency", ratio(walk.efficiency), more="growth out of sample over in sample")


def _searched(trials: Trials) -> dict[str, Any]:
    known = trials.objective[~np.isnan(trials.objective)]
    without = len(trials) - len(known)
    if not len(known):
        return {"text": f"None of {count(len(trials), 'set')} has an objective.", "plot": None}
    text = (
        f"{count(len(known), 'set')} in the order in which they were tried; the line is the best so far, "
        f"{ratio(float(known.max()), 4)} in the end, the middle one has {ratio(float(np.median(known)), 4)}. "
        f"What is worse than 95% of them lies on the lower edge. {count(without, 'set')} had no objective."
    )
    return {"text": text, "plot": plots.in_turn("Objective of each set in turn", text, trials.objective)}


def _parameters(trials: Trials) -> list[plots.Plot]:
    """A drawing of each parameter that was not the same in all sets, the most important first."""
    weights, drawn = plots.importance(trials.params, trials.objective), []
    for place in np.argsort(-weights, kind="stable").tolist():
        name, column = trials.names[place], trials.params[:, place]
        share = percent(float(weights[place]) * 100, 0)
        text = f"{share} of the objective's variance lies between its values; best at {column[trials.best]:g}."
        if len(np.unique(column)) > 1:
            drawn.append(plots.by_value(name, text, column, trials.objective))
    return drawn


def _heat(trials: Trials) -> dict[str, Any] | None:
    """The map of the two most important parameters; None where there are not two."""
    varied = [place for place in range(len(trials.names)) if len(np.unique(trials.params[:, place])) > 1]
    if len(varied) < 2:
        return None
    weights = plots.importance(trials.params, trials.objective)
    across, down = sorted(varied, key=lambda place: -weights[place])[:2]
    found = plots.heat(trials.params[:, across], trials.params[:, down], trials.objective)
    return found | {"across": trials.names[across], "down": trials.names[down]}


def _chance(honesty: Mapping[str, Any]) -> dict[str, Any]:
    choice, entries = honesty["overfitting"], honesty["entries"]
    drawings = []
    logits = choice["logits"]
    if sum(logits["counts"]):
        below = _share(choice["probability"])
        text = (
            f"Where the best set of one half of the period stands in the other half, in {choice['choices']:,} ways to "
            f"halve it: to the left of 0 it is below the middle, in {below} of them."
        )
        drawings.append(
            plots.histogram("Choices of one half in the other (logits)", text, logits["edges"], logits["counts"], 0.0)
        )
    drawn = [value for value in entries["drawn"] if not math.isnan(value)]
    if drawn:
        counts, edges = np.histogram(drawn, BINS)
        text = (
            f"What a trade brings with entries at random times, {len(drawn):,} draws; the line is the strategy's, "
            f"{ratio(entries['expectancy_r'], 3, ' R', sign=True)}: p {ratio(entries['p'], 3)}."
        )
        drawings.append(
            plots.histogram("Random entries", text, edges.tolist(), counts.tolist(), entries["expectancy_r"])
        )
    return {"reasons": honesty["reasons"], "drawings": drawings, "figures": list(_figures(honesty))}


def _figures(honesty: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in honesty["deflated_sharpe"].items():
        yield _FIGURES.get(name, name), ratio(value, 4)
    for name, of in honesty["trades"].items():
        text = f"{ratio(of['value'], 4)} ({ratio(of['low'], 4)} to {ratio(of['high'], 4)})"
        yield _FIGURES.get(name, name), text


def _stability(honesty: Mapping[str, Any]) -> dict[str, Any]:
    parts = honesty["stability"]
    symbols = sorted(parts["symbols"], key=lambda part: -part["net"])
    if len(symbols) > MOST_SYMBOLS:
        symbols = [*symbols[: MOST_SYMBOLS // 2], *symbols[-MOST_SYMBOLS // 2 :]]
    trades = honesty["trades"]
    count_of_all = sum(part["trades"] for part in parts["thirds"])
    whole = {
        "name": "all",
        "trades": count_of_all,
        "net": trades["net"]["value"],
        "expectancy_r": trades["expectancy_r"],
    }
    found = {"all": [whole], "thirds": parts["thirds"], "regimes": parts["regimes"], "symbols": symbols}
    groups = [(_TITLES[name], of) for name, of in found.items()]
    drawn = plots.intervals([part["expectancy_r"] for _, of in groups for part in of])
    bars = iter(drawn)
    tables = [{"title": title, "rows": [_part(part, next(bars)) for part in of]} for title, of in groups]
    text = "Bars are intervals of 95% of the expectancy, on one scale; the upright line is 0."
    if not math.isnan(parts["largest_symbol"]):
        largest, trade = _share(parts["largest_symbol"]), _share(parts["largest_trade"])
        text = f"The symbol that brought most has {largest} of the net, the trade that brought most {trade}. {text}"
    return {"text": text, "tables": [table for table in tables if table["rows"]]}


def _part(part: Mapping[str, Any], bar: plots.Bar | None) -> dict[str, Any]:
    r = part["expectancy_r"]
    return {
        "name": part["name"].replace("_", " "),
        "trades": f"{part['trades']:,}",
        "net": money(part["net"], sign=True),
        "net_value": part["net"],
        "r": ratio(r["value"], 3, sign=True),
        "interval": "-" if bar is None else f"{ratio(r['low'], 3, sign=True)} to {ratio(r['high'], 3, sign=True)}",
        "bar": bar,
    }


def _folds(walk: WalkForward) -> dict[str, Any]:
    document = walk.document()
    return {
        "text": (
            "In each fold a search on the past alone; its choice is then traded on the test with a fresh account. "
            f"Before each test lie {_hours(walk.purge_ms)} for the last outcome and {_hours(walk.embargo_ms)} more."
        ),
        "equity": _equity(walk),
        "names": list(walk.parameters),
        "rows": [
            _fold(fold, of, list(walk.parameters)) for fold, of in zip(walk.folds, document["folds"], strict=True)
        ],
        "moves": [
            (name, percent(of.share * 100, 0), of.share)
            for name, of in walk.parameters.items()
            if not math.isnan(of.share)
        ],
    }


def _fold(fold: Fold, of: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    trained, tested, untouched = of["in_sample"], of["out_of_sample"], of["untouched"]

    def r(part: Mapping[str, float]) -> tuple[str, float]:
        return (ratio(part["expectancy_r"], 3, sign=True), part["expectancy_r"]) if part else ("-", 0.0)

    return {
        "name": f"{moment(fold.split.test_from_ms)[:10]} to {moment(fold.split.test_to_ms)[:10]}",
        "sets": f"{fold.sets:,}",
        "trained": r(trained),
        "tested": r(tested),
        "trades": f"{tested['trades']:,}" if tested else "0",
        "net": (percent(tested["net_pct"], 2, sign=True), tested["net_pct"]) if tested else ("-", 0.0),
        "untouched": (percent(untouched["net_pct"], 2, sign=True), untouched["net_pct"]),
        "params": [f"{fold.params[name]:g}" if name in fold.params else "-" for name in names],
    }


def _equity(walk: WalkForward) -> Chart:
    """The tests as one account, beside the strategy as it is."""
    tested, untouched, begin_ms = walk.tested, walk.untouched, walk.folds[0].split.test_from_ms
    at, beside = _by_ms(tested.days_ms, tested.equity[1:]), _by_ms(untouched.days_ms, untouched.equity[1:])
    times_ms = sorted({*at, *beside})
    own, other = [tested.cash], [untouched.cash]
    for ms in times_ms:
        own.append(at.get(ms, own[-1]))
        other.append(beside.get(ms, other[-1]))
    text = (
        f"Out of sample from {money(tested.cash)} to {money(own[-1])}; with the strategy's own parameters "
        f"{money(other[-1])}."
    )
    said = [
        f"{moment(ms)}: {money(a)}, as it is {money(b)}"
        for ms, a, b in zip([begin_ms, *times_ms], own, other, strict=True)
    ]
    curves = [("as it is", "held", other), ("chosen in each fold", "equity", own)]
    return over_time("Equity out of sample", text, [begin_ms, *times_ms], curves, said)


def _by_ms(times_ms: Sequence[int], equity: Sequence[float]) -> dict[int, float]:
    return dict(zip(times_ms, equity, strict=True))


def _asked(plan: Plan, found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What of the document is one value, where it was tried, the choice, and the hashes."""
    for name, value in found.items():
        if isinstance(value, str | int | float) and name not in ("sentence", "survives"):
            yield name.replace("_", " ").capitalize(), ratio(value, 4) if isinstance(value, float) else str(value)
    yield from asked_of(plan)
    from_ms, to_ms = period([plan.request])
    yield "Period", f"{moment(from_ms)} to {moment(to_ms)} UTC"
    chosen = (found.get("best") or {}).get("params", {})
    yield "Best set", ", ".join(f"{name} {value:g}" for name, value in chosen.items()) or "none of all of it"
    hashes = found["hashes"]
    yield "Candles", f"hash {hashes['data']}"
    yield "Configuration", f"hash {hashes['config']}"
    yield "Version", f"tapewatch {hashes['version']}"


def _share(value: float) -> str:
    return percent(value * 100, 0)


def _hours(ms: int) -> str:
    return f"{ms / 3_600_000:.3g} hours"
