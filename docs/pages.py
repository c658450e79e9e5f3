"""What MkDocs is told beyond its configuration: pages that are made with the site, and how marks and anchors are read.

The README, the rules for contributors and the changes are pages of the site as they are, and so is the licence. The
page of the Python interface is made from the code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tapewatch import study
from tapewatch.indicators import indicator
from tapewatch.strategy import build

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(\w+) .*$", re.MULTILINE)
CELL = re.compile(r"<td.*?</td>", re.DOTALL)
#: Pages beside `docs/`, by their names in the site.
OUTSIDE = {"index.md": "README.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
RESEARCH = """# Python

What can be imported. This page is made from the code. Everything else in the package may change with any version.

## In notebooks and scripts

`from tapewatch import study`: candles, indicators and what a strategy comes to on stored candles, as
Polars frames. Nothing is imported before it is asked for. A mistake is a
`tapewatch.errors.SetupError` that names it. Times are whole milliseconds UTC, as in files and in JSON:
`pl.from_epoch("close_ms", "ms")` makes dates of them. The notebook `examples/research.ipynb` goes through it, on
candles that it makes itself.
"""
STRATEGIES = """## In strategies

What a [strategy in Python](strategies.md#strategies-in-python) imports, from `tapewatch.strategy.build`, beside the
[sources](strategies.md#sources) and [functions](strategies.md#functions) of the language, which are there by their
names. What `indicator` takes is explained [there](strategies.md#strategies-in-python).
"""
#: What nobody makes, since methods give it, and what is made and handed to them.
GIVEN = ("Comparison", "Searched", "Traded", "WalkForward")
WRITTEN = ("Account", "Asked")
#: Of a docstring: the head of a section, and an entry of one, perhaps of several names.
SECTION = re.compile(r"^(Args|Attributes|Raises):$")
ENTRY = re.compile(r"^    ([\w, ]+): ")


def slug(text: str, separator: str) -> str:
    """A heading's anchor as code hosts make it, so that links hold there and in the site."""
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", separator)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The configuration with our anchors."""
    config.mdx_configs["toc"]["slugify"] = slug
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages of `docs/`, those beside it, and those made from the code."""
    for name, source in OUTSIDE.items():
        text = (ROOT / source).read_text("utf-8").replace("](docs/", "](")
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, "LICENSE", abs_src_path=str(ROOT / "LICENSE")))
    files.append(File.generated(config, "python.md", content=python_page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page without the marks by which the tests know what to do with a block."""
    return FENCE.sub(r"```\1", markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with bars in the cells of tables as code hosts show them: the escape is not part of the text."""
    return CELL.sub(lambda cell: cell[0].replace("\\|", "|"), html)


def python_page() -> str:
    """What can be imported, each with its signature and what it says of itself."""
    parts = [RESEARCH]
    for name in study.__all__:
        one = getattr(study, name)
        parts.append(entry(f"### {name}", "" if name in GIVEN else signature(name, one), documented(one)))
        if name not in WRITTEN:
            parts += members(name, one)
    parts.append(STRATEGIES)
    for name in build.__all__:
        one = getattr(build, name)
        called = signature(name, indicator if name == "indicator" else one)
        parts.append(entry(f"### {name}", called, inspect.cleandoc(one.__doc__)))
    return "\n".join(parts)


def entry(heading: str, called: str, words: str) -> str:
    """A section of the page."""
    return f"{heading}\n\n" + (f"```python\n{called}\n```\n\n" if called else "") + f"{words}\n"


def members(name: str, one: Any) -> Iterator[str]:
    """Of a class, what its objects can be asked, in the order of the code."""
    for inner, member in vars(one).items() if inspect.isclass(one) else ():
        if inner.startswith("_"):
            continue
        if inspect.isfunction(member):
            called = inspect.signature(member)
            _, *arguments = called.parameters.values()
            bare = called.replace(parameters=arguments)
            yield entry(f"#### {name}.{inner}", written(f"{name}.{inner}", bare), documented(member))
        elif isinstance(member, property | cached_property):
            yield entry(f"#### {name}.{inner}", f"{name}.{inner}", documented(member))


def documented(one: Any) -> str:
    """What it says of itself, and a class what those say that it is made of; sections as lists."""
    own = [part for part in one.__mro__ if part.__module__.startswith("tapewatch")] if inspect.isclass(one) else [one]
    lines = []
    for line in "\n\n".join(inspect.cleandoc(part.__doc__) for part in own).split("\n"):
        if line.startswith("        "):
            lines.append(f"  {line.strip()}")
        elif line.startswith("    "):
            lines.append(ENTRY.sub(lambda found: f"- `{found[1].replace(', ', '`, `')}`: ", line))
        else:
            lines.append(SECTION.sub(r"\1:\n", line))
    return "\n".join(lines)


class Bare(str):
    """An annotation that is shown without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def signature(name: str, one: Any) -> str:
    """How it is called."""
    return written(name, inspect.signature(one))


def written(name: str, called: inspect.Signature) -> str:
    """A call, an argument a line where one line is too long."""
    arguments = [shown(argument) for argument in called.parameters.values()]
    line = f"{name}{called.replace(parameters=arguments, return_annotation=inspect.Signature.empty)}"
    if len(line) <= 100:
        return line
    by_name = [argument.kind is argument.KEYWORD_ONLY for argument in arguments]
    lines = [f"    {argument},\n" for argument in arguments]
    if any(by_name):
        lines.insert(by_name.index(True), "    *,\n")
    return f"{name}(\n{''.join(lines)})"


def shown(argument: inspect.Parameter) -> inspect.Parameter:
    """As it is told: types as they are written, and of a function as a default only that there is one."""
    default = Bare("...") if inspect.isfunction(argument.default) else argument.default
    return argument.replace(annotation=Bare(argument.annotation), default=default)
