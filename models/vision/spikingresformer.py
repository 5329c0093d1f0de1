"""SpikingResformer: a ResNet's stages of dual spike self-attention and grouped feed-forward nets (arXiv 2403.14302).

    DSSA    s = SN(x);  y1, y2 = halves per head of BN(conv_pxp stride p (s))                  (eq. 9-11)
            A = SN(c1 y1^T s),  c1 = 1 / sqrt(f_x d);   o = SN(c2 y2 A),  c2 = 1 / sqrt(f_A L)
            out = BN(conv1x1(o)) + x
    GWFFN   u = BN(conv1x1 (SN(x)));  u = u + BN(grouped conv3x3 (SN(u)));  out = BN(conv1x1 (SN(u))) + x

f_x and f_A are firing rates per head, d = C / heads, L = H W / p^2 tokens of y, N = H W of s. SN is LIF: tau 2 with decay_input,
threshold 1, hard reset to 0 without gradient, ATan surrogate of 2. Module names are those of the released code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from retable.models.spiking.neurons import LIF
from retable.models.spiking.surrogates import ATAN
from retable.models.vision.layers import Neuron, check_choice, check_positive, check_stages, each_step
from retable.models.vision.over_time import BatchNorm, OverTime, as_steps

Stem = Literal["imagenet", "small"]
MOMENTUM = 0.999
"""Of the firing rates' running means."""

SPIKINGRESFORMER_SIZES: Mapping[str, Mapping[str, Any]] = {
    "Ti": {"widths": (64, 192, 384), "num_heads": (1, 3, 6)},
    "S": {"widths": (64, 256, 512), "num_heads": (1, 4, 8)},
    "M": {"widths": (64, 384, 768), "num_heads": (1, 6, 12)},
    "L": {"widths": (128, 512, 1024), "num_heads": (2, 8, 16)},
}
"""Published networks, as keywords of `SpikingResformer`."""


def lif(threshold: float = 1.0) -> nn.Module:
    """SpikingResformer's neuron."""
    return LIF(tau=2.0, threshold=threshold, v_reset=0.0, decay_input=True, detach_reset=True, surrogate=ATAN)


class DSSA(nn.Module):
    """Dual spike self-attention, x_TBCHW -> the same shape; H and W are at least `patch_size`."""

    firing_rate_x: Tensor  # (1, 1, heads, 1, 1)
    firing_rate_attn: Tensor

    def __init__(self, dim: int, num_heads: int, patch_size: int, neuron: Neuron = lif) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(f"num_heads must divide the width {dim}, which {num_heads} does not")
        self.num_heads = num_heads
        self.register_buffer("firing_rate_x", torch.zeros(1, 1, num_heads, 1, 1))
        self.register_buffer("firing_rate_attn", torch.zeros(1, 1, num_heads, 1, 1))
        self.activation_in = neuron(threshold=1.0)
        self.W = nn.Conv2d(dim, 2 * dim, patch_size, patch_size, bias=False)
        self.norm = BatchNorm(2 * dim)
        self.activation_attn = neuron(threshold=1.0)
        self.activation_out = neuron(threshold=1.0)
        self.Wproj = nn.Conv2d(dim, dim, 1, bias=False)
        self.norm_proj = BatchNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        s = self.activation_in(x)
        y1, y2 = self.heads(self.norm(each_step(s, self.W))).chunk(2, dim=3)  # (T, B, h, d, L)
        s_TBhdN = self.heads(s)
        self.observe(self.firing_rate_x, s_TBhdN)
        a_TBhLN = y1.transpose(-1, -2) @ s_TBhdN
        a_TBhLN = self.activation_attn(a_TBhLN * scale(self.firing_rate_x, s_TBhdN.shape[3]))
        self.observe(self.firing_rate_attn, a_TBhLN)
        o_TBhdN = (y2 @ a_TBhLN) * scale(self.firing_rate_attn, a_TBhLN.shape[3])
        o = self.activation_out(o_TBhdN.reshape(x.shape))
        return self.norm_proj(each_step(o, self.Wproj)) + x

    def heads(self, x_TBCHW: Tensor) -> Tensor:
        """(T, B, h, C / h, H W)."""
        return x_TBCHW.flatten(3).unflatten(2, (self.num_heads, -1))

    @torch.no_grad()
    def observe(self, rate: Tensor, spikes_TBh: Tensor) -> None:
        """In training, move a running firing rate towards this batch's; all zero means that there was none yet."""
        if not self.training:
            return
        now = spikes_TBh.mean((0, 1, 3, 4), keepdim=True)
        before = torch.where((rate == 0).all(), now, rate)
        rate.copy_(before * MOMENTUM + now * (1 - MOMENTUM))


def scale(rate: Tensor, terms: int) -> Tensor:
    """1 / sqrt(f n), which gives a sum of n products with spikes of rate f unit variance.

    A rate of 0 counts as 1: of a head that never fires every product is 0, and a network that has never been trained has
    measured no rate. The released code divides by zero there.
    """
    return (torch.where(rate == 0, 1.0, rate) * terms).rsqrt()


class GWFFN(nn.Module):
    """Group-wise feed-forward net, x_TBCHW -> the same shape."""

    def __init__(self, dim: int, ratio: int = 4, group_size: int = 64, neuron: Neuron = lif) -> None:
        super().__init__()
        hidden = dim * ratio
        if group_size < 1 or hidden % group_size:
            raise ValueError(f"group_size must divide the {hidden} hidden channels, which {group_size} does not")
        groups = hidden // group_size
        self.up = OverTime(neuron(threshold=1.0), nn.Conv2d(dim, hidden, 1, bias=False), BatchNorm(hidden))
        grouped = nn.Conv2d(hidden, hidden, 3, 1, 1, groups=groups, bias=False)
        self.conv = nn.ModuleList([OverTime(neuron(threshold=1.0), grouped, BatchNorm(hidden))])
        self.down = OverTime(neuron(threshold=1.0), nn.Conv2d(hidden, dim, 1, bias=False), BatchNorm(dim))

    def forward(self, x: Tensor) -> Tensor:
        u = self.up(x)
        return self.down(u + self.conv[0](u)) + x


class Downsample(nn.Module):
    """SN - conv3x3 - BN to the next stage's width at half the size."""

    def __init__(self, in_width: int, width: int, neuron: Neuron = lif) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_width, width, 3, 2, 1, bias=False)
        self.norm = BatchNorm(width)
        self.activation = neuron(threshold=1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(each_step(self.activation(x), self.conv))


def make_stem(stem: Stem, in_channels: int, width: int) -> OverTime:
    """conv7x7/2 - BN - max pool, or conv3x3 - BN; real valued, no neuron."""
    if stem == "small":
        return OverTime(nn.Conv2d(in_channels, width, 3, 1, 1, bias=False), BatchNorm(width))
    return OverTime(nn.Conv2d(in_channels, width, 7, 2, 3, bias=False), BatchNorm(width), nn.MaxPool2d(3, 2, 1))


class SpikingResformer(nn.Module):
    """x (B, C, H, W), presented T times, or event frames (B, T, C, H, W) -> logits (B, num_classes).

    Stage i is `layers[i]` pairs of DSSA and GWFFN. `stem` "small" is for images of about 32 pixels. `neuron=relu` makes the ANN
    twin: the same attention without a softmax.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        T: int = 4,
        widths: Sequence[int] = (64, 192, 384),
        layers: Sequence[int] = (1, 2, 3),
        num_heads: Sequence[int] = (1, 3, 6),
        patch_sizes: Sequence[int] = (4, 2, 1),
        group_size: int = 64,
        stem: Stem = "imagenet",
        neuron: Neuron = lif,
    ) -> None:
        super().__init__()
        check_choice("stem", stem, get_args(Stem))
        heads, patches = tuple(num_heads), tuple(patch_sizes)
        check_stages(tuple(layers), widths=tuple(widths), num_heads=heads, patch_sizes=patches)
        check_positive(T=T)
        self.T, self.in_channels = T, in_channels
        self.prologue = make_stem(stem, in_channels, widths[0])
        self.layers = nn.Sequential()
        for i, (width, pairs) in enumerate(zip(widths, layers, strict=True)):
            stage = nn.Sequential()
            if i:
                stage.append(Downsample(widths[i - 1], width, neuron))
            for _ in range(pairs):
                stage.append(DSSA(width, heads[i], patches[i], neuron))
                stage.append(GWFFN(width, group_size=group_size, neuron=neuron))
            self.layers.append(stage)
        self.classifier = nn.Linear(widths[-1], num_classes, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(x).mean(0)

    def steps(self, x: Tensor) -> Tensor:
        """Logits of every step, (T, B, num_classes)."""
        y = self.layers(self.prologue(as_steps(x, self.T, self.in_channels)))
        return self.classifier(y.mean((3, 4)))
