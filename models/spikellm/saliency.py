"""Optimal Brain Spiking: which channels fire for more than one step (arXiv 2407.04752, section 3.2).

Masks are True on ordinary channels, False on salient ones, as in the released code.
Activations, first order: S = (X W^T W) * X, averaged over samples and tokens, signed. Attention products: S = (Q^T Q) K * K and
(P^T P) V * V. Weights, second order: the paper names the Hessian and the released code has none; ours is Optimal Brain
Surgeon's own measure, w^2 / [H^-1]_jj, summed over a column where channels are chosen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from retable.models.common.precision import compute_dtype, no_autocast


def linear_saliency(x_BNC: Tensor, w_OC: Tensor) -> Tensor:
    """(B, N, C), in single precision at least: x W^T W leaves the range of half precision."""
    with no_autocast(x_BNC):
        x, w = x_BNC.to(compute_dtype(x_BNC)), w_OC.to(compute_dtype(w_OC))
        return (x @ w.T @ w) * x


def key_saliency(q_BHND: Tensor, k_BHDN: Tensor) -> Tensor:
    """(Q^T Q) K * K in float64, (B, H, D, N)."""
    q, k = q_BHND.double(), k_BHDN.double()
    return (q.mT @ q) @ k * k


def value_saliency(p_BHNN: Tensor, v_BHND: Tensor) -> Tensor:
    """(P^T P) V * V in float64, (B, H, N, D)."""
    p, v = p_BHNN.double(), v_BHND.double()
    return (p.mT @ p) @ v * v


def ordinary_count(low_p: float, channels: int) -> int:
    """int(low_p C): truncated, as products like 0.9 * C must be."""
    return int(low_p * channels)


def ordinary_mask(channel: Tensor, low_p: float) -> Tensor:
    """channel <= the int(low_p C)-th smallest, shape of `channel`; ties stay ordinary.

    With int(low_p C) = 0 the index runs to the end of the list, as in the released code: every channel is ordinary.
    """
    flat = channel.flatten()
    threshold = flat.sort().values[ordinary_count(low_p, len(flat)) - 1]
    return channel <= threshold


def random_mask(channel: Tensor, low_p: float, generator: torch.Generator) -> Tensor:
    """As many salient channels as `ordinary_mask` chooses, but any."""
    salient = int((~ordinary_mask(channel, low_p)).sum())
    order = torch.randperm(channel.numel(), generator=generator)[:salient]
    mask = torch.ones(channel.numel(), dtype=torch.bool)
    mask[order] = False
    return mask.reshape(channel.shape).to(channel.device)


def inverse_hessian(hessian_CC: Tensor, damping: float = 0.01) -> tuple[Tensor, Tensor]:
    """(H + damping mean(diag H) 1)^-1 and which inputs never moved (their diagonal is set to 1), both float64."""
    h = hessian_CC.double().clone()
    dead = h.diagonal() == 0
    h.diagonal()[dead] = 1
    h.diagonal().add_(damping * h.diagonal().mean())
    return torch.cholesky_inverse(torch.linalg.cholesky(h)), dead


def weight_saliency(w_OC: Tensor, inverse_CC: Tensor) -> Tensor:
    """w^2 / [H^-1]_jj, the loss that removing a weight costs (twice), (O, C)."""
    return w_OC.double().square() / inverse_CC.diagonal()
