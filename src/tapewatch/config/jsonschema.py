"""The JSON Schema of a configuration file, for editors: made of the sections, true to what people write.

A file may be one layer of several, so no section has to be there. What only the whole configuration can tell (names
that are none, limits of durations, two keys that exclude each other) is left to `tapewatch check`.
"""

from __future__ import annotations

from inspect import cleandoc
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from tapewatch.config.channels import CHANNEL_TYPES, EmailChannel
from tapewatch.config.schema import Ccxt, Config
from tapewatch.config.section import Section
from tapewatch.config.values import (
    DURATION,
    PERCENT,
    TIME_OF_DAY,
    chat_id,
    off,
    parse_duration,
    parse_percent,
    parse_share_or_count,
    parse_time_of_day,
)
from tapewatch.config.written import form, parser_of, unwrapped
from tapewatch.model import INTERVALS_MS

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TITLE = "Configuration of tapewatch"
#: Text with a variable in it: what that is, the environment says.
_VARIABLE = r"\$\{"
#: What does not fit the type of its key once it is loaded.
_FORMS: dict[object, Json] = {
    parse_duration: {"$ref": "#/$defs/duration"},
    parse_percent: {"$ref": "#/$defs/percentage"},
    parse_time_of_day: {"$ref": "#/$defs/time_of_day"},
    parse_share_or_count: {
        "anyOf": [{"$ref": "#/$defs/percentage"}, {"type": "integer", "minimum": 1, "maximum": 100}]
    },
    chat_id: {"type": ["string", "integer"]},
    off: {"anyOf": [{"type": "string"}, {"const": False}]},
}
_TYPES: dict[object, Json] = {
    bool: {"anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/variable"}]},
    int: {"type": "integer"},
    float: {"type": "number"},
    dict: {"type": "object"},
}
#: Keys of pydantic's constraints, and of JSON Schema.
_LIMITS = {
    "ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum", "pattern": "pattern",
}  # fmt: skip
#: Required once everything is known, but not to be written: what fills it in.
_FILLED = {(EmailChannel, "port")}


def document() -> Json:
    """The schema; the same each time."""
    definitions: Json = {
        "variable": {"type": "string", "pattern": _VARIABLE},
        "secret": {
            "type": "string",
            "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$",
            "description": "A variable, ${NAME}: a secret does not stand in a configuration.",
        },
        "duration": _text(DURATION.pattern, "A duration with its unit: 500ms, 10s, 5m, 1h, 1d."),
        "percentage": _text(PERCENT.pattern, "A percentage with its sign: 0.3%."),
        "time_of_day": _text(TIME_OF_DAY.pattern, "A time of day: 22:30."),
        "strategy": _strategy(),
        "channel": _channel(),
    }
    for channel in CHANNEL_TYPES.values():
        _reference(channel, definitions)
    top = _section(Config, definitions)
    del top["required"]
    top["properties"] |= {
        "strategies": _nullable({"type": "object", "additionalProperties": {"$ref": "#/$defs/strategy"}}),
        "channels": _nullable({"type": "object", "additionalProperties": {"$ref": "#/$defs/channel"}}),
    }
    return {"$schema": DIALECT, "title": TITLE, **top, "$defs": dict(sorted(definitions.items()))}


def _text(pattern: str, description: str) -> Json:
    return {"type": "string", "pattern": rf"^\s*(?:{pattern})\s*$|{_VARIABLE}", "description": description}


def _reference(model: type[Section], definitions: Json) -> Json:
    """A reference to a section, which is defined with it."""
    if model.__name__ not in definitions:
        definitions[model.__name__] = {}  # a section inside itself would find it
        definitions[model.__name__] = _section(model, definitions)
    return {"$ref": f"#/$defs/{model.__name__}"}


def _section(model: type[Section], definitions: Json) -> Json:
    properties: Json = {}
    required: list[str] = []
    rules: list[Json] = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        needed = field.is_required() and (model, name) not in _FILLED
        if name in model.secrets:
            file = {"type": "string", "description": f"A file that holds {key}, instead of it."}
            properties |= {key: {"$ref": "#/$defs/secret"}, f"{key}_file": file}
            given = [{"required": [key]}, {"required": [f"{key}_file"]}]
            if not needed:
                properties[key] = _nullable(properties[key])
            rules.append({"oneOf": given} if needed else {"not": {"required": [key, f"{key}_file"]}})
            continue
        properties[key] = _value(field.annotation, field.metadata, definitions)
        if needed:
            required.append(key)
        else:
            properties[key] = _nullable(properties[key])
        properties[key] |= _default(field)
    return {
        "type": "object",
        "description": cleandoc(model.__doc__ or ""),
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
        **({"allOf": rules} if rules else {}),
    }


def _default(field: FieldInfo) -> Json:
    """The default as it would be written; sections have those of their keys."""
    if field.is_required() or field.default is None or isinstance(field.default, Section):
        return {}
    return {"default": form(field.default, field.annotation, parser_of(field.metadata))}


def _nullable(schema: Json) -> Json:
    """Also without a value, which means the default."""
    return {"anyOf": [*schema["anyOf"], {"type": "null"}]} if set(schema) == {"anyOf"} else _any(schema, "null")


def _any(schema: Json, kind: str) -> Json:
    return {"anyOf": [schema, {"type": kind}]}


def _value(annotation: Any, metadata: list[Any], definitions: Json) -> Json:
    """What may be written for a type."""
    base, inner = unwrapped(annotation)
    metadata = [*inner, *metadata]
    if (parser := parser_of(metadata)) in _FORMS:
        return dict(_FORMS[parser])
    if isinstance(base, type) and issubclass(base, Section):
        reference = _reference(base, definitions)
        return _any(reference, "string") if base is Ccxt else reference
    arguments = get_args(base)
    if get_origin(base) is Literal:
        return {"anyOf": [{"enum": list(arguments)}, {"$ref": "#/$defs/variable"}]}
    if get_origin(base) is list:
        least = [one.min_length for one in metadata if getattr(one, "min_length", None)]
        items = {"type": "array", "items": _value(arguments[0], [], definitions)}
        return items | ({"minItems": least[0]} if least else {})
    if get_origin(base) is dict:
        names, value = _value(arguments[0], [], definitions), _value(arguments[1], [], definitions)
        return {"type": "object", "propertyNames": names, "additionalProperties": value}
    return _single(base, metadata)


def _single(base: Any, metadata: list[Any]) -> Json:
    limits = {word: getattr(one, name) for one in metadata for name, word in _LIMITS.items() if hasattr(one, name)}
    if base in {int, float}:
        return {"anyOf": [_TYPES[base] | limits, {"$ref": "#/$defs/variable"}]}
    if base is Any or base in _TYPES:
        return dict(_TYPES.get(base, {}))
    if base is not SecretStr and "pattern" in limits:
        return {"type": "string", "pattern": f"{limits['pattern']}|{_VARIABLE}"}
    return {"type": "string"}


def _channel() -> Json:
    """By its type; where another layer says that, the keys are not looked at."""
    types = sorted(CHANNEL_TYPES)
    return {
        "type": ["object", "null"],
        "properties": {"type": {"anyOf": [{"enum": types}, {"$ref": "#/$defs/variable"}]}},
        "allOf": [
            {
                "if": {"type": "object", "properties": {"type": {"const": name}}, "required": ["type"]},
                "then": {"$ref": f"#/$defs/{CHANNEL_TYPES[name].__name__}"},
            }
            for name in types
        ],
    }


def _strategy() -> Json:
    """The keys, and the shape of what stands there; what is a right expression only the language knows."""
    expression: Json = {"type": ["string", "number", "null"]}
    mapping: Json = {"type": ["object", "null"]}
    shapes: dict[str, Json] = {
        "timeframes": {"type": ["array", "null"], "minItems": 1, "items": {"enum": list(INTERVALS_MS)}},
        "symbols": {"type": ["array", "null"], "items": {"type": "string"}},
        "targets": {"type": ["array", "null"], "items": {"type": "object", "required": ["at", "share"]}},
        "fire": {"type": ["string", "object", "null"]},
        "time_limit": {"anyOf": [{"type": ["integer", "null"], "minimum": 1}, {"$ref": "#/$defs/variable"}]},
        "cooldown": _nullable({"$ref": "#/$defs/duration"}),
        **{side: mapping | {"additionalProperties": expression} for side in ("long", "short")},
        **dict.fromkeys(("stop", "break_even"), expression),
        **dict.fromkeys(("higher", "params", "trailing", "duplicate", "regime", "budget", "search"), mapping),
    }
    return {
        "type": ["object", "null"],
        "description": "One that ships with changes, one of a file with changes, or one written out.",
        "properties": {"file": {"type": ["string", "null"], "description": "A YAML or Python file."}, **shapes},
        "additionalProperties": False,
    }
