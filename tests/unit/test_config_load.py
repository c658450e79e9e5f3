"""Loading: files, layers, places, and every problem at once."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tapewatch.config import Config, load
from tapewatch.errors import ConfigError

SMALLEST = """\
exchange: {venue: binance_spot, rest_url: "http://127.0.0.1:9000", ws_url: "ws://127.0.0.1:9000"}
universe: {include: [BTCUSDT, ETHUSDT]}
strategies: {scalp: {timeframes: [1m, 5m]}}
channels:
  out: {type: file, path: alerts.jsonl}
alerts: {routes: [{channels: [out]}]}
ledger: {url: "sqlite:///tapewatch.db"}
web: {enabled: false}
"""


def write(folder: Path, text: str, name: str = "tapewatch.yaml") -> Path:
    """A configuration file with this text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(*paths: Path, env: dict[str, str] | None = None) -> list[str]:
    """What loading these files complains about."""
    with pytest.raises(ConfigError) as caught:
        load(paths, env or {})
    return caught.value.problems


def test_smallest_configuration_loads(tmp_path: Path) -> None:
    """The configuration pinned in the interfaces loads, with paths relative to its own folder."""
    config = load([write(tmp_path, SMALLEST)], {})
    assert isinstance(config, Config)
    assert config.universe.include == ["BTCUSDT", "ETHUSDT"]
    assert config.strategies == {"scalp": {"timeframes": ["1m", "5m"]}}
    assert config.channels["out"].path == tmp_path / "alerts.jsonl"  # type: ignore[union-attr]
    assert config.ledger.url == f"sqlite:///{tmp_path / 'tapewatch.db'}"
    assert (config.web.enabled, config.web.port) == (False, 8080)
    assert config.sources == (tmp_path / "tapewatch.yaml",)
    assert config.warnings == ()


def test_exchange_hosts_default_to_the_market_data_hosts(tmp_path: Path) -> None:
    """Without addresses the exchange itself is meant, by its hosts that need no key; other defaults hold too."""
    path = write(tmp_path, "universe: {include: [BTCUSDT]}\nstrategies: {scalp: }\nweb:\n")
    config = load([path], {})
    assert config.exchange.rest_url == "https://data-api.binance.vision"
    assert config.exchange.ws_url == "wss://data-stream.binance.vision"
    assert config.strategies == {"scalp": {}}
    assert config.ledger.url == f"sqlite:///{tmp_path / 'tapewatch.db'}"
    assert (config.feeds.settle, config.gate.expiry, config.gate.history.size) == (3_000, 900_000, 50)
    assert "no route" in config.warnings[0]


def test_json_loads_like_yaml(tmp_path: Path) -> None:
    """A JSON file, tabs and escaped characters outside the basic plane included, means the same as YAML."""
    data = {"universe": {"include": ["BTCUSDT", "\U0001f680USDT"]}, "strategies": {"scalp": {"cooldown": "0m"}}}
    config = load([write(tmp_path, json.dumps(data, indent="\t"), "tapewatch.json")], {})
    assert config.universe.include == ["BTCUSDT", "\U0001f680USDT"]
    assert config.strategies == {"scalp": {"cooldown": "0m"}}


def test_json_must_be_json(tmp_path: Path) -> None:
    """What only YAML would allow is refused in a .json file, with its line."""
    found = problems(write(tmp_path, '{\n "web": {},\n}', "tapewatch.json"))
    assert found[0].startswith(f"{tmp_path}/tapewatch.json:")
    assert "not valid JSON" in found[0]


def test_later_files_win(tmp_path: Path) -> None:
    """Mappings merge over files, lists and scalars are replaced, and each path is relative to its own file."""
    other = tmp_path / "site"
    other.mkdir()
    first = write(tmp_path, SMALLEST)
    second = write(
        other, "universe: {include: [SOLUSDT]}\nchannels: {more: {type: file, path: m.jsonl}}\nweb: {port: 0}\n"
    )
    config = load([first, second], {})
    assert config.universe.include == ["SOLUSDT"]
    assert config.channels["out"].path == tmp_path / "alerts.jsonl"  # type: ignore[union-attr]
    assert config.channels["more"].path == other / "m.jsonl"  # type: ignore[union-attr]
    assert (config.web.enabled, config.web.port) == (False, 0)
    assert config.where("web.port") == f"{second}:3"
    assert config.where("web.enabled") == f"{first}:8"


def test_error_points_into_the_file_it_came_from(tmp_path: Path) -> None:
    """A mistake names the file and line of the layer that made it."""
    first, second = write(tmp_path, SMALLEST), write(tmp_path, "# site\nweb:\n  port: 99999\n", "site.yaml")
    assert problems(first, second) == [f"{second}:3: web.port: must be less than or equal to 65535, not 99999"]


def test_where_finds_strategy_parts(tmp_path: Path) -> None:
    """A part of a strategy has its line; a part that is not written has the line of what holds it."""
    text = "universe: {include: [BTCUSDT]}\nstrategies:\n  mine:\n    long:\n      up: close > open\n"
    config = load([write(tmp_path, text)], {})
    assert config.where("strategies.mine.long.up") == f"{tmp_path}/tapewatch.yaml:5"
    assert config.where("strategies.mine.short.up") == f"{tmp_path}/tapewatch.yaml:3"


def test_three_mistakes_are_three_lines(tmp_path: Path) -> None:
    """A key too many, a wrong value and a route to nowhere are reported together, each with line and key."""
    text = SMALLEST.replace("web: {enabled: false}", "web: {enabeld: false}").replace(
        "[{channels: [out]}]", "[{channels: [oot]}]"
    )
    text = text.replace("scalp: {timeframes: [1m, 5m]}", "scalp: 7")
    path = write(tmp_path, text)
    assert problems(path) == [
        f"{path}:3: strategies.scalp: must be a mapping, not 7",
        f"{path}:6: alerts.routes.0.channels.0: there is no channel 'oot', did you mean 'out'?",
        f"{path}:8: web.enabeld: unknown key, did you mean 'enabled'?",
    ]


def test_duplicate_keys_are_refused(tmp_path: Path) -> None:
    """A key given twice is a mistake at its second line, and the rest is still checked."""
    path = write(tmp_path, SMALLEST + "web: {port: 0}\ngate: {expiry: 5}\n")
    assert problems(path) == [
        f"{path}:9: web: the key is given twice, first on line 8",
        f"{path}:10: gate.expiry: must be a duration with its unit, such as 500ms, 10s, 5m, 1h or 1d, not 5",
    ]


def test_on_and_no_are_text(tmp_path: Path) -> None:
    """YAML 1.2: `on` and `no` stay text, dates too, numbers and booleans do not."""
    text = "universe: {include: [BTCUSDT]}\nstrategies:\n  s:\n"
    text += "    params: {a: on, b: no, c: 2026-01-01, d: 1.5, e: true, f: 7, g: ~}\n"
    config = load([write(tmp_path, text)], {})
    params = {"a": "on", "b": "no", "c": "2026-01-01", "d": 1.5, "e": True, "f": 7, "g": None}
    assert config.strategies["s"]["params"] == params


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"# nothing but this\n", "the file is empty"),
        (b"- a\n- b\n", ":1: must be a mapping of sections, not a list"),
        (b"just words\n", ":1: must be a mapping of sections, not a single value"),
        (b"web: {port: 80\n", "not valid YAML"),
        (b"web:\n\tport: 80\n", ":2: not valid YAML"),
        (b"a: 1\n---\nb: 2\n", "not valid YAML"),
        (b"web: \xff\n", "not UTF-8 text"),
        (b"web: &x [*x]\n", "an alias refers to itself"),
        (b"a: " + b"[" * 5000, "nested too deeply"),
        (b"a: \x00\n", "not valid YAML"),
    ],
)
def test_unusable_file_gives_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    """A file that cannot be read as a mapping gives exactly one clear line that names it."""
    path = tmp_path / "tapewatch.yaml"
    path.write_bytes(content)
    found = problems(path)
    assert len(found) == 1
    assert found[0].startswith(str(path))
    assert says in found[0]


def test_missing_and_directory(tmp_path: Path) -> None:
    """A missing file and a directory are both said, in one go."""
    assert problems(tmp_path / "none.yaml", tmp_path) == [
        f"{tmp_path}/none.yaml: no such file; `tapewatch init` writes one, -c names another",
        f"{tmp_path}: is a directory, not a file",
    ]
    assert problems() == ["no configuration file is given; `tapewatch init` writes one"]


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without permission to read is said to be one."""

    def refuse(*_args: object, **_kwargs: object) -> str:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path, SMALLEST)
    monkeypatch.setattr(Path, "open", refuse)
    assert problems(path) == [f"{path}: cannot be read: Permission denied"]


@pytest.mark.parametrize("text", ["<<: {port: 1}", "? [1, 2]\n: 3"])
def test_keys_must_be_words(tmp_path: Path, text: str) -> None:
    """Merge keys and keys that are lists are refused at their line."""
    assert "a key must be a word" in problems(write(tmp_path, SMALLEST + text + "\n"))[0]


def test_tags_are_refused(tmp_path: Path) -> None:
    """A tag that asks for more than plain data is refused, and so is a number that is none."""
    found = problems(write(tmp_path, SMALLEST + "telemetry: {health_every: !!python/object x}\n"))
    assert found == [f"{tmp_path}/tapewatch.yaml:9: telemetry.health_every: the tag !python/object is not supported"]
    found = problems(write(tmp_path, SMALLEST + "gate: {expiry: !!int x}\n"))
    assert found == [f"{tmp_path}/tapewatch.yaml:9: gate.expiry: not a int that can be read"]


def test_aliases_may_be_used(tmp_path: Path) -> None:
    """An alias repeats a value; a document that would grow without end by them is refused."""
    text = SMALLEST.replace("[BTCUSDT, ETHUSDT]", "&all [BTCUSDT]").replace(
        "{channels: [out]}", "{channels: [out], symbols: *all}"
    )
    assert load([write(tmp_path, text)], {}).alerts.routes[0].symbols == ["BTCUSDT"]
    laugh = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    laugh += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 8))
    assert "grows without end" in problems(write(tmp_path, laugh))[0]


def test_home_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` in a path is the home folder; nobody's home is a problem of that key."""
    monkeypatch.setenv("HOME", "/home/somebody")
    path = write(tmp_path, SMALLEST + "logging: {file: ~/tape.log}\n")
    assert load([path], {}).logging.file == Path("/home/somebody/tape.log")
    path = write(tmp_path, SMALLEST + "logging: {file: ~nobody-of-that-name/tape.log}\n")
    assert problems(path) == [f"{path}:9: logging.file: no home directory for '~nobody-of-that-name/tape.log'"]


def test_byte_order_mark_is_allowed(tmp_path: Path) -> None:
    """A file saved with a byte order mark reads as one without."""
    path = tmp_path / "tapewatch.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALLEST.encode())
    assert load([path], {}).web.enabled is False
    assert path.stat().st_mode & stat.S_IRUSR


def test_values_are_frozen(tmp_path: Path) -> None:
    """A loaded configuration cannot be changed."""
    config = load([write(tmp_path, SMALLEST)], {})
    with pytest.raises(ValueError, match="frozen"):
        config.web.port = 1
