"""Spike-driven Transformer, SDT-v1 (arXiv 2307.01694): convolutions see spikes only, residuals add membrane currents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.vision.layers import (
    AFTER_ATTENTION,
    Neuron,
    Size,
    as_steps,
    check_divides,
    check_positive,
    each_step,
    heads_of,
    init_weights,
    lif,
    mean_of_tokens,
    size_of,
)
from retable.models.vision.spikformer import SPS


class MembraneSPS(SPS):
    """Spikformer's stem with a membrane shortcut: x_TBCHW -> currents u_TBDHW (real valued).

    Its last stage pools currents, not spikes, and has its neuron inside the residual. `rpe_lif` is unused.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = self._pool(0, self.proj_lif(each_step(x, self.proj_conv, self.proj_bn)))
        x = self._pool(1, self.proj_lif1(each_step(x, self.proj_conv1, self.proj_bn1)))
        x = self._pool(2, self.proj_lif2(each_step(x, self.proj_conv2, self.proj_bn2)))
        u = self._pool(3, each_step(x, self.proj_conv3, self.proj_bn3))
        return u + each_step(self.proj_lif3(u), self.rpe_conv, self.rpe_bn)


class SDSA(nn.Module):
    """Spike-driven self-attention with its residual: u + BN(conv(q * SN(sum over tokens of k * v))).

    The sum is one number a channel, so the mask costs T N C additions and no matrix product; since a sum of 1 charges its
    neuron to the threshold, a channel is kept if k and v coincide at any token. With `dvs`, spikes are spread
    by 3 x 3 max pools: those of k and v over the image, those of k * v and q * mask over neighbours in the (token, channel)
    matrix of a head, as in the released code (its tokens run row by row, so a neighbour may be at the image's other side).
    `talking_heads` and `attn_lif` are unused, but in checkpoints.
    """

    def __init__(self, dim: int, num_heads: int, dvs: bool = False, neuron: Neuron = lif) -> None:
        super().__init__()
        check_divides("num_heads", num_heads, "dim", dim)
        self.num_heads, self.dvs = num_heads, dvs
        self.shortcut_lif = neuron(threshold=1.0)
        self.q_conv = nn.Conv2d(dim, dim, 1, bias=False)
        self.q_bn = nn.BatchNorm2d(dim)
        self.q_lif = neuron(threshold=1.0)
        self.k_conv = nn.Conv2d(dim, dim, 1, bias=False)
        self.k_bn = nn.BatchNorm2d(dim)
        self.k_lif = neuron(threshold=1.0)
        self.v_conv = nn.Conv2d(dim, dim, 1, bias=False)
        self.v_bn = nn.BatchNorm2d(dim)
        self.v_lif = neuron(threshold=1.0)
        self.attn_lif = neuron(threshold=AFTER_ATTENTION)
        self.talking_heads = nn.Conv1d(num_heads, num_heads, 1, bias=False)
        self.talking_heads_lif = neuron(threshold=AFTER_ATTENTION)
        self.proj_conv = nn.Conv2d(dim, dim, 1)
        self.proj_bn = nn.BatchNorm2d(dim)

    def forward(self, u: Tensor) -> Tensor:
        s = self.shortcut_lif(u)
        q = self.q_lif(each_step(s, self.q_conv, self.q_bn))
        k = self.k_lif(each_step(s, self.k_conv, self.k_bn))
        v = self.v_lif(each_step(s, self.v_conv, self.v_bn))
        masked = self.mask_around(q, k, v) if self.dvs else self.mask(q, k, v)
        return u + each_step(masked, self.proj_conv, self.proj_bn)

    def mask(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q * SN(sum over tokens of k * v), all (T, B, C, H, W)."""
        return q * self.talking_heads_lif((k * v).sum((3, 4), keepdim=True))

    def mask_around(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The same with the max pools of `dvs`."""
        q_TBhNd, k_TBhNd, v_TBhNd = (
            heads_of(part, self.num_heads).transpose(3, 4) for part in (q, _spread(k), _spread(v))
        )
        m_TBh1d = self.talking_heads_lif(_spread(k_TBhNd * v_TBhNd).sum(3, keepdim=True))
        return _spread(q_TBhNd * m_TBh1d).transpose(3, 4).reshape(q.shape)


def _spread(x: Tensor) -> Tensor:
    """The largest of 3 x 3 neighbours in the last two of five dimensions."""
    return F.max_pool2d(x.flatten(0, 2)[:, None], 3, stride=1, padding=1).view(x.shape)


class MembraneMLP(nn.Module):
    """u + BN(conv(SN(BN(conv(SN(u)))))), 1x1; where `hidden` is `dim`, the first half has a residual of its own."""

    def __init__(self, dim: int, hidden: int, neuron: Neuron = lif) -> None:
        super().__init__()
        self.inner_residual = hidden == dim
        self.fc1_lif = neuron(threshold=1.0)
        self.fc1_conv = nn.Conv2d(dim, hidden, 1)
        self.fc1_bn = nn.BatchNorm2d(hidden)
        self.fc2_lif = neuron(threshold=1.0)
        self.fc2_conv = nn.Conv2d(hidden, dim, 1)
        self.fc2_bn = nn.BatchNorm2d(dim)

    def forward(self, u: Tensor) -> Tensor:
        y = each_step(self.fc1_lif(u), self.fc1_conv, self.fc1_bn)
        if self.inner_residual:
            u = y = y + u
        return u + each_step(self.fc2_lif(y), self.fc2_conv, self.fc2_bn)


class Block(nn.Module):
    """SDSA, then the MLP; both carry their residual."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4, dvs: bool = False, neuron: Neuron = lif) -> None:
        super().__init__()
        self.attn = SDSA(dim, num_heads, dvs, neuron)
        self.mlp = MembraneMLP(dim, int(dim * mlp_ratio), neuron)

    def forward(self, u: Tensor) -> Tensor:
        return self.mlp(self.attn(u))


class SpikeDrivenTransformer(nn.Module):
    """Logits of images (B, C, H, W), shown `T` times, or of event frames (B, T, C, H, W).

    The ANN twin is `neuron=relu, T=1`; SDSA is defined for real values too, so it needs no other attention. Any image size
    will do. Raises ValueError naming the argument: heads that do not divide `embed_dims`, widths that are no multiple of 8,
    inputs of another shape.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: Size = 224,
        T: int = 4,
        embed_dims: int = 512,
        num_heads: int = 8,
        depths: int = 8,
        mlp_ratio: float = 4,
        pooling_stat: str = "1111",
        dvs_mode: bool = False,
        neuron: Neuron = lif,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, T=T, depths=depths, mlp_ratio=mlp_ratio)
        check_divides("num_heads", num_heads, "embed_dims", embed_dims)
        self.in_channels, self.image_size, self.T = in_channels, size_of(image_size), T
        self.patch_embed = MembraneSPS(in_channels, embed_dims, pooling_stat, neuron)
        self.block = nn.ModuleList(Block(embed_dims, num_heads, mlp_ratio, dvs_mode, neuron) for _ in range(depths))
        self.head_lif = neuron(threshold=1.0)
        self.head = nn.Linear(embed_dims, num_classes)
        init_weights(self, (nn.Conv2d,))

    def forward(self, x: Tensor) -> Tensor:
        """logits_BK, the mean over time."""
        return self.steps(x).mean(0)

    def steps(self, x: Tensor) -> Tensor:
        """logits_TBK of every step, what the TET loss is taken on."""
        u_TBCHW = self.patch_embed(as_steps(x, self.T, self.in_channels, self.image_size))
        for block in self.block:
            u_TBCHW = block(u_TBCHW)
        return self.head(self.head_lif(mean_of_tokens(u_TBCHW)))


SDT_SIZES: Mapping[str, Mapping[str, Any]] = {
    "8-384": {"embed_dims": 384, "depths": 8, "num_heads": 8},
    "6-512": {"embed_dims": 512, "depths": 6, "num_heads": 8},
    "8-512": {"embed_dims": 512, "depths": 8, "num_heads": 8},
    "10-512": {"embed_dims": 512, "depths": 10, "num_heads": 8},
    "8-768": {"embed_dims": 768, "depths": 8, "num_heads": 8},
    "cifar-2-512": {
        "embed_dims": 512,
        "depths": 2,
        "num_heads": 8,
        "pooling_stat": "0011",
        "image_size": 32,
        "num_classes": 10,
    },
    "dvs-2-256": {
        "embed_dims": 256,
        "depths": 2,
        "num_heads": 8,
        "pooling_stat": "0011",
        "image_size": 64,
        "in_channels": 2,
        "num_classes": 10,
        "T": 10,
        "dvs_mode": True,
    },
}
"""Constructor arguments of the published sizes, at 224 x 224 and 1000 classes unless they say otherwise."""
