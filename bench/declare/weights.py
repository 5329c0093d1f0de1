"""`weights:` of a suite: what is known of the published files that its rows load, by their place below $BENCH_DATA."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from retable.bench.declare.params import build
from retable.bench.declare.strict_yaml import Node
from retable.bench.errors import nearest
from retable.bench.suite import Component, Suite, Weights


def read_weights(named: Mapping[str, Node]) -> dict[str, Weights]:
    """By place."""
    return {place: Weights(place=place, **_plain(node)) for place, node in named.items()}


def _plain(node: Node) -> dict[str, Any]:
    return {
        key: " ".join(item.value.split()) if isinstance(item.value, str) else item.value
        for key, item in node.value.items()
    }


def places(components: Iterable[Component]) -> list[str]:
    """What parameters of methods, and of those they build on, name as texts; places of weights are among them."""
    found: dict[str, None] = {}
    waiting, seen = list(components), set[int]()
    while waiting:
        component = waiting.pop(0)
        if id(component) not in seen:  # rows share what they name, and reading each parameter takes its time
            seen.add(id(component))
            waiting += component.needs.values()
            found |= {} if component.broken else dict.fromkeys(_texts(build("method", component)))
    return list(found)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _texts(getattr(value, field.name))


def check_named(named: Mapping[str, Node], readings: Sequence[Suite]) -> None:
    """Every place is one that a row loads from at some profile. Raises DeclarationError for one that nobody names."""
    methods = [entry.method for suite in readings for entry in suite.entries if entry.method is not None]
    known = places(methods) if named else []
    for place, node in named.items():
        if place not in known:
            files = sorted(name for name in known if "/" in name or "." in name)
            raise node.error(f"no method of this suite loads {place!r} at any profile{nearest(place, files)}")
