"""What the rules of travelling marks share: the outcome `Lost`, and where a mark's time axis goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from retable.bench.accountant.call import Call
from retable.bench.accountant.marks import Mark

Marks = Mark | None | list[Mark | None]


class Lost(Exception):  # noqa: N818 - an outcome, not an error
    """The output is not known to be spikes."""


def only(call: Call, name: str = "self") -> Mark:
    """The mark of an argument that has to be the marked one."""
    mark = call.mark(call[name])
    if mark is None:
        raise Lost
    return mark


def axis_kept(mark: Mark, before: Sequence[int], after: Sequence[int], shift: int = 0) -> Mark:
    """The mark where axis i became axis i + shift; time is lost where its axis changed its size."""
    place = mark.place(before)
    if place is None:
        return mark.timeless()
    axis, m = place
    new = axis + shift
    return mark.at(new, m, after) if new < len(after) and after[new] == before[axis] else mark.timeless()


def number(value: Any) -> float | None:
    """The value of a number or of a tensor with one element and no axis, else None."""
    if isinstance(value, int | float):
        return float(value)
    plain = isinstance(value, Tensor) and value.dim() == 0 and not value.is_complex() and not value.is_meta
    return float(value) if plain else None


def broadcast(call: Call, mark: Mark, *sources: Any) -> Mark:
    """The mark with the time of the first of its sources that has one."""
    for source in sources:
        known = call.mark(source)
        if known is not None and known.steps > 1:
            timed = replace(mark, steps=known.steps, outer=known.outer)
            return axis_kept(timed, source.shape, call.out.shape, call.out.dim() - source.dim())
    return mark.timeless()


def expand(value: Sequence[int] | int, axes: int) -> list[int]:
    """One number an axis; an empty list stays empty."""
    values = [value] if isinstance(value, int) else list(value)
    return values * axes if len(values) == 1 else values
