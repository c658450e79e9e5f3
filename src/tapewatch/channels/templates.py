"""The user's own templates: read and understood once, at start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tapewatch.channels.port import Style
from tapewatch.errors import SetupError

#: How a template's file ends, by the style it is written in; `json` bodies are plain text.
EXTENSIONS: dict[Style, str] = {"plain": "txt", "html": "html", "markdown": "md", "telegram": "tg", "json": "txt"}
_ENDINGS = (*dict.fromkeys(EXTENSIONS.values()), "subject")
#: Larger files are no templates.
MOST_BYTES = 65_536


@dataclass(frozen=True)
class Templates:
    """Templates by their path below the user's folder.

    Attributes:
        sources: path -> text.
        types: channel -> its type.
    """

    sources: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)

    def find(self, channel: str, kind: str, extension: str) -> str | None:
        """The path of the template for a channel's alerts of a kind: its own, its type's, then everybody's."""
        file = f"{kind}.{extension}"
        places = (f"{channel}/{file}", f"{self.types.get(channel, '')}/{file}", file)
        return next((place for place in places if place in self.sources), None)


def read_templates(folder: Path, types: Mapping[str, str], kinds: Iterable[str]) -> Templates:
    """What a folder has.

    Args:
        folder: files `<kind>.<extension>`, and folders of such files named as a channel or a type. What begins with `_`
            is for other templates to include.
        types: channel -> its type.
        kinds: of alerts.

    Raises:
        SetupError: the folder cannot be read, a file has a name that would never be used, or cannot be understood, with
            its line.
    """
    if not folder.is_dir():
        raise SetupError(f"alerts.templates: {folder} is no folder")
    kinds, owners = sorted(kinds), {*types, *types.values()}
    sources = {}
    try:
        for path in _files(folder):
            name = path.relative_to(folder).as_posix()
            _check_name(path, name, kinds, owners)
            if path.stat().st_size > MOST_BYTES:
                raise SetupError(f"alerts.templates: {path}: larger than {MOST_BYTES:,} bytes")
            sources[name] = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"alerts.templates: {folder}: {error}") from None
    found = Templates(sources, dict(types))
    _compile(found, folder)
    return found


def _files(folder: Path) -> Iterator[Path]:
    inside = sorted(folder.iterdir())
    for path in inside:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from (file for file in sorted(path.iterdir()) if not file.name.startswith("."))
        else:
            yield path


def _check_name(path: Path, name: str, kinds: list[str], owners: set[str]) -> None:
    *owner, file = name.split("/")
    if owner and owner[0] not in owners:
        raise SetupError(
            f"alerts.templates: {path.parent}: {owner[0]!r} is no channel and no type of one; "
            f"there are {', '.join(sorted(owners))}"
        )
    stem, _, extension = file.rpartition(".")
    if extension not in _ENDINGS:
        raise SetupError(f"alerts.templates: {path}: must end in one of {', '.join('.' + one for one in _ENDINGS)}")
    if not file.startswith("_") and stem not in kinds:
        raise SetupError(f"alerts.templates: {path}: {stem!r} is no kind of alert; kinds are {', '.join(kinds)}")


def _compile(templates: Templates, folder: Path) -> None:
    if not templates.sources:
        return
    from jinja2 import TemplateSyntaxError

    from tapewatch.channels.sandbox import Sandbox

    sandbox = Sandbox("plain", templates.sources)
    for name, source in templates.sources.items():
        try:
            sandbox.compile(source)
        except TemplateSyntaxError as error:
            raise SetupError(f"alerts.templates: {folder / name}:{error.lineno}: {error.message}") from None
        except (SyntaxError, RecursionError, MemoryError) as error:  # what Python makes of it, nested too deeply
            raise SetupError(f"alerts.templates: {folder / name}: {error}") from None


def unknown_names(templates: Templates, known: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """What templates use that is not there, as `signal.txt: no name pirce`; those for others to include are left out.

    Args:
        templates: as they were read.
        known: kind -> the names its template can use.
    """
    if not templates.sources:
        return
    from jinja2.meta import find_referenced_templates, find_undeclared_variables

    from tapewatch.channels.sandbox import Sandbox
    from tapewatch.channels.writer import builtins

    sandbox = Sandbox("plain", templates.sources)
    for name, source in templates.sources.items():
        tree = sandbox.parse(source)
        for wanted in find_referenced_templates(tree):
            if wanted is not None and wanted not in templates.sources and wanted not in builtins():
                yield f"{name}: no template {wanted}"
        kind = name.rpartition("/")[2].partition(".")[0]
        if kind in known:
            for unknown in sorted(find_undeclared_variables(tree) - set(known[kind]) - {*sandbox.globals, "self"}):
                yield f"{name}: no name {unknown}"
