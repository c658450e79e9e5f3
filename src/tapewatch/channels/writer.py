"""An alert as a message in each style, by the templates of tapewatch or the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from tapewatch.channels.labels import plain
from tapewatch.channels.links import chart_url
from tapewatch.channels.port import Style
from tapewatch.channels.templates import EXTENSIONS, Templates
from tapewatch.channels.view import (
    MOST_OF_SUBJECT,
    Alert,
    View,
    digest_line,
    digest_view,
    notice_view,
    signal_view,
)
from tapewatch.model import Record

if TYPE_CHECKING:
    from tapewatch.channels.sandbox import Sandbox

OnFallback = Callable[[str, str], None]
#: Styles whose channels can show a picture.
PICTURED: frozenset[Style] = frozenset({"html", "markdown", "telegram"})
#: Pictures that are kept, since an alert goes to several channels.
_KEPT = 8


class Rendered(NamedTuple):
    """A message: `body` in the style asked for, `html` for that style only, `image` a PNG of the chart.

    `record` is what became of alerts like it, where that is said.
    """

    subject: str
    text: str
    html: str | None
    body: str
    chart_url: str | None = None
    image: bytes | None = None
    record: Record | None = None


class Writer:
    """Writes alerts; may be called from several threads.

    Args:
        zone: in which local times are shown.
        templates: the user's own.
        chart_url: `auto`, `off`, or the template of a chart's address; see `tapewatch.channels.links`.
        on_fallback: called with what could not be rendered (`template signal.txt`, the picture) and what was wrong, the
            first time; from the thread that writes.
        record: whether an alert says what became of those like it.
        pictures: whether charts are drawn, for styles that can show them.
    """

    def __init__(
        self,
        zone: tzinfo,
        templates: Templates | None = None,
        chart_url: str = "auto",
        on_fallback: OnFallback = lambda _template, _error: None,
        *,
        record: bool = True,
        pictures: bool = False,
    ) -> None:
        self._zone = zone
        self.templates = templates or Templates()
        self._chart_url = chart_url
        self._on_fallback = on_fallback
        self._record = record
        self._pictures = pictures
        self._images: dict[str, bytes | None] = {}
        self._told: set[str] = set()
        self._sandboxes: dict[Style, Sandbox] = {}

    def write(
        self,
        alert: Alert,
        style: Style,
        *,
        channel: str = "",
        late: str | None = None,
        repeat: bool = False,
    ) -> Rendered:
        """An alert in words.

        Args:
            alert: what it is about.
            style: how the body is written.
            channel: whose templates are used.
            late: why it comes late, None when it does not.
            repeat: whether the user may have it already.
        """
        if not alert.signals:
            return self._rendered(notice_view(alert, self._zone, late, repeat=repeat), style, channel, "notice")
        url = chart_url(self._chart_url, alert.signals[0])
        record = alert.record if self._record else None
        image = self._image(alert) if style in PICTURED else None
        view = signal_view(alert, record, self._zone, late, repeat=repeat, chart=image is not None, chart_url=url)
        return self._rendered(view, style, channel, "signal")._replace(image=image, record=record)

    def line(self, alert: Alert, style: Style) -> str:
        """One line that names an alert, escaped for the style."""
        head, rest = digest_line(alert, self._zone)
        return self._sandbox(style).line(head, rest)

    def digest(
        self,
        alerts: Sequence[Alert],
        style: Style,
        *,
        why: str,
        identity: str,
        created_ms: int,
        channel: str = "",
        late: str | None = None,
        repeat: bool = False,
    ) -> Rendered:
        """Several alerts in one message that names each.

        Args:
            alerts: the most urgent first.
            style: how the body is written.
            why: why they come together, in words.
            identity: the digest's own id.
            created_ms: when it was put together.
            channel: whose templates are used.
            late: why it comes late, None when it does not.
            repeat: whether the user may have it already.
        """

        def view(style: Style) -> View:
            lines = [self.line(alert, style) for alert in alerts]
            return digest_view(alerts, lines, self._zone, why, identity, created_ms, late, repeat=repeat)

        return self._rendered(view(style), style, channel, "digest", in_plain=view("plain"))

    def _rendered(self, view: View, style: Style, channel: str, builtin: str, in_plain: View | None = None) -> Rendered:
        text = self._text(in_plain or view, "plain", channel, builtin)
        body = text if style in {"plain", "json"} else self._text(view, style, channel, builtin)
        subject = self._subject(in_plain or view, channel)
        return Rendered(subject, text, body if style == "html" else None, body, view.chart_url or None)

    def _image(self, alert: Alert) -> bytes | None:
        if not self._pictures or not alert.candles:
            return None
        if alert.alert_id not in self._images:
            image = self._drawn(alert)
            self._images = dict([*self._images.items(), (alert.alert_id, image)][-_KEPT:])
        return self._images.get(alert.alert_id)

    def _drawn(self, alert: Alert) -> bytes | None:
        from tapewatch.channels.chart import chart_png

        try:
            return chart_png(alert.signals[0], alert.candles, self._zone)
        except Exception as error:  # an alert must not be lost for its picture
            self._tell("picture of the chart", error)
            return None

    def _text(self, view: View, style: Style, channel: str, builtin: str) -> str:
        extension = EXTENSIONS[style]
        name = self.templates.find(channel, view.kind, extension)
        if name is not None:
            text = self._by_user(name, style, view)
            if text is not None:
                return text
        return self._sandbox(style).text(f"builtin/{builtin}.{extension}", _values(view))

    def _subject(self, view: View, channel: str) -> str:
        name = self.templates.find(channel, view.kind, "subject")
        written = None if name is None else self._by_user(name, "plain", view)
        return plain(written.replace("\n", " "))[:MOST_OF_SUBJECT] if written and written.strip() else view.subject

    def _by_user(self, name: str, style: Style, view: View) -> str | None:
        """What a user's template writes; None, and the user is told once, where it cannot be rendered."""
        try:
            return self._sandbox(style).text(name, _values(view))
        except Exception as error:  # a template can fail in as many ways as any program
            self._tell(f"template {name}", error)
            return None

    def _tell(self, what: str, error: Exception) -> None:
        if what not in self._told:
            self._told.add(what)
            self._on_fallback(what, f"{type(error).__name__}: {plain(str(error))[:500]}")

    def _sandbox(self, style: Style) -> Sandbox:
        if style not in self._sandboxes:
            from tapewatch.channels.sandbox import Sandbox

            self._sandboxes[style] = Sandbox(style, {**builtins(), **self.templates.sources})
        return self._sandboxes[style]


def _values(view: View) -> dict[str, Any]:
    return {name: getattr(view, name) for name in view.__struct_fields__}


@cache
def builtins() -> Mapping[str, str]:
    """The templates of tapewatch, under `builtin/`."""
    folder = resources.files("tapewatch.channels") / "builtin"
    return {f"builtin/{file.name}": file.read_text("utf-8") for file in folder.iterdir() if not file.is_dir()}
