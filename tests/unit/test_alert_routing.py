from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from delivery_samples import CLOSE_MS, alert_of, signal
from tapewatch.channels.operator import HOUR_MS, OperatorLimit
from tapewatch.channels.routing import channels_for
from tapewatch.live.relay import PRIORITY_LATE, PRIORITY_SIGNAL, messages_for
from tapewatch.store import Message


@dataclass
class Rule:
    """A route as the configuration has it."""

    channels: Sequence[str]
    strategies: Sequence[str] | None = None
    symbols: Sequence[str] | None = None


@pytest.mark.parametrize(
    ("routes", "channels"),
    [
        ([], []),
        ([Rule(["a", "b"])], ["a", "b"]),
        ([Rule(["a", "b"]), Rule(["b", "c", "a"])], ["a", "b", "c"]),
        ([Rule(["a"], strategies=["trend"])], ["a"]),
        ([Rule(["a"], strategies=["momentum"]), Rule(["b"])], ["b"]),
        ([Rule(["a"], symbols=["ETHUSDT"])], []),
        ([Rule(["a"], symbols=["ETHUSDT", "BTC*"])], ["a"]),
        ([Rule(["a"], symbols=["btc*"])], []),
        ([Rule(["a"], strategies=["trend"], symbols=["ETH*"])], []),
    ],
)
def test_routes_choose_the_channels(routes: list[Rule], channels: list[str]) -> None:
    """A route matches by strategy and symbol, of any signal of the alert; a channel is named once, in order."""
    assert channels_for([signal(), signal(strategy="trend")], routes) == channels


def test_an_alert_becomes_one_message_a_channel() -> None:
    """Messages carry the derived id, the wall clock and a priority by which late alerts wait."""
    alert = alert_of(signal())
    routes = [Rule(["out", "mail"]), Rule(["out"])]
    messages = messages_for(alert, routes, 7)

    assert messages == [Message(alert.alert_id, name, 7, "signal", PRIORITY_SIGNAL) for name in ("out", "mail")]
    assert [message.message_id for message in messages] == [f"{alert.alert_id}@out", f"{alert.alert_id}@mail"]
    assert messages_for(alert_of(signal(), late=True), routes, 7)[0].priority == PRIORITY_LATE > PRIORITY_SIGNAL


def test_the_operator_hears_the_same_thing_once_in_a_while() -> None:
    """A key is held back until its time has passed; another key is not; what was held back is counted once."""
    limit = OperatorLimit(repeat_ms=300_000, per_hour=100)
    calls = [("feed", 0), ("feed", 1), ("disk", 2), ("feed", 299_999), ("feed", 300_000), ("disk", 300_002)]
    told = [limit.admit(key, CLOSE_MS + after_ms) for key, after_ms in calls]

    assert told == [0, None, 1, None, 1, 0]


def test_the_operator_is_not_flooded() -> None:
    """No more than so many go out in any hour, of all keys together."""
    limit = OperatorLimit(repeat_ms=1, per_hour=3)
    told = [limit.admit(f"key {place}", place * 1000) for place in range(10)]
    assert told == [0, 0, 0] + [None] * 7

    assert limit.admit("later", HOUR_MS) == 7
    assert limit.admit("later still", HOUR_MS + 1) is None
    assert limit.admit("one more", HOUR_MS + 1000) == 1
