"""Scoring models of a configuration: where their files are, what keeps one from serving, and when it is another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from command_line import Command
from scored_samples import document
from tapewatch.config import load
from tapewatch.errors import ConfigError, SetupError
from tapewatch.live.files import FileWatch
from tapewatch.live.prepared import prepared
from tapewatch.live.reload import _contents
from tapewatch.live.scorings import read_scoring, scorings_of

CONFIG = """
universe: {include: [BTCUSDT]}
strategies: {scalp: {}}
gate: {score: [{model: models/scalp.json, at_least: 55%}]}
"""


def written(folder: Path, model: Any = None, text: str = CONFIG) -> Path:
    """A configuration, and beside it the file of a model."""
    file = folder / "models" / "scalp.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(model if isinstance(model, bytes) else msgspec.json.encode(model or document("scalp")))
    path = folder / "tapewatch.yaml"
    path.write_text(text)
    return path


def test_a_file_is_looked_for_beside_the_configuration(tmp_path: Path) -> None:
    """It is read with what is asked of it, and watched."""
    seen: list[Path] = []
    config = load([written(tmp_path)], {}, on_file=seen.append)
    (scoring,) = scorings_of(config)
    assert (scoring.at_least, scoring.model.document.strategy) == (0.55, "scalp")
    assert scoring.where == f"gate.score[0].model: {tmp_path}/models/scalp.json"
    assert tmp_path / "models" / "scalp.json" in seen


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (b"{", "no scoring model: Input data was truncated"),
        (b"\xff\xfe", "no scoring model: "),
        (b"[1, 2]", "no scoring model: "),
        (document("scalp", skill=False), "it has no skill and does not serve"),
        (
            document("scalp", feature="context.imbalance"),
            "it reads context.imbalance, which needs alerts.context.depth",
        ),
        (document("scalp", format=7), "format 7 is not known"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_with_its_key(tmp_path: Path, model: Any, words: str) -> None:
    """And `check` says the same."""
    text = CONFIG + "alerts: {context: {depth: false}}\n"
    with pytest.raises(SetupError) as refused:
        list(scorings_of(load([written(tmp_path, model, text)], {})))
    assert str(refused.value).startswith(f"gate.score[0].model: {tmp_path}/models/scalp.json: ")
    assert words in str(refused.value)


def test_what_alerts_ask_for_is_known_to_a_model(tmp_path: Path) -> None:
    """With that part of the context on it serves."""
    model = document("scalp", feature="context.imbalance")
    assert list(scorings_of(load([written(tmp_path, model)], {})))


def test_check_says_what_is_wrong_with_a_model(run: Command, tmp_path: Path) -> None:
    """Also that it is no strategy's; one that serves is named."""
    code, lines, _ = run("check", "-c", written(tmp_path))
    assert code == 0
    assert any("models/scalp.json, 55% or more" in line for line in lines)
    for model, words in ((document("trend"), "a model of 'trend'"), (document("scalp", skill=False), "has no skill")):
        code, _, err = run("check", "-c", written(tmp_path, model))
        assert code == 2
        assert words in err
    (tmp_path / "models" / "scalp.json").unlink()
    code, _, err = run("check", "-c", tmp_path / "tapewatch.yaml")
    assert (code, "cannot be read: No such file" in err) == (2, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{model: a.json, at_least: 0.6}]", "gate.score.0.at_least: must be a percentage"),
        ("[{model: a.json, at_least: 101%}]", "gate.score.0.at_least: "),
        ("[{at_least: 60%}]", "gate.score.0.model: is missing"),
        ("[{model: a.json, at_most: 60%}]", "gate.score.0.at_most: unknown key, did you mean 'at_least'?"),
        ("{model: a.json}", "gate.score: must be a list"),
    ],
)
def test_mistakes_in_the_key_are_told_with_their_line(tmp_path: Path, text: str, words: str) -> None:
    """As of any other."""
    path = written(tmp_path, text=CONFIG.replace("[{model: models/scalp.json, at_least: 55%}]", text))
    with pytest.raises(ConfigError) as refused:
        load([path], {})
    assert f"{path}:4: {words}" in "\n".join(refused.value.problems)


def test_another_model_in_the_same_file_is_a_change(tmp_path: Path) -> None:
    """It makes another engine, and is told as what it is; the same one is none."""

    def now(**given: Any) -> Any:
        return prepared(load([written(tmp_path, document("scalp", **given))], {}), "all", lambda *_: None)

    before, same, other = now(), now(), now(at=2.0)
    assert _contents(before, same) == []
    assert before.makeup.fingerprint == same.makeup.fingerprint != other.makeup.fingerprint
    assert _contents(before, other) == ["gate.score: other contents"]


def test_a_changed_file_is_seen(tmp_path: Path) -> None:
    """As one of the configuration itself is."""
    watch = FileWatch()
    path = written(tmp_path)
    load([path], {}, on_file=watch.note)
    written(tmp_path, document("scalp", at=12.0))
    assert [watch.settled(), watch.settled()] == [False, True]


def test_a_file_without_a_key_is_named_alone(tmp_path: Path) -> None:
    """As an option names it."""
    with pytest.raises(SetupError, match=r"^/nowhere/m\.json: cannot be read"):
        read_scoring(Path("/nowhere/m.json"))
