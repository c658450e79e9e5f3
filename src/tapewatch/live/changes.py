"""What is different in a changed configuration, and what of that a run can take up while it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import SecretStr

from tapewatch.config import Config
from tapewatch.config.documents import KeyPath
from tapewatch.config.section import Section
from tapewatch.config.written import document, dotted

#: Sections that a run takes up while it goes on. Every other one is open, locked or bound from the start on.
TAKEN_UP = frozenset({"universe", "strategies", "gate", "paper", "alerts", "channels", "logging", "telemetry"})
#: More of a value is not shown.
MOST_SHOWN = 200


@dataclass(frozen=True)
class Change:
    """A key whose value is another now; both as they are written, secrets as `***`, None where there is none."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        before, after = (f"{value!s:.{MOST_SHOWN}}" for value in (self.before, self.after))
        return f"{self.key}: {before} -> {after}"


class Applied:
    """A configuration that is in force, which may be made of two.

    Attributes:
        config: it.
        document: it as it is written, secrets as `***`.
    """

    def __init__(self, config: Config, known: Mapping[str, Any] | None = None) -> None:
        self.config = config
        self._known = known

    @cached_property
    def document(self) -> Mapping[str, Any]:
        """Made when it is asked for."""
        return document(self.config) if self._known is None else self._known

    def followed_by(self, new: Config) -> Applied:
        """What is in force when a run with this one takes up what it can of another."""
        sections = set(TAKEN_UP)
        if (self.config.paper is None) != (new.paper is None):
            sections.discard("paper")  # an account is opened and closed by a start
        kept = {name: getattr(self.config, name) for name in Config.model_fields if name not in sections}
        written = document(new)
        return Applied(
            new.model_copy(update=kept), {name: (self.document if name in kept else written)[name] for name in written}
        )


def changes(old: Applied, new: Applied) -> list[Change]:
    """Every key whose value differs, that of a secret too."""
    return [
        Change(dotted(path), _at(old.document, path), _at(new.document, path))
        for path in _differing(old.config, new.config, ())
    ]


def _differing(old: Any, new: Any, path: KeyPath) -> Iterator[KeyPath]:
    """The paths of what differs: a section's keys one by one, a list as a whole."""
    if isinstance(old, Section) and type(old) is type(new):
        for name, field in type(old).model_fields.items():
            yield from _differing(getattr(old, name), getattr(new, name), (*path, field.alias or name))
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _differing(old.get(key), new.get(key), (*path, key))
    elif _clear(old) != _clear(new):
        yield path


def _clear(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _at(value: Any, path: KeyPath) -> Any:
    for part in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value
