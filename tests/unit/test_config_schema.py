"""Ranges, forms and cross checks of the sections."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import tapewatch
from tapewatch.config import Config, load
from tapewatch.config.schema import Component
from tapewatch.config.values import parse_duration, parse_percent
from tapewatch.errors import ConfigError
from tapewatch.network import is_loopback

BASE = """\
universe: {include: [BTCUSDT]}
strategies: {scalp: {}}
channels: {out: {type: console}}
alerts: {routes: [{channels: [out]}]}
"""
MAIL = "type: email, host: smtp.example.com, sender: a@example.com, recipients: [b@example.com]"


def load_over(folder: Path, layer: str) -> Config:
    """The base configuration with a second file over it."""
    (folder / "base.yaml").write_text(BASE, encoding="utf-8")
    (folder / "layer.yaml").write_text(layer, encoding="utf-8")
    return load([folder / "base.yaml", folder / "layer.yaml"], {"PW": "x"})


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("500ms", 500),
        ("10s", 10_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
        ("1.5s", 1_500),
        ("0m", 0),
    ],
)
def test_durations(text: str, ms: int) -> None:
    """A duration is a number with its unit and becomes milliseconds."""
    assert parse_duration(text) == ms


@pytest.mark.parametrize("value", ["10", "s", "-1s", "1 s", "1w", "1e3s", 10, None, True, "", "9" * 30 + "s"])
def test_not_durations(value: object) -> None:
    """Anything else is refused with the form to write."""
    with pytest.raises(ValueError, match="must be a duration with its unit"):
        parse_duration(value)


def test_percentages() -> None:
    """A percentage is a number with its sign and becomes a fraction; anything else is refused."""
    assert parse_percent("0.3%") == pytest.approx(0.003)
    assert parse_percent("50 %") == 0.5
    for value in ("0.3", 0.3, "%", "-1%", None):
        with pytest.raises(ValueError, match="must be a percentage with its sign"):
            parse_percent(value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    """Only names and addresses that can be nothing but this machine are loopback."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ("gate: {expiry: 0s}", "gate.expiry: must be longer than zero"),
        ("feeds: {weight_share: 0%}", "feeds.weight_share: must be greater than 0, not '0%'"),
        ("feeds: {weight_share: 0.5}", "feeds.weight_share: must be a percentage with its sign"),
        ("web: {port: true}", "web.port: must be a whole number, not true"),
        ("web: {port: 1.5}", "web.port: must be a whole number, not 1.5"),
        ("web: {port: -1}", "web.port: must be greater than or equal to 0"),
        ("web: {enabled: maybe}", "web.enabled: must be true or false, not 'maybe'"),
        ("web: {host: 0.0.0.0}", "web.host: '0.0.0.0' is open to others: set web.token"),
        ("exchange: {venue: kraken}", "exchange.venue: only binance_spot is watched without ccxt; `ccxt: kraken`"),
        ("exchange: {ccxt: kraken, venue: binance_spot}", "exchange.venue: binance_spot is the exchange that is"),
        ("exchange: {ccxt: kraken, rest_url: 'https://a.example'}", "exchange.rest_url: is not for ccxt"),
        ("exchange: {ccxt: {streams: true}}", "exchange.ccxt.id: "),
        ("exchange: {ccxt: {id: okx, apiKey: x}}", "exchange.ccxt.apiKey: "),
        ("exchange: {ccxt: {id: okx, options: {secret: x}}}", "exchange.ccxt.options.secret: no account is ever used"),
        ("exchange: {ccxt: {id: okx, urls: {api: {ws: 'ws://a.example'}}}}", "exchange.ccxt.urls.api.ws: must begin"),
        (
            "exchange: {ccxt: {id: okx, urls: {api: 'http://a.example'}}}",
            "exchange.ccxt.urls.api: must begin",
        ),
        ("exchange: {ccxt: {id: okx, urls: {api: 7}}}", "exchange.ccxt.urls.api: must be a URL such as"),
        ("exchange: {ccxt: {id: okx, urls: {api: 'https://a:b@c.example'}}}", "must not carry a user name"),
        ("exchange: {ccxt: kraken, futures_url: 'https://a.example'}", "exchange.futures_url: is not for ccxt"),
        ("exchange: {ws_url: 'wss://x.example.com'}", "exchange.ws_url: rest_url must be given with it"),
        ("exchange: {rest_url: 'http://x.example.com', ws_url: 'wss://x'}", "rest_url: must begin with https://"),
        ("exchange: {rest_url: 'https://u:p@x', ws_url: 'wss://x'}", "must not carry a user name or password"),
        ("exchange: {rest_url: 'https://x:70000', ws_url: 'wss://x'}", "rest_url: not a URL"),
        ("exchange: {rest_url: 'https://x?y', ws_url: 'wss://x'}", "rest_url: must be a URL such as https://host"),
        ("universe: {include: []}", "universe.include: must not be empty"),
        ("universe: {include: BTCUSDT}", "universe.include: must be a list, not 'BTCUSDT'"),
        ("universe: {include: [btcusdt]}", "universe.include.0: symbols are upper case, not 'btcusdt'"),
        ("universe: {include: [A, A]}", "universe.include.1: 'A' is given twice"),
        ("universe: {include: ['A B']}", "universe.include.0: must not be empty or contain spaces"),
        ("strategies: 7", "strategies: must be a mapping, not 7"),
        ("channels: {x: {type: fiel, path: a}}", "channels.x: unknown type 'fiel', did you mean 'file'?"),
        (
            "channels: {x: {type: [fiel]}}",
            "channels.x: unknown type a list; known here: apprise, console",
        ),
        ("channels: {x: {type: '${PW}'}}", "channels.x: unknown type what its variable gives; known here"),
        (
            "channels: {x: {path: a}}",
            "channels.x: type is missing; known: apprise, console",
        ),
        ("channels: {x: {type: file}}", "channels.x.path: is missing and has no default"),
        ("channels: {x: {type: file, path: 7}}", "channels.x.path: must be a path"),
        ("channels: {x: {type: file, path: a, pth: b}}", "channels.x.pth: unknown key, did you mean 'path'?"),
        ("channels: {x: console}", "channels.x: must be a mapping"),
        ("channels: {x: {type: discord}}", "channels.x.url: is missing and has no default"),
        ("channels: {x: {type: discord, url: 'https://a.example'}}", "channels.x.url: a secret does not belong in"),
        ("channels: {x: {type: discord, url: '${PW}'}}", "channels.x.url: must be a URL such as https://discord.com/"),
        ("channels: {x: {type: webhook, url: '${PW}'}}", "channels.x.url: must be a URL such as https://example.com/"),
        ("channels: {x: {type: telegram, token: '${PW}', chat_id: 1}}", "channels.x.token: is no token of a bot"),
        ("channels: {x: {type: telegram, token: '${PW}', chat_id: me}}", "channels.x.chat_id: must be a chat's number"),
        ("channels: {x: {type: webhook, url: '${PW}', headers: {Host: a}}}", "Host: is a header that tapewatch writes"),
        ("channels: {x: {type: webhook, url: '${PW}', headers: {'a b': a}}}", "a b: must be a header's name"),
        ('channels: {x: {type: webhook, url: "${PW}", headers: {a: "b\\nc"}}}', "a: must be printable ASCII"),
        ("channels: 3", "channels: must be a mapping, not 3"),
        (f"channels: {{x: {{{MAIL}, tls: none}}}}", "channels.x.tls: mail to 'smtp.example.com' must be encrypted"),
        (f"channels: {{x: {{{MAIL}, tls: ssl}}}}", "channels.x.tls: must be one of implicit, starttls, none"),
        (f"channels: {{x: {{{MAIL}, user: u}}}}", "channels.x.user: a user needs password or password_file"),
        (f"channels: {{x: {{{MAIL}, password: '${{PW}}'}}}}", "channels.x.password: a password needs user"),
        (f"channels: {{x: {{{MAIL}, sendr: u}}}}", "channels.x.sendr: unknown key, did you mean 'sender'?"),
        (f"channels: {{x: {{{MAIL}, pasword_file: u}}}}", "pasword_file: unknown key, did you mean 'password_file'?"),
        ("channels: {x: {type: email}}", "channels.x.recipients: is missing"),
        ("channels: {out: {fallback: [mail]}}", "channels.out.fallback.0: there is no channel 'mail'; known here: out"),
        ("channels: {out: {fallback: [out]}}", "channels.out.fallback.0: 'out' leads back to out"),
        (
            "channels: {out: {fallback: [a]}, a: {type: console, fallback: [b]}, b: {type: console, fallback: [out]}}",
            "channels.b.fallback.0: 'out' leads back to b",
        ),
        ("channels: {out: {fallback: [a, a]}, a: {type: console}}", "channels.out.fallback.1: 'a' is given twice"),
        ("channels: {out: {per_minute: -1}}", "channels.out.per_minute: must be greater than or equal to 0, not -1"),
        ("channels: {out: {quiet: {from: '22:00'}}}", "channels.out.quiet.to: is missing"),
        ("channels: {out: {quiet: {from: '24:00', to: '07:00'}}}", "channels.out.quiet.from: must be a time of day"),
        ("channels: {out: {quiet: {from: '07:00', to: '07:00'}}}", "channels.out.quiet: from and to must differ"),
        ("channels: {out: {quiet: {form: '07:00', to: '08:00'}}}", "channels.out.quiet.form: unknown key, did you"),
        ("alerts: {routes: [{channels: [out], kinds: [signals]}]}", "alerts.routes.0.kinds.0: must be one of signal"),
        ("alerts: {routes: [{channels: [out], severity: urgent}]}", "alerts.routes.0.severity: must be one of low"),
        ("alerts: {routes: [{channels: [out], min_strength: 11}]}", "alerts.routes.0.min_strength: must be less than"),
        ("alerts: {routes: [{channels: [out], min_confidence: 0}]}", "min_confidence: must be a share of the factors"),
        ("alerts: {routes: [{channels: [out], min_confidence: 120%}]}", "min_confidence: must be a share of the"),
        ("alerts: {routes: [{channels: []}]}", "alerts.routes.0.channels: must not be empty"),
        ("alerts: {routes: [{channels: [out], strategies: [sclap]}]}", "no strategy 'sclap', did you mean 'scalp'?"),
        ("alerts: {routes: [{channels: [x]}]}", "alerts.routes.0.channels.0: there is no channel 'x'; known here: out"),
        ("alerts: {operator: {channels: [our]}}", "alerts.operator.channels.0: there is no channel 'our'"),
        ("alerts: {time_zone: Europe/Berln}", "alerts.time_zone: not a known time zone"),
        ("alerts: {time_zone: ../etc}", "alerts.time_zone: not a known time zone"),
        ("ledger: {url: 'sqlite://'}", "ledger.url: must be sqlite:/// and a file"),
        ("ledger: {url: 'postgresql://h'}", "ledger.url: must be sqlite:/// and a file"),
        ("ledger: {url: 'postgresql://h:x/d'}", "ledger.url: must be sqlite:/// and a file"),
        ("ledger: {url: 'postgresql://u:p@h/d'}", "ledger.url: the password does not belong in the URL"),
        ("ledger: {url: 'postgresql://h/d?password=p'}", "ledger.url: the password does not belong in the URL"),
        ("ledger: {url: 'postgresql://h/d'}", "ledger: with PostgreSQL a folder is needed"),
        ("ledger: {snapshots: 7m}", "ledger: snapshots: whole minutes that divide a day, as 15m"),
        ("ledger: {snapshots: 90s}", "ledger: snapshots: whole minutes that divide a day, as 15m"),
        ("ledger: {keep: {signals: 23h}}", "ledger.keep.signals: must be greater than or equal to 86400000"),
        ("logging: {levels: {fedes: info}}", "logging.levels.fedes: must be one of"),
        ("logging: {levels: {feeds: loud}}", "logging.levels.feeds: must be one of"),
        ("logging: {keep: 0}", "logging.keep: must be greater than or equal to 1, not 0"),
        (
            "feeds: {zzzzzz: 1s}",
            "feeds.zzzzzz: unknown key; known here: breaker_after, concurrency, connect_timeout, connection_attempts, ",
        ),
        ("gate: {history: {siez: 1}}", "gate.history.siez: unknown key, did you mean 'size'?"),
        (
            "alerts: {routes: [{chanels: [out], channels: [out]}]}",
            "routes.0.chanels: unknown key, did you mean 'channels'",
        ),
        ("gate: {expiry: '" + "9" * 200 + "'}", "9999..."),
    ],
)
def test_mistake_is_named(tmp_path: Path, layer: str, says: str) -> None:
    """Each mistake is reported at its line and key, in words that say what to write."""
    with pytest.raises(ConfigError) as caught:
        load_over(tmp_path, layer)
    hits = [problem for problem in caught.value.problems if says in problem]
    assert hits, caught.value.problems
    assert hits[0].startswith(f"{tmp_path}/layer.yaml:1: ")


def test_unknown_channel_without_any(tmp_path: Path) -> None:
    """A route in a configuration without channels says that there is none."""
    path = tmp_path / "t.yaml"
    path.write_text(BASE.replace("channels: {out: {type: console}}\n", ""), encoding="utf-8")
    with pytest.raises(ConfigError, match="there is no channel 'out'; there is no channel at all"):
        load([path], {})


def test_required_sections(tmp_path: Path) -> None:
    """Symbols and strategies have no default and are asked for together."""
    path = tmp_path / "t.yaml"
    path.write_text("web: {enabled: true}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load([path], {})
    assert caught.value.problems == [
        f"{path}:1: universe: is missing and has no default",
        f"{path}:1: strategies: is missing and has no default",
    ]


@pytest.mark.parametrize(("tls", "host", "port"), [("implicit", "a", 465), ("starttls", "a", 587), ("none", "::1", 25)])
def test_mail_port_follows_tls(tmp_path: Path, tls: str, host: str, port: int) -> None:
    """Without a port the one that belongs to the kind of encryption is taken."""
    layer = f"channels: {{m: {{{MAIL.replace('smtp.example.com', repr(host))}, tls: {tls}}}}}"
    config = load_over(tmp_path, layer)
    assert config.channels["m"].port == port  # type: ignore[union-attr]
    assert config.channels["m"].timeout == 10_000  # type: ignore[union-attr]


def test_unwatched_symbol_in_a_route_is_a_warning(tmp_path: Path) -> None:
    """A route for a symbol that is not watched works but is remarked on."""
    config = load_over(tmp_path, "alerts: {routes: [{channels: [out], symbols: ['*USDT', X]}]}")
    assert config.warnings == (
        f"{tmp_path}/layer.yaml:1: alerts.routes.0.symbols.1: 'X' matches nothing that is watched",
    )


def test_every_component_that_logs_can_be_set() -> None:
    """The components that loggers are made for are those whose level can be configured."""
    source = Path(tapewatch.__file__).parent
    made = re.compile(r'get_logger\((?:component=)?"([a-z]+)')
    named = {name for path in source.rglob("*.py") for name in made.findall(path.read_text(encoding="utf-8"))}
    assert {"tapewatch", "live"} <= named <= set(get_args(Component))


def test_urls_lose_their_last_slash(tmp_path: Path) -> None:
    """Addresses are kept without a slash at the end, so that paths can be added."""
    config = load_over(tmp_path, "exchange: {rest_url: 'https://x.example.com/', ws_url: 'wss://x.example.com/'}")
    assert (config.exchange.rest_url, config.exchange.ws_url) == ("https://x.example.com", "wss://x.example.com")


def test_ccxt_by_name_gives_the_venue(tmp_path: Path) -> None:
    """`ccxt: kraken` is short for its id; the venue is named after it unless it is given; symbols may be lower case."""
    short = load_over(tmp_path, "exchange: {ccxt: kraken}\nuniverse: {include: [BTC/USDT, kPEPE/USDC:USDC]}")
    assert short.exchange.venue == "kraken"
    assert short.exchange.ccxt is not None
    assert (short.exchange.ccxt.id, short.exchange.ccxt.streams) == ("kraken", True)
    long = load_over(
        tmp_path,
        "exchange: {venue: mine, ccxt: {id: okx, streams: false, urls: {api: {rest: 'http://127.0.0.1:9/x'}}}}",
    )
    assert long.exchange.venue == "mine"
    assert long.exchange.ccxt is not None
    assert long.exchange.ccxt.urls == {"api": {"rest": "http://127.0.0.1:9/x"}}
    assert load_over(tmp_path, "{}").exchange.ccxt is None
