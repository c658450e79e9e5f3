"""`init`, `check` without connecting, and the examples that ship."""

from __future__ import annotations

import json
import re
import stat
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from tapewatch.cli import setup
from tapewatch.cli.run import health_server
from tapewatch.cli.setup import check, configuration, init, render
from tapewatch.config import Config, load
from tapewatch.config.channels import DiscordChannel, EmailChannel, TelegramChannel
from tapewatch.config.environment import read_dotenv
from tapewatch.config.section import Section
from tapewatch.errors import ConfigError, SetupError
from tapewatch.live import shell
from tapewatch.live.shell import Live
from tapewatch.strategies import configured

EXAMPLES = Path(str(resources.files("tapewatch.config").joinpath("examples")))


def run(command: Any, *arguments: str, typed: str | None = None) -> Result:
    """The command's outcome."""
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, arguments, input=typed)


def test_init_writes_what_check_accepts(tmp_path: Path) -> None:
    """Without questions a complete configuration and a private `.env` are written, and they are valid."""
    folder = tmp_path / "new"
    result = run(init, str(folder), "--yes")
    assert result.exit_code == 0, result.output
    config = configuration([folder / "tapewatch.yaml"])
    assert config.universe.include == ["BTCUSDT", "ETHUSDT"]
    assert config.warnings == ()
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == [".env", "tapewatch.yaml"]


def test_init_does_not_overwrite(tmp_path: Path) -> None:
    """What is there stays unless forced; a forced `.env` is private again."""
    (tmp_path / ".env").write_text("MINE=1\n", encoding="utf-8")
    (tmp_path / ".env").chmod(0o644)
    result = run(init, str(tmp_path), "--yes")
    assert isinstance(result.exception, SetupError)
    assert str(result.exception) == f"{tmp_path}/.env exist already; --force overwrites them"
    assert [path.name for path in tmp_path.iterdir()] == [".env"]
    assert run(init, str(tmp_path), "--yes", "--force").exit_code == 0
    assert "MINE" not in (tmp_path / ".env").read_text(encoding="utf-8")
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_init_asks_only_on_a_terminal(tmp_path: Path) -> None:
    """Where nobody can answer, nothing is asked."""
    result = run(init, str(tmp_path), typed="SOLUSDT\n")
    assert result.exit_code == 0
    assert "Symbols" not in result.output


@pytest.mark.parametrize("password", ['p"a\\ss # word', ""])
def test_init_takes_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    """Symbols and mail settings answered on a terminal are in the configuration, the password in `.env` only."""
    monkeypatch.setattr(setup, "_on_terminal", lambda: True)
    typed = f"solusdt, ETHUSDT\ny\nmail.example.org\nme\nme@example.org\nyou@example.org\n{password}\nn\nn\n"
    result = run(init, str(tmp_path), typed=typed)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "tapewatch.yaml").read_text(encoding="utf-8")
    if password:
        assert password not in text + result.output
        config = load([tmp_path / "tapewatch.yaml"], {})
        assert config.secret_values() == (password,)
    else:
        with pytest.raises(ConfigError, match="the secret is empty"):
            load([tmp_path / "tapewatch.yaml"], {})
        config = load([tmp_path / "tapewatch.yaml"], {"MAIL_PASSWORD": "x"})
    mail = config.channels["mail"]
    assert isinstance(mail, EmailChannel)
    assert (mail.host, mail.port, mail.user, mail.sender) == ("mail.example.org", 587, "me", "me@example.org")
    assert mail.recipients == ["you@example.org"]
    assert config.universe.include == ["SOLUSDT", "ETHUSDT"]
    assert config.alerts.routes[0].channels == ["console", "file", "mail"]
    assert (mail.quiet, mail.fallback, mail.ca_file) == (None, [], None)


def test_init_takes_answers_for_discord_and_telegram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their secrets are in `.env` only, their channels in the route; nothing that was not asked is set."""
    monkeypatch.setattr(setup, "_on_terminal", lambda: True)
    typed = "BTCUSDT\nn\ny\nhttps://discord.com/api/webhooks/1/sesame\ny\n42:sesame\n-1005\n"
    result = run(init, str(tmp_path), typed=typed)
    assert result.exit_code == 0, result.output
    assert "sesame" not in (tmp_path / "tapewatch.yaml").read_text(encoding="utf-8") + result.output
    config = load([tmp_path / "tapewatch.yaml"], {})
    assert config.secret_values() == ("https://discord.com/api/webhooks/1/sesame", "42:sesame")
    assert config.alerts.operator.channels == ["console", "desk", "phone"]
    desk, phone = config.channels["desk"], config.channels["phone"]
    assert isinstance(desk, DiscordChannel)
    assert isinstance(phone, TelegramChannel)
    assert (desk.username, desk.thread_id, phone.chat_id, phone.message_thread_id) == (None, None, "-1005", None)
    assert config.alerts.routes[0].channels == ["console", "file", "desk", "phone"]


def test_init_refuses_a_secret_that_cannot_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong address is told without repeating it, and nothing is written."""
    monkeypatch.setattr(setup, "_on_terminal", lambda: True)
    result = run(init, str(tmp_path), typed="BTCUSDT\nn\ny\nhttps://example.com/sesame\nn\n")
    assert "must be a URL such as https://discord.com" in str(result.exception)
    assert "sesame" not in str(result.exception)
    assert not (tmp_path / "tapewatch.yaml").exists()


def test_init_without_mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answering no to e-mail leaves it commented out."""
    monkeypatch.setattr(setup, "_on_terminal", lambda: True)
    assert run(init, str(tmp_path), typed="\nn\nn\nn\n").exit_code == 0
    assert set(load([tmp_path / "tapewatch.yaml"], {}).channels) == {"console", "file"}


def test_init_writes_nothing_of_wrong_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that makes no configuration is said, and no file is left."""
    monkeypatch.setattr(setup, "_on_terminal", lambda: True)
    result = run(init, str(tmp_path), typed="BTCUSDT\ny\nmail\nme\nno address\nyou@example.org\nx\nn\nn\n")
    assert isinstance(result.exception, SetupError)
    assert "channels.mail.sender: must be an e-mail address" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_init_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be made, and a disk that is full half-way, are said and leave nothing behind."""
    (tmp_path / "file").touch()
    result = run(init, str(tmp_path / "file" / "x"), "--yes")
    assert isinstance(result.exception, SetupError)
    assert "Not a directory" in str(result.exception)

    def full(_self: Path, _target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    result = run(init, str(tmp_path / "new"), "--yes")
    assert isinstance(result.exception, SetupError)
    assert list((tmp_path / "new").iterdir()) == []


GOOD = """\
universe: {include: [A, B, C, D, E, F, G, H, I, J, K]}
strategies: {scalp: {timeframes: [1m]}}
channels: {out: {type: console}}
alerts: {routes: [{channels: [out], strategies: [scalp], symbols: [A]}, {channels: [out]}], operator: {channels: [out]}}
web: {port: 0}
"""


def test_check_says_what_would_run(tmp_path: Path) -> None:
    """A right configuration is told in words: exchange, symbols, strategies, routes, ledger."""
    path = tmp_path / "t.yaml"
    path.write_text(GOOD, encoding="utf-8")
    result = run(check, "-c", str(path))
    assert result.exit_code == 0, result.output
    for words in (
        "binance_spot at https://data-api.binance.vision",
        "11 symbols: A, B, C, D, E, F, G, H, I, J, …",
        "scalp on 1m",
        "strategies scalp on A to out",
        "all strategies on all symbols to out",
        f"sqlite:///{tmp_path}/tapewatch.db",
        "any free port",
    ):
        assert words in result.output


def test_check_says_which_template_is_wrong(tmp_path: Path) -> None:
    """With its file and line; right ones are told of by their folder, and a run refuses what check refuses."""
    path, templates = tmp_path / "t.yaml", tmp_path / "own"
    path.write_text(GOOD.replace("alerts: {", "alerts: {templates: own, "), encoding="utf-8")
    templates.mkdir()
    (templates / "signal.txt").write_text("{{ symbol }}", encoding="utf-8")
    assert f"templates {templates}" in " ".join(run(check, "-c", str(path)).output.split())
    (templates / "exit.txt").write_text("{{ symbol }}", encoding="utf-8")
    warned = run(check, "-c", str(path))
    assert warned.exit_code == 0
    assert "exit.txt: no name symbol" in warned.output
    (templates / "signal.txt").write_text("{{ symbol }}\n{% if %}", encoding="utf-8")
    result = run(check, "-c", str(path))
    assert result.exit_code == 2
    assert f"{templates / 'signal.txt'}:2: " in result.output
    with pytest.raises(SetupError, match=r"signal\.txt:2: "):
        Live(configuration([path]), health_server)


def test_check_says_what_patterns_choose_from(tmp_path: Path) -> None:
    """Who it will be, only the exchange knows."""
    path = tmp_path / "t.yaml"
    path.write_text("universe: {quotes: [USDT, EUR], max_symbols: 2000}\nstrategies: {scalp: {}}\n", encoding="utf-8")
    result = run(check, "-c", str(path))
    assert result.exit_code == 0, result.output
    assert "* priced in USDT, EUR, at most 2,000 symbols" in result.output


def test_check_as_json(tmp_path: Path) -> None:
    """With --json each finding is one line, warnings with their own status."""
    path = tmp_path / "t.yaml"
    path.write_text("universe: {include: [A]}\nstrategies: {scalp: {}}\n", encoding="utf-8")
    result = run(check, "-c", str(path), "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines[0] == {"check": "configuration", "status": "pass", "target": str(path)}
    assert lines[1]["status"] == "warn"
    assert {"check": "strategy", "status": "pass", "detail": "scalp on 1m, 5m"} in lines


def test_check_tells_every_problem(tmp_path: Path) -> None:
    """Mistakes in sections and in several strategies are told together, each with its place; exit 2."""
    path = tmp_path / "t.yaml"
    path.write_text(
        "universe: {include: [A]}\nstrategies:\n  scalp:\n    stop: atr(\n  mine:\n    timeframes: [9m]\n"
        "web: {prt: 1}\n",
        encoding="utf-8",
    )
    result = run(check, "-c", str(path), "--json")
    assert result.exit_code == 2
    details = [json.loads(line)["detail"] for line in result.stdout.splitlines()]
    assert details[0].startswith(f"{path}:4: strategies.scalp.stop: ")
    assert details[1].startswith(f"{path}:5: strategies.mine")
    assert details[2] == f"{path}:7: web.prt: unknown key, did you mean 'port'?"
    plain = run(check, "-c", str(path))
    assert plain.exit_code == 2
    assert all(detail.splitlines()[0] in plain.stderr for detail in details)
    assert plain.stdout == ""


def test_a_run_that_cannot_begin_leaves_the_ledger_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its right to write it is given back at once, whatever went wrong after it was taken."""
    path = tmp_path / "tapewatch.yaml"
    path.write_text(
        "universe: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\nledger: {url: 'sqlite:///tapewatch.db'}\n"
    )
    config = load([path], {})

    def fails(*_: object) -> None:
        raise SetupError("it cannot work")

    with monkeypatch.context() as patched:
        patched.setattr(shell, "Bringing", fails)
        with pytest.raises(SetupError, match="it cannot work"):
            Live(config, health_server)
    begun = Live(config, health_server)
    begun._close()


def test_check_looks_for_the_usual_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without -c it is tapewatch.yaml in the current folder."""
    monkeypatch.chdir(tmp_path)
    result = run(check)
    assert (result.exit_code, "tapewatch.yaml: no such file" in result.stderr) == (2, True)


def env_example() -> dict[str, str]:
    """The variables of the example."""
    lines = (EXAMPLES / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value.strip('"') for name, value in pairs}


@pytest.mark.parametrize("name", ["default.yaml", "development.yaml", "production.yaml"])
def test_example_is_valid(name: str) -> None:
    """Each example that ships is a valid configuration by itself, and with the default one below it."""
    for paths in ([EXAMPLES / name], [EXAMPLES / "default.yaml", EXAMPLES / name]):
        config = load(paths, env_example(), compile_strategy=lambda key, mapping: configured({key: mapping}))
        assert config.alerts.routes
        assert config.warnings == ()


def test_the_example_of_variables_is_whole(tmp_path: Path) -> None:
    """It names every variable of the other examples, whether they are in force or not, in the form of a `.env`."""
    text = (EXAMPLES / ".env.example").read_text(encoding="utf-8")
    path = tmp_path / ".env"
    path.write_text(re.sub(r"(?m)^# (?=[A-Z_]+=)", "", text))
    found, problems = read_dotenv(path)
    assert problems == []
    texts = "".join(path.read_text("utf-8") for path in EXAMPLES.glob("*.yaml"))
    assert set(re.findall(r"\$\{([A-Z_]+)", texts)) - {"VAR"} == set(found)


def test_production_needs_its_variables() -> None:
    """Without its variables the production example says which are missing."""
    with pytest.raises(ConfigError) as caught:
        load([EXAMPLES / "production.yaml"], {})
    text = str(caught.value)
    assert all(name in text for name in env_example())


def test_default_example_shows_the_defaults(tmp_path: Path) -> None:
    """What the default example writes are the defaults, where there are any."""
    shown = load([EXAMPLES / "default.yaml"], {})
    path = tmp_path / "t.yaml"
    path.write_text(
        "universe: {include: [BTCUSDT, ETHUSDT]}\nstrategies: {scalp: {timeframes: [1m, 5m]}}\npaper: {}\n",
        encoding="utf-8",
    )
    bare = load([path], {})
    for section in ("exchange", "universe", "feeds", "strategies", "gate", "paper", "web", "logging", "telemetry"):
        assert getattr(shown, section) == getattr(bare, section), section
    for key in ("time_zone", "expiry", "follow_up"):
        assert getattr(shown.alerts, key) == getattr(bare.alerts, key)
    for key in ("every", "per_hour", "data_errors_per_hour"):
        assert getattr(shown.alerts.operator, key) == getattr(bare.alerts.operator, key)


def keys_of(model: type[Section]) -> set[str]:
    """Every key that can be written below a section."""
    found: set[str] = set()

    def visit(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, Section):
            found.update(keys_of(annotation))
        for part in get_args(annotation):
            visit(part)

    for name, info in model.model_fields.items():
        found.add(info.alias or name)
        visit(info.annotation)
    return found


def test_default_example_shows_every_key() -> None:
    """Every key of the configuration appears in the default example, commented out or not."""
    text = (EXAMPLES / "default.yaml").read_text(encoding="utf-8")
    assert {key for key in keys_of(Config) if f"{key}:" not in text} == set()


def test_rendered_configuration_keeps_its_comments() -> None:
    """What `init` writes is the default example with the answers put in, still YAML and still commented."""
    answers = {"symbols": "X", "host": "h", "user": "u: #", "sender": "a@b.c", "recipient": "d@e.f", "password": ""}
    text = render(answers)
    data = YAML(typ="safe", pure=True).load(text)
    assert data["channels"]["mail"]["user"] == "u: #"
    assert data["universe"]["include"] == ["X"]
    assert text.count("#") > 20
