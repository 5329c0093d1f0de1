"""`weights:` of a suite: what is known of the published files that its rows load, by their place below $BENCH_DATA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
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


def places(component: Component) -> list[str]:
    """What a method's parameters, and those of the methods it builds on, name as texts; places of weights are among them."""
    below = [place for need in component.needs.values() for place in places(need)]
    own = [] if component.broken else list(_texts(asdict(build("method", component))))
    return list(dict.fromkeys([*own, *below]))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def check_named(named: Mapping[str, Node], readings: Sequence[Suite]) -> None:
    """Every place is one that a row loads from at some profile. Raises DeclarationError for one that nobody names."""
    methods = [entry.method for suite in readings for entry in suite.entries if entry.method is not None]
    known = {place for method in methods for place in places(method)} if named else set()
    for place, node in named.items():
        if place not in known:
            files = sorted(name for name in known if "/" in name or "." in name)
            raise node.error(f"no method of this suite loads {place!r} at any profile{nearest(place, files)}")
