"""Spikformer (arXiv 2209.15425): spiking self-attention without softmax, residuals that add spikes.

Equation numbers are the paper's. All neurons are LIF with threshold 1, but for the one after attention (0.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from torch import Tensor, nn

from retable.models.vision.layers import (
    AFTER_ATTENTION,
    Neuron,
    Size,
    as_steps,
    check_choice,
    check_divides,
    check_positive,
    each_step,
    heads_of,
    init_weights,
    lif,
    linear_attention,
    mean_of_tokens,
    size_of,
    softmax_attention,
)

Attention = Literal["ssa", "softmax"]
SCALE = 0.125
"""s of eq. 7: one constant, whatever the width of a head."""


class SPS(nn.Module):
    """Spiking patch splitting: x_TBCHW -> tokens x_TBDHW, four stages conv - BN - neuron (- max pool), then RPE.

    `pooling_stat` has a 1 for every stage that halves the image: 1111 for ImageNet, 0011 for CIFAR.
    """

    def __init__(self, in_channels: int, embed_dims: int, pooling_stat: str = "1111", neuron: Neuron = lif) -> None:
        super().__init__()
        check_positive(in_channels=in_channels)
        check_divides("8", 8, "embed_dims", embed_dims)
        if len(pooling_stat) != 4 or set(pooling_stat) - {"0", "1"}:
            raise ValueError(f"pooling_stat must have a 0 or 1 for each of the four stages, not {pooling_stat!r}")
        self.pooling_stat = pooling_stat
        self.proj_conv = nn.Conv2d(in_channels, embed_dims // 8, 3, padding=1, bias=False)
        self.proj_bn = nn.BatchNorm2d(embed_dims // 8)
        self.proj_lif = neuron(threshold=1.0)
        self.proj_conv1 = nn.Conv2d(embed_dims // 8, embed_dims // 4, 3, padding=1, bias=False)
        self.proj_bn1 = nn.BatchNorm2d(embed_dims // 4)
        self.proj_lif1 = neuron(threshold=1.0)
        self.proj_conv2 = nn.Conv2d(embed_dims // 4, embed_dims // 2, 3, padding=1, bias=False)
        self.proj_bn2 = nn.BatchNorm2d(embed_dims // 2)
        self.proj_lif2 = neuron(threshold=1.0)
        self.proj_conv3 = nn.Conv2d(embed_dims // 2, embed_dims, 3, padding=1, bias=False)
        self.proj_bn3 = nn.BatchNorm2d(embed_dims)
        self.proj_lif3 = neuron(threshold=1.0)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.rpe_conv = nn.Conv2d(embed_dims, embed_dims, 3, padding=1, bias=False)
        self.rpe_bn = nn.BatchNorm2d(embed_dims)
        self.rpe_lif = neuron(threshold=1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self._pool(0, self.proj_lif(each_step(x, self.proj_conv, self.proj_bn)))
        x = self._pool(1, self.proj_lif1(each_step(x, self.proj_conv1, self.proj_bn1)))
        x = self._pool(2, self.proj_lif2(each_step(x, self.proj_conv2, self.proj_bn2)))
        x = self._pool(3, self.proj_lif3(each_step(x, self.proj_conv3, self.proj_bn3)))
        return x + self.rpe_lif(each_step(x, self.rpe_conv, self.rpe_bn))

    def _pool(self, stage: int, x: Tensor) -> Tensor:
        return each_step(x, self.maxpool) if self.pooling_stat[stage] == "1" else x


class SSA(nn.Module):
    """Spiking self-attention (eq. 6-8): x_TBCHW -> spikes of the same shape."""

    def __init__(self, dim: int, num_heads: int, scale: float = SCALE, neuron: Neuron = lif) -> None:
        super().__init__()
        check_divides("num_heads", num_heads, "dim", dim)
        self.num_heads, self.scale = num_heads, scale
        self.q_conv = nn.Conv1d(dim, dim, 1, bias=False)
        self.q_bn = nn.BatchNorm1d(dim)
        self.q_lif = neuron(threshold=1.0)
        self.k_conv = nn.Conv1d(dim, dim, 1, bias=False)
        self.k_bn = nn.BatchNorm1d(dim)
        self.k_lif = neuron(threshold=1.0)
        self.v_conv = nn.Conv1d(dim, dim, 1, bias=False)
        self.v_bn = nn.BatchNorm1d(dim)
        self.v_lif = neuron(threshold=1.0)
        self.attn_lif = neuron(threshold=AFTER_ATTENTION)
        self.proj_conv = nn.Conv1d(dim, dim, 1)
        self.proj_bn = nn.BatchNorm1d(dim)
        self.proj_lif = neuron(threshold=1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj_lif(self.currents(x)).view_as(x)

    def currents(self, x: Tensor) -> Tensor:
        """What drives the last neuron, (T, B, C, N)."""
        x_TBCN = x.flatten(3)
        q_TBCN = each_step(x_TBCN, self.q_conv, self.q_bn)
        k_TBCN = each_step(x_TBCN, self.k_conv, self.k_bn)
        v_TBCN = each_step(x_TBCN, self.v_conv, self.v_bn)
        return each_step(self.attend(q_TBCN, k_TBCN, v_TBCN), self.proj_conv, self.proj_bn)

    def attend(self, q_TBCN: Tensor, k_TBCN: Tensor, v_TBCN: Tensor) -> Tensor:
        """SN(s q k^T v) of the spikes q, k and v (eq. 6, 7)."""
        spikes = self.q_lif(q_TBCN), self.k_lif(k_TBCN), self.v_lif(v_TBCN)
        q, k, v = (heads_of(s, self.num_heads) for s in spikes)
        return self.attn_lif(linear_attention(q, k, v, self.scale))


class SoftmaxAttention(SSA):
    """For the ANN twin: softmax(q k^T / sqrt(d)) v on q, k and v as they leave their BN, with weights of the same sizes."""

    def attend(self, q_TBCN: Tensor, k_TBCN: Tensor, v_TBCN: Tensor) -> Tensor:
        q, k, v = (heads_of(part, self.num_heads) for part in (q_TBCN, k_TBCN, v_TBCN))
        return softmax_attention(q, k, v)


ATTENTIONS: Mapping[Attention, type[SSA]] = {"ssa": SSA, "softmax": SoftmaxAttention}


class MLP(nn.Module):
    """Two 1x1 convolutions, each with BN and a neuron behind it."""

    def __init__(self, dim: int, hidden: int, neuron: Neuron = lif) -> None:
        super().__init__()
        self.fc1_conv = nn.Conv2d(dim, hidden, 1)
        self.fc1_bn = nn.BatchNorm2d(hidden)
        self.fc1_lif = neuron(threshold=1.0)
        self.fc2_conv = nn.Conv2d(hidden, dim, 1)
        self.fc2_bn = nn.BatchNorm2d(dim)
        self.fc2_lif = neuron(threshold=1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1_lif(each_step(x, self.fc1_conv, self.fc1_bn))
        return self.fc2_lif(each_step(x, self.fc2_conv, self.fc2_bn))


class Block(nn.Module):
    """x + SSA(x), then + MLP (eq. 3, 4): sums of spikes, so integers. `norm1` and `norm2` are unused, but in checkpoints."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4,
        scale: float = SCALE,
        attention: Attention = "ssa",
        neuron: Neuron = lif,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        check_choice("attention", attention, get_args(Attention))
        self.attn = ATTENTIONS[attention](dim, num_heads, scale, neuron)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio), neuron)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.mlp(x)


class Spikformer(nn.Module):
    """Logits of images (B, C, H, W), shown `T` times, or of event frames (B, T, C, H, W).

    The ANN twin is `neuron=relu, attention="softmax", T=1`. `scale` is 0.25 in the released event-camera code. Any image
    size will do, and a network may be built at another one than its weights were trained at. Raises ValueError naming the
    argument: heads that do not divide `embed_dims`, widths that are no multiple of 8, inputs of another shape.
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
        scale: float = SCALE,
        attention: Attention = "ssa",
        neuron: Neuron = lif,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, T=T, depths=depths, mlp_ratio=mlp_ratio)
        check_divides("num_heads", num_heads, "embed_dims", embed_dims)
        self.in_channels, self.image_size, self.T = in_channels, size_of(image_size), T
        self.patch_embed = SPS(in_channels, embed_dims, pooling_stat, neuron)
        self.block = nn.ModuleList(
            Block(embed_dims, num_heads, mlp_ratio, scale, attention, neuron) for _ in range(depths)
        )
        self.head = nn.Linear(embed_dims, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """logits_BK from the mean over time (eq. 5)."""
        return self.head(self.features(x).mean(0))

    def steps(self, x: Tensor) -> Tensor:
        """logits_TBK of every step alone; their mean is `forward`'s."""
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """(T, B, C): mean over the tokens."""
        x_TBCHW = self.patch_embed(as_steps(x, self.T, self.in_channels, self.image_size))
        for block in self.block:
            x_TBCHW = block(x_TBCHW)
        return mean_of_tokens(x_TBCHW)


SPIKFORMER_SIZES: Mapping[str, Mapping[str, Any]] = {
    # The released ImageNet code states the heads of 8-512 alone; the others have its 64 channels a head.
    "8-384": {"embed_dims": 384, "depths": 8, "num_heads": 6},
    "8-512": {"embed_dims": 512, "depths": 8, "num_heads": 8},
    "10-512": {"embed_dims": 512, "depths": 10, "num_heads": 8},
    "8-768": {"embed_dims": 768, "depths": 8, "num_heads": 12},
    "cifar-4-384": {
        "embed_dims": 384,
        "depths": 4,
        "num_heads": 12,
        "pooling_stat": "0011",
        "image_size": 32,
        "num_classes": 10,
    },
}
"""Constructor arguments of the published sizes, at 224 x 224 and 1000 classes unless they say otherwise."""


def linear_as_convolution(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict whose layers `*_linear` are 1 x 1 convolutions `*_conv`, as of the released CIFAR model.

    Its q, k and v have a bias before their batch norm, which has none here: the norm's running mean takes it away.
    """
    out = dict(state)
    for key, tensor in state.items():
        layer, _, part = key.rpartition(".")
        if not layer.endswith("_linear"):
            continue
        del out[key]
        name = layer.removesuffix("_linear")
        unit = (1, 1) if ".mlp." in f".{layer}." else (1,)
        if part == "weight":
            out[f"{name}_conv.weight"] = tensor.reshape(*tensor.shape, *unit)
        elif name.rpartition(".")[2] in ("q", "k", "v"):
            mean = f"{name}_bn.running_mean"
            out[mean] = state[mean] - tensor
        else:
            out[f"{name}_conv.{part}"] = tensor
    return out
