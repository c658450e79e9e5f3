"""A `tapewatch` command as a process of its own, for tests that serve or watch it meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def command(*arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """`tapewatch ARGUMENTS` as a process, ended afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tapewatch", *map(str, arguments),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "error", "COLUMNS": "200"},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ran(*arguments: object) -> tuple[int, list[Any], str]:
    """Run it with --json: exit code, lines of stdout, stderr."""
    async with command(*arguments, "--json") as process, asyncio.timeout(120):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()
