"""The block of encoder and decoder. Shapes: T steps, B utterances, L phonemes or frames, D channels, F of the filter.

Between blocks runs a real-valued residual stream (the "membrane"); what enters a linear layer or a convolution are spikes.
"""

from __future__ import annotations

from torch import Tensor, nn

from retable.models.spikevoice.attention import SoftmaxAttention, SpikeDrivenAttention, lif
from retable.models.spikevoice.sizes import Config


class FeedForward(nn.Module):
    """LIF, convolution to F channels, LIF, convolution back, LayerNorm(out + x)."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        wide, narrow = c.kernels
        self.lif_0, self.lif_1 = lif(), lif()
        self.w_1 = nn.Conv1d(c.d, c.filter, wide, padding=wide // 2)
        self.w_2 = nn.Conv1d(c.filter, c.d, narrow, padding=narrow // 2)
        self.layer_norm = nn.LayerNorm(c.d)

    def forward(self, x_TBLD: Tensor) -> Tensor:
        wide_TBFL = self.lif_1(convolved(self.w_1, self.lif_0(x_TBLD).transpose(-1, -2)))
        out: Tensor = self.layer_norm(convolved(self.w_2, wide_TBFL).transpose(-1, -2) + x_TBLD)
        return out


class SequentialBlock(nn.Module):
    """Attention over the sequence within each step, then the feed-forward part; padded positions are 0 after each."""

    def __init__(self, c: Config, attention: nn.Module) -> None:
        super().__init__()
        self.slf_attn_s = attention
        self.pos_ffn = FeedForward(c)
        self.lif_s = lif()

    def forward(self, x_TBLD: Tensor, pad_BL: Tensor) -> Tensor:
        x = zeroed(self.slf_attn_s(self.lif_s(x_TBLD), x_TBLD, pad_BL.expand(len(x_TBLD), *pad_BL.shape)), pad_BL)
        return zeroed(self.pos_ffn(x), pad_BL)


class STSABlock(SequentialBlock):
    """Spiking temporal-sequential attention: first over the steps, where each position can see all T of them.

    There the neurons behind q, k, v and the sum integrate along the sequence, not along the steps.
    """

    def __init__(self, c: Config) -> None:
        super().__init__(c, SpikeDrivenAttention(c.d))
        self.slf_attn_t = SpikeDrivenAttention(c.d)
        self.lif_t = lif()

    def forward(self, x_TBLD: Tensor, pad_BL: Tensor) -> Tensor:
        pad_LBT = pad_BL.T[..., None].expand(-1, -1, len(x_TBLD))
        s_LBTD, x_LBTD = (part.transpose(0, 2) for part in (self.lif_t(x_TBLD), x_TBLD))
        x = zeroed(self.slf_attn_t(s_LBTD, x_LBTD, pad_LBT).transpose(0, 2), pad_BL)
        return super().forward(x, pad_BL)


def spiking_block(c: Config, heads: int) -> nn.Module:
    """One block of the arm."""
    if c.arm == "stsa":
        return STSABlock(c)
    return SequentialBlock(c, SpikeDrivenAttention(c.d) if c.arm == "sequential" else SoftmaxAttention(c.d, heads))


def convolved(convolution: nn.Module, x_TBDL: Tensor) -> Tensor:
    """A convolution over (B, D, L) at every step."""
    out: Tensor = convolution(x_TBDL.flatten(0, 1)).unflatten(0, x_TBDL.shape[:2])
    return out


def zeroed(x_TBLD: Tensor, pad_BL: Tensor) -> Tensor:
    return x_TBLD.masked_fill(pad_BL[None, ..., None], 0)
