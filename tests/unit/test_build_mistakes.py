"""What is wrong with a user's Python file is said in one line, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapewatch import strategies
from tapewatch.errors import StrategyError
from tapewatch.indicators import REGISTRY

pytestmark = pytest.mark.usefixtures("own_indicators")

_ONE = 'S = strategy("s", timeframes=["1m"], long={"a": close > 1}, stop=1, targets=[{"at": 1, "share": "100%"}])\n'
_IMPORTS = "from tapewatch.strategy.build import Ring, close, indicator, strategy\n"
_FACTS = (
    'inputs=("x",), first_valid=lambda: 0, settling=lambda _day: 0, unit="input", formula="f", seed="s", source="o"'
)


def own(update: str, facts: str = _FACTS) -> str:
    """A file with an indicator; the update starts on line 3."""
    return f"{_IMPORTS}@indicator({facts})\n{update}\n{_ONE}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ny = = 2\n", "cannot be run: SyntaxError: invalid syntax (mine.py:2)"),
        ("\n\nraise RuntimeError('no\\nmore')", "cannot be run: RuntimeError: no (mine.py:3)"),
        ("\nimport nosuchmodule", "cannot be run: ModuleNotFoundError: No module named 'nosuchmodule' (mine.py:2)"),
        ("from tapewatch.strategy.build import emma", "cannot be run: ImportError: cannot import name 'emma'"),
        ("raise SystemExit(3)", "cannot be run: SystemExit: 3 (mine.py:1)"),
        ("x = 1\n", "must build exactly one strategy(...), has 0"),
        (_IMPORTS + _ONE + _ONE.replace("S =", "T ="), "must build exactly one strategy(...), has 2"),
        (_IMPORTS + "if close > 1:\n    pass\n", "cannot be run: TypeError: a condition has no truth before there are"),
        (_IMPORTS + "\nx = 1 < close < 2\n", "use & | ~ for and, or, not, and no chains (mine.py:3)"),
        (_IMPORTS + "x = close + 'a'\n", "TypeError: 'a' is neither an expression nor a number (mine.py:2)"),
        ("def f(n):\n    return f(n)\nf(1)\n", "cannot be run: RecursionError: maximum recursion depth exceeded"),
        (own("def ema(x):\n    return x,"), "indicator ema exists already (mine.py:"),
        (own("def close(x):\n    return x,"), "'close' cannot be an indicator's name (it is taken) (mine.py:"),
        (own("def macd(x):\n    return x,"), "'macd' cannot be an indicator's name (it is taken) (mine.py:"),
        (own("def higher(x):\n    return x,"), "'higher' cannot be an indicator's name (it is taken)"),
        (own("def _mine(x):\n    return x,"), "'_mine' cannot be an indicator's name (mine.py:"),
        (own("def mine(x):\n    return x"), "indicator mine: its update must end in its one return"),
        (own("def mine(x):\n    if x > 0:\n        return x,\n    return x,"), "must end in its one return"),
        (own("def mine(x):\n    pass"), "indicator mine: its update must end in its one return"),
        (own("def mine(x):\n    return x, x"), "indicator mine: its update must return 1 values (mine.py:2)"),
        (own("def mine(x):\n    y = [x]\n    return x,"), "indicator mine: its update may not use list (mine.py:4)"),
        (own("def mine(x):\n    y = abs(x)\n    return y,"), "indicator mine: its update may not call abs (mine.py:4)"),
        (own("def mine(x):\n    return x.real,"), "indicator mine: its update may not use attribute (mine.py:4)"),
        (
            own("def mine(x):\n    return x + K,"),
            "its update uses K, which it does not have (mine.py:4)",
        ),
        (own("def mine(x, y):\n    return x,"), "indicator mine: its update takes y, which is no input"),
        (own("def mine(x):\n    return x,", 'inputs=("x",)'), "missing 6 required keyword-only arguments"),
        (own("def mine(x):\n    return x,", _FACTS.replace("lambda: 0", "lambda a: 0")), "cannot be called: TypeError"),
        (own("def mine(x, r):\n    return x,", _FACTS + ', state={"r": Ring()}'), "has a window, but no length"),
        (_IMPORTS + f"indicator({_FACTS}, name='l')(lambda x: (x,))\n", "must be a function written with def"),
    ],
)
def test_mistakes_in_a_python_file_are_one_line(tmp_path: Path, text: str, said: str) -> None:
    """What is wrong and where, naming the file; nothing of it stays in the language."""
    file = tmp_path / "mine.py"
    file.write_text(text)
    before = set(REGISTRY)
    with pytest.raises(StrategyError) as caught:
        strategies.load(str(file))
    told = str(caught.value)
    assert told.startswith(f"{file}: ")
    assert "\n" not in told
    assert said in told
    assert set(REGISTRY) == before


def test_a_file_that_is_not_utf8_or_not_there_is_said(tmp_path: Path) -> None:
    """Also for Python, before it is run."""
    (tmp_path / "bad.py").write_bytes(b"x = '\xff'\n")
    with pytest.raises(StrategyError, match=r"bad\.py: is not UTF-8 text"):
        strategies.load(str(tmp_path / "bad.py"))
    with pytest.raises(StrategyError, match="No such file"):
        strategies.load(str(tmp_path / "none.py"))
    with pytest.raises(StrategyError, match="Is a directory"):
        strategies.load(str(tmp_path))
