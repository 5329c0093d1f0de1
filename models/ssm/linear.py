"""Linear layers for decoding, where a few rows meet a large weight and the time is that of reading the weight."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

PACK_FROM = 1 << 18
"""Weights of at least this many elements are worth a copy in oneDNN's own layout."""


def packs(weight: Tensor) -> bool:
    """Whether `few_row_linear` copies this weight: a large float32 one on a CPU whose torch has oneDNN."""
    eligible = weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()
    return bool(eligible and weight.numel() >= PACK_FROM)


@torch.no_grad()
def few_row_linear(weight_OI: Tensor, bias_O: Tensor | None, rows: int) -> Callable[[Tensor], Tensor]:
    """x (rows, I) -> (rows, O) like F.linear with the present values of weight and bias. Without gradient.

    A large weight on a CPU is copied once into the blocked layout of oneDNN: with 8 rows that takes about 0.6 of the
    time of F.linear, which rearranges the weight in every call. Later changes of the weight do not reach the copy.
    """
    weight, bias = weight_OI.detach(), None if bias_O is None else bias_O.detach()
    if rows < 1 or not packs(weight):
        return partial(F.linear, weight=weight, bias=bias)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
