"""What users can see is documented, and what is documented is there: names are compared as sets, both ways."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import typer
from markdown_pages import DOCS, PAGES, ROOT, SOURCE, anchors, code, headings, links, named, rows
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from tapewatch import model, strategies
from tapewatch.archive.check import FINDINGS
from tapewatch.archive.frames import SCHEMA
from tapewatch.channels import file
from tapewatch.channels.sandbox import Sandbox
from tapewatch.channels.templates import EXTENSIONS
from tapewatch.channels.view import DigestView, NoticeView, SignalView, View
from tapewatch.cli.app import command_line
from tapewatch.cli.bench import _PARTS
from tapewatch.config.channels import CHANNEL_TYPES
from tapewatch.config.paper import Protections
from tapewatch.config.schema import Config, _section_in
from tapewatch.config.section import Section
from tapewatch.config.values import parse_duration, parse_percent
from tapewatch.indicators import indicator
from tapewatch.record import Score
from tapewatch.simulator import FaultRule, Plant
from tapewatch.simulator.control import METHODS, PACE
from tapewatch.simulator.futures import FUTURES
from tapewatch.simulator.rest import PARAMETERS
from tapewatch.simulator.script import FaultKind
from tapewatch.store import MessageState
from tapewatch.store.records import Kind
from tapewatch.store.schema import metadata
from tapewatch.strategy import catalogue, definition
from tapewatch.strategy.composed import Composed
from tapewatch.strategy.expression import functions, members_of, signature
from tapewatch.strategy.graph import SOURCES
from tapewatch.study.outcomes import Fate


def commands(command: Any, path: str = "tapewatch") -> Iterator[tuple[str, Any]]:
    """Every command of the command line with its full name, groups too."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{path} {name}")


COMMANDS = dict(commands(typer.main.get_command(command_line())))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_section_with_all_its_options(name: str) -> None:
    """`docs/commands.md` has a heading for it, and a table below with exactly its options and arguments."""
    page = DOCS / "commands.md"
    assert name in headings(page)
    wanted = set()
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "argument":
            wanted.add(parameter.metavar or parameter.name)
        elif parameter.name != "help":
            wanted.update(parameter.opts)
    assert sorted(named(page, "Option", name)) == sorted(wanted)


def test_every_command_says_how_it_is_used() -> None:
    """A command has an example in its help, and so has a group of commands."""
    without = [name for name, command in COMMANDS.items() if "Example: tapewatch " not in (command.help or "")]
    assert without == []


def keys(section: type[Section], path: str = "") -> Iterator[tuple[str, FieldInfo | None]]:
    """Every key of a configuration as the documentation writes it; secrets can be given as files."""
    for name, field in section.model_fields.items():
        here = f"{path}{field.alias or name}"
        if here == "channels":
            for channel in CHANNEL_TYPES.values():
                yield from keys(channel, "channels.<name>.")
        elif here == "strategies":
            yield "strategies.<name>", None
        elif get_origin(field.annotation) is list and (inner := _section_in(field.annotation)) is not None:
            yield from keys(inner, f"{here}[].")
        elif (inner := _section_in(field.annotation)) is not None:
            yield from keys(inner, f"{here}.")
        else:
            yield here, field
    for name in section.secrets:
        yield f"{path}{name}_file", None


KEYS = dict(keys(Config))


def test_every_configuration_key_is_documented() -> None:
    """`docs/configuration.md` has each key once, and none that is not there."""
    assert sorted(named(DOCS / "configuration.md", "Key")) == sorted(KEYS)


@pytest.mark.parametrize(
    ("key", "default"),
    [(code(row[0]), row[1]) for row in rows(DOCS / "configuration.md", "Key") if "`" in row[1] or row[1] == "required"],
)
def test_the_default_that_is_documented_is_the_one_in_use(key: str, default: str) -> None:
    """Read as the configuration would read it."""
    field = KEYS[key]
    if field is None or key.endswith(".type"):
        assert default == "required"
        return
    assert field.is_required() == (default == "required") or key == "ledger.url"
    if default == "required":
        return
    text = code(default)
    readings = [YAML(typ="safe").load(text)]
    for read in (parse_duration, parse_percent, lambda _: [parse_duration(item) for item in readings[0]]):
        try:
            readings.append(read(text))
        except (ValueError, TypeError):
            continue
    wanted = "sqlite:///tapewatch.db" if key == "ledger.url" else field.default
    assert wanted in readings


def test_every_language_name_is_documented() -> None:
    """Sources, functions with their arguments, keys of a strategy, checks of the gate, and what ships."""
    page = DOCS / "strategies.md"
    assert sorted(named(page, "Source")) == sorted(SOURCES)
    assert sorted(named(page, "Function")) == sorted(map(signature, functions()))
    assert sorted(named(page, "Key")) == sorted(definition._KEYS)
    checks = re.findall(r'Verdict\("(\w+)"', (SOURCE / "gate.py").read_text("utf-8"))
    assert sorted(named(page, "Check")) == sorted(set(checks))
    assert sorted(named(page, "Strategy")) == sorted(strategies.shipped())


@pytest.mark.parametrize("name", catalogue.names())
def test_a_function_is_documented_in_its_own_words(name: str) -> None:
    """What its row says is what it states in the code, and what is worked out from its example."""
    one = catalogue.describe(name)
    listed = [f"`.{member}`" for member in members_of(name) if member]
    members = f" Members: {', '.join(listed)}." if listed else ""
    seed = "" if one.seed == Composed.seed else one.seed
    settled = "never" if one.settling is None else f"{one.settling:,}"
    row = next(row for row in rows(DOCS / "strategies.md", "Function") if code(row[0]) == one.signature)
    assert row[1] == one.summary + members
    assert [code(cell) for cell in row[2:5]] == [one.formula, seed, one.example]
    assert row[5:] == [str(one.first_valid), settled, one.source]


def test_every_parameter_of_what_ships_is_documented() -> None:
    """With its default, as the strategies have it."""
    shipped = {
        name: f"{value:g}" for key in strategies.shipped() for name, value in strategies.load(key).params.items()
    }
    documented: dict[str, str] = {}
    for row in rows(DOCS / "strategies.md", "Parameter"):
        documented |= dict(zip(code(row[0]).split(", "), row[1].split(", "), strict=True))
    assert documented == shipped


def test_every_argument_of_an_indicator_of_ones_own_is_documented() -> None:
    """As the decorator takes them."""
    documented = named(DOCS / "strategies.md", "Argument", "Strategies in Python")
    assert set(inspect.signature(indicator).parameters) <= set(documented)


def test_every_name_of_a_template_and_every_filter_is_documented() -> None:
    """`docs/alerts.md` has each name that a kind's template can use, and each filter, and none that is not there."""
    page = DOCS / "templates.md"
    for heading, view, beyond in [
        ("In every template", View, set[str]()),
        ("In a signal's template", SignalView, set(View.__struct_fields__)),
        ("In a template of words", NoticeView, set(View.__struct_fields__)),
        ("In a digest's template", DigestView, set(View.__struct_fields__)),
    ]:
        assert sorted(named(page, "Name", heading)) == sorted(set(view.__struct_fields__) - beyond)
    assert sorted(named(page, "Filter")) == sorted(Sandbox("plain", {}).filters)
    extensions = {f".{extension}" for extension in EXTENSIONS.values()} | {".subject"}
    assert set(named(page, "Ending")) == extensions


def fields(struct: Any) -> set[str]:
    """The names of a struct's fields as they are in JSON."""
    return set(struct.__struct_encode_fields__)


def test_every_json_field_of_signals_and_alerts_is_documented() -> None:
    """A signal with its parts, what the ledger adds, a line of the file channel, and the states of a message."""
    page = DOCS / "alerts.md"
    parts = {
        "targets": model.Target,
        "trailing": model.Trailing,
        "factors": model.Factor,
        "verdicts": model.Verdict,
        "confidence": model.Confidence,
    }
    wanted = fields(model.Signal) | {f"{name}.{inner}" for name, part in parts.items() for inner in fields(part)}
    assert sorted(named(page, "Signal field")) == sorted(wanted)
    assert sorted(named(page, "Stored field")) == sorted(fields(model.Judged) - {"signal", "bar"} | {"outcome"})
    assert sorted(named(page, "Line field")) == sorted(file._KEYS)
    assert sorted(named(page, "State")) == sorted(get_args(MessageState))
    assert sorted([*named(page, "Kind"), "signal", "operator", "test", "digest"]) == sorted(get_args(Kind))


def test_every_field_of_an_outcome_is_documented() -> None:
    """As `signals --outcomes` prints it, and those of a score."""
    documented = named(DOCS / "outcomes.md", "Outcome field")
    assert sorted(documented) == sorted(fields(Fate))
    assert sorted(named(DOCS / "outcomes.md", "Score field")) == sorted(fields(Score))


def test_paper_trading_is_documented() -> None:
    """Its protections, and the ledger's tables that hold it."""
    page = DOCS / "paper.md"
    assert sorted(named(page, "Key")) == sorted(Protections.model_fields)
    tables = ["trades", "fills", "funding_paid", "paper_accounts", "account_days"]
    assert named(page, "Table") == tables
    assert set(tables) <= set(metadata.tables)


def aliases(script: type[BaseModel]) -> Iterable[str]:
    """The keys a script's entry may have."""
    return [field.alias or name for name, field in script.model_fields.items()]


def test_the_simulators_scripts_and_protocol_are_documented() -> None:
    """Fault kinds, the keys of both scripts, REST endpoints and WebSocket methods."""
    page = DOCS / "simulator.md"
    assert sorted(named(page, "Fault")) == sorted(get_args(FaultKind))
    assert sorted(named(page, "Fault key")) == sorted(aliases(FaultRule))
    assert sorted(named(page, "Plant key")) == sorted(aliases(Plant))
    endpoints = [f"/api/v3/{name}" for name in PARAMETERS] + [f"/fapi/v1/{name}" for name in FUTURES]
    assert sorted(named(page, "Endpoint")) == sorted(endpoints)
    assert sorted(named(page, "Method")) == sorted((*METHODS, PACE))


def test_every_finding_of_archive_check_is_documented() -> None:
    """By its name in JSON; and the candle columns of an archive."""
    page = DOCS / "data.md"
    assert sorted(named(page, "Finding")) == sorted(FINDINGS)
    columns = [name for row in rows(page, "Column") for name in re.findall(r"`(\w+)`", row[0])]
    assert columns == list(SCHEMA)


def test_every_part_of_the_benchmark_is_documented() -> None:
    """As `bench` takes them."""
    assert sorted(named(DOCS / "commands.md", "Part")) == sorted(_PARTS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Between pages and to headings; the outside world is linked nowhere but in the change log."""
    for target in links(page):
        if target.startswith(("http://", "https://")):
            assert page.name == "CHANGELOG.md", f"{target} needs the outside world"
            continue
        path, _, anchor = target.partition("#")
        file_of = (page.parent / path).resolve() if path else page
        assert file_of.exists(), target
        assert not anchor or anchor in anchors(file_of), target


def test_every_page_can_be_found() -> None:
    """The README links each page of docs/."""
    linked = {target.partition("#")[0] for target in links(ROOT / "README.md")}
    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} <= linked


def test_the_layers_are_those_that_are_enforced() -> None:
    """From top to bottom, as the import contract has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    wanted = [[name.removeprefix("tapewatch.") for name in layer.split(" | ")] for layer in layers]
    assert [code(row[0]).split(", ") for row in rows(DOCS / "architecture.md", "Layer")] == wanted


def test_pins_name_no_address() -> None:
    """Where packages come from is the machine's business: requirements say what, never from where."""
    for path in [*(ROOT / "requirements").iterdir(), *(ROOT / "bench" / "peers").glob("requirements-*")]:
        text = path.read_text("utf-8")
        assert "://" not in text, path.name
        assert "index-url" not in text, path.name


def test_the_sources_are_as_short_as_the_rules_ask() -> None:
    """Files of the package have 400 lines at most, its functions 50."""
    for path in SOURCE.rglob("*.py"):
        text = path.read_text("utf-8")
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 50, f"{path}: {node.name}"
