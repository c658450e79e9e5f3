"""The keys of older configurations: a scalping scanner's JSON, a momentum monitor's YAML, their variables.

`docs/migration.md` has the same table. A key is known by its words alone: `email.smtp_host`, `emailSmtpHost` and
`EMAIL_SMTP_HOST` are one, and sections around it do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tapewatch.model import INTERVALS_MS

#: Units at the end of a name, and what they are in a duration.
UNITS = {
    "milliseconds": "ms", "millis": "ms", "ms": "ms", "seconds": "s", "secs": "s", "sec": "s", "minutes": "m",
    "mins": "m", "min": "m", "hours": "h", "hour": "h", "days": "d", "day": "d",
}  # fmt: skip
_DURATION = re.compile(r"\d+(\.\d+)?(ms|s|m|h|d)")
#: `${NAME}` anywhere; `$NAME` only where it is all there is.
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-[^}]*)?\}|^\$([A-Za-z_][A-Za-z0-9_]*)$")
_DISCORD = re.compile(r"https://[^/?#]+/api(/v\d+)?/webhooks/\d+/[\w-]+")
_SQLITE = re.compile(r"sqlite(\+\w+)?:///(?P<file>(?!:).+)")
LEVELS = {"trace": "debug", "verbose": "debug", "notice": "info", "warn": "warning", "fatal": "critical"}

#: A value and the last word of its key (where a unit may be), as it is written here. ValueError says why it cannot be.
Reader = Callable[[Any, str], Any]


@dataclass(frozen=True)
class Old:
    """A known key: its name, other names, where it goes, and how its value is read.

    Without `read` it is a part of something larger, or `why` says why nothing takes it.
    """

    name: str
    also: tuple[str, ...]
    to: str
    read: Reader | None = None
    why: str = ""


def number(value: Any, _word: str) -> float | int:
    """A number, also one in quotes."""
    try:
        if isinstance(value, bool):
            raise ValueError
        found = float(value)
    except (TypeError, ValueError):
        raise ValueError("it is no number") from None
    return int(found) if found.is_integer() else found


def whole(value: Any, word: str) -> int:
    """A whole number, also one in quotes."""
    found = number(value, word)
    if not isinstance(found, int):
        raise ValueError("it is no whole number")
    return found


def truth(value: Any, _word: str) -> bool:
    """True or false, also in the words of older YAML."""
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if str(value).lower() not in words:
        raise ValueError("it is neither true nor false")
    return words[str(value).lower()]


def text(value: Any, _word: str) -> str:
    """Text that is not empty."""
    if isinstance(value, dict | list | bool) or value is None or not str(value).strip():
        raise ValueError("it is no text")
    return str(value).strip()


def timeframes(value: Any, word: str) -> list[str]:
    """Names of timeframes."""
    listed = names(value, word)
    unknown = [one for one in listed if one not in INTERVALS_MS]
    if unknown:
        raise ValueError(f"{unknown[0]} is no timeframe")
    return listed


def names(value: Any, _word: str) -> list[str]:
    """A list, also one written with commas."""
    listed = value if isinstance(value, list) else str(value).replace(",", " ").split()
    if not listed or any(isinstance(one, dict | list) or one is None for one in listed):
        raise ValueError("it is no list of names")
    return list(dict.fromkeys(str(one).strip() for one in listed))


def upper(value: Any, word: str) -> list[str]:
    """Names in upper case."""
    return [one.upper() for one in names(value, word)]


def lasting(unit: str) -> Reader:
    """A duration: the key's name tells its unit, else it is this one."""

    def read(value: Any, word: str) -> str:
        if isinstance(value, str) and _DURATION.fullmatch(value.strip()):
            return value.strip()
        return f"{number(value, word)}{UNITS.get(unit_of(word), unit)}"

    return read


def percentage(value: Any, word: str, whole_from: float = 0.05) -> str:
    """A percentage; bare numbers below `whole_from` are fractions, unless the key ends in `pct` or `percent`."""
    if isinstance(value, str) and value.strip().endswith("%"):
        return f"{number(value.strip()[:-1], word)}%"
    found = float(number(value, word))
    named = re.sub(r"[^a-z]", "", word.lower()).endswith(("pct", "percent"))
    return f"{found if named or found >= whole_from else found * 100:.6f}".rstrip("0").rstrip(".") + "%"


def fraction(value: Any, word: str) -> float:
    """A fraction of a percentage, or of a bare number below 1: 5%, 5 and 0.05 are 0.05."""
    return round(float(percentage(value, word, 1).rstrip("%")) / 100, 8)


def level(value: Any, word: str) -> str:
    """A log level by its name."""
    found = text(value, word).lower()
    found = LEVELS.get(found, found)
    if found not in {"debug", "info", "warning", "error", "critical"}:
        raise ValueError("it is no level")
    return found


def secret(value: Any, word: str) -> str:
    """A secret, or the variable that holds it."""
    return text(value, word)


def webhook(value: Any, word: str) -> str:
    """A Discord webhook's address, or the variable that holds it."""
    found = text(value, word)
    if not REFERENCE.fullmatch(found) and not _DISCORD.fullmatch(found):
        raise ValueError("it is no address of a Discord webhook")
    return found


def unit_of(word: str) -> str:
    """The unit that a key's name ends in, empty where there is none."""
    return next((unit for unit in UNITS if words_of(word)[-1:] == [unit]), "")


def words_of(name: str) -> list[str]:
    """The words of a name: `dbUrl`, `db_url` and `DB-URL` have two."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def sqlite_file(url: str) -> str | None:
    """The file of an address such as `sqlite+aiosqlite:///old.db`."""
    match = _SQLITE.fullmatch(url)
    return None if match is None else match["file"]


def _of(sections: str, words: str) -> tuple[str, ...]:
    """Every word behind every section."""
    return tuple(f"{section}_{word}" for section in sections.split() for word in words.split())


_MAIL = "smtp email mail email_smtp"
KNOWN = (
    Old("symbols", ("pairs", "trading_pairs", "watchlist"), "universe.include", names),
    Old("exchange", ("exchange_id", "exchange_name"), "exchange.ccxt", text),
    Old("quote_assets", ("quote_asset", "quotes", "quote_currencies"), "universe.quotes", upper),
    Old("exclude_symbols", ("excluded_symbols", "blacklist"), "universe.exclude", names),
    Old("min_hourly_volume", ("min_volume_1h", "hourly_volume_min", "min_hourly_volume_usdt"),
        "universe.min_volume_1h", number),
    Old("min_market_cap", ("min_market_cap_usd", "market_cap_min", "market_cap_min_usd", "market_cap_filter_min"),
        "universe.market_cap.min_usd", number),
    Old("max_market_cap", ("max_market_cap_usd", "market_cap_max", "market_cap_max_usd", "market_cap_filter_max"),
        "", why="there is no upper bound of the market capitalisation"),
    Old("symbol_refresh_seconds", ("symbol_refresh", "symbol_cache_ttl", "universe_refresh"),
        "universe.refresh", lasting("s")),
    Old("timeframes", ("timeframe", "intervals", "candle_interval", "kline_interval"),
        "strategies.<name>.timeframes", timeframes),
    Old("ema_periods", ("emas", "ema"), "strategies.scalp.params"),
    Old("ema_fast", ("ema_fast_period", "fast_ema"), "strategies.scalp.params.fast", whole),
    Old("ema_slow", ("ema_slow_period", "slow_ema"), "strategies.scalp.params.slow", whole),
    Old("ema_trend", ("ema_trend_period", "trend_ema", "ema_long"), "strategies.scalp.long.bias", whole),
    Old("rsi_period", ("rsi_length",), "strategies.scalp.long.rsi", whole),
    Old("rsi_lower", ("rsi_min", "rsi_low", "rsi_oversold", "rsi_lower_bound"), "strategies.scalp.params.rsi_lo",
        number),
    Old("rsi_upper", ("rsi_max", "rsi_high", "rsi_overbought", "rsi_upper_bound"), "strategies.scalp.params.rsi_hi",
        number),
    Old("volume_spike", ("volume_spike_multiplier", "volume_spike_threshold", "volume_multiplier"),
        "strategies.scalp.params.spike", number),
    Old("volume_average", ("volume_average_period", "volume_ma_period", "volume_period", "volume_lookback"),
        "strategies.scalp.long.volume", whole),
    Old("min_factors", ("minimum_factors", "min_confirmations"), "strategies.scalp.params.min_factors", whole),
    Old("atr_period", ("atr_length",), "strategies.scalp.stop", whole),
    Old("atr_stop_multiplier", ("atr_multiplier_stop", "atr_multipliers_stop", "atr_stop", "stop_loss_atr",
        "stop_loss_atr_multiplier", "stop_atr_multiplier"), "strategies.scalp.stop", number),
    Old("atr_target_multiplier", ("atr_multiplier_target", "atr_multipliers_target", "atr_target", "take_profit_atr",
        "take_profit_atr_multiplier", "target_atr_multiplier"), "strategies.scalp.targets", number),
    Old("duplicate_window_minutes", ("duplicate_window", "dedup_window"), "strategies.scalp.duplicate.window",
        lasting("m")),
    Old("duplicate_price_threshold", ("duplicate_threshold", "duplicate_price_change", "duplicate_price_move",
        "duplicate_price_pct", "duplicate_price_change_pct"), "strategies.scalp.duplicate.move", percentage),
    Old("signal_history_size", ("history_size", "max_signal_history"), "gate.history.size", whole),
    Old("signal_expiry_minutes", ("signal_expiry", "history_expiry"), "gate.history.expire", lasting("m")),
    Old("atr_threshold", ("atr_normalized_threshold", "atr_normalised_threshold", "thresholds_atr_normalized",
        "atr_normalized_move", "atr_move", "min_atr_move"), "strategies.momentum.params.atr_move", number),
    Old("volume_zscore_threshold", ("volume_zscore", "volume_z_score", "volume_z_score_threshold",
        "min_volume_zscore"), "strategies.momentum.params.vol_z", number),
    Old("price_change_threshold", ("price_change_pct", "min_price_change", "min_price_change_pct"),
        "strategies.momentum.params.pct", fraction),
    Old("lookback", ("lookback_bars", "lookback_candles", "lookback_periods"), "strategies.momentum.params.lookback",
        whole),
    Old("volume_window", ("volume_zscore_window", "zscore_window"), "strategies.momentum.params.window", whole),
    Old("cooldown_minutes", ("cooldown", "alert_cooldown", "cooldown_period"), "strategies.momentum.cooldown",
        lasting("m")),
    Old("email.host", _of(_MAIL, "host server"), "channels.mail.host", text),
    Old("email.port", _of(_MAIL, "port"), "channels.mail.port", whole),
    Old("email.user", _of(_MAIL, "user username login"), "channels.mail.user", text),
    Old("email.password", _of(_MAIL, "password pass"), "channels.mail.password", secret),
    Old("email.sender", _of(_MAIL, "sender from from_address"), "channels.mail.sender", text),
    Old("email.recipients", _of(_MAIL, "recipients recipient to to_addresses"), "channels.mail.recipients", names),
    Old("email.enabled", _of(_MAIL, "enabled"), "channels.mail", truth),
    Old("discord_webhook_url", ("discord_webhook", "discord_url", "webhook_url"), "channels.desk.url", webhook),
    Old("telegram_bot_token", ("telegram_token",), "channels.phone.token", secret),
    Old("telegram_chat_id", ("telegram_chat",), "channels.phone.chat_id", text),
    Old("database_url", ("db_url", "database_uri", "database_dsn"), "ledger.url"),
    Old("retention_days", ("data_retention_days", "database_retention_days"), "ledger.keep.alerts", lasting("d")),
    Old("health_port", ("health_check_port", "health_server_port"), "web.port", whole),
    Old("metrics_port", ("prometheus_port", "metrics_prometheus_port"), "web.port", whole),
    Old("log_level", ("logging_level",), "logging.level", level),
    Old("log_file", ("logging_file",), "logging.file", text),
    Old("api_key", ("exchange_api_key", "binance_api_key"), "", why="no account is used, and no key"),
    Old("api_secret", ("exchange_api_secret", "binance_api_secret"), "", why="no account is used, and no key"),
    Old("max_reconnect_attempts", ("reconnect_attempts",), "", why="connections are tried again for ever"),
    Old("candle_window", ("window_size", "max_candles", "buffer_size"), "",
        why="as many candles are kept as the strategies need"),
)  # fmt: skip


_BY_NAME = {"".join(words_of(name)): old for old in KNOWN for name in (old.name, *old.also)}


def known(parts: list[str]) -> Old | None:
    """The known key that a path ends in, by as many of its parts as say it; a unit may be at the end."""
    for start in range(len(parts)):
        words = words_of("_".join(parts[start:]))
        found = _BY_NAME.get("".join(words))
        if found is None and words[-1:] and words[-1] in UNITS:
            found = _BY_NAME.get("".join(words[:-1]))
        if found is not None:
            return found
    return None
