"""Overrides: parameters of a suite's components set by a command, `method.mine.lr=1e-3`, as if the file said so.

What is set is merged into the component's `with`, so that variants (`extends`) inherit it, and its place in the key is
that of every parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from retable.bench.declare import strict_yaml
from retable.bench.declare.components import SECTIONS, merge
from retable.bench.declare.strict_yaml import Node
from retable.bench.errors import BenchError, DeclarationError, nearest
from retable.bench.registry import Kind


def overridden(root: Node, overrides: Sequence[str]) -> Node:
    """The tree of a suite at a profile with the overrides laid upon it. Raises BenchError for one that names nothing."""
    for text in overrides:
        root = _laid(root, text)
    return root


def _laid(root: Node, text: str) -> Node:
    path, given, value = text.partition("=")
    kind, _, rest = path.partition(".")
    if not given or kind not in SECTIONS or "." not in rest:
        raise BenchError(f"--set {text}: write KIND.NAME.PARAMETER=VALUE, with one of {', '.join(SECTIONS)} as KIND")
    places = dict(_places(root, kind))
    fitting = [name for name in places if rest.startswith(f"{name}.")]
    if not fitting:
        hint = nearest(rest.partition(".")[0], list(places)) or f"; it has {', '.join(places) or 'none'}"
        raise BenchError(f"--set {text}: the suite has no {kind} of this name{hint}")
    name = max(fitting, key=len)
    return _merged(root, places[name], _nested(rest.removeprefix(f"{name}.").split("."), value, path))


def _places(root: Node, kind: Kind) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Name and place of every component of a kind: those that rows hold themselves by the row's name, then named ones."""
    top = root.value
    rows = top["entries"].value if "entries" in top and isinstance(top["entries"].value, list) else []
    for index, row in enumerate(rows):
        own = row.value if isinstance(row.value, dict) else {}
        if kind in own and isinstance(own[kind].value, dict) and "name" in own:
            yield str(own["name"].value), ("entries", index, kind)
    section = top.get(SECTIONS[kind])
    for name, node in (section.value if section is not None and isinstance(section.value, dict) else {}).items():
        if isinstance(node.value, dict):
            yield name, (SECTIONS[kind], name)


def _nested(steps: Sequence[str], value: str, path: str) -> Node:
    """`{with: {a: {b: value}}}`; every node tells of the command."""
    where = f"--set {path}"
    try:
        node = strict_yaml.loads(value.encode(), where)
    except DeclarationError as error:
        raise BenchError(str(error).replace(":1: ", ": ", 1)) from error
    for step in reversed(("with", *steps)):
        node = Node({step: node}, where, 1)
    return node


def _merged(node: Node, place: Sequence[str | int], over: Node) -> Node:
    if not place:
        return merge(node, over)
    step, *rest = place
    items = list(node.value) if isinstance(node.value, list) else dict(node.value)
    items[step] = _merged(items[step], rest, over)  # type: ignore[index]
    return replace(node, value=items)
