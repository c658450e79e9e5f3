"""How a log entry becomes a line, and what is masked in it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"
#: A shorter secret is masked only where it stands alone; it would be found in too many words.
_SHORTEST_PART = 4


def as_json(entry: Mapping[str, Any]) -> str:
    """One JSON object; numbers that JSON does not have are null."""
    return json.dumps(_plain(entry), ensure_ascii=False, separators=(",", ":"))


def as_text(entry: Mapping[str, Any]) -> str:
    """`[time] [level] [component] message key=value …`, and a stack trace indented below."""
    pairs = {name: entry[name] for name in ("symbol", "trace_id") if entry.get(name) is not None}
    pairs.update(entry["data"])
    head = f"[{entry['timestamp']}] [{entry['level']}] [{entry['component']}] {_printable(entry['event'])}"
    line = " ".join([head, *(f"{name}={_word(value)}" for name, value in pairs.items())])
    stack = entry.get("stack")
    return line if not stack else line + "".join(f"\n    {_printable(row)}" for row in stack.splitlines())


class Masker:
    """Replaces secrets in everything that is logged: keys are the program's own, values may come from anywhere."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._parts = [secret for secret in known if len(secret) >= _SHORTEST_PART]
        self._whole = set(known)

    def __call__(self, entry: dict[str, Any]) -> dict[str, Any]:
        """The entry with every text in it masked; what is no plain value becomes text."""
        return {name: self._masked(value) for name, value in entry.items()}

    def _masked(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, Mapping):
            return {str(name): self._masked(item) for name, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._masked(item) for item in value]
        text = str(value)
        if text in self._whole:
            return MASK
        for secret in self._parts:
            text = text.replace(secret, MASK)
        return text


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _printable(text: str) -> str:
    """Text that cannot pretend to be another line."""
    return "".join(ch if ch.isprintable() else ch.encode("unicode_escape").decode() for ch in text)


def _word(value: Any) -> str:
    if isinstance(value, str):
        bare = value and not any(ch.isspace() or ch in "\"'=" or not ch.isprintable() for ch in value)
        return value if bare else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)
