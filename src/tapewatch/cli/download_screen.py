"""How a download is shown: a line for each series, and a bar where somebody watches for long enough."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from rich.console import Console
from rich.progress import Progress

from tapewatch.cli import options
from tapewatch.download import Done, Listener

#: What takes less shows no bar.
BAR_AFTER_S = 2.0
#: So many remarks about a series are shown: a host that is down has one for each file.
NOTES = 5


class Screen(Listener):
    """Prints what a download reports.

    Args:
        title: of the bar.
        as_json: series as JSON lines.
    """

    def __init__(self, title: str, *, as_json: bool) -> None:
        self._title, self._as_json = title, as_json
        self._steps = self._over = 0
        self._since_s = time.monotonic()
        self._bar: Progress | None = None

    def expected(self, steps: int) -> None:
        """More to do."""
        self._steps += steps
        self._show()

    def advanced(self, steps: int = 1) -> None:
        """Something is done."""
        self._over += steps
        self._show()

    def finished(self, done: Done) -> None:
        """Print a series."""
        if self._as_json:
            options.print_json(done)
            sys.stdout.flush()
        else:
            self._write(sys.stdout, _told(done))

    def note(self, text: str) -> None:
        """Print what cannot wait."""
        self._write(sys.stderr, f"tapewatch: {text}\n")

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def _write(self, stream: TextIO, text: str) -> None:
        if self._bar is not None and stream.isatty():
            self._bar.console.print(text, end="", highlight=False, markup=False, soft_wrap=True)
        else:
            stream.write(text)
            stream.flush()

    def _show(self) -> None:
        if self._bar is None:
            if not sys.stderr.isatty() or time.monotonic() - self._since_s < BAR_AFTER_S:
                return
            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.add_task(self._title)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], total=self._steps, completed=self._over)


def _told(done: Done) -> str:
    span = f"{options.iso(done.from_ms)} to {options.iso(done.to_ms)}"
    parts = [f"{done.rows:,} rows", f"{done.added:,} new"]
    named = (("changed", done.changed), ("refused", done.refused), ("absent", done.absent), ("missing", done.missing))
    parts += [f"{count:,} {name}" for name, count in named if count]
    text = f"{done.symbol:<12} {done.interval:>7}  {span}  {', '.join(parts)}\n"
    notes = [note for note in done.notes if note not in (done.error or "")]
    text += "".join(f"    {note}\n" for note in notes[:NOTES])
    if len(notes) > NOTES:
        text += f"    and {len(notes) - NOTES} more; --json has all of them\n"
    return text + (f"    failed: {done.error}\n" if done.error else "")
