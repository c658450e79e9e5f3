"""Where templates are rendered: what they write is escaped, and they end soon with a text that is not large.

A template is a file of the user's, but what it shows is not: names come from an exchange. So every expression is
escaped for the style it stands in, and no filter takes that back. Loops, macros and included templates are counted,
and texts and lists have a largest size, so that no mistake in a template can hold up deliveries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jinja2 import DictLoader, StrictUndefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, TemplateReference
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import Namespace
from markupsafe import Markup

from tapewatch.channels.escape import escape
from tapewatch.channels.labels import compact, number, percent, rounded
from tapewatch.channels.port import Style

#: Most rounds of loops, calls of macros and templates included in one rendering.
MOST_STEPS = 10_000
#: Most characters of a text, and items of a list; what tapewatch's own templates write has no end of its own, since
#: what they show is short.
MOST_SIZE = 65_536

#: What the names of tapewatch's own templates begin with.
BUILTIN = "builtin/"
#: Of a whole number.
MOST_BITS = 4_096

#: Jinja's filters that neither mark text as safe nor make a small thing large.
_FILTERS = (
    "abs", "capitalize", "count", "default", "d", "first", "float", "int", "last", "length", "list", "lower", "max",
    "min", "reject", "rejectattr", "reverse", "select", "selectattr", "sort", "title", "trim", "truncate", "unique",
    "upper",
)  # fmt: skip
#: Methods of plain values that may be called.
_METHODS: dict[type, frozenset[str]] = {
    dict: frozenset({"get", "items", "keys", "values"}),
    str: frozenset({"startswith", "endswith", "lower", "upper", "strip"}),
}

#: What stands around what stands out.
_EMPHASIS: dict[Style, tuple[str, str]] = {
    "plain": ("", ""),
    "json": ("", ""),
    "html": ("<strong>", "</strong>"),
    "markdown": ("**", "**"),
    "telegram": ("<b>", "</b>"),
}


@dataclass
class _Rendering:
    style: Style
    steps: int = MOST_STEPS


_rendering: ContextVar[_Rendering] = ContextVar("rendering")


def step() -> None:
    """Count one round of a loop, call of a macro or template. Raises SecurityError after too many."""
    rendering = _rendering.get()
    rendering.steps -= 1
    if rendering.steps < 0:
        raise SecurityError(f"more than {MOST_STEPS:,} rounds of loops and calls of macros")


def concat(*parts: object) -> str:
    """What `~` makes: a text, or markup when a part is."""
    if any(isinstance(part, Markup) for part in parts):
        return Markup("").join(_bounded([_shown(part) for part in parts]))
    return "".join(_bounded([str(part) for part in parts]))


class Sandbox(SandboxedEnvironment):
    """Templates of one style.

    Args:
        style: how what they show is escaped.
        sources: the templates by name.
    """

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self, style: Style, sources: Mapping[str, str]) -> None:
        super().__init__(
            loader=DictLoader(sources),
            autoescape=True,
            finalize=_shown,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
        )
        self.style = style
        self.globals = {"range": _range, "namespace": Namespace}
        self.filters = {name: FILTERS[name] for name in _FILTERS} | {
            "join": _joined,
            "replace": _replaced,
            "round": _rounded,
            "sum": _total,
            "link": _link,
            "number": number,
            "rounded": rounded,
            "percent": percent,
            "compact": compact,
        }

    def text(self, name: str, values: Mapping[str, Any]) -> str:
        """What a template writes.

        Raises:
            jinja2.TemplateError: the template, or what it asked for; a wrong operation raises what Python raises.
        """
        template = self.get_template(name)
        with _counted(self.style):
            written: list[str] = []
            size = 0
            for chunk in template.generate(values):
                size += len(chunk)
                if size > MOST_SIZE and not name.startswith(BUILTIN):
                    raise SecurityError(f"more than {MOST_SIZE:,} characters")
                written.append(chunk)
        return "".join(written)

    def line(self, head: str, rest: str) -> str:
        """One line: what stands out, then the rest."""
        before, after = _EMPHASIS[self.style]
        with _counted(self.style):
            return Markup(f"{before}{_shown(head)}{after}{_shown(rest)}")  # noqa: S704 - both are escaped

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may read it: data, and the few methods that can do no harm."""
        if not super().is_safe_attribute(obj, attr, value):
            return False
        if not callable(value) or isinstance(value, Macro):
            return True
        own = isinstance(obj, LoopContext | TemplateReference | BlockReference)
        return own or attr in _METHODS.get(type(obj), frozenset())

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """What an operator makes, unless it makes small things large."""
        sized = isinstance(left, str | list | tuple) or isinstance(right, str | list | tuple)
        if operator == "+" and sized:
            _bounded([left, right] if isinstance(left, str) else [*left, *right])
        elif operator in {"*", "%"} and sized:
            raise SecurityError(f"{operator} is for numbers")
        elif operator in {"*", "**"} and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
            if bits > MOST_BITS:
                raise SecurityError(f"a number of more than {MOST_BITS:,} bits")
        return super().call_binop(context, operator, left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        parts: list[Any] = [tree]
        for kind in (nodes.For, nodes.Macro, nodes.CallBlock):
            parts += tree.find_all(kind)
        for part in parts:
            part.body.insert(0, nodes.ExprStmt(_call("step", []), lineno=part.lineno))
        return _without_concat(tree)


def _without_concat(tree: nodes.Template) -> nodes.Template:
    from jinja2.visitor import NodeTransformer

    class Replace(NodeTransformer):
        def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja calls it so
            self.generic_visit(node)
            return _call("concat", node.nodes)

    replaced: nodes.Template = Replace().visit(tree)
    return replaced


def _call(name: str, args: list[nodes.Expr]) -> nodes.Call:
    return nodes.Call(nodes.ImportedName(f"{__name__}.{name}"), args, [], None, None)


@contextmanager
def _counted(style: Style) -> Iterator[None]:
    token = _rendering.set(_Rendering(style))
    try:
        yield
    finally:
        _rendering.reset(token)


def _shown(value: object) -> str:
    """A value as it stands in the text: escaped, numbers in full, `n/a` for what is not known."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return "n/a"
    if isinstance(value, float):
        value = number(value)
    elif not isinstance(value, str | int) and not hasattr(value, "_undefined_name"):
        raise TypeError(
            f"a {type(value).__name__} cannot be shown as it is; loop over it, name a part of it or join it"
        )
    text = str(value)
    inner = text.strip(" ")
    before, _, after = text.partition(inner) if inner else (text, "", "")
    return Markup(before + escape(_rendering.get().style, inner) + after)  # noqa: S704 - this is what makes it markup


def _bounded(parts: list[Any]) -> list[Any]:
    size = sum(len(part) if isinstance(part, str) else 1 for part in parts)
    if size > MOST_SIZE:
        raise SecurityError(f"more than {MOST_SIZE:,} characters or items")
    return parts


def _range(*bounds: int) -> range:
    asked = range(*bounds)
    if len(asked) > MOST_STEPS:
        raise SecurityError(f"a range of more than {MOST_STEPS:,}")
    return asked


def _joined(values: Iterable[object], separator: str = ", ") -> str:
    shown = _bounded([_shown(value) for value in values])
    return Markup(_shown(separator)).join(_bounded(shown))  # noqa: S704 - each was escaped


def _replaced(text: str, old: str, new: str) -> str:
    text, old, new = str(text), str(old), str(new)
    if len(text) + text.count(old) * len(new) > MOST_SIZE:
        raise SecurityError(f"more than {MOST_SIZE:,} characters")
    return text.replace(old, new)


def _rounded(value: float, precision: int = 0) -> float:
    return round(value, precision)


def _total(values: Iterable[float]) -> float:
    return sum(values)


def _link(address: str, text: str = "Chart") -> str:
    """A link with that text, or the address itself where a style has no links; empty where there is none."""
    style = _rendering.get().style
    if not address.startswith("https://"):
        return ""
    if style in {"html", "telegram"}:
        return Markup('<a href="{}">{}</a>').format(address, Markup(escape(style, text)))  # noqa: S704 - escaped
    if style == "markdown":
        safe = address.translate({ord(char): f"%{ord(char):02X}" for char in ' <>()[]\\"`'})
        return Markup(f"[{escape(style, text)}]({safe})")  # noqa: S704 - escaped
    return address
