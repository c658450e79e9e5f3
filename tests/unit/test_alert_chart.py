"""The picture of a chart: what is on it, how large it is, and when there is none."""

from __future__ import annotations

import html
import io
import math
import re
import time
from datetime import UTC
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from PIL import Image

from delivery_samples import CLOSE_MS, outgoing, signal, stored, worded
from tapewatch.channels.chart import HEIGHT, WIDTH, chart_png
from tapewatch.channels.mail import address, compose
from tapewatch.channels.port import Style
from tapewatch.channels.view import Candle
from tapewatch.channels.writer import Writer
from tapewatch.config import load
from tapewatch.live.makeup import market_of
from tapewatch.model import Signal, Target

GAIN, LOSS, INK = (0, 122, 90), (179, 0, 79), (27, 31, 36)


def candles(count: int = 72, price: float = 67_000.0, step: float = 10.0) -> tuple[Candle, ...]:
    """Candles that go up and down in waves, and end at the entry of the sample signal."""
    closes = [price + step * math.sin(number / 5) for number in range(count)]
    return tuple((close - step / 4, close + step / 2, close - step / 2, close) for close in closes)


def drawn(lead: Signal, shown: tuple[Candle, ...]) -> Image.Image:
    """The picture, read back."""
    png = chart_png(lead, shown, UTC)
    assert png is not None
    assert len(png) < 60_000
    image = Image.open(io.BytesIO(png))
    assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
    return image.convert("RGB")


def rows_of(image: Image.Image, color: tuple[int, int, int]) -> list[int]:
    """The rows in which a level's line of that colour is behind the candles."""
    columns = range(570, 620)
    return [row for row in range(HEIGHT) if sum(image.getpixel((x, row)) == color for x in columns) > 20]


@pytest.mark.parametrize("side", ["long", "short"])
def test_stop_and_targets_are_on_their_sides_of_the_entry(side: str) -> None:
    """As lines in colours of their own, at heights that follow their prices."""
    way = 1 if side == "long" else -1
    targets = (Target(67_012.5 + way * 30, 50.0), Target(67_012.5 + way * 60, 50.0))
    lead = signal(side=side, stop=67_012.5 - way * 30, targets=targets)
    image = drawn(lead, candles())
    gains, losses = rows_of(image, GAIN), rows_of(image, LOSS)
    entry = rows_of(image, INK)[0]

    assert len(losses) in {1, 2}
    assert len(gains) in {2, 3, 4}
    assert all((row < entry) == (side == "long") for row in gains)
    assert all((row > entry) == (side == "long") for row in losses)
    assert abs(abs(gains[0] - entry) - abs(gains[-1] - entry)) > 20
    nearest = min(gains, key=lambda row: abs(row - entry))
    assert abs(abs(nearest - entry) - abs(losses[0] - entry)) <= 2


@pytest.mark.parametrize(
    ("lead", "shown"),
    [
        (
            signal("1000SATSUSDT", entry=4.79e-5, stop=4.9e-5, targets=(Target(4.7e-5, 100.0),)),
            candles(72, 4.79e-5, 1e-7),
        ),
        (signal(stop=math.nan), candles()),
        (signal(stop=1e9), candles()),
        (signal("X" * 500, strategy="<b>\r\n\u202e币安" * 50, timeframe="?"), candles()),
        (signal(targets=tuple(Target(67_000.0 + number, 5.0) for number in range(20))), candles(5)),
        (signal(), candles(500)),
    ],
)
def test_any_market_can_be_drawn(lead: Signal, shown: tuple[Candle, ...]) -> None:
    """Small prices, unknown or far levels, names of any length, many targets, few and many candles."""
    assert rows_of(drawn(lead, shown), INK)


@pytest.mark.parametrize(
    ("lead", "shown"),
    [
        (signal(), candles(4)),
        (signal(), ()),
        (signal(), (*candles(10), (math.nan, 1.0, 1.0, 1.0))),
        (signal(entry=1.0, stop=1.0, targets=(Target(1.0, 100.0),)), ((1.0, 1.0, 1.0, 1.0),) * 10),
    ],
)
def test_without_anything_to_see_there_is_no_picture(lead: Signal, shown: tuple[Candle, ...]) -> None:
    """Too few candles, prices that are none, a price that never moved."""
    assert chart_png(lead, shown, UTC) is None


@pytest.mark.parametrize(
    ("channel", "count"),
    [
        ("{type: email, host: smtp.example.com, sender: a@example.com, recipients: [b@example.com]}", 72),
        ("{type: discord, url: '${ROOM_URL}'}", 72),
        ("{type: file, path: out.jsonl}", 0),
    ],
)
def test_alerts_carry_candles_where_a_channel_shows_them(tmp_path: Path, channel: str, count: int) -> None:
    """Whether the extra is installed does not matter to the engine, so that it is the same engine with and without."""
    path = tmp_path / "t.yaml"
    path.write_text(
        f"universe: {{include: [BTCUSDT]}}\nstrategies: {{scalp: {{}}}}\nchannels: {{a: {channel}}}\n", encoding="utf-8"
    )
    config = load([path], {"ROOM_URL": "https://discord.com/api/webhooks/1/a"})
    assert market_of(config).candles == count


def test_a_picture_takes_no_time() -> None:
    """A few dozen milliseconds of the processor, so that alerts are not late for it."""
    chart_png(signal(), candles(), UTC)
    times = []
    for _ in range(5):
        started = time.thread_time()
        chart_png(signal(), candles(), UTC)
        times.append(time.thread_time() - started)
    assert min(times) < 0.05


@pytest.mark.parametrize("style", get_args(Style))
def test_styles_that_can_show_it_get_it(style: Style) -> None:
    """With candles, where pictures are wanted; the page of a mail has a place for it then, and only then."""
    alert, writer = stored(signal(), candles=candles()), Writer(UTC, pictures=True)
    written, without = writer.write(alert, style), writer.write(stored(signal("ETHUSDT")), style)

    assert (written.image is not None) == (style in {"html", "markdown", "telegram"})
    assert ("cid:chart" in written.body) == (style == "html")
    assert without.image is None
    assert "cid:" not in without.body
    assert Writer(UTC).write(alert, style).image is None
    assert writer.write(worded("a", "b"), style).image is None


def test_below_a_picture_telegram_has_room() -> None:
    """A caption has 1,024 characters: the factors are left out there, and only there."""
    alert = stored(signal(), candles=candles())
    with_picture = Writer(UTC, pictures=True).write(alert, "telegram").body
    without = Writer(UTC).write(alert, "telegram").body

    assert "close &gt; vwap()" in without
    assert "close &gt; vwap()" not in with_picture
    assert len(html.unescape(re.sub(r"<[^>]+>", "", with_picture))) < 1_024


def test_no_alert_is_lost_for_its_picture() -> None:
    """A price that no chart can be made of costs the picture, and that is told once."""
    told: list[str] = []
    own = Writer(UTC, pictures=True, on_fallback=lambda what, _error: told.append(what))
    for symbol in ("AUSDT", "BUSDT"):
        impossible = signal(symbol, entry=0.0, stop_distance_pct=math.nan, targets=(Target(1.0, 100.0),))
        shown = msgspec.structs.replace(stored(signal(symbol), candles=candles()), signals=(impossible,))
        assert own._image(shown) is None

    assert told == ["picture of the chart"]


def test_a_mail_has_the_picture_inside() -> None:
    """As a part of its page, which names it; its plain text stays the first alternative."""
    from email import message_from_bytes
    from email.policy import default

    written = Writer(UTC, pictures=True).write(stored(signal(), candles=candles()), "html")
    fields: dict[str, Any] = {name: getattr(written, name) for name in ("subject", "text", "html", "image")}
    sender = address("tape@example.com")
    mail: Any = message_from_bytes(compose(outgoing(**fields, sent_ms=CLOSE_MS), sender, [sender]), policy=default)
    plain, related = mail.iter_parts()
    page, picture = related.iter_parts()

    assert (mail.get_content_type(), plain.get_content_type()) == ("multipart/alternative", "text/plain")
    assert (related.get_content_type(), page.get_content_type()) == ("multipart/related", "text/html")
    assert 'src="cid:chart"' in page.get_content()
    assert (picture["Content-ID"], picture.get_content_type()) == ("<chart>", "image/png")
    assert picture.get_content_disposition() == "inline"
    assert picture.get_content() == written.image
