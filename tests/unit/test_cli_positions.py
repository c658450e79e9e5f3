"""`positions`: of a ledger as a run leaves it; in a terminal, in a pipe, for machines."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from book_samples import DAY_MS, SIGNAL_ID, account, day, fill, position
from delivery_samples import CLOSE_MS, VENUE
from tapewatch.cli.app import command_line
from tapewatch.errors import SetupError
from tapewatch.store import Ledger, Step

NO_ROOM = "no room under a limit"
EFFECTS = [
    fill(),
    position(),
    position("pending", trade_id="p", symbol="ETHUSDT", side="short", decided_ms=CLOSE_MS + 60_000),
    fill(trade_id="c"),
    fill(1, trade_id="c"),
    fill(2, trade_id="c", late=True),
    position("closed", trade_id="c", strategy="trend"),
    position("skipped", trade_id="s1", reason=NO_ROOM),
    position("skipped", trade_id="s2", reason=NO_ROOM, symbol="ETHUSDT"),
    position("skipped", trade_id="s3", reason="a position was open"),
    account(paused_until_ms=DAY_MS + 86_400_000, paused_why="daily loss of 3.20%"),
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a ledger beside it."""
    path = tmp_path / "tapewatch.yaml"
    path.write_text("universe: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\npaper: {}\n", encoding="utf-8")
    Ledger.open(f"sqlite:///{tmp_path}/tapewatch.db").close()
    return path


def run(config: Path, *options: str, effects: bool = True) -> str:
    """What the command prints."""
    if effects:
        ledger = Ledger.open(f"sqlite:///{config.parent}/tapewatch.db")
        ledger.commit_step(Step(VENUE, EFFECTS))
        ledger.close()
    result = CliRunner().invoke(command_line(), ["positions", "-c", str(config), *options])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return result.stdout


ACCOUNT = (
    "account: equity 10,000.19 (+0.19 since 2025-05-20 00:00), cash 9,998.99, 1 open, open risk 4.50, "
    "entries paused until 2025-05-21 00:00: daily loss of 3.20%"
)


def test_open_ones_and_those_that_wait(config: Path) -> None:
    """What is held, where it stands, what it would bring now; and the account."""
    lines = run(config).splitlines()
    assert [line.split() for line in lines[:-1]] == [
        ["symbol", "side", "strategy", "since", "held", "entry", "last", "stop", "targets", "net", "R"],
        ["BTCUSDT", "long", "scalp", "1m", "2025-05-20", "14:07", "0.015", "67020", "67100", "66800",
         "67240,", "67460", "+0.19"],
        ["ETHUSDT", "short", "scalp", "1m", "pending", "since", "2025-05-20", "14:08"],
    ]  # fmt: skip
    assert lines[-1] == ACCOUNT


def test_closed_ones(config: Path) -> None:
    """At which prices, why, what they brought; whether a part was settled late."""
    lines = run(config, "--closed").splitlines()
    assert [line.split() for line in lines[:-1]] == [
        ["symbol", "side", "strategy", "entered", "closed", "quantity", "entry", "exit", "by", "net", "R"],
        ["BTCUSDT", "long", "trend", "1m", "2025-05-20", "14:07", "2025-05-20", "14:12", "0.015", "67020",
         "67240,", "67460", "target", "(late)", "+2.93", "+0.89"],
    ]  # fmt: skip


def test_skipped_ones_with_their_reasons(config: Path) -> None:
    """Each, and how often each reason was."""
    lines = run(config, "--skipped").splitlines()
    assert len(lines) == 1 + 3 + 2 + 1
    assert lines[-3:-1] == [f"     2 {NO_ROOM}", "     1 a position was open"]
    assert len(run(config, "--skipped", "--symbols", "ETHUSDT", effects=False).splitlines()) == 1 + 1 + 1 + 1


def test_for_machines(config: Path) -> None:
    """Money with all its digits, as text; what is held at its last close and at its stop."""
    first, second = map(json.loads, run(config, "--json").splitlines())
    assert (first["trade_id"], first["state"], second["state"]) == (SIGNAL_ID, "open", "pending")
    assert (first["net"], first["unrealised"], first["risk"]) == ("-1.0053", "1.2", "4.5")
    assert first["fills"][0]["fee"] == "1.0053"
    assert "saved" not in first
    found = json.loads(run(config, "--account", "--json"))
    assert (found["equity"], found["open_risk"], found["paused_why"]) == ("10000.1947", "4.5", "daily loss of 3.20%")
    assert run(config, "--account").splitlines()[0] == ACCOUNT


def test_the_whole_account(config: Path) -> None:
    """The last days from what is stored of each, how far it fell, and what each symbol and strategy came to."""
    ledger = Ledger.open(f"sqlite:///{config.parent}/tapewatch.db")
    before = [
        day(day_ms=DAY_MS - 7 * 86_400_000, equity_before=Decimal(10_000), equity=Decimal(12_500)),
        day(day_ms=DAY_MS - 86_400_000, equity_before=Decimal(12_500), equity=Decimal(9_000)),
    ]
    old = position("closed", trade_id="o", symbol="ETHUSDT", closed_ms=DAY_MS - 86_400_000, gross=Decimal(-7), r=-1.0)
    ledger.commit_step(Step(VENUE, [*before, old]))
    ledger.close()
    lines = [line.split() for line in run(config, "--account").splitlines()[1:]]
    assert lines == [
        ["drawdown:", "20.00%", "below", "its", "highest,", "28.00%", "at", "the", "deepest"],
        [],
        ["period", "net", "closed", "won"],
        ["today", "+1,000.19", "1", "1"],
        ["7", "days", "-2,499.81", "2", "1"],
        ["30", "days", "+0.19", "2", "1"],
        [],
        ["symbol", "open", "closed", "won", "net", "mean", "R"],
        ["BTCUSDT", "1", "1", "1", "+3.13", "+0.89"],
        ["ETHUSDT", "0", "1", "0", "-9.02", "-1.00"],
        [],
        ["strategy", "open", "closed", "won", "net", "mean", "R"],
        ["trend", "0", "1", "1", "+2.93", "+0.89"],
        ["scalp", "1", "1", "0", "-8.82", "-1.00"],
    ]
    found = json.loads(run(config, "--account", "--json", effects=False))
    assert found["periods"]["today"] == {"net": "1000.1947", "closed": 1, "won": 1}
    assert found["max_drawdown_pct"] == pytest.approx(28.0)
    assert found["by_symbol"]["BTCUSDT"] == {"open": 1, "closed": 1, "won": 1, "net": "3.12915", "r": 0.889}


def test_a_short_one_wins_when_prices_fall(config: Path) -> None:
    """And risks what is above it."""
    ledger = Ledger.open(f"sqlite:///{config.parent}/tapewatch.db")
    short = position(side="short", stop=Decimal(67300), mark=Decimal(66920))
    ledger.commit_step(Step(VENUE, [short, account()]))
    ledger.close()
    [row] = map(json.loads, run(config, "--json", effects=False).splitlines())
    assert (row["unrealised"], row["risk"]) == ("1.5", "5.7")


def test_filters(config: Path) -> None:
    """By symbol, strategy and number."""
    assert len(run(config, "--json", "--symbols", "ETHUSDT,X").splitlines()) == 1
    assert run(config, "--json", "--closed", "--strategy", "scalp", effects=False) == ""
    assert json.loads(run(config, "--json", "--limit", "1", effects=False))["trade_id"] == "p"
    with pytest.raises(SetupError, match="one or the other"):
        run(config, "--closed", "--skipped", effects=False)


def test_without_an_account_it_says_so(config: Path) -> None:
    """In words; machines get nothing."""
    said = "no paper account yet; a section `paper` in the configuration gives a run one\n"
    assert run(config, effects=False) == said
    assert run(config, "--json", effects=False) == run(config, "--json", "--account", effects=False) == ""
