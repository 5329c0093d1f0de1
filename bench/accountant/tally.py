"""Counting spikes: how many are not zero and how many accumulates they stand for, by time step and along chosen axes.

Counts are exact: sums run in float32 where they stay below 2^24, else in stages with float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from retable.bench.accountant.marks import Book, Mark

EXACT = 1 << 24
"""Integers below are exact in float32."""


@dataclass(frozen=True)
class Tally:
    """float64 (T, *kept axes): non-zero elements, and the sum of their |integers|."""

    events: Tensor
    accumulates: Tensor

    def total(self) -> Tally:
        """(T,)."""
        if self.events.dim() == 1:
            return self
        events = self.events.flatten(1).sum(1)
        return Tally(events, events if self.accumulates is self.events else self.accumulates.flatten(1).sum(1))


def tally(tensor: Tensor, book: Book, last: int = 0) -> Tally:
    """Of a marked tensor along its `last` axes; of an unmarked one, whose |integers| are taken as 1."""
    entry, keep = book.entry(tensor), tuple(range(tensor.dim() - last, tensor.dim()))
    if entry is None:
        return count(tensor, None, keep)
    known, key = (entry.counts if last else entry.totals), (entry.mark.steps, *tensor.shape[tensor.dim() - last :])
    if key not in known:
        wider = [] if last else [found for found in entry.counts.values() if len(found.events) == entry.mark.steps]
        known[key] = wider[0].total() if wider else count(tensor, entry.mark, keep)
    found: Tally = known[key]
    return found


def count(tensor: Tensor, mark: Mark | None, keep: tuple[int, ...] = ()) -> Tally:
    """As `tally`, with the mark given."""
    tensor, kept, time = _with_time(tensor.detach(), mark, keep)
    if tensor.numel() == 0 or tensor.is_meta:  # shapes alone: nothing is known of the values
        shape = [tensor.shape[axis] for axis in kept]
        return _timed(torch.zeros(shape, dtype=torch.float64), kept, time)
    if mark is None or mark.scale is None or (mark.low < 0 and mark.bound <= 1):
        nonzero = indicator(tensor)
        return _timed(_sum(nonzero, kept, 1, 1.0), kept, time)
    if mark.bound <= 1:
        return _timed(_sum(tensor, kept, 1, mark.scale), kept, time)
    size = tensor.abs() if mark.low < 0 else tensor
    accumulates = _timed(_sum(size, kept, mark.bound, mark.scale), kept, time).events
    events = _timed(_sum(indicator(size, signed=False), kept, 1, 1.0), kept, time).events
    return Tally(events, accumulates)


def glances(tensor: Tensor) -> Iterator[Tensor]:
    """Views of a few elements an axis, of a row, and the tensor: most show at a glance what is looked for in all of them."""
    yield tensor[tuple(slice(None, None, max(1, size // 4)) for size in tensor.shape)]
    if tensor.dim() > 1 and len(tensor) > 1:
        yield tensor[len(tensor) // 2]
    yield tensor


def indicator(tensor: Tensor, signed: bool = True) -> Tensor:
    """1 where an element is not zero (NaN included), else 0."""
    if not tensor.is_floating_point():
        return tensor.ne(0)
    ones = tensor.sgn().abs_() if signed else tensor.sgn()
    return ones.nan_to_num_(nan=1.0) if bool(ones.sum().isnan()) else ones


def _with_time(tensor: Tensor, mark: Mark | None, keep: tuple[int, ...]) -> tuple[Tensor, list[int], int | None]:
    """The tensor with time as an axis of its own, the axes to keep (time among them) and which of them is time."""
    place = mark.place(tensor.shape) if mark is not None else None
    if mark is None or place is None or place[0] in keep:
        return tensor, list(keep), None
    axis, m = place
    kept = [i if i < axis else i + 2 for i in keep]
    split = tensor.unflatten(axis, (m, mark.steps, tensor.shape[axis] // (m * mark.steps)))
    kept.append(axis + 1)
    return split, sorted(kept), axis + 1


def _timed(sums: Tensor, kept: list[int], time: int | None) -> Tally:
    """Time first; one step where there is none."""
    sums = sums.unsqueeze(0) if time is None else sums.movedim(kept.index(time), 0)
    return Tally(sums, sums)


def _sum(tensor: Tensor, kept: list[int], bound: int, scale: float) -> Tensor:
    """Integers (tensor / scale) summed over all axes but `kept`, exactly, in float64."""
    gone = [axis for axis in range(tensor.dim()) if axis not in kept]
    if not gone:
        sums = tensor.to(torch.float64)
        return sums if scale == 1 else (sums / scale).round_()
    work = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    length = math.prod(tensor.shape[axis] for axis in gone)
    if scale == 1 and length * bound < EXACT:
        return tensor.sum(gone, dtype=work).to(torch.float64)
    if tensor.shape[gone[-1]] * bound >= EXACT >> 4:
        work = torch.float64
    partial = tensor.sum(gone[-1], keepdim=True, dtype=work).to(torch.float64)
    if scale != 1:
        partial = (partial / scale).round_()
    return partial.sum(gone)
