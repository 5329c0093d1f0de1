"""What a rehearsal leaves out: rows by `skip`, metrics by `without` (`METRIC` or `METRIC of ROW`), each with its reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

from retable.bench.declare.strict_yaml import Node
from retable.bench.errors import nearest


def matches(name: str, glob: str) -> bool:
    """A glob of `*` and `?`; brackets are part of a metric's name."""
    return fnmatchcase(name, glob.replace("[", "[[]"))


def leaves_out(without: Collection[str], metric: str, row: str) -> bool:
    """Whether one of the globs is about this metric of this row."""
    parts = (glob.partition(" of ") for glob in without)
    return any(matches(metric, of_metric) and matches(row, of_row or "*") for of_metric, _, of_row in parts)


def reasons(given: Mapping[str, Node], rows: Collection[str], metrics: Collection[str] | None = None) -> dict[str, str]:
    """Why, by glob. Raises DeclarationError for one that matches no row, or no metric where it is about those."""
    for glob, node in given.items():
        metric, _, row = glob.partition(" of ") if metrics is not None else ("", "", glob)
        for what, part, known in (("metric", metric, metrics or ()), ("entry", row, rows)):
            if part and not any(matches(name, part) for name in known):
                raise node.error(f"no {what} matches {part!r}{nearest(part, tuple(known))}")
    return {glob: " ".join(node.value.split()) for glob, node in given.items()}
