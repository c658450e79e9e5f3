"""What `check --connect` finds wrong with an exchange, a ledger, disks and the machine: each tried for real."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web
from check_exchange import clock, config_of, exchange, listed
from proxies import Greeting, http, proxied, socks5

from forked import unmeasured
from mail_server import HOST, Authority
from run_harness import COMMAND, PATIENCE_S
from tapewatch.cli import probe_exchange, probe_machine, probe_places
from tapewatch.cli.finding import Finding
from tapewatch.cli.probes import connect
from tapewatch.config import Config
from tapewatch.store import Ledger
from tapewatch.store.database import Database
from tapewatch.store.lease import Lease
from tapewatch.store.schema import REVISION


async def found(config: Config, check: str, target: str | None = None) -> Finding:
    """The first finding of this kind, about this target."""
    return next(one for one in await connect(config) if one.check == check and target in (None, one.target))


# The exchange.


async def test_an_exchange_that_works_is_measured(tmp_path: Path) -> None:
    """Clock, latency, first data, weight and streams, each with what it is judged by."""
    async with exchange(clock()) as address:
        every = {one.check: one for one in await connect(config_of(tmp_path, address))}
    for check in ("exchange", "latency", "stream", "weight", "start", "streams"):
        assert every[check].status == "pass", every[check]
        assert every[check].value is not None
        assert every[check].limit is not None
        assert every[check].unit
    assert (every["weight"].value, every["weight"].limit) == (7, 6_000)
    assert every["streams"].value == 2  # of the symbol, and the tickers


async def test_a_long_way_is_no_wrong_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is old when it arrives says nothing against the clock; that it takes long is a warning."""
    monkeypatch.setattr(probe_exchange, "SKEW_WARN_MS", 20)
    monkeypatch.setattr(probe_exchange, "LATENCY_WARN_MS", 100)
    async with exchange(clock(), delay_s=0.15) as address:
        far = [one for one in await connect(config_of(tmp_path, address)) if one.check in ("exchange", "latency")]
    assert [one.status for one in far] == ["pass", "warn"], far
    async with exchange(clock(60_000), delay_s=0.15) as address:
        assert (await found(config_of(tmp_path, address), "exchange")).status == "warn"


@pytest.mark.parametrize(
    ("stream", "says"), [("none", "404"), ("acknowledged", "brought no data within 2 s"), ("data", "the first data")]
)
async def test_a_stream_has_to_bring_data(tmp_path: Path, stream: str, says: str) -> None:
    """One that is not there, or only acknowledges, fails."""
    within = "2s" if stream == "acknowledged" else "20s"
    async with exchange(clock(), stream=stream) as address:
        one = await found(config_of(tmp_path, address, within=within), "stream")
    assert one.status == ("pass" if stream == "data" else "fail")
    assert says in (one.detail or "")


async def test_limits_of_the_exchange(tmp_path: Path) -> None:
    """Weight that others have used is a warning, more streams than connections can carry fail."""
    many = listed(*(f"A{number}USDT" for number in range(50)))
    whole = "universe: {include: ['*']}\nfeeds: {streams_per_connection: 1, connection_attempts: 50}"
    async with exchange(clock(), used=3_001, info=lambda: web.json_response(many)) as address:
        every = {one.check: one for one in await connect(config_of(tmp_path, address, whole))}
    assert (every["weight"].status, every["weight"].value) == ("warn", 3_001)
    assert (every["streams"].status, every["streams"].value) == ("fail", 51)
    assert every["start"].limit == 3_000


@pytest.mark.parametrize("answer", [{"status": 429}, {"text": "<html>"}, {"text": "[]"}, {"text": '{"symbols": []}'}])
async def test_limits_that_are_not_told(tmp_path: Path, answer: dict[str, object]) -> None:
    """A warning in words: a run assumes some, and goes on."""
    async with exchange(clock(), info=lambda: web.Response(**answer)) as address:  # type: ignore[arg-type]
        one = await found(config_of(tmp_path, address), "weight")
    assert one.status == "warn"
    assert "limit" in (one.detail or "")


async def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    """REST and stream refuse it, and take it with its authority."""
    authority = Authority(tmp_path)
    async with exchange(clock(), context=authority.server_context(HOST)) as address:
        known = f", ca_file: {authority.file}"
        trusted = {one.check: one for one in await connect(config_of(tmp_path, address, tls=known))}
        refused = await found(config_of(tmp_path, address, tls=", rest_hosts: []"), "exchange")
        ws_only = config_of(tmp_path, address, tls=known)
        stranger = ws_only.model_copy(update={"exchange": ws_only.exchange.model_copy(update={"ca_file": None})})
        (stream,) = await probe_exchange._stream(_settings(stranger), simulated=False)
    assert (trusted["exchange"].status, trusted["stream"].status) == ("pass", "pass")
    assert (refused.status, stream.status) == ("fail", "fail")
    assert all("certificate" in (one.detail or "").lower() for one in (refused, stream))


def _settings(config: Config) -> object:
    from tapewatch.live.feeds import feed_settings

    return feed_settings(config)


async def test_hosts_that_are_needed_now_and_then(tmp_path: Path) -> None:
    """One that cannot be reached is a warning, whatever the first one does."""
    async with exchange(clock()) as address:
        more = f', rest_hosts: ["http://{address}", "http://127.0.0.1:1"], futures_url: "http://127.0.0.1:1"'
        config = config_of(tmp_path, address)
        path = tmp_path / "t.yaml"
        path.write_text(path.read_text().replace("}\nuniverse", f"{more}}}\nuniverse"))
        from tapewatch.config import load

        config = load([path], {})
        hosts = [one for one in await connect(config) if one.check == "further host"]
    assert [one.status for one in hosts] == ["pass", "warn", "warn"]


async def test_nothing_is_waited_for_for_ever(tmp_path: Path) -> None:
    """A host that takes connections and says nothing; a trial that hangs in spite of its own time-outs."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        config = config_of(tmp_path, f"127.0.0.1:{silent.getsockname()[1]}", within="500ms")
        assert (await found(config, "exchange")).detail == "no answer within 0.5 s"
        (cut,) = [one for one in await connect(config, longest_s=0.05) if one.check == "exchange"]
    assert (cut.status, cut.detail) == ("fail", "no outcome within 0.05 s")


async def test_what_nobody_thought_of_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that meets it has failed, the others go on, and no secret is in what is said."""

    def broken(_folder: Path) -> float:
        raise ValueError("no\nsuch http://user:hunter2@host, correct-horse-42")

    monkeypatch.setattr(probe_places, "sync_ms", broken)
    mail = "channels: {m: {type: email, host: h, user: u, password: '${WRONG}', sender: a@b.c, recipients: [a@b.c]}}"
    every = await connect(config_of(tmp_path, more=mail), longest_s=5)
    (one,) = (one for one in every if one.check == "disk")
    assert (one.status, one.detail) == ("fail", "ValueError: no such http://host, ***")
    assert {"exchange", "version", "channel"} <= {other.check for other in every}


# The ledger.


async def test_a_ledger_that_is_there(tmp_path: Path, ledger_url: str) -> None:
    """How long a write takes, server and revision, and who has it."""
    Ledger.open(ledger_url).close()
    config = config_of(tmp_path, more=f"ledger: {{url: '{ledger_url}', folder: '{tmp_path}'}}")
    database = Database(ledger_url, create=False, busy_timeout_ms=1_000)
    lease = Lease.take(database, "scanner")
    assert lease is not None
    every = await connect(config)
    lease.release()
    (written,) = (one for one in every if one.check == "ledger")
    assert (written.status, written.unit) == ("pass", "ms")
    assert float(written.value or 0) > 0
    (server,) = (one for one in every if (one.check, one.target) == ("version", "ledger"))
    assert str(server.value).startswith("PostgreSQL 1" if ledger_url.startswith("postgresql") else "SQLite 3.")
    rights = {one.target: one.value for one in every if one.check == "lease"}
    assert rights.pop("scanner") == f"process {os.getpid()} on {socket.gethostname()}"
    assert set(rights.values()) == {"free"}
    assert await revision(config) == ("pass", REVISION)
    for stored, status in (("0004", "warn"), ("9999", "fail")):
        with database.write() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{stored}'")
        assert await revision(config) == (status, stored)
    database.close()


async def revision(config: Config) -> tuple[str, object]:
    """What is said of the tables."""
    one = await found(config, "revision")
    return one.status, one.value


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """It fails in words, without the password."""
    url = "postgresql://tapewatch@127.0.0.1:1/tapewatch"
    more = f"ledger: {{url: '{url}', folder: '{tmp_path}', password: '${{WRONG}}'}}"
    one = await found(config_of(tmp_path, more=more), "ledger")
    assert one.status == "fail"
    assert "cannot be reached" in (one.detail or "")
    assert "correct-horse-42" not in str(one)


# Folders, disks and limits, in a process of its own.


def checked(
    folder: Path, before: str = ":", bound: Sequence[str] = ()
) -> tuple[int, dict[str, list[dict[str, object]]], str]:
    """Exit code, lines by what was looked at, and stderr of `check --connect` after a shell's commands."""
    words = [*bound, "bash", "-c", f'{before}; exec "$@"', "bash", *COMMAND]
    done = subprocess.run(
        [*words, "check", "-c", str(folder / "t.yaml"), "--connect", "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=unmeasured(),  # coverage could not write what it saw
    )
    lines: dict[str, list[dict[str, object]]] = {}
    for line in map(json.loads, done.stdout.splitlines()):
        lines.setdefault(line["check"], []).append(line)
    return done.returncode, lines, done.stderr


async def test_limits_of_the_process(tmp_path: Path) -> None:
    """Files that may be open, and how large one may grow."""
    async with exchange(clock()) as address:
        config = config_of(tmp_path, address)
        needed = probe_machine.files_needed(config)
        tight = await asyncio.to_thread(checked, tmp_path, f"ulimit -n {needed + 1}")
        few = await asyncio.to_thread(checked, tmp_path, f"ulimit -n {needed - 1}; ulimit -f 2")
    assert (tight[0], tight[1]["open files"][0]["status"]) == (0, "warn")
    assert "file size" not in tight[1]
    assert few[0] == 1
    assert [few[1][name][0]["status"] for name in ("open files", "file size", "write")] == ["fail"] * 3
    assert "File too large" in str(few[1]["write"])
    assert few[2] == ""


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A small one, to the last byte; skipped by name where none can be mounted."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        assert not os.environ.get("CI"), "no file system can be mounted"
        pytest.skip("no file system can be mounted")
    small = tmp_path / "small"
    small.mkdir()
    config_of(tmp_path, more="ledger: {url: 'sqlite:///small/tapewatch.db'}")
    fill = f"mount -t tmpfs -o size=64k tmpfs {small} && head -c 64K /dev/zero > {small}/fill"
    code, lines, err = checked(tmp_path, fill, bound=("unshare", "--mount"))
    assert (code, err) == (1, "")
    assert (lines["disk"][0]["status"], lines["disk"][0]["value"]) == ("fail", 0)
    assert (lines["write"][0]["status"], lines["write"][0]["target"]) == ("fail", str(small))
    assert "No space left" in str(lines["write"])


#: Somebody else. Root without the right to pass over permissions stands for a user who is not root.
NOBODY = 65_534
BOUND = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")


def test_folders_that_somebody_else_has(tmp_path: Path) -> None:
    """What may not be written fails, what may not even be seen too, and nothing is made."""
    if os.geteuid() != 0 or shutil.which(BOUND[0]) is None:
        pytest.skip("only root can give folders to somebody else, and setpriv is needed")
    (tmp_path / "hidden" / "journal").mkdir(parents=True)
    config_of(tmp_path, more=f"journal: {{folder: '{tmp_path}/hidden/journal'}}\nlogging: {{file: run.log}}")
    (tmp_path / "t.yaml").chmod(0o644)
    for folder, mode in ((tmp_path / "hidden", 0o700), (tmp_path, 0o755)):
        os.chown(folder, NOBODY, NOBODY)
        folder.chmod(mode)
    code, lines, err = checked(tmp_path, bound=BOUND)
    assert (code, err) == (1, "")
    for name in ("folder", "disk"):
        assert "hidden/journal" in str(lines[name])
        assert "Permission denied" in str(lines[name])
    (tmp_path / "t.yaml").write_text((tmp_path / "t.yaml").read_text().replace("hidden/journal", "journal"))
    _, lines, _ = checked(tmp_path, bound=BOUND)
    for name in ("ledger", "journal", "archive", "log file"):
        assert lines[name][-1]["status"] == "fail"
        assert f"{tmp_path} may not be written by this user" in str(lines[name][-1]["detail"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hidden", "t.yaml"]


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Neither in the folder of the ledger, nor in it."""
    Ledger.open(f"sqlite:///{tmp_path}/tapewatch.db").close()
    config = config_of(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix == ".db"}
    asyncio.run(connect(config))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix == ".db"} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.yaml", "tapewatch.db"]


def permitted(config: Config) -> Finding:
    """What is said of who may change the configuration."""
    return probe_places.permissions(config)[0]


def test_a_configuration_that_everybody_may_change(tmp_path: Path) -> None:
    """By itself or by its folder: it says what to do."""
    config = config_of(tmp_path)
    tmp_path.chmod(0o755)
    assert permitted(config).status == "pass"
    (tmp_path / "t.yaml").chmod(0o666)
    one = permitted(config)
    assert (one.status, one.target) == ("warn", str(tmp_path / "t.yaml"))
    assert "chmod o-w" in (one.detail or "")
    (tmp_path / "t.yaml").chmod(0o600)
    tmp_path.chmod(0o777)
    assert permitted(config).status == "warn"
    tmp_path.chmod(0o1777)
    assert permitted(config).status == "pass"


def test_root_in_somebody_elses_folder(tmp_path: Path) -> None:
    """What it made there, the service could not write: it says as whom to run."""
    if os.geteuid() != 0:
        pytest.skip("only root is root")
    tmp_path.chmod(0o755)
    config = config_of(tmp_path)
    os.chown(tmp_path, NOBODY, NOBODY)
    assert "runuser -u nobody" in (permitted(config).detail or "")
    os.chown(tmp_path, 0, 0)
    assert permitted(config).status == "pass"


# The machine.


async def test_versions_and_what_is_needed_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each version is told; a package that is missing, or a SQLite that is too old, fails."""
    more = "channels: {a: {type: apprise, url: '${URLS}'}}"
    config = config_of(tmp_path, more=more, env={"URLS": "json://127.0.0.1:1"})
    versions = {one.target: one for one in await connect(config) if one.check in ("version", "extra")}
    assert {"tapewatch", "Python", "SQLite", "apprise"} == set(versions)
    assert all(one.status == "pass" and one.value for one in versions.values())
    monkeypatch.setattr(probe_machine, "SQLITE_LEAST", (99, 0))
    monkeypatch.setitem(probe_machine._EXTRAS, "apprise", "no-such-package")
    failed = {one.target: one.detail or "" for one in probe_machine.machine(config) if one.status == "fail"}
    assert "pip install 'tapewatch[apprise]'" in failed["no-such-package"]
    assert "99.0 is needed" in failed["SQLite"]


async def test_clock_and_time_zone(tmp_path: Path) -> None:
    """Which zone alerts are in; whether something keeps the clock, where the system says so."""
    config = config_of(tmp_path, more="alerts: {time_zone: Europe/Berlin}")
    assert (await found(config, "time zone")).value == "Europe/Berlin"
    for one in probe_machine.machine(config):
        if one.check == "clock":
            assert (one.status, one.value) in {("pass", "kept"), ("warn", "not kept")}


async def test_proxies_are_told_without_who_logs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that is none fails, in the same words as a run says it."""
    path = tmp_path / "t.yaml"
    path.write_text("universe: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\nfeeds: {connect_timeout: 500ms}\n")
    from tapewatch.config import load

    monkeypatch.setenv("HTTPS_PROXY", "http://ann:hunter2@127.0.0.1:1")
    every = await connect(load([path], {}))
    told = [one.value for one in every if one.check == "proxy"]
    assert told == ["http://127.0.0.1:1"]
    assert "hunter2" not in str(every)
    assert next(one for one in every if one.check == "exchange").status == "fail"
    monkeypatch.setenv("HTTPS_PROXY", "gopher://ann:hunter2@proxy")
    every = await connect(load([path], {}))
    assert next(one for one in every if one.check == "proxy").status == "fail"
    assert "hunter2" not in str(every)


@pytest.mark.parametrize(("greeting", "scheme"), [(http, "http"), (socks5, "socks5")])
async def test_everything_is_asked_through_the_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, greeting: Greeting, scheme: str
) -> None:
    """REST and stream of an exchange that only the proxy can reach."""
    for name in ("https_proxy", "all_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    authority, host = Authority(tmp_path), "exchange.example.com:8443"
    context = authority.server_context("exchange.example.com")
    async with (
        exchange(clock(), context=context) as address,
        proxied(greeting, int(address.rpartition(":")[2])) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://me:secret@127.0.0.1:{proxy.port}")
        config = config_of(tmp_path, host, tls=f", ca_file: {authority.file}")
        every = {one.check: one for one in await connect(config)}
    assert [every[name].status for name in ("exchange", "stream", "weight")] == ["pass"] * 3, every
    assert set(proxy.asked) == {host}
    assert every["proxy"].value == f"{scheme}://127.0.0.1:{proxy.port}"


def test_disk_usage_is_the_systems(tmp_path: Path) -> None:
    """What is free of each disk, once."""
    disks = [one for one in probe_places.disks(config_of(tmp_path)) if one.check == "disk"]
    assert len(disks) == 1
    assert float(disks[0].value or 0) == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)
