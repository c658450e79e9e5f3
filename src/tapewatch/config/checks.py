"""What must hold between keys. Runs on plain data, so that these mistakes are reported beside all the others."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from tapewatch.config.documents import KeyPath, Tree
from tapewatch.config.problems import suggest
from tapewatch.config.values import is_loopback

Finding = tuple[KeyPath, str]


def cross_checks(tree: Tree) -> list[Finding]:
    """Mistakes that no key has alone: the path to point at, and what is wrong."""
    return [*_exchange(tree), *_channels(tree), *_routes(tree), *_operator(tree), *_symbols(tree)]


def remarks(tree: Tree) -> list[str]:
    """What is allowed but probably not meant."""
    found: list[str] = []
    if not tree.get("alerts", "routes"):
        found.append(f"{tree.place(('alerts', 'routes'))}: alerts.routes: no route, so alerts are stored but not sent")
    watched = tree.get("universe", "include")
    for index, route in enumerate(_list(tree.get("alerts", "routes"))):
        for number, symbol in enumerate(_list(route.get("symbols") if isinstance(route, dict) else None)):
            path: KeyPath = ("alerts", "routes", index, "symbols", number)
            if not any(fnmatchcase(str(name), str(symbol)) for name in _list(watched)):
                where = f"{tree.place(path)}: {'.'.join(map(str, path))}"
                found.append(f"{where}: {tree.quoted(path)} matches nothing that is watched")
    return found


def _exchange(tree: Tree) -> Iterator[Finding]:
    written = [key for key in ("rest_url", "ws_url") if tree.get("exchange", key) is not None]
    if len(written) == 1:
        other = "ws_url" if written == ["rest_url"] else "rest_url"
        yield ("exchange", written[0]), f"{other} must be given with it, or bars would come from two exchanges"


def _channels(tree: Tree) -> Iterator[Finding]:
    for name, channel in _mapping(tree.get("channels")).items():
        if not isinstance(channel, dict) or channel.get("type") != "email":
            continue
        path: KeyPath = ("channels", name)
        host = channel.get("host")
        if channel.get("tls") == "none" and isinstance(host, str) and not is_loopback(host):
            text = f"mail to {tree.quoted((*path, 'host'))} must be encrypted; none is allowed to this machine only"
            yield (*path, "tls"), text
        if channel.get("user") is not None and channel.get("password") is None and not _failed(tree, path):
            yield (*path, "user"), "a user needs password or password_file"
        if channel.get("password") is not None and channel.get("user") is None:
            yield (*path, "password"), "a password needs user"


def _failed(tree: Tree, path: KeyPath) -> bool:
    """Whether a password was written but could not be had, which is a problem already."""
    return "password" in _mapping(tree.get(*path)) or "password_file" in _mapping(tree.get(*path))


def _routes(tree: Tree) -> Iterator[Finding]:
    for index in range(len(_list(tree.get("alerts", "routes")))):
        path: KeyPath = ("alerts", "routes", index)
        yield from _named(tree, (*path, "channels"), "channels", "channel")
        yield from _named(tree, (*path, "strategies"), "strategies", "strategy")


def _operator(tree: Tree) -> Iterator[Finding]:
    yield from _named(tree, ("alerts", "operator", "channels"), "channels", "channel")


def _named(tree: Tree, path: KeyPath, section: str, what: str) -> Iterator[Finding]:
    known = list(_mapping(tree.get(section)))
    for index, name in enumerate(_list(tree.get(*path))):
        if isinstance(name, str) and name not in known:
            hint = suggest(name, known) if known else f"; there is no {what} at all"
            yield (*path, index), f"there is no {what} {tree.quoted((*path, index))}{hint}"


def _symbols(tree: Tree) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, symbol in enumerate(_list(tree.get("universe", "include"))):
        path: KeyPath = ("universe", "include", index)
        if isinstance(symbol, str):
            if symbol in seen:
                yield path, f"{tree.quoted(path)} is given twice"
            if symbol != symbol.upper():
                yield path, f"symbols are upper case, not {tree.quoted(path)}"
            seen.add(symbol)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
