"""`tapewatch init --from FILE`: a configuration out of an older system's files, with a report."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tapewatch.cli.config import as_yaml
from tapewatch.cli.older import Converted, convert, entries
from tapewatch.cli.setup import NAME, check, configuration, dotenv_of, write_both
from tapewatch.errors import ConfigError, SetupError

#: What stands for a secret whose value is not known yet, by where it is.
_STAND_INS = {
    "channels.desk.url": "https://example.com/api/webhooks/1/a",
    "channels.phone.token": "1:a",
    "channels.mail.password": "asked for later",
}


def convert_files(paths: Sequence[Path], directory: Path) -> None:
    """Write what these files become, say what was taken over and what not, and check the result.

    Raises:
        ConfigError: a file cannot be read.
        SetupError: the result would be refused; then nothing is written.
    """
    from tapewatch.strategies import mapping_of

    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise SetupError(f"--from: {', '.join(missing)}: no such file")
    targets = {(directory / name).resolve() for name in (NAME, ".env")}
    doomed = [str(path) for path in paths if path.resolve() in targets]
    if doomed:
        raise SetupError(f"--from: {', '.join(doomed)} would be overwritten; name another folder to write to")
    made = convert(entries(paths), {name: mapping_of(name)[1] for name in ("scalp", "momentum")})
    text, dotenv = _text(made, paths), dotenv_of(made.secrets)
    _try(made, text)
    write_both(directory, text, dotenv)
    for key, to, value in made.taken:
        sys.stdout.write(f"taken over  {key} -> {to}: {json.dumps(value, ensure_ascii=False)}\n")
    for key, why, _ in made.left:
        sys.stdout.write(f"not taken   {key}: {why}\n")
    unset = [name for name, value in made.secrets.items() if value is None and not os.environ.get(name)]
    if unset:
        sys.stdout.write(f"next: set {' and '.join(unset)} in {directory / '.env'}; then tapewatch check\n")
    else:
        sys.stdout.flush()
        check(config=[directory / NAME])


def _text(made: Converted, paths: Sequence[Path]) -> str:
    """The YAML: what was taken over, and what was not as comments."""
    lines = [f"# Made of {', '.join(path.name for path in paths)} by tapewatch init; secrets are in .env."]
    lines += as_yaml(made.document, lambda _path: "")
    if made.left:
        lines += ["", "# Not taken over:"]
    for key, why, value in made.left:
        shown = "" if value is None else f": {json.dumps(value)}"
        lines.append(f"# {_one_line(key)}{shown}   ({why})")
    return "\n".join(lines) + "\n"


def _one_line(key: str) -> str:
    return " ".join(key.split())


def _try(made: Converted, text: str) -> None:
    """Raises SetupError when what was made would be refused."""
    stand_ins = {value[2:-1]: _STAND_INS[to] for _, to, value in made.taken if to in _STAND_INS}
    known = {name: value if value is not None else stand_ins[name] for name, value in made.secrets.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        path.write_text(text, encoding="utf-8")
        (path.parent / ".env").write_text(dotenv_of(known), encoding="utf-8")
        (path.parent / ".env").chmod(0o600)
        try:
            configuration([path])
        except ConfigError as error:
            problems = "\n  ".join(problem.removeprefix(f"{folder}/") for problem in error.problems)
            raise SetupError(f"nothing was written, since what they become cannot be used:\n  {problems}") from None
