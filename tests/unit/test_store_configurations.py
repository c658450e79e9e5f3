"""The configurations that runs applied, in either kind of database."""

from __future__ import annotations

from contextlib import closing

from tapewatch.store import Ledger

A, B = {"gate": {"expiry": "15m"}, "list": ["ä", None, 1.5]}, {"gate": {"expiry": "5m"}}


def test_each_configuration_is_kept_once_until_another_comes(ledger_url: str) -> None:
    """Runs with the same one extend its time; one that comes back has a time of its own, so has a new version."""
    with closing(Ledger.open(ledger_url)) as ledger:
        table = ledger.configurations
        assert table.history() == []
        for document, version, now_ms in ((A, "1", 10), (A, "1", 20), (B, "1", 30), (A, "1", 25), (A, "2", 50)):
            table.applied(document, version, now_ms)
    with closing(Ledger.open(ledger_url)) as ledger:
        kept = ledger.configurations.history()
    assert [(one["config"], one["version"], one["first_ms"], one["last_ms"]) for one in kept] == [
        (A, "1", 10, 20), (B, "1", 30, 30), (A, "1", 25, 25), (A, "2", 50, 50),
    ]  # fmt: skip
    assert [len({one["hash"] for one in kept}), kept[0]["hash"]] == [2, kept[2]["hash"]]


def test_the_order_of_keys_makes_no_other_configuration(ledger_url: str) -> None:
    """What is in it does."""
    with closing(Ledger.open(ledger_url)) as ledger:
        ledger.configurations.applied({"a": 1, "b": 2}, "1", 1)
        ledger.configurations.applied({"b": 2, "a": 1}, "1", 2)
        assert [(one["first_ms"], one["last_ms"]) for one in ledger.configurations.history()] == [(1, 2)]
