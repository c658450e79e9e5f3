"""Trades of a live run beside those of a backtest: equal in everything, or what is not."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from book_samples import MINUTE_MS, SIGNAL_ID, fill, position
from command_line import store
from core_samples import walk
from delivery_samples import CLOSE_MS, VENUE
from tapewatch import strategies
from tapewatch.config.paper import Paper
from tapewatch.store import Ledger, Step
from tapewatch.study.parity import Difference, account_of, compare
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request, find
from tapewatch.study.trades import Exit, Trade

TRADE = Trade(
    trade_id=SIGNAL_ID,
    signal_id=SIGNAL_ID,
    symbol="BTCUSDT",
    side="long",
    timeframe="1m",
    entry_ms=CLOSE_MS,
    entry_price=67020.0,
    exits=(
        Exit(CLOSE_MS + 2 * MINUTE_MS, 67240.0, 50.0, "target"),
        Exit(CLOSE_MS + 4 * MINUTE_MS, 67460.0, 50.0, "target"),
    ),
    quantity=0.015,
    fees=2.01555,
    funding=0.0,
    gross=4.95,
    net=2.93445,
    r=0.889,
    mfe_r=2.0,
    mae_r=-0.3,
    ambiguous=False,
)


@pytest.fixture
def row(tmp_path: Path) -> dict[str, Any]:
    """The same trade as a live run leaves it in the ledger."""
    ledger = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    ledger.commit_step(Step(VENUE, [fill(), fill(1), fill(2), position("closed")]))
    [found] = ledger.paper.positions(states=("closed",))
    ledger.close()
    return found


def test_the_same_trade_is_equal(row: dict[str, Any]) -> None:
    """Money to what doubles can hold of it."""
    found = compare([row], [msgspec.structs.replace(TRADE, net=2.93445 * (1 + 1e-12))])
    assert (found.checked, found.equal, found.differences) == (1, 1, ())


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("side", {"side": "short"}),
    ("entry_ms", {"entry_ms": CLOSE_MS + 1}),
    ("entry_price", {"entry_price": 67020.000000000015}),
    ("quantity", {"quantity": 0.015000001}),
    ("ambiguous", {"ambiguous": True}),
    ("exits.ms", {"exits": (msgspec.structs.replace(TRADE.exits[0], ms=5), TRADE.exits[1])}),
    ("exits.reason", {"exits": (TRADE.exits[0], msgspec.structs.replace(TRADE.exits[1], reason="stop"))}),
    ("exits.price", {"exits": (TRADE.exits[0], msgspec.structs.replace(TRADE.exits[1], price=67460.01))}),
    ("exits.share", {"exits": (msgspec.structs.replace(TRADE.exits[0], share=50.01), TRADE.exits[1])}),
    ("gross", {"gross": 4.95001}),
    ("fees", {"fees": 2.0156}),
    ("funding", {"funding": 0.00001}),
    ("net", {"net": 2.9345}),
    ("r", {"r": 0.8891}),
    ("mfe_r", {"mfe_r": 2.1}),
    ("mae_r", {"mae_r": -0.31}),
]


@pytest.mark.parametrize(("field", "changes"), CHANGES, ids=[field for field, _ in CHANGES])
def test_what_is_not_equal_is_named(row: dict[str, Any], field: str, changes: dict[str, Any]) -> None:
    """One field of one trade is enough."""
    found = compare([row], [msgspec.structs.replace(TRADE, **changes)])
    assert [(one.trade_id, one.field) for one in found.differences] == [(SIGNAL_ID, field)]
    assert (found.checked, found.equal) == (1, 0)


def test_a_missing_exit_is_seen(row: dict[str, Any]) -> None:
    """Of either side."""
    found = compare([row], [msgspec.structs.replace(TRADE, exits=TRADE.exits[:1])])
    assert {one.field for one in found.differences} == {"exits.ms", "exits.reason", "exits.price", "exits.share"}
    assert found.equal == 0


def test_a_trade_that_one_side_lacks_counts(row: dict[str, Any]) -> None:
    """On both sides."""
    other = msgspec.structs.replace(TRADE, trade_id="other")
    found = compare([row], [other])
    assert (found.checked, found.equal) == (2, 0)
    assert found.differences == (
        Difference(SIGNAL_ID, "trade", CLOSE_MS, None),
        Difference("other", "trade", None, CLOSE_MS),
    )
    assert compare([], []).checked == 0


def test_a_configuration_has_the_account_of_a_backtest() -> None:
    """The same defaults, and every key in its place."""
    assert account_of(Paper()) == Account()
    values = {
        "account": "perpetual", "cash": 1.0, "risk": "2%", "size": 3.0, "cap_symbol": "4%", "cap_side": "5%",
        "cap_total": "6%", "leverage": 7.0, "taker_bps": 8.0, "maker_bps": 9.0, "slippage_bps": 10.0,
        "impact_bps": 11.0, "levels": "fill", "on_opposite": "reverse",
        "protections": {
            "daily_loss": "12%", "max_drawdown": {"limit": "13%", "pause": "14m"},
            "losses": {"count": 15, "pause": "16m"}, "after_stop": "17m",
        },
    }  # fmt: skip
    asked = Account(
        "perpetual", 1.0, 0.02, 3.0, 0.04, 0.05, 0.06, 7.0, 8.0, 9.0, 10.0, 11.0, "fill", "reverse",
        0.12, 0.13, 14 * MINUTE_MS, 15, 16 * MINUTE_MS, 17 * MINUTE_MS,
    )  # fmt: skip
    assert account_of(Paper.model_validate(values)) == asked


def test_the_gate_knows_nothing_of_what_is_history(tmp_path: Path) -> None:
    """As for a run that began then: what passed before makes no later signal a duplicate."""
    store(tmp_path, walk(3000))
    file = tmp_path / "often.yaml"
    file.write_text(
        "often: {timeframes: [1m], long: {up: 'close > sma(close, 5)'}, stop: atr(14), cooldown: 5m,\n"
        "  targets: [{at: atr(14), share: 100%}]}"
    )
    plan = strategies.load(str(file))
    whole = Request(tmp_path, VENUE, ["AAAUSDT"], ["1m"])
    signals = list(find(plan, whole))
    blocked = next(one for one in signals if [v.check for v in one.verdicts if not v.passed] == ["cooldown"])
    live = Request(tmp_path, VENUE, ["AAAUSDT"], ["1m"], from_ms=blocked.close_ms, live_ms=blocked.close_ms)
    first = next(iter(find(plan, live)))
    assert first.id == blocked.id
    assert all(verdict.passed for verdict in first.verdicts)
    asked = next(iter(find(plan, Request(tmp_path, VENUE, ["AAAUSDT"], ["1m"], from_ms=blocked.close_ms))))
    assert asked.verdicts == blocked.verdicts


def test_shares_of_thirds_are_equal(row: dict[str, Any]) -> None:
    """However the two work them out."""
    parts = [Decimal("0.005"), Decimal("0.01")]
    fills = [one | {"quantity": str(part)} for one, part in zip(row["fills"][1:], parts, strict=True)]
    exits = tuple(
        msgspec.structs.replace(one, share=share) for one, share in zip(TRADE.exits, (100 / 3, 200 / 3), strict=True)
    )
    trade = msgspec.structs.replace(TRADE, exits=exits)
    assert compare([row | {"fills": [row["fills"][0], *fills]}], [trade]).equal == 1
