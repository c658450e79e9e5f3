"""A user's own strategy: written in the configuration, in YAML, or in Python, it is the same strategy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from core_samples import bits, walk
from tapewatch import strategies
from tapewatch.config import load
from tapewatch.errors import ConfigError, StrategyError
from tapewatch.indicators import REGISTRY
from tapewatch.model import Bar
from tapewatch.strategy import Strategy, build
from tapewatch.strategy.updates import check_update
from tapewatch.study.signals import Request, find

pytestmark = pytest.mark.usefixtures("own_indicators")

YAML = """
mine:
  timeframes: [1m, 5m]
  higher: {1m: 5m, 5m: 15m}
  params: {fast: 5, slow: 13, least: 0.9}
  long:
    cross: barssince(crossover(ema(close, fast), ema(close, slow))) < 3
    strong: macd(close, fast, slow, 4).hist > 0 and not (volume < least * sma(volume, 20))
    above: higher(close > ema(close, 10))
    moved: close / close[3] - 1 > -0.01 or -close % 2 == 1
  short:
    cross: barssince(crossunder(ema(close, fast), ema(close, slow))) < 3
    strong: rsi(close, 6) < 60
    above: on("15m", hlc3) ** 2 > (-1) ** 2 * hl2
    moved: 1 - close / close[3] > -0.01
  fire: {at_least: 3, always: [cross]}
  stop: 1.5 * atr(14)
  targets: [{at: "1.0 * atr(14)", share: 50%}, {at: "2 * atr(14)", share: 50%}]
  break_even: 0.5 * atr(14)
  trailing: {after: "1.5 * atr(14)", by: "atr(14) + 0.01 * close"}
  time_limit: 30
  duplicate: {window: 3m, move: 0.1%}
  cooldown: 2m
"""

PYTHON = """
from tapewatch.strategy.build import (
    atr, barssince, close, crossover, crossunder, ema, higher, hl2, hlc3, macd, on, param, rsi, sma, strategy, volume,
)

fast, slow = param("fast"), param("slow")

STRATEGY = strategy(
    "mine",
    timeframes=["1m", "5m"],
    higher={"1m": "5m", "5m": "15m"},
    params={"fast": 5, "slow": 13, "least": 0.9},
    long={
        "cross": barssince(crossover(ema(close, fast), ema(close, slow))) < 3,
        "strong": (macd(close, fast, slow, 4).hist > 0) & ~(volume < param("least") * sma(volume, 20)),
        "above": higher(close > ema(close, 10)),
        "moved": (close / close[3] - 1 > -0.01) | (-close % 2 == 1),
    },
    short={
        "cross": barssince(crossunder(ema(close, fast), ema(close, slow))) < 3,
        "strong": 60 > rsi(close, 6),
        "above": on("15m", hlc3) ** 2 > (-1) ** 2 * hl2,
        "moved": 1 - close / close[3] > -0.01,
    },
    fire={"at_least": 3, "always": ["cross"]},
    stop=1.5 * atr(14),
    targets=[{"at": 1.0 * atr(14), "share": "50%"}, {"at": 2 * atr(14), "share": "50%"}],
    break_even=0.5 * atr(14),
    trailing={"after": 1.5 * atr(14), "by": atr(14) + 0.01 * close},
    time_limit=30,
    duplicate={"window": "3m", "move": "0.1%"},
    cooldown="2m",
)
"""

#: An exponential average of one's own; `slowed(close, 5)` is `ema(close, 5)` to the last bit.
INDICATOR = """
from tapewatch.strategy.build import indicator

@indicator(
    inputs=("x",), lengths=("length",), state={"last": float("nan")},
    constants=lambda length: {"alpha": 2 / (length + 1), "keep": 1 - 2 / (length + 1)},
    first_valid=lambda length: 0, settling=lambda _day, length: 14 * length + 1, unit="input",
    formula="alpha * x + (1 - alpha) * last", seed="the first value", source="tests",
)
def slowed(x, last, alpha, keep):
    last = alpha * x + keep * last if last == last else x
    return last, last
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols of a day and a half, one with a hole."""
    root = tmp_path_factory.mktemp("archive")
    for seed, symbol in enumerate(("AAAUSDT", "BBBUSDT")):
        bars = walk(2000, seed + 1, holes=range(700, 730) if seed else ())
        columns: dict[str, Any] = {"open_time": [one.open_ms for one in bars]}
        columns |= {name: [getattr(one, name) for one in bars] for name in Bar.__struct_fields__[3:-1]}
        folder = root / "binance_spot" / symbol
        folder.mkdir(parents=True)
        pl.DataFrame(columns).write_parquet(folder / "1m.parquet")
    return root


def request_of(root: Path) -> Request:
    """All of it."""
    return Request(root, "binance_spot", ["AAAUSDT", "BBBUSDT"])


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    """A file with this text."""
    path = folder / name
    path.write_text(text)
    return path


def configured(folder: Path, strategy: str) -> Strategy:
    """The one strategy of a configuration file in `folder`, its text indented below `strategies:`."""
    text = "universe: {include: [AAAUSDT]}\nchannels: {out: {type: file, path: a.jsonl}}\n"
    text += "alerts: {routes: [{channels: [out]}]}\nstrategies:\n" + strategy
    path = written(folder, text, "tapewatch.yaml")
    loaded = load([path], {}, compile_strategy=lambda name, given: strategies.configured({name: given}))
    (found,) = strategies.configured(loaded.strategies)
    return found


def test_the_same_strategy_however_it_is_written(tmp_path: Path, archive: Path) -> None:
    """Configuration, YAML file, Python file: the same signals to the last bit, their texts included."""
    indented = "".join(f"  {line}\n" for line in YAML.strip().split("\n"))
    (tmp_path / "own").mkdir()
    written(tmp_path / "own", YAML, "mine.yaml")
    written(tmp_path / "own", PYTHON)
    found = {
        "configuration": configured(tmp_path, indented),
        "yaml": strategies.load(str(written(tmp_path, YAML, "mine.yaml"))),
        "python": strategies.load(str(written(tmp_path, PYTHON))),
        "configured yaml": configured(tmp_path, "  mine: {file: own/mine.yaml}\n"),
        "configured python": configured(tmp_path, "  mine: {file: own/mine.py}\n"),
    }
    signals = {key: bits(list(find(one, request_of(archive)))) for key, one in found.items()}
    assert len(signals["yaml"]) > 50
    assert {one["side"] for one in signals["yaml"]} == {"long", "short"}
    expected = [{**one, "factors": _texts_apart(one["factors"])} for one in signals["yaml"]]
    for key, others in signals.items():
        assert [{**one, "factors": _texts_apart(one["factors"])} for one in others] == expected, key
    assert signals["configuration"] == signals["yaml"] == signals["configured yaml"]
    assert signals["python"] == signals["configured python"]


def _texts_apart(factors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A factor's text is as its author wrote it: brackets and the side of a comparison may differ."""
    return [
        {"met": factor["met"], "margin": factor["margin"], "name": factor["name"]}
        | {"sides": sorted(map(str, (factor["left"], factor["right"])))}
        for factor in factors
    ]


def test_python_writes_the_text_one_would_have_written(tmp_path: Path) -> None:
    """No bracket more than needed, parameters by name."""
    mine = strategies.load(str(written(tmp_path, PYTHON)))
    assert mine.sides["long"]["cross"] == "barssince(crossover(ema(close, fast), ema(close, slow))) < 3"
    assert mine.sides["long"]["moved"] == "close / close[3] - 1 > -0.01 or -close % 2 == 1"
    assert mine.stop == "1.5 * atr(14)"


@pytest.mark.parametrize("own", [False, True], ids=["shared functions", "an own indicator"])
def test_evaluators_and_processes_agree(tmp_path: Path, archive: Path, own: bool) -> None:
    """Interpreted, by columns, and by two processes: the same bits, with an indicator that the file adds too."""
    text = PYTHON
    if own:
        text = INDICATOR + PYTHON.replace("ema(close, fast)", "slowed(close, fast)")
    mine = strategies.load(str(written(tmp_path, text)))
    request = request_of(archive)
    runs = [
        bits(list(find(mine, request, "interpreted"))),
        bits(list(find(mine, request, "columns"))),
        bits(list(find(mine, request, "columns", workers=2))),
        bits(list(find(mine, request, workers=2))),
    ]
    assert len(runs[0]) > 50
    assert runs[1:] == runs[:1] * 3


def test_an_indicator_that_is_changed_is_another_one_from_then_on(tmp_path: Path, archive: Path) -> None:
    """In the same process, as in a notebook: its loop over columns is compiled anew, also with other constants."""
    using = PYTHON.replace("ema(close, fast)", "slowed(close, fast)")
    turned = INDICATOR.replace("alpha * x + keep * last if", "keep * x + alpha * last if")
    fewer = turned.replace('"alpha": 2 / (length + 1), ', "").replace("last, alpha, keep", "last, keep")
    found = []
    for text in (INDICATOR, turned, fewer.replace("alpha * last if", "(1 - keep) * last if")):
        mine = strategies.load(str(written(tmp_path, text + using)))
        runs = [bits(list(find(mine, request_of(archive), way))) for way in ("interpreted", "columns")]
        assert runs[0] == runs[1]
        found.append(runs[0])
    assert found[0] != found[1]


def test_an_own_indicator_gives_the_signals_of_the_same_shipped_one(tmp_path: Path, archive: Path) -> None:
    """An update written in the file is as good as one of ours: entries, levels and strength are equal to the bit."""
    plain = strategies.load(str(written(tmp_path, PYTHON, "plain.py")))
    mine = strategies.load(
        str(written(tmp_path, INDICATOR + PYTHON.replace("ema(close, fast)", "slowed(close, fast)")))
    )
    assert "slowed(close, fast)" in mine.sides["long"]["cross"]

    def essence(one: Strategy) -> list[Any]:
        return [
            bits((s.id, s.entry, s.stop, s.targets, s.strength, s.settled, s.verdicts))
            for s in find(one, request_of(archive))
        ]

    assert essence(mine) == essence(plain)


def test_a_yaml_strategy_can_use_the_indicator_of_a_loaded_python_file(tmp_path: Path) -> None:
    """What a file adds belongs to the language from then on; before, the name is unknown."""
    yaml = written(tmp_path, YAML.replace("ema(close, fast)", "slowed(close, fast)"), "uses.yaml")
    with pytest.raises(StrategyError, match="unknown function 'slowed'"):
        strategies.load(str(yaml))
    strategies.load(str(written(tmp_path, INDICATOR + PYTHON)))
    assert strategies.load(str(yaml)).name == "mine"


def test_a_configuration_changes_what_a_file_says(tmp_path: Path) -> None:
    """Keys beside `file` lie over it, mappings of settings by key; the name is the configuration's."""
    written(tmp_path, PYTHON)
    found = configured(tmp_path, "  other: {file: mine.py, params: {least: 2}, timeframes: [5m]}\n")
    base = strategies.load(str(tmp_path / "mine.py"))
    assert (found.name, found.timeframes, found.params["least"]) == ("other", ("5m",), 2.0)
    assert replace(found, name="mine", timeframes=base.timeframes, params=base.params) == base


def test_a_file_of_a_configuration_is_told_with_its_line(tmp_path: Path) -> None:
    """One that is not there, and one that is no path, name the configuration's line and key."""
    for value, said in (("none.py", "No such file"), ("[1]", "must be the path of a YAML or Python file")):
        with pytest.raises(ConfigError) as caught:
            configured(tmp_path, f"  mine: {{file: {value}}}\n")
        (problem,) = caught.value.problems
        assert problem.startswith(f"{tmp_path}/tapewatch.yaml:5: strategies.mine.file: ")
        assert said in problem


# --- operators -----------------------------------------------------------------------------------------------------


def test_operators_keep_their_meaning() -> None:
    """Each operator on either side, with the brackets that Python's own precedence asks for."""
    close, opened = build.close, build.open
    texts = {
        "close + 1": close + 1,
        "1 + close": 1 + close,
        "close - 1": close - 1,
        "1 - close": 1 - close,
        "close * 2": close * 2,
        "2 / close": 2 / close,
        "close / 2": close / 2,
        "close % 2": close % 2,
        "2 % close": 2 % close,
        "close ** 2": close**2,
        "2 ** close": 2**close,
        "(-2) ** close": (-2) ** close,
        "-2 ** close": -(2**close),
        "-close": -close,
        "(close - 1) * 2": (close - 1) * 2,
        "close - (open - 1)": close - (opened - 1),
        "(close + open)[2]": (close + opened)[2],
        "close[length]": close[build.param("length")],
        "close >= 1": close >= 1,
        "close <= 1": close <= 1,
        "close < 1": close < 1,
        "close == 1": close == 1,
        "close != 1": close != 1,
        "not close > 1": ~(close > 1),
        "close > 1 and open > 1": (close > 1) & (opened > 1),
        "(close > 1 or open > 1) and open > 2": ((close > 1) | (opened > 1)) & (opened > 2),
        "bb(close, 20, 2).upper": build.bb(close, 20, 2).upper,
        'on("1h", close)': build.on("1h", close),
    }
    for text, expression in texts.items():
        assert build._plain(expression) == text.replace('"', "'")
        assert str(expression)


def test_joined_conditions_stay_one_chain() -> None:
    """`a & b & c` is one `and` of three, as it is written in text."""
    high = build.high > 1
    assert str(high & high & high) == "((high > 1) and (high > 1) and (high > 1))"
    assert str((high | high) & high) == "(((high > 1) or (high > 1)) and (high > 1))"


@pytest.mark.parametrize("value", [True, "close", None, [1], float])
def test_an_operand_is_an_expression_or_a_number(value: Any) -> None:
    """Anything else is said at once, not found in a text later."""
    with pytest.raises(TypeError, match="is neither an expression nor a number"):
        build.close + value


def test_what_the_language_does_not_have_is_not_there() -> None:
    """Neither functions nor private members nor a truth value."""
    with pytest.raises(AttributeError, match="the strategy language has no 'emma'"):
        build.emma  # noqa: B018
    with pytest.raises(AttributeError):
        build.close._hidden  # noqa: B018
    with pytest.raises(TypeError, match="no truth"):
        bool(build.close > 1)


def test_a_mistake_in_an_expression_of_python_is_that_of_the_text(tmp_path: Path) -> None:
    """Wrong arity or an unknown parameter is told as it is for YAML."""
    file = written(tmp_path, PYTHON.replace("rsi(close, 6)", "rsi(close)"))
    with pytest.raises(StrategyError, match=r"mine.short.strong: rsi\(x, length\) takes 2 argument\(s\), was given 1"):
        strategies.load(str(file))
    file = written(tmp_path, PYTHON.replace('param("least")', 'param("leats")'), "typo.py")
    with pytest.raises(StrategyError, match="unknown name 'leats'; did you mean 'least'"):
        strategies.load(str(file))


def test_a_strategy_that_has_two_names_in_its_file_is_one(tmp_path: Path) -> None:
    """`S = T = strategy(...)` builds one."""
    file = written(tmp_path, PYTHON.replace("STRATEGY = strategy(", "STRATEGY = OTHER = strategy("))
    assert "OTHER" in file.read_text()
    assert strategies.load(str(file)).name == "mine"


def test_shipped_indicators_keep_to_the_form() -> None:
    """What a user's update is held to holds for ours."""
    assert len(REGISTRY) > 20
    for spec in REGISTRY.values():
        check_update(spec)
