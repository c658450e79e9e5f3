"""Text that is not ours, made harmless for each style."""

from __future__ import annotations

import html
import re

import pytest

from tapewatch.channels.escape import cut, cut_html, escape, units


@pytest.mark.parametrize("style", ["plain", "html", "markdown", "telegram", "json"])
def test_no_style_lets_a_control_character_through(style: str) -> None:
    """Line breaks, NUL, codes that turn the direction of writing and halves of characters become spaces."""
    written = escape(style, "a\r\nb\x00c\u202ed\u2066e\u2028f\ud800g\x1b[0m")  # type: ignore[arg-type]

    assert re.fullmatch(r"a  b c d e f g (\\\[|\[)0m", written)
    written.encode()


def test_html_is_text_in_html() -> None:
    """What would be a tag, an entity or the end of an attribute is shown as it is."""
    hostile = """<img src=x onerror=alert(1)> &amp; "x" 'y'"""
    assert not re.search(r"""[<>"']""", escape("html", hostile))
    assert html.unescape(escape("html", hostile)) == hostile


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("**x** __y__ ~~z~~ ||s|| `c`", r"\*\*x\*\* \_\_y\_\_ \~\~z\~\~ \|\|s\|\| \`c\`"),
        ("[x](javascript:alert)", r"\[x\]\(javascript:alert\)"),
        ("@everyone <@123> <#5>", r"\@everyone \<\@123\> \<\#5\>"),
        ("https://evil.example.com", r"https\://evil.example.com"),
        ("# head", r"\# head"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("-# small", r"-\# small"),
        ("-0.45% at 67012.5", "-0.45% at 67012.5"),
        ("\\*", r"\\\*"),
    ],
)
def test_markdown_has_no_meaning_in_markdown(text: str, written: str) -> None:
    """Every mark, mention, link and list is shown as the characters it is made of; numbers stay readable."""
    assert escape("markdown", text) == written


def test_nothing_in_a_telegram_message_becomes_a_link_by_itself() -> None:
    """Mentions and addresses are broken up by a character that shows nothing; numbers and tags of HTML are text."""
    written = escape("telegram", "<b>@everyone</b> http://evil.example.com 67012.5")

    assert written == ("&lt;b&gt;@\u2060everyone&lt;/b&gt; http:\u2060//evil.\u2060example.\u2060com 67012.5")


def test_cut_counts_utf16_units() -> None:
    """A text of exactly the room stays; one beyond is cut before a character that has no room whole."""
    assert units("a🚀") == 3
    assert cut("🚀🚀", 4) == "🚀🚀"
    assert cut("🚀🚀🚀", 5) == "🚀🚀…"
    assert cut("🚀🚀🚀", 4) == "🚀…"


def test_cut_html_leaves_tags_and_entities_whole() -> None:
    """Only what is shown counts; whatever is cut, tags are closed in order and no entity is torn."""
    text = '<b>bold &amp; <a href="https://example.com/a">link</a></b> 🚀 end'

    assert cut_html(text, 9) == '<b>bold &amp; <a href="https://example.com/a">l…</a></b>'
    for room in range(1, 20):
        written = cut_html(text, room)
        shown = html.unescape(re.sub(r"<[^>]*>", "", written))
        assert units(shown) <= room
        opened = re.findall(r"<(\w+)", written)
        closed = re.findall(r"</(\w+)", written)
        assert sorted(opened) == sorted(closed)
        assert not re.search(r"&[a-z]*(?![a-z;])", written)
    assert cut_html(text, 100) == text
