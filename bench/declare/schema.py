"""JSON Schema of suite files, for completion and hover texts in editors: `python -m retable.bench.declare.schema` writes it.

It is made from `bench.declare.grammar`, as the reader's own checks are, and from the registry, whose names it offers. What only
a whole file can tell (names that must exist, metrics that must be measured) is left to `bench check`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, assert_never, get_args, get_origin

from retable.bench.declare.grammar import SUITE
from retable.bench.declare.params import parameters
from retable.bench.declare.scalars import NAME
from retable.bench.declare.shapes import (
    ABSENT,
    Anything,
    Either,
    Field,
    Items,
    Named,
    Number,
    Record,
    Shape,
    Text,
    Words,
)
from retable.bench.errors import BenchError
from retable.bench.registry import KINDS, Kind, names, resolve

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DEFAULT_PATH = Path("suites") / "suite.schema.json"

SCALARS = {int: "integer", float: "number", bool: "boolean", str: "string", NoneType: "null"}

Schema = dict[str, Any]


def suite_schema() -> Schema:
    """The schema of a whole suite file."""
    definitions: Schema = {"profile name": {"type": "string", "pattern": f"^(?:{NAME.pattern})$"}}
    for word in SCALARS.values():
        definitions[f"{word} parameter"] = _or_choice({"type": word}, [])
    root = _record(SUITE, definitions)
    return {"$schema": DIALECT, "title": "Suite", **root, "$defs": dict(sorted(definitions.items()))}


def _schema(shape: Shape, definitions: Schema) -> Schema:
    if isinstance(shape, Text):
        return _text(shape, definitions)
    if isinstance(shape, Words):
        return {"enum": list(shape.words)}
    if isinstance(shape, Number):
        kind: Schema = {"type": "integer" if shape.whole else "number"}
        limits = {"minimum": shape.minimum, "maximum": shape.maximum}
        return {**kind, **{name: limit for name, limit in limits.items() if limit is not None}}
    if isinstance(shape, Items):
        return _items(shape, _choice(shape.of, definitions))
    if isinstance(shape, Named):
        return _named(shape, _choice(shape.of, definitions), definitions)
    if isinstance(shape, Record):
        if shape.title not in definitions:
            definitions[shape.title] = {}  # taken, before its fields can refer to it
            definitions[shape.title] = _record(shape, definitions)
            if shape.title in KINDS:
                definitions[shape.title]["allOf"] += [_when_used(shape.title, name) for name in names(shape.title)]
        return {"$ref": f"#/$defs/{shape.title}"}
    if isinstance(shape, Either):
        return {"anyOf": [_schema(option, definitions) for option in shape.options]}
    if isinstance(shape, Anything):
        return {"type": "object"}
    assert_never(shape)


def _text(shape: Text, definitions: Schema) -> Schema:
    text: Schema = {"type": "string", "pattern": f"^(?:{shape.pattern})$" if shape.pattern else r"\S"}
    if shape.suggests is None:
        return text
    title = f"{shape.suggests} name"
    definitions[title] = {"anyOf": [{"enum": _suggestions(shape.suggests)}, text]}
    return {"$ref": f"#/$defs/{title}"}


def _suggestions(kind: Kind) -> list[str]:
    """Registered names; those of metrics with all that may stand in their brackets, where that is a choice of words."""
    if kind != "metric":
        return names(kind)
    found = []
    for name in names(kind):
        fields = parameters(resolve(kind, name))
        if all(field.default is not dataclasses.MISSING for field in fields):
            found.append(name)
        if len(fields) == 1 and get_origin(fields[0].type) is Literal:
            found += [f"{name}[{word}]" for word in get_args(fields[0].type)]
    return found


def _items(shape: Items, item: Schema) -> Schema:
    return {"type": "array", "items": item, "minItems": shape.minimum, "uniqueItems": not shape.repeats}


def _named(shape: Named, value: Schema, definitions: Schema) -> Schema:
    return {"type": "object", "propertyNames": _text(shape.key, definitions), "additionalProperties": value}


def _record(shape: Record, definitions: Schema) -> Schema:
    schema: Schema = {
        "type": "object",
        "properties": {key: _field(field, definitions) for key, field in shape.fields.items()},
        "required": [key for key, field in shape.fields.items() if field.required],
        "additionalProperties": False,
    }
    if shape.one_of:
        schema["allOf"] = [{"oneOf": [{"required": [key]} for key in group]} for group in shape.one_of]
    return schema


def _field(field: Field, definitions: Schema) -> Schema:
    return {"description": field.says, **(_fixed if field.fixed else _choice)(field.of, definitions)}


def _fixed(shape: Shape, definitions: Schema) -> Schema:
    """The shape without a choice by profile, for a list or a mapping also at its items."""
    if isinstance(shape, Items):
        return _items(shape, _schema(shape.of, definitions))
    if isinstance(shape, Named):
        return _named(shape, _schema(shape.of, definitions), definitions)
    return _schema(shape, definitions)


def _choice(shape: Shape, definitions: Schema) -> Schema:
    """The shape, or a mapping from profiles to values of it."""
    return _or_choice(_schema(shape, definitions), sorted(_keys(shape)))


def _or_choice(value: Schema, known_keys: list[str]) -> Schema:
    profiles: Schema = {"$ref": "#/$defs/profile name"}
    if known_keys:
        profiles["not"] = {"enum": known_keys}
    choice: Schema = {"type": "object", "minProperties": 1, "propertyNames": profiles, "additionalProperties": value}
    return {"anyOf": [value, choice]}


def _keys(shape: Shape) -> set[str]:
    """Keys that a record at this place has, and that are therefore no profiles."""
    if isinstance(shape, Record):
        return set(shape.fields)
    if isinstance(shape, Either):
        return set().union(*(_keys(option) for option in shape.options))
    return set()


def _when_used(kind: Kind, name: str) -> Schema:
    """What `with` and `needs` may hold when `use` is this registered name."""
    component = resolve(kind, name)
    roles: Schema = {role: {} for role in getattr(component, "NEEDS", ())}
    return {
        "if": {"properties": {"use": {"const": name}}, "required": ["use"]},
        "then": {
            "properties": {
                "with": _parameters(component),
                "needs": _or_choice(
                    {"type": "object", "properties": roles, "additionalProperties": False}, list(roles)
                ),
            }
        },
    }


def _parameters(component: type) -> Schema:
    properties = {}
    for parameter in parameters(component):
        properties[parameter.name] = _parameter(parameter.type)
        if (default := _plain(parameter.default)) is not ABSENT:
            properties[parameter.name] = {"default": default, **properties[parameter.name]}
    return _or_choice({"type": "object", "properties": properties, "additionalProperties": False}, list(properties))


def _plain(default: Any) -> Any:
    """A default as a suite would write it, or ABSENT for one that no suite can."""
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        return dataclasses.asdict(default)
    if isinstance(default, tuple):
        items = [_plain(item) for item in default]
        return ABSENT if ABSENT in items else items
    return default if isinstance(default, str | int | float | bool | NoneType) else ABSENT


def _parameter(type_: Any) -> Schema:
    """A parameter's annotation, as `bench.declare.params` reads values for it."""
    origin, arguments = get_origin(type_), get_args(type_)
    if type_ is Any:
        return {}
    if origin is Annotated:
        return _parameter(arguments[0])
    if origin in (Union, UnionType):
        return _or_choice({"anyOf": [_parameter(option) for option in arguments]}, [])
    if dataclasses.is_dataclass(type_) and isinstance(type_, type):
        return _parameters(type_)
    schema: Schema
    if origin is Literal:
        schema = {"enum": list(arguments)}
    elif origin in (dict, Mapping):
        schema = {"type": "object", "additionalProperties": _parameter(arguments[1])}
    elif type_ is tuple or origin is tuple:
        schema = {"type": "array"}
        if Ellipsis in arguments:
            schema["items"] = _parameter(arguments[0])
        elif arguments:
            items = [_parameter(item) for item in arguments]
            schema.update(prefixItems=items, minItems=len(items), maxItems=len(items))
    else:
        return {"$ref": f"#/$defs/{SCALARS[type_]} parameter"}
    return _or_choice(schema, [])


def dump(value: Any, depth: int = 4, margin: str = "") -> str:
    """JSON with a line for each key of the outer mappings, so that a change of the grammar is a change of few lines."""
    if not (isinstance(value, dict) and value and depth):
        return json.dumps(value, ensure_ascii=False)
    inner = margin + " "
    lines = (f"{inner}{json.dumps(key)}: {dump(item, depth - 1, inner)}" for key, item in value.items())
    return "{\n" + ",\n".join(lines) + f"\n{margin}}}"


def main(arguments: list[str]) -> int:
    """Write the schema to the file named, or to suites/suite.schema.json."""
    path = Path(arguments[0]) if arguments else DEFAULT_PATH
    try:
        text = dump(suite_schema()) + "\n"
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_status
    path.write_text(text, encoding="utf-8")
    print(path, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
