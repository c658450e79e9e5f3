"""`tapewatch` as processes: an exchange that is simulated, runs against it, and what they leave behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
from ruamel.yaml import YAML

from forked import Forked
from tapewatch.simulator import SyntheticMarket

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
#: Every wait of these tests ends after this: long enough for a machine with much else to do.
PATIENCE_S = 240.0
COMMAND = (sys.executable, "-m", "tapewatch")
MAIN = "from tapewatch.__main__ import main\nmain()"

Line = dict[str, Any]


def eventually(condition: Callable[[], Any], within_s: float = PATIENCE_S, every_s: float = 0.05) -> Any:
    """The first true answer of `condition`; fails after `within_s`."""
    deadline_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s"
        time.sleep(every_s)
    return found


def lines_of(path: Path) -> list[Line]:
    """The JSON lines of a file; a last one that is not ended yet, or was torn, is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def command(*arguments: str, timeout_s: float = PATIENCE_S, **options: Any) -> subprocess.CompletedProcess[str]:
    """A finished `tapewatch` command."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False, **options
    )


def json_lines(*arguments: str) -> list[Line]:
    """What a command that must succeed prints as JSON lines."""
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


class Process:
    """A started `tapewatch` command whose output goes to files; a `program` may change something before it starts.

    One that is `doomed` to be killed starts quickly and is not measured: what coverage saw of it would be lost with it.
    """

    def __init__(
        self, folder: Path, name: str, *arguments: str, program: str | None = None, doomed: bool = False
    ) -> None:
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        self.process: subprocess.Popen[bytes] | Forked
        with self.out.open("wb") as out, self.err.open("wb") as err:
            if doomed:
                self.process = Forked(f"{program or ''}\n{MAIN}", arguments, self.out, self.err)
            else:
                start = COMMAND if program is None else (sys.executable, "-c", f"{program}\n{MAIN}")
                self.process = subprocess.Popen([*start, *arguments], stdout=out, stderr=err, start_new_session=True)

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self.process.poll()

    @property
    def log(self) -> str:
        """What it wrote on stderr."""
        return self.err.read_text()

    def wait(self, within_s: float = PATIENCE_S) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(within_s)

    def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    @property
    def gone(self) -> bool:
        """Whether nothing is left of it, nor of anything it started."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def stop(self, number: int = signal.SIGTERM, within_s: float = PATIENCE_S) -> int:
        """Its exit code after a signal that asks it to end."""
        self.process.send_signal(number)
        return self.wait(within_s)


class Exchange(Process):
    """A `tapewatch simulate` on a free port, and what its first line says."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__(folder, "exchange", "simulate", "--port", "0", "--json", *arguments, doomed=True)
        eventually(lambda: lines_of(self.out) or self.code is not None, every_s=0.02)
        assert self.code is None, self.log
        self.about = lines_of(self.out)[0]

    @property
    def faults(self) -> set[str]:
        """The kinds of faults that were injected so far."""
        return {line["fault"] for line in lines_of(self.out)[1:]}


@contextmanager
def simulated(folder: Path, *arguments: str) -> Iterator[Exchange]:
    """A simulated exchange, gone afterwards."""
    exchange = Exchange(folder, *arguments)
    try:
        yield exchange
    finally:
        exchange.kill()


@contextmanager
def running(folder: Path, name: str = "run", program: str | None = None, *, doomed: bool = False) -> Iterator[Process]:
    """A `tapewatch run` of the folder's configuration, gone afterwards."""
    run = Process(folder, name, "run", "-c", str(folder / "tapewatch.yaml"), program=program, doomed=doomed)
    try:
        yield run
    finally:
        run.kill()


#: The exchange is asked nothing around a signal: at high speeds the next bars would come before its answer.
UNASKED: dict[str, Any] = {
    "routes": [{"channels": ["out"]}],
    "context": {"spread": False, "depth": False, "slippage": 0, "volume": False, "funding": False},
}


def configure(folder: Path, exchange: Exchange | str, symbols: Sequence[str], /, **sections: Any) -> Path:
    """Write the smallest configuration of interfaces.md for this exchange; sections given replace its own."""
    if isinstance(exchange, str):
        hosts = {"rest_url": f"http://{exchange}", "ws_url": f"ws://{exchange}"}
    else:
        hosts = {key: exchange.about[key] for key in ("rest_url", "ws_url")}
        hosts["futures_url"] = hosts["rest_url"]
    path = folder / "tapewatch.yaml"
    smallest = {
        "exchange": {"venue": "binance_spot", **hosts},
        "universe": {"include": list(symbols)},
        "strategies": {"scalp": {"timeframes": ["1m", "5m"]}},
        "channels": {"out": {"type": "file", "path": "alerts.jsonl"}},
        "alerts": {"routes": [{"channels": ["out"]}]},
        "ledger": {"url": "sqlite:///tapewatch.db"},
        "web": {"enabled": False, "port": 0},
    }
    with path.open("w") as file:
        YAML().dump(smallest | sections, file)
    return path


def archive(
    folder: Path, symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"), *, hours: float = 12, seed: int = 5
) -> tuple[Path, int]:
    """A folder of candles out of a seed, and where its last `hours` begin."""
    root = folder / "candles"
    market = SyntheticMarket(seed, symbols, live_ms=int(hours * HOUR_MS))
    for symbol in symbols:
        candles = market.candles(symbol)
        names = {name: getattr(candles, name) for name in ("open", "high", "low", "close", "volume", "quote_volume")}
        frame = pl.DataFrame(
            {
                "open_time": candles.open_ms,
                **names,
                "trades": candles.trades.astype("int64"),
                "taker_buy_base": candles.taker_buy,
            }
        )
        path = root / market.venue / symbol / "1m.parquet"
        path.parent.mkdir(parents=True)
        frame.write_parquet(path)
    return root, market.start_ms


def query(folder: Path, text: str) -> list[tuple[Any, ...]]:
    """Rows of the folder's ledger; none while there is no such table."""
    url = YAML(typ="safe").load(folder / "tapewatch.yaml")["ledger"]["url"]
    if url.startswith("postgresql:"):
        with psycopg.connect(url, autocommit=True) as server:
            try:
                return server.execute(text).fetchall()
            except psycopg.errors.UndefinedTable:
                return []
    path = folder / "tapewatch.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=10.0)) as connection:
        try:
            return connection.execute(text).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return []


def series_of(folder: Path) -> dict[tuple[str, int], tuple[int, int | None]]:
    """The stored series: where each starts and its last bar's open, by symbol and interval."""
    rows = query(folder, "SELECT symbol, interval_ms, history_start_ms, last_open_ms FROM series")
    return {(symbol, interval_ms): (start_ms, last_ms) for symbol, interval_ms, start_ms, last_ms in rows}


def reached(folder: Path, symbols: Sequence[str], end_ms: int) -> bool:
    """Whether the base bars of all symbols are stored up to the one that closes at `end_ms`."""
    series = series_of(folder)
    return all(series.get((symbol, MINUTE_MS), (0, None))[1] == end_ms - MINUTE_MS for symbol in symbols)


def stored_signals(folder: Path) -> list[Line]:
    """What `signals --stored --json` prints."""
    return json_lines("signals", "--stored", "-c", str(folder / "tapewatch.yaml"), "--json")


def expected_signals(
    root: Path, folder: Path, symbols: Sequence[str], from_ms: int, to_ms: int, *options: str
) -> list[Line]:
    """What `signals` finds from the same starts as the folder's run, for bars that close in (from, to]."""
    names = {MINUTE_MS: "1m", 5 * MINUTE_MS: "5m", 60 * MINUTE_MS: "1h"}
    starts = {f"{names[interval_ms]}={start_ms}" for (_, interval_ms), (start_ms, _) in series_of(folder).items()}
    assert len(starts) == len(names)  # all symbols' series start together
    return json_lines(
        "signals", "--strategy", "scalp", "--data", str(root), "--venue", "binance_spot",
        "--symbols", ",".join(symbols), "--from", str(from_ms + 1), "--to", str(to_ms + 1),
        *(word for start in sorted(starts) for word in ("--history-start", start)), *options, "--json",
    )  # fmt: skip


#: What only a run can know.
LIVE_KEYS = {"state", "late", "recv_ms", "alert_id", "verdicts", "context", "outcome"}


def values_of(signals: Sequence[Line]) -> dict[str, str]:
    """Each signal's values as JSON by id, without what only a run can know; every id once."""
    found = {
        one["id"]: json.dumps({key: value for key, value in one.items() if key not in LIVE_KEYS}, sort_keys=True)
        for one in signals
    }
    assert len(found) == len(signals)
    return found


def ends_of(signals: Sequence[Line], end_ms: int) -> dict[str, Line]:
    """What became of each signal whose end is known from the bars that open up to then, by id."""
    names = ("result", "ambiguous", "bars", "price", "ms", "mfe_r", "mae_r", "gross_r", "net_r")
    known = {one["id"]: one["outcome"] for one in signals if one["outcome"] and one["outcome"]["result"] != "open"}
    return {key: {name: end[name] for name in names} for key, end in known.items() if end["ms"] <= end_ms}


def deliveries(folder: Path, file: str = "alerts.jsonl") -> list[Line]:
    """The alerts of signals in a file channel's file; asserts that a message comes again only as a possible repeat."""
    lines = [line for line in lines_of(folder / file) if line["kind"] == "signal"]
    seen: set[str] = set()
    for line in lines:
        assert line["possible_repeat"] or line["message_id"] not in seen, line["message_id"]
        seen.add(line["message_id"])
    return lines


def undelivered(folder: Path) -> int:
    """How many messages of the folder's ledger were not sent."""
    return len(query(folder, "SELECT 1 FROM messages WHERE state NOT IN ('sent', 'late')"))


def easy(*timeframes: str) -> dict[str, Any]:
    """Strategies with signals every few minutes: three factors of `scalp` are enough."""
    return {"scalp": {"timeframes": list(timeframes or ("1m", "5m")), "params": {"min_factors": 3}}}


def agree(folder: Path, root: Path, symbols: Sequence[str], start_ms: int) -> list[Line]:
    """The stored signals, asserted to be those that `signals` finds with `easy`, to the bit, up to the last bar.

    Every passed one was delivered, and none twice unless marked.
    """
    end_ms = min(last_ms or 0 for (_, step_ms), (_, last_ms) in series_of(folder).items() if step_ms == MINUTE_MS)
    stored = stored_signals(folder)
    options = ("--set", "min_factors=3", "--outcomes")
    expected = expected_signals(root, folder, symbols, start_ms, end_ms + MINUTE_MS, *options)
    assert len(expected) > 5
    assert values_of(stored) == values_of(expected)
    assert ends_of(stored, end_ms) == ends_of(expected, end_ms)
    passed = {one["alert_id"] for one in stored if one["state"] == "passed"}
    assert {line["alert_id"] for line in deliveries(folder)} == passed
    return stored


def fetch(url: str) -> tuple[int, str]:
    """Status and body of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=5.0) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def free_port() -> int:
    """A port that nobody has right now, nor the two after it."""
    while True:
        with ExitStack() as stack:
            first = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))).getsockname()[1]
            try:
                for port in (first + 1, first + 2):
                    stack.enter_context(closing(socket.create_server(("127.0.0.1", port))))
            except (OSError, OverflowError):
                continue
            return int(first)


def health_url(run: Process) -> str:
    """Where a run serves its health paths, without the path, once it says so."""
    said = eventually(lambda: re.search(r"health_served url=(\S+)/health", run.log) or run.code is not None)
    assert isinstance(said, re.Match), run.log
    return said[1]


def notices(folder: Path) -> list[Line]:
    """The alerts to the operator in the folder's file."""
    return [line for line in lines_of(folder / "alerts.jsonl") if line["kind"] == "operator"]


#: Alerts of signals and to the operator go to the same file.
TO_FILE = {"routes": [{"channels": ["out"]}], "operator": {"channels": ["out"]}}
