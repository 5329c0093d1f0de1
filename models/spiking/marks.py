"""Spikes of a neuron of one's own: an identity that tells the energy account what its tensor holds.

The account knows spikes by who made them, never by their values. Neurons of this package say so themselves; any other says
`return spikes(s_TB)`, and what follows it is counted as accumulates instead of multiply-accumulates.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from retable.models.common.operators import operator


def spikes(x: Tensor, low: int = 0, high: int = 1, steps: int | None = None) -> Tensor:
    """`x`, marked as spikes: whole numbers from `low` to `high`, over time steps along its first axis.

    `steps` is the length of time within the first axis, by default all of it; 1 where a tensor is one step, (B, ...). The
    gradient passes through, and so does `torch.compile`. Raises ValueError for bounds without a number between them that is
    not 0, for steps that do not divide the axis, and, inside an account, for values that are something else.
    """
    if low > high or low == high == 0:
        raise ValueError(f"low and high must be the smallest and the largest spike, not {low} and {high}")
    length = x.shape[0] if x.dim() else 1
    if steps is not None and (steps < 1 or length % steps):
        raise ValueError(f"steps must divide the first axis of the tensor {tuple(x.shape)}, not be {steps}")
    marked: Tensor = _spikes(x, low, high, length if steps is None else steps)
    return marked


@operator("spikes")
def _spikes(x: Tensor, low: int, high: int, steps: int) -> Tensor:
    """A copy: an operator must not return its argument."""
    return x.clone()


@_spikes.register_fake
def _(x: Tensor, low: int, high: int, steps: int) -> Tensor:
    return torch.empty_like(x)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    return None


def _pass(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
    return grad, None, None, None


_spikes.register_autograd(_pass, setup_context=_keep)
