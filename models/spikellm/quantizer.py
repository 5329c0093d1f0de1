"""The dynamic uniform quantiser of SpikeLLM, and fixed grids of weights.

One step of a generalised integrate-and-fire (GIF) neuron with L = 2^n levels is an n-bit quantiser; T merged steps have
n + log2 T bits (`gif`). Ranges are taken over the last axis: of a weight (out, in) a row, of activations (..., C) a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from retable.models.common.precision import compute_dtype

SCALES = (1e-5, 1e4)
"""A scale's bounds; a constant row has the lower one."""
ZERO = 1e4
"""Bound of |zero point|."""
IDENTITY_BITS = 16
"""At this width nothing is quantised."""


class Range(NamedTuple):
    """A scale and a zero point (None: none) for each row, with the levels low ... high."""

    scale: Tensor
    zero: Tensor | None
    low: int
    high: int

    def integers(self, x: Tensor) -> Tensor:
        """clamp(round(x / scale) + z): straight through the rounding, no gradient outside the levels."""
        q = round_ste(x / self.scale)
        # not `clamp`, whose gradient at its bounds, where many integers lie, differs between releases of torch
        return F.hardtanh(q if self.zero is None else q + self.zero, self.low, self.high)

    def values(self, q: Tensor) -> Tensor:
        """(q - z) scale."""
        return (q if self.zero is None else q - self.zero) * self.scale

    def nearest(self, x: Tensor) -> Tensor:
        """values(integers(x)) where no gradient is wanted."""
        q = (x / self.scale).round_()
        if self.zero is None:
            return q.clamp_(self.low, self.high).mul_(self.scale)
        return q.add_(self.zero).clamp_(self.low, self.high).sub_(self.zero).mul_(self.scale)


class Signs(NamedTuple):
    """Two values a row, -scale and scale."""

    scale: Tensor

    def nearest(self, x: Tensor) -> Tensor:
        """A zero becomes positive."""
        return torch.where(x < 0, -self.scale, self.scale)


def round_ste(x: Tensor) -> Tensor:
    """Half to even; the gradient is the identity's."""
    return (x.round() - x).detach() + x


def check_bits(bits: int) -> None:
    """Raises ValueError outside 2 ... 16."""
    if not 2 <= bits <= IDENTITY_BITS:
        raise ValueError(f"bits must lie between 2 and {IDENTITY_BITS}, not be {bits}")


@dataclass(frozen=True, kw_only=True)
class Quantizer:
    """`bits` wide; 16 is the identity. Learned clipping shrinks the range to sigmoid(l) min ... sigmoid(u) max."""

    bits: int
    symmetric: bool = False
    zero_point: bool = True
    group_size: int | None = None

    def __post_init__(self) -> None:
        check_bits(self.bits)

    def __call__(self, x: Tensor, upper: Tensor | None = None, lower: Tensor | None = None) -> Tensor:
        """The values nearest to x that the levels allow; shape and dtype of x."""
        if self.bits == IDENTITY_BITS:
            return x
        rows = self.rows(x)
        span = self.range(rows, upper, lower)
        values = span.values(span.integers(rows)).to(x.dtype)
        if self.group_size is None:
            return values
        return values.reshape(*x.shape[:-1], -1)[..., : x.shape[-1]]

    def rows(self, x: Tensor) -> Tensor:
        """x in single precision at least, or its groups as rows (-1, group_size); zeros fill up the last group, as released."""
        x = x.to(compute_dtype(x))
        if self.group_size is None:
            return x
        return F.pad(x, (0, -x.shape[-1] % self.group_size)).reshape(-1, self.group_size)

    def range(self, rows: Tensor, upper: Tensor | None = None, lower: Tensor | None = None) -> Range:
        """Scale and zero point (..., 1) of rows as they are now; differentiable but for the zero point's rounding."""
        smallest, largest = rows.amin(-1, keepdim=True), rows.amax(-1, keepdim=True)
        if upper is not None and lower is not None:
            smallest, largest = lower.sigmoid() * smallest, upper.sigmoid() * largest
        if self.symmetric:
            half = 2 ** (self.bits - 1) - 1
            scale = (torch.maximum(largest.abs(), smallest.abs()) / half).clamp(*SCALES)
            if not self.zero_point:
                return Range(scale, None, -half - 1, half)
            return Range(scale, torch.full_like(scale, half), 0, 2**self.bits - 1)
        levels = 2**self.bits - 1
        scale = ((largest - smallest) / levels).clamp(*SCALES)
        if not self.zero_point:
            return Range(scale, None, -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1)
        return Range(scale, (-smallest / scale).clamp(-ZERO, ZERO).round(), 0, levels)


SEARCHED = 48
"""Scales that `symmetric_range` tries."""


def symmetric_range(w_RC: Tensor, mask_RC: Tensor, steps: int) -> Range:
    """Sums of `steps` ternary spikes, -steps ... steps, with each row's scale of least squared error over `mask_RC`.

    The scale is searched between 1/SEARCHED and all of the row's largest value; our reading, the paper's is not published.
    """
    kept = w_RC * mask_RC
    largest = kept.abs().amax(1, keepdim=True)
    best, least = torch.full_like(largest, SCALES[0]), torch.full_like(largest, torch.inf)
    for share in range(1, SEARCHED + 1):
        scale = (largest * share / SEARCHED / steps).clamp_min(SCALES[0])
        span = Range(scale, None, -steps, steps)
        error = (span.values(span.integers(kept)) - kept).square().sum(1, keepdim=True)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return Range(best, None, -steps, steps)


def binary_range(w_RC: Tensor, mask_RC: Tensor) -> Signs:
    """-a and a, with a the mean of |w| over `mask_RC` in each row: the nearest in least squares."""
    kept = mask_RC.expand_as(w_RC)
    return Signs((w_RC.abs() * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp_min(1))


def uniform_range(
    w_RC: Tensor,
    mask_RC: Tensor,
    bits: int,
    upper: Tensor | None = None,
    lower: Tensor | None = None,
    *,
    with_zero: bool = False,
) -> Range:
    """The quantiser's range of each row over the elements in `mask_RC` alone; a row without any has all of it.

    `with_zero` keeps 0 inside every range, as GPTQ's quantiser does.
    """
    mask = mask_RC | ~mask_RC.any(1, keepdim=True)
    ends = [w_RC.masked_fill(~mask, -torch.inf).amax(1), w_RC.masked_fill(~mask, torch.inf).amin(1)]
    if with_zero:
        ends = [ends[0].clamp_min(0), ends[1].clamp_max(0)]
    return Quantizer(bits=bits).range(torch.stack(ends, 1), upper, lower)


@dataclass(frozen=True, eq=False)
class WeightGrid:
    """What a weight (R, C) may become: ordinary elements on one range, salient ones (`ordinary` False) on another."""

    ordinary: Tensor
    low: Range | Signs
    high: Range | Signs

    def nearest(self, w_RC: Tensor) -> Tensor:
        """Every element's nearest value; differentiable where both ranges are `Range`."""
        low, high = (
            span.nearest(w_RC) if isinstance(span, Signs) else span.values(span.integers(w_RC))
            for span in (self.low, self.high)
        )
        return torch.where(self.ordinary, low, high)

    def column(self, w_R: Tensor, column: int) -> Tensor:
        """The same for one column (R), without gradient."""
        if len(self.ordinary) == 1:
            return (self.low if self.ordinary[0, column] else self.high).nearest(w_R[:, None])[:, 0]
        low, high = (span.nearest(w_R[:, None])[:, 0] for span in (self.low, self.high))
        return torch.where(self.ordinary[:, column], low, high)
