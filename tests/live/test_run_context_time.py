"""Candidates of a whole market at one close are answered within half a second, whatever those who are asked do."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_run_context import ALWAYS, HANGS, full_close

from run_harness import Line, archive, configure, eventually, lines_of, running, simulated

SYMBOLS = ("BTCUSDT", "ETHUSDT")
NAMES, BOOKS = 300, 40
#: No alert waits longer for its context, and so long the event loop may have been at something else.
MOST_S, TURN_S = 0.5, 0.1
SLOW = "- {kind: http_slow, at: 0s, for: 2h, delay: 450ms, endpoints: [depth]}\n"
#: A run that writes down of each candidate when the engine asked about it, and when the answer was on its way there.
NOTED = """
import json, time
from tapewatch.engine import Engine
from tapewatch.live.pipeline import Pipeline
from tapewatch.model import Context, FetchContext

asked, process, take = {}, Engine.process, Pipeline.take

def processed(self, event):
    effects = process(self, event)
    for effect in effects:
        if isinstance(effect, FetchContext):
            asked[effect.symbol, effect.close_ms] = time.monotonic()
    return effects

def taken(self, events):
    now_s = time.monotonic()
    with open(FILE, "a") as file:
        for one in events:
            if isinstance(one, Context):
                took_s = now_s - asked[one.symbol, one.close_ms]
                line = dict(symbol=one.symbol, close_ms=one.close_ms, took_s=took_s, missing=one.missing)
                line |= dict(book=one.bids_quote > 0, spread=one.ask > 0)
                file.write(json.dumps(line) + chr(10))
    take(self, events)

Engine.process, Pipeline.take = processed, taken
"""


@pytest.mark.alone
@pytest.mark.parametrize("faults", ["", HANGS, SLOW], ids=["all answers", "depth hangs", "depth takes 0.45 s"])
def test_three_hundred_candidates_of_one_close_are_answered_in_time(tmp_path: Path, faults: str) -> None:
    """Each within half a second, and it says what did not come."""
    close_ms, answers = answered(tmp_path, faults)
    of_close = [one for one in answers if one["close_ms"] == close_ms]
    assert len({one["symbol"] for one in of_close}) == NAMES
    slowest = sorted(answers, key=lambda one: one["took_s"])[-3:]
    assert slowest[-1]["took_s"] <= MOST_S + TURN_S, slowest
    for one in answers:
        assert one["book"] != any(text.startswith("order book") for text in one["missing"])
        assert one["spread"] != ("spread" in one["missing"])
    booked = sum(one["book"] for one in of_close)
    assert booked == 0 if faults else booked <= BOOKS


def answered(folder: Path, faults: str) -> tuple[int, list[Line]]:
    """A close at which all had a candidate that passed, and what every candidate of the run was answered."""
    root, start_ms = archive(folder, SYMBOLS, hours=1)
    options = ["--data", str(root), "--names", str(NAMES), "--start", str(start_ms), "--speed", "20"]
    if faults:
        (folder / "faults.yaml").write_text(faults)
        options += ["--faults", str(folder / "faults.yaml")]
    file = folder / "answers.jsonl"
    with simulated(folder, *options, "--at-end", "hold") as exchange:
        configure(folder, exchange, exchange.about["symbols"], strategies={"always": ALWAYS})
        with running(folder, program=f"FILE = {str(file)!r}\n{NOTED}") as run:
            eventually(lambda: full_close(folder) is not None or run.code is not None, 150.0, 0.5)
            close_ms = full_close(folder)
            assert run.stop() == 0, run.log
    assert close_ms is not None
    return close_ms, lines_of(file)
