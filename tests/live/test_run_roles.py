"""A run in three processes that meet in the ledger: scanner, positions and relay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_run_paper_parity import OFTEN, PAPER, SYMBOLS, agree, backtest_of, closed, traded, verified
from websockets.sync.client import connect

from run_harness import (
    HOUR_MS,
    UNASKED,
    Exchange,
    Process,
    archive,
    command,
    configure,
    deliveries,
    eventually,
    fetch,
    free_port,
    health_url,
    json_lines,
    query,
    reached,
    simulated,
    undelivered,
)

HOURS = 4
#: Each position on its own: while some symbols catch up before others, what an account holds is another.
EACH = {key: value for key, value in PAPER.items() if key not in {"risk", "protections"}} | {"size": 100}
EACH_ACCOUNT = (
    "--account", "perpetual", "--cash", "20000", "--size", "100", "--leverage", "3", "--taker-bps", "5",
    "--maker-bps", "2", "--slippage-bps", "1.5", "--on-opposite", "reverse", "--cap-symbol", "90%",
)  # fmt: skip
SECTIONS = {"strategies": {"often": OFTEN}, "paper": PAPER, "alerts": UNASKED}


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An archive, and where its last hours begin."""
    return archive(tmp_path_factory.mktemp("archive"), SYMBOLS, hours=HOURS)


def options(candles: tuple[Path, int], speed: int) -> tuple[str, ...]:
    """Of an exchange that has them."""
    root, start_ms = candles
    return ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", str(speed))


@contextmanager
def acting(folder: Path, role: str, name: str = "", *, doomed: bool = False) -> Iterator[Process]:
    """A `tapewatch run` in this role, gone afterwards."""
    arguments = ("run", "-c", str(folder / "tapewatch.yaml"), "--role", role)
    run = Process(folder, name or role, *arguments, doomed=doomed)
    try:
        yield run
    finally:
        run.kill()


@contextmanager
def stopped_clock(exchange: Exchange, start_ms: int) -> Iterator[None]:
    """The exchange's time stands at the first close meanwhile, as it waits for a connection that asked for it."""
    with connect(f"{exchange.about['ws_url']}/ws") as socket:
        for message in ({"method": "SUBSCRIBE", "params": ["btcusdt@kline_1m"]}, {"method": "TAPEWATCH_PACE"}):
            socket.send(json.dumps({"params": [start_ms], "id": 1, **message}))
        yield


def ready(run: Process) -> bool:
    """Whether a process does its work."""
    assert run.code is None, run.log
    return "health_served" in run.log and fetch(f"{health_url(run)}/readyz")[0] == 200


def test_apart_they_trade_and_tell_what_one_process_would(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """Signals, trades to a billionth and every alert once; each journal leads to what its role has stored."""
    end_ms = candles[1] + HOURS * HOUR_MS
    with simulated(tmp_path, *options(candles, 20_000)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, **SECTIONS)
        with acting(tmp_path, "scanner") as scanner, acting(tmp_path, "positions") as positions:
            with stopped_clock(exchange, candles[1]):
                eventually(lambda: ready(scanner) and ready(positions))
            with acting(tmp_path, "relay") as relay:
                eventually(lambda: closed(tmp_path) > 5 or positions.code is not None)
                done = command(
                    "db", "backup", "--to", str(tmp_path / "backups"), "-c", str(tmp_path / "tapewatch.yaml")
                )
                eventually(lambda: reached(tmp_path, SYMBOLS, end_ms) or scanner.code is not None)
                at_ms = "SELECT max(at_ms) FROM paper_accounts"
                eventually(lambda: query(tmp_path, at_ms) == [(end_ms,)] or positions.code is not None)
                eventually(lambda: not undelivered(tmp_path) or relay.code is not None)
                for run in (scanner, positions, relay):
                    assert run.stop() == 0, run.log
        agree(traded(tmp_path), backtest_of(tmp_path, candles, exchange, SYMBOLS))
    passed = query(tmp_path, "SELECT count(DISTINCT alert_id) FROM signals WHERE state = 'passed'")
    assert [(len(deliveries(tmp_path)),)] == passed
    assert verified(tmp_path)["trades"] > 20

    made, into = done.stdout.removeprefix("wrote ").partition(": ")[0], tmp_path / "restored"
    assert command("db", "restore", made, "--into", str(into)).returncode == 0
    layers = [word for name in ("tapewatch", "restored") for word in ("-c", str(into / f"{name}.yaml"))]
    (result,) = json_lines("replay", *layers, "--verify", "--json")
    assert result["equal"], result["differences"]
    assert result["trades"] > 5


def test_positions_that_died_catch_up_with_what_the_scanner_found(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """Killed twice while signals came, they have entered and left at the same prices all the same."""
    end_ms = candles[1] + HOURS * HOUR_MS
    with simulated(tmp_path, *options(candles, 3_000)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, **(SECTIONS | {"paper": EACH}))
        with acting(tmp_path, "scanner") as scanner:
            with stopped_clock(exchange, candles[1]):
                eventually(lambda: ready(scanner))
                with acting(tmp_path, "positions", "at-first", doomed=True) as positions:
                    eventually(lambda: ready(positions))
            for place, least in enumerate((5, 15)):
                with acting(tmp_path, "positions", f"killed-{place}", doomed=True) as positions:
                    eventually(lambda least=least, run=positions: closed(tmp_path) > least or run.code is not None)
                    assert positions.code is None, positions.log
                found = len(query(tmp_path, "SELECT 1 FROM signals"))
                eventually(lambda found=found: len(query(tmp_path, "SELECT 1 FROM signals")) > found)
            with acting(tmp_path, "positions") as positions:
                eventually(lambda: reached(tmp_path, SYMBOLS, end_ms) or scanner.code is not None)
                at_ms = "SELECT max(at_ms) FROM paper_accounts"
                eventually(lambda: query(tmp_path, at_ms) == [(end_ms,)] or positions.code is not None)
                assert positions.stop() == 0, positions.log
            assert scanner.stop() == 0, scanner.log
        agree(traded(tmp_path), backtest_of(tmp_path, candles, exchange, SYMBOLS, EACH_ACCOUNT))
    assert verified(tmp_path)["trades"] > 20


def test_any_may_die_and_the_others_go_on(
    tmp_path: Path, candles: tuple[Path, int], ledger_section: dict[str, Any]
) -> None:
    """The relay's death delays messages, the scanner's leaves positions looked after; nothing is lost or doubled."""
    with simulated(tmp_path, *options(candles, 1_500)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, **SECTIONS, ledger=ledger_section)
        with acting(tmp_path, "scanner", "first", doomed=True) as scanner, acting(tmp_path, "positions") as positions:
            with stopped_clock(exchange, candles[1]):
                eventually(lambda: ready(scanner) and ready(positions))
            with acting(tmp_path, "relay", "lost", doomed=True) as relay:
                eventually(lambda: deliveries(tmp_path) or relay.code is not None)
            sent = len(deliveries(tmp_path))
            eventually(lambda: undelivered(tmp_path) > 3)
            scanner.kill()
            signals, at_ms = len(query(tmp_path, "SELECT 1 FROM signals")), account_ms(tmp_path)
            eventually(lambda: account_ms(tmp_path) > at_ms + 10 * 60_000)
            assert len(query(tmp_path, "SELECT 1 FROM signals")) == signals
            with acting(tmp_path, "scanner") as second, acting(tmp_path, "relay") as relay:
                eventually(lambda: len(query(tmp_path, "SELECT 1 FROM signals")) > signals + 5)
                assert second.stop() == 0, second.log
                eventually(lambda: not undelivered(tmp_path) or relay.code is not None)
                assert relay.stop() == 0, relay.log
                assert positions.stop() == 0, positions.log
    passed = query(tmp_path, "SELECT count(DISTINCT alert_id) FROM signals WHERE state = 'passed'")
    assert [(len({line["alert_id"] for line in deliveries(tmp_path)}),)] == passed
    assert len(deliveries(tmp_path)) > sent
    assert verified(tmp_path)["trades"] > 5
    # Each signal that passed is an entry, or there is a reason why not.
    heard = "SELECT 1 FROM signals WHERE state = 'passed' AND id NOT IN (SELECT signal_id FROM trades)"
    late = "SELECT max(close_ms) FROM signals"
    assert query(tmp_path, f"{heard} AND close_ms < ({late})") == []


def account_ms(folder: Path) -> int:
    """The newest close that the paper account knows."""
    ((at_ms,),) = query(folder, "SELECT max(at_ms) FROM paper_accounts")
    return int(at_ms or 0)


@pytest.mark.parametrize("role", ["scanner", "positions", "all"])
def test_a_second_one_of_a_role_is_refused_by_name(tmp_path: Path, candles: tuple[Path, int], role: str) -> None:
    """With exit 2, the role and the process that has it; one process does the work of scanner and positions."""
    with simulated(tmp_path, *options(candles, 60)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, **SECTIONS)
        first = "positions" if role == "all" else role
        with acting(tmp_path, first) as one:
            eventually(lambda: ready(one))
            done = command("run", "-c", str(tmp_path / "tapewatch.yaml"), "--role", role)
            doing = " that does its positions" if first == "positions" else ""
            assert done.returncode == 2
            assert f"is in use by another run{doing}, process {one.process.pid} on " in done.stderr
            assert "Traceback" not in done.stderr
            (info,) = json_lines("db", "info", "-c", str(tmp_path / "tapewatch.yaml"), "--json")
            assert [name for name, right in info["rights"].items() if right["held"]] == [first]
            assert one.stop() == 0, one.log


def test_what_a_role_does_not_need_it_does_not_ask_for(tmp_path: Path) -> None:
    """A relay works without an exchange, on the port after that of positions; no account, no positions."""
    configure(tmp_path, "127.0.0.1:9", SYMBOLS, strategies={"often": OFTEN}, web={"port": (port := free_port())})
    done = command("run", "-c", str(tmp_path / "tapewatch.yaml"), "--role", "positions")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "paper: there is no account whose positions could be kept" in done.stderr
    with acting(tmp_path, "relay") as relay:
        eventually(lambda: ready(relay))
        assert health_url(relay).endswith(f":{port + 2}")
        health = json.loads(fetch(f"{health_url(relay)}/health")[1])
        assert health["role"] == "relay"
        assert not [name for name in health["checks"] if name.startswith(("exchange:", "symbols:"))]
        lines = command("status", "-c", str(tmp_path / "tapewatch.yaml"), "--port", str(port + 2)).stdout.splitlines()
        assert [line.split()[0] for line in lines] == ["status", "process", "alerts", "ledger", "checks"]
        assert "(relay)" in lines[1]
        assert relay.stop() == 0, relay.log
