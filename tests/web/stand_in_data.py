"""What the stand-in server tells: a made-up market, the same at every run."""

from __future__ import annotations

import math
import random
from typing import Any
from urllib.parse import quote

NOW_MS = 1_741_096_800_000
MINUTE_MS = 60_000
INTERVALS = {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS, "1h": 60 * MINUTE_MS}
HOSTILE = "<img src=x onerror=alert(1)>"
_NAMES = (
    "BTC",
    "ETH",
    "SOL",
    "XRP",
    "DOGE",
    "ADA",
    "AVAX",
    "LINK",
    "DOT",
    "LTC",
    "NEAR",
    "APT",
    "ARB",
    "OP",
    "SUI",
    "INJ",
)


class Market:
    """Answers of the API for so many symbols; `empty` has none of anything."""

    def __init__(self, symbols: int = 60, *, empty: bool = False, started_ms: int = NOW_MS - 7_200_000) -> None:
        names = [f"{name}USDT" for name in _NAMES] + [HOSTILE] + [f"X{number:04d}USDT" for number in range(symbols)]
        self.symbols = [] if empty else names[:symbols]
        self.empty = empty
        self.started_ms = started_ms
        self.failing: set[str] = set()

    def answer(self, path: str, query: dict[str, str]) -> dict[str, Any] | None:
        """The answer of one path, None where there is none."""
        if path in self.failing:
            return None
        if path.startswith("signals/"):
            return next((self.whole(one) for one in self.signals() if one["id"] == path[8:]), None)
        found = getattr(self, path, None)
        if path not in {"state", "watchlist", "outbox", "equity", "health"}:
            return self._asked(path, query)
        result: dict[str, Any] = found() if found is not None else {}
        return result

    def _asked(self, path: str, query: dict[str, str]) -> dict[str, Any] | None:
        match path:
            case "candles":
                return self.candles(query["symbol"], query["interval"], int(query.get("before_ms", NOW_MS)))
            case "signals":
                wanted = {key: query[key] for key in ("symbol", "strategy", "state") if query.get(key)}
                items = [one for one in self.signals() if all(one[key] == value for key, value in wanted.items())]
                interval = query.get("interval")
                return {"items": [one for one in items if interval in {None, one["timeframe"]}], "next": None}
            case "alerts":
                return {"items": self.alerts(), "next": None}
            case "positions":
                return {"account": None if self.empty else ACCOUNT, "items": self.positions()}
            case "trades":
                return {
                    "items": [] if self.empty else [TRADE | {"net": str(n)} for n in (31.2, -12.4, 8.05)],
                    "next": None,
                }
            case "why":
                return self.why(query["symbol"], int(query["ms"]))
        return None

    def state(self) -> dict[str, Any]:
        """What runs."""
        strategies = [
            {"name": "scalp", "timeframes": ["1m", "5m"], "sides": ["long", "short"]},
            {"name": "trend", "timeframes": ["1h"], "sides": ["long"]},
        ]
        channels = [{"name": "mail", "type": "email"}, {"name": "phone", "type": "telegram"}]
        return {
            "version": "0.1.0", "venue": "binance_spot", "role": "all", "started_ms": self.started_ms,
            "now_ms": NOW_MS, "market_ms": NOW_MS,
            "paper": not self.empty, "strategies": strategies, "channels": channels, "symbols": len(self.symbols),
        }  # fmt: skip

    def row(self, number: int, symbol: str, shift: float = 0.0) -> dict[str, Any]:
        """One row of the watch list."""
        rng = random.Random(symbol)
        known = number % 17 != 7
        last = None
        if number % 3 == 0:
            side = "long" if number % 2 else "short"
            ms = NOW_MS - rng.randrange(20, 9_000) * 1000
            state = "blocked" if number % 4 == 1 else "passed"
            last = {
                "id": self.identity(symbol, "1m", side, ms),
                "side": side,
                "strategy": "scalp",
                "ms": ms,
                "state": state,
            }
        price = math.exp(rng.uniform(-6, 11)) * (1 + shift)
        return {
            "symbol": symbol, "price": float(f"{price:.6g}"),
            "change_pct": round(rng.gauss(0, 4), 2) if known else None,
            "volume_z": round(rng.gauss(0.4, 1.4), 2) if known else None, "trend": rng.choice(["up", "down",
            "flat"]) if known else None,
            "volatility": rng.choice(["low", "normal", "high"]) if known else None, "last_signal": last,
            "last_bar_ms": NOW_MS - rng.randrange(2, 60) * 1000 if number % 13 else NOW_MS - 400_000,
            "fresh": bool(number % 13),
        }  # fmt: skip

    def watchlist(self) -> dict[str, Any]:
        """All of them."""
        return {"items": [self.row(number, symbol) for number, symbol in enumerate(self.symbols)], "next": None}

    def candles(self, symbol: str, interval: str, before_ms: int, count: int = 500) -> dict[str, Any] | None:
        """A walk that is the same whenever it is asked for, three lines beside it."""
        if symbol not in self.symbols:
            return None
        step = INTERVALS[interval]
        last = before_ms // step
        start = self.row(self.symbols.index(symbol), symbol)["price"]
        columns: dict[str, list[Any]] = {name: [] for name in ("open_ms", "open", "high", "low", "close", "volume")}
        for place in range(last - count, last):
            rng = random.Random(f"{symbol}{place}")
            open_, close = (start * (1 + wave(at)) for at in (place - 1, place))
            wick = abs(open_ - close) * rng.uniform(0.2, 1.2) + start * 0.0004
            values = (
                place * step,
                open_,
                max(open_, close) + wick,
                min(open_, close) - wick * rng.random(),
                close,
                rng.lognormvariate(3, 0.6),
            )
            for name, value in zip(columns, values, strict=True):
                columns[name].append(value)
        indicators = {f"ema(close, {n})": ema(columns["close"], n) for n in (9, 21)} | {
            "vwap()": ema(columns["close"], 60)
        }
        return {
            "symbol": symbol,
            "interval": interval,
            "interval_ms": step,
            **columns,
            "indicators": indicators,
            "next": columns["open_ms"][0],
        }

    @staticmethod
    def identity(symbol: str, interval: str, side: str, close_ms: int) -> str:
        """A signal's id, its parts percent-encoded."""
        return f"binance_spot/{quote(symbol, safe='')}/{interval}/scalp/{side}/{close_ms}"

    def signals(self) -> list[dict[str, Any]]:
        """Forty signals over the first symbols."""
        return [self.signal(number) for number in range(40)] if self.symbols else []

    def signal(self, number: int) -> dict[str, Any]:
        """One signal as a list has it."""
        symbol = self.symbols[(number * 5 if number % 3 else 0) % min(17, len(self.symbols))]
        rng = random.Random(number)
        side = rng.choice(["long", "short"])
        close_ms = NOW_MS - (3 + number * 9) * MINUTE_MS
        entry = self.row(self.symbols.index(symbol), symbol)["price"] * (1 + wave(close_ms // MINUTE_MS - 1))
        way = 1 if side == "long" else -1
        blocked = number % 3 == 2
        result = rng.choice(["target", "stop", "time", None])
        outcome = {
            "result": result,
            "ambiguous": False,
            "bars": 7,
            "mfe_r": 1.31,
            "mae_r": -0.42,
            "gross_r": 1.0,
            "net_r": rng.uniform(-1, 1),
        }
        verdicts = [
            {"check": "settled", "pass": True, "reason": None},
            {"check": "fresh", "pass": True, "reason": None},
        ]
        if blocked:
            verdicts.append(
                {"check": "cooldown", "pass": False, "reason": "the last signal was 2 min ago, of at least 5 min"}
            )
        state = "sent" if number else "queued"
        deliveries = [{"channel": "mail", "state": state, "attempts": 1, "sent_ms": close_ms + 900, "error": None}]
        if number == 4:
            deliveries.append(
                {"channel": "phone", "state": "dead", "attempts": 5, "sent_ms": None, "error": "401 Unauthorized"}
            )
        return {
            "id": self.identity(symbol, "1m", side, close_ms), "venue": "binance_spot", "symbol": symbol,
            "timeframe": "1m",
            "strategy": "scalp", "side": side, "open_ms": close_ms - MINUTE_MS, "close_ms": close_ms, "entry": entry,
            "stop": entry * (1 - way * 0.004), "targets": [{"price": entry * (1 + way * 0.006),
            "share": 60}, {"price": entry * (1 + way * 0.012), "share": 40}],
            "risk_reward": 2.1, "stop_distance_pct": 0.4, "profit_distance_pct": 0.6, "atr": entry * 0.002,
            "bias": "bullish",
            "confidence": {"met": 4, "asked": 5}, "strength": round(rng.uniform(2, 9), 1), "score": 0.634,
            "volume_ratio": 2.4,
            "factors": FACTORS,
            "indicators": {"ema(close, 9)": entry, "rsi(close, 6)": 61.2}, "settled": True, "verdicts": verdicts,
            "late": False,
            "recv_ms": close_ms + 312, "state": "blocked" if blocked else "passed",
            "alert_id": None if blocked else f"binance_spot/{quote(symbol, safe='')}/1m/{close_ms}",
            "outcome": None if result is None else outcome, "deliveries": [] if blocked else deliveries,
            "context": {"spread_bps": 1.2, "funding_rate": 0.0001, "imbalance": 0.23},
        }  # fmt: skip

    @staticmethod
    def whole(one: dict[str, Any]) -> dict[str, Any]:
        """A signal with all that is known of it."""
        attempts = [
            {"ms": one["close_ms"] + 400, "outcome": "failed", "error": "time-out"},
            {"ms": one["close_ms"] + 900, "outcome": "sent", "error": None},
        ]
        return {
            **one,
            "messages": [{**each, "attempts": attempts} for each in one["deliveries"]],
            "trade": None,
            "evidence": None,
        }

    def alerts(self) -> list[dict[str, Any]]:
        """An alert for each signal that passed."""
        rate = {"n": 816, "hits": 488, "low": 0.56, "high": 0.63}
        record = {"strategy": "scalp", "all": rate, "last": rate, "baseline": 0.572, "net_r": -3.0}
        return [
            {
                "alert_id": one["alert_id"], "ms": one["close_ms"], "symbol": one["symbol"],
                "strategy": one["strategy"], "side": one["side"],
                "interval": "1m", "kind": "signal", "title": f"{one['symbol']} {one['side']} at {one['entry']:.6g}",
                "record": record,
                "deliveries": one["deliveries"],
            }
            for one in self.signals()
            if one["alert_id"]
        ]  # fmt: skip

    def outbox(self) -> dict[str, Any]:
        """What waits."""
        waiting = (("mail", "sent", 26), ("mail", "queued", 1), ("phone", "dead", 1))
        rows = [
            {"channel": name, "state": state, "count": count, "oldest_ms": NOW_MS} for name, state, count in waiting
        ]
        return {"items": [] if self.empty else rows}

    def positions(self) -> list[dict[str, Any]]:
        """Two that are held."""
        rows = [self.row(number, symbol)["price"] for number, symbol in enumerate(self.symbols[:2])]
        return [
            POSITION
            | {"symbol": self.symbols[number], "entry": f"{price * 0.998:.6g}", "mark": f"{price:.6g}",
               "stop": f"{price * 0.992:.6g}",
               "targets": [{"price": f"{price * 1.006:.6g}", "share": "60"}], "unrealised": ("14.21", "-6.3")[number]}
            for number, price in enumerate(rows)
        ]  # fmt: skip

    def equity(self) -> dict[str, Any]:
        """A curve."""
        count = 0 if self.empty else 300
        worth = [10_000 * (1 + 0.04 * at / 300 + wave(at) * 0.6) for at in range(count)]
        best = [max(worth[: at + 1]) for at in range(count)]
        return {
            "ms": [NOW_MS - (count - at) * 600_000 for at in range(count)],
            "equity": worth,
            "drawdown_pct": [100 * (one / top - 1) for one, top in zip(worth, best, strict=True)],
        }

    def health(self) -> dict[str, Any]:
        """A document with one thing that is wrong."""
        entry = {"componentType": "system", "status": "pass"}
        late = entry | {
            "observedValue": 99.1,
            "observedUnit": "percent",
            "status": "warn",
            "output": "99.1% of 99.5% that are asked",
        }
        checks = {
            "process:uptime": [entry | {"observedValue": 7_200.0, "observedUnit": "s"}],
            "process:memory": [entry | {"observedValue": 210_000_000, "observedUnit": "bytes"}],
            "exchange:connections": [entry | {"observedValue": 2, "observedUnit": "connections"}],
            "exchange:polling": [entry | {"observedValue": False, "observedUnit": "polling"}],
            "bars:inTime": [late],
            "alerts:channels": [
                entry | {"componentId": name, "observedValue": "open", "observedUnit": "state"}
                for name in ("mail", "phone")
            ],
            "ledger:writable": [entry | {"observedValue": True, "observedUnit": "writable"}],
        }
        return {"status": "warn", "version": "0.1.0", "role": "all", "checks": checks}

    def why(self, symbol: str, close_ms: int) -> dict[str, Any]:
        """A bar on which long did not fire, and short did not either."""
        bar = {
            "symbol": symbol,
            "interval": "1m",
            "open_ms": close_ms - MINUTE_MS,
            "close_ms": close_ms,
            "open": 10.0,
            "high": 10.4,
            "low": 9.9,
            "close": 10.2,
            "volume": 311.5,
        }
        sides = [
            {"strategy": "scalp", "side": side, "fired": False, "factors": FACTORS, "verdicts": [], "delivery": None}
            for side in ("long", "short")
        ]
        return {"items": [{"bar": bar, "strategies": sides}]}


def wave(place: int) -> float:
    """How far from its start a price is: two waves and some noise."""
    return 0.02 * math.sin(place / 40) + 0.008 * math.sin(place / 7) + 0.002 * random.Random(place).gauss(0, 1)


def ema(values: list[float], period: int) -> list[float | None]:
    """An average that says nothing for its first values."""
    share, found, now = 2 / (period + 1), [], values[0]
    for value in values:
        now += share * (value - now)
        found.append(now)
    return [None if place < 20 else value for place, value in enumerate(found)]


FACTORS = [
    {"name": "vwap", "met": True, "text": "close > vwap()", "left": 20_041.2, "op": ">", "right": 20_029.747,
     "margin": 0.412},
    {"name": "cross", "met": False, "text": "barssince(crossover(ema(close, fast), ema(close, slow))) < 2",
     "left": 3, "op": "<", "right": 2, "margin": -0.333},
    {"name": "volume", "met": True, "text": "volume > spike * sma(volume, 20)", "left": 437.93231, "op": ">",
     "right": 382.03887, "margin": 0.128},
    {"name": "bias", "met": None, "text": "higher(close > ema(close, 50))", "left": None, "op": None, "right": None,
     "margin": None},
]  # fmt: skip
ACCOUNT = {
    "venue": "binance_spot", "started_ms": NOW_MS - 180_000_000, "at_ms": NOW_MS, "start_cash": "10000",
    "cash": "9120.55", "gross": "512.1", "fees": "88.2",
    "funding": "0", "equity": "10391.02", "open": 2, "paused_until_ms": None, "paused_why": None, "open_risk": "61.20",
}  # fmt: skip
POSITION = {
    "trade_id": "t",
    "strategy": "scalp",
    "side": "long",
    "timeframe": "1m",
    "quantity": "0.125",
    "r": 0.42,
    "entry_ms": NOW_MS - 900_000,
}
TRADE = {
    "trade_id": "c",
    "symbol": "ETHUSDT",
    "strategy": "scalp",
    "side": "short",
    "closed_ms": NOW_MS - 4_000_000,
    "reason": "target",
    "r": 0.9,
}
