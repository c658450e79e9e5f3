"""An alert as a subject, a text and HTML. Pure: the same alert gives the same message."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tapewatch.channels.labels import plain
from tapewatch.channels.view import signal_view
from tapewatch.model import Signal

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

REPEAT = "Possible repeat: sending was interrupted before, so you may have this message already."


class Rendered(NamedTuple):
    """A message in words."""

    subject: str
    text: str
    html: str


def render_signals(
    signals: Sequence[Signal], zone: tzinfo, *, late: str | None = None, repeat: bool = False
) -> Rendered:
    """An alert in words: the first signal in full, the others by name.

    Args:
        signals: those of one bar, at least one.
        zone: in which the local time is shown.
        late: why the alert comes late, None when it does not.
        repeat: whether the user may have it already.
    """
    view = signal_view(signals, zone, f"Late: {late}" if late else None, REPEAT if repeat else None)
    return Rendered(
        view.subject,
        _environment().get_template("signal.txt").render(view=view),
        _environment().get_template("signal.html").render(view=view),
    )


def render_notice(subject: str, text: str, *, late: str | None = None, repeat: bool = False) -> Rendered:
    """A message whose words are there: its lines as they are, freed of control characters.

    Args:
        subject: its subject.
        text: its lines.
        late: as for signals.
        repeat: as for signals.
    """
    first, last = [f"Late: {late}"] if late else [], [REPEAT] if repeat else []
    lines = [*first, *(plain(line) for line in text.splitlines()), *last]
    subject = plain(subject)[:200] + (" (late)" if late else "")
    html = _environment().get_template("notice.html").render(subject=subject, lines=lines)
    return Rendered(subject, "\n".join(lines) + "\n", html)


@cache
def _environment() -> SandboxedEnvironment:
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
