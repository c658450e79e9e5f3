"""Names in an alert, whatever they are, stay names; notices and digests name what they stand for."""

from __future__ import annotations

import re
from datetime import UTC

import pytest

from alert_samples import BERLIN, STYLES, shown
from delivery_samples import CLOSE_MS, signal, stored, worded
from tapewatch.channels.port import Style
from tapewatch.channels.writer import Writer
from tapewatch.model import (
    Factor,
    Mover,
    Surroundings,
)

HOSTILE = "A\r\nB\x1b[2J<script>alert(1)</script>{{ 7 * 7 }} **b** @everyone [x](https://example.com) `c` </b>&amp;"


@pytest.mark.parametrize("style", STYLES)
def test_names_cannot_break_out_of_their_place(style: Style) -> None:
    """Control characters become spaces, markup of the style is shown and not obeyed, nothing is evaluated."""
    hostile = signal(
        HOSTILE, strategy=HOSTILE, timeframe=HOSTILE, factors=(Factor(HOSTILE, True, HOSTILE),),
        indicators={HOSTILE: 1.0}, context=Surroundings(movers=(Mover(HOSTILE, 0.9, 1.0),), missing=(HOSTILE,)),
    )  # fmt: skip
    plain_alert, hostile_alert = stored(signal()), stored(hostile, signal(strategy=HOSTILE))
    writer = Writer(UTC)
    for alert in (hostile_alert, worded(HOSTILE, HOSTILE)):
        body = writer.write(alert, style, late=HOSTILE).body
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", body)
        assert "49" not in body
        if style == "html":
            assert "<script" not in body
        if style == "telegram":
            assert set(re.findall(r"<(/?\w+)", body)) <= {"b", "/b", "i", "/i", "a", "/a", "code", "/code"}
            assert "@everyone" not in body
        if style == "markdown":
            assert not re.search(r"(?<!\\)(\*\*b\*|@everyone|\[x\]\(|`c)", body)
    lines = writer.write(plain_alert, "plain").text.count("\n")
    assert writer.write(stored(hostile), "plain").text.count("\n") < lines + 5


@pytest.mark.parametrize("style", STYLES)
def test_names_of_any_length_leave_room_for_the_rest(style: Style) -> None:
    """They are shown in part; levels, factors and every symbol that an alert stands for are there all the same."""
    long = "_*<&@" * 2_000
    movers = tuple(Mover(f"A{number}USDT", 0.9, 1.0, listed=True) for number in range(300))
    lead = signal(
        long, strategy=long, timeframe=long, factors=(Factor(long, True, long),) * 8, indicators={long: 1.0},
        context=Surroundings(movers=(*movers, Mover(long, 0.9, 1.0)), missing=(long,)),
    )  # fmt: skip
    body = Writer(UTC).write(stored(lead, signal(strategy=long)), style).body
    seen = shown(style, body)

    assert all(f"A{number}USDT" in seen for number in range(300))
    assert "66950.25" in seen
    assert len(body) < 65_536
    assert len(Writer(UTC).write(worded("x", "\n".join([long] * 100)), style).body) > 100_000


def test_subjects_have_an_end() -> None:
    """However long a name is; with what says that it is late."""
    for alert in (stored(signal("X" * 5_000)), worded("X" * 5_000, "text")):
        assert len(Writer(UTC).write(alert, "plain").subject) <= 200
        late = Writer(UTC).write(alert, "plain", late="x").subject
        assert len(late) <= 200
        assert late.endswith(" (late)")


def test_a_notice_keeps_its_lines() -> None:
    """An alert in words keeps its lines and nothing else that controls."""
    lost = worded("Connection\nlost", "No data.\r\n\n\x07Still <trying>.")
    written = Writer(UTC).write(lost, "html", repeat=True)

    assert written.subject == "Connection lost"
    assert written.text.startswith("Possible repeat: ")
    assert written.text.endswith("\nNo data.\n\nStill <trying>.\n")
    assert "<div>&nbsp;</div>\n<div>Still &lt;trying&gt;.</div>" in written.body


@pytest.mark.parametrize("style", STYLES)
def test_a_digest_names_every_alert(style: Style) -> None:
    """Each on a line of its own, in order, with why they come together; hostile names stay names."""
    alerts = [stored(signal(f"A{number}USDT", strength=10 - number / 100)) for number in range(300)]
    alerts.append(worded("Lost <b>*connection*</b>", "text"))
    written = Writer(BERLIN).digest(
        alerts, style, why="30 a minute is the limit.", identity="digest/out/1", created_ms=CLOSE_MS
    )
    seen = shown(style, written.body)
    found = re.findall(r"A\d+USDT", seen.replace(written.subject, ""))

    assert found == [f"A{number}USDT" for number in range(300)]
    assert "30 a minute is the limit." in seen
    assert "Lost <b>*connection*</b>" in seen
    assert written.subject == "301 alerts: A0USDT, A1USDT, A2USDT and 297 more"
    assert "Lost <b>*connection*</b>, 2025-05-20 14:07 UTC (16:07 CEST)" in written.text
    assert "LONG A7USDT 9.9/10 scalp 1m at 67012.5, 2025-05-20 14:07 UTC (16:07 CEST)" in written.text
    assert Writer(BERLIN).line(alerts[7], style) in written.body
