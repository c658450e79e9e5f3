"""Text that is not ours made harmless for each style, and bodies cut to what a service takes."""

from __future__ import annotations

import html
import re

from tapewatch.channels.labels import plain
from tapewatch.channels.port import Outgoing, Style

#: What Discord's Markdown gives a meaning to, in any place.
_MARKDOWN = re.compile(r"[\\`*_~|<>\[\]()#@]|:(?=//)")
#: What it gives a meaning to at the start of a line only: headings, lists, small print.
_LINE_START = re.compile(r"^(\d{1,9}(?=\.)|(?=[-+]))(?=.(?:[\s#]|$))")
#: Where Telegram's clients find a name or an address that nobody marked as one.
_FOUND = re.compile(r"@(?=\w)|\.(?=[^\W\d_]{2})|:(?=//)")
#: What calls somebody or hides a link, here or there.
_ACTED_ON = re.compile(r"@(?=\w)|<(?=!)|\](?=\()")
#: Shows nothing and ends no line, but what it stands in is no name and no address any more.
_WORD_JOINER = "\u2060"
_PIECE = re.compile(r"<(?P<close>/?)(?P<tag>[A-Za-z-]+)[^<>]*>|&(?:#\d+|#x[0-9A-Fa-f]+|[A-Za-z]+);|.", re.DOTALL)
_CUT = "…"


def escape(style: Style, text: str) -> str:
    """The text on one line, to be read as it is and as nothing else in a body of this style.

    Control, formatting (such as those that turn the direction of writing) and line-separating characters become spaces
    in every style. In Markdown the result must not stand inside backticks, where no escape is one.
    """
    text = plain(text)
    if style == "html":
        return html.escape(text)
    if style == "markdown":
        return _LINE_START.sub(r"\1\\", _MARKDOWN.sub(r"\\\g<0>", text))
    if style == "telegram":
        return html.escape(unlinked(text))
    return text


def unlinked(text: str) -> str:
    """The text with what a Telegram client would make a mention or a link of broken up, invisibly."""
    return _FOUND.sub(rf"\g<0>{_WORD_JOINER}", text)


def inert(text: str) -> str:
    """The text with `@name`, `<!channel>` and `[text](link)` broken up, invisibly, for services that act on them."""
    return _ACTED_ON.sub(rf"\g<0>{_WORD_JOINER}", text)


def units(text: str) -> int:
    """The length as Discord and Telegram count it: in UTF-16 units."""
    return len(text) if text.isascii() else len(text) + sum(char > "\uffff" for char in text)


def cut(text: str, room: int) -> str:
    """The text, or as much of its beginning as has room, ending in `…`; never half a character."""
    if units(text) <= room:
        return text
    kept, left = [], room - units(_CUT)
    for char in text:
        left -= units(char)
        if left < 0:
            break
        kept.append(char)
    return "".join(kept).rstrip() + _CUT


def cut_html(text: str, room: int) -> str:
    """As `cut`, for Telegram's HTML: tags take no room, none and no entity is cut, and what was opened is closed."""
    if shown_units(text, "telegram") <= room:
        return text
    kept: list[str] = []
    open_tags: list[str] = []
    left = room - units(_CUT)
    for piece, shown in _pieces(text):
        left -= units(shown)
        if left < 0:
            break
        kept.append(piece.group())
        if piece["close"] and open_tags:
            open_tags.pop()
        elif piece["tag"]:
            open_tags.append(piece["tag"])
    return "".join([*kept, _CUT, *(f"</{tag}>" for tag in reversed(open_tags))])


def shown_units(text: str, style: Style) -> int:
    """The length of what is shown of a body, in UTF-16 units."""
    return sum(units(shown) for _, shown in _pieces(text)) if style == "telegram" else units(text)


def _pieces(text: str) -> list[tuple[re.Match[str], str]]:
    """Each tag, entity or character with what is shown of it."""
    return [(piece, "" if piece["tag"] else html.unescape(piece.group())) for piece in _PIECE.finditer(text)]


def body_of(outgoing: Outgoing, style: Style) -> str:
    """A message's body in this style: as it was written, or its plain text."""
    return outgoing.body or "\n".join(escape(style, line) for line in outgoing.text.splitlines())
