"""What must hold between keys. Runs on plain data, so that these mistakes are reported beside all the others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from tapewatch.config.documents import KeyPath, Tree
from tapewatch.config.problems import suggest
from tapewatch.config.schema import BINANCE_VENUE
from tapewatch.network import is_loopback
from tapewatch.universe import is_pattern

Finding = tuple[KeyPath, str]
#: Names under which the ccxt library takes what opens an account.
CREDENTIALS = frozenset({"apiKey", "secret", "password", "uid", "privateKey", "walletAddress", "token", "login"})


def cross_checks(tree: Tree) -> list[Finding]:
    """Mistakes that no key has alone: the path to point at, and what is wrong."""
    parts = (_exchange, _channels, _fallbacks, _routes, _operator, _symbols, _market_cap, _paper, _web)
    return [finding for part in parts for finding in part(tree)]


def remarks(tree: Tree) -> list[str]:
    """What is allowed but probably not meant."""
    found: list[str] = []
    if not tree.get("alerts", "routes"):
        found.append(f"{tree.place(('alerts', 'routes'))}: alerts.routes: no route, so alerts are stored but not sent")
    watched = [name for name in _watched(tree) if isinstance(name, str)]
    for index, route in enumerate(_list(tree.get("alerts", "routes"))):
        for number, symbol in enumerate(_list(route.get("symbols") if isinstance(route, dict) else None)):
            path: KeyPath = ("alerts", "routes", index, "symbols", number)
            if not any(_may_match(name, str(symbol)) for name in watched):
                where = f"{tree.place(path)}: {'.'.join(map(str, path))}"
                found.append(f"{where}: {tree.quoted(path)} matches nothing that is watched")
    return [*found, *_wrong_quotes(tree)]


def _wrong_quotes(tree: Tree) -> Iterator[str]:
    """Patterns that ask for another quote asset than `quotes` allows."""
    quotes = [str(quote) for quote in _list(tree.get("universe", "quotes")) or ["USDT"]]
    for index, pattern in enumerate(_watched(tree)):
        end = re.split(r"[*?\]]", pattern)[-1] if isinstance(pattern, str) and is_pattern(pattern) else ""
        if end and not any(end.endswith(quote) or quote.endswith(end) for quote in quotes):
            path: KeyPath = ("universe", "include", index)
            named = ", ".join(quotes)
            yield (
                f"{tree.place(path)}: universe.include.{index}: {tree.quoted(path)} matches nothing, since "
                f"universe.quotes has only {named}"
            )


def _may_match(watched: str, wanted: str) -> bool:
    """Whether a symbol can be both; of two patterns nothing is known."""
    return fnmatchcase(watched, wanted) or (
        is_pattern(watched) and (is_pattern(wanted) or fnmatchcase(wanted, watched))
    )


def _watched(tree: Tree) -> list[Any]:
    """What `universe.include` has, or stands for when it is left out."""
    return _list(tree.get("universe", "include")) or ["*"]


def _exchange(tree: Tree) -> Iterator[Finding]:
    written = [key for key in ("rest_url", "ws_url") if tree.get("exchange", key) is not None]
    if tree.get("exchange", "ccxt") is not None:
        yield from _ccxt(tree)
        futures = ["futures_url"] if tree.get("exchange", "futures_url") is not None else []
        for key in [*written, *futures]:
            yield ("exchange", key), "is not for ccxt, which knows its exchanges' addresses; exchange.ccxt.urls is"
        return
    venue = tree.get("exchange", "venue")
    if isinstance(venue, str) and venue != BINANCE_VENUE:
        text = f"only {BINANCE_VENUE} is watched without ccxt; `ccxt: {venue}` may be what is meant"
        yield ("exchange", "venue"), text
    if len(written) == 1:
        other = "ws_url" if written == ["rest_url"] else "rest_url"
        yield ("exchange", written[0]), f"{other} must be given with it, or bars would come from two exchanges"


def _ccxt(tree: Tree) -> Iterator[Finding]:
    if tree.get("exchange", "venue") == BINANCE_VENUE:
        text = f"{BINANCE_VENUE} is the exchange that is watched without ccxt; another name keeps their signals apart"
        yield ("exchange", "venue"), text
    for path, value in tree.leaves():
        if path[:3] == ("exchange", "ccxt", "urls"):
            yield from ((path, text) for text in _wrong_url(value))
        elif path[:3] == ("exchange", "ccxt", "options") and path[-1] in CREDENTIALS:
            yield path, "no account is ever used, and no key"


def _wrong_url(value: object) -> Iterator[str]:
    """What is wrong with one of ccxt's addresses, which may hold a `{hostname}`."""
    text = value.strip() if isinstance(value, str) else ""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in {"http", "https", "ws", "wss"} or not host:
        yield "must be a URL such as https://host/path or wss://host/path"
    elif parts.username is not None:
        yield "must not carry a user name or password"
    elif parts.scheme in {"http", "ws"} and not is_loopback(host):
        yield f"must begin with {parts.scheme}s:// ({parts.scheme}:// is allowed to this machine only)"


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


def _fallbacks(tree: Tree) -> Iterator[Finding]:
    """Names that are none, and chains that lead back to where they began."""
    channels = _mapping(tree.get("channels"))
    chains = {name: _list(_mapping(channel).get("fallback")) for name, channel in channels.items()}
    for name, chain in chains.items():
        path: KeyPath = ("channels", name, "fallback")
        yield from _named(tree, path, "channels", "channel")
        for index, other in enumerate(chain):
            if other in chain[:index]:
                yield (*path, index), f"{tree.quoted((*path, index))} is given twice"
            elif other == name or _leads_to(chains, other, name, set()):
                yield (*path, index), f"{tree.quoted((*path, index))} leads back to {name}"


def _leads_to(chains: dict[Any, list[Any]], start: Any, wanted: Any, seen: set[Any]) -> bool:
    """Whether a channel is reached from another over any fallbacks."""
    for other in chains.get(start, []) if isinstance(start, str) else []:
        if other == wanted:
            return True
        if isinstance(other, str) and other not in seen:
            seen.add(other)
            if _leads_to(chains, other, wanted, seen):
                return True
    return False


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
    for key in ("include", "exclude", "quotes"):
        seen: set[str] = set()
        for index, symbol in enumerate(_list(tree.get("universe", key))):
            path: KeyPath = ("universe", key, index)
            if isinstance(symbol, str):
                if symbol in seen:
                    yield path, f"{tree.quoted(path)} is given twice"
                if symbol != symbol.upper() and tree.get("exchange", "ccxt") is None:
                    what = "assets" if key == "quotes" else "symbols"
                    yield path, f"{what} are upper case, not {tree.quoted(path)}"
                seen.add(symbol)
    named = [name for name in _watched(tree) if isinstance(name, str) and not is_pattern(name)]
    for index, symbol in enumerate(_list(tree.get("universe", "exclude"))):
        if symbol in named:
            yield ("universe", "exclude", index), "include names it too, and what is named there is always watched"
    most = tree.get("universe", "max_symbols")
    if isinstance(most, int) and not isinstance(most, bool) and 0 < most < len(named):
        yield ("universe", "max_symbols"), f"include names {len(named)} symbols, more than {most}"


def _market_cap(tree: Tree) -> Iterator[Finding]:
    path: KeyPath = ("universe", "market_cap")
    if tree.get(*path, "min_usd") is not None and not (tree.get(*path, "ids") or tree.get(*path, "top")):
        yield (*path, "min_usd"), "needs ids or top: without them no market cap is known"


def _paper(tree: Tree) -> Iterator[Finding]:
    leverage = tree.get("paper", "leverage")
    spot = tree.get("paper", "account") in (None, "spot")
    if spot and isinstance(leverage, int | float) and not isinstance(leverage, bool) and leverage > 1:
        yield ("paper", "leverage"), "a spot account borrows nothing; `account: perpetual` does"


def _web(tree: Tree) -> Iterator[Finding]:
    host = tree.get("web", "host")
    given = _mapping(tree.get("web"))
    if isinstance(host, str) and not is_loopback(host) and not {"token", "token_file"} & given.keys():
        yield ("web", "host"), f"{tree.quoted(('web', 'host'))} is open to others: set web.token, which they must show"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
