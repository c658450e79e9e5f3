"""Scores in words: how often signals touched their target first, beside chance, and what costs leave of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan

from tapewatch.cli import options
from tapewatch.model import Rate
from tapewatch.record import ENOUGH, QUOTE, Check, Score, share
from tapewatch.reliability import Foretold, Reliability, Sifted


def about(score: Score) -> str:
    """`scalp 1m`, with side and regime where it is of one."""
    return " ".join(part for part in (score.strategy, score.timeframe, score.side, score.regime) if part)


def percent(value: float, sign: str = "") -> str:
    """A share as `59.8%`, a dash where it is unknown."""
    return "-" if isnan(value) else f"{100.0 * value:{sign}.1f}%"


def number(value: float, form: str = "+z.2f") -> str:
    """A number, a dash where it is unknown."""
    return "-" if isnan(value) else format(value, form)


def plainly(score: Score, which: str = "signal") -> str:
    """One sentence that leaves no false hope: the hit rate, chance, and what is left after costs."""
    if not score.n:
        return f"{about(score)}: no {which} has ended yet"
    signals = options.counted(score.n, which)
    hit = f"target first {percent(score.rate)} of {signals} ({100 * score.low:.0f}-{100 * score.high:.0f}%)"
    chance = "" if isnan(score.baseline) else f", random entries {percent(score.baseline)}"
    return f"{about(score)}: {hit}{chance}: {_skill(score)}; {_money(score)}"


def _skill(score: Score) -> str:
    points = f"{score.lift_low:+z.1f} to {score.lift_high:+z.1f} points"
    if score.skill == "better":
        return f"better than chance ({points})"
    if score.skill == "worse":
        return f"worse than chance ({points})"
    words = {"unknown": "too few random entries to compare with", "few": "too few to tell"}
    return words.get(score.skill, "no better than chance")


def _money(score: Score) -> str:
    verb = "loses" if score.net_r < 0 else "brings"
    of_quote = f"{abs(score.net_quote):.2f} of {QUOTE:,.0f} quote units"
    size = abs(score.net_r)
    of_risk = f"{size:.1f} R" if size >= 1 else f"{size:.2f} R"
    return f"after costs of {score.cost_bps:g} bps it {verb} {of_risk} a signal, {of_quote}"


def break_even(score: Score) -> str:
    """What hit rate would pay."""
    if not 0 < score.hits < score.n:
        return "not known before there are hits and misses"
    if isnan(score.break_even_rate):
        return "no hit rate would pay: costs are more than a hit brings"
    return f"a hit rate of {percent(score.break_even_rate)} would pay for costs and misses"


def judged(score: Score, state: str) -> str:
    """How many were wrong, and what it would take; of signals in a `state`, passed, blocked or all."""
    if not score.n:
        return ""
    share_wrong = percent(score.false_positive_rate)
    wrong = f"{share_wrong} did not touch the target first."
    if state == "passed":
        wrong = f"False positives {share_wrong}: signals that passed the gate and did not touch the target first."
    part = "All" if score.backfilled == score.n else f"{score.backfilled:,} of {score.n:,}"
    history = f" {part} are from stored candles, not seen live." if score.backfilled else ""
    return f"{wrong} Break even: {break_even(score)}.{history}"


def told_words(told: Foretold) -> str:
    """Whether the hit rates that alerts carried came true."""
    came = told.came
    if not came.n:
        return ""
    return (
        f"With {options.counted(came.n, 'signal')} a hit rate could be told from what had ended before: "
        f"{percent(told.told)} on average, and {percent(came.hits / came.n)} hit ({_interval(came)}); "
        f"Brier score {told.brier:.3f}, where always telling 50% has 0.250."
    )


def false_positives(model: Sifted) -> dict[str, float]:
    """The shares of signals that were no hits, without the model and with it."""
    without, kept = (1.0 - share(rate.hits, rate.n) for rate in (model.every, model.kept))
    return {"false_positive_rate_without": without, "false_positive_rate": kept}


def model_words(model: Sifted) -> str:
    """What a scoring model changed, and whether its scores came true."""
    of, every = false_positives(model), model.every
    without, kept = percent(of["false_positive_rate_without"]), percent(of["false_positive_rate"])
    passed = f"with it {kept} of the {model.kept.n:,} that it let pass" if model.kept.n else "it let none pass"
    if every.n < ENOUGH:
        worth = "too few to tell"
    else:
        worth = "better than" if model.brier < model.base_brier else "no better than"
        worth += f" the {model.base_brier:.3f} of telling each that rate"
    return (
        f"The model scored {options.counted(every.n, 'signal')} that nothing else blocked. False positives: without it "
        f"{without}, {passed}; after costs {number(model.every_net_r)} R a signal without it, "
        f"{number(model.kept_net_r)} R with it. Its scores said {percent(model.told)} on average, and "
        f"{percent(share(every.hits, every.n))} hit; Brier score {model.brier:.3f}, {worth}."
    )


def tenth_rows(model: Sifted) -> Iterator[str]:
    """Scores beside what came, for each tenth that has any."""
    yield f"{'score':<10} {'n':>6}  {'told':>6}  {'target first':<14}"
    for tenth in model.tenths:
        if tenth.came.n:
            span = f"{tenth.low}-{tenth.low + 10}%"
            yield f"{span:<10} {tenth.came.n:>6,}  {percent(tenth.told):>6}  {_rate(tenth.came)}".rstrip()


def _interval(rate: Rate) -> str:
    return f"{100 * rate.low:.0f}-{100 * rate.high:.0f}%"


def _rate(rate: Rate, width: int = 7) -> str:
    """A share, and its interval in so many columns."""
    return f"{percent(share(rate.hits, rate.n)):>6} {_interval(rate) if rate.n else '':<{width}}"


def score_rows(scores: Sequence[Score], room: int) -> Iterator[str]:
    """A table, a row each, with as many columns as there is room for."""
    titles = ["n", "target first", "last 50", "random", "lift", "net R", "of 1,000"]
    rates = [Rate(one.n, one.hits, one.low, one.high) for one in scores]
    width = max(len(_interval(rate)) for rate in rates)
    rows = [[about(one), *_figures(one, _rate(rate, width))] for one, rate in zip(scores, rates, strict=True)]
    for name in ("of 1,000", "last 50"):
        widths = [max(map(len, column)) for column in zip(["", *titles], *rows, strict=True)]
        if sum(widths) + len(widths) - 1 < room:
            break
        place = titles.index(name) + 1
        titles.remove(name)
        rows = [row[:place] + row[place + 1 :] for row in rows]
    widths = [max(map(len, column)) for column in zip(["", *titles], *rows, strict=True)]
    for name, *figures in (["", *titles], *rows):
        aligned = (f"{figure:>{width}}" for figure, width in zip(figures, widths[1:], strict=True))
        yield f"{name:{widths[0]}} {' '.join(aligned)}"


def _figures(score: Score, rate: str) -> list[str]:
    last = percent(share(score.last.hits, score.last.n))
    lift, net = number(score.lift, "+z.1f"), number(score.net_r)
    return [f"{score.n:,}", rate, last, percent(score.baseline), lift, net, number(score.net_quote)]


def decile_rows(strength: Reliability) -> Iterator[str]:
    """Hits by strength, and whether it tells anything."""
    if isnan(strength.rho) or sum(decile.rate.n for decile in strength.deciles) < ENOUGH:
        said = "strength cannot be judged yet"
    elif strength.p >= 0.05:  # the usual 5%
        said = f"strength tells nothing of hits (rank correlation {strength.rho:+.3f}, p {strength.p:.2f})"
    else:
        better = "more" if strength.rho > 0 else "less"
        said = f"stronger signals hit {better} often (rank correlation {strength.rho:+.3f}, p {strength.p:.4f})"
    yield said
    yield f"{'strength':<10} {'n':>6}  {'target first':<14} {'net R':>7}"
    for decile in strength.deciles:
        if decile.rate.n:
            span = f"{decile.low}-{decile.low + 1}"
            yield f"{span:<10} {decile.rate.n:>6,}  {_rate(decile.rate)} {number(decile.net_r):>7}"


def check_rows(checks: Sequence[Check]) -> Iterator[str]:
    """What the gate blocked, and whether that was right."""
    words = {
        True: "hit less often than what passed",
        False: "hit MORE often than what passed",
        None: "no difference shown",
    }
    yield f"{'blocked by':<12} {'n':>6}  {'target first':<14} {'net R':>7}"
    for one in checks:
        yield f"{one.check:<12} {one.rate.n:>6,}  {_rate(one.rate)} {number(one.net_r):>7}  {words[one.right]}"
