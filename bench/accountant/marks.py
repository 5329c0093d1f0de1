"""What is a spike: a mark on a tensor that a neuron made, with the values it can hold and where its time axis is.

A marked tensor holds `scale` times integers in [low, high]. `scale` None stands for the amplitudes of a ternary neuron, one a
step, which belong to the weights that follow; its integers are within -1 ... 1. In row-major order the time index of
element i is (i // inner) % steps, where `outer * steps * inner` elements make the tensor, so a mark survives any reshape.

Marks belong to tensor objects (weakly) and are void once their storage was written to: every operator whose schema says
that it writes raises the storage's generation, whichever view it wrote through. Writes past torch (numpy) are not seen.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mark:
    """Spikes: integers low ... high times `scale`, over `steps` time steps (1 where time is not known)."""

    low: int
    high: int
    scale: float | None = 1.0
    steps: int = 1
    outer: int = 1

    @property
    def bound(self) -> int:
        """The largest |integer|."""
        return max(-self.low, self.high, 0)

    def place(self, shape: Sequence[int]) -> tuple[int, int] | None:
        """(axis, m): the axis that holds time as (m, steps, rest), or None where there is none."""
        if self.steps == 1:
            return None
        before = 1
        for axis, size in enumerate(shape):
            if self.outer % before == 0 and size % (self.outer // before * self.steps) == 0 and size:
                return axis, self.outer // before
            before *= size
            if before > self.outer:
                return None
        return None

    def timeless(self) -> Mark:
        return replace(self, steps=1, outer=1)

    def at(self, axis: int, m: int, shape: Sequence[int]) -> Mark:
        """The mark of a tensor of that shape whose `axis` holds time as (m, steps, rest)."""
        return replace(self, outer=math.prod(shape[:axis]) * m)


@dataclass(frozen=True)
class NeuronSpec:
    """The argument `neuron` of `retable::integrate_and_fire`: its fields in this order, with spaces between."""

    threshold: float
    v_reset: float | None
    decay_input: bool
    strict: bool
    levels: int
    detach_reset: bool
    surrogate: str
    alpha: float


@cache
def neuron_spec(text: str) -> NeuronSpec:
    threshold, v_reset, decay_input, strict, levels, detach_reset, surrogate, alpha = text.split()
    decays, above, detached = (value == "True" for value in (decay_input, strict, detach_reset))
    rest = None if v_reset == "None" else float(v_reset)
    return NeuronSpec(float(threshold), rest, decays, above, int(levels), detached, surrogate, float(alpha))


def leaks(k: Tensor) -> bool:
    """Whether an integrate-and-fire neuron with k = 1 / tau leaks; one of shapes alone is taken to."""
    return bool(k.is_meta) or float(k) != 0


def neuron_mark(name: str, argument: Any) -> Mark | None:
    """The mark of the first output of a neuron operator, without its time; None for one that never fires.

    `argument(name)` gives an argument of the call. Operators: `integrate_and_fire`, `elastic`, `rectify_and_fire`, and
    `spikes`, by which a neuron of one's own, or a coding, says of its output that it is integers low ... high.
    """
    if name == "integrate_and_fire":
        neuron = neuron_spec(argument("neuron"))
        return None if math.isinf(neuron.threshold) else Mark(0, neuron.levels or 1)
    if name == "elastic":
        return Mark(-1, 1, None)
    if name == "rectify_and_fire":
        return Mark(0, 1)
    return Mark(int(argument("low")), int(argument("high")))


def check_values(tensor: Tensor, mark: Mark) -> None:
    """Raises ValueError where a tensor that is said to be spikes holds anything but integers within the mark's bounds."""
    if not tensor.is_meta and bool(((tensor < mark.low) | (tensor > mark.high) | (tensor != tensor.round())).any()):
        raise ValueError(f"tensor must hold integers from {mark.low} to {mark.high} to be marked as spikes")


NEURONS = ("integrate_and_fire", "elastic", "rectify_and_fire", "spikes")
"""Operators of the namespace `retable` whose first output is spikes (T, ...)."""


Counts = dict[tuple[int, ...], Any]


class Entry:
    """A mark, the state of the storage that it holds for, and what was counted, by (steps, *sizes of kept last axes).

    `totals` (nothing kept) are shared with every order of the same elements, `counts` with every shape of the same order.
    """

    __slots__ = ("counts", "generation", "mark", "storage", "tensor", "totals")

    def __init__(
        self, tensor: weakref.ref[Tensor], mark: Mark, storage: int, generation: int, counts: Counts, totals: Counts
    ) -> None:
        self.tensor, self.mark, self.storage, self.generation = tensor, mark, storage, generation
        self.counts, self.totals = counts, totals


class Book:
    """Which tensors are marked, and what was counted on them already."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        """By id, which the weak reference in the entry keeps honest: another tensor of that id is not the same object."""
        self._generations: dict[int, int] = {}

    def mark(self, tensor: Tensor, mark: Mark, same_as: Tensor | None = None, ordered: bool = False) -> None:
        """`same_as` is a marked tensor with the same elements, `ordered` where in the same order: its counts hold too."""
        storage = storage_of(tensor)
        source = None if same_as is None else self.entry(same_as)
        counts = source.counts if source is not None and ordered else {}
        totals = {} if source is None else source.totals
        key, entries = id(tensor), self._entries
        gone = weakref.ref(tensor, lambda _: entries.pop(key, None))
        entries[key] = Entry(gone, mark, storage, self._generations.get(storage, 0), counts, totals)

    def unmark(self, tensor: Tensor) -> None:
        self._entries.pop(id(tensor), None)

    def entry(self, tensor: Tensor) -> Entry | None:
        """The tensor's mark with its cache, or None; a mark whose storage was written to is dropped."""
        found = self._entries.get(id(tensor))
        if found is None or found.tensor() is not tensor:
            return None
        if self._generations.get(found.storage, 0) == found.generation:
            return found
        del self._entries[id(tensor)]
        return None

    def of(self, tensor: Tensor) -> Mark | None:
        found = self.entry(tensor)
        return None if found is None else found.mark

    def written(self, tensor: Tensor) -> None:
        """The tensor's storage was written to: all marks on it are void."""
        storage = storage_of(tensor)
        self._generations[storage] = self._generations.get(storage, 0) + 1


def storage_of(tensor: Tensor) -> int:
    """What tells a tensor's memory from others'; a sparse tensor, which has several, stands for itself."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout == torch.strided else -id(tensor)
