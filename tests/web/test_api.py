"""What the API of a real run answers, over real sockets: the same as the commands, page by page, and what happens."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from api_run import SYMBOLS, Served, ask, served

from run_harness import json_lines, stored_signals
from tapewatch.web.api import PREFIX
from tapewatch.web.guard import HEADERS


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A run that has signals, alerts and trades, in either kind of ledger."""
    with ExitStack() as stack:
        sections = {}
        if request.param == "postgresql":
            url = stack.enter_context(request.getfixturevalue("postgres").database())
            sections["ledger"] = {"url": url, "folder": "state"}
        yield stack.enter_context(served(tmp_path_factory.mktemp("served"), **sections))


def every(run: Served, path: str) -> list[dict[str, Any]]:
    """All items of a list, a page at a time."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = run.get(f"{path}{'&' if '?' in path else '?'}limit=7{cursor}")
        found += page["items"]
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


def test_signals_are_those_of_the_command(run: Served) -> None:
    """All of them, each once, the newest first; filters let through what fits."""
    listed = stored_signals(run.folder)
    paged = every(run, "/signals")
    assert len(paged) > 20
    assert [one["deliveries"][0]["channel"] for one in paged if one["state"] == "passed"][:1] == ["out"]
    assert [{name: one[name] for name in one if name != "deliveries"} for one in paged] == listed[::-1]
    some = every(run, f"/signals?symbol={SYMBOLS[1]}&side=short&interval=1m&state=blocked")
    kept = [one["id"] for one in listed if (one["symbol"], one["side"], one["timeframe"], one["state"])
            == (SYMBOLS[1], "short", "1m", "blocked")]  # fmt: skip
    assert [one["id"] for one in some] == kept[::-1]
    middle_ms = listed[len(listed) // 2]["close_ms"]
    later = every(run, f"/signals?from_ms={middle_ms}")
    assert {one["id"] for one in later} == {one["id"] for one in listed if one["close_ms"] >= middle_ms}


def test_a_signal_has_all_that_became_of_it(run: Served) -> None:
    """Its attempts and its position, under an id with slashes; another id is nobody's."""
    trade = run.get("/trades?limit=1")["items"][0]
    whole = run.get(f"/signals/{trade['signal_id']}")
    assert whole["trade"] == trade
    assert whole["messages"][0]["attempts"][0]["outcome"] == "sent"
    assert ask(f"{run.url}{PREFIX}/signals/binance_spot/none").status == 404


def test_alerts_trades_and_positions_are_those_of_the_commands(run: Served) -> None:
    """Each once; amounts to the last digit."""
    config = ("-c", str(run.folder / "tapewatch.yaml"), "--json")
    assert [one["alert_id"] for one in every(run, "/alerts")] == [
        one["alert_id"] for one in sorted(json_lines("alerts", "ls", *config), key=_by_time, reverse=True)
    ]
    closed = {one["trade_id"]: one for one in json_lines("positions", "--closed", *config)}
    assert {one["trade_id"]: one for one in every(run, "/trades")} == closed
    account = run.get("/positions")["account"]
    told = json_lines("positions", "--account", *config)[0]
    assert account == {name: told[name] for name in account}
    curve = run.get("/equity?points=10")
    assert (len(curve["ms"]), curve["equity"][0]) == (10, 10_000)
    assert min(curve["drawdown_pct"]) == 0
    assert run.get("/config") == json_lines("config", "show", *config)[0]
    assert sum(one["count"] for one in run.get("/outbox")["items"]) == len(every(run, "/alerts"))
    assert [one["symbol"] for one in run.get("/universe")["items"]] == list(SYMBOLS)


def _by_time(alert: dict[str, Any]) -> tuple[int, str]:
    return alert["created_ms"], alert["alert_id"]


def test_candles_carry_what_their_signals_say(run: Served) -> None:
    """Each bar once, page by page; a strategy's values on the bars of its signals are those of the signals."""
    seen = 0
    for timeframe in ("1m", "5m"):
        path = f"/candles?symbol={SYMBOLS[0]}&interval={timeframe}&strategy=scalp&limit=200"
        found = run.get(path)
        assert found["open_ms"] == list(range(found["open_ms"][0], found["open_ms"][-1] + 1, found["interval_ms"]))
        before = run.get(f"{path}&before_ms={found['next']}")
        assert before["open_ms"][-1] == found["open_ms"][0] - found["interval_ms"]
        for signal in run.get(f"/signals?symbol={SYMBOLS[0]}&interval={timeframe}&limit=500")["items"]:
            if signal["open_ms"] in found["open_ms"]:
                place, seen = found["open_ms"].index(signal["open_ms"]), seen + 1
                assert found["close"][place] == signal["entry"]
                values = {name: column[place] for name, column in found["indicators"].items()}
                assert values == pytest.approx({name: signal["indicators"][name] for name in values}, rel=1e-3)
                assert {"ema(close, fast)", "vwap()"} <= values.keys()
                assert "atr(14)" not in values
    assert seen > 10


def test_why_says_what_the_signal_says(run: Served) -> None:
    """The factors of the side that fired, with the ledger's verdicts; a bar that there is not is not found."""
    signal = run.get("/signals?state=passed&interval=1m&limit=1")["items"][0]
    asked = f"/why?symbol={signal['symbol']}&ms={signal['close_ms']}&interval=1m"
    group = run.get(asked)["items"][0]
    side = next(one for one in group["strategies"] if one["side"] == signal["side"])
    assert group["bar"]["close"] == signal["entry"]
    assert (side["fired"], side["verdicts"]) == (True, signal["verdicts"])
    assert [one["met"] for one in side["factors"]] == [one["met"] for one in signal["factors"]]
    assert side["delivery"][0]["channel"] == "out"
    assert ask(f"{run.url}{PREFIX}/why?symbol={signal['symbol']}&ms=60000").status == 404
    assert ask(f"{run.url}{PREFIX}/why?symbol=NOBODY&ms=60000").status == 404


def test_the_watch_list_is_sorted_and_filtered(run: Served) -> None:
    """By what is known, what is not comes last."""
    rows = run.get("/watchlist?sort=change&order=desc")["items"]
    assert [one["change_pct"] for one in rows] == sorted((one["change_pct"] for one in rows), reverse=True)
    assert [one["symbol"] for one in run.get("/watchlist?q=eth")["items"]] == ["ETHUSDT"]
    for row in rows:
        candles = run.get(f"/candles?symbol={row['symbol']}&limit=1")
        newest = run.get(f"/signals?symbol={row['symbol']}&limit=1")["items"][0]
        assert (row["price"], row["last_bar_ms"]) == (candles["close"][-1], candles["open_ms"][-1] + 60_000)
        assert row["last_signal"]["ms"] == newest["close_ms"]
        assert row["volatility"] in {"low", "normal", "high"}


def test_answers_are_compressed_and_not_sent_twice(run: Served) -> None:
    """Compressed above 1 kB, 304 to who has it, security headers on each, HEAD without a body."""
    url = f"{run.url}{PREFIX}/universe"
    whole = ask(f"{run.url}{PREFIX}/config", Accept_Encoding="gzip")
    assert whole.headers["content-encoding"] == "gzip"
    first = ask(url)
    again = ask(url, If_None_Match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert ask(url, "HEAD")[::2] == (200, b"")
    for answer in (first, again, ask(f"{run.url}/nothing"), ask(url, "POST")):
        assert {name.lower(): answer.headers[name.lower()] for name in HEADERS}.items() <= answer.headers.items()
    assert ask(url, "POST").status == 405
    assert ask(url, Host="example.com").status == 400
    assert ask(f"{run.url}{PREFIX}/signals?cursor=00").json["error"]["code"] == "bad_request"
    assert ask(f"{run.url}/static/lightweight-charts.js").status == 200


def test_the_exchanges_time_is_told(run: Served) -> None:
    """By which bars are; a simulated exchange's is another than this machine's."""
    state, rows = run.get("/state"), run.get("/watchlist")["items"]
    newest_ms = max(row["last_bar_ms"] for row in rows)
    assert newest_ms - 60_000 <= run.get("/state")["market_ms"] < state["now_ms"] - 86_400_000


def first_event(run: Served, after: int) -> dict[str, str]:
    """What comes first on the stream after a number; that it is quiet, as on a busy machine, is nothing."""
    with urllib.request.urlopen(f"{run.url}{PREFIX}/events?after={after}", timeout=30) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        while True:
            lines = iter(lambda: stream.readline().decode().strip(), "")
            told = dict(line.split(": ", 1) for line in lines)
            if told["event"] != "quiet":
                return told


def test_a_stream_begins_anew_where_it_cannot_go_on(run: Served) -> None:
    """After a number of an earlier run there is `reset`; from the number of the state nothing is missing."""
    told = first_event(run, 1)
    assert (told["event"], json.loads(told["data"])) == ("reset", {})
    known = run.get("/state")["seq"]
    told = first_event(run, known)
    assert told["event"] != "reset"
    assert int(told["id"]) == known + 1
