"""Folding norms and re-parameterised convolutions into one convolution, for inference (arXiv 2407.20708).

A convolution merged here has the same output in evaluation mode, zero padding included: what was padded there is the image
of zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def scale_and_shift(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """g, b (C,) with bn(x) = g x + b in evaluation mode."""
    mean_C, var_C = bn.running_mean, bn.running_var
    assert mean_C is not None
    assert var_C is not None
    g_C = bn.weight / (var_C + bn.eps).sqrt()
    return g_C, bn.bias - mean_C * g_C


@torch.no_grad()
def folded(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """The convolution followed by the norm."""
    g_O, b_O = scale_and_shift(bn)
    bias_O = b_O if conv.bias is None else b_O + g_O * conv.bias
    return convolution(conv.weight * g_O[:, None, None, None], bias_O, like=conv)


@torch.no_grad()
def dense(
    first_CI11: Tensor | None,
    bn: nn.BatchNorm2d,
    depthwise_M1kk: Tensor,
    pointwise_OC11: Tensor,
    depthwise_last: bool = False,
) -> nn.Conv2d:
    """The 3x3 convolution of: 1x1 `first` (none is the identity), norm and its frame, depthwise and pointwise.

    K[o, i] = sum_c P[o, c] d_c g_c A[c, i]; with `depthwise_last` the depthwise kernel is that of o. The norm's shift b_c is
    constant over the frame too, so it adds sum_c P[o, c] sum(d_c) b_c everywhere.
    """
    g_C, b_C = scale_and_shift(bn)
    P_OC = pointwise_OC11[:, :, 0, 0]
    d_Mkk = depthwise_M1kk[:, 0]
    A_CI = torch.diag(g_C) if first_CI11 is None else g_C[:, None] * first_CI11[:, :, 0, 0]
    if depthwise_last:
        K_OIkk = (P_OC @ A_CI)[:, :, None, None] * d_Mkk[:, None]
        bias_O = (P_OC @ b_C) * d_Mkk.sum((1, 2))
    else:
        K_OIkk = torch.einsum("oc,cyx,ci->oiyx", P_OC, d_Mkk, A_CI)
        bias_O = P_OC @ (d_Mkk.sum((1, 2)) * b_C)
    return convolution(K_OIkk, bias_O)


def convolution(weight: Tensor, bias: Tensor, like: nn.Conv2d | None = None) -> nn.Conv2d:
    """With these weights; stride, padding and groups of another, or 1 and padding that keeps the size."""
    k, groups = weight.shape[2], like.groups if like else 1
    merged = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        k,
        stride=like.stride if like else 1,  # type: ignore[arg-type]
        padding=like.padding if like else k // 2,  # type: ignore[arg-type]
        groups=groups,
        device="meta",
    )
    merged.weight, merged.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    return merged.train(False)
