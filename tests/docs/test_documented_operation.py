"""Everything that a run says of itself is documented: metrics, logs, health, reloads and the API."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from fastapi.routing import APIRoute
from markdown_pages import DOCS, SOURCE, code, named, rows

from tapewatch.config.schema import Component, Config
from tapewatch.live.changes import TAKEN_UP
from tapewatch.telemetry import LogSetup, get_logger
from tapewatch.telemetry.document import health_document, summary
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics
from tapewatch.web import api, decided, paper
from tapewatch.web.app import health_paths


def test_every_logging_component_is_documented() -> None:
    """`logging.levels` takes the names that `docs/operations.md` lists."""
    assert sorted(named(DOCS / "operations.md", "Component")) == sorted(get_args(Component))


def test_every_metric_is_documented_under_the_name_prometheus_sees() -> None:
    """Those of the process too."""
    metrics = Metrics()
    metrics.watch_frames(dict)
    metrics.watch_connections(list)
    metrics.watch_operator(dict, int)
    metrics.watch_health(Health(0, []), lambda: 0)
    metrics.watch_followed(dict)
    metrics.watch_events(int, int)
    suffix = {"counter": "_total", "info": "_info"}
    wanted = {
        family.name + ("" if family.name.endswith(suffix.get(family.type, " ")) else suffix.get(family.type, ""))
        for family in metrics.registry.collect()
    }
    assert sorted(named(DOCS / "operations.md", "Metric")) == sorted(wanted)


def _is_logger(node: ast.expr, loggers: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in loggers
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "get_logger"


def log_events(path: Path) -> Iterator[str]:
    """The event names that a module logs."""
    tree = ast.parse(path.read_text("utf-8"))
    loggers = {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and "get_logger" in {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
        for target in node.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        choices = [node.func.body, node.func.orelse] if isinstance(node.func, ast.IfExp) else [node.func]
        levels = {"debug", "info", "warning", "error", "exception", "critical"}
        logs = all(isinstance(f, ast.Attribute) and f.attr in levels and _is_logger(f.value, loggers) for f in choices)
        if logs:
            event = node.args[0]
            assert isinstance(event, ast.Constant), f"{path.name}:{node.lineno}: an event's name must be written out"
            yield str(event.value)


def test_every_log_event_is_documented() -> None:
    """By the name that stands in the code."""
    found = {event for path in sorted(SOURCE.rglob("*.py")) for event in log_events(path)}
    assert len(found) > 20
    assert sorted(named(DOCS / "operations.md", "Event")) == sorted(found)


def test_every_field_of_a_log_line_is_documented() -> None:
    """As one with everything in it has them."""
    stream = io.StringIO()
    logs = LogSetup(form="json", stream=stream)
    try:
        get_logger("cli").error("event", symbol="BTCUSDT", trace_id="0", more=1, exc_info=ValueError("x"))
    finally:
        logs.close()
    assert sorted(named(DOCS / "operations.md", "Log field")) == sorted(json.loads(stream.getvalue()))


def test_what_a_run_takes_up_is_documented() -> None:
    """Every section, and whether a change of it needs a restart."""
    page = DOCS / "configuration.md"
    assert sorted(named(page, "Section")) == sorted(Config.model_fields)
    (restart,) = [row[0] for row in rows(page, "Section") if row[1] == "needs a restart."]
    assert {code(name) for name in restart.split(", ")} == set(Config.model_fields) - TAKEN_UP


def test_health_is_documented() -> None:
    """The paths, the checks of the health document, and the figures of the health line."""
    page = DOCS / "operations.md"
    health = Health(0, ["BTCUSDT"], ["mail"])
    assert sorted(named(page, "Check")) == sorted(health_document(health, 0, 0)["checks"])
    assert sorted(named(page, "Figure")) == sorted(summary(health, 0, 0))
    paths = {getattr(route, "path", "") for route in health_paths(health, Metrics(), lambda: 0).routes}
    assert sorted(named(page, "Path")) == sorted(paths)


def test_every_endpoint_of_the_api_is_documented() -> None:
    """`docs/api.md` has each path that can be asked, and each event that pages are told."""
    page = DOCS / "api.md"
    routes = [*api.router.routes, *decided.router.routes, *paper.router.routes]
    paths = {f"{api.PREFIX}{route.path}".replace(":path", "") for route in routes if isinstance(route, APIRoute)}
    assert sorted(named(page, "Endpoint")) == sorted({*paths, f"{api.PREFIX}/openapi.json"})
    texts = "".join((SOURCE / "web" / name).read_text("utf-8") for name in ("site.py", "events.py"))
    told = {*re.findall(r'publish\(\s*"(\w+)"', texts), *re.findall(r"event: (\w+)", texts)}
    assert {row[0].strip("`") for row in rows(page, "Event")} == told
