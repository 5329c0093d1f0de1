"""Attention of spikes (arXiv 2408.00788, released code).

Shapes: S the axis along which neurons integrate, B utterances, N the axis that is attended over, D channels. The temporal
attention has S = phonemes or frames and N = steps, the sequential one S = steps and N = phonemes or frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from retable.models.spiking.neurons import LIF


def lif() -> LIF:
    """tau = 2, threshold 1, hard reset to 0 that carries no gradient, sigmoid surrogate of slope 4."""
    return LIF(tau=2.0, threshold=1.0, v_reset=0.0, decay_input=True, detach_reset=True)


class Projections(nn.Module):
    """Spiking q, k, v of one stream of spikes, and the way back to the residual stream: LayerNorm(W y + b + x).

    The numbers of the batch normalisations are the released ones: 1 is k's, 2 is q's, 3 is v's. Their statistics count
    padded positions.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.w_qs, self.w_ks, self.w_vs, self.fc = (nn.Linear(d, d) for _ in range(4))
        self.layer_norm = nn.LayerNorm(d)
        self.batch_norm1, self.batch_norm2, self.batch_norm3 = (nn.BatchNorm1d(d) for _ in range(3))
        self.lif_q, self.lif_k, self.lif_v = lif(), lif(), lif()

    def qkv(self, s_SBND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q = self.lif_q(normalised(self.batch_norm2, self.w_qs(s_SBND)))
        k = self.lif_k(normalised(self.batch_norm1, self.w_ks(s_SBND)))
        v = self.lif_v(normalised(self.batch_norm3, self.w_vs(s_SBND)))
        return q, k, v

    def back(self, y_SBND: Tensor, x_SBND: Tensor) -> Tensor:
        out: Tensor = self.layer_norm(self.fc(y_SBND) + x_SBND)
        return out


class SpikeDrivenAttention(Projections):
    """y = q * LIF(sum_n k_n * v_n): masks and additions, no softmax, no scale.

    Products and sums stay within a channel, so that the number of heads changes nothing: there are none here.
    """

    def __init__(self, d: int) -> None:
        super().__init__(d)
        self.lif_kv = lif()

    def forward(self, s_SBND: Tensor, x_SBND: Tensor, pad_SBN: Tensor) -> Tensor:
        """(S, B, N, D) from spikes s, the residual stream x, and the padding (True), which adds nothing to the sum."""
        q, k, v = self.qkv(s_SBND)
        kv_SB1D = (k * v).masked_fill(pad_SBN[..., None], 0).sum(2, keepdim=True)
        return self.back(q * self.lif_kv(kv_SB1D), x_SBND)


class SoftmaxAttention(Projections):
    """softmax(q k^T / sqrt(d_k)) v of spikes, by head: what attention was before it became spike-driven."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__(d)
        self.heads = heads
        self.lif_y = lif()

    def forward(self, s_SBND: Tensor, x_SBND: Tensor, pad_SBN: Tensor) -> Tensor:
        q, k, v = (by_head(part, self.heads) for part in self.qkv(s_SBND))
        y_SBND = softmax_of(q, k, pad_SBN).matmul(v).transpose(2, 3).flatten(3)
        return self.back(self.lif_y(y_SBND), x_SBND)


def by_head(x_SBND: Tensor, heads: int) -> Tensor:
    """(S, B, H, N, D / H)."""
    return x_SBND.unflatten(-1, (heads, -1)).transpose(2, 3)


def softmax_of(q_SBHND: Tensor, k_SBHND: Tensor, pad_SBN: Tensor) -> Tensor:
    """Weights (S, B, H, N, N) of every position for every other; padded ones get none."""
    scores = q_SBHND @ k_SBHND.transpose(-1, -2) / q_SBHND.shape[-1] ** 0.5
    return scores.masked_fill(pad_SBN[:, :, None, None], -torch.inf).softmax(-1)


def normalised(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Batch normalisation of the last axis over all others."""
    return norm(x.flatten(0, -2)).view_as(x)
