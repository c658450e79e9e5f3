"""The alert rules and the dashboard in `deploy/`: what they say, and that a run serves what they ask for."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from run_harness import UNASKED, configure, easy, eventually, fetch, health_url, running, simulated

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "tapewatch.json"
SYMBOLS = ("BTCUSDT", "ETHUSDT")
#: Asked for by a panel, and nothing in a run on a simulated exchange that goes well.
QUIET = ("tapewatch_ws_disconnects_total", "tapewatch_clock_ahead_seconds")


def program(name: str) -> str:
    """Where a program of Prometheus is; the test is skipped by name without it."""
    found = shutil.which(name)
    if found is None:
        assert not os.environ.get("CI"), f"{name} is not installed (Debian: prometheus)"
        pytest.skip(f"{name} is not installed (Debian: prometheus)")
    return found


def promtool(*arguments: object) -> None:
    """Run it; what it finds wrong is shown."""
    words = [program("promtool"), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def queries() -> list[tuple[str, str, set[str]]]:
    """Of each panel its title, each query as Grafana would send it, and the labels that its legend names."""
    found = []
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            expr = target["expr"].replace("$__rate_interval", "5m").replace("$job", "tapewatch")
            found.append(
                (
                    panel["title"],
                    expr.replace("$instance", ".*"),
                    set(re.findall(r"{{(\w+)}}", target["legendFormat"])),
                )
            )
    return found


def test_each_rule_fires_on_what_it_is_for_and_on_nothing_else() -> None:
    """As `promtool` judges made-up series: one run that is well, one with everything wrong, one that is gone."""
    promtool("check", "rules", RULES)
    promtool("test", "rules", ROOT / "tests" / "golden" / "prometheus_rules.yaml")
    tested = (ROOT / "tests" / "golden" / "prometheus_rules.yaml").read_text("utf-8")
    named = re.findall(r"- alert: (\w+)", RULES.read_text("utf-8"))
    assert len(named) > 8
    assert [name for name in named if f'alertname="{name}"' not in tested] == []


def test_rules_are_documented() -> None:
    """Each by its name, and no other."""
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert sorted(set(re.findall(r"`(Tapewatch\w+)`", text))) == sorted(
        re.findall(r"- alert: (\w+)", RULES.read_text("utf-8"))
    )


def test_what_rules_and_dashboard_ask_for_is_served_by_a_run(tmp_path: Path) -> None:
    """Each metric is in the scrape; each query, put to a Prometheus, has an answer with the labels that are shown."""
    program("prometheus")
    options = ("--synthetic", "3", "--symbols", ",".join(SYMBOLS), "--speed", "2000")
    with simulated(tmp_path, *options) as exchange:
        account = {"account": "perpetual", "cash": 10_000}
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), alerts=UNASKED, paper=account)
        with running(tmp_path) as run:
            url = health_url(run)
            eventually(lambda: re.search('outcome="sent"} [1-9]', fetch(f"{url}/metrics")[1]))
            served = names(fetch(f"{url}/metrics")[1])
            asked = set(re.findall(r"\b(?:tapewatch|process|python)_\w+", RULES.read_text("utf-8") + str(queries())))
            assert len(asked) > 25
            assert asked - served == set()
            with prometheus(tmp_path, url.removeprefix("http://")) as ask:
                eventually(lambda: ask('up{job="tapewatch"} == 1'))
                for title, query, labels in queries():
                    if any(name in query for name in QUIET):
                        ask(query)
                        continue
                    answer = eventually(lambda: ask(query))  # noqa: B023
                    assert labels <= set(answer[0]["metric"]), title


def names(scrape: str) -> set[str]:
    """Of all samples, and of metrics that have none yet."""
    found = set()
    for family in text_string_to_metric_families(scrape):
        found |= {sample.name for sample in family.samples}
        found.add(family.name + ("_total" if family.type == "counter" else ""))
    return found


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Any]:
    """A Prometheus that scrapes a run, and a function that puts a query to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder / "prometheus.yaml"
    config.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: ['{RULES}']\n"
        f"scrape_configs: [{{job_name: tapewatch, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    words = [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'series'}"]
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen([*words, f"--web.listen-address={address}"], stdout=log, stderr=log)

    def ask(query: str) -> list[dict[str, Any]]:
        status, text = fetch(f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
        assert status == 200, (query, text)
        found: list[dict[str, Any]] = json.loads(text)["data"]["result"]
        return found

    def answers() -> bool:
        assert server.poll() is None, (folder / "prometheus.log").read_text()
        try:
            return fetch(f"http://{address}/-/ready")[0] == 200
        except OSError:
            return False

    try:
        eventually(answers)
        yield ask
    finally:
        server.kill()
        server.wait(60)
