"""The exceptions of tapewatch, and who handles each.

    TapewatchError
    ├── SetupError       the user's mistake: a command prints it and exits 2
    │   ├── ConfigError      a configuration file, key or environment variable (several at once)
    │   ├── StrategyError    a strategy's text; points at the place
    │   └── NoLedgerError    there is no ledger yet where one is looked for
    ├── DataError        a datum from outside that makes no sense: refused, counted, the run goes on
    ├── EdgeError        trouble at an edge: retried with backoff by whoever called
    ├── StoreError       the ledger cannot be used: a command prints it and exits 1
    └── LedgerLostError  another process has taken the ledger over: this one stops, exit 1

Anything else is a bug and crashes; starting is recovery.
"""

from __future__ import annotations

import traceback


class TapewatchError(Exception):
    """Base of all errors that tapewatch raises on purpose; the text is written for the user."""


class SetupError(TapewatchError):
    """The user's set-up is wrong; the text names the key, option or file. Commands exit 2."""


class ConfigError(SetupError):
    """One or more mistakes in the configuration.

    Args:
        problems: one line each, already naming file, line and key.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StrategyError(SetupError):
    """A strategy's text is wrong.

    Args:
        message: what is wrong, with a suggestion where there is one.
        where: the strategy and part, as `scalp.long.cross`.
        text: the expression, and `column` (from 0) the place in it; both empty when the whole part is meant.
    """

    def __init__(self, message: str, *, where: str = "", text: str = "", column: int | None = None) -> None:
        self.message, self.where, self.text, self.column = message, where, text, column
        super().__init__(self._render())

    def _render(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        if not self.text:
            return head
        start = max(0, (self.column or 0) - 60)
        shown = self.text[start : start + 120].replace("\n", " ")
        caret = "" if self.column is None else "\n    " + " " * (self.column - start) + "^"
        return f"{head}\n    {shown}{caret}"


class NoLedgerError(SetupError):
    """There is no ledger yet where one is looked for; a run makes it."""


class DataError(TapewatchError):
    """A datum from outside is refused; the edge that read it counts and logs it."""


class EdgeError(TapewatchError):
    """A peer failed or could not be reached; the caller retries with capped, jittered backoff.

    Args:
        retry_after_s: how long the peer asked to be left alone, where it said so.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreError(TapewatchError):
    """The ledger cannot be read or written; nothing that was accepted is lost. Commands exit 1."""


class LedgerLostError(TapewatchError):
    """This process may not go on with the ledger: another has taken over, or what was stored cannot be known.

    Starting again is the way on. Commands exit 1.
    """


def in_words(error: Exception) -> tuple[str, str]:
    """What went wrong and where, in a line, and the whole stack."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    line = f"{type(error).__name__}: {error} (line {where.lineno} of {where.name})"
    return line, "".join(traceback.format_exception(error)).rstrip()


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first real exception in a group; the rest is only cancelled because of it."""
    error = group.exceptions[0]
    return first_of(error) if isinstance(error, BaseExceptionGroup) else error
