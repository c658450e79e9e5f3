"""`tapewatch config`: the configuration in force without its secrets, and the schema that editors use."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from command_line import Command
from tapewatch.cli import setup
from tapewatch.config import load
from tapewatch.config.documents import read
from tapewatch.config.jsonschema import document
from tapewatch.live.stores import open_stores
from tapewatch.strategy import definition

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "src" / "tapewatch" / "config" / "examples").glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(document())
SECRET = "correct-horse-42"
MAIL = "type: email, host: smtp.example.com, sender: a@example.com, recipients: [b@example.com]"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    """The command line."""
    return Command(monkeypatch, capfdbinary)


def written(folder: Path, text: str, name: str = "tapewatch.yaml") -> Path:
    """A configuration file with this text."""
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def mistakes(path: Path) -> list[str]:
    """What the schema says of a file."""
    return [error.message for error in VALIDATOR.iter_errors(read(path)[0].data)]


def test_the_published_schema_is_the_one_that_the_command_prints(command: Command) -> None:
    """`tapewatch config schema > docs/config.schema.json` makes it."""
    code, lines, _ = command("config", "schema")
    assert code == 0
    assert (ROOT / "docs" / "config.schema.json").read_text("utf-8") == "\n".join(lines) + "\n"
    jsonschema.Draft202012Validator.check_schema(document())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_that_ships_fits_the_schema(path: Path) -> None:
    """As it is written, with units and variables."""
    assert mistakes(path) == []


def test_what_init_writes_fits_the_schema(tmp_path: Path) -> None:
    """With all the channels that it asks for."""
    mail = {"host": "smtp.example.com", "user": "u", "sender": "a@example.com", "recipient": "b@example.com"}
    path = written(tmp_path, setup.render(mail | {"discord": "x", "telegram": "x", "chat": "-100123"}))
    assert {channel["type"] for channel in read(path)[0].data["channels"].values()} == {
        "console", "file", "email", "discord", "telegram",
    }  # fmt: skip
    assert mistakes(path) == []


@pytest.mark.parametrize(
    "text",
    [
        "web:\n",
        "web: {port: '${PORT:-8080}'}",
        "gate: {late_after: ${LATE}, max_spread: 0.1 %}",
        "exchange: {ccxt: kraken}",
        "exchange: {ccxt: {id: kraken, options: {defaultType: swap}}}",
        "strategies: {scalp: , own: {file: own.py, params: {fast: 5}}}",
        "alerts: {chart_url: off, routes: [{channels: [a], min_confidence: 80%}, {channels: [a], kinds: [exit]}]}",
        f"channels: {{mail: {{{MAIL}, user: u, password: '${{MAIL_PASSWORD}}'}}}}",
        f"channels: {{mail: {{{MAIL}, user: u, password_file: a, quiet: {{from: '22:00', to: '07:00'}}}}}}",
        "channels: {mail: {recipients: [c@example.com]}}",
        "channels: {phone: {type: telegram, token_file: token, chat_id: -1001234567890}}",
        "feeds: {recheck: [10s, 1m]}",
        "ledger: {url: 'postgresql://tape@127.0.0.1/tape', password: '${LEDGER_PASSWORD}', folder: data}",
    ],
)
def test_what_people_write_fits_the_schema(text: str, tmp_path: Path) -> None:
    """Units, percent signs, variables, files of secrets, short forms, layers, keys without a value."""
    assert mistakes(written(tmp_path, text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "unverse: {include: [BTCUSDT]}",
        "universe: {includes: [BTCUSDT]}",
        "universe: {include: BTCUSDT}",
        "universe: {include: []}",
        "gate: {late_after: 10}",
        "gate: {late_after: 10 minutes}",
        "gate: {max_spread: 0.001}",
        "gate: {correlated: {min: 1.5}}",
        "web: {port: 70000}",
        "web: {enabled: 1}",
        "logging: {level: loud}",
        "logging: {levels: {feed: debug}}",
        "strategies: {scalp: {timeframe: [1m]}}",
        "strategies: {scalp: {timeframes: [2m]}}",
        "alerts: {routes: [{strategies: [scalp]}]}",
        "channels: {mail: {type: mail}}",
        "channels: {mail: {type: email, host: smtp.example.com}}",
        f"channels: {{mail: {{{MAIL}, user: u, password: {SECRET}}}}}",
        f"channels: {{mail: {{{MAIL}, password: '${{A}}', password_file: a}}}}",
        f"channels: {{mail: {{{MAIL}, quiet: {{from: '25:00', to: '07:00'}}}}}}",
        "channels: {desk: {type: discord}}",
        "channels: {desk: {type: discord, url: https://example.com/api/webhooks/1/a}}",
        "exchange: {ccxt: {streams: true}}",
        "paper: {risk: 1}",
        "feeds: {recheck: [10]}",
    ],
)
def test_what_is_wrong_does_not_fit_the_schema(text: str, tmp_path: Path) -> None:
    """Unknown keys, wrong types, missing units, secrets in clear, what is missing."""
    assert mistakes(written(tmp_path, text)) != []


def test_the_schema_knows_every_key_of_a_strategy() -> None:
    """And `file`."""
    known = document()["$defs"]["strategy"]["properties"]
    assert sorted(known) == sorted([*definition._KEYS, "file"])


BASE = """\
universe: {include: [BTCUSDT]}
strategies: {scalp: {timeframes: [1m]}}
channels:
  mail:
    type: email
    host: ${MAIL_HOST}
    user: ${ODD}
    password: ${MAIL_PASSWORD}
    sender: a@example.com
    recipients: [b@example.com]
  desk: {type: webhook, url_file: hook, headers: {Authorization: "Bearer ${HOOK}"}}
alerts:
  routes: [{channels: [mail]}]
  operator: {every: 90s}
logging: {file: "${API_TOKEN}.log"}
"""
FORMS = """\
universe: {include: [BTCUSDT], min_stay: 0s}
strategies:
  momentum: {targets: [{at: 2 * atr(14), share: 100%}], cooldown: 5m, params: {pct: {default: 0.05, ranging: 0.08}}}
paper: {risk: 1.5%, protections: {losses: {count: 3}}}
feeds: {recheck: [1.5s, 60s]}
channels: {out: {type: file, path: "a b.jsonl", quiet: {from: "22:05", to: "07:00"}}}
alerts:
  chart_url: "https://example.com/chart?symbol={symbol}"
  routes:
    - {channels: [out], min_confidence: 80%, symbols: ["*USDT", "null"]}
    - {channels: [out], min_confidence: 4}
"""
LAYER = "gate: {max_spread: 0.25%}\nuniverse: {include: [ETHUSDT, SOLUSDT]}\n"


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Two files with secrets of every kind, and an override; the options that name them."""
    written(tmp_path, f"https://example.com/{SECRET}/hook\n", "hook").chmod(0o600)
    monkeypatch.setenv("MAIL_HOST", "smtp.example.com")
    monkeypatch.setenv("MAIL_PASSWORD", SECRET)
    monkeypatch.setenv("ODD", f"user-{SECRET}")
    monkeypatch.setenv("HOOK", "header-secret-43")
    monkeypatch.setenv("API_TOKEN", "token-secret-44")
    monkeypatch.setenv("TAPEWATCH__WEB__PORT", "0")
    return ["-c", written(tmp_path, BASE), "-c", written(tmp_path, LAYER, "more.yaml")]


def test_show_prints_what_is_in_force_without_secrets(command: Command, layers: list[object]) -> None:
    """Layers, variables and defaults in the form in which they are written; YAML and JSON say the same."""
    code, lines, err = command("config", "show", *layers)
    assert (code, err) == (0, "")
    text = "\n".join(lines)
    for secret in (SECRET, "header-secret-43", "token-secret-44"):
        assert secret not in text
    shown = YAML(typ="safe", pure=True).load(text)
    assert shown["universe"]["include"] == ["ETHUSDT", "SOLUSDT"]
    assert shown["gate"] | {"history": None} == {
        "late_after": "10s", "expiry": "15m", "liquidity": True, "max_spread": "0.25%", "correlated": None,
        "score": [], "history": None,
    }  # fmt: skip
    mail, desk = shown["channels"]["mail"], shown["channels"]["desk"]
    assert (mail["host"], mail["user"], mail["password"], mail["port"]) == ("smtp.example.com", "user-***", "***", 587)
    assert (desk["url"], desk["secret"], desk["headers"]) == ("***", None, {"Authorization": "***"})
    assert shown["alerts"]["operator"]["every"] == "90s"
    assert shown["logging"]["file"] == "***"
    assert shown["web"]["port"] == 0
    assert command.objects("config", "show", *layers) == [shown]


def test_show_says_where_each_value_is_from(command: Command, layers: list[object]) -> None:
    """File and line, the variables in it, the variable that overrides it, or the default."""
    base, more = layers[1], layers[3]
    origins = {one["key"]: one["origin"] for one in command.objects("config", "show", *layers, "--origin")}
    assert origins["universe.include"] == f"{more}:2"
    assert origins["strategies.scalp.timeframes"] == f"{base}:2"
    assert origins["channels.mail.host"] == f"{base}:6 (MAIL_HOST)"
    assert origins["channels.mail.password"] == f"{base}:8 (MAIL_PASSWORD)"
    assert origins["channels.desk.url"] == f"{base}:11"
    assert origins["alerts.routes[0].channels"] == f"{base}:13"
    assert origins["web.port"] == "TAPEWATCH__WEB__PORT"
    assert {origins[key] for key in ("web.host", "ledger.url", "paper", "universe.market_cap.min_usd")} == {"default"}
    lines = command("config", "show", *layers, "--origin")[1]
    assert f"  max_spread: 0.25%  # {more}:1" in lines
    assert "  port: 0  # TAPEWATCH__WEB__PORT" in lines


def test_show_of_a_short_form_points_at_it(command: Command, tmp_path: Path) -> None:
    """`ccxt: kraken` is where its id is from; what it fills in is a default."""
    path = written(tmp_path, "exchange: {ccxt: kraken}\nuniverse: {include: [BTC/USDT]}\nstrategies: {scalp: }\n")
    origins = {one["key"]: one["origin"] for one in command.objects("config", "show", "-c", path, "--origin")}
    assert (origins["exchange.ccxt.id"], origins["exchange.ccxt.streams"]) == (f"{path}:1", f"{path}:1")


def test_what_is_shown_can_be_written(command: Command, tmp_path: Path) -> None:
    """Without secrets it is a configuration that says the same, and fits the schema."""
    path = written(tmp_path, FORMS)
    first = command.objects("config", "show", "-c", path)[0]
    routes = [(route["min_confidence"], route["symbols"]) for route in first["alerts"]["routes"]]
    assert routes == [("80%", ["*USDT", "null"]), (4, None)]
    assert first["channels"]["out"]["quiet"] == {"from": "22:05", "to": "07:00"}
    assert (first["paper"]["risk"], first["paper"]["protections"]["losses"]) == ("1.5%", {"count": 3, "pause": "12h"})
    assert (first["feeds"]["recheck"], first["universe"]["min_stay"]) == (["1500ms", "1m"], "0s")
    assert first["strategies"]["momentum"]["targets"] == [{"at": "2 * atr(14)", "share": "100%"}]
    again = written(tmp_path, "\n".join(command("config", "show", "-c", path)[1]) + "\n", "again.yaml")
    assert mistakes(again) == []
    assert command.objects("config", "show", "-c", again)[0] == first


def applied(options: list[object], at_ms: int) -> Path:
    """What a run with these files writes when it begins; the ledger's folder."""
    config = load([Path(str(path)) for path in options[1::2]], os.environ)
    ledger, lease, journal = open_stores(config, lambda: at_ms)
    journal.close()
    lease.release()
    ledger.close()
    file = config.ledger.file
    assert file is not None
    return file.parent


def test_history_tells_when_and_what_changed(command: Command, layers: list[object]) -> None:
    """Each configuration once however often a run begins with it; what is no value any more is null."""
    moment = 1_763_000_000_000
    applied(layers, moment)
    applied(layers, moment + 3_600_000)
    written(Path(str(layers[3])).parent, "gate: {max_spread: 0.5%}\npaper: {risk: 2%}\n", "more.yaml")
    applied(layers, moment + 7_200_000)
    first, second = command.objects("config", "history", *layers, "--diff")
    assert (first["first_ms"], first["last_ms"], first["changes"]) == (moment, moment + 3_600_000, [])
    assert first["config"]["universe"]["include"] == ["ETHUSDT", "SOLUSDT"]
    changes = {change["key"]: (change["before"], change["after"]) for change in second["changes"]}
    assert changes["universe.include"] == (["ETHUSDT", "SOLUSDT"], ["BTCUSDT"])
    assert changes["gate.max_spread"] == ("0.25%", "0.5%")
    assert changes["paper.risk"] == (None, "2%")
    assert {key.partition(".")[0] for key in changes} == {"universe", "gate", "paper"}
    code, lines, _ = command("config", "history", *layers)
    assert (code, len(lines)) == (0, 2)
    assert lines[0].startswith(f"2025-11-13 02:13:20 to 2025-11-13 03:13:20  {first['hash'][:12]}  version ")
    assert lines[1].endswith(f"{len(changes)} changes")
    lines = command("config", "history", *layers, "--diff")[1]
    assert "  gate.max_spread: 0.25% -> 0.5%" in lines
    assert "  universe.include: [ETHUSDT, SOLUSDT] -> [BTCUSDT]" in lines


def test_the_ledger_holds_no_secret(layers: list[object]) -> None:
    """In none of the files that a run makes."""
    folder = applied(layers, 1)
    written(folder, "", "hook")  # the one file that may
    texts = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"smtp.example.com" in texts
    for secret in (SECRET, "header-secret-43", "token-secret-44"):
        assert secret.encode() not in texts


def test_history_without_a_ledger(command: Command, layers: list[object]) -> None:
    """It is told, and none is made."""
    assert command("config", "history", *layers)[0] != 0
    assert not (Path(str(layers[1])).parent / "tapewatch.db").exists()


def test_show_refuses_what_check_refuses(command: Command, tmp_path: Path) -> None:
    """With the same words, and nothing on stdout."""
    path = written(tmp_path, "universe: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\ngate: {late_after: 10}\n")
    assert "gate.late_after: must be a duration" in command.refused("config", "show", "-c", path)


def test_the_schema_is_json(command: Command) -> None:
    """Of the dialect that it names."""
    printed = json.loads("\n".join(command("config", "schema")[1]))
    assert printed["$schema"] == "https://json-schema.org/draft/2020-12/schema"
