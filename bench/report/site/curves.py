"""Curves: how a training went, from what its fit reported of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

STEPS = ("epoch", "step")
"""What a point of a log is counted by, the first that grows from point to point; a list of plain numbers is counted from 1."""
LEAST = 2
Curve = tuple[str, list[float], list[float]]
"""What x counts, x, and y."""


def curves(log: Mapping[str, Any]) -> dict[str, Curve]:
    """Every quantity that a log has over its steps, by its name with what it lies in: `task: loss`."""
    return dict(_curves(log, ""))


def _curves(log: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Curve]]:
    for name, value in log.items():
        if isinstance(value, Mapping):
            yield from _curves(value, f"{prefix}{name}: ")
        elif isinstance(value, list) and len(value) >= LEAST:
            if all(_number(item) for item in value):
                yield f"{prefix}{name}".replace("_", " "), ("epoch", list(range(1, len(value) + 1)), _short(value))
            elif all(isinstance(item, Mapping) for item in value):
                yield from _points(value, prefix)


def _points(points: list[Mapping[str, Any]], prefix: str) -> Iterator[tuple[str, Curve]]:
    counted = {name: [point.get(name) for point in points] for name in STEPS}
    counter = next((name for name, found in counted.items() if _grows(found)), None)
    if counter is None:
        return
    for name in dict.fromkeys(name for point in points for name in point if name not in STEPS):
        known = [point for point in points if _number(point.get(name))]
        if len(known) >= LEAST:
            x, y = _short([point[counter] for point in known]), _short([point[name] for point in known])
            yield f"{prefix}{name}".replace("_", " "), (counter, x, y)


def _grows(values: list[Any]) -> bool:
    return all(map(_number, values)) and all(one < other for one, other in pairwise(values))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(values: list[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]
