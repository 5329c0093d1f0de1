"""RMSNorm (arXiv 1910.07467), with the residual sum of pre-norm blocks and with the gate of Mamba-2 (arXiv 2405.21060).

Everything is computed in float32 at least and returned in the dtype of the input.
"""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from retable.models.common.precision import compute_dtype
from retable.models.common.shapes import check_shape


def _normalise(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x / rms(x) and 1 / rms(x)."""
    rrms = torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(eps).rsqrt_().unsqueeze(-1)
    return x * rrms, rrms


class _RMSNormalise(torch.autograd.Function):
    """x / rms(x) * w over the last dimension. With n = x / rms(x), g = dy * w:  dx = (g - n mean(g n)) / rms(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, eps: float) -> Tensor:
        n, rrms = _normalise(x, eps)
        ctx.save_for_backward(n, w, rrms)
        return n * w

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
        n, w, rrms = ctx.saved_tensors
        g = dy * w
        mean = torch.linalg.vecdot(g, n).div_(n.shape[-1]).unsqueeze(-1)
        dx = torch.addcmul(g, n, mean, value=-1).mul_(rrms)
        return dx, (dy * n).sum_to_size(w.shape), None


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-5, group_size: int | None = None) -> Tensor:
    """weight * x / sqrt(mean(x^2) + eps) over the last dimension (..., D), or per `group_size` channels of it."""
    check_shape("weight", weight, x.shape[-1])
    size = group_size or x.shape[-1]
    if x.shape[-1] % size:
        raise ValueError(f"group_size {size} does not divide the {x.shape[-1]} channels of x")
    compute = compute_dtype(x)
    x_, w_ = x.to(compute), weight.to(compute)
    if size != x.shape[-1]:
        x_, w_ = x_.unflatten(-1, (-1, size)), w_.view(-1, size)
    y = _RMSNormalise.apply(x_, w_, eps) if torch.is_grad_enabled() else _normalise(x_, eps)[0].mul_(w_)
    return y.view(x.shape).to(x.dtype)


class RMSNorm(nn.Module):
    """RMSNorm over the last dimension, optionally of a residual sum that it also returns (pre-norm blocks)."""

    def __init__(self, d: int, eps: float = 1e-5, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d, device=device, dtype=dtype))

    @overload
    def forward(self, x: Tensor, residual: Tensor | None = None, prenorm: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(self, x: Tensor, residual: Tensor | None, prenorm: Literal[True]) -> tuple[Tensor, Tensor]: ...

    def forward(
        self, x: Tensor, residual: Tensor | None = None, prenorm: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """norm(x + residual) in x's dtype; with `prenorm` also the sum itself, kept in float32 at least."""
        check_shape("residual", residual, *x.shape)
        total = x.to(compute_dtype(x))
        if residual is not None:
            total = total + residual
        y = rms_norm(total, self.weight, self.eps).to(x.dtype)
        return (y, total) if prenorm else y


class RMSNormGated(nn.Module):
    """norm(x * silu(z)) as in Mamba-2, or norm(x) * silu(z) with `norm_before_gate`; variance per `group_size`."""

    def __init__(
        self,
        d: int,
        eps: float = 1e-5,
        group_size: int | None = None,
        norm_before_gate: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.eps, self.group_size, self.norm_before_gate = eps, group_size, norm_before_gate
        self.weight = nn.Parameter(torch.ones(d, device=device, dtype=dtype))

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """x and z (..., D); without z there is no gate."""
        check_shape("z", z, *x.shape)
        compute = compute_dtype(x)
        y = x.to(compute)
        if z is not None and not self.norm_before_gate:
            y = y * F.silu(z.to(compute))
        y = rms_norm(y, self.weight, self.eps, self.group_size)
        if z is not None and self.norm_before_gate:
            y = y * F.silu(z.to(compute))
        return y.to(x.dtype)
