"""Names that come from an exchange, or are made to look so, do no harm in any channel."""

from __future__ import annotations

import re
from datetime import UTC
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from channel_benches import bench_of
from channel_servers import Discord, JsonService, Telegram
from delivery_samples import outgoing, signal, stored, worded
from tapewatch.channels.port import Style
from tapewatch.channels.writer import Writer
from tapewatch.config.channels import CHANNEL_TYPES
from tapewatch.model import Factor

HOSTILE = {
    "line breaks": "BTC\r\nBcc: eve@example.com\r\n\r\nbody",
    "html": '<img src=x onerror=alert(1)><script>alert(2)</script> " onload="x',
    "entities": "&lt;b&gt; &amp;amp; &#60;i&#62; &nosuch;",
    "markdown": "**b** _i_ ~~s~~ ||spoiler|| `code` ```block``` > quote # head",
    "everyone": "@everyone @here <!channel> <!here>",
    "mentions": "<@123> <@&456> <#789> @someone_else",
    "a link": "[x](javascript:alert(1)) [y](https://evil.example.com) <https://evil.example.com>",
    "direction": "BTC\u202eTDSU\u2066\u2069\u200f\u061c",
    "long": "X" * 10_240,
    "long and outside the first plane": "🚀" * 5_120,
    "long and all marks": "_*`[<&@" * 1_500,
    "zero": "BTC\x00USDT\x1b[2J\x07",
    "half a character": "BTC\ud800USDT\udfff",
    "a template": "{{ 7 * 7 }} {% for x in range(9) %}x{% endfor %}",
    "a quote that ends": "';--\\\\' \\",
    "letters of the world": "币安 ünï 👨‍👩‍👧",
}


class Page(HTMLParser):
    """Which tags and attributes an HTML text has, and what is read of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[tuple[str, str, str]] = set()
        self.links: set[str] = set()
        self.said = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a tag."""
        self.tags.add((tag, "", ""))
        for name, value in attrs:
            self.tags.add((tag, name, ""))
            if name in {"href", "src"}:
                self.links.add(value or "")

    def handle_data(self, data: str) -> None:
        """Notes a text."""
        self.said += data


def hostile_signal(text: str) -> Any:
    """A signal in which everything that has a name has this one, in UTF-8 as the ledger gives it."""
    text = text.encode("utf-8", "replace").decode()
    return signal(
        text, strategy=text, timeframe=text, factors=(Factor(text, True, text, 1.0, ">", 0.5),),
        indicators={text: 1.0}, params={text: 1.0},
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["signal", "notice"])
@pytest.mark.parametrize("name", sorted(CHANNEL_TYPES))
@pytest.mark.parametrize("what", HOSTILE)
async def test_whatever_a_name_is_the_message_arrives_once(what: str, name: str, kind: str, tmp_path: Path) -> None:
    """Every service takes it within its limits, in one piece, as a message and nothing else."""
    text = HOSTILE[what]
    alert = stored(hostile_signal(text)) if kind == "signal" else worded(text, f"{text}\n{text}")
    async with bench_of(name, tmp_path) as bench:
        written = Writer(UTC).write(alert, bench.channel.style)
        await bench.channel.send(
            outgoing(subject=written.subject, text=written.text, html=written.html, body=written.body)
        )
        service = bench.service
        if isinstance(service, Discord):
            [message] = service.messages
            assert marks(message["embeds"][0]["description"]) <= marks(usual_text(kind, "markdown"))
        elif isinstance(service, Telegram):
            [message] = service.messages
            assert message.get("parse_mode") == "HTML", "Telegram could not read it"
            assert Page(message["text"]).tags <= Page(usual_text(kind, "telegram")).tags
        elif isinstance(service, JsonService):
            [document] = service.documents
            assert not re.search(r"@\w|<!|\]\(", document["title"] + document["message"])
        else:
            assert len(bench.arrived()) == 1


def usual_text(kind: str, style: Style) -> str:
    """The body of a message that nobody tampered with."""
    return Writer(UTC).write(stored(signal()) if kind == "signal" else worded("Subject", "One\nTwo"), style).body


def marks(markdown: str) -> set[str]:
    """What of a Markdown text is read as a mark, links with where they lead to."""
    counting = re.sub(r"\\[^A-Za-z0-9\s]", "", markdown)
    links = set(re.findall(r"\]\((https://[^/]+)", counting))
    return (
        set(re.findall(r"[`_~|<>#@]|\*\*|^[-+] |^\d+\. ", re.sub(r"\]\([^)]*\)", "", counting), re.MULTILINE)) | links
    )


def plain_page() -> Page:
    """What a page of a signal that nobody tampered with is made of."""
    written = Writer(UTC).write(stored(signal()), "html")
    assert written.html is not None
    return Page(written.html)


@pytest.mark.parametrize("what", HOSTILE)
def test_a_page_has_the_tags_it_always_has(what: str) -> None:
    """No tag, attribute or link of a mail comes from a name, and what a name looks like can be read."""
    written = Writer(UTC).write(stored(hostile_signal(HOSTILE[what])), "html")
    assert written.html is not None
    page, usual = Page(written.html), plain_page()

    assert page.tags <= usual.tags
    assert len(page.links) <= len(usual.links)  # an address that is too long is left out
    assert all(link.startswith(("https://", "cid:")) for link in page.links)
    if what == "html":
        assert "<script>alert(2)</script>" in page.said
