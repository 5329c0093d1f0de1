"""FastSpeech 2 (arXiv 2006.04558): SpikeVoice's parts without spikes, for T = 1. No dropout, as in SpikeVoice's code."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.spikevoice.attention import by_head, softmax_of
from retable.models.spikevoice.block import convolved, zeroed
from retable.models.spikevoice.sizes import Config
from retable.models.spikevoice.variance import PredictorLayers


class Attention(nn.Module):
    """LayerNorm(W softmax(q k^T / sqrt(d_k)) v + b + x)."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.w_qs, self.w_ks, self.w_vs, self.fc = (nn.Linear(d, d) for _ in range(4))
        self.layer_norm = nn.LayerNorm(d)

    def forward(self, x_TBLD: Tensor, pad_BL: Tensor) -> Tensor:
        q, k, v = (by_head(w(x_TBLD), self.heads) for w in (self.w_qs, self.w_ks, self.w_vs))
        y_TBLD = softmax_of(q, k, pad_BL[None]).matmul(v).transpose(2, 3).flatten(3)
        out: Tensor = self.layer_norm(self.fc(y_TBLD) + x_TBLD)
        return out


class FeedForward(nn.Module):
    """LayerNorm(W_2 relu(W_1 x) + x), both convolutions."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        wide, narrow = c.kernels
        self.w_1 = nn.Conv1d(c.d, c.filter, wide, padding=wide // 2)
        self.w_2 = nn.Conv1d(c.filter, c.d, narrow, padding=narrow // 2)
        self.layer_norm = nn.LayerNorm(c.d)

    def forward(self, x_TBLD: Tensor) -> Tensor:
        wide_TBFL = F.relu(convolved(self.w_1, x_TBLD.transpose(-1, -2)))
        out: Tensor = self.layer_norm(convolved(self.w_2, wide_TBFL).transpose(-1, -2) + x_TBLD)
        return out


class Block(nn.Module):
    """Attention and the feed-forward part; padded positions are 0 after each."""

    def __init__(self, c: Config, heads: int) -> None:
        super().__init__()
        self.slf_attn, self.pos_ffn = Attention(c.d, heads), FeedForward(c)

    def forward(self, x_TBLD: Tensor, pad_BL: Tensor) -> Tensor:
        x = zeroed(self.slf_attn(x_TBLD, pad_BL), pad_BL)
        return zeroed(self.pos_ffn(x), pad_BL)


class Predictor(PredictorLayers):
    """One real number a position: twice (convolution, ReLU, LayerNorm), then linear."""

    def forward(self, x_TBLD: Tensor, pad_BL: Tensor) -> Tensor:
        y_TBLD = self.layer_norm_1(F.relu(convolved(self.conv1d_1, x_TBLD.transpose(-1, -2))).transpose(-1, -2))
        y_TBLD = self.layer_norm_2(F.relu(convolved(self.conv1d_2, y_TBLD.transpose(-1, -2))).transpose(-1, -2))
        return self.linear_layer(y_TBLD)[..., 0].masked_fill(pad_BL, 0)
