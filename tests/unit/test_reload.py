"""The parts of a reload: which keys differ, when a file has changed, and what becomes of Python files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tapewatch import strategies
from tapewatch.config import Config, load
from tapewatch.errors import StrategyError
from tapewatch.indicators import REGISTRY
from tapewatch.live.changes import TAKEN_UP, Applied, changes
from tapewatch.live.files import FileWatch

SMALLEST: dict[str, Any] = {
    "universe": {"include": ["BTCUSDT"]},
    "strategies": {"scalp": {"params": {"fast": 9}}},
    "ledger": {"url": "sqlite:////tmp/t.db"},
}
HOOK: dict[str, Any] = {"type": "webhook", "url": "https://example.com/in", "secret": "swordfish"}


def config(**sections: Any) -> Config:
    """A validated configuration."""
    return Config.model_validate(SMALLEST | sections)


def told(old: Config, new: Config) -> tuple[list[str], list[str]]:
    """What is taken up of a changed configuration, and what waits for a start."""
    before = Applied(old)
    after = before.followed_by(new)
    return [str(one) for one in changes(before, after)], [str(one) for one in changes(after, Applied(new))]


@pytest.mark.parametrize(
    ("sections", "taken_up", "waits"),
    [
        ({}, [], []),
        ({"universe": {"include": ["BTCUSDT"], "min_stay": "2h"}}, ["universe.min_stay: 1h -> 2h"], []),
        ({"gate": {"max_spread": "0.2%"}}, ["gate.max_spread: None -> 0.2%"], []),
        (
            {"strategies": {"scalp": {}, "trend": {}}},
            ["strategies.scalp.params: {'fast': 9} -> None", "strategies.trend: None -> {}"],
            [],
        ),
        ({"logging": {"levels": {"feeds": "debug"}}}, ["logging.levels.feeds: None -> debug"], []),
        ({"exchange": {"venue": "elsewhere"}}, [], ["exchange.venue: binance_spot -> elsewhere"]),
        ({"web": {"port": 0}, "gate": {"expiry": "1h"}}, ["gate.expiry: 15m -> 1h"], ["web.port: 8080 -> 0"]),
        ({"paper": {"cash": 1}}, [], ["paper: None -> "]),
    ],
)
def test_each_key_that_differs_is_named_as_it_is_written(
    sections: dict[str, Any], taken_up: list[str], waits: list[str]
) -> None:
    """And whether it is taken up or waits; an account is opened by a start."""
    for found, wanted in zip(told(config(), config(**sections)), (taken_up, waits), strict=True):
        assert len(found) == len(wanted)
        assert all(text.startswith(start) for text, start in zip(found, wanted, strict=True))


def test_an_account_that_stays_open_follows_its_settings() -> None:
    """Both have one."""
    assert told(config(paper={"risk": "1%"}), config(paper={"risk": "2%"})) == (["paper.risk: 1% -> 2%"], [])


def test_a_secret_that_differs_is_named_and_not_shown() -> None:
    """Also one that came, and one of a channel that went."""
    old, other = config(channels={"hook": HOOK}), config(channels={"hook": HOOK | {"secret": "mackerel"}})
    assert told(old, other) == (["channels.hook.secret: *** -> ***"], [])
    (gone,), _ = told(other, config())
    assert gone.startswith("channels.hook: {")
    assert "mackerel" not in gone


def test_what_is_in_force_is_of_both_and_is_followed_again() -> None:
    """What waits for a start keeps its old value however often something else changes."""
    first = Applied(config(web={"port": 1}))
    second = first.followed_by(config(web={"port": 2}, gate={"expiry": "1h"}))
    third = second.followed_by(config(web={"port": 2}, gate={"expiry": "2h"}))
    assert (third.config.web.port, third.config.gate.expiry) == (1, 7_200_000)
    assert (third.document["web"]["port"], third.document["gate"]["expiry"]) == (1, "2h")
    assert Applied(third.config).document == third.document


def test_every_section_is_one_or_the_other() -> None:
    """None is forgotten."""
    assert set(Config.model_fields) - TAKEN_UP == {"exchange", "feeds", "ledger", "journal", "archive", "web"}


def test_a_change_has_settled_when_two_looks_see_the_same(tmp_path: Path) -> None:
    """Written in two pieces, replaced, gone, there again; what was read is no change."""
    file = tmp_path / "t.yaml"
    file.write_text("a")
    watch = FileWatch()
    watch.note(file)
    assert [watch.settled(), watch.settled()] == [False, False]
    file.write_text("ab")
    assert not watch.settled()
    file.write_text("abc")
    assert [watch.settled(), watch.settled()] == [False, True]
    watch.begin()
    watch.note(file)
    assert not watch.settled()
    other = tmp_path / "other"
    other.write_text("abc")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.rename(file)
    assert [watch.settled(), watch.settled()] == [False, True]
    watch.note(file)
    file.unlink()
    assert [watch.settled(), watch.settled()] == [False, True]
    watch.note(file)
    assert [watch.settled(), watch.settled()] == [False, False]
    file.write_text("abc")
    assert [watch.settled(), watch.settled()] == [False, True]


def test_templates_are_looked_at_in_their_folders(tmp_path: Path) -> None:
    """One that is added, and one that is changed in a channel's own folder."""
    own = tmp_path / "templates" / "mail"
    own.mkdir(parents=True)
    watch = FileWatch()
    for change in ("first", "longer than it"):
        watch.note(tmp_path / "templates")
        (own / "signal.txt").write_text(change)
        assert [watch.settled(), watch.settled()] == [False, True]


def test_every_file_is_named_before_it_is_read(tmp_path: Path) -> None:
    """Layers, `.env`, secrets however they are given, strategies, templates; those that are missing, too."""
    for name, text in {"mine.yaml": "mine: {}", "hook": "https://example.com/in", "token": "1:abc"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / ".env").write_text(f"TOKEN_FILE={tmp_path / 'token'}\n")
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("universe: {include: [BTCUSDT]}\nstrategies: {mine: {file: mine.yaml}}\n")
    second.write_text(
        "channels:\n  hook: {type: webhook, url_file: hook}\n"
        "  phone: {type: telegram, token: '${TOKEN}', chat_id: '1'}\nalerts: {templates: looks}\n"
    )
    named: list[Path] = []
    load([first, second], {}, on_file=named.append)
    names = ["a.yaml", "b.yaml", ".env", "hook", "token", "mine.yaml", "looks"]
    assert sorted(named) == sorted(tmp_path / name for name in names)


PYTHON = """
from tapewatch.strategy.build import close, indicator, strategy

@indicator(formula="{formula}", seed="none", source="own", inputs=("x",), first_valid=lambda: 0,
           settling=lambda *_: 1, unit="number", state={{"last": 0.0}})
def own_thing(x, last):
    value = x + {plus}
    last = value
    return value, last

STRATEGY = strategy("mine", timeframes=["1m"], long={{"up": own_thing(close) > {limit}}}, stop=0.01 * close,
                    targets=[{{"at": 0.01 * close, "share": "100%"}}])
"""


@pytest.mark.usefixtures("own_indicators")
def test_a_python_file_is_run_again_when_it_says_something_else(tmp_path: Path) -> None:
    """Also within the same second and of the same size; what fails leaves everything as it was."""
    file = tmp_path / "mine.py"

    def write(plus: int, limit: object) -> None:
        file.write_text(PYTHON.format(formula=f"x + {plus}", plus=plus, limit=limit))
        os.utime(file, (1_000_000_000, 1_000_000_000))

    write(1, 5)
    before = strategies.mapping_of(str(file))[1]
    assert before["long"] == {"up": "own_thing(close) > 5"}
    write(2, 6)
    with strategies.undone_on_failure():
        assert strategies.mapping_of(str(file))[1]["long"] == {"up": "own_thing(close) > 6"}
    assert REGISTRY["own_thing"].formula == "x + 2"
    write(3, "nothing_known")
    with pytest.raises(StrategyError, match="nothing_known"), strategies.undone_on_failure():
        strategies.mapping_of(str(file))
    assert REGISTRY["own_thing"].formula == "x + 2"
