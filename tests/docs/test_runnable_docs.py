"""What the pages say can be typed in, can: shell blocks run and print what is shown, YAML blocks load.

A block marked `sh` is run with the others of its page, in order, by one shell in an empty folder. `sh data` needs real
candles, `sh no-run: why` is not run. `text said` (`text said data`) is printed by them, line by line. Ports 9000 and
8080 are replaced by free ones, so that nothing else is met.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import jsonschema
import pytest
from markdown_pages import DOCS, PAGES, Block, blocks

from run_harness import free_port
from tapewatch import strategies
from tapewatch.config import load
from tapewatch.config.documents import read
from tapewatch.simulator import load_faults, load_plants

#: Of a page that hangs; a busy machine takes long for one with many commands.
LIMIT_S = 240
#: Pages find what is compiled already: their own home is empty.
COMPILED = str(Path.home() / ".cache" / "tapewatch")
SHELL = {page: [block for block in blocks(page) if block.language == "sh"] for page in PAGES}
YAML = [(page, block) for page in PAGES for block in blocks(page) if block.language == "yaml"]


def run(page: Path, mark: str, folder: Path) -> None:
    """Run the page's blocks of this mark; what its `text said` blocks show must be printed."""
    market, web = str(free_port()), str(free_port())
    script = "set -euo pipefail\ntrap 'echo \"failed: the block at line $BLOCK\" >&2' ERR\n"
    for block in SHELL[page]:
        if block.mark == mark:
            script += f"BLOCK={block.line}\n" + block.text.replace("9000", market).replace("8080", web)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TAPEWATCH__", "COV_"))}
    environment = kept | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TAPEWATCH_CACHE_DIR": kept.get("TAPEWATCH_CACHE_DIR", COMPILED),
        "TAPEWATCH__WEB__PORT": web,
    }
    said = folder / ".said"
    with said.open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code: int | str = shell.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            code = f"nothing after {LIMIT_S} s"
        finally:
            with suppress(ProcessLookupError):  # what the page left running
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    text = said.read_text("utf-8")
    assert code == 0, f"{page.name}: {code}\n{text[-3000:]}"
    for block in blocks(page):
        if block.language == "text" and block.mark == f"said {mark}".rstrip():
            assert block.text in text, f"line {block.line}: something else was said\n{text[-3000:]}"


def with_mark(mark: str) -> list[Path]:
    """The pages that have such a block."""
    return [page for page, found in SHELL.items() if any(block.mark == mark for block in found)]


@pytest.mark.slow
@pytest.mark.parametrize("page", with_mark(""), ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path) -> None:
    """In order, from an empty folder, without the outside world."""
    run(page, "", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", with_mark("data"), ids=lambda page: page.name)
def test_the_commands_on_real_candles_run(page: Path, tmp_path: Path, market_data: Path) -> None:
    """`candles` of the page is a folder of recorded candles."""
    (tmp_path / "candles").symlink_to(market_data / "candles" / "long-1m")
    run(page, "data", tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_block_that_is_not_run_says_why(page: Path) -> None:
    """Marks are few and known."""
    for block in SHELL[page]:
        assert block.mark in {"", "data"} or block.mark.startswith("no-run: "), f"line {block.line}: {block.mark!r}"
    for block in blocks(page):
        assert block.language in {"sh", "yaml", "text", "json", "python"}, f"line {block.line}: {block.language!r}"


def load_configuration(path: Path) -> object:
    """As `check` reads it."""
    secrets = {
        "MAIL_PASSWORD": "x",
        "DISCORD_WEBHOOK_URL": "https://discord.com/api/webhooks/1/a",
        "TELEGRAM_TOKEN": "1:a",
        "WEBHOOK_URL": "https://example.com/1",
        "WEBHOOK_SECRET": "x",
        "WEBHOOK_TOKEN": "x",
        "APPRISE_URLS": "json://localhost",
        "HEARTBEAT_URL": "https://example.com/1",
        "LEDGER_PASSWORD": "x",
    }
    return load([path], secrets, compile_strategy=lambda name, mapping: strategies.configured({name: mapping}))


LOADERS: dict[str, Callable[[Path], object]] = {
    "config": load_configuration,
    "strategy": lambda path: strategies.load(str(path)),
    "faults": load_faults,
    "plants": load_plants,
}


CONFIGURATIONS = [(page, block) for page, block in YAML if block.mark == "config"]


@pytest.mark.parametrize(
    ("page", "block"), CONFIGURATIONS, ids=[f"{page.name}:{block.line}" for page, block in CONFIGURATIONS]
)
def test_a_configuration_fits_the_published_schema(page: Path, block: Block, tmp_path: Path) -> None:
    """As an editor looks at it, before variables are there."""
    path = tmp_path / "config.yaml"
    path.write_text(block.text, "utf-8")
    schema = json.loads((DOCS / "config.schema.json").read_text("utf-8"))
    jsonschema.validate(read(path)[0].data, schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(("page", "block"), YAML, ids=[f"{page.name}:{block.line}" for page, block in YAML])
def test_a_yaml_block_is_accepted(page: Path, block: Block, tmp_path: Path) -> None:
    """Each says what it is: a configuration, a strategy, a script."""
    path = tmp_path / f"{block.mark}.yaml"
    path.write_text(block.text, "utf-8")
    assert LOADERS[block.mark](path)
