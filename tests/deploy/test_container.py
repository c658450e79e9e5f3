"""The container's recipe and the services around it: what they promise, and their steps done without an engine."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chroots import STUBS, Machine, machine, missing
from packages import ROOT, stand_in
from ruamel.yaml import YAML

from run_harness import eventually
from tapewatch import __version__
from tapewatch.config import load

FOLDER = ROOT / "deploy" / "container"
SERVICES: dict[str, dict[str, Any]] = YAML(typ="safe").load(FOLDER / "compose.yaml")["services"]


def instructions() -> list[tuple[str, str]]:
    """The recipe's steps: (instruction, what follows on it)."""
    text = re.sub(r"(?m)^#.*\n", "", (FOLDER / "Dockerfile").read_text("utf-8")).replace("\\\n", " ")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in text.splitlines() if line]


def last(name: str) -> str:
    """What the last instruction of this name says: that of the image which is run."""
    return [rest for found, rest in instructions() if found == name][-1]


def test_images_are_pinned_and_come_from_no_named_host() -> None:
    """Each by a whole version, the recipe's own stages by one."""
    images = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    assert len(images) == 2
    assert len(set(images)) == 1
    for image in [*images, *(one["image"] for one in SERVICES.values())]:
        path, _, tag = image.partition(":")
        assert re.match(r"v?\d+\.\d+(\.\d+)?(-\w+)*$", tag), image
        assert "." not in path.split("/")[0], image


@pytest.mark.parametrize(
    "path", [*FOLDER.rglob("*.yaml"), *(ROOT / "deploy" / "config").glob("*.yaml")], ids=lambda path: path.name
)
def test_every_file_is_tidy_yaml(path: Path) -> None:
    """One document without a key that is there twice, tabs, spaces at the ends or lines beyond 120."""
    text = path.read_text("utf-8")
    assert YAML(typ="safe").load(text)
    assert "\t" not in text
    assert text.endswith("\n")
    assert [line for line in text.splitlines() if len(line) > 120 or line != line.rstrip()] == []


def test_the_recipe_has_no_flaw_that_is_known() -> None:
    """What linters of recipes ask: whole paths, commands as lists, no caches, nothing that is added from elsewhere."""
    names = [name for name, _ in instructions()]
    assert not {"ADD", "MAINTAINER", "ONBUILD"} & set(names)
    for name, rest in instructions():
        if name == "WORKDIR":
            assert rest.startswith("/")
        if name in {"ENTRYPOINT", "CMD"}:
            assert isinstance(json.loads(rest), list)
        if name == "RUN" and "pip install" in rest:
            assert "--no-cache-dir" in rest
            assert "--require-hashes" in rest or "--no-deps" in rest
        assert "sudo " not in rest
        assert "apt-get" not in rest  # what is installed is what is pinned


def test_what_runs_has_no_rights_and_is_looked_at_every_minute() -> None:
    """A user of its own after all that needs root; the check asks /livez, which an absent exchange does not fail."""
    names = [name for name, _ in instructions()]
    user = len(names) - 1 - names[::-1].index("USER")
    assert last("USER") == "tapewatch"
    assert not {"RUN", "COPY"} & set(names[user:])
    assert "--interval=60s" in last("HEALTHCHECK")
    assert "/livez" in last("HEALTHCHECK")
    assert json.loads(last("ENTRYPOINT")) + json.loads(last("CMD"))[:1] == ["tapewatch", "run"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_limited(name: str) -> None:
    """Memory, processes, rights, a root that is read only, logs that are rotated; open to this machine at most."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "always"
    assert {"mem_limit", "pids_limit"} <= set(service)
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_every_file_and_volume_that_is_mounted_is_there() -> None:
    """Files beside the compose file, volumes that it names, all of them used."""
    declared = set(YAML(typ="safe").load(FOLDER / "compose.yaml")["volumes"])
    sources = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    files = {source for source in sources if source.startswith(".")}
    assert sources - files == declared
    assert [source for source in files if not (FOLDER / source).resolve().is_file()] == []


def test_a_network_is_shared_with_what_never_restarts() -> None:
    """Whoever shares another's network loses it when that restarts: a service that only sleeps has it."""
    shared = {name: one["network_mode"] for name, one in SERVICES.items() if "network_mode" in one}
    assert set(SERVICES) - set(shared) == {"network"}
    assert shared.pop("postgres") == "none"
    assert set(shared.values()) == {"service:network"}
    assert SERVICES["network"]["entrypoint"][0] == "sleep"


def inside(service: str) -> set[str]:
    """Where in a service's container something is mounted."""
    return {volume.split(":")[1] for volume in SERVICES[service]["volumes"]}


def test_prometheus_and_grafana_find_what_is_mounted_for_them() -> None:
    """Rules and dashboard, and the job that both ask for."""
    prometheus = YAML(typ="safe").load(FOLDER / "prometheus.yaml")
    assert set(prometheus["rule_files"]) <= inside("prometheus")
    (job,) = prometheus["scrape_configs"]
    assert f'job="{job["job_name"]}"' in (ROOT / "deploy" / "prometheus" / "rules.yaml").read_text("utf-8")
    (provider,) = YAML(typ="safe").load(FOLDER / "grafana" / "dashboards.yaml")["providers"]
    assert f"{provider['options']['path']}/tapewatch.json" in inside("grafana")
    (source,) = YAML(typ="safe").load(FOLDER / "grafana" / "datasources.yaml")["datasources"]
    assert f"--web.listen-address={source['url'].removeprefix('http://')}" in SERVICES["prometheus"]["command"]


def test_the_configuration_that_is_mounted_fits_the_services() -> None:
    """With the environment of its service: the ledger's socket and every folder is in a volume."""
    service = SERVICES["tapewatch"]
    config = load([ROOT / "deploy" / "config" / "tapewatch.yaml"], service["environment"])
    mounted = inside("tapewatch")
    assert str(config.journal_folder.parent) in mounted
    assert config.logging.file is not None
    assert str(config.logging.file.parent) in mounted
    assert config.ledger.url.partition("host=")[2] in mounted
    assert "ledger_socket:" + config.ledger.url.partition("host=")[2] in SERVICES["postgres"]["volumes"]
    assert {SERVICES[name]["image"] for name in ("network", "tapewatch")} == {f"tapewatch:{__version__}"}
    assert service["environment"]["CREDENTIALS_DIRECTORY"] == "/run/secrets"  # where engines put them
    assert f":{config.web.port}/livez" in last("HEALTHCHECK")
    scrape = YAML(typ="safe").load(FOLDER / "prometheus.yaml")["scrape_configs"][0]
    assert scrape["static_configs"][0]["targets"] == [f"{config.web.host}:{config.web.port}"]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Machine]:
    """A machine with a Python; skipped by name where there can be none."""
    if (why := missing()) is not None:
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    python = stand_in(tmp_path)
    with machine(tmp_path) as one:
        for folder in python.parents:
            one.must(f"chmod go+x {folder}")
        one.must(f"mkdir {STUBS} && cp {python} {STUBS}/python")
        yield one


def done(box: Machine) -> tuple[str, str]:
    """Every step of the recipe done on a machine; what comes before a command there, and what is run."""
    where, variables, user = "/", "", "root"
    for name, rest in instructions():
        words = [word for word in rest.split() if not word.startswith("--")]
        match name:
            case "RUN":
                box.must(f"cd {where} && {rest}")
            case "COPY" if not rest.startswith("--from"):  # all stages are one machine here
                to = words.pop()
                found = [f"{word}/." if (ROOT / word).is_dir() else word for word in words]
                box.must(f"mkdir -p {to} && cd {ROOT} && cp -R {' '.join(found)} {to}")
            case "WORKDIR":
                where = rest
                box.must(f"mkdir -p {where}")
            case "ENV":
                variables = rest
            case "USER":
                user = rest
    command = shlex.join([*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))])
    return f"cd {where} && runuser -u {user} -- env {variables}", command


@pytest.mark.slow
def test_the_steps_of_the_recipe_lead_to_what_runs_and_is_healthy(box: Machine, tmp_path: Path) -> None:
    """What the image starts does start, as its user, and the health check passes then and only then."""
    before, command = done(box)
    check = f"{before} {shlex.join(json.loads(last('HEALTHCHECK').partition('CMD ')[2]))}"
    box.must("ip link set lo up")
    assert box.run(check)[0] != 0
    box.must(f"({before} {command} > /root/log 2>&1 & echo $! > /root/pid)")
    eventually(lambda: box.run(check)[0] == 0 or box.run("kill -0 $(cat /root/pid)")[0] != 0, every_s=0.5)
    assert box.run(check)[0] == 0, box.must("cat /root/log")
    assert box.must("ps -o user= -C tapewatch | sort -u") == "tapewatch"
