"""The API of a real run, asked whatever its own description allows, and what it does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from api_run import SYMBOLS, Served, served
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tapewatch.web import api, decided, paper
from tapewatch.web.guard import ENDLESS

#: What is looked at in each answer.
CHECKS = (checks.not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A run that has signals, alerts and trades."""
    with served(tmp_path_factory.mktemp("fuzzed")) as one:
        yield one


@pytest.fixture(scope="module")
def description(run: Served) -> Any:
    """What the run says of its API."""
    return schemathesis.openapi.from_url(f"{run.url}{api.PREFIX}/openapi.json")


PATHS = sorted(
    f"{api.PREFIX}{route.path}".replace(":path", "")
    for router in (api.router, decided.router, paper.router)
    for route in router.routes
    if isinstance(route, APIRoute) and f"{api.PREFIX}{route.path}" != ENDLESS
)


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_answer_is_as_it_is_described(description: Any, path: str, mode: GenerationMode) -> None:
    """No answer is a failure of the server, and each has a status, a type and a shape that are described."""
    operation = description[path]["GET"]

    @settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    try:
        asked()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # it takes nothing that could be wrong


def test_what_a_run_has_is_as_it_is_described(run: Served, description: Any) -> None:
    """Every list and document with something in it."""
    signal = run.get("/signals?state=passed&limit=1")["items"][0]
    asked: dict[str, dict[str, Any]] = {path: {} for path in PATHS}
    bar = {"symbol": SYMBOLS[0], "interval": "5m"}
    asked |= {"/api/v1/candles": bar | {"strategy": "scalp"}, "/api/v1/why": bar | {"ms": run.get(
        f"/candles?symbol={SYMBOLS[0]}&interval=5m")["open_ms"][-1]}}  # fmt: skip
    for path, query in asked.items():
        named = {"id": signal["id"]} if "{id}" in path else {}
        case = description[path]["GET"].Case(path_parameters=named, query=query)
        answer = case.call()
        assert answer.status_code == 200, path
        case.validate_response(answer, checks=CHECKS)
        assert answer.json().get("items", True) or path == "/api/v1/positions"
