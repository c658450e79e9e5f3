"""`tapewatch why` with a configuration: what the ledger knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from book_samples import fill, position
from command_line import Command
from tapewatch import strategies
from tapewatch.config.alerts import Route
from tapewatch.live.messages import messages_for
from tapewatch.model import Alert, Judged, Verdict, alert_id
from tapewatch.store import Ledger, Step
from tapewatch.study.signals import find
from why_samples import builtins, loose_file, request_of, two_symbols

archive = pytest.fixture(two_symbols, scope="module")
loose = pytest.fixture(loose_file, scope="module")


@pytest.fixture
def config(tmp_path: Path, loose: Path) -> Path:
    """A configuration with that strategy under another name, and a ledger."""
    path = tmp_path / "tapewatch.yaml"
    path.write_text(
        "exchange: {venue: binance_spot}\nuniverse: {include: [AAAUSDT]}\n"
        f"strategies: {{mine: {{file: '{loose}'}}}}\n"
        "channels: {out: {type: file, path: alerts.jsonl}}\nalerts: {routes: [{channels: [out]}]}\n"
        'ledger: {url: "sqlite:///tape.db"}\nweb: {enabled: false}\n'
    )
    return path


def test_the_ledger_knows_verdicts_and_delivery(run: Command, archive: Path, config: Path, tmp_path: Path) -> None:
    """What was decided live wins over what is recomputed; each message with its channel, state and attempts."""
    (plan,) = strategies.configured({"mine": {"file": str(Path(_file_of(config)))}})
    found = [one for one in find(plan, request_of(archive, intervals=["1m"])) if all(v.passed for v in one.verdicts)]
    signal, other = found[0], found[1]
    live = msgspec.structs.replace(signal, verdicts=(Verdict("settled", True), Verdict("spread", True, "0.01%")))
    identity = alert_id("binance_spot", "AAAUSDT", "1m", signal.close_ms)
    alert = Alert(identity, (live,), False, signal.close_ms + 50)
    messages = messages_for(alert, [Route(channels=["out"])], signal.close_ms + 60)
    ledger = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    effects = [Judged(live, "passed", False, signal.close_ms + 50, identity), alert]
    ledger.commit_step(Step("binance_spot", effects, messages))
    ledger.close()
    arguments = ("why", "AAAUSDT", signal.close_ms, "--data", archive, "--interval", "1m", "-c", config)
    (line,) = run.objects(*arguments)
    entry = next(one for one in line["strategies"] if one["side"] == signal.side)
    assert entry["strategy"] == "mine"
    assert entry["verdicts"] == builtins(live.verdicts)
    (message,) = entry["delivery"]
    assert (message["channel"], message["state"], message["attempts"]) == ("out", "queued", 0)
    text = "\n".join(run(*arguments)[1])
    assert "gate spread     passed: 0.01%" in text
    assert "delivery to out: queued after 0 attempts" in text
    (line,) = run.objects("why", "AAAUSDT", other.close_ms, "--data", archive, "--interval", "1m", "-c", config)
    entry = next(one for one in line["strategies"] if one["side"] == other.side)
    assert (entry["delivery"], entry["verdicts"]) == (None, builtins(other.verdicts))
    assert "no strategy 'mime'; did you mean 'mine'?" in run.refused(*arguments, "--strategy", "mime")


@pytest.mark.parametrize(
    ("state", "changes", "says"),
    [
        ("closed", {}, "paper entered at 67020, closed by target at 67460: +2.93 (+0.89 R)"),
        ("open", {"r": 0.06}, "paper entered at 67020, open at 67100: +0.19 (+0.06 R)"),
        ("pending", {}, "paper waits for the next candle"),
        ("skipped", {"reason": "a position was open"}, "paper skipped: a position was open"),
    ],
)
def test_the_ledger_knows_what_became_of_it_on_paper(
    run: Command, archive: Path, config: Path, tmp_path: Path, state: str, changes: dict[str, Any], says: str
) -> None:
    """In a line, and whole in JSON; nothing where it was not traded."""
    (plan,) = strategies.configured({"mine": {"file": str(Path(_file_of(config)))}})
    found = [one for one in find(plan, request_of(archive, intervals=["1m"])) if all(v.passed for v in one.verdicts)]
    signal, other = found[0], found[1]
    judged = [Judged(one, "passed", False, one.close_ms, None) for one in (signal, other)]
    trade = position(state, trade_id="t", signal_id=signal.id, **changes)
    ledger = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    ledger.commit_step(Step("binance_spot", [*judged, fill(2, trade_id="t"), trade, position(trade_id="o")]))
    ledger.close()
    arguments = ("why", "AAAUSDT", signal.close_ms, "--data", archive, "--interval", "1m", "-c", config)
    (line,) = run.objects(*arguments)
    entry = next(one for one in line["strategies"] if one["side"] == signal.side)
    assert (entry["trade"]["trade_id"], entry["trade"]["state"]) == ("t", state)
    assert f"  {says}" in run(*arguments)[1]
    (line,) = run.objects("why", "AAAUSDT", other.close_ms, "--data", archive, "--interval", "1m", "-c", config)
    assert all("trade" not in one for one in line["strategies"])


def _file_of(config: Path) -> str:
    return config.read_text().split("file: '")[1].split("'")[0]
