"""Codings: intensities x (B, ...) in [0, 1] -> what a network sees over T steps, (T, B, ...).

    direct        x itself at every step; the first layer's currents are analog (what the surveyed networks use)
    rate          a spike at every step with probability x: independent Bernoulli draws, the usual "Poisson" coding
    first-spike   one spike, the earlier the brighter: at floor((1 - x) T); 0 never fires
    rank-order    one spike, in the order of brightness within the sample; 0 never fires (eq. 14 of arXiv 2407.20508)
    phase         the binary digits of x, the first the largest, repeated: weight 2^-(1 + t mod period) (arXiv 1809.03142)

Spikes are 0 or 1 in x's dtype. Every function raises ValueError for T below 1 and for x outside [0, 1] (NaN included).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Coding = Literal["direct", "rate", "first-spike", "rank-order", "phase"]
PERIOD = 8
"""Phases of an 8-bit image."""


def encode(coding: Coding, x: Tensor, T: int, generator: torch.Generator | None = None) -> Tensor:
    """x (B, ...) in the coding of that name, (T, B, ...); only "rate" draws, and it needs the generator."""
    if coding == "rate":
        if generator is None:
            raise ValueError("generator must be a torch.Generator for the coding 'rate', which draws its spikes")
        return rate(x, T, generator)
    codings = {"direct": direct, "first-spike": first_spike, "rank-order": rank_order, "phase": phase}
    if coding not in codings:
        raise ValueError(f"coding is one of {', '.join(get_args(Coding))}, not {coding!r}")
    return codings[coding](x, T)


def direct(x: Tensor, T: int) -> Tensor:
    """x at every step; a view."""
    _check(x, T)
    return x.expand(T, *x.shape)


def rate(x: Tensor, T: int, generator: torch.Generator) -> Tensor:
    """Spikes with probability x, drawn from a generator on x's device."""
    _check(x, T)
    drawn = torch.rand((T, *x.shape), generator=generator, device=x.device, dtype=x.dtype)
    return (drawn < x).to(x.dtype)


def first_spike(x: Tensor, T: int) -> Tensor:
    """Time to first spike: T equal bins of intensity, the brightest first."""
    _check(x, T)
    return _at(((1 - x) * T).long().clamp(max=T - 1), x > 0, T).to(x.dtype)


def rank_order(x: Tensor, T: int) -> Tensor:
    """An entry's step is floor(T rank / size), rank the number of brighter entries of its sample: equal ones fire together."""
    _check(x, T)
    flat = x.flatten(1)
    rank = flat.shape[1] - torch.searchsorted(flat.sort(1).values, flat, right=True)
    step = (rank * T).div(max(1, flat.shape[1]), rounding_mode="floor")
    return _at(step.view_as(x), x > 0, T).to(x.dtype)


def phase(x: Tensor, T: int, period: int = PERIOD) -> Tensor:
    """Step t carries the binary digit 1 + t mod period of x, rounded down; 1 becomes 1 - 2^-period."""
    _check(x, T)
    if not 1 <= period <= 24:
        raise ValueError(f"period must be from 1 to 24 digits, not {period}")
    digits = (x.double() * 2**period).long().clamp(max=2**period - 1)
    shifts = (period - 1 - torch.arange(T, device=x.device) % period).view(T, *(1,) * x.dim())
    return ((digits >> shifts) & 1).to(x.dtype)


def phase_weights(T: int, period: int = PERIOD) -> Tensor:
    """What a spike of step t stands for, (T); over one period the weighted spikes add up to x."""
    return 0.5 ** (1 + torch.arange(T) % period)


def _at(step: Tensor, fires: Tensor, T: int) -> Tensor:
    """(T, B, ...): true at the step of those that fire."""
    steps = torch.arange(T, device=step.device).view(T, *(1,) * step.dim())
    return (steps == step) & fires


def _check(x: Tensor, T: int) -> None:
    if T < 1:
        raise ValueError(f"T must be at least 1, not {T}")
    if not x.is_floating_point() or x.dim() < 1:
        raise ValueError(f"x must be floating-point intensities (B, ...), not {x.dtype} of shape {tuple(x.shape)}")
    if x.numel() and not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError(f"x must lie in [0, 1], not in [{float(x.min()):g}, {float(x.max()):g}]")
