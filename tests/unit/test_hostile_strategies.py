"""Strategy files that are wrong, broken or meant to hurt: one clear message each, quickly, never a traceback."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from command_line import Command

pytestmark = pytest.mark.alone

FACTOR = 'x: {timeframes: [1m], params: {p: 3}, long: {a: "%s"}, stop: 1, targets: [{at: 1, share: 100%%}]}\n'
TOP = "x: {timeframes: [1m], long: {a: close > 1}, stop: 1, targets: [{at: 1, share: 100%%}], %s}\n"
#: Nine lists, each of nine times the one before: half a gigabyte when it is written out.
LAUGHS = ", ".join(f"&{chr(97 + k)} [{','.join(['*' + chr(96 + k) if k else 'x'] * 9)}]" for k in range(9))
PYTHON = "from tapewatch.strategy.build import close, strategy\n"
BUILD = 'S = strategy("s", timeframes=["1m"], long={"a": x > 1}, stop=1, targets=[{"at": 1, "share": "100%"}])\n'

EXPRESSIONS = {
    "unknown function": ("emma(close, 9) > 1", "x.long.a: unknown function 'emma'; did you mean 'ema'?"),
    "unknown name": ("clsoe > 1", "x.long.a: unknown name 'clsoe'; did you mean 'close'?"),
    "arity": ("ema(close) > 1", "x.long.a: ema(x, length) takes 2 argument(s), was given 1"),
    "starred": ("ema(*close, 9) > 1", "takes 2 argument(s)"),
    "condition for number": ("ema(close > 1, 9) > 1", "a number is needed here, this is a condition"),
    "number for condition": ("close", "a condition is needed here, this is a number: compare it with something"),
    "number for a flag": ("barssince(close) > 1", "a condition is needed here, this is a number"),
    "window 0": ("ema(close, 0) > 1", "length of ema must be a whole number from 1 to 100,000, was 0"),
    "window negative": ("ema(close, -3) > 1", "must be a whole number from 1 to 100,000, was -3"),
    "window fraction": ("ema(close, 2.5) > 1", "must be a whole number from 1 to 100,000, was 2.5"),
    "window huge": ("ema(close, 1e18) > 1", "must be a whole number from 1 to 100,000, was 1e+18"),
    "window infinite": ("ema(close, 1e999) > 1", "this number is too large"),
    "window varies": ("ema(close, volume) > 1", "length of ema must be a constant or a parameter"),
    "future": ("close[-1] > 1", "bars ago must be a whole number from 0 to 100,000, was -1"),
    "far past": ("close[10000000] > 1", "bars ago must be a whole number from 0 to 100,000"),
    "hull of one": ("hma(close, 1) > 1", "hma: length of wma must be a whole number"),
    "10,000 minuses": ("-" * 10_000 + "close > 1", "the expression has 10,009 characters, at most 4,000 are allowed"),
    "3,000 minuses": ("-" * 3_000 + "close > 1", "cannot be read: nested too deeply"),
    "300,000 terms": (" + ".join(["close"] * 300_000) + " > 1", "at most 4,000 are allowed"),
    "500 terms": (" + ".join(["hl2"] * 500) + " > 1", "nested more than 60 deep"),
    "brackets without end": ("(" * 100_000, "the expression has 100,000 characters"),
    "brackets open": ("(" * 3_000, "cannot be read: "),
    "brackets closed": ("(" * 1_900 + "close" + ")" * 1_900 + " > 1", "cannot be read: "),
    "subscripts without end": ("close" + "[1" * 1_900, "cannot be read: "),
    "calls without end": ("abs(" * 700 + "close" + ")" * 700 + " > 1", "cannot be read: "),
    "nots": ("not " * 900 + "close > 1", "nested more than 60 deep"),
    "attribute": ("close.__class__ > 1", "this is not part of the strategy language"),
    "lambda": ("(lambda: 1)() > 1", "only functions of the language can be called"),
    "comprehension": ("[close for close in close] > 1", "this is not part of the strategy language"),
    "import": ("__import__('os') > 1", "unknown function '__import__'"),
    "a part of ours": ("_pivot(3).high > 1", "unknown function '_pivot'"),
    "text": ("'a' > 1", "only numbers can be written here"),
    "identity": ("close is 1", "this comparison is not part of the language"),
    "huge number": ("close > " + "9" * 3_900, "this number is too large"),
    "null": ("close \\0 > 1", "cannot be read: "),  # Python 3.11.2 has other words for it than its successors
    "empty": ("", "cannot be read: invalid syntax"),
}

FILES = {
    "circular parameter": (
        TOP % "params: &a {p: *a}",
        "x.params.p.default: is missing",
    ),
    "parameters by each other": (TOP % "params: {p: q, q: p}", "x.params.p: must be a number"),
    "circular regime": (TOP % "params: {p: &a {default: 1, trending: *a}}", "x.params.p.trending: must be a number"),
    "unknown regime": (TOP % "params: {p: {default: 1, trendy: 2}}", "'trendy' is no regime; did you mean 'trending'?"),
    "regime without default": (TOP % "params: {p: {trending: 2}}", "x.params.p.default: is missing"),
    "regime of nothing": (TOP % "params: {p: {default: null, trending: 2}}", "x.params.p: must be a number"),
    "count by regime": (
        TOP % "params: {p: {default: 1, trending: 2}}, fire: {at_least: p}",
        "x.fire.at_least: 'p' has values by regime, which a count cannot have",
    ),
    "length by regime": (
        FACTOR.replace("p: 3", "p: {default: 3, trending: 9}") % "ema(close, p) > 1",
        "length of ema must be a constant or a parameter with one value in every regime",
    ),
    "unknown filter": (TOP % "regime: {requires: [trending]}", "unknown key; did you mean 'require'?"),
    "unknown filtered": (TOP % "regime: {avoid: [rangin]}", "'rangin' is no regime; did you mean 'ranging'?"),
    "budget of none": (TOP % "budget: {alerts: 0}", "x.budget.alerts: must be a whole number from 1 to 100,000"),
    "budget without alerts": (TOP % "budget: {window: 1h}", "x.budget.alerts: must be a number"),
    "circular factors": ("x: &a {timeframes: [1m], long: *a, stop: 1, targets: []}\n", "must be text"),
    "circular timeframes": (TOP.replace("[1m]", "&t [*t]") % "cooldown: 1m", "is no timeframe; known are 1m"),
    "laughs as timeframes": (
        f"x: {{symbols: [{LAUGHS}], timeframes: [*i], long: {{a: close > 1}}, stop: 1, targets: []}}\n",
        "x.timeframes: [[...], [...], [...], [...], [...], [...], ...] is no timeframe",
    ),
    "laughs as cooldown": (TOP % f"symbols: [{LAUGHS}], cooldown: *i", "x.cooldown: must be a duration"),
    "laughs as a regime": (TOP % f"symbols: [{LAUGHS}], regime: {{avoid: [*i]}}", "is no regime"),
    "laughs as a factor": (TOP % f"symbols: [{LAUGHS}], fire: {{always: [*i]}}", "long has no factor [[...]"),
    "laughs as a count": (TOP % f"symbols: [{LAUGHS}], fire: {{at_least: *i}}", "x.fire.at_least: must be a number"),
    "number of 400 digits": (TOP % ("params: {p: " + "9" * 400 + "}"), "x.params.p: must be a number"),
    "number of 5,000 digits": (TOP % ("params: {p: " + "9" * 5_000 + "}"), "cannot be read as YAML"),
    "duration of 400 digits": (TOP % ("cooldown: " + "9" * 400 + "d"), "x.cooldown: must be a duration"),
    "infinite time": (TOP % "time_limit: .inf", "x.time_limit: must be a number"),
    "a key twice": (TOP % "stop: 2", 'found duplicate key "stop"'),
    "lists without end": ("x: " + "[" * 20_000 + "\n", "cannot be read as YAML"),
    "mappings without end": ("x: " + "{a: " * 20_000 + "\n", "cannot be read as YAML"),
    "a tag that runs": ('x: !!python/object/apply:os.system ["echo hi"]\n', "could not determine a constructor"),
    "nothing": ("", "must hold exactly one strategy, `name: {...}`"),
}


def refused_quickly(run: Command, *arguments: object) -> str:
    """The message, which is short and came within five seconds of this thread's time."""
    started = time.thread_time()
    err = run.refused(*arguments)
    assert time.thread_time() - started < 5
    assert len(err) < 1_000
    assert err.startswith("tapewatch: ")
    assert "  File " not in err
    return err


@pytest.mark.parametrize(("text", "said"), EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_an_expression_that_makes_no_sense(run: Command, tmp_path: Path, text: str, said: str) -> None:
    """Named with the strategy and factor; where there is a place, the text and a caret below it."""
    file = tmp_path / "x.yaml"
    file.write_text(FACTOR % text)
    err = refused_quickly(run, "strategies", "check", file)
    assert said in err
    assert err.startswith("tapewatch: x.long.a: ")
    assert len(err.splitlines()) in (1, 2, 3)


@pytest.mark.parametrize(("text", "said"), FILES.values(), ids=FILES)
def test_a_file_that_makes_no_sense(run: Command, tmp_path: Path, text: str, said: str) -> None:
    """Named with its key, or with the file where it cannot be read at all."""
    file = tmp_path / "x.yaml"
    file.write_text(text)
    assert said in refused_quickly(run, "strategies", "check", file)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("latin.yaml", b"x: {a: \xff\xfe}\n", "latin.yaml: is not UTF-8 text"),
        ("bytes.yaml", bytes(range(256)) * 10, "bytes.yaml: is not UTF-8 text"),
        ("null.yaml", b"x: \0\n", "null.yaml: cannot be read as YAML: unacceptable character"),
        ("latin.py", b"x = '\xff'\n", "latin.py: is not UTF-8 text"),
        ("null.py", b"x = 1\0\n", "null.py: cannot be run: "),
        ("minus.py", (PYTHON + "x = close\nfor _ in range(10_000): x = -x\n" + BUILD).encode(), "at most 4,000"),
        ("terms.py", (PYTHON + "x = close\nfor _ in range(20_000): x = x + close\n" + BUILD).encode(), "at most 4,000"),
        ("deep.py", (PYTHON + "x = close\nfor _ in range(100): x = -x\n" + BUILD).encode(), "nested more than 60 deep"),
        ("itself.py", (PYTHON + "x = []\nx.append(x)\n" + BUILD.replace("x > 1", "x")).encode(), "RecursionError"),
    ],
)
def test_a_file_of_the_wrong_kind(run: Command, tmp_path: Path, name: str, content: bytes, said: str) -> None:
    """Bytes that are no text, and Python that builds what no one could read."""
    (tmp_path / name).write_bytes(content)
    for command in (("strategies", "check"), ("signals", "--data", tmp_path, "--strategy")):
        assert said in refused_quickly(run, *command, tmp_path / name)


def test_values_that_are_out_of_any_domain_are_unknown_and_no_mistake(run: Command, tmp_path: Path) -> None:
    """What overflows or has no value is NaN; the file is sound and checks quickly."""
    file = tmp_path / "x.yaml"
    for text in ("9 ** 9 ** 9 ** 9 > 1", "1 / 0 > 1", "log(-1) > 1", "close % 0 > 1", "highest(close, 100000) > 1"):
        file.write_text(FACTOR % text)
        code, lines, err = run("strategies", "check", file)
        assert (code, err, lines[-1]) == (0, "", "The strategy is sound.")
