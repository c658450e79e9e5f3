"""What MkDocs is told beyond its configuration: pages that are made with the site, and how marks and anchors are read.

The README, the rules for contributors and the changes are pages of the site as they are, and so is the licence. The
page of the Python interface is made from the code.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tapewatch.indicators import indicator
from tapewatch.strategy import build

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(\w+) .*$", re.MULTILINE)
CELL = re.compile(r"<td.*?</td>", re.DOTALL)
#: Pages beside `docs/`, by their names in the site.
OUTSIDE = {"index.md": "README.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
PYTHON = """# Python

What a [strategy in Python](strategies.md#strategies-in-python) imports, from `tapewatch.strategy.build`, beside the
[sources](strategies.md#sources) and [functions](strategies.md#functions) of the language, which are there by their
names. What `indicator` takes is explained [there](strategies.md#strategies-in-python). This page is made from the code.
Everything else in the package may change with any version.
"""


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
    parts = [PYTHON]
    for name in build.__all__:
        one = getattr(build, name)
        called = signature(name, indicator if name == "indicator" else one)
        parts.append(f"## {name}\n\n```python\n{called}\n```\n\n{inspect.cleandoc(one.__doc__)}\n")
    return "\n".join(parts)


class Bare(str):
    """An annotation that is shown without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def signature(name: str, one: Any) -> str:
    """How it is called, an argument a line where one line is too long."""
    called = inspect.signature(one)
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
