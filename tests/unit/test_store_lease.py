"""The right to run on a ledger and to deliver from it, in either kind of database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import sqlalchemy
from psycopg import sql

from delivery_samples import alert_of, step_of
from delivery_samples import signal as a_signal
from postgres_server import Server
from tapewatch.errors import LedgerLostError, SetupError, StoreError
from tapewatch.store import Ledger, schema
from tapewatch.store.lease import Lease

HOLD = (
    "import sys, time; from tapewatch.store import Ledger; ledger = Ledger.open(sys.argv[1]);"
    "lease = ledger.lease(); relay = ledger.outbox.lease(); print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(ledger_url)
    yield opened
    opened.close()


def take_over(ledger: Ledger) -> None:
    """Somebody else gets the right to run, as after a time in which this process was cut off."""
    newer = sqlalchemy.update(schema.leases).values(number=schema.leases.c.number + 1, holder="process 7 on moon")
    with ledger._database.write() as connection:
        connection.execute(newer)


def free_at_last(ledger: Ledger) -> Lease:
    """The right to run; a server notices a moment later that a connection was closed."""
    for _ in range(400):
        try:
            return ledger.lease()
        except SetupError:
            time.sleep(0.05)
    raise AssertionError("it is not given back")


def test_each_right_is_for_one_and_is_given_back(ledger: Ledger, ledger_url: str) -> None:
    """A second run is told who has it, a second relay waits; both can have what is given back."""
    second, lease, relay = Ledger.open(ledger_url), ledger.lease(), ledger.outbox.lease()
    assert relay is not None

    with pytest.raises(SetupError, match=f"is in use by another run, process {os.getpid()} on"):
        second.lease()
    assert second.outbox.lease() is None

    lease.release()
    relay.release()
    free_at_last(second).release()
    again = second.outbox.lease()
    assert again is not None
    again.release()
    second.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_rights_of_a_process_that_is_gone_are_free(ledger: Ledger, ledger_url: str, number: signal.Signals) -> None:
    """However it ended."""
    with subprocess.Popen([sys.executable, "-c", HOLD, ledger_url], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SetupError, match=f"process {other.pid} on"):
            ledger.lease()
        other.send_signal(number)
        other.wait(60)
    free_at_last(ledger).release()


def test_who_was_cut_off_and_comes_back_late_writes_nothing(ledger: Ledger, ledger_url: str) -> None:
    """Neither a step nor a delivery, and it says who has taken over; commands, which have no right, can write."""
    lease, other = ledger.lease(), Ledger.open(ledger_url)
    ledger.commit_step(step_of(alert_of(a_signal())))
    take_over(other)

    with pytest.raises(LedgerLostError, match=r"another process has taken over the .*process 7 on moon"):
        ledger.commit_step(step_of(alert_of(a_signal("ETHUSDT"))))
    with pytest.raises(LedgerLostError):
        ledger.outbox.take(ledger.alerts()[0]["messages"][0]["message_id"], 5)
    other.mute("BTCUSDT", 5)

    assert [len(other.alerts()), other.outbox.counts()] == [1, {"out": {"queued": 1}}]
    lease.release()
    other.close()


def test_a_right_outlives_the_servers_restart_unless_another_is_faster(postgres: Server) -> None:
    """The lock is gone with the connection: it is taken again, with the same number; what failed meanwhile says why."""
    with Server.running() as server:
        server.execute(sql.SQL("CREATE DATABASE tape"))
        ledger, other = Ledger.open(server.url("tape")), Ledger.open(server.url("tape"))
        lease = ledger.lease()
        server.stop(signal.SIGQUIT)
        with pytest.raises(StoreError, match="cannot be reached"):
            ledger.mute("BTCUSDT", 5)
        server.start()
        ledger.mute("BTCUSDT", 5)
        with pytest.raises(SetupError, match="in use by another run"):
            other.lease()

        server.stop(signal.SIGQUIT)
        server.start()  # and nothing was tried meanwhile
        ledger.mute("BTCUSDT", 5)
        with pytest.raises(SetupError, match="in use by another run"):
            other.lease()

        server.stop(signal.SIGQUIT)
        with pytest.raises(StoreError):
            ledger.mute("BTCUSDT", 6)
        server.start()
        theirs = other.lease()
        with pytest.raises(LedgerLostError):
            ledger.mute("BTCUSDT", 6)
        assert other.mutes() == {"BTCUSDT": 5}
        lease.release()
        theirs.release()
        ledger.close()
        other.close()


def test_a_commit_whose_answer_was_lost_is_asked_about(postgres: Server) -> None:
    """The connection goes with the COMMIT done, or not done: what was stored is not stored again, nothing is lost."""
    with postgres.database("ledger") as url:
        ledger = Ledger.open(url)
        name = url.rpartition("/")[2]
        cut = sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(name)

        def cutting(connection: sqlalchemy.Connection) -> None:
            if done:  # by hand, so that the connection's own COMMIT is the one that is not heard
                connection.connection.driver_connection.execute("COMMIT")
            postgres.execute(cut)

        for done in (False, True):
            sqlalchemy.event.listen(ledger._database._engine, "commit", cutting, once=True)
            if done:
                ledger.mute("BTCUSDT", 5)
            else:
                with pytest.raises(StoreError):
                    ledger.mute("BTCUSDT", 5)
            assert ledger.mutes() == ({"BTCUSDT": 5} if done else {})
        ledger.close()
