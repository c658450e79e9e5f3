"""The section `paper`: what may be written, what may not, and that without it there is no account."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapewatch.config import Config, load
from tapewatch.config.paper import Paper, PaperAlerts, Protections
from tapewatch.errors import ConfigError


def loaded(folder: Path, more: str) -> Config:
    """A configuration with these lines in it."""
    path = folder / "tapewatch.yaml"
    path.write_text(f"universe: {{include: [BTCUSDT]}}\nstrategies: {{scalp: {{}}}}\n{more}", encoding="utf-8")
    return load([path], {})


@pytest.mark.parametrize("more", ["", "paper:\n", "paper:\n  # cash: 1\n"])
def test_without_the_section_there_is_no_account(tmp_path: Path, more: str) -> None:
    """A section without anything in it is none."""
    assert loaded(tmp_path, more).paper is None


def test_an_empty_section_has_all_the_defaults(tmp_path: Path) -> None:
    """Spot, one percent, exits told."""
    paper = loaded(tmp_path, "paper: {}").paper
    assert paper == Paper()
    assert (Paper().account, Paper().cash, Paper().risk, Paper().size) == ("spot", 10_000.0, 0.01, None)
    assert PaperAlerts() == PaperAlerts(entry=False, partial=False, exit=True, summary=False)
    assert Protections() == Protections(daily_loss=None, max_drawdown=None, losses=None, after_stop=None)


def test_every_key_is_read_in_its_unit(tmp_path: Path) -> None:
    """Shares, durations, amounts; protections with the pauses that go with them unless others are said."""
    paper = loaded(
        tmp_path,
        "paper: {account: perpetual, cash: 2500.5, risk: 0.5%, size: 300, cap_symbol: 50%, cap_side: 80%, "
        "cap_total: 90%, leverage: 5, taker_bps: 5, maker_bps: 2, slippage_bps: 1.5, impact_bps: 40, levels: fill, "
        "on_opposite: reverse, "
        "protections: {daily_loss: 3%, max_drawdown: {limit: 15%}, "
        "losses: {count: 5, pause: 6h}, after_stop: 30m}, alerts: {entry: true, summary: true}}",
    ).paper
    assert paper is not None
    assert paper.model_dump() == {
        "account": "perpetual", "cash": 2500.5, "risk": 0.005, "size": 300.0, "cap_symbol": 0.5, "cap_side": 0.8,
        "cap_total": 0.9, "leverage": 5.0, "taker_bps": 5.0, "maker_bps": 2.0, "slippage_bps": 1.5, "impact_bps": 40.0,
        "levels": "fill", "on_opposite": "reverse",
        "protections": {
            "daily_loss": 0.03, "max_drawdown": {"limit": 0.15, "pause": 7 * 86_400_000},
            "losses": {"count": 5, "pause": 6 * 3_600_000}, "after_stop": 1_800_000,
        },
        "alerts": {"entry": True, "partial": False, "exit": True, "summary": True},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("{leverage: 3}", "paper.leverage: a spot account borrows nothing; `account: perpetual` does"),
        ("{account: spot, leverage: 1.5}", "paper.leverage: a spot account borrows nothing"),
        ("{account: perpetual, leverage: 0.5}", "paper.leverage: must be greater than or equal to 1"),
        ("{account: perpetual, leverage: 200}", "paper.leverage: must be less than or equal to 125"),
        ("{account: margin}", "paper.account: must be one of spot, perpetual"),
        ("{cash: 0}", "paper.cash: must be greater than 0"),
        ("{risk: 0%}", "paper.risk: must be greater than 0"),
        ("{risk: 0.01}", "paper.risk: must be a percentage with its sign"),
        ("{cap_total: 300%}", "paper.cap_total: must be less than or equal to 1"),
        ("{cash: 1e300}", "paper.cash: must be less than or equal to"),
        ("{cap_symbol: 0%}", "paper.cap_symbol: must be greater than 0"),
        ("{taker_bps: -1}", "paper.taker_bps: must be greater than or equal to 0"),
        ("{protections: {dayly_loss: 3%}}", "paper.protections.dayly_loss: unknown key, did you mean 'daily_loss'?"),
        ("{protections: {max_drawdown: {pause: 1d}}}", "paper.protections.max_drawdown.limit: is missing"),
        ("{protections: {losses: {count: 0}}}", "paper.protections.losses.count: must be greater than or equal to 1"),
        ("{alerts: {exits: true}}", "paper.alerts.exits: unknown key, did you mean 'exit'?"),
        ("[]", "paper: must be a mapping"),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, section: str, says: str) -> None:
    """At its line, in words that say what to write."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f"paper: {section}")
    assert any(problem.startswith(f"{tmp_path}/tapewatch.yaml:3: {says}") for problem in caught.value.problems), (
        caught.value.problems
    )


def test_a_perpetual_account_needs_nothing_else(tmp_path: Path) -> None:
    """And a spot account may say that its leverage is 1."""
    assert loaded(tmp_path, "paper: {account: perpetual}").paper == Paper(account="perpetual")
    assert loaded(tmp_path, "paper: {account: spot, leverage: 1}").paper == Paper()


def test_follow_up_is_off_unless_asked_for(tmp_path: Path) -> None:
    """It needs no paper account."""
    assert not loaded(tmp_path, "").alerts.follow_up
    assert loaded(tmp_path, "alerts: {follow_up: true}").alerts.follow_up
