"""The user's own templates: which is used, what it may do, and what happens when it cannot be rendered."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import get_args

import pytest

from delivery_samples import CLOSE_MS, signal, stored, worded
from tapewatch.channels.port import Style
from tapewatch.channels.templates import EXTENSIONS, Templates, read_templates, unknown_names
from tapewatch.channels.view import DigestView, NoticeView, SignalView, View
from tapewatch.channels.writer import Writer
from tapewatch.errors import SetupError
from tapewatch.store.records import Kind

TYPES = {"mail": "email", "phone": "telegram", "room": "discord", "screen": "console"}
KINDS: tuple[str, ...] = get_args(Kind)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Writes templates, by their paths, into a folder and names it."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


def writer(folder: Path, told: list[tuple[str, str]] | None = None) -> Writer:
    """A writer with the templates of a folder, and what it tells of those that fail."""
    templates = read_templates(folder, TYPES, KINDS)
    return Writer(UTC, templates, on_fallback=lambda *said: told.append(said) if told is not None else None)


def one(source: str, style: Style = "plain", told: list[tuple[str, str]] | None = None) -> str:
    """What a template for a signal writes in a style."""
    name = f"signal.{EXTENSIONS[style]}"
    failed: list[tuple[str, str]] = [] if told is None else told
    own = Writer(UTC, Templates({name: source}), on_fallback=lambda *said: failed.append(said))
    return own.write(stored(signal()), style).body


def test_the_nearest_template_is_used(folder: Callable[[dict[str, str]], Path]) -> None:
    """A channel's own, else its type's, else everybody's, else the built-in one; for its kind alone."""
    own = writer(folder({"mail/signal.txt": "own", "signal.txt": "all", "mail/exit.txt": "exit"}))
    texts = {name: own.write(stored(signal()), "plain", channel=name).text for name in ("mail", "phone")}

    assert texts == {"mail": "own", "phone": "all"}
    assert own.write(worded("a", "b", kind="exit"), "plain", channel="mail").text == "exit"
    assert own.write(worded("a", "b", kind="entry"), "plain", channel="mail").text == "b\n"
    of_type = Writer(UTC, Templates({"email/signal.txt": "type", "signal.txt": "all"}, TYPES))
    assert of_type.write(stored(signal()), "plain", channel="mail").text == "type"


def test_each_style_has_its_own_file(folder: Callable[[dict[str, str]], Path]) -> None:
    """What is not replaced stays; the subject is a template too, on one line."""
    own = writer(folder({"signal.md": "**{{ symbol }}**", "signal.subject": "{{ side }}\n{{ base }} {{ strength }}"}))
    markdown, page = (own.write(stored(signal()), style) for style in ("markdown", "html"))

    assert markdown.body == "**BTCUSDT**"
    assert "Stop: 66950.25" in markdown.text
    assert page.body.startswith("<!doctype html>")
    assert {markdown.subject, page.subject} == {"LONG BTC 6.4/10"}


def test_a_template_can_build_on_others(folder: Callable[[dict[str, str]], Path]) -> None:
    """It includes files that begin with an underscore, and extends the built-in ones."""
    source = '{% include "_foot.txt" %}|{% include "builtin/signal.txt" %}'
    own = writer(folder({"_foot.txt": "mine", "signal.txt": source}))
    assert own.write(stored(signal()), "plain").text.startswith("mine|Type: LONG\n")


@pytest.mark.parametrize("style", get_args(Style))
def test_what_a_template_shows_is_escaped(style: Style) -> None:
    """For its style, by whatever way a value came to be; what the template itself says is not."""
    source = "<b>**{{ symbol }}** {{ symbol | lower }} {{ symbol ~ '!' }} {{ [symbol] | join }} {{ signal.symbol }}</b>"
    macro = "{% macro m(x) %}<i>{{ x }}</i>{% endmacro %}{{ m(symbol) ~ symbol }}{{ symbol | replace('a', '<u>') }}"
    hostile = stored(signal("a<u>*x*\n@b"))
    own = Writer(UTC, Templates({f"signal.{EXTENSIONS[style]}": source + macro}))
    body = own.write(hostile, style).body

    assert body.startswith("<b>**")
    if style in {"html", "telegram"}:
        assert set(re.findall(r"<[^>]*>", body)) == {"<b>", "</b>", "<i>", "</i>"}
    if style == "markdown":
        assert len(re.findall(r"\\\*x\\\*", body)) == 8
        assert not re.search(r"[^\\]\*x", body)
    assert "\n" not in body


@pytest.mark.parametrize(
    "source",
    [
        "{{ nothing }}",
        "{{ signal.nothing }}",
        "{{ symbol | nothing }}",
        "{{ summary }}",
        "{{ symbol | safe }}",
        "{{ symbol.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ summary.__init__.__globals__ }}",
        "{{ range.__self__ }}",
        "{{ namespace.__init__ }}",
        "{{ m.__globals__ }}{% macro m() %}{% endmacro %}",
        "{{ self.__init__ }}",
        "{{ '{0.__class__}'.format(symbol) }}",
        "{{ symbol.encode() }}",
        "{% for x in range(100000) %}x{% endfor %}",
        "{% for x in range(10 ** 9) %}{% endfor %}",
        "{% for x in range(1000) %}{% for y in range(1000) %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(100) }}",
        "{% macro m(x) %}{{ m(x ~ x) }}{% endmacro %}{{ m('aa') }}",
        "{% macro m(x) %}{{ m(x + x) }}{% endmacro %}{{ m('aa') }}",
        "{% macro m(x) %}{{ m(x | replace('a', 'aa')) }}{% endmacro %}{{ m('aa') }}",
        "{% macro m(x) %}{{ m([x, x] | join) }}{% endmacro %}{{ m('aa') }}",
        "{{ 'x' * 10 ** 9 }}",
        "{{ [1] * 10 ** 9 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ (((9 ** 64) ** 64) ** 64) ** 64 }}",
        "{% macro m(x) %}{{ m(x * x) }}{% endmacro %}{{ m(9) }}",
        "{% macro m(x) %}{{ m([x, x] | sum(start=[])) }}{% endmacro %}{{ m([1]) }}",
        "{{ 1 | round(1000000000, 'ceil') }}",
        "{{ 'x'.ljust(10 ** 9) }}",
        "{{ 'x' | center(10 ** 9) }}",
        '{% include "/etc/passwd" %}',
        '{% include "../secret.txt" %}',
        '{% include "signal.txt" %}',
        "{{ 1 / 0 }}",
        "{{ 10 ** 4301 }}",
    ],
)
def test_a_template_that_fails_or_goes_too_far_is_replaced(source: str) -> None:
    """The alert is written by the built-in template, soon, and what was wrong is told."""
    told: list[tuple[str, str]] = []
    started = time.process_time()
    body = one(source, told=told)

    assert "Stop: 66950.25" in body
    assert [name for name, _ in told] == ["template signal.txt"]
    assert all(error for _, error in told)
    assert time.process_time() - started < 5


def test_a_failing_template_is_told_of_once(folder: Callable[[dict[str, str]], Path]) -> None:
    """However many alerts it fails; others go on, and where it can be rendered it is."""
    told: list[tuple[str, str]] = []
    own = writer(folder({"signal.txt": "{{ context[0].value }}", "signal.subject": "{{ nothing }}"}), told)
    for _ in range(3):
        written = own.write(stored(signal()), "plain")
    assert "Stop: 66950.25" in written.text
    assert written.subject == "[BTC SCALP] LONG Signal - 1m, 6.4/10"
    assert [name for name, _ in told] == ["template signal.txt", "template signal.subject"]
    assert own.write(worded("a", "b"), "plain").text == "b\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("signal.txt", "a\n{% if %}", "signal.txt:2: "),
        ("signal.txt", "{{ symbol | nothing }}", "No filter named 'nothing'"),
        ("signal.txt", "{% for x in y %}", "signal.txt:1: "),
        ("signal.txt", "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "signal.txt: "),
        ("signal.txt", "{% for x in y %}" * 30 + "{% endfor %}" * 30, "signal.txt: "),
        ("singal.txt", "", "'singal' is no kind of alert"),
        ("signal.text", "", "must end in one of .txt, .html, .md, .tg, .subject"),
        ("maill/signal.txt", "", "'maill' is no channel and no type of one"),
        ("signal.txt", "x" * 70_000, "larger than"),
    ],
)
def test_a_mistake_is_found_at_start(tmp_path: Path, name: str, text: str, said: str) -> None:
    """What cannot be understood or would never be used is refused with its file, and its line where it has one."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")

    with pytest.raises(SetupError, match=re.escape(said)) as caught:
        read_templates(tmp_path, TYPES, KINDS)
    assert str(tmp_path) in str(caught.value)


def test_what_would_not_be_there_is_known_at_start(folder: Callable[[dict[str, str]], Path]) -> None:
    """Names that a kind's template cannot use and templates that are nowhere, not what is set on the way."""
    files = {
        "signal.txt": "{{ pirce }}{% set x = price %}{{ x }}{% for n in range(3) %}{{ loop.index }}{{ n }}{% endfor %}",
        "exit.md": '{{ symbol }}{% include "_foot.md" %}{% include "_head.md" %}{% include "builtin/notice.md" %}',
        "_foot.md": "{{ whatever }}",
    }
    found = unknown_names(
        read_templates(folder(files), TYPES, KINDS),
        {"signal": SignalView.__struct_fields__, "exit": NoticeView.__struct_fields__},
    )
    assert sorted(found) == ["exit.md: no name symbol", "exit.md: no template _head.md", "signal.txt: no name pirce"]


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    """A wrong path is a mistake; so is a file that is not text."""
    with pytest.raises(SetupError, match="is no folder"):
        read_templates(tmp_path / "nowhere", TYPES, KINDS)
    (tmp_path / "signal.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(SetupError, match=r"alerts\.templates: "):
        read_templates(tmp_path, TYPES, KINDS)


@pytest.mark.parametrize(("kind", "view"), [("signal", SignalView), ("operator", NoticeView), ("digest", DigestView)])
def test_a_template_can_use_every_name(kind: str, view: type[View]) -> None:
    """Each of them is there, empty where there is nothing to say."""
    told: list[tuple[str, str]] = []
    uses = "".join(f"{{% if {name} is undefined %}}no {name}{{% endif %}}" for name in view.__struct_fields__)
    own = Writer(UTC, Templates({f"{kind}.txt": uses}), on_fallback=lambda *said: told.append(said))
    alert = stored(signal()) if kind == "signal" else worded("a", "b")
    if kind == "digest":
        text = own.digest([alert], "plain", why="x", identity="d", created_ms=CLOSE_MS).text
    else:
        text = own.write(alert, "plain").text

    assert (text, told) == ("", [])


EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "templates"


@pytest.mark.parametrize(("style", "channel"), [("markdown", "room"), ("telegram", "phone"), ("plain", "screen")])
def test_the_documented_example_works(style: Style, channel: str) -> None:
    """Its files are read and rendered, each in its channel."""
    told: list[tuple[str, str]] = []
    own = writer(EXAMPLES, told)
    written = own.write(stored(signal(volume_ratio=3.2)), style, channel=channel)
    digest = own.digest([stored(signal())], style, why="x", identity="d", created_ms=CLOSE_MS, channel=channel)

    assert told == []
    assert written.subject == "LONG BTCUSDT 1m 6.4/10"
    assert digest.subject == "1 alerts at 2025-05-20 14:07 UTC"
    assert {
        "markdown": "Volume is 320% of its average\n",
        "telegram": "Stop 66950.25, target 67054\n",
        "plain": "Stop: 66950.25",
    }[style] in written.body
