"""Shapes: which YAML values may stand at a place, and `check`, which compares a tree of nodes with them.

`bench.declare.grammar` describes suite files in them, `bench.declare.schema` turns them into JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retable.bench.declare.params import show
from retable.bench.declare.strict_yaml import Node
from retable.bench.errors import nearest
from retable.bench.registry import Kind

ABSENT = object()
"""The value of a choice that has no reading for the profile at hand."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text; with `pattern` (a regular expression that Python and JSON Schema both read) only a matching one.

    `suggests` names the kind of registered component whose names an editor offers.
    """

    noun: str = "text"
    pattern: str = ""
    suggests: Kind | None = None


@dataclass(frozen=True, kw_only=True)
class Words:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def noun(self) -> str:
        return f"one of {', '.join(self.words)}"


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number; `whole` numbers only, or not below `minimum` or above `maximum`, where said."""

    whole: bool = False
    minimum: float | None = None
    maximum: float | None = None

    @property
    def noun(self) -> str:
        limit = "" if self.minimum is None else f" from {self.minimum:g} on"
        limit = limit if self.maximum is None else f" from {self.minimum:g} to {self.maximum:g}"
        return f"a {'whole ' if self.whole else ''}number{limit}"


@dataclass(frozen=True, kw_only=True)
class Items:
    """A list of at least `minimum` items, no scalar twice unless `repeats`."""

    of: Shape
    noun: str = "a list"
    minimum: int = 1
    repeats: bool = False


@dataclass(frozen=True, kw_only=True)
class Named:
    """A mapping from names of the author's choice to values of one shape; `gaps` allows no value at some profile."""

    of: Shape
    key: Text
    noun: str = "a mapping"
    gaps: bool = False


@dataclass(frozen=True, kw_only=True)
class Anything:
    """A mapping that a component understands."""

    noun: str = "a mapping"


@dataclass(frozen=True)
class Field:
    """One key of a record: what it holds, what it `says` (an editor shows it), whether it must be there.

    `gaps` allows a choice by profile that leaves profiles out; `fixed` allows no choice here, nor for a list's items.
    """

    of: Shape
    says: str
    required: bool = False
    gaps: bool = False
    fixed: bool = False


@dataclass(frozen=True, kw_only=True)
class Record:
    """A mapping with known keys; of each group in `one_of` exactly one key is there."""

    title: str
    fields: Mapping[str, Field]
    one_of: tuple[tuple[str, ...], ...] = ()
    noun: str = "a mapping"


@dataclass(frozen=True, kw_only=True)
class Either:
    """One of several shapes, told apart by the kind of value (text, number, list, mapping)."""

    options: tuple[Shape, ...]

    @property
    def noun(self) -> str:
        return " or ".join(option.noun for option in self.options)


Shape = Text | Words | Number | Items | Named | Anything | Record | Either


Passed = dict[int, tuple[Node, Shape]]
"""Nodes by their identity, with the shape that they were found to have: two profiles share most of a tree."""


def check(node: Node, shape: Shape, what: str, passed: Passed) -> None:
    """Raises DeclarationError at the first place where `node`, called `what` in messages, does not have the shape."""
    value = node.value
    if id(node) in passed and passed[id(node)][1] is shape:
        return
    if value is ABSENT:
        raise node.error(f"{what} has no value for the profile {node.text!r}")
    if isinstance(shape, Either):
        fitting = next((option for option in shape.options if _is_kind(value, option)), None)
        if fitting is None:
            raise node.error(f"{what} must be {shape.noun}, not {show(value)}")
        check(node, fitting, what, passed)
    elif not _is_kind(value, shape):
        quotable = isinstance(shape, Text) and re.fullmatch(shape.pattern or ".+", node.text)
        raise node.error(f"{what} must be {shape.noun}, not {show(value)}{'; put it in quotes' if quotable else ''}")
    elif isinstance(shape, Text):
        if not (re.fullmatch(shape.pattern, value) if shape.pattern else value.strip()):
            raise node.error(f"{what} must be {shape.noun}, not {show(value)}")
    elif isinstance(shape, Words):
        if value not in shape.words:
            raise node.error(f"{what} must be {shape.noun}, not {show(value)}{nearest(value, shape.words)}")
    elif isinstance(shape, Number):
        below = shape.minimum is not None and value < shape.minimum
        if below or (shape.maximum is not None and value > shape.maximum):
            raise node.error(f"{what} must be {shape.noun}, not {value}")
    elif isinstance(shape, Items):
        _check_items(node, shape, what, passed)
    elif isinstance(shape, Named):
        for name, item in value.items():
            if not re.fullmatch(shape.key.pattern, name):
                raise item.error(f"{show(name)} in {what} must be {shape.key.noun}")
            if not (shape.gaps and item.value is ABSENT):
                check(
                    item,
                    shape.of,
                    f"{shape.of.title} {name!r}" if isinstance(shape.of, Record) else f"{name!r} in {what}",
                    passed,
                )
    elif isinstance(shape, Record):
        _check_record(node, shape, what, passed)
    else:
        _refuse_absent(node)
    if isinstance(value, dict | list):
        passed[id(node)] = node, shape


def _check_items(node: Node, shape: Items, what: str, passed: Passed) -> None:
    if len(node.value) < shape.minimum:
        raise node.error(f"{what} must have at least {shape.minimum} item{'s' if shape.minimum > 1 else ''}")
    seen: set[Any] = set()
    for index, item in enumerate(node.value):
        check(item, shape.of, _item_name(item, shape.of) or f"item {index + 1} of {what}", passed)
        if not isinstance(item.value, dict | list) and not shape.repeats:
            if item.value in seen:
                raise item.error(f"{show(item.value)} is twice in {what}")
            seen.add(item.value)


def _item_name(item: Node, shape: Shape) -> str:
    """What the author calls an item, if it has a name."""
    name = item.value.get("name") if isinstance(item.value, dict) else None
    return f"{shape.title} {show(name.value)}" if name and isinstance(shape, Record) else ""


def _check_record(node: Node, shape: Record, what: str, passed: Passed) -> None:
    known = list(shape.fields)
    for key, item in node.value.items():
        if key not in shape.fields:
            raise item.error(
                f"{what} has no key {show(key)}{nearest(key, known) or '; it may have ' + ', '.join(known)}"
            )
    for key, field in shape.fields.items():
        if key not in node.value:
            if field.required:
                raise node.error(f"{what} needs the key {key!r}")
        elif not (field.gaps and node.value[key].value is ABSENT):
            check(node.value[key], field.of, f"{key!r} of {what}", passed)
    for group in shape.one_of:
        present = [key for key in group if key in node.value]
        if len(present) != 1:
            found = f"; it has {' and '.join(present)}" if present else ""
            raise node.error(f"{what} needs exactly one of {', '.join(group)}{found}")


def _refuse_absent(node: Node) -> None:
    if isinstance(node.value, dict | list):
        for item in node.value.values() if isinstance(node.value, dict) else node.value:
            _refuse_absent(item)
    elif node.value is ABSENT:
        raise node.error(f"this choice has no value for the profile {node.text!r}")


def _is_kind(value: Any, shape: Shape) -> bool:
    if isinstance(shape, Text | Words):
        return isinstance(value, str)
    if isinstance(shape, Number):
        return isinstance(value, int if shape.whole else int | float) and not isinstance(value, bool)
    if isinstance(shape, Items):
        return isinstance(value, list)
    return isinstance(value, dict)
