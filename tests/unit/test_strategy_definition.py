"""A strategy's mapping: every key, what is refused and how it is said, merging, parameters, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core_samples import mapping
from tapewatch import strategies
from tapewatch.errors import StrategyError
from tapewatch.strategy import from_mapping, merged, with_params
from tapewatch.strategy.definition import Duplicate, Strategy, TargetText, TrailingText, duration_ms, fraction


def refused(**changes: Any) -> str:
    """The text of the error that the sample strategy with changes gives."""
    with pytest.raises(StrategyError) as caught:
        from_mapping("probe", mapping(**changes))
    return str(caught.value)


def made(**changes: Any) -> Strategy:
    """The sample strategy with changes."""
    return from_mapping("probe", mapping(**changes))


def test_everything_that_is_left_out_has_a_default() -> None:
    """Timeframes, stop, targets and a factor are needed; the rest is as design says."""
    assert made(higher=None) == Strategy(
        name="probe",
        timeframes=("1m",),
        higher={},
        params={},
        by_regime={},
        sides={"long": {"up": "close > open"}, "short": {}},
        at_least={"long": 1, "short": 0},
        always=(),
        stop="2.0",
        targets=(TargetText("1.0", 100.0),),
        break_even=None,
        trailing=None,
        time_limit=240,
        duplicate=Duplicate(300_000, 0.003),
        cooldown_ms=0,
        regime=None,
        budget=None,
        symbols=("*",),
    )


def test_every_key_is_taken() -> None:
    """Each key of the language changes what it names."""
    whole = made(
        timeframes=["5m", "1h"],
        higher={"5m": "1h", "1h": "4h"},
        params={"need": 2, "level": 0.5},
        long={"a": "close > level", "b": "open > 1", "c": "low > 1"},
        short={"a": "close < level", "b": "open < 1"},
        fire={"at_least": "need", "always": ["a"]},
        stop=1.5,
        targets=[{"at": "atr(14)", "share": "33.3%"}, {"at": 2, "share": "66.7%"}],
        break_even="0.7 * atr(14)",
        trailing={"after": 3, "by": "2 * atr(14)"},
        time_limit=48,
        duplicate={"window": "90s", "move": "1.5%"},
        cooldown="30m",
        symbols=["BTC*", "ETHUSDT"],
    )
    assert (whole.timeframes, whole.higher) == (("5m", "1h"), {"5m": "1h", "1h": "4h"})
    assert whole.params == {"need": 2.0, "level": 0.5}
    assert (whole.at_least, whole.always) == ({"long": 2, "short": 2}, ("a",))
    assert (whole.stop, whole.targets) == ("1.5", (TargetText("atr(14)", 33.3), TargetText("2", 66.7)))
    assert (whole.break_even, whole.trailing) == ("0.7 * atr(14)", TrailingText("3", "2 * atr(14)"))
    assert (whole.time_limit, whole.cooldown_ms) == (48, 1_800_000)
    assert whole.duplicate == Duplicate(90_000, 0.015)
    watched = ("BTCUSDT", "BTC", "ETHUSDT", "ETHUSDTX", "XBTC", "btcusdt")
    assert [whole.watches(symbol) for symbol in watched] == [True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("fire", "at_least", "always"),
    [
        ("all", {"long": 3, "short": 2}, ()),
        ("any", {"long": 1, "short": 1}, ()),
        ({"at_least": 2}, {"long": 2, "short": 2}, ()),
        ({"always": ["a", "b"]}, {"long": 3, "short": 2}, ("a", "b")),
        ({"at_least": 1, "always": []}, {"long": 1, "short": 1}, ()),
        ({"at_least": 1, "always": None}, {"long": 1, "short": 1}, ()),
        ({}, {"long": 3, "short": 2}, ()),
    ],
)
def test_fire(fire: Any, at_least: dict[str, int], always: tuple[str, ...]) -> None:
    """All, any, or at least so many with some always among them."""
    whole = made(
        long={"a": "close > 1", "b": "close > 2", "c": "close > 3"},
        short={"a": "close < 1", "b": "close < 2"},
        fire=fire,
    )
    assert (whole.at_least, whole.always) == (at_least, always)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tmieframes": ["1m"]}, "probe.tmieframes: unknown key; did you mean 'timeframes'?"),
        ({"stop": None}, "probe.stop: is missing"),
        ({"targets": None}, "probe.targets: is missing"),
        ({"timeframes": None}, "probe.timeframes: is missing"),
        ({"long": None}, "probe.long: there is no factor, neither long nor short"),
        ({"long": {}}, "probe.long: there is no factor, neither long nor short"),
        ({"long": ["close > 1"]}, "probe.long: must be a mapping of names"),
        ({"long": {1: "close > 1"}}, "probe.long: must be a mapping of names"),
        ({"long": {"a b": "close > 1"}}, "probe.long.a b: a factor's name has letters, digits and _"),
        ({"long": {"a": True}}, "probe.long.a: must be text"),
        ({"long": {"a": ["close"]}}, "probe.long.a: must be text"),
        ({"timeframes": "1m"}, "probe.timeframes: must be a list with at least one entry"),
        ({"timeframes": []}, "probe.timeframes: must be a list with at least one entry"),
        ({"timeframes": ["7m"]}, "probe.timeframes: '7m' is no timeframe; known are 1m, 3m, 5m"),
        ({"timeframes": [["1m"]]}, "probe.timeframes: ['1m'] is no timeframe"),
        ({"timeframes": ["1m", "1m"]}, "probe.timeframes: names a timeframe twice"),
        ({"higher": {"1m": "1m"}}, "probe.higher.1m: 1m is not a larger multiple of 1m"),
        ({"higher": {"5m": "3m"}}, "probe.higher.5m: 3m is not a larger multiple of 5m"),
        ({"higher": {"3m": "5m"}}, "probe.higher.3m: 5m is not a larger multiple of 3m"),
        ({"higher": {"7m": "1h"}}, "probe.higher: '7m' is no timeframe"),
        ({"higher": "5m"}, "probe.higher: must be a mapping of names"),
        ({"params": {"a": "9"}}, "probe.params.a: must be a number"),
        ({"params": {"a": True}}, "probe.params.a: must be a number"),
        ({"params": {"a": float("nan")}}, "probe.params.a: must be a number"),
        ({"params": {"a": float("inf")}}, "probe.params.a: must be a number"),
        ({"params": {"close": 1}}, "probe.params.close: cannot be a parameter's name (it is a source)"),
        ({"params": {"9": 1}}, "probe.params.9: cannot be a parameter's name"),
        ({"params": {"lambda": 1}}, "probe.params.lambda: cannot be a parameter's name"),
        ({"params": [1]}, "probe.params: must be a mapping of names"),
        ({"fire": "most"}, "probe.fire: must be all, any, or {at_least: number, always: [factors]}"),
        ({"fire": 1}, "probe.fire: must be all, any, or"),
        ({"fire": ["up"]}, "probe.fire: must be all, any, or"),
        ({"fire": {"atleast": 1}}, "probe.fire: must be all, any, or"),
        ({"fire": {"at_least": 0}}, "probe.fire.at_least: must be a whole number from 1 to 1"),
        ({"fire": {"at_least": 2}}, "probe.fire.at_least: must be a whole number from 1 to 1"),
        ({"fire": {"at_least": 0.5}}, "probe.fire.at_least: must be a whole number from 1 to 1"),
        ({"fire": {"at_least": [1]}}, "probe.fire.at_least: must be a number"),
        ({"fire": {"at_least": "nede"}, "params": {"need": 1}}, "probe.fire.at_least: no parameter 'nede'; did you"),
        (
            {"fire": {"at_least": "need"}, "params": {"need": 4}},
            "probe.params.need: must be a whole number from 1 to 1",
        ),
        ({"fire": {"always": ["upp"]}}, "probe.fire.always: long has no factor 'upp'; did you mean 'up'?"),
        ({"fire": {"always": "up"}}, "probe.fire.always: must be a list with at least one entry"),
        ({"fire": {"always": 5}}, "probe.fire.always: must be a list with at least one entry"),
        ({"fire": {"always": [["up"]]}}, "probe.fire.always: long has no factor ['up']"),
        ({"stop": False}, "probe.stop: must be text"),
        ({"targets": []}, "probe.targets: must be a list with at least one entry"),
        ({"targets": ["atr(14)"]}, "probe.targets[0]: must be a mapping of names"),
        ({"targets": [{"at": "1"}]}, "probe.targets[0]: must be {at: distance, share: percentage}"),
        ({"targets": [{"at": "1", "share": 100}]}, "probe.targets[0].share: must be a percentage as 0.3%, was 100"),
        ({"targets": [{"at": "1", "share": "99%"}]}, "probe.targets: the shares must be above 0% and sum to 100%"),
        (
            {"targets": [{"at": "1", "share": "100%"}, {"at": "2", "share": "0%"}]},
            "probe.targets: the shares must be above 0% and sum to 100%",
        ),
        ({"break_even": ["1"]}, "probe.break_even: must be text"),
        ({"break_even": True}, "probe.break_even: must be text"),
        ({"trailing": "2"}, "probe.trailing: must be a mapping of names"),
        ({"trailing": {"bye": "2"}}, "probe.trailing.bye: unknown key; did you mean 'by'?"),
        ({"trailing": {"after": "2"}}, "probe.trailing.by: is missing"),
        ({"trailing": {"after": "2", "by": None}}, "probe.trailing.by: is missing"),
        ({"trailing": {"by": ["2"]}}, "probe.trailing.by: must be text"),
        ({"trailing": {"by": "2", "after": False}}, "probe.trailing.after: must be text"),
        ({"time_limit": 0}, "probe.time_limit: must be a whole number from 1 to 1,000,000"),
        ({"time_limit": 1.5}, "probe.time_limit: must be a whole number from 1 to 1,000,000"),
        ({"time_limit": "240"}, "probe.time_limit: must be a number"),
        ({"duplicate": {"windw": "5m"}}, "probe.duplicate.windw: unknown key; did you mean 'window'?"),
        ({"duplicate": {"window": 5}}, "probe.duplicate.window: must be a duration as 30s, 5m or 1h, was 5"),
        ({"duplicate": {"move": "-1%"}}, "probe.duplicate.move: must be a percentage as 0.3%, was '-1%'"),
        ({"duplicate": {"move": "nan%"}}, "probe.duplicate.move: must be a percentage as 0.3%"),
        ({"duplicate": "5m"}, "probe.duplicate: must be a mapping of names"),
        ({"cooldown": "soon"}, "probe.cooldown: must be a duration as 30s, 5m or 1h, was 'soon'"),
        ({"symbols": "BTCUSDT"}, "probe.symbols: must be a list with at least one entry"),
        ({"symbols": [{"a": 1}]}, "probe.symbols: must be text"),
    ],
)
def test_each_mistake_names_its_key(changes: dict[str, Any], message: str) -> None:
    """Strategy, key and what would be right; never another exception."""
    assert refused(**changes).startswith(message)


@pytest.mark.parametrize("name", ["", "9lives", "a-b", "a/b", "ä", "x" * 65])
def test_a_name_is_letters_digits_and_underscores(name: str) -> None:
    """It stands in ids and in files."""
    with pytest.raises(StrategyError, match="a strategy's name has letters, digits and _"):
        from_mapping(name, mapping())


@pytest.mark.parametrize("whole", [None, 3, "scalp", ["scalp"]])
def test_a_strategy_is_a_mapping(whole: object) -> None:
    """Anything else is refused."""
    with pytest.raises(StrategyError, match="probe: must be a mapping of names"):
        from_mapping("probe", whole)


def test_durations_and_percentages() -> None:
    """Units from ms to days; fractions of both."""
    texts = ("500ms", "30s", "5m", "1.5h", " 2d ")
    assert [duration_ms(text) for text in texts] == [500, 30_000, 300_000, 5_400_000, 172_800_000]
    assert (fraction("0.3%"), fraction("0%"), fraction(" 100 % ")) == (0.003, 0.0, 1.0)


@pytest.mark.parametrize("text", ["5", "m", "-5m", "5 minutes", "", "0.3", "x%", "inf%", "nan%", "-1%", "%"])
def test_what_is_neither_a_duration_nor_a_percentage(text: str) -> None:
    """No unit, no number, a number below 0 or without end."""
    assert "must be a duration" in refused(cooldown=text)
    assert "must be a percentage" in refused(duplicate={"move": text})


def test_a_move_that_is_nothing_is_none() -> None:
    """What a configuration lays over a strategy takes away a break-even, a trailing stop, or its begin."""
    assert made(break_even=None, trailing={}).trailing is None
    base = mapping(break_even="1", trailing={"after": "1", "by": "2"})
    assert from_mapping("probe", base | {"break_even": None}).break_even is None
    assert from_mapping("probe", base | {"trailing": None}).trailing is None
    from_the_entry = merged(base, {"trailing": {"after": None}})
    assert from_mapping("probe", from_the_entry).trailing == TrailingText(None, "2")


def test_merging_replaces_but_for_the_mappings_of_settings() -> None:
    """`params`, `duplicate`, `higher` and `trailing` merge by key; factors and everything else are replaced whole."""
    base = mapping(params={"a": 1, "b": 2}, duplicate={"window": "5m"}, long={"a": "close > 1", "b": "close > 2"})
    changes = {"params": {"b": 3}, "duplicate": {"move": "1%"}, "higher": {"1m": "1h"}, "long": {"c": "close > 3"}}
    both = merged(base, changes | {"timeframes": ["5m"], "cooldown": "1m"})
    assert both["params"] == {"a": 1, "b": 3}
    assert both["duplicate"] == {"window": "5m", "move": "1%"}
    assert both["higher"] == {"1m": "1h", "5m": "15m"}
    assert both["long"] == {"c": "close > 3"}
    assert (both["timeframes"], both["cooldown"], both["stop"]) == (["5m"], "1m", "2.0")
    assert base["params"] == {"a": 1, "b": 2}
    assert merged({"trailing": {"after": 1, "by": 2}}, {"trailing": {"after": None}})["trailing"] == {
        "after": None,
        "by": 2,
    }
    assert merged({}, {"params": {"a": 1}}) == {"params": {"a": 1}}
    assert merged({"params": {"a": 1}}, {"params": 5}) == {"params": 5}


def test_parameters_are_set_by_name() -> None:
    """`--set` changes what the strategy has and nothing else; one it does not have is named."""
    base = mapping(params={"fast": 9})
    assert with_params(base, [("fast", 5.0)], "probe")["params"] == {"fast": 5.0}
    assert base["params"] == {"fast": 9}
    assert with_params(mapping(), [], "probe") == mapping()
    for whole, message in (
        (base, "probe.params: no parameter 'fsat'; did you mean 'fast'?"),
        (mapping(), "probe.params: no parameter 'fsat'"),
        (mapping(params=[1, 2]), "probe.params: no parameter 'fsat'"),
    ):
        with pytest.raises(StrategyError) as caught:
            with_params(whole, [("fsat", 1.0)], "probe")
        assert str(caught.value) == message


# --- shipped ones, files, configurations ---------------------------------------------------------------------------


def test_every_shipped_strategy_is_sound() -> None:
    """It loads, compiles on all its timeframes, and both its sides ask the same factors."""
    assert "scalp" in strategies.shipped()
    for name in strategies.shipped():
        one = strategies.load(name)
        assert one.name == name
        assert list(one.sides["long"]) == list(one.sides["short"])


def test_scalp_is_what_is_asked_for() -> None:
    """Five factors, the cross always; 1m with 5m above it and 5m with 1h."""
    scalp = strategies.load("scalp")
    assert (scalp.timeframes, scalp.higher) == (("1m", "5m"), {"1m": "5m", "5m": "1h"})
    assert (scalp.at_least, scalp.always) == ({"long": 5, "short": 5}, ("cross",))
    assert strategies.load("scalp", [("min_factors", 3)]).at_least == {"long": 3, "short": 3}
    with pytest.raises(StrategyError, match=r"scalp\.params\.min_factors: must be a whole number from 1 to 5"):
        strategies.load("scalp", [("min_factors", 6)])
    with pytest.raises(StrategyError, match="length of ema must be a whole number"):
        strategies.load("scalp", [("fast", 0)])


GOOD = "mine:\n  timeframes: [1m]\n  long: {up: close > open}\n  stop: 1\n  targets: [{at: 1, share: 100%}]\n"


def test_a_file_with_one_strategy_is_loaded(tmp_path: Path) -> None:
    """By its path; YAML 1.2, so `on` and `no` are names like others, also with a byte-order mark and CRLF."""
    path = tmp_path / "mine.yaml"
    text = GOOD.replace("{up: close > open}", "{on: close > open, no: close > 1}").replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert list(strategies.load(str(path)).sides["long"]) == ["on", "no"]
    bare = tmp_path / "mine"
    bare.write_text(GOOD)
    assert strategies.load(str(bare)).name == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"mine: {stop: \xff\xfe}", "is not UTF-8 text"),
        (b"mine: {a: 1, a: 2}", 'cannot be read as YAML: while constructing a mapping in "<unicode string>", line 1'),
        (b"mine: {a: 1\n", "cannot be read as YAML: "),
        (b"mine:\n\tstop: 1\n", "cannot be read as YAML: "),
        (b"mine: !!python/object/apply:os.system [ls]", "cannot be read as YAML: could not determine a constructor"),
        (b"mine: {cooldown: 2025-13-45}", "cannot be read as YAML: month must be in 1..12"),
        (b"mine: " + b"[" * 5_000, "cannot be read as YAML: "),
        (b"a: {}\n---\nb: {}\n", "cannot be read as YAML: expected a single document"),
        (b"- a\n- b\n", "must hold exactly one strategy"),
        (b"", "must hold exactly one strategy"),
        (b"just text", "must hold exactly one strategy"),
        (b"a: {stop: 1}\nb: {stop: 1}\n", "must hold exactly one strategy"),
        (b"a: 5\n", "must hold exactly one strategy"),
        (b"5: {stop: 1}\n", "must hold exactly one strategy"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_a_file_that_is_no_strategy_is_named_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    """The path first, then what is wrong in one line."""
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(StrategyError) as caught:
        strategies.load(str(path))
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a folder, a name that no file can have, or a name close to a shipped one."""
    for path, message in (
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(StrategyError, match=message):
            strategies.load(str(path))
    with pytest.raises(StrategyError, match="no strategy 'sclap'; did you mean 'scalp'"):
        strategies.load("sclap")
    with pytest.raises(StrategyError, match=r"no strategy 'breakout'; there are momentum, scalp, trend$"):
        strategies.load("breakout")


def test_a_mistake_inside_a_file_names_strategy_and_key(tmp_path: Path) -> None:
    """As for any other strategy, with the place in the expression."""
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace("close > open", "clos > open"))
    with pytest.raises(StrategyError, match=r"mine\.long\.up: unknown name 'clos'; did you mean 'close'"):
        strategies.load(str(path))


def test_a_configuration_changes_a_shipped_strategy_or_adds_its_own() -> None:
    """Changes are laid over the shipped one of the same name; another name is a whole definition."""
    changed, own = strategies.configured({"scalp": {"timeframes": ["1m"], "params": {"fast": 5}}, "mine": mapping()})
    assert (changed.timeframes, changed.params["fast"], changed.params["slow"]) == (("1m",), 5.0, 21.0)
    assert own.name == "mine"
    assert strategies.configured({"scalp": None}) == [strategies.load("scalp")]
    with pytest.raises(StrategyError, match=r"mine\.timeframes: is missing"):
        strategies.configured({"mine": mapping(timeframes=None)})
    with pytest.raises(
        StrategyError, match=r"mine: no strategy of this name ships.*; there are momentum, scalp, trend"
    ):
        strategies.configured({"mine": None})
    with pytest.raises(StrategyError, match=r"sclap: no strategy of this name ships.*; did you mean 'scalp'"):
        strategies.configured({"sclap": {"timeframes": ["1m"]}})
    with pytest.raises(StrategyError, match=r"scalp\.params\.fast: must be a number"):
        strategies.configured({"scalp": {"params": {"fast": "nine"}}})
