"""From the files of an older system to a configuration: what was taken over, what was not, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from tapewatch.cli.older_keys import REFERENCE, Old, known, secret, sqlite_file, webhook, whole
from tapewatch.config.documents import read
from tapewatch.config.environment import read_dotenv
from tapewatch.errors import ConfigError
from tapewatch.network import is_loopback

_PRIVATE = re.compile(r"pass|secret|token|key|credential|auth|webhook|url|uri|dsn", re.IGNORECASE)
#: What is repeated of an unknown key's text: words and figures, nothing that could be a secret.
_HARMLESS = re.compile(r"[A-Za-z _./-]{1,20}|\d{1,9}(\.\d{1,9})?\s?(ms|s|m|h|d|%)?")
#: The higher timeframe where the strategy that ships names none.
_HIGHER = {"1m": "5m", "3m": "15m", "5m": "1h", "15m": "1h", "30m": "2h", "1h": "4h", "2h": "8h", "4h": "1d"}
_MONITOR = frozenset(
    {"atr_threshold", "volume_zscore_threshold", "price_change_threshold", "lookback", "volume_window"}
)
_SCALP_TEXTS = {"ema_trend": ("bias", "ema(close, {})"), "rsi_period": ("rsi", "rsi(close, {})"),
                "volume_average": ("volume", "sma(volume, {})")}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One value of an older file and its key, as written there."""

    key: str
    value: Any
    old: Old | None

    @property
    def word(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]


@dataclass
class Converted:
    """A configuration as plain data, its secrets by variable (None where only the variable was named), and the report.

    `taken`: (old key, new key, value as written); `left`: (old key, why, the value if it is no secret).
    """

    document: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str | None] = field(default_factory=dict)
    taken: list[tuple[str, str, Any]] = field(default_factory=list)
    left: list[tuple[str, str, Any]] = field(default_factory=list)

    def put(self, entry: Entry, to: str, value: Any) -> None:
        """A value in its new place."""
        *above, last = to.split(".")
        here = self.document
        for part in above:
            here = here.setdefault(part, {})
        here[last] = value
        self.taken.append((entry.key, to, value))

    def leave(self, entry: Entry, why: str) -> None:
        """A value that is not taken over."""
        value = entry.value
        harmless = isinstance(value, bool | int | float) or (isinstance(value, str) and _HARMLESS.fullmatch(value))
        shown = harmless and not _PRIVATE.search(entry.key)
        self.left.append((entry.key, why, value if shown else None))


def entries(paths: Sequence[Path]) -> list[Entry]:
    """Every value of these files, variables in it replaced by what the `.env` files among them say.

    Raises:
        ConfigError: one cannot be read.
    """
    flat: dict[str, Any] = {}
    variables: dict[str, str] = {}
    for path in paths:
        if path.name.startswith(".env") or path.suffix == ".env":
            found, problems = read_dotenv(path)
            variables |= found
            flat |= found
        else:
            tree, problems = read(path)
            flat |= dict(_leaves(tree.data))
        if problems:
            raise ConfigError(problems)
    replaced = {key: _replaced(value, variables) for key, value in flat.items()}
    used = {name for value in flat.values() for name in _names(value)}
    kept = {key: value for key, value in replaced.items() if key not in used or key not in variables}
    return [Entry(key, value, known(key.split("."))) for key, value in kept.items()]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _names(value: Any) -> list[str]:
    """The variables that are named in a value."""
    if isinstance(value, list):
        return [name for one in value for name in _names(one)]
    return [match[1] or match[2] for match in REFERENCE.finditer(value)] if isinstance(value, str) else []


def _replaced(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_replaced(one, variables) for one in value]
    if not isinstance(value, str):
        return value
    return REFERENCE.sub(lambda match: variables.get(match[1] or match[2], match[0]), value)


def convert(found: Sequence[Entry], shipped: Mapping[str, Mapping[str, Any]]) -> Converted:
    """The configuration that these values make, out of the strategies that ship."""
    made = Converted()
    parts: dict[str, Entry] = {}
    values: dict[str, Any] = {}
    for entry in found:
        if entry.old is None:
            made.leave(entry, "no key of this name is known")
        elif entry.value is None or entry.value in ("", [], {}):
            made.leave(entry, "it has no value")
        elif entry.old.why:
            made.leave(entry, entry.old.why)
        elif (earlier := parts.get(entry.old.name)) is not None:
            made.leave(entry, f"{earlier.key} says the same")
        else:
            try:
                values |= _read(entry, entry.old)
            except ValueError as error:
                made.leave(entry, str(error))
            else:
                parts[entry.old.name] = entry
    _universe(parts, values, made)
    _strategies(parts, values, made, shipped)
    _channels(parts, values, made)
    _rest(parts, values, made)
    _routes(made)
    return made


def _read(entry: Entry, old: Old) -> dict[str, Any]:
    """The value under the key's name, nothing of one that has no reader. Raises ValueError."""
    if old.read is None:
        return {}
    if _names(entry.value) and old.read not in {secret, webhook}:
        raise ValueError(f"its value is in a variable; write it to {old.to}")
    return {old.name: old.read(entry.value, entry.word)}


def _universe(parts: dict[str, Entry], values: dict[str, Any], made: Converted) -> None:
    exchange = str(values.get("exchange", "binance")).lower()
    if exchange.startswith("binance"):
        if "exchange" in values:
            made.put(parts["exchange"], "exchange.venue", "binance_spot")
        for name in ("symbols", "exclude_symbols"):
            if name in values:
                values[name] = [re.sub(r"[/_-]", "", one).upper() for one in values[name]]
    else:
        made.put(parts["exchange"], "exchange.ccxt", exchange)
    for name in ("symbols", "quote_assets", "exclude_symbols", "min_hourly_volume", "symbol_refresh_seconds"):
        _simple(name, parts, values, made)
    if "min_market_cap" in values and values["min_market_cap"] > 0:
        made.document.setdefault("universe", {})["market_cap"] = {"top": 1000}
        _simple("min_market_cap", parts, values, made)
    elif "min_market_cap" in values:
        made.leave(parts["min_market_cap"], "0 is no filter")
    made.document.setdefault("universe", {}).setdefault("include", ["*"])


def _simple(name: str, parts: Mapping[str, Entry], values: Mapping[str, Any], made: Converted) -> None:
    if name in values and (old := parts[name].old) is not None:
        made.put(parts[name], old.to, values[name])


def _strategies(parts: dict[str, Entry], values: dict[str, Any], made: Converted, shipped: Mapping[str, Any]) -> None:
    monitor = bool(_MONITOR & set(values))
    market = bool({"cooldown_minutes", "quote_assets", "min_hourly_volume", "min_market_cap"} & set(values))
    scanner = any(old.to.startswith("strategies.scalp") for entry in parts.values() if (old := entry.old)) or (
        not monitor and not market
    )
    used = [name for name, wanted in (("scalp", scanner), ("momentum", monitor or not scanner)) if wanted]
    made.document["strategies"] = {name: {} for name in used}
    for name in used if "timeframes" in values else ():
        made.put(parts["timeframes"], f"strategies.{name}.timeframes", values["timeframes"])
        missing = [one for one in values["timeframes"] if one in _HIGHER and one not in shipped[name]["higher"]]
        if missing:
            made.document["strategies"][name]["higher"] = {one: _HIGHER[one] for one in missing}
    for name, entry in parts.items():
        if (
            name in values
            and entry.old
            and re.fullmatch(r"strategies\.\w+\.(params\.\w+|duplicate\.\w+)", entry.old.to)
        ):
            _simple(name, parts, values, made)
    if "cooldown_minutes" in values:
        for name in used:
            made.put(parts["cooldown_minutes"], f"strategies.{name}.cooldown", values["cooldown_minutes"])
    if (periods := parts.get("ema_periods")) is not None:
        _ema_periods(periods, values, parts, made)
    _factors(parts, values, made, shipped["scalp"])
    _distances(parts, values, made)


def _ema_periods(entry: Entry, values: dict[str, Any], parts: dict[str, Entry], made: Converted) -> None:
    """`[9, 21, 50]`: fast, slow, and that of the trend where there is one."""
    listed = entry.value if isinstance(entry.value, list) else str(entry.value).replace(",", " ").split()
    try:
        periods = [whole(one, "") for one in listed]
        if len(periods) not in {2, 3}:
            raise ValueError("it is no list of two or three periods")
    except ValueError as error:
        made.leave(entry, str(error))
        return
    made.put(entry, "strategies.scalp.params.fast", periods[0])
    made.put(entry, "strategies.scalp.params.slow", periods[1])
    if len(periods) == 3 and "ema_trend" not in values:
        values["ema_trend"], parts["ema_trend"] = periods[2], entry


def _factors(parts: dict[str, Entry], values: dict[str, Any], made: Converted, scalp: Mapping[str, Any]) -> None:
    """Periods that stand in the conditions of `scalp`: those are written out where one differs."""
    for name, (factor, form) in _SCALP_TEXTS.items():
        if name not in values:
            continue
        pattern = re.escape(form).replace(r"\{\}", r"\d+")
        for side in ("long", "short"):
            mine = made.document["strategies"]["scalp"]
            text = str(mine.get(side, scalp[side])[factor])
            new = re.sub(pattern, form.format(values[name]), text)
            if new != text:
                mine[side] = {**mine.get(side, scalp[side]), factor: new}
        made.taken.append((parts[name].key, f"strategies.scalp.long.{factor}", form.format(values[name])))


def _distances(parts: dict[str, Entry], values: dict[str, Any], made: Converted) -> None:
    """Stop and target of `scalp`, in ATR."""
    atr = f"atr({values.get('atr_period', 14)})"
    stop, target = (values.get(f"atr_{what}_multiplier", usual) for what, usual in (("stop", 1.5), ("target", 1.0)))
    written = {"stop": f"{stop} * {atr}", "target": [{"at": f"{target} * {atr}", "share": "100%"}]}
    for what, to in (("stop", "stop"), ("target", "targets")):
        for name in ("atr_period", f"atr_{what}_multiplier"):
            if name in values:
                made.put(parts[name], f"strategies.scalp.{to}", written[what])


def _channels(parts: dict[str, Entry], values: dict[str, Any], made: Converted) -> None:
    channels = made.document.setdefault("channels", {"console": {"type": "console"}})
    mail = {name: entry for name, entry in parts.items() if name.startswith("email.")}
    if mail:
        _mail(mail, values, made)
    if (entry := parts.get("discord_webhook_url")) is not None:
        channels["desk"] = {"type": "discord"}
        _secret(entry, "channels.desk.url", "DISCORD_WEBHOOK_URL", made)
    token, chat = parts.get("telegram_bot_token"), parts.get("telegram_chat_id")
    if token is not None and chat is not None:
        channels["phone"] = {"type": "telegram"}
        _secret(token, "channels.phone.token", "TELEGRAM_TOKEN", made)
        made.put(chat, "channels.phone.chat_id", values["telegram_chat_id"])
    elif (entry := token or chat) is not None:
        made.leave(entry, "Telegram needs the bot's token and a chat")


def _mail(mail: Mapping[str, Entry], values: dict[str, Any], made: Converted) -> None:
    sender = values.get("email.sender") or (values.get("email.user") if "@" in values.get("email.user", "") else None)
    why = ""
    if values.get("email.enabled") is False:
        why = "e-mail is switched off"
    elif "email.host" not in values or "email.recipients" not in values or sender is None:
        why = "e-mail needs a host, recipients, and a sender or a user that is an address"
    elif ("email.user" in values) != ("email.password" in mail):
        why = "e-mail needs a user and a password, or neither"
    if why:
        for entry in mail.values():
            made.leave(entry, why)
        return
    port = values.get("email.port", 587)
    tls = {465: "implicit", 25: "none" if is_loopback(values["email.host"]) else "starttls"}.get(port, "starttls")
    made.document["channels"]["mail"] = {"type": "email", "tls": tls, "sender": sender}
    for name, entry in mail.items():
        if name == "email.password":
            _secret(entry, "channels.mail.password", "MAIL_PASSWORD", made)
        elif name == "email.enabled":
            made.taken.append((entry.key, "channels.mail", True))
        else:
            _simple(name, mail, values, made)


def _secret(entry: Entry, to: str, variable: str, made: Converted) -> None:
    """A secret goes to `.env`; where only its variable was named, so it is here."""
    value = str(entry.value)
    reference = REFERENCE.fullmatch(value)
    if reference is not None:
        variable = reference[1] or reference[2]
    made.secrets[variable] = value if reference is None else None
    made.put(entry, to, f"${{{variable}}}")


def _rest(parts: dict[str, Entry], values: dict[str, Any], made: Converted) -> None:
    for name in (
        "signal_history_size",
        "signal_expiry_minutes",
        "log_level",
        "log_file",
        "health_port",
        "retention_days",
    ):
        _simple(name, parts, values, made)
    if "metrics_port" in values and values.get("health_port", values["metrics_port"]) != values["metrics_port"]:
        made.leave(parts["metrics_port"], "metrics are served on the port of health")
    else:
        _simple("metrics_port", parts, values, made)
    if (entry := parts.get("database_url")) is not None:
        _database(entry, str(entry.value), made)


def _database(entry: Entry, url: str, made: Converted) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if (file := sqlite_file(url)) is not None:
        made.put(entry, "ledger.url", f"sqlite:///{Path(file).with_suffix('')}-tapewatch.db")
    elif _names(url) or not re.fullmatch(r"postgres(ql)?(\+\w+)?", parts.scheme):
        made.leave(entry, "it is neither a SQLite file nor a PostgreSQL database that is written out")
    else:
        user, _, host = parts.netloc.rpartition("@")
        name, _, password = user.partition(":")
        address = parts._replace(scheme="postgresql", netloc=f"{name}@{host}" if name else host, query="")
        made.document.setdefault("ledger", {})["folder"] = "."
        made.put(entry, "ledger.url", urlunsplit(address))
        if password:
            made.document["ledger"] |= {"password": "${LEDGER_PASSWORD}"}
            made.secrets["LEDGER_PASSWORD"] = unquote(password)


def _routes(made: Converted) -> None:
    """Everything to every channel, as the older systems did."""
    channels = list(made.document["channels"])
    made.document["alerts"] = {"routes": [{"channels": channels}], "operator": {"channels": channels}}
