"""A PostgreSQL of the tests' own, from the programs that are installed: started, stopped and killed as a test wants."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

HOST, USER = "127.0.0.1", "tape"
#: A database survives what a test does to its processes; that of the machine is not tried here.
SETTINGS = {"fsync": "off", "max_connections": "60", "listen_addresses": HOST, "unix_socket_directories": ""}


def programs() -> Path | None:
    """Where PostgreSQL's programs are, None where it is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return folders[-1] if folders else None


class Server:
    """A cluster in a folder, on a port of its own; every connection from this machine is trusted."""

    def __init__(self, folder: Path) -> None:
        self._bin = programs()
        assert self._bin is not None
        self._data = folder / "data"
        # It refuses to run as root.
        self._run_as: dict[str, Any] = {}
        if os.getuid() == 0:
            postgres = pwd.getpwnam("postgres")
            self._run_as = {"user": postgres.pw_uid, "group": postgres.pw_gid, "extra_groups": []}
            os.chown(folder, postgres.pw_uid, postgres.pw_gid)
        with socket.socket() as free:
            free.bind((HOST, 0))
            self.port = free.getsockname()[1]
        self._names = count()
        self._process: subprocess.Popen[bytes] | None = None
        self._call("initdb", "-D", str(self._data), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")

    def _call(self, program: str, *arguments: str) -> None:
        assert self._bin is not None
        subprocess.run([str(self._bin / program), *arguments], check=True, capture_output=True, cwd="/", **self._run_as)

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert self._bin is not None
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port), *settings]
        until_s = time.monotonic() + 60
        while True:
            if (
                self._process is None or self._process.poll() is not None
            ):  # after a SIGKILL others still have its memory
                with (self._data.parent / "log").open("ab") as log:
                    self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._run_as)
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert time.monotonic() < until_s, (self._data.parent / "log").read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop it, by default as a fast shutdown does; SIGQUIT ends it at once, as a crash does.

        SIGKILL ends its head alone: the others end when they notice, and it does not start before they have.
        """
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(60)

    def url(self, database: str) -> str:
        """Of one of its databases."""
        return f"postgresql://{USER}@{HOST}:{self.port}/{database}"

    def execute(self, statement: sql.Composed | sql.SQL, database: str = "postgres") -> list[Any]:
        """What a statement brings."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Self]:
        """A server in a folder of its own: those of pytest are for one user only."""
        with TemporaryDirectory(prefix="tapewatch-postgres-", ignore_cleanup_errors=True) as folder:
            server = cls(Path(folder))
            server.start()
            try:
                yield server
            finally:
                server.stop()

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """The URL of a database of one's own, as long as it is needed."""
        name = f"t{next(self._names)}"
        named, of = sql.Identifier(name), sql.Identifier(template)
        self.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(named, of))
        try:
            yield self.url(name)
        finally:
            self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(named))


def rows(url: str, query: str, values: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
    """What a query finds."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql.SQL(query), values).fetchall()  # type: ignore[arg-type]


def with_user(url: str, user: str) -> str:
    """The same database as somebody else."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.hostname}:{parts.port}"))
