"""What `status --watch` shows: a run and its ledger as lines that fit a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rich.text import Text

from tapewatch.cli.status import lines

#: As wide, the symbols stand beside positions and alerts.
WIDE = 140
#: Columns of the symbols, there.
ASIDE = 56
#: What was found longer ago is called old: whoever is asked does not answer.
OLD_S = 4
#: Rows that stay for positions and alerts, however much is wrong.
TABLES = 8
#: Columns for which others of a table go, at most; the last one is cut beyond.
MOST_ASKED = 24
#: What is wrong comes first, under these labels of `status`.
_FIRST = ("status", "config", "channel", "trouble", "operator", "checks")
_STYLES = {"pass": "bold green", "warn": "bold yellow", "fail": "bold red"}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Book:
    """What the ledger has: open and pending positions, the newest alerts with their signals, and the account.

    `drawdown_pct` is how far the equity is below its highest, now and at the deepest.
    """

    positions: Sequence[Row] = ()
    alerts: Sequence[Row] = ()
    signals: Mapping[str, Row] = field(default_factory=dict)
    account: Row | None = None
    drawdown_pct: tuple[float, float] = (0.0, 0.0)
    last_bars: Mapping[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """What was found at a time; `gone` and `unread` say why there is no run, and no ledger.

    `found` is the summary of the run's health, `ages_s` how long ago each symbol was heard of, `watched` rows of its
    watch list by symbol.
    """

    at_ms: int
    venue: str
    found: Mapping[str, Any] | None = None
    gone: str | None = None
    ages_s: Mapping[str, float] = field(default_factory=dict)
    watched: Mapping[str, Row] = field(default_factory=dict)
    book: Book | None = None
    unread: str | None = None


def frame(view: View, now_ms: int, width: int, height: int) -> list[Text]:
    """The lines of a screen, at most `height`; what is longer than the width is cut where it is drawn."""
    head = _head(view)
    most = max(height - 1 - TABLES, 2)
    if len(head) > most:
        head = [*head[: most - 1], _labelled("", f"and {len(head) - most + 1} more lines: see `tapewatch status`")]
    if width < WIDE and view.ages_s:
        head.append(_labelled("symbols", ", ".join(_heard(view, symbol) for symbol in _by_age(view)[:5])))
    top = [_title(view, now_ms, width), *head]
    room = max(height - len(top), 0)
    if width >= WIDE:
        left = _tables(view, width - ASIDE - 2, room)
        right = _symbols(view, ASIDE, room)
        return [*top, *_beside(left, right, width - ASIDE)][:height]
    body = _tables(view, width, room)
    return [*top, *body, *_symbols(view, width, room - len(body))][:height]


def plain(text: object) -> str:
    """A text without characters that would move the cursor."""
    return "".join(char if char.isprintable() else "?" for char in str(text))


def _title(view: View, now_ms: int, width: int) -> Text:
    known = view.found or {}
    words = ["tapewatch", known.get("version"), view.venue]
    left = plain(" ".join(str(word) for word in words if word))
    waits_s = (now_ms - view.at_ms) // 1000
    old = f"{waits_s} s old  " if waits_s > OLD_S else ""
    right = f"{old}{datetime.fromtimestamp(now_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC  q ends"
    return Text(f"{left}{' ' * max(width - len(left) - len(right), 1)}{right}", style="reverse")


def _head(view: View) -> list[Text]:
    """How the run is, what is wrong with it first, and the account."""
    said: list[Text] = []
    if view.found is not None:
        said += _brief(view.found)
    elif view.gone is not None:
        said += [_labelled("status", "no run", "bold red"), _labelled("", f"{view.gone}; asked again all the time")]
    else:
        said.append(_labelled("status", "asking"))
    if view.unread is not None:
        said.append(_labelled("ledger", view.unread, "yellow"))
    if view.book is not None and view.book.account is not None:
        said.append(_labelled("account", _account(view.book.account, view.book.drawdown_pct)))
    return said


def _brief(found: Mapping[str, Any]) -> list[Text]:
    """The lines of `status` but for those that say that all is well where another line is about it."""
    kept: list[tuple[str, str, str]] = []
    of = ""
    for line in lines(dict(found)):
        label, text = line[:10].strip(), line[10:]
        of = label or of
        usual = (
            (of == "checks" and label)
            or (of == "exchange" and not label and f"  {'live':11}" in text)
            or (of == "start-up" and found["start_up"]["complete"] == found["start_up"]["watched"])
            or (of == "ledger" and found["ledger"] == "ok" and not found["errors_last_hour"])
            or of == "paper"  # the ledger knows more of it
        )
        if not usual:
            kept.append((of, label, text))
    ranks = {name: place for place, name in enumerate(_FIRST)}
    kept.sort(key=lambda line: ranks.get(line[0], len(ranks)))
    state = _STYLES.get(str(found["status"]), "")
    return [
        _labelled(
            "check" if of == "checks" else label, text, state if of == "status" else "yellow" if of in ranks else ""
        )
        for of, label, text in kept
    ]


def _account(account: Row, drawdown_pct: tuple[float, float]) -> str:
    equity, start = Decimal(account["equity"]), Decimal(account["start_cash"])
    now, deepest = drawdown_pct
    paused = f", entries paused: {account['paused_why']}" if account["paused_until_ms"] else ""
    return (
        f"equity {equity:,.2f} ({equity - start:+,.2f}), {account['open']} open, "
        f"drawdown {now:.2f}% (deepest {deepest:.2f}%){paused}"
    )


def _labelled(label: str, text: str, style: str = "") -> Text:
    return _cut(Text.assemble((f"{label:10}", "dim"), (plain(text), style)))


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _tables(view: View, width: int, room: int) -> list[Text]:
    """Positions and alerts; what one does not need the other may take."""
    if view.book is None:
        return []
    positions, alerts = list(_positions(view.book, width)), list(_alerts(view.book, width))
    half = max(room - len(alerts), room // 2)
    above = _cropped(positions, half)
    return [*above, *_cropped(alerts, room - len(above))]


def _cropped(table: list[Text], room: int) -> list[Text]:
    """The first lines of a table; the last of them says how many more there are."""
    if len(table) <= room:
        return table
    return [*table[: room - 1], Text(f"and {len(table) - room + 1} more", style="dim")] if room > 3 else []


def _positions(book: Book, width: int) -> Iterator[Text]:
    rows = []
    for one in book.positions:
        named = [one["symbol"], one["side"], f"{one['strategy']} {one['timeframe']}"]
        if one["state"] == "pending":
            rows.append([*named, "pending", "", "", "", "", ""])
            continue
        net = Decimal(one["net"]) + Decimal(one["unrealised"])
        unrealized = f"{Decimal(one['unrealised']):+,.2f}"
        rows.append(
            [*named, one["entry"], one["mark"], one["stop"], unrealized, f"{net:+,.2f}", _time(one["entry_ms"])]
        )
    titles = ["symbol", "side", "strategy", "=entry", "=last", "=stop", "=unrealized", "=net", "since"]
    yield Text(f"positions ({len(rows)})", style="bold")
    if not rows:
        yield Text("none is open", style="dim")
        return
    for line in _table(titles, rows, width, ("since", "=stop", "strategy", "=net")):
        line.highlight_regex(r" \+[\d,.]+", "green")
        line.highlight_regex(r" -[\d,.]+", "red")
        yield line


def _alerts(book: Book, width: int) -> Iterator[Text]:
    rows = []
    for one in reversed(book.alerts):
        signal = book.signals.get(one["signal_ids"][0]) if one["signal_ids"] else None
        told = ", ".join(_message(message) for message in one["messages"]) or "no messages"
        if signal is None:
            rows.append([_time(one["created_ms"]), _short(one["subject"] or one["kind"], width // 4), "", "", "", told])
            continue
        outcome = f" → {signal['outcome']['result']}" if signal.get("outcome") else ""
        entry = f"{signal['entry']:.10g}{outcome}"
        strategy = f"{signal['strategy']} {signal['timeframe']}"
        what = signal["symbol"] + ("" if one["kind"] == "signal" else f" {one['kind'].replace('_', ' ')}")
        rows.append([_time(one["created_ms"]), what, signal["side"], strategy, entry, told])
    yield Text("signals and alerts, the newest first", style="bold")
    if not rows:
        yield Text("none was raised so far", style="dim")
        return
    yield from _table(["time", "what", "side", "strategy", "entry", "delivery"], rows, width, ("entry", "strategy"))


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _message(message: Row) -> str:
    tried = f" {message['attempts']}x" if message["attempts"] > 1 else ""
    why = f" ({message['last_error']})" if message["state"] != "sent" and message["last_error"] else ""
    return f"{message['channel']} {message['state']}{tried}{why}"


def _symbols(view: View, width: int, room: int) -> list[Text]:
    """Who is watched, those not heard of for longest first."""
    if room < 4 or not view.ages_s:
        return []
    stale = set(view.found["stale"]) if view.found else set()
    last = view.book.last_bars if view.book else {}
    rows = []
    for symbol in _by_age(view):
        interval, close_ms = last.get(symbol, ("", None))
        bar = "" if close_ms is None else f"{interval} {_time(close_ms)}"
        price, change = _price(view, symbol)
        rows.append([symbol, price, change, f"{view.ages_s[symbol]:,.0f} s", bar, "stale" if symbol in stale else ""])
    title = Text(f"symbols ({len(rows)}), the longest unheard first", style="bold")
    table = _table(["symbol", "=price", "=24 h", "=heard", "last bar", ""], rows[:room], width, ("=24 h", "last bar"))
    for line in table:
        line.highlight_regex(r"stale\s*$", "bold yellow")
    return [title, *table][:room]


def _by_age(view: View) -> list[str]:
    """Symbols, those not heard of for longest first."""
    return sorted(view.ages_s, key=lambda symbol: (-view.ages_s[symbol], symbol))


def _price(view: View, symbol: str) -> tuple[str, str]:
    """Its last close and the change over 24 hours, as far as they are known."""
    row = view.watched.get(symbol, {})
    price, change = row.get("price"), row.get("change_pct")
    return "" if price is None else f"{price:.10g}", "" if change is None else f"{change:+.2f}%"


def _heard(view: View, symbol: str) -> str:
    """`BTCUSDT 1m 14:07, 3 s ago`."""
    known = view.book.last_bars.get(symbol) if view.book else None
    bar = f" {known[0]} {_time(known[1])[-5:]}" if known else ""
    price = _price(view, symbol)[0]
    return f"{symbol}{bar}{price and f' {price}'} ({view.ages_s[symbol]:,.0f} s ago)"


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%m-%d %H:%M}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[object]], width: int, spare: Sequence[str]) -> list[Text]:
    """Rows under titles (`=` aligns to the right); columns that can be spared go, in this order, until it fits."""
    columns = [[title.lstrip("="), *(plain(row[at]) for row in rows)] for at, title in enumerate(titles)]
    kept = list(range(len(titles)))
    widths = [max(map(len, column)) for column in columns]
    asked = [*widths[:-1], min(widths[-1], MOST_ASKED)]
    for name in spare:
        if sum(asked[at] + 2 for at in kept) - 2 <= width:
            break
        kept.remove(titles.index(name))
    found = []
    for number in range(len(rows) + 1):
        cells = []
        for at in kept:
            text, wide = columns[at][number], widths[at]
            cells.append(text.rjust(wide) if titles[at].startswith("=") else text.ljust(wide))
        found.append(_cut(Text("  ".join(cells).rstrip(), style="" if number else "dim")))
    return found


def _beside(left: Sequence[Text], right: Sequence[Text], at: int) -> Iterator[Text]:
    """Lines of two columns, the second from `at` on."""
    for number in range(max(len(left), len(right))):
        line = left[number].copy() if number < len(left) else Text()
        line.truncate(at - 2, overflow="ellipsis", pad=True)
        other = right[number] if number < len(right) else Text()
        yield _cut(Text.assemble(line, "  ", other))
