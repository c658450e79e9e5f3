"""Secrets: where they may come from, and that they are never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import SecretStr

from tapewatch.config import Config, load
from tapewatch.config.channels import CHANNEL_TYPES
from tapewatch.config.load import PATH_KEYS
from tapewatch.config.section import Section
from tapewatch.errors import ConfigError

SECRET = "correct-horse-42"
BASE = """\
universe: {{include: [BTCUSDT]}}
strategies: {{scalp: {{}}}}
alerts: {{routes: [{{channels: [mail]}}]}}
channels:
  mail:
    type: email
    host: smtp.example.com
    sender: tape@example.com
    recipients: [me@example.com]
    user: tape
    {password}
"""


def load_with(folder: Path, password: str, env: dict[str, str] | None = None) -> Config:
    """The configuration with this line for the password."""
    path = folder / "t.yaml"
    path.write_text(BASE.format(password=password), encoding="utf-8")
    return load([path], env or {})


def problem(folder: Path, password: str, env: dict[str, str] | None = None) -> str:
    """The only complaint about it."""
    with pytest.raises(ConfigError) as caught:
        load_with(folder, password, env)
    assert SECRET not in str(caught.value)
    assert len(caught.value.problems) == 1, caught.value.problems
    return caught.value.problems[0]


def secret_file(folder: Path, mode: int = 0o600, text: str = SECRET + "\n") -> Path:
    """A file that holds the secret."""
    path = folder / "secret"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def password_of(config: Config) -> str:
    """The password in clear; it must not be in anything printed of the configuration."""
    assert SECRET not in repr(config) + str(config) + config.model_dump_json()
    assert config.secret_values() == (SECRET,)
    password: SecretStr = config.channels["mail"].password  # type: ignore[union-attr,assignment]
    return password.get_secret_value()


def test_from_a_variable(tmp_path: Path) -> None:
    """`${VAR}` gives the secret, and digits alone stay text."""
    assert password_of(load_with(tmp_path, "password: ${PW}", {"PW": SECRET})) == SECRET
    config = load_with(tmp_path, "password: ${PW}", {"PW": "007"})
    assert config.secret_values() == ("007",)


def test_from_a_file(tmp_path: Path) -> None:
    """`password_file`, relative to the configuration, gives the secret without its line end."""
    secret_file(tmp_path)
    config = load_with(tmp_path, "password_file: secret")
    assert password_of(config) == SECRET
    assert config.warnings == ()
    assert config.where("channels.mail.password") == f"{tmp_path}/t.yaml:11"


def test_from_a_variable_that_names_a_file(tmp_path: Path) -> None:
    """`VAR_FILE` stands in for an unset VAR; both at once are refused."""
    path = secret_file(tmp_path)
    assert password_of(load_with(tmp_path, "password: ${PW}", {"PW_FILE": str(path)})) == SECRET
    text = problem(tmp_path, "password: ${PW}", {"PW_FILE": str(path), "PW": SECRET})
    assert text == f"{tmp_path}/t.yaml:11: channels.mail.password: both PW and PW_FILE are set; one of them must go"


def test_a_credential_of_the_service(tmp_path: Path) -> None:
    """A file of the variable's name in small letters, in systemd's folder; what is set wins over it."""
    (tmp_path / "pw").write_text(f"{SECRET}\n")
    (tmp_path / "pw").chmod(0o440)
    folder = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    config = load_with(tmp_path, "password: ${PW}", folder)
    assert password_of(config) == SECRET
    assert not [warning for warning in config.warnings if "everybody" in warning]
    (tmp_path / "pw").write_text("another")
    assert password_of(load_with(tmp_path, "password: ${PW}", {**folder, "PW": SECRET})) == SECRET
    (tmp_path / "pw").unlink()
    assert "neither PW nor PW_FILE is set" in problem(tmp_path, "password: ${PW}", folder)


@pytest.mark.parametrize("suffix", ["", "_FILE"])
def test_from_an_override(tmp_path: Path, suffix: str) -> None:
    """An override may carry the secret itself or name its file."""
    value = str(secret_file(tmp_path)) if suffix else SECRET
    env = {f"TAPEWATCH__CHANNELS__MAIL__PASSWORD{suffix}": value}
    assert password_of(load_with(tmp_path, "tls: starttls", env)) == SECRET


def test_from_dotenv(tmp_path: Path) -> None:
    """A `.env` gives secrets; one that everybody can read is warned about, one without secrets is not."""
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"MAIL_PASSWORD={SECRET}\n", encoding="utf-8")
    dotenv.chmod(0o600)
    assert load_with(tmp_path, "password: ${MAIL_PASSWORD}").warnings == ()
    dotenv.chmod(0o644)
    config = load_with(tmp_path, "password: ${MAIL_PASSWORD}")
    assert config.warnings == (f"{dotenv}: holds a secret and everybody can read it; chmod 600 {dotenv}",)
    assert password_of(config) == SECRET
    dotenv.write_text("PORT=1\n", encoding="utf-8")
    assert load_with(tmp_path, "password: ${PW}", {"PW": SECRET}).warnings == ()
    dotenv.write_text(f"PW={SECRET}\n", encoding="utf-8")  # by its use, whatever its name
    assert len(load_with(tmp_path, "password: ${PW}").warnings) == 1


def test_world_readable_file_is_warned_about(tmp_path: Path) -> None:
    """A secret file that everybody can read is used and warned about by name."""
    path = secret_file(tmp_path, 0o644)
    config = load_with(tmp_path, f"password_file: {path}")
    assert password_of(config) == SECRET
    assert config.warnings == (f"{path}: holds a secret and everybody can read it; chmod 600 {path}",)


@pytest.mark.parametrize("written", [SECRET, "${PW:-" + SECRET + "}", SECRET + "${PW}", "'12345'", "12345", "[a]"])
def test_literal_secret_is_refused(tmp_path: Path, written: str) -> None:
    """A secret in the file itself, or as a default there, is refused with what to write instead."""
    text = problem(tmp_path, f"password: {written}", {"PW": "x"})
    assert text.startswith(f"{tmp_path}/t.yaml:11: channels.mail.password: a secret does not belong in a configuration")
    assert "${MAIL_PASSWORD}" in text
    assert "password_file:" in text


def test_secret_that_cannot_be_had(tmp_path: Path) -> None:
    """An unset variable, a missing file, an empty secret, both forms at once: one problem each."""
    where = f"{tmp_path}/t.yaml:11: channels.mail.password"
    assert problem(tmp_path, "password: ${PW}") == f"{where}: neither PW nor PW_FILE is set"
    assert problem(tmp_path, "password: ${PW}", {"PW": ""}) == f"{where}: the secret is empty"
    assert problem(tmp_path, "password_file: none") == f"{where}_file: {tmp_path}/none: no such file"
    gone_astray = problem(tmp_path, "password: ${PW}", {"PW_FILE": SECRET})
    assert gone_astray == f"{where}: the file that is named there: no such file"
    gone_astray = problem(tmp_path, "password_file: ${PW}", {"PW": SECRET})
    assert gone_astray == f"{where}_file: the file that is named there: no such file"
    secret_file(tmp_path)
    text = problem(tmp_path, "password_file: secret", {"TAPEWATCH__CHANNELS__MAIL__PASSWORD": SECRET})
    assert text == f"{where}_file: give password or password_file, not both"


def test_secret_of_a_channel_without_a_known_type(tmp_path: Path) -> None:
    """A password is kept out of messages although the channel's type is misspelt."""
    with pytest.raises(ConfigError) as caught:
        load_with(tmp_path, "password: ${PW}\n    ", {"PW": SECRET, "TAPEWATCH__CHANNELS__MAIL__TYPE": "emial"})
    assert SECRET not in str(caught.value)
    assert "did you mean 'email'?" in str(caught.value)


def models(model: type[Section]) -> set[type[Section]]:
    """A section and all that it holds."""
    found = {model}

    def visit(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, Section):
            found.update(models(annotation))
        for part in get_args(annotation):
            visit(part)

    for info in model.model_fields.values():
        visit(info.annotation)
    return found


def test_every_secret_and_path_is_known_to_the_loader() -> None:
    """A model's secret fields are declared as such, and its path fields are made relative to the file."""
    everything = models(Config)
    assert set(CHANNEL_TYPES.values()) < everything
    keys = {pattern[-1] for pattern in PATH_KEYS}
    for model in everything:
        for name, info in model.model_fields.items():
            annotations = {info.annotation, *get_args(info.annotation)}
            assert (SecretStr in annotations) == (name in model.secrets)
            assert Path not in annotations or name in keys
