"""Pages that tests look into."""

from __future__ import annotations

import re
from html.parser import HTMLParser

#: Elements that nothing closes.
VOID = {"meta", "link", "br"}


class Elements(HTMLParser):
    """Every element with its attributes, and the texts between them; what is opened must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """It is the last that was opened."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note it."""
        self.texts.append(data)

    def count(self, tag: str, **having: str) -> int:
        """How many there are."""
        return sum(name == tag and having.items() <= of.items() for name, of in self.found)


def asks_nobody(text: str) -> None:
    """It has no address, no script, and no style but its own, which its policy names."""
    page = Elements(text)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|javascript:", text)
    assert page.count("script") == page.count("iframe") == page.count("img") == page.count("form") == 0
    addresses = [of[key] for _, of in page.found for key in ("src", "href", "xlink:href", "action") if key in of]
    assert all(one is not None and one.startswith(("#", "data:,")) for one in addresses)
    assert not any(key == "style" or key.startswith("on") for _, of in page.found for key in of)
    (policy,) = [of["content"] or "" for tag, of in page.found if tag == "meta" and "http-equiv" in of]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
