"""How far the first windows are, told to whoever watches the feed."""

from __future__ import annotations

from collections.abc import Callable

from tapewatch.feeds.observer import FeedObserver


class Progress:
    """Tells the observer each change, and once that all is caught up, until more is wanted.

    Args:
        read: symbols whose first windows are complete, and symbols watched.
    """

    def __init__(self, observer: FeedObserver, read: Callable[[], tuple[int, int]]) -> None:
        self._observer = observer
        self._read = read
        self._said = (0, 0)
        self._caught_up = False

    def more(self) -> None:
        """More symbols are watched, so that catching up is news again."""
        self._caught_up = False

    def look(self) -> None:
        """Tell what has changed since the last look."""
        complete, watched = self._read()
        if (complete, watched) != self._said:
            self._said = (complete, watched)
            self._observer.progress(complete, watched)
        if not self._caught_up and complete == watched:
            self._caught_up = True
            self._observer.caught_up()
