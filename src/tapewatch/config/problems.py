"""What pydantic found, in words for whoever wrote the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from tapewatch.config.channels import CHANNEL_TYPES
from tapewatch.config.documents import KeyPath, Tree
from tapewatch.config.schema import section_at

_KINDS = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "path_type": "a path",
}


def problems_of(error: ValidationError, tree: Tree, failed: Iterable[KeyPath]) -> list[str]:
    """One line for each mistake; keys that already have a problem of another kind are left out."""
    known = set(failed)
    lines = []
    for detail in error.errors(include_url=False, include_context=True):
        path = _key_path(detail["loc"])
        if path not in known:
            lines.append(f"{tree.place(path)}: {'.'.join(map(str, path))}: {_text(detail, path, tree)}")
    return lines


def suggest(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?`, or the list of what is known when nothing is near."""
    names = sorted(known)
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    if near:
        return f", did you mean '{near[0]}'?"
    return f"; known here: {', '.join(names)}" if names else ""


def _key_path(loc: tuple[Any, ...]) -> KeyPath:
    # pydantic names the chosen type of a channel after the channel's name; nobody wrote that.
    if loc[0] == "channels" and len(loc) > 2 and loc[2] in CHANNEL_TYPES:
        loc = (*loc[:2], *loc[3:])
    return tuple(part for part in loc if part != "[key]")


def _text(detail: Any, path: KeyPath, tree: Tree) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    value = None if path in tree.expanded else tree.get(*path)
    match kind:
        case "missing":
            return "is missing and has no default"
        case "extra_forbidden":
            section = section_at(path[:-1], tree)
            return f"unknown key{suggest(str(path[-1]), section.keys() if section else [])}"
        case "union_tag_not_found":
            return f"type is missing; known: {', '.join(sorted(CHANNEL_TYPES))}"
        case "union_tag_invalid":
            return f"unknown type {tree.quoted((*path, 'type'))}{suggest(str(context['tag']), CHANNEL_TYPES)}"
        case "literal_error":
            return _choice(detail, path[-1] if "[key]" in detail["loc"] else value)
        case "value_error":
            return f"{context['error']}{_shown(value)}"
        case "too_short":
            return "must not be empty"
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}{_shown(value)}"
    message = str(detail["msg"]).removeprefix("Input ").replace("should", "must")
    return f"{message[:1].lower()}{message[1:]}{_shown(value)}"


def _choice(detail: Any, value: object) -> str:
    choices = [part.strip("' ") for part in detail["ctx"]["expected"].replace(" or ", ", ").split(", ")]
    return f"must be one of {', '.join(choices)}{_shown(value)}{_near(value, choices)}"


def _near(value: object, choices: list[str]) -> str:
    near = difflib.get_close_matches(str(value).lower(), choices, n=1, cutoff=0.6)
    return f", did you mean '{near[0]}'?" if near else ""


def _shown(value: object) -> str:
    """What was written, where that helps and is no secret (those are SecretStr by now)."""
    if isinstance(value, bool):
        return f", not {str(value).lower()}"
    if isinstance(value, (str, int, float)):
        text = repr(value)
        return f", not {text if len(text) <= 60 else text[:57] + '...'}"
    return ""
