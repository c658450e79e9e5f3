"""The text of the strategy language: what it means, and where and how each mistake is reported."""

from __future__ import annotations

import pytest

from tapewatch.errors import StrategyError
from tapewatch.indicators import MAX_LENGTH, REGISTRY
from tapewatch.model import INTERVALS_MS, MINUTE_MS
from tapewatch.strategy.expression import MAX_DEPTH, MAX_TEXT, Reader, signature
from tapewatch.strategy.graph import Graph, Node

FIVE_MS = 5 * MINUTE_MS
HIGHER = {MINUTE_MS: FIVE_MS}
PARAMS = {"fast": 9.0, "half": 0.5, "ema": 4.0, "below": -1.0, "vwap": 2.0}


def reader() -> Reader:
    """A reader of 1m expressions with some parameters."""
    return Reader(Graph(), PARAMS, HIGHER)


def shape(node: Node) -> str:
    """A node as text with all its brackets."""
    inner = [shape(arg) for arg in node.args]
    match node.op:
        case "const":
            return f"{node.value:g}"
        case "source":
            return str(node.value)
        case "call":
            name, lengths = node.value  # type: ignore[misc]
            return f"{name}({', '.join([*inner, *map(str, lengths)])})"
        case "lag":
            return f"{inner[0]}[{node.value}]"
        case "latch":
            return f"{inner[0]}@{node.args[0].frame_ms // MINUTE_MS}m"
        case "not" | "neg":
            return f"({'not ' if node.op == 'not' else '-'}{inner[0]})"
    return f"({f' {node.op} '.join(inner)})"


def read(text: str, kind: str = "condition") -> str:
    """What a text means, as text with all its brackets."""
    return shape(reader().read(text, MINUTE_MS, kind, "s.long.f"))  # type: ignore[arg-type]


def refused(text: str, kind: str = "condition") -> StrategyError:
    """The error that a text gives."""
    with pytest.raises(StrategyError) as caught:
        reader().read(text, MINUTE_MS, kind, "s.long.f")  # type: ignore[arg-type]
    assert caught.value.where == "s.long.f"
    assert str(caught.value).startswith("s.long.f: ")
    return caught.value


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("close + high * low", "(close + (high * low))"),
        ("close - high - low", "((close - high) - low)"),
        ("-close ** 2", "(-(close ** 2))"),
        ("close ** high ** low", "(close ** (high ** low))"),
        ("(close + open) % 7", "((close + open) % 7)"),
        ("+close / open", "(close / open)"),
        ("2 * 3 + 1e2", "106"),
        ("0.5 ** 2 - 1 % 4", "-0.75"),
        ("7 % -4", "-1"),
        ("1 / 0", "nan"),
        ("(-8) ** 0.5", "nan"),
        ("1e300 * 1e300", "nan"),
        ("close[0]", "close"),
        ("close[3]", "close[3]"),
        ("close[fast]", "close[9]"),
        ("close[4 - 1]", "close[3]"),
        ("ema(close, 3)[1]", "ema(close, 3)[1]"),
        ("sma(hl2 - open, fast)", "sma((hl2 - open), 9)"),
        ("atr(14)", "atr(high, low, close, 14)"),
        ("vwap()", "vwap(hlc3, volume, day)"),
        ("higher(close)", "close@5m"),
        ("higher(ema(close, 50) / 2)", "(ema(close, 50) / 2)@5m"),
        ('on("15m", close)', "close@15m"),
        ("on('1m', close)", "close"),
        ('on("5m", on("1h", close))', "close@60m@5m"),
        ("hour + minute + weekday", "((hour + minute) + weekday)"),
        ("quote_volume / trades - taker_buy", "((quote_volume / trades) - taker_buy)"),
        ("ohlc4 - hlc3", "(ohlc4 - hlc3)"),
        ("barssince(close > open)", "barssince((close > open))"),
        ("close  # the last price", "close"),
        ("(close\n + open)", "(close + open)"),
    ],
)
def test_numbers(text: str, meaning: str) -> None:
    """Operators bind as in Python, constants are worked out, `x[n]` and windows take constants and parameters."""
    assert read(text, "number") == meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("close > open", "(close > open)"),
        ("1 < close <= 2 != open", "((1 < close) and (close <= 2) and (2 != open))"),
        ("close > 1 and open > 1 or low == 1", "(((close > 1) and (open > 1)) or (low == 1))"),
        ("not close > 1 and open > 1", "((not (close > 1)) and (open > 1))"),
        ("not not close >= 1", "(not (not (close >= 1)))"),
        ("(close > open)[2]", "(close > open)[2]"),
        ("crossover(close, open)", "((close > open) and (close[1] <= open[1]))"),
        ("crossunder(rsi(close, 6), 30)", "((rsi(close, 6) < 30) and (rsi(close, 6)[1] >= 30))"),
        ("higher(close > open)", "(close > open)@5m"),
        ("higher(crossover(close, 5))", "((close > 5) and (close[1] <= 5))@5m"),
    ],
)
def test_conditions(text: str, meaning: str) -> None:
    """Chains are the `and` of their links; crossings compare this bar and the one before."""
    assert read(text) == meaning


def test_parameters_functions_and_sources_are_separate_namespaces() -> None:
    """A parameter called as an indicator is a number by its name and the indicator when called."""
    assert read("ema(close, ema) > ema", "condition") == "(ema(close, 4) > 4)"
    assert read("vwap() - vwap", "number") == "(vwap(hlc3, volume, day) - 2)"


def test_calls_are_remembered_as_written() -> None:
    """Each function call under its own text, wrapped in the timeframe it is read on; blanks are made single."""
    one = reader()
    one.read("higher(close > ema(close,50)) and rsi( close,\n 6) < 30", MINUTE_MS, "condition", "w")
    one.read('on("15m", atr(14)) > vwap() or crossover(close, sma(close, 2))', MINUTE_MS, "condition", "w")
    assert list(one.named) == [
        "higher(ema(close,50))", "rsi( close, 6)", 'on("15m", atr(14))', "vwap()", "sma(close, 2)",
        "crossover(close, sma(close, 2))",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("close > vwp()", "unknown function 'vwp'; did you mean 'vwap'?", 8),
        ("close > qqqqq()", "unknown function 'qqqqq'", 8),
        ("clse > 1", "unknown name 'clse'; did you mean 'close'?", 0),
        ("close > fats", "unknown name 'fats'; did you mean 'fast'?", 8),
        ("close > sma", "'sma' is a function: write sma(x, length)", 8),
        ("close > higher", "'higher' is a function: write higher(expr)", 8),
        ("close > crossover", "'crossover' is a function: write crossover(x, y)", 8),
        ("close > sma(close)", "sma(x, length) takes 2 argument(s), was given 1", 8),
        ("close > vwap(1)", "vwap() takes 0 argument(s), was given 1", 8),
        ("close > sma(*close, 3)", "sma(x, length) takes 2 argument(s), was given 2", 8),
        ("crossover(close)", "crossover(x, y) takes 2 argument(s), was given 1", 0),
        ("higher(close, 1) > 1", "higher(expr) takes 1 argument(s), was given 2", 0),
        ("on(close) > 1", 'on("1h", expr) takes 2 argument(s), was given 1', 0),
        ("close > sma(close, length=3)", "arguments have no names here: sma(x, length)", 8),
        ("close > sma(close > 1, 3)", "a number is needed here, this is a condition", 12),
        ("close + (close > 1) > 3", "a number is needed here, this is a condition", 9),
        ("-(close > 1) > 3", "a number is needed here, this is a condition", 2),
        ("close and open > 1", "a condition is needed here, this is a number: compare it with something", 0),
        ("not close", "a condition is needed here, this is a number: compare it with something", 4),
        ("barssince(close) < 2", "a condition is needed here, this is a number: compare it with something", 10),
        ("close > sma(close, 0)", "length of sma must be a whole number from 1 to 100,000, was 0", 19),
        ("close > sma(close, -3)", "length of sma must be a whole number from 1 to 100,000, was -3", 19),
        ("close > sma(close, 2.5)", "length of sma must be a whole number from 1 to 100,000, was 2.5", 19),
        ("close > sma(close, half)", "length of sma must be a whole number from 1 to 100,000, was 0.5", 19),
        ("close > sma(close, 100001)", "length of sma must be a whole number from 1 to 100,000, was 100001", 19),
        ("close > sma(close, 0 / 0)", "length of sma must be a whole number from 1 to 100,000, was nan", 19),
        ("close > sma(close, open)", "length of sma must be a constant or a parameter", 19),
        ("close > sma(close, open > 1)", "a number is needed here, this is a condition", 19),
        ("close[-1] > 1", "bars ago must be a whole number from 0 to 100,000, was -1", 6),
        ("close[1.5] > 1", "bars ago must be a whole number from 0 to 100,000, was 1.5", 6),
        ("close[below] > 1", "bars ago must be a whole number from 0 to 100,000, was -1", 6),
        ("close[open] > 1", "bars ago must be a constant or a parameter", 6),
        ("close[1:2] > 1", "this is not part of the strategy language", 6),
        ("close[1, 2] > 1", "this is not part of the strategy language", 6),
        ("close > 'a'", "only numbers can be written here", 8),
        ("close > True", "only numbers can be written here", 8),
        ("close > None", "only numbers can be written here", 8),
        ("close > 1j", "only numbers can be written here", 8),
        ("close > ...", "only numbers can be written here", 8),
        ("close > 1e999", "this number is too large", 8),
        ("close > 1" + "0" * 400, "this number is too large", 8),
        ("close // 2 > 1", "this operator is not part of the language", 0),
        ("close @ 2 > 1", "this operator is not part of the language", 0),
        ("close | open > 1", "this operator is not part of the language", 0),
        ("close << 2 > 1", "this operator is not part of the language", 0),
        ("~close > 1", "this operator is not part of the language; write 'not'", 0),
        ("close is open", "this comparison is not part of the language", 0),
        ("close in open", "this comparison is not part of the language", 0),
        ("close.real > 1", "this is not part of the strategy language", 0),
        ("close.ema(3) > 1", "only functions of the language can be called", 0),
        ("(lambda: close)() > 1", "only functions of the language can be called", 0),
        ("lambda: close", "this is not part of the strategy language", 0),
        ("close if open > 1 else low", "this is not part of the strategy language", 0),
        ("[close]", "this is not part of the strategy language", 0),
        ("{close: open}", "this is not part of the strategy language", 0),
        ("(x := close) > 1", "this is not part of the strategy language", 1),
        ("[x for x in close]", "this is not part of the strategy language", 0),
        ("f'{close}' > 1", "this is not part of the strategy language", 0),
        ("__import__('os') > 1", "unknown function '__import__'", 0),
        ("on(1, close) > 1", "the first argument of on() is a quoted timeframe: 1m, 3m", 3),
        ("on('7m', close) > 1", "the first argument of on() is a quoted timeframe: 1m, 3m", 3),
        ("on('15m', on('5m', close)) > 1", "5m is not a multiple of 15m", 13),
        ("higher(higher(close)) > 1", "'higher' says nothing for 5m", 7),
        ("higher(higher) > 1", "'higher' is a function", 7),
        ("close > ", "cannot be read: ", None),
        ("close > (open", "cannot be read: '(' was never closed", 8),
        ("close >< open", "cannot be read: invalid syntax", 7),
        ("close = open", "cannot be read: ", None),
        ("1or close > 2", "cannot be read: ", None),
        ("import os", "cannot be read: invalid syntax", 0),
        ("close > 1; open > 1", "cannot be read: invalid syntax", 9),
        ("", "cannot be read: ", None),
    ],
)
def test_each_mistake_is_named_with_its_place(text: str, message: str, column: int | None) -> None:
    """The message says what is wrong and suggests; the column points at it in the text that is shown."""
    error = refused(text)
    assert error.message.startswith(message)
    if column is not None:
        assert error.column == column
        lines = str(error).split("\n")
        assert lines[2].index("^") - 4 == column or len(text) > 60


def test_the_wrong_kind_of_the_whole_is_refused() -> None:
    """A factor must be a condition and a distance a number."""
    assert refused("close + 1").message == "a condition is needed here, this is a number: compare it with something"
    assert refused("close > 1", "number").message == "a number is needed here, this is a condition"


def test_the_place_of_a_mistake_counts_characters() -> None:
    """Letters of several bytes before the mistake, and a long text, still show the caret under it."""
    error = refused("close > 1 and 'ü' > clse")
    assert error.column == 14
    long = "close > 1 and " * 20 + "clse > 1"
    shown, caret = str(refused(long)).split("\n")[1:]
    assert shown[caret.index("^") :].startswith("clse")


def test_a_mistake_on_a_later_line_has_no_caret() -> None:
    """A caret could only point into the first line."""
    error = refused("(close > 1 and\n clse > 2)")
    assert error.message == "unknown name 'clse'; did you mean 'close'?"
    assert "^" not in str(error)
    assert refused("(close > 1 and\n close >< 2)").column is None


@pytest.mark.parametrize(
    "text",
    [
        "-" * 10_000 + "close > 1",
        "-" * (MAX_TEXT - 20) + "close > 1",
        "(" * 1_900 + "close" + ")" * 1_900 + " > 1",
        "not " * 900 + "close > 1",
        "close" + " + close" * 400 + " > 1",
        "close" + "[1]" * 1_000 + " > 1",
        "sma(" * 500 + "close" + ", 2)" * 500 + " > 1",
        "close > 1 " + " " * MAX_TEXT,
        "close > 1\x00",
        "\ud800 > 1",
    ],
    ids=lambda text: f"{text[:8]!r} x {len(text)}",
)
def test_hostile_text_is_refused_in_words(text: str) -> None:
    """Endless nesting, endless text, characters that do not belong: a clear error, at once and short."""
    error = refused(text)
    assert len(str(error)) < 400
    assert any(word in error.message for word in ("nested", "characters", "cannot be read"))


def test_limits_are_generous_and_exact() -> None:
    """Nesting and windows up to the limits are read, one more is not."""
    assert read("-" * (MAX_DEPTH - 1) + "close > 1")
    assert "nested more than" in refused("-" * (MAX_DEPTH + 1) + "close > 1").message
    assert read(f"sma(close, {MAX_LENGTH}) > 1")
    assert read(f"close[{MAX_LENGTH}] > 1")


def test_higher_needs_to_be_said() -> None:
    """Without an entry for the timeframe there is no higher one."""
    with pytest.raises(StrategyError, match="'higher' says nothing for 5m"):
        reader().read("higher(close) > 1", FIVE_MS, "condition", "w")


def test_every_function_has_a_signature() -> None:
    """What an error tells to write is the way the function is called."""
    for name in (*REGISTRY, "higher", "on", "crossover", "crossunder"):
        assert signature(name).startswith(f"{name}(")
        assert signature(name).endswith(")")
    assert set(INTERVALS_MS) >= {"1m", "1h", "1d"}
