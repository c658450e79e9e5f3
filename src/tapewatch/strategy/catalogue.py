"""What there is to know about each function of the language, worked out from its definition and its example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tapewatch.errors import SetupError, StrategyError
from tapewatch.indicators import MAX_LENGTH, NEVER, REGISTRY
from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.strategy.composed import COMPOSED
from tapewatch.strategy.expression import Reader, did_you_mean, functions, members_of, signature
from tapewatch.strategy.graph import Graph, Node, call_of, settling
from tapewatch.strategy.units import is_price

_WINDOW = f"bars: a whole number from 1 to {MAX_LENGTH:,}"
#: What may be written for a parameter of a name; windows and occurrences are constants or parameters of the strategy.
PARAMETERS = {
    "x": "a number: a source or any expression",
    "y": "a number: a source or any expression",
    "cond": "a condition",
    "mult": "a number",
    "factor": "a number",
    "length": _WINDOW,
    "fast": _WINDOW,
    "slow": _WINDOW,
    "signal": _WINDOW,
    "smoothing": _WINDOW,
    "smooth_k": _WINDOW,
    "smooth_d": _WINDOW,
    "occurrence": f"how many times before the last: a whole number from 0 to {MAX_LENGTH:,}",
}


@dataclass(frozen=True)
class Description:
    """One function.

    Attributes:
        first_valid: of its example the index of the first bar with a value, the earliest where the market decides.
        settling: of its example on 1m the bars after which the start's influence is below 1e-12; None for never.
        units: what each member is measured in, `price`, `number` or `condition`; under `value` where it has none.
    """

    name: str
    signature: str
    summary: str
    parameters: dict[str, str]
    formula: str
    seed: str
    source: str
    example: str
    first_valid: int
    settling: int | None
    units: dict[str, str]


def names() -> list[str]:
    """Every function but `higher` and `on`, in the order of the alphabet."""
    return sorted(name for name in functions() if name not in ("higher", "on"))


def describe(name: str) -> Description:
    """All about one function. Raises SetupError for an unknown one."""
    known = names()
    if name not in known:
        raise SetupError(f"unknown function '{name}'{did_you_mean(name, known)}")
    facts = REGISTRY[name] if name in REGISTRY else COMPOSED[name]
    params = COMPOSED[name].params if name in COMPOSED else (*REGISTRY[name].inputs, *REGISTRY[name].lengths)
    example = facts.example or _call_of(name, params)
    reader, node = _read(example)
    call = next(text for text in reader.named if text.startswith(f"{name}("))
    call = call[: call.rindex(")") + 1]
    return Description(
        name=name,
        signature=signature(name),
        summary=facts.summary,
        parameters={param: PARAMETERS.get(param, _WINDOW) for param in params},
        formula=facts.formula,
        seed=facts.seed,
        source=facts.source,
        example=example,
        first_valid=first_valid(node),
        settling=settling(reader.graph.nodes)[MINUTE_MS] if forgets(reader.graph.nodes) else None,
        units={member or "value": _unit(call + f".{member}" * bool(member)) for member in members_of(name)},
    )


def _call_of(name: str, params: Sequence[str]) -> str:
    """A call, where a user's own indicator has no example."""
    written = {"x": "close", "y": "open", "cond": "close > open"}
    member = members_of(name)[0]
    return f"{name}({', '.join(written.get(param, '14') for param in params)})" + (f".{member}" if member else "")


def _read(example: str) -> tuple[Reader, Node]:
    reader = Reader(Graph(), {}, {})
    try:
        return reader, reader.read(example, MINUTE_MS, "condition", example)
    except StrategyError:
        reader = Reader(Graph(), {}, {})
        return reader, reader.read(example, MINUTE_MS, "number", example)


def _unit(text: str) -> str:
    _, node = _read(text)
    return "condition" if node.kind == "condition" else "price" if is_price(node) else "number"


def first_valid(node: Node) -> int:
    """The index of the first bar on which a node of one timeframe has a value, if its sources always do."""
    inner = max((first_valid(arg) for arg in node.args), default=0)
    if node.op == "lag":
        return inner + int(str(node.value))
    if node.op == "call":
        name, lengths = call_of(node)
        return inner + REGISTRY[name].first_bars(*lengths)[0]
    if node.op == "member":
        name, lengths = call_of(node.args[0])
        before = REGISTRY[name].first_bars(*lengths)
        return inner - before[0] + before[int(str(node.value))]
    return inner


def forgets(nodes: Sequence[Node]) -> bool:
    """Whether the start of the series stops mattering to all of these nodes."""
    calls = [call_of(node) for node in nodes if node.op == "call"]
    return all(REGISTRY[name].settling(DAY_MS // MINUTE_MS, *lengths) != NEVER for name, lengths in calls)
