"""`tapewatch init` writes a configuration, `tapewatch check` says whether one can be run."""

from __future__ import annotations

import json as json_lines
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.disk import write_whole
from tapewatch.errors import ConfigError, SetupError
from tapewatch.network import http_url

if TYPE_CHECKING:
    from tapewatch.cli.finding import Finding
    from tapewatch.config import Config
    from tapewatch.config.alerts import Route
    from tapewatch.config.schema import Universe

NAME = "tapewatch.yaml"
DEFAULT_PATHS = (Path(NAME),)
#: Channels of the default configuration that `init` asks for, and the answer that says that one is wanted.
_CHANNELS = {"mail": "host", "desk": "discord", "phone": "telegram"}
#: Keys whose value in the default configuration is an example, not the default.
_EXAMPLES = frozenset(
    {"ca_file", "per_minute", "fallback", "quiet", "username", "avatar_url", "thread_id", "message_thread_id"}
)

ConfigOption = Annotated[
    list[Path] | None,
    typer.Option("--config", "-c", help="Configuration file, repeatable; later ones win.", show_default=NAME),
]


def configuration(paths: Sequence[Path] | None, on_file: Callable[[Path], object] = lambda _path: None) -> Config:
    """The configuration a command runs with, its strategies compiled once to see that they can be.

    Args:
        paths: its files; the usual one where none is given.
        on_file: see `tapewatch.config.load`.

    Raises:
        ConfigError: every problem, those of strategies too.
    """
    from tapewatch.config import load
    from tapewatch.strategies import configured

    def compiled(name: str, mapping: Mapping[str, Any]) -> object:
        return configured({name: mapping})

    return load(paths or DEFAULT_PATHS, os.environ, compile_strategy=compiled, on_file=on_file)


def check(
    config: ConfigOption = None,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also try the exchange, ledger, disks, machine and every channel.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON line per finding.")] = False,
) -> None:
    """Say whether a configuration is right and what it would run; exit 2 with everything that is wrong.

    Example: tapewatch check -c tapewatch.yaml --connect
    """
    from tapewatch.cli.finding import Finding
    from tapewatch.cli.probes import connect as try_everything

    try:
        loaded = configuration(config)
    except ConfigError as error:
        _print([Finding("configuration", "fail", detail=problem) for problem in error.problems], json=json)
        raise typer.Exit(2) from None
    findings = [
        Finding("configuration", "pass", ", ".join(map(str, loaded.sources))),
        *(Finding("configuration", "warn", detail=warning) for warning in loaded.warnings),
        *(Finding(what, "pass", detail=detail) for what, detail in _plan(loaded)),
    ]
    _print(findings, json=json)
    wrong = [*_wrong_exchange(loaded), *_wrong_channels(loaded), *_wrong_templates(loaded), *_wrong_models(loaded)]
    _print(wrong, json=json)
    if any(finding.status == "fail" for finding in wrong):
        raise typer.Exit(2)
    if connect:
        import asyncio

        tried = asyncio.run(try_everything(loaded))
        _print(tried, json=json)
        if any(finding.status == "fail" for finding in tried):
            raise typer.Exit(1)


def _wrong_exchange(config: Config) -> list[Finding]:
    """What only the library knows that reaches the exchange; nothing is loaded for one that needs none."""
    if config.exchange.ccxt is None:
        return []
    from tapewatch.cli.finding import Finding
    from tapewatch.live.feeds import check_exchange
    from tapewatch.strategies import configured

    try:
        check_exchange(config, configured(config.strategies))
    except SetupError as error:
        return [Finding("exchange", "fail", detail=str(error))]
    return []


def _wrong_channels(config: Config) -> list[Finding]:
    """What a channel finds wrong when it is made, as a run would make it."""
    from tapewatch.channels import build
    from tapewatch.cli.finding import Finding

    found = []
    for name, spec in config.channels.items():
        try:
            build(name, spec)
        except SetupError as error:
            found.append(Finding("channel", "fail", name, str(error)))
    return found


def _wrong_models(config: Config) -> list[Finding]:
    """What only reading a scoring model tells, and whether it fits its strategy."""
    if not config.gate.score:
        return []
    from tapewatch.cli.finding import Finding
    from tapewatch.engine import Engine
    from tapewatch.live.scorings import scorings_of
    from tapewatch.strategies import configured

    try:
        Engine(config.exchange.venue, configured(config.strategies), scorings=tuple(scorings_of(config)))
    except SetupError as error:
        return [Finding("model", "fail", detail=str(error))]
    return []


def _wrong_templates(config: Config) -> list[Finding]:
    """What only Jinja knows of the user's templates; it is not loaded where there are none."""
    from tapewatch.channels.templates import unknown_names
    from tapewatch.channels.view import names_of
    from tapewatch.cli.finding import Finding
    from tapewatch.live.telling import KINDS, templates_of

    try:
        templates = templates_of(config)
    except SetupError as error:
        return [Finding("templates", "fail", detail=str(error))]
    missing = unknown_names(templates, {kind: names_of(kind) for kind in KINDS})
    return [Finding("templates", "warn", detail=f"alerts.templates: {name}") for name in missing]


def _plan(config: Config) -> Iterator[tuple[str, str]]:
    """What would run: (part, in words)."""
    from tapewatch.strategies import configured

    exchange = config.exchange
    if exchange.ccxt is None:
        yield "exchange", f"{exchange.venue} at {exchange.rest_url} and {exchange.ws_url}"
    else:
        yield "exchange", f"{exchange.venue} through ccxt's {exchange.ccxt.id}"
    yield "universe", _universe(config.universe)
    for strategy in configured(config.strategies):
        yield "strategy", f"{strategy.name} on {', '.join(strategy.timeframes)}"
    for score in config.gate.score:
        yield "model", f"{score.model}" + ("" if score.at_least is None else f", {score.at_least:.0%} or more")
    if (paper := config.paper) is not None:
        size = f"{paper.risk:.3%}".rstrip("0%").rstrip(".") + "% at risk" if paper.size is None else f"{paper.size:g}"
        yield "paper", f"{paper.account} account of {paper.cash:,g}, {size} in each position"
    for route in config.alerts.routes:
        of = f"strategies {', '.join(route.strategies)}" if route.strategies else "all strategies"
        on = ", ".join(route.symbols) if route.symbols else "all symbols"
        yield "route", f"{of} on {on}{_asked(route)} to {', '.join(route.channels)}"
    if config.alerts.templates is not None:
        yield "templates", str(config.alerts.templates)
    yield "operator", f"told by {', '.join(config.alerts.operator.channels) or 'the log only'}"
    yield "ledger", config.ledger.url
    url = http_url(config.web.host, config.web.port or "(any free port)")
    yield "health", f"{url}/health"
    if config.web.enabled:
        yield "dashboard", f"{url}/"


def _asked(route: Route) -> str:
    """What else a route asks for."""
    words = [f"of kind {' or '.join(route.kinds)}"] if route.kinds else []
    if route.severity != "low":
        words.append(f"severity {route.severity}" + " or more" * (route.severity != "high"))
    if route.min_strength:
        words.append(f"strength {route.min_strength:g} or more")
    if (least := route.min_confidence) is not None:
        words.append(f"{f'{least:.0%}' if isinstance(least, float) else least} of the factors or more")
    return "".join(f", {word}," for word in words).replace(",,", ",")


def _universe(universe: Universe) -> str:
    """Who is watched, as far as the configuration alone says; `tapewatch universe` asks the exchange."""
    from tapewatch.universe import is_pattern

    entries = universe.include
    listed = f"{', '.join(entries[:10])}{', …' if len(entries) > 10 else ''}"
    if not any(map(is_pattern, entries)):
        return f"{options.counted(len(entries), 'symbol')}: {listed}"
    return f"{listed} priced in {', '.join(universe.quotes)}, at most {universe.max_symbols:,} symbols"


def _print(findings: Iterable[Finding], *, json: bool) -> None:
    """Findings on stdout; without `--json` what is wrong goes to stderr."""
    import msgspec

    for finding in findings:
        if json:
            sys.stdout.write(msgspec.json.encode(finding).decode() + "\n")
            continue
        words = [word for word in (finding.target, finding.detail) if word]
        stream = sys.stderr if finding.status == "fail" else sys.stdout
        mark = {"pass": "ok", "warn": "warning", "fail": "wrong"}[finding.status]
        stream.write(f"{mark:8}{finding.check:14}{': '.join(words)}\n")
    sys.stdout.flush()


def init(
    directory: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    older: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Convert this file of an older system (JSON, YAML, .env); repeatable."),
    ] = None,
) -> None:
    """Write a commented tapewatch.yaml and a private .env; asks a few things on a terminal, or converts older files.

    Example: tapewatch init ~/tapewatch
    """
    there = [str(path) for path in (directory / NAME, directory / ".env") if path.exists()]
    if there and not force:
        raise SetupError(f"{' and '.join(there)} exist already; --force overwrites them")
    if older:
        from tapewatch.cli.convert import convert_files

        convert_files(older, directory)
        return
    answers = _ask() if not yes and _on_terminal() else {}
    texts = [render(answers), dotenv_of(_secrets(answers))]
    _validate(texts[0], answers)
    write_both(directory, *texts)
    path = directory / NAME
    sys.stdout.write(f"next: tapewatch check -c {path} --connect\n      tapewatch run -c {path}\n")


def write_both(directory: Path, text: str, dotenv: str) -> None:
    """Write configuration and private `.env`, and say so. Raises SetupError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / NAME, text.encode())
        write_whole(directory / ".env", dotenv.encode(), 0o600)
    except OSError as error:
        raise SetupError(f"{error.filename or directory}: {error.strerror}") from None
    sys.stdout.write(f"wrote {directory / NAME} and {directory / '.env'}\n")


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _ask() -> dict[str, str]:
    answers = {"symbols": typer.prompt("Symbols to watch", default="BTCUSDT, ETHUSDT")}
    if typer.confirm("Send alerts by e-mail?", default=False):
        answers["host"] = typer.prompt("Mail server (STARTTLS, port 587)")
        answers["user"] = typer.prompt("User name there")
        answers["sender"] = typer.prompt("Sender address", default=answers["user"])
        answers["recipient"] = typer.prompt("Recipient address", default=answers["sender"])
        answers["password"] = typer.prompt(
            "Password (kept in .env; empty to fill in later)", default="", hide_input=True, show_default=False
        )
    if typer.confirm("Send alerts to Discord?", default=False):
        answers["discord"] = typer.prompt("Webhook address (kept in .env)", hide_input=True)
    if typer.confirm("Send alerts to Telegram?", default=False):
        answers["telegram"] = typer.prompt("Token of the bot (kept in .env)", hide_input=True)
        answers["chat"] = typer.prompt("Chat (its number, or @name of a public one)")
    return answers


def render(answers: Mapping[str, str]) -> str:
    """The text of a configuration: the default one with what was answered put in its place."""
    text = resources.files("tapewatch.config").joinpath("examples/default.yaml").read_text("utf-8")
    symbols = answers.get("symbols", "").replace(",", " ").upper().split()
    if symbols:
        text = text.replace("include: [BTCUSDT, ETHUSDT]", f"include: {json_lines.dumps(list(dict.fromkeys(symbols)))}")
    written = {
        "host": "smtp.example.com",
        "user": "tapewatch@example.com",
        "sender": "tapewatch@example.com",
        "recipients": "[you@example.com]",
        "chat_id": "-1001234567890",
    }
    given = {
        **{key: json_lines.dumps(answers[key]) for key in ("host", "user", "sender") if key in answers},
        **({"recipients": f"[{json_lines.dumps(answers['recipient'])}]"} if "recipient" in answers else {}),
        **({"chat_id": json_lines.dumps(answers["chat"])} if "chat" in answers else {}),
    }
    for key, value in given.items():
        text = text.replace(f"{key}: {written[key]}", f"{key}: {value}")
    chosen = [name for name, answer in _CHANNELS.items() if answer in answers]
    for name in chosen:
        text = _uncommented(text, name)
    # Trouble with the program itself is worth nothing on a screen that nobody looks at.
    text = text.replace("    channels: [console]\n", f"    channels: [{', '.join(['console', *chosen])}]\n")
    return text.replace("- channels: [console, file]", f"- channels: [{', '.join(['console', 'file', *chosen])}]")


def _uncommented(text: str, name: str) -> str:
    """The text with this channel's lines in force, but for those whose value is only an example."""
    start = text.index(f"  # {name}:")
    end = text.index("\n\n", start)
    block = []
    for line in text[start:end].splitlines():
        bare = line.replace("# ", "", 1)
        keep = bare.strip().partition(":")[0] in _EXAMPLES or bare.strip().startswith("#")
        block.append(f"    # {bare.strip().removeprefix('# ')}" if keep else bare)
    return text[:start] + "\n".join(block) + text[end:]


def _secrets(answers: Mapping[str, str]) -> dict[str, str | None]:
    return {
        "MAIL_PASSWORD": answers.get("password"),
        "DISCORD_WEBHOOK_URL": answers.get("discord"),
        "TELEGRAM_TOKEN": answers.get("telegram"),
    }


def dotenv_of(secrets: Mapping[str, str | None]) -> str:
    """The text of a `.env`; a variable without a value is a comment to fill in."""
    head = "# Variables for tapewatch.yaml; only you can read this file. The process's environment wins over it.\n"
    return head + "".join(
        f"# {name}=\n" if value is None else f'{name}="{_quotable(value)}"\n' for name, value in secrets.items()
    )


def _quotable(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _validate(text: str, answers: Mapping[str, str]) -> None:
    """Raises SetupError when what was answered makes no configuration; nothing is written then."""
    from tapewatch.config import load

    variables = {
        "MAIL_PASSWORD": "asked for later",
        "DISCORD_WEBHOOK_URL": answers.get("discord", ""),
        "TELEGRAM_TOKEN": answers.get("telegram", ""),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        path.write_text(text, encoding="utf-8")
        try:
            load([path], variables)
        except ConfigError as error:
            problems = "\n  ".join(problem.removeprefix(f"{folder}/") for problem in error.problems)
            raise SetupError(f"nothing was written, since these answers cannot be used:\n  {problems}") from None
