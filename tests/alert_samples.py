"""Alerts and what is said of them: signals, surroundings and records, and texts taken apart."""

from __future__ import annotations

import html
import re
from typing import Any, get_args
from zoneinfo import ZoneInfo

from delivery_samples import signal, stored
from tapewatch.channels.port import Style
from tapewatch.channels.writer import Writer
from tapewatch.model import (
    Factor,
    Mover,
    Outlook,
    Rate,
    Record,
    Signal,
    Surroundings,
    Target,
)

BERLIN = ZoneInfo("Europe/Berlin")
STYLES: tuple[Style, ...] = get_args(Style)


def text_of(*signals: Signal, late: str | None = None, repeat: bool = False, **changes: Any) -> str:
    """The plain text of an alert."""
    return Writer(BERLIN).write(stored(*signals, **changes), "plain", late=late, repeat=repeat).text


def lines_of(*signals: Signal, **changes: Any) -> dict[str, str]:
    """Label -> value of every labelled line."""
    lines = (line.partition(": ") for line in text_of(*signals, **changes).splitlines())
    return {label: value for label, colon, value in lines if colon}


def shown(style: Style, body: str) -> str:
    """What a reader sees of a body."""
    if style in {"html", "telegram"}:
        return html.unescape(re.sub(r"<[^>]+>", "\n", body)).replace("\u2060", "")
    return re.sub(r"\\(.)", r"\1", body) if style == "markdown" else body


def momentum(**changes: Any) -> Signal:
    """A short of momentum on the 5m bar of a cheap symbol."""
    fields: dict[str, Any] = {
        "strategy": "momentum",
        "timeframe": "5m",
        "side": "short",
        "entry": 4.79e-05,
        "stop": 4.914161188235046e-05,
        "atr": 8.277412549003087e-07,
        "targets": (Target(4.707225874509969e-05, 50.0), Target(4.5416e-05, 50.0)),
        "volume": 6831866762.0,
        "volume_ratio": 1.5400541594402466,
        "factors": (
            Factor("move", True, "close / close[lookback] - 1 < -pct", -0.0823754789272031, "<", -0.05),
            Factor("volume", True, "zscore(volume, window) > vol_z", 2.022415197195177, ">", 2.0),
        ),
        "indicators": {"atr(14)": 8.27e-07, "zscore(volume, window)": 2.022415197195177},
        "params": {"lookback": 8.0, "pct": 0.05, "window": 96.0, "vol_z": 2.0},
    } | changes
    return signal("1000SATSUSDT", **fields)


def record(**changes: Any) -> Record:
    """The record of 816 signals that are no better than chance and lose after costs."""
    fields: dict[str, Any] = {
        "strategy": "momentum",
        "side": "short",
        "timeframe": "5m",
        "last": Rate(50, 31, 0.48, 0.74),
        "all": Rate(816, 488, 0.564, 0.631),
        "baseline": 0.58,
        "baseline_n": 4_000,
        "gross_r": 0.1,
        "net_r": -3.0,
        "net_quote": -1.98,
        "cost_bps": 20.0,
    } | changes
    return Record(**fields)


def surroundings(**changes: Any) -> Surroundings:
    """A market that trends down on two timeframes, of which everything but the funding is known."""
    fields: dict[str, Any] = {
        "spread_bps": 2.13,
        "imbalance": 0.24,
        "slippage_bps": 3.21,
        "slippage_quote": 10_000.0,
        "hourly_volume_quote": 12_345_678.0,
        "outlooks": (
            Outlook("5m", {"trending": True, "high_volatility": True}, "down"),
            Outlook("15m", {"trending": True, "high_volatility": None}, "down"),
        ),
        "btc_correlation": 0.82,
        "movers": (Mover("ETHUSDT", 0.91, -3.1, listed=True), Mover("SOLUSDT", 0.88, -2.2)),
        "missing": ("funding",),
    } | changes
    return Surroundings(**fields)
