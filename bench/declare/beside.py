"""What a suite says of its paper beside the rows: errata, and how near each training comes to the published one."""

from __future__ import annotations

from collections.abc import Sequence

from retable.bench.declare.shapes import Field, Items, Record, Text
from retable.bench.declare.strict_yaml import Node
from retable.bench.suite import Erratum, PublishedRecipe, chosen

ERRATUM = Record(
    title="erratum",
    fields={
        "sentence": Field(Text(), "What is so, in one sentence.", required=True, fixed=True),
        "source": Field(Text(), "Who says it: the paper, the released code, arithmetic.", required=True, fixed=True),
        "effect": Field(
            Text(), "What it does to a number, as measured at mini; `effect not measured` unless said.", fixed=True
        ),
    },
)

RECIPE = Record(
    title="published recipe",
    fields={
        "rows": Field(
            Items(of=Text()), "Names of rows or globs over them; `!glob` leaves rows out.", required=True, fixed=True
        ),
        "source": Field(Text(), "Where the recipe was read.", required=True, fixed=True),
        "missing": Field(
            Items(of=Text()),
            "What a training here does not do, or does otherwise; without it it is complete.",
            fixed=True,
        ),
    },
)


def erratum(own: dict[str, Node]) -> Erratum:
    effect = {"effect": _line(own["effect"])} if "effect" in own else {}
    return Erratum(sentence=_line(own["sentence"]), source=_line(own["source"]), **effect)


def recipes(nodes: Sequence[Node], names: Sequence[str]) -> tuple[PublishedRecipe, ...]:
    """Those of rows among `names`. Raises DeclarationError for a row that two of them are about."""
    found: list[PublishedRecipe] = []
    for node in nodes:
        own = node.value
        globs = tuple(item.value for item in own["rows"].value)
        rows = tuple(name for name in names if chosen(name, globs))
        if twice := next((row for row in rows if any(row in other.rows for other in found)), None):
            raise own["rows"].error(f"the row {twice!r} has a published recipe already")
        missing = tuple(_line(item) for item in own["missing"].value) if "missing" in own else ()
        found.append(PublishedRecipe(rows=rows, source=_line(own["source"]), missing=missing))
    return tuple(found)


def _line(node: Node) -> str:
    return " ".join(node.value.split())
