"""`tapewatch status`: the health of the run that is on, at a glance."""

from __future__ import annotations

import json as json_text
import os
import socket
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption
from tapewatch.errors import EdgeError, SetupError

#: On the same machine; a run that has not answered whole within this is stuck.
TIMEOUT_S = 5.0
#: A run's answer is far smaller, with thousands of symbols too.
MOST_BYTES = 20_000_000
#: Symbols of a watch list that are asked for; no terminal has lines for more.
MOST_ROWS = 500
#: Exit code where a run is on that does not do its work.
NOT_READY = 3
#: Symbols that are named where there may be many.
NAMED = 10


def status(
    config: ConfigOption = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Where it serves its health, if not on web.port.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object, with the connection of each symbol.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Over the whole terminal, with positions and alerts, until q is pressed.")
    ] = False,
) -> None:
    """Show the run that is on: its checks, connections, start-up, universe, freshness, delivery, paper.

    Exit 0 when it does its work, 3 when it does not (status fail), 1 when none is on.

    Example: tapewatch status -c tapewatch.yaml
    """
    from tapewatch.config import load

    if watch and (json or not sys.stdout.isatty()):
        raise SetupError(
            "--watch: " + ("not with --json" if json else "stdout is no terminal; status alone prints once")
        )
    loaded = load(config or DEFAULT_PATHS, os.environ)  # what strategies say is nothing to wait for here
    web = loaded.web
    asked = port if port is not None else web.port
    if asked == 0:
        raise SetupError("web.port: 0 takes any free port; say --port, the run's log line health_served has it")
    token = None if web.token is None else web.token.get_secret_value()
    if watch:
        from tapewatch.cli.watching import Source, show

        address, venue = loaded.ledger.address, loaded.exchange.venue
        show(Source(lambda: (fetch(web.host, asked, token), watch_list(web.host, asked, token)), address, venue))
        return
    found = summary(fetch(web.host, asked, token))
    if json:
        options.print_json(found)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines(found)))
    if found["status"] == "fail":
        raise typer.Exit(NOT_READY)


def fetch(host: str, port: int, token: str | None) -> dict[str, Any]:
    """The health document; not being healthy is an answer too.

    Raises:
        EdgeError: nothing answers, or something else does.
    """
    where, document = _asked(host, port, "/health", token)
    if not isinstance(document, dict) or not _is_health(document.get("checks")):
        raise EdgeError(f"{where} answers, but it is no tapewatch")
    return document


def watch_list(host: str, port: int, token: str | None) -> list[dict[str, Any]]:
    """The watched symbols with their prices, those heard of longest ago first; none where the API is off."""
    try:
        _, found = _asked(host, port, f"/api/v1/watchlist?sort=age&order=desc&limit={MOST_ROWS}", token)
    except EdgeError:
        return []
    rows = found.get("items") if isinstance(found, dict) else None
    return rows if isinstance(rows, list) else []


def _asked(host: str, port: int, path: str, token: str | None) -> tuple[str, Any]:
    """Who was asked, and the JSON that was answered; None where it is none.

    Raises:
        EdgeError: nothing answers.
    """
    where = f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
    deadline_s = time.monotonic() + TIMEOUT_S
    try:
        connection = socket.create_connection((host, port), TIMEOUT_S)
    except OSError as error:
        raise EdgeError(f"nothing runs: {where} cannot be reached ({error.strerror or error})") from None
    with connection:
        try:
            return where, json_text.loads(_answer(connection, deadline_s, path, token))
        except TimeoutError:
            raise EdgeError(f"{where} does not answer within {TIMEOUT_S:g} s: what runs there is stuck") from None
        except OSError as error:
            raise EdgeError(f"{where} broke off its answer: {error.strerror or error}") from None
        except ValueError:
            return where, None


def _answer(connection: socket.socket, deadline_s: float, path: str, token: str | None) -> bytes:
    """The body of the answer, whole before the deadline: one that comes in drops keeps nobody waiting.

    Asked in HTTP/1.0, so that its end is the connection's. An HTTP client would take as long to load as all else here.
    """
    shown = "" if token is None else f"Authorization: Bearer {token}\r\n"
    connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n{shown}\r\n".encode())
    answer = bytearray()
    while (left_s := deadline_s - time.monotonic()) > 0:
        connection.settimeout(left_s)
        part = connection.recv(65_536)
        if not part:
            return bytes(answer.partition(b"\r\n\r\n")[2])
        answer += part
        if len(answer) > MOST_BYTES:
            raise ValueError("too long for a health document")
    raise TimeoutError


def _is_health(checks: object) -> bool:
    """Whether these are the checks of a health document: each a list of what was observed."""
    return isinstance(checks, dict) and all(
        isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries) for entries in checks.values()
    )


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """What is worth a glance in a health document; what another version did not write is None or empty."""
    checks = document["checks"]

    def observed(check: str, component: str | None = None) -> Any:
        entries = [one for one in checks.get(check, []) if component is None or one.get("componentId") == component]
        return entries[0].get("observedValue") if entries else None

    connections = document.get("connections") or []
    judged = {name: _judged(entries) for name, entries in checks.items()}
    return {
        "status": document.get("status"),
        "reasons": document.get("output") or ", ".join(name for name, one in judged.items() if one["status"] != "pass"),
        "checks": judged,
        "version": document.get("version"),
        "role": document.get("role") or "all",
        "uptime_s": observed("process:uptime"),
        "memory_bytes": observed("process:memory"),
        "configuration": document.get("configuration") or {},
        "universe": document.get("universe") or {},
        "start_up": {"complete": observed("symbols:complete"), "watched": observed("symbols:complete", "watched")},
        "emergency": observed("exchange:polling"),
        "rest": {
            "state": observed("exchange:rest"),
            "used_weight": observed("exchange:rest", "weight"),
            "note": next((one.get("output") for one in checks.get("exchange:rest", [])), None),
        },
        "last_bar_age_s": observed("exchange:lastData"),
        "stale": [one["componentId"] for one in checks.get("symbols:freshness", []) if one.get("status") != "pass"],
        "in_time_pct": observed("bars:inTime"),
        "errors_last_hour": observed("errors:lastHour"),
        "signals": {side: observed("signals:passed", side) for side in ("long", "short")},
        "paper": document.get("paper"),
        "operator": document.get("operator") or {},
        "channels": document.get("channels") or {},
        "heartbeat_age_s": observed("operator:heartbeat"),
        "alerts": observed("alerts:stored"),
        "queued": observed("alerts:queued"),
        "ledger": "ok" if observed("ledger:writable") else next(
            (one.get("output") for one in checks.get("ledger:writable", [])), None
        ),
        "connections": [{key: value for key, value in one.items() if key != "symbols"} for one in connections],
        "symbols": {symbol: one["name"] for one in connections for symbol in one.get("symbols", ())},
    }  # fmt: skip


def _judged(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The worst status of a check's entries, and their reasons: `null` where all is well."""
    bad = [one for one in entries if one.get("status", "pass") != "pass"]
    status = "fail" if any(one["status"] == "fail" for one in bad) else "warn" if bad else "pass"
    told = [(one.get("componentId"), one["output"]) for one in bad if one.get("output")]
    reasons = [f"{component}: {text}" if component else text for component, text in told]
    named = ", ".join(reasons[:NAMED]) + (", …" if len(reasons) > NAMED else "")
    return {"status": status, "reason": named or None}


def lines(found: dict[str, Any]) -> Iterator[str]:
    """A summary as `status` prints it: a label of ten columns, or none on lines that go on, and what there is."""
    yield f"{'status':10}{found['status']}{_after(': ', found['reasons'])}"
    role = "" if found["role"] == "all" else f" ({found['role']})"
    yield f"{'process':10}tapewatch {found['version']}{role}, up {_span(found['uptime_s'])}, {_megabytes(found)}"
    yield from _configuration(found["configuration"])
    if found["role"] != "relay":
        yield from _market(found)
    yield f"{'alerts':10}{found['alerts']} since the start, {_counted(found['queued'], 'message')} waiting"
    for name, one in found["channels"].items():
        if one["state"] != "ok":
            since = options.iso(one["since_ms"] // 1000 * 1000)
            yield f"{'channel':10}{name} is {one['state']} since {since} UTC, {one['queued']} wait: {one['reason']}"
    if found["heartbeat_age_s"] is not None:
        yield f"{'heartbeat':10}{_span(found['heartbeat_age_s'])} ago"
    yield from _operator(found["operator"])
    if found["paper"] is not None:
        yield f"{'paper':10}{_paper(found['paper'])}"
    yield f"{'ledger':10}{found['ledger']}; {_counted(found['errors_last_hour'], 'error')} in the last hour"
    yield from _checks(found["checks"])


def _configuration(state: dict[str, Any]) -> Iterator[str]:
    """What of a changed configuration is not in force, and why."""
    if state.get("problems"):
        yield f"{'config':10}the changed one cannot be used: {'; '.join(state['problems'])}"
    if state.get("needs_restart"):
        yield f"{'config':10}waits for a restart: {', '.join(state['needs_restart'])}"


def _market(found: dict[str, Any]) -> Iterator[str]:
    yield f"{'universe':10}{_universe(found)}"
    yield f"{'start-up':10}{found['start_up']['complete']} of {found['start_up']['watched']} symbols have their windows"
    yield f"{'exchange':10}{_exchange(found)}"
    width = max((len(one["name"]) for one in found["connections"]), default=0)
    for one in found["connections"]:
        heard = one["last_frame_s_ago"]
        data = "no data yet" if heard is None else f"data {_span(heard)} ago"
        again = f", made {one['reconnects']} times anew" if one["reconnects"] else ""
        who = f"{one['name']:{width}}  {one['state']:11}{_counted(one['streams'], 'stream', 5)}"
        yield f"{'':10}{who}, {_span(one['age_s'])} old, {data}{again}"
    yield f"{'bars':10}{_bars(found)}"


def _checks(checks: dict[str, dict[str, Any]]) -> Iterator[str]:
    """How many pass, and each of the others with its reason."""
    others = {name: one for name, one in checks.items() if one["status"] != "pass"}
    yield f"{'checks':10}{len(checks) - len(others)} of {len(checks)} pass"
    for name, one in others.items():
        yield f"{'':10}{one['status']}  {name}{_after(': ', one['reason'])}"


def _after(separator: str, text: str | None) -> str:
    return f"{separator}{text}" if text else ""


def _span(seconds: float | None) -> str:
    """`3.2 s`, or `1 day, 2:03:04`."""
    if seconds is None:
        return "?"
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=int(seconds)))


def _counted(number: int | None, noun: str, width: int = 0) -> str:
    """`1 stream`, `2 streams`; a number that is not known is none."""
    return f"{'?' if number is None else number:>{width}} {noun}{'s' * (number != 1)}"


def _megabytes(found: dict[str, Any]) -> str:
    memory = found["memory_bytes"]
    return "memory not known" if memory is None else f"{memory / 1e6:.0f} MB"


def _universe(found: dict[str, Any]) -> str:
    known = found["universe"]
    if not known or known.get("waits_for"):
        return "not chosen yet" + _after(": waits for ", known.get("waits_for"))
    left_out = ", ".join(f"{count:,} by {rule}" for rule, count in known["left_out"].items())
    chosen = f"{known['watched']:,} watched, {known['eligible']:,} liquid enough for alerts"
    return chosen + _after("; left out: ", left_out)


def _exchange(found: dict[str, Any]) -> str:
    rest = found["rest"]
    words = [f"REST {rest['state']}{_after(', ', rest['note'])}, weight {rest['used_weight']} in this minute"]
    words.append("bars come by polling" if found["emergency"] else _counted(len(found["connections"]), "connection"))
    return "; ".join(words)


def _operator(operator: dict[str, Any]) -> Iterator[str]:
    for one in operator.get("troubles", ()):
        yield f"{'trouble':10}{one['subject']}, since {options.iso(one['since_ms'] // 1000 * 1000)} UTC"
    on = operator.get("maintenance")
    if on is not None:
        until = options.iso(on["until_ms"] // 60_000 * 60_000)
        yield f"{'operator':10}told nothing until {until} UTC: maintenance{_after(', ', on['reason'])}"
    for one in operator.get("planned", ()):
        begins, until = (options.iso(one[key] // 60_000 * 60_000) for key in ("from_ms", "until_ms"))
        yield f"{'operator':10}maintenance is planned from {begins} until {until} UTC{_after(', ', one['reason'])}"


def _paper(paper: dict[str, Any]) -> str:
    words = [f"{paper['open']} open ({paper['long']} long, {paper['short']} short)"]
    if paper["equity"] is None:
        return f"{words[0]}, nothing traded yet"
    words.append(f"equity {float(paper['equity']):,.2f}, {float(paper['day_net']):+,.2f} today")
    if paper["paused_until_ms"] is not None:
        words.append(f"entries paused until {options.iso(paper['paused_until_ms'])} UTC: {paper['paused_why']}")
    return ", ".join(words)


def _bars(found: dict[str, Any]) -> str:
    stale = found["stale"]
    age_s = found["last_bar_age_s"]
    words = ["none yet" if age_s is None else f"the last {_span(age_s)} ago"]
    if found["in_time_pct"] is not None:
        words.append(f"{found['in_time_pct']:g}% in time")
    named = f" ({', '.join(stale[:NAMED])}{', …' if len(stale) > NAMED else ''})" if stale else ""
    words.append(f"{_counted(len(stale), 'symbol')} stale{named}")
    return ", ".join(words)
