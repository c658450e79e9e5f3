"""A real run against the simulated exchange with its API, for the tests of what that answers."""

from __future__ import annotations

import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from run_harness import HOUR_MS, archive, configure, easy, eventually, health_url, reached, running, simulated
from tapewatch.web.api import PREFIX

SYMBOLS = ("BTCUSDT", "ETHUSDT")


class Answer(NamedTuple):
    """What a request got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body read."""
        return json.loads(self.body)


def ask(url: str, method: str = "GET", **headers: str) -> Answer:
    """The answer to a request; `_` in the name of a header is a hyphen. Redirects are not followed."""
    request = urllib.request.Request(url, method=method)
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    opener = urllib.request.build_opener(_Stay())
    try:
        with opener.open(request, timeout=20) as answer:
            found = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            found = error.code, error.headers, error.read()
    status, named, body = found
    named = {name.lower(): value for name, value in named.items()}
    return Answer(status, named, gzip.decompress(body) if named.get("content-encoding") == "gzip" else body)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        return None


class Served(NamedTuple):
    """A run whose market stands still: its folder, and where it answers."""

    folder: Path
    url: str

    def get(self, path: str) -> Any:
        """What the API answers."""
        answer = ask(f"{self.url}{PREFIX}{path}")
        assert answer.status == 200, answer
        return answer.json


@contextmanager
def served(folder: Path, **sections: Any) -> Iterator[Served]:
    """A run of a few hours of the market, which then stands still."""
    root, start_ms = archive(folder, SYMBOLS, hours=4)
    names = ("--data", str(root), "--start", str(start_ms), "--speed", "2000", "--at-end", "hold")
    with simulated(folder, *names) as exchange:
        usual = {"strategies": easy(), "paper": {"cash": 10_000}, "web": {"enabled": True, "port": 0}}
        configure(folder, exchange, SYMBOLS, **(usual | sections))
        with running(folder) as run:
            eventually(lambda: reached(folder, SYMBOLS, start_ms + 4 * HOUR_MS), within_s=120)
            yield Served(folder, health_url(run))
            assert run.code is None, run.log
