from __future__ import annotations

import math
from typing import Any

import pytest

from book_samples import position
from delivery_samples import alert_of, signal
from tapewatch.channels.routing import channels_for, severity_of
from tapewatch.config.alerts import Route
from tapewatch.live.messages import PRIORITY_LATE, PRIORITY_SIGNAL, messages_for
from tapewatch.model import Confidence
from tapewatch.store import Message


def rule(channels: list[str], **keys: Any) -> Route:
    """A route as the configuration has it."""
    return Route.model_validate({"channels": channels, **keys})


@pytest.mark.parametrize(
    ("routes", "channels"),
    [
        ([], []),
        ([rule(["a", "b"])], ["a", "b"]),
        ([rule(["a", "b"]), rule(["b", "c", "a"])], ["a", "b", "c"]),
        ([rule(["a"], strategies=["trend"])], ["a"]),
        ([rule(["a"], strategies=["momentum"]), rule(["b"])], ["b"]),
        ([rule(["a"], symbols=["ETHUSDT"])], []),
        ([rule(["a"], symbols=["ETHUSDT", "BTC*"])], ["a"]),
        ([rule(["a"], symbols=["btc*"])], []),
        ([rule(["a"], strategies=["trend"], symbols=["ETH*"])], []),
    ],
)
def test_routes_choose_the_channels(routes: list[Route], channels: list[str]) -> None:
    """A route matches by strategy and symbol, of any signal of the alert; a channel is named once, in order."""
    assert channels_for("signal", [signal(), signal(strategy="trend")], routes) == channels


@pytest.mark.parametrize(
    ("keys", "reached"),
    [
        ({}, True),
        ({"severity": "normal"}, True),
        ({"severity": "high"}, False),
        ({"min_strength": 6.4}, True),
        ({"min_strength": 6.5}, False),
        ({"min_confidence": 4}, True),
        ({"min_confidence": 5}, False),
        ({"min_confidence": "80%"}, True),
        ({"min_confidence": "81%"}, False),
        ({"kinds": ["exit", "signal"]}, True),
        ({"kinds": ["exit"]}, False),
        ({"strategies": ["scalp"], "min_strength": 7}, False),
        ({"strategies": ["trend"], "min_strength": 1}, True),
    ],
)
def test_routes_choose_by_what_a_signal_is_worth(keys: dict[str, Any], reached: bool) -> None:
    """Severity, strength, factors met (a number or a share), kind: all of a route's must hold of one signal."""
    signals = [signal(confidence=Confidence(4, 5)), signal(strategy="trend", strength=2.0, confidence=Confidence(1, 5))]
    assert bool(channels_for("signal", signals, [rule(["out"], **keys)])) == reached


@pytest.mark.parametrize(
    ("keys", "reached"),
    [
        ({}, True),
        ({"kinds": ["exit"]}, True),
        ({"kinds": ["signal"]}, False),
        ({"severity": "high"}, False),
        ({"min_strength": 9, "min_confidence": 5}, True),
    ],
)
def test_what_is_told_of_positions_is_chosen_by_kind_and_severity(keys: dict[str, Any], reached: bool) -> None:
    """It has no strength and no factors, so that what asks for these lets it pass; with or without a symbol."""
    routes = [rule(["out"], **keys)]
    assert bool(channels_for("exit", [position("closed")], routes)) == reached
    assert bool(channels_for("exit", [], routes)) == reached


def test_severity_follows_strength() -> None:
    """Below 4 it is low, below 7 normal, else high; the operator's alerts are high, all others normal."""
    strengths = [3.99, 4.0, 6.99, 7.0, math.nan, None]
    assert [severity_of("signal", strength) for strength in strengths] == [
        "low", "normal", "normal", "high", "normal", "normal",
    ]  # fmt: skip
    assert [severity_of(kind) for kind in ("operator", "exit", "follow_up")] == ["high", "normal", "normal"]
    messages = messages_for(alert_of(signal(strength=3.0), signal(strategy="trend", strength=8.0)), [rule(["out"])], 7)
    assert [(message.strength, message.severity) for message in messages] == [(8.0, "high")]


def test_an_alert_becomes_one_message_a_channel() -> None:
    """Messages carry the derived id, the wall clock and a priority by which late alerts wait."""
    alert = alert_of(signal())
    routes = [rule(["out", "mail"]), rule(["out"])]
    messages = messages_for(alert, routes, 7)

    assert messages == [
        Message(alert.alert_id, name, 7, "signal", PRIORITY_SIGNAL, False, 6.4) for name in ("out", "mail")
    ]
    assert [message.message_id for message in messages] == [f"{alert.alert_id}@out", f"{alert.alert_id}@mail"]
    assert messages_for(alert_of(signal(), late=True), routes, 7)[0].priority == PRIORITY_LATE > PRIORITY_SIGNAL
