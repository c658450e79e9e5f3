"""`tapewatch init --from`: older configurations become one of tapewatch, or it is said why not."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from command_line import Command
from tapewatch.cli.older import Converted, Entry, convert, entries
from tapewatch.cli.older_keys import KNOWN, known
from tapewatch.config import load
from tapewatch.strategies import mapping_of

PAGE = Path(__file__).parents[2] / "docs" / "migration.md"
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in PAGE.read_text("utf-8").splitlines()
    if re.match(r"\| `", line)
]
SHIPPED = {name: mapping_of(name)[1] for name in ("scalp", "momentum")}
WEBHOOK = "https://discord.com/api/webhooks/1/very-secret"
#: What else must be there for a key to be of use.
BESIDE: dict[str, dict[str, Any]] = {
    "email.": {
        "email.host": "smtp.example.com", "email.recipients": ["you@example.com"], "email.user": "me@example.com",
        "email.password": "sesame",
    },
    "telegram_": {"telegram_bot_token": "123:abc", "telegram_chat_id": "-100"},
}  # fmt: skip
SCANNER: dict[str, Any] = {
    "symbols": ["BTC/USDT", "ETHUSDT"],
    "scanner": {"timeframes": ["1m", "5m"], "emaFast": 9, "emaSlow": "21", "ema_trend": 50},
    "rsi": {"period": 6, "lower": 30, "upper": 70},
    "volume": {"spike": 1.5, "average": 20},
    "atrMultipliers": {"stop": 1.5, "target": 1.0},
    "duplicate": {"windowMinutes": 5, "priceThreshold": 0.003},
    "email": {
        "smtp_server": "smtp.example.com", "port": 465, "username": "me@example.com", "password": 'se"sa$me',
        "to": "you@example.com, them@example.com",
    },
    "log": {"level": "WARN"},
    "health": {"port": 8090},
    "theme": "dark",
    "broker": {"auth_token": "hunter2", "note": "a note that is too long to be repeated here"},
}  # fmt: skip
MONITOR = """\
market: {quote_assets: [usdt, USDC], min_hourly_volume: 1000, market_cap: {min: 100000000}}
thresholds: {atr_normalized: 2.0, volume_zscore: 2.5}
alerts: {cooldown_minutes: 30, discord: {webhook_url: "${DISCORD_WEBHOOK_URL}"}}
timeframes: [15m]
database: {url: "postgresql+asyncpg://tape:s3cret%21@db.example.com/tape", retention_days: 30}
metrics: {port: 9090}
"""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    """The command line."""
    return Command(monkeypatch, capfdbinary)


def of(values: dict[str, Any]) -> Converted:
    """What flat values become."""
    return convert([Entry(key, value, known(key.split("."))) for key, value in values.items()], SHIPPED)


def codes(cell: str) -> list[str]:
    """What is written as code in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_has_every_key_the_converter_knows() -> None:
    """With its other names, and nothing else."""
    assert [(codes(row[0]), codes(row[1])) for row in ROWS] == [([old.name], list(old.also)) for old in KNOWN]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("`"))
def test_a_row_of_the_table_is_what_the_converter_does(row: list[str]) -> None:
    """The example becomes what the row says, under each of its names; or it is left for the reason that is given."""
    name, example = codes(row[0])[0], json.loads(codes(row[2])[0])
    beside = next((values for start, values in BESIDE.items() if name.startswith(start)), {})
    for key in (name, *codes(row[1]), name.upper().replace(".", "_")):
        values = {other: value for other, value in beside.items() if other != name} | {key: example}
        made = of(values)
        if row[3].startswith("not taken: "):
            assert [(left, why) for left, why, _ in made.left] == [(key, row[3].removeprefix("not taken: "))]
            continue
        taken = [f"{to}: {json.dumps(value)}" for old, to, value in made.taken if old == key]
        assert taken == codes(row[3])
        assert made.left == []


def test_the_scanners_file_becomes_a_configuration(command: Command, tmp_path: Path) -> None:
    """Nested, in camel case or not; it is checked, what is unknown is a comment, the password is in .env alone."""
    old = tmp_path / "scanner.json"
    old.write_text(json.dumps(SCANNER), "utf-8")
    code, lines, err = command("init", tmp_path / "new", "--from", old)
    assert (code, err) == (0, "")
    assert "taken over  scanner.emaFast -> strategies.scalp.params.fast: 9" in lines
    assert "not taken   theme: no key of this name is known" in lines
    assert any(line.startswith("ok      strategy      scalp on 1m, 5m") for line in lines)
    path, dotenv = tmp_path / "new" / "tapewatch.yaml", tmp_path / "new" / ".env"
    written = path.read_text("utf-8")
    assert '# theme: "dark"   (no key of this name is known)' in written
    assert "# broker.auth_token   (no key" in written
    for secret in ("sa$me", "hunter2", "too long"):
        assert secret not in written + "\n".join(lines)
    assert stat.S_IMODE(dotenv.stat().st_mode) == 0o600
    config = load([path], {})
    mail = config.channels["mail"]
    assert config.universe.include == ["BTCUSDT", "ETHUSDT"]
    assert (config.logging.level, config.web.port) == ("warning", 8090)
    assert (mail.type, mail.tls, mail.port, mail.recipients) == (
        "email", "implicit", 465, ["you@example.com", "them@example.com"],
    )  # fmt: skip
    assert mail.password is not None
    assert mail.password.get_secret_value() == 'se"sa$me'
    scalp = config.strategies["scalp"]
    assert (scalp["stop"], scalp["duplicate"]) == ("1.5 * atr(14)", {"window": "5m", "move": "0.3%"})
    assert "long" not in scalp  # its periods are those that ship
    assert config.alerts.routes[0].channels == ["console", "mail"]


def test_the_monitors_file_and_variables_become_a_configuration(command: Command, tmp_path: Path) -> None:
    """The variable that the YAML names is in the other file; the database's password leaves its URL."""
    (tmp_path / "monitor.yaml").write_text(MONITOR, "utf-8")
    (tmp_path / ".env").write_text(f"DISCORD_WEBHOOK_URL={WEBHOOK}\nLOG_LEVEL=DEBUG\n", "utf-8")
    code, lines, _ = command("init", tmp_path / "new", "--from", tmp_path / "monitor.yaml", "--from", tmp_path / ".env")
    assert code == 0
    path = tmp_path / "new" / "tapewatch.yaml"
    for secret in ("very-secret", "s3cret"):
        assert secret not in path.read_text("utf-8") + "\n".join(lines)
    config = load([path], {})
    assert set(config.secret_values()) == {WEBHOOK, "s3cret!"}
    assert (config.ledger.url, config.logging.level) == ("postgresql://tape@db.example.com/tape", "debug")
    assert config.ledger.keep.alerts == 30 * 86_400_000
    assert config.universe.quotes == ["USDT", "USDC"]
    assert (config.universe.market_cap.min_usd, config.universe.include) == (100_000_000, ["*"])
    assert config.strategies == {
        "momentum": {"timeframes": ["15m"], "params": {"atr_move": 2, "vol_z": 2.5}, "cooldown": "30m"}
    }


def test_a_variable_that_nobody_gives_is_to_be_filled_in(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name goes to .env as a comment, and the command says what is missing."""
    monkeypatch.delenv("DISCORD_WEBHOOK_URL", raising=False)
    (tmp_path / "monitor.yaml").write_text(MONITOR, "utf-8")
    code, lines, _ = command("init", tmp_path / "new", "--from", tmp_path / "monitor.yaml")
    assert code == 0
    assert lines[-1].startswith("next: set DISCORD_WEBHOOK_URL in ")
    assert "# DISCORD_WEBHOOK_URL=\n" in (tmp_path / "new" / ".env").read_text("utf-8")


def test_periods_that_differ_change_the_factors() -> None:
    """Both sides are written out, with nothing but the periods changed."""
    made = of({"ema_periods": [8, 21, 55], "rsi_period": 9, "volume_average": 30, "atr_period": 10})
    scalp = made.document["strategies"]["scalp"]
    assert scalp["params"] == {"fast": 8, "slow": 21}
    for side, sign in (("long", ">"), ("short", "<")):
        assert scalp[side] == SHIPPED["scalp"][side] | {
            "bias": f"higher(close {sign} ema(close, 55))",
            "rsi": "rsi_lo <= rsi(close, 9) <= rsi_hi",
            "volume": "volume > spike * sma(volume, 30)",
        }
    assert (scalp["stop"], scalp["targets"]) == ("1.5 * atr(10)", [{"at": "1.0 * atr(10)", "share": "100%"}])


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"rsi_period": "six"}, "it is no number"),
        ({"rsi_period": 6.5}, "it is no whole number"),
        ({"rsi_period": "${RSI}"}, "its value is in a variable; write it to strategies.scalp.long.rsi"),
        ({"rsi_period": None}, "it has no value"),
        ({"ema_periods": [9]}, "it is no list of two or three periods"),
        ({"timeframes": ["2m"]}, "2m is no timeframe"),
        ({"log_level": "loud"}, "it is no level"),
        ({"email.host": "smtp.example.com"},
         "e-mail needs a host, recipients, and a sender or a user that is an address"),
        (BESIDE["email."] | {"email.enabled": False}, "e-mail is switched off"),
        ({"slack.webhook_url": "https://example.com/hook"}, "it is no address of a Discord webhook"),
        ({"database_url": "mysql://a:b@example.com/c"},
         "it is neither a SQLite file nor a PostgreSQL database that is written out"),
        ({"database_url": "postgresql://[a"},
         "it is neither a SQLite file nor a PostgreSQL database that is written out"),
        ({"telegram_token": "1:a"}, "Telegram needs the bot's token and a chat"),
        ({"min_market_cap": 0}, "0 is no filter"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_over_says_why(values: dict[str, Any], why: str) -> None:
    """By its name; nothing is guessed."""
    made = of(values)
    assert made.taken == []
    assert {(key, reason) for key, reason, _ in made.left} == {(key, why) for key in values}


def test_two_keys_that_say_the_same() -> None:
    """The first counts, the other is told; health and metrics share a port here."""
    made = of({"log_level": "info", "logging.level": "debug", "health_port": 1, "metrics_port": 2})
    assert made.document["logging"] == {"level": "info"}
    assert made.left == [
        ("logging.level", "log_level says the same", "debug"),
        ("metrics_port", "metrics are served on the port of health", 2),
    ]


def test_one_that_cannot_be_read_does_not_stand_in_the_way() -> None:
    """Of two keys that say the same the first counts that says something."""
    made = of(
        {
            "slack.webhook_url": "https://example.com/hook",
            "discord.webhook_url": WEBHOOK,
            "rsi_min": "?",
            "rsi_lower": 20,
        }
    )
    assert made.secrets == {"DISCORD_WEBHOOK_URL": WEBHOOK}
    assert made.document["strategies"]["scalp"]["params"] == {"rsi_lo": 20}
    assert [key for key, _, _ in made.left] == ["slack.webhook_url", "rsi_min"]


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("theme", "dark", "dark"),
        ("poll", "5s", "5s"),
        ("size", 7, 7),
        ("debug", True, True),
        ("pin", "hunter2", None),
        ("server", "me@example.com", None),
        ("broker.auth.user", "me", None),
        ("password_hint", "word", None),
    ],
)
def test_no_comment_repeats_what_could_be_a_secret(key: str, value: Any, shown: Any) -> None:
    """Words and figures stay, under a key that is not private."""
    assert of({key: value}).left == [(key, "no key of this name is known", shown)]


def test_a_source_is_never_overwritten(command: Command, tmp_path: Path) -> None:
    """Not with --force either: what was not taken over would be lost."""
    source = tmp_path / ".env"
    source.write_text("LOG_LEVEL=debug\nMINE=1\n", "utf-8")
    said = command.refused("init", tmp_path, "--force", "--from", source)
    assert "would be overwritten; name another folder" in said
    assert source.read_text("utf-8") == "LOG_LEVEL=debug\nMINE=1\n"


def test_another_exchange_keeps_its_symbols() -> None:
    """As ccxt names them."""
    made = of({"exchange": "Kraken", "symbols": "BTC/USD, ETH/USD"})
    assert (made.document["exchange"], made.document["universe"]) == (
        {"ccxt": "kraken"}, {"include": ["BTC/USD", "ETH/USD"]},
    )  # fmt: skip


def test_what_would_be_refused_is_not_written(command: Command, tmp_path: Path) -> None:
    """Every mistake is told; a file that is no JSON too, and one that is not there."""
    old = tmp_path / "old.json"
    old.write_text('{"rsi_lower": 30, "health_port": 99999, "symbols": ["*USDC"]}', "utf-8")
    assert "web.port: " in command.refused("init", tmp_path / "new", "--from", old)
    old.write_text("{", "utf-8")
    assert "old.json:1: not valid JSON" in command.refused("init", tmp_path / "new", "--from", old)
    assert "gone: no such file" in command.refused("init", tmp_path / "new", "--from", tmp_path / "gone")
    assert not (tmp_path / "new").exists()


def test_entries_are_flat_and_variables_are_put_in_their_places(tmp_path: Path) -> None:
    """Those of a .env that is given; a value that only looks like one stays."""
    (tmp_path / "a.yaml").write_text('a: {b: "${X}", c: ["${X}", 1], d: "$Y", e: "pa$X"}\n', "utf-8")
    (tmp_path / "b.env").write_text("X=1\nY=2\nZ=3\n", "utf-8")
    found = entries([tmp_path / "a.yaml", tmp_path / "b.env"])
    assert {one.key: one.value for one in found} == {"a.b": "1", "a.c": ["1", 1], "a.d": "2", "a.e": "pa$X", "Z": "3"}


#: What somebody may give by mistake, and what is said of it.
MISTAKES: dict[str, tuple[bytes, str]] = {
    "garbage.json": (b"\x9d\x00\xff" * 300, "not UTF-8 text"),
    "utf16.json": ('{"symbols": ["BTCUSDT"]}'.encode("utf-16"), "not UTF-8 text"),
    "latin.yaml": ("note: Müller".encode("latin-1"), "not UTF-8 text"),
    "empty.json": (b" ", "the file is empty"),
    "empty.yaml": (b"", "the file is empty"),
    "cut.json": (b'{"symbols": [', "not valid JSON"),
    "deep.json": (b"[" * 50_000 + b"]" * 50_000, "nested too deeply"),
    "list.json": (b"[1]", "must be a mapping"),
    "huge.json": (b'{"a": "' + b"x" * 2_000_000 + b'"}', "larger than 1 MB"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_no_configuration_is_said_in_words(command: Command, tmp_path: Path, name: str) -> None:
    """Garbage, nothing, too much and other encodings: exit 2, and nothing is written."""
    content, says = MISTAKES[name]
    (tmp_path / name).write_bytes(content)
    assert says in command.refused("init", "--from", tmp_path / name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_is_no_file(command: Command, tmp_path: Path) -> None:
    """It is said which, and so is one that is not there."""
    assert "is a directory" in command.refused("init", "--from", tmp_path, tmp_path / "new")
    assert "no such file" in command.refused("init", "--from", tmp_path / "none.yaml", tmp_path / "new")


def test_windows_line_ends_and_a_mark_of_order_are_read(command: Command, tmp_path: Path) -> None:
    """As an editor there writes them."""
    path = tmp_path / "scanner.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(SCANNER, indent=1).replace("\n", "\r\n").encode())
    code, _, err = command("init", "--from", path, tmp_path / "new")
    assert (code, err) == (0, "")
