"""An upgrade in the middle of things, and the way back: open positions, alerts that were not delivered."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chroots import Machine
from packages import ROOT
from releases import AS_USER, BACKUPS, CONFIG, LATER, SCRIPT, STATE, script
from ruamel.yaml import YAML

from ledger_rows import left_behind
from postgres_server import programs
from run_harness import MINUTE_MS, archive, eventually
from tapewatch.store.schema import REVISION

SYMBOL = "BTCUSDT"
#: The last bar of the version that was killed opened here; the next one comes back ten minutes later.
BACK_MS = 1_748_911_500_000 + 10 * MINUTE_MS
URL = "127.0.0.1:9000"
ASK = "import json, sqlite3, sys; print(json.dumps(sqlite3.connect(sys.argv[1], 10).execute(sys.argv[2]).fetchall()))"


def rows(box: Machine, text: str) -> list[list[Any]]:
    """Of the ledger as it is."""
    words = shlex.join(["/opt/tapewatch/current/bin/python", "-c", ASK, f"{STATE}/tapewatch.db", text])
    found: list[list[Any]] = json.loads(box.must(f"cd / && runuser -u tapewatch -- {words}"))
    return found


def delivered(box: Machine) -> Counter[str]:
    """How often each message came to the file that stands for the mail server."""
    lines = box.must(f"cat {STATE}/mail.jsonl").splitlines()
    return Counter(json.loads(line)["message_id"] for line in lines)


def mid_way(box: Machine, folder: Path) -> None:
    """On the machine: what a version with tables of revision 0004 left when it was killed, and an exchange."""
    left_behind(folder)
    path = folder / "tapewatch.yaml"
    settings = YAML().load(path.read_text())
    del settings["paper"]["funding_url"]
    settings["exchange"] |= {"rest_url": f"http://{URL}", "ws_url": f"ws://{URL}", "futures_url": f"http://{URL}"}
    settings["channels"]["mail"] = {"type": "file", "path": f"{STATE}/mail.jsonl"}
    settings["channels"]["out"]["path"] = f"{STATE}/alerts.jsonl"
    settings["ledger"]["url"] = f"sqlite:///{STATE}/tapewatch.db"
    with path.open("w") as file:
        YAML().dump(settings, file)
    box.must(f"cp -R {folder}/tapewatch.db {folder}/tapewatch.db.journal {STATE} && cat {path} > {CONFIG}")
    box.must(f"chown -R tapewatch: {STATE} && touch {STATE}/mail.jsonl && chown tapewatch: {STATE}/mail.jsonl")


def begin(box: Machine, name: str, command: str) -> None:
    """A command that goes on."""
    box.must(f"({command} > /root/{name}.log 2>&1 & echo $! > /root/{name}.pid)")


def end(box: Machine, name: str) -> None:
    """It is asked to end, and has."""
    box.must(f"kill $(cat /root/{name}.pid)")
    eventually(lambda: box.run(f"kill -0 $(cat /root/{name}.pid)")[0] != 0)


def alive(box: Machine) -> bool:
    """Whether the run is on."""
    return box.run("kill -0 $(cat /root/run.pid)")[0] == 0


def played(box: Machine, root: Path, held: str) -> None:
    """The service's run on an exchange that goes on from then, until the position is closed and nothing waits."""
    options = f"--data {root} --start {BACK_MS} --at-end hold --speed 600 --port {URL.partition(':')[2]}"
    begin(box, "exchange", f"PYTHONPATH={ROOT}/src exec {sys.executable} -m tapewatch simulate {options}")
    begin(box, "run", f"cd / && exec setpriv --reuid tapewatch --regid tapewatch --init-groups "
          f"/opt/tapewatch/current/bin/tapewatch run -c {CONFIG}")  # fmt: skip
    over = (
        f"SELECT (SELECT count(*) FROM trades WHERE trade_id = '{held}' AND state = 'closed'), "
        "(SELECT count(*) FROM messages WHERE state IN ('queued', 'sending'))"
    )
    eventually(lambda: rows(box, over) == [[1, 0]] or not alive(box), every_s=0.5)
    assert alive(box), box.must("cat /root/run.log")
    end(box, "run")
    end(box, "exchange")


@pytest.mark.slow
def test_open_positions_and_undelivered_alerts_go_there_and_back(box: Machine, place: Path, tmp_path: Path) -> None:
    """The later version goes on with what the earlier one left; the earlier one then does so again, from where it was.

    What was delivered between is delivered once more: the ledger that is restored does not know of it.
    """
    root, _ = archive(tmp_path, (SYMBOL,), hours=26)
    box.must("ip link set lo up")
    box.must(script(place, "install", "1.0.0"))
    mid_way(box, tmp_path / "left")
    waiting = {one for (one,) in rows(box, "SELECT message_id FROM messages WHERE state = 'queued'")}
    ((held,),) = rows(box, "SELECT trade_id FROM trades WHERE state = 'open'")
    assert len(waiting) > 5

    box.must(script(place, "upgrade", "1.1.0"))
    played(box, root, held)
    assert rows(box, "SELECT version_num FROM alembic_version") == [[LATER]]
    once = delivered(box)
    assert waiting <= set(once)
    assert set(once.values()) == {1}
    fills = rows(box, f"SELECT number, price, reason FROM fills WHERE trade_id = '{held}' ORDER BY number")
    assert [fill[2] for fill in fills][-1] == "stop"

    code, said = box.run(f"{SCRIPT} rollback")
    assert (code, "--restore" in said) == (1, True)
    assert "may be alerted again" in box.must(f"{SCRIPT} rollback --restore")
    assert "1.0.0" in box.must(f"{AS_USER} --version")
    assert rows(box, "SELECT version_num FROM alembic_version") == [["0004"]]
    assert waiting == {one for (one,) in rows(box, "SELECT message_id FROM messages WHERE state = 'queued'")}
    assert rows(box, "SELECT trade_id FROM trades WHERE state = 'open'") == [[held]]

    played(box, root, held)
    assert rows(box, "SELECT version_num FROM alembic_version") == [[REVISION]]
    again = delivered(box)
    assert {again[one] for one in waiting} == {2}
    assert rows(box, f"SELECT number, price, reason FROM fills WHERE trade_id = '{held}' ORDER BY number") == fills
    assert len(box.must(f"ls -d {BACKUPS}/tapewatch-*").split()) == 2


@pytest.mark.slow
def test_a_ledger_on_a_server_is_saved_and_put_back(box: Machine, place: Path) -> None:
    """As one in a file is: by the upgrade itself, and by the rollback."""
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed")
    box.must("install -d -o postgres /run/pg")
    box.must(
        f"cd / && runuser -u postgres -- {folder}/initdb -D /run/pg/data -A trust -E SQL_ASCII --locale=C --no-sync"
    )
    options = "-c listen_addresses= -c fsync=off -k /run/pg"
    box.must(f"cd / && runuser -u postgres -- {folder}/pg_ctl -D /run/pg/data -o '{options}' -l /run/pg/log -w start")
    try:
        box.must("cd / && runuser -u postgres -- psql -h /run/pg -c 'CREATE DATABASE tapewatch'")
        box.must(script(place, "install", "1.0.0"))
        url = "postgresql://postgres@/tapewatch?host=/run/pg"
        box.must(f"sed -i 's|^ledger:.*|ledger: {{url: \"{url}\", folder: {STATE}}}|' {CONFIG}")
        box.must(f"{AS_USER} db upgrade -c {CONFIG}")
        box.must(script(place, "upgrade", "1.1.0"))
        box.must(f"{AS_USER} db upgrade -c {CONFIG}")
        asked = "cd / && runuser -u postgres -- psql -h /run/pg -At -d tapewatch -c"
        assert box.must(f"{asked} 'SELECT version_num FROM alembic_version'") == LATER
        code, said = box.run(f"{SCRIPT} rollback")
        assert (code, "--restore" in said) == (1, True)
        box.must(f"{SCRIPT} rollback --restore")
        assert box.must(f"{asked} 'SELECT version_num FROM alembic_version'") == REVISION
        assert box.run(f"{asked} 'SELECT later FROM alerts'")[0] != 0
        box.must(f"{AS_USER} db info -c {CONFIG}")
    finally:
        box.run(f"cd / && runuser -u postgres -- {folder}/pg_ctl -D /run/pg/data -m immediate stop")
