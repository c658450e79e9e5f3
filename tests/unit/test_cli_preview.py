"""`alerts preview`: an alert as every channel would get it."""

from __future__ import annotations

import base64
import math
import re
from pathlib import Path

import pytest

from command_line import Command, store
from delivery_samples import alert_of, signal, step_of
from tapewatch.model import MINUTE_MS, Bar
from tapewatch.store import Ledger

START_MS = 1_748_736_000_000
#: Fires at every bar that closes above the one before, of which there are many.
RISING = """
rising:
  timeframes: [5m]
  long: {up: "close / close[1] - 1 > 0"}
  fire: all
  stop: 1.5 * atr(14)
  targets: [{at: 1.0 * atr(14), share: 100%}]
"""
CONFIG = """
universe: {include: [BTCUSDT]}
strategies: {scalp: {}}
channels:
  out: {type: file, path: out.jsonl}
  mail: {type: email, host: smtp.example.com, sender: a@example.com, recipients: [b@example.com]}
  room: {type: discord, url: "${ROOM_URL}"}
alerts: {routes: [{channels: [out, mail, room]}], time_zone: Europe/Berlin}
"""


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The webhook of the configuration is a secret."""
    monkeypatch.setenv("ROOM_URL", "https://discord.com/api/webhooks/1/a")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two days of a price in waves, and a strategy that fires on it."""
    bars = []
    for number in range(2 * 1_440):
        opened, close = (100 + math.sin(place / 40) for place in (number, number + 1))
        high, low = max(opened, close) + 0.02, min(opened, close) - 0.02
        bars.append(Bar("BTCUSDT", MINUTE_MS, START_MS + number * MINUTE_MS, opened, high, low, close, 10.0))
    store(tmp_path / "candles", bars)
    (tmp_path / "rising.yaml").write_text(RISING, encoding="utf-8")
    return tmp_path


def test_without_configuration_every_style_is_shown(run: Command, archive: Path) -> None:
    """Of the newest signal that closed until then, with its record and a link, each in its own escapes."""
    data = ("--data", archive / "candles", "--at", "2025-06-02T12:00")
    lines = run.objects("alerts", "preview", archive / "rising.yaml", *data)

    assert [line["style"] for line in lines] == ["plain", "html", "markdown", "telegram", "json"]
    assert {(line["channel"], line["type"]) for line in lines} == {(None, None)}
    assert {line["subject"].split(",")[0] for line in lines} == {"[BTC RISING] LONG Signal - 5m"}
    plain, page, markdown, telegram, _ = (line["body"] for line in lines)
    closed = re.search(r"Bar close: 2025-06-02 (\d\d):(\d\d) UTC", plain)
    assert closed is not None
    assert (9, 0) < (int(closed[1]), int(closed[2])) <= (12, 0)
    assert re.search(r"Record: target first \d+% of \d+ \(\d+-\d+%\), random entry not known yet", plain)
    assert re.search(r"Price move: \+0\.\d\d% over 1 bar, \+\d\.\d ATR", plain)
    assert "<!doctype html>" in page
    assert r"\(" in markdown
    assert "<b>LONG BTCUSDT, rising on 5m</b>" in telegram
    assert [line["image"] for line in lines] == [False, True, True, True, False]


def test_each_configured_channel_is_shown_in_its_style(run: Command, archive: Path) -> None:
    """In the order of the configuration and its time zone, or only the one that is asked for."""
    (archive / "t.yaml").write_text(CONFIG, encoding="utf-8")
    asked = ("alerts", "preview", archive / "rising.yaml", "-c", archive / "t.yaml", "--data", archive / "candles")
    lines = run.objects(*asked)
    assert [(line["channel"], line["style"]) for line in lines] == [
        ("out", "plain"), ("mail", "html"), ("room", "markdown"),
    ]  # fmt: skip
    assert all("CEST" in line["text"] for line in lines)
    [only] = run.objects(*asked, "--channel", "room")
    assert only == lines[2]
    assert [line["style"] for line in run.objects(*asked, "--style", "json")] == ["json"]
    code, shown, said = run(*asked, "--channel", "mail")
    assert code == 0
    assert "rising on BTCUSDT 5m of 2025-06-02" in said
    assert shown[1].startswith("mail (email, html): [BTC RISING] LONG Signal - 5m")
    assert shown[3] == "Type: LONG"


def test_the_page_and_the_picture_can_be_looked_at(run: Command, archive: Path) -> None:
    """Each in a file of its own; the page needs no other."""
    page, picture = archive / "a.html", archive / "a.png"
    data = ("--data", archive / "candles")
    code, _, _ = run(
        "alerts", "preview", archive / "rising.yaml", *data, "--style", "plain", "--html", page, "--image", picture
    )
    assert code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}" in page.read_text("utf-8")
    assert "cid:" not in page.read_text("utf-8")


def test_the_newest_alert_of_a_run_comes_first(run: Command, tmp_path: Path) -> None:
    """That which the strategy leads; with what surrounded it, as it was stored."""
    (tmp_path / "t.yaml").write_text(CONFIG, encoding="utf-8")
    later = signal("ETHUSDT", close_ms=1_747_750_080_000)
    ledger = Ledger.open(f"sqlite:///{tmp_path}/tapewatch.db")
    ledger.commit_step(
        step_of(alert_of(signal()), alert_of(later, signal("ETHUSDT", strategy="trend", close_ms=later.close_ms)))
    )
    ledger.close()
    lines = run.objects("alerts", "preview", "scalp", "-c", tmp_path / "t.yaml", "--style", "plain")

    assert [(line["source"], line["alert_id"].split("/")[1]) for line in lines] == [("the ledger", "ETHUSDT")]
    assert "Also fired on this bar: trend (LONG)" in lines[0]["body"]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["momentum", "scalp", "trend"])
def test_what_ships_always_has_an_alert_to_show(
    run: Command, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a synthetic market, the same each time."""
    monkeypatch.chdir(tmp_path)
    [line] = run.objects("alerts", "preview", strategy, "--style", "plain")

    assert line["source"] == "a synthetic market (seed 1)"
    assert f"Strategy: {strategy}\n" in line["body"]
    assert "Record: target first" in line["body"]
    assert re.search(r"Market: .* on 1m?5?m", line["body"])
    assert re.search(r"With BTC: correlation -?0\.\d\d", line["body"])
    assert ("Price move: " in line["body"]) == (strategy != "scalp")


def test_what_cannot_be_shown_is_said(run: Command, archive: Path) -> None:
    """Unknown strategies, channels and styles, options without their data, and candles in which nothing fires."""
    rising, data = archive / "rising.yaml", ("--data", archive / "candles")
    (archive / "t.yaml").write_text(CONFIG.replace("scalp: {}", "mine: {file: rising.yaml}"), encoding="utf-8")
    for arguments, said in [
        (("momentu",), "no strategy 'momentu'; did you mean 'momentum'?"),
        (("mime", "-c", archive / "t.yaml"), "no strategy 'mime'; did you mean 'mine'?"),
        (("nosuch", "-c", archive / "t.yaml"), "no strategy 'nosuch'; there are mine, momentum, scalp, trend"),
        ((rising, *data, "--style", "pdf"), "--style: 'pdf' is none of plain, html"),
        ((rising, *data, "--channel", "pager"), "there is no channel 'pager'"),
        ((rising, *data, "-c", archive / "t.yaml", "--channel", "pager"), "channels are: out, mail, room"),
        ((rising, "--at", "2025-06-02"), "--at, --symbols and --venue say what to look for in --data"),
        ((rising, *data, "--at", "2025-06-01T00:30"), "rising fires nowhere in these candles until --at"),
        ((rising, *data, "-c", archive / "no.yaml"), "no.yaml"),
        ((rising, *data, "--style", "plain", "--html", archive / "no" / "a.html"), "--html: "),
    ]:
        code, _, err = run("alerts", "preview", *arguments)
        assert code == 2, arguments
        assert said in err
