"""`tapewatch mute`: the command, and a run that follows it within seconds and across a restart."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from command_line import Command
from run_harness import configure, easy, eventually, json_lines, query, running, simulated, stored_signals
from tapewatch.errors import StoreError
from tapewatch.live import mutes
from tapewatch.live.mutes import MuteWatch
from tapewatch.model import Event, Mute
from tapewatch.store import Ledger

HOUR_MS = 3_600_000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of two symbols and one strategy."""
    return configure(tmp_path, "127.0.0.1:9", ["BTCUSDT", "ETHUSDT"])


# --- the command -----------------------------------------------------------------------------------------------------


def test_mute_says_what_is_muted_and_until_when(run: Command, config: Path) -> None:
    """Symbols and strategies by name, an hour unless said; muting again moves the end; as text and as JSON."""
    assert run("mute", "-c", config)[1] == ["nothing is muted"]
    assert run("mute", "-c", config, "--json")[1] == []
    before_ms = time.time_ns() // 1_000_000
    (told,) = run.objects("mute", "BTCUSDT", "-c", config)
    assert told["target"] == "BTCUSDT"
    assert before_ms + HOUR_MS <= told["until_ms"] <= before_ms + HOUR_MS + 60_000
    code, lines, _ = run("mute", "scalp", "--for", "2d", "-c", config)
    assert code == 0
    assert [line.split(" is muted until ")[0] for line in lines] == ["BTCUSDT", "scalp"]
    run("mute", "BTCUSDT", "--for", "8h", "-c", config)
    told = {one["target"]: one["until_ms"] for one in run.objects("mute", "-c", config)}
    assert told["BTCUSDT"] - before_ms >= 8 * HOUR_MS
    assert told["scalp"] - before_ms >= 48 * HOUR_MS


def test_off_ends_it(run: Command, config: Path) -> None:
    """At once; ending what is not muted is no mistake."""
    run("mute", "BTCUSDT", "-c", config)
    run("mute", "ETHUSDT", "-c", config)
    (left,) = run.objects("mute", "BTCUSDT", "--off", "-c", config)
    assert left["target"] == "ETHUSDT"
    assert run("mute", "ETHUSDT", "--off", "-c", config)[1] == ["nothing is muted"]
    assert run("mute", "scalp", "--off", "-c", config)[1] == ["nothing is muted"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["BTCUSDX"], "'BTCUSDX' is neither a watched symbol nor a configured strategy; did you mean 'BTCUSDT'?"),
        (["slcap"], "'slcap' is neither a watched symbol nor a configured strategy; did you mean 'scalp'?"),
        ([""], "'' is neither a watched symbol nor a configured strategy"),
        (["BTCUSDT", "--for", "soon"], "--for: 'soon' is no duration as 30m, 8h or 2d"),
        (["BTCUSDT", "--for", "-5m"], "--for: '-5m' is no duration as 30m, 8h or 2d"),
        (["BTCUSDT", "--for", "9" * 30 + "d"], "is no duration as 30m, 8h or 2d"),
        (["BTCUSDT", "--for", "9" * 400 + "d"], "is no duration as 30m, 8h or 2d"),
        (["BTCUSDT", "--for", "0s"], "--for: '0s' is no duration as 30m, 8h or 2d"),
        (["BTCUSDT", "--for", ""], "--for: '' is no duration as 30m, 8h or 2d"),
        (["BTCUSDT", "--off", "--for", "1h"], "--off ends it now; it takes no --for"),
        (["--for", "1h"], "--for: say what is to be muted"),
        (["--off"], "--off: say what is to be heard again"),
        (["BTCUSDT", "-c", "none.yaml"], "none.yaml"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_words(run: Command, config: Path, arguments: list[str], said: str) -> None:
    """Exit 2, and nothing is muted."""
    own = [] if "-c" in arguments else ["-c", config]
    assert said in run.refused("mute", *arguments, *own)
    assert run("mute", "-c", config)[1] == ["nothing is muted"]


# --- the watch -------------------------------------------------------------------------------------------------------


class Clocks:
    """A wall clock, and an exchange's that is an hour ahead."""

    wall_ms = 1_700_000_000_000

    def wall(self) -> int:
        """The wall clock."""
        return self.wall_ms

    def exchange(self) -> int:
        """The exchange's clock."""
        return self.wall_ms + HOUR_MS


async def test_the_watch_hands_on_changes_by_the_exchanges_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is muted at the start before anything else, later changes once each, ends too; trouble is waited out."""
    monkeypatch.setattr(mutes, "POLL_S", 0.01)
    ledger, clocks, taken = Ledger.open(f"sqlite:///{tmp_path}/tape.db"), Clocks(), list[Event]()
    until_ms = clocks.wall_ms + 5 * HOUR_MS
    ledger.mute("BTCUSDT", until_ms)

    def take(events: Sequence[Event]) -> None:
        taken.extend(events)

    async def heard(count: int) -> list[Event]:
        async with asyncio.timeout(60):
            while len(taken) < count:  # noqa: ASYNC110 - nothing tells of a poll
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        return taken

    with ThreadPoolExecutor(1) as executor:
        watch = MuteWatch(ledger, executor, take, clocks.wall, clocks.exchange)
        following = asyncio.create_task(watch.run())
        await asyncio.sleep(0.05)
        assert taken == []  # the exchange's clock is not known yet
        watch.start()
        assert taken == [Mute("BTCUSDT", until_ms + HOUR_MS)]
        ledger.mute("scalp", until_ms + 1)
        assert await heard(2) == [Mute("BTCUSDT", until_ms + HOUR_MS), Mute("scalp", until_ms + 1 + HOUR_MS)]
        honest = Ledger.mutes
        failures = []

        def fail(self: Ledger) -> dict[str, int]:
            failures.append(1)
            raise StoreError("locked")

        monkeypatch.setattr(Ledger, "mutes", fail)
        async with asyncio.timeout(60):
            while len(failures) < 3:  # noqa: ASYNC110 - nothing tells of a poll
                await asyncio.sleep(0.005)
        monkeypatch.setattr(Ledger, "mutes", honest)
        ledger.mute("BTCUSDT", clocks.wall_ms)
        assert (await heard(3))[2:] == [Mute("BTCUSDT", clocks.wall_ms + HOUR_MS)]
        following.cancel()
        await asyncio.wait([following])
    ledger.close()


# --- a run -----------------------------------------------------------------------------------------------------------


def verdicts(folder: Path, symbol: str, after_ms: int = 0) -> list[tuple[int, bool, str]]:
    """(close, whether `muted` passed, state) of a symbol's settled stored signals that close later than `after_ms`."""
    return [
        (one["close_ms"], next(v["pass"] for v in one["verdicts"] if v["check"] == "muted"), one["state"])
        for one in stored_signals(folder)
        if one["symbol"] == symbol and one["settled"] and one["close_ms"] > after_ms
    ]


def last_close(found: list[Any]) -> int:
    """The latest of them."""
    return max((one[0] for one in found), default=0)


@pytest.mark.slow
def test_a_run_follows_within_seconds_and_across_a_restart(tmp_path: Path) -> None:
    """Muted signals are stored as blocked and not sent, others go on; a restart keeps it; --off is heard again."""
    options = ("--synthetic", "4", "--symbols", "BTCUSDT,ETHUSDT", "--at-end", "hold", "--speed", "3000")
    with simulated(tmp_path, *options) as exchange:
        config = configure(tmp_path, exchange, ["BTCUSDT", "ETHUSDT"], strategies=easy("1m"))
        with running(tmp_path, "first") as first:
            eventually(lambda: query(tmp_path, "SELECT 1 FROM signals WHERE settled AND symbol = 'BTCUSDT'"))
            assert all(passed for _, passed, _ in verdicts(tmp_path, "BTCUSDT"))
            started_s = time.monotonic()
            assert _mute(config, "BTCUSDT", "--for", "100d") == ["BTCUSDT"]
            eventually(lambda: any(not passed for _, passed, _ in verdicts(tmp_path, "BTCUSDT")), every_s=0.3)
            assert time.monotonic() - started_s < 15
            assert first.stop() == 0, first.log
        seen_ms = last_close(verdicts(tmp_path, "BTCUSDT"))
        with running(tmp_path, "second") as second:
            eventually(lambda: len(verdicts(tmp_path, "BTCUSDT", seen_ms)) > 3, every_s=0.3)
            eventually(lambda: any(one[2] == "passed" for one in verdicts(tmp_path, "ETHUSDT", seen_ms)), every_s=0.3)
            after = verdicts(tmp_path, "BTCUSDT", seen_ms)
            assert {passed for _, passed, _ in after} == {False}
            assert {state for _, _, state in after} == {"blocked"}
            assert _mute(config, "BTCUSDT", "--off") == []
            seen_ms = last_close(after)
            eventually(lambda: any(passed for _, passed, _ in verdicts(tmp_path, "BTCUSDT", seen_ms)), every_s=0.3)
            assert second.stop() == 0, second.log
    blocked = {one["id"] for one in stored_signals(tmp_path) if one["state"] == "blocked"}
    sent = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    assert sent
    assert not blocked & {line["signal"]["id"] for line in sent if line["kind"] == "signal"}


def _mute(config: Path, *arguments: str) -> list[str]:
    return [one["target"] for one in json_lines("mute", *arguments, "-c", str(config), "--json")]
