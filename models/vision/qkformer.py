"""QKFormer (arXiv 2403.16552): three stages, Q-K token attention in the first two, spiking self-attention in the last.

Convolution - BN - max pool - neuron is the order in which a stage shrinks the image. Residuals add spikes, as Spikformer's.
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
    mean_of_tokens,
    size_of,
)
from retable.models.vision.spikformer import ATTENTIONS, MLP, SCALE, SSA, Attention, SoftmaxAttention

Layout = Literal["imagenet", "cifar"]
Protocol = Literal["official", "corrected"]


def conv3x3(dim: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(dim, out, 3, padding=1, bias=False)


class PatchEmbedInit(nn.Module):
    """Stem x_TBCHW -> integers (T, B, embed_dims, H / 4, W / 4): two branches of spikes, added.

    The CIFAR layout keeps the image's size and has one convolution less.
    """

    def __init__(self, in_channels: int, embed_dims: int, layout: Layout = "imagenet", neuron: Neuron = lif) -> None:
        super().__init__()
        check_positive(in_channels=in_channels)
        check_divides("2", 2, "embed_dims", embed_dims)
        self.layout, half, shrinks = layout, embed_dims // 2, layout == "imagenet"
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if shrinks else nn.Identity()
        self.proj_conv = conv3x3(in_channels, half)
        self.proj_bn = nn.BatchNorm2d(half)
        self.proj_lif = neuron(threshold=1.0)
        self.proj1_conv = conv3x3(half, embed_dims)
        self.proj1_bn = nn.BatchNorm2d(embed_dims)
        self.proj1_lif = neuron(threshold=1.0)
        if layout == "imagenet":
            self.proj2_conv = conv3x3(embed_dims, embed_dims)
            self.proj2_bn = nn.BatchNorm2d(embed_dims)
            self.proj2_lif = neuron(threshold=1.0)
        self.proj_res_conv = nn.Conv2d(half, embed_dims, 1, stride=2 if shrinks else 1, bias=False)
        self.proj_res_bn = nn.BatchNorm2d(embed_dims)
        self.proj_res_lif = neuron(threshold=1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj_lif(each_step(x, self.proj_conv, self.proj_bn, self.maxpool))
        a = self.proj1_lif(each_step(x, self.proj1_conv, self.proj1_bn, self.maxpool))
        if self.layout == "imagenet":
            a = self.proj2_lif(each_step(a, self.proj2_conv, self.proj2_bn))
        return a + self.proj_res_lif(each_step(x, self.proj_res_conv, self.proj_res_bn))


class PatchEmbeddingStage(nn.Module):
    """Between stages: (T, B, embed_dims / 2, H, W) -> (T, B, embed_dims, H / 2, W / 2).

    The ImageNet layout pools behind its first convolution, the CIFAR layout behind its second.
    """

    def __init__(self, embed_dims: int, layout: Layout = "imagenet", neuron: Neuron = lif) -> None:
        super().__init__()
        check_divides("2", 2, "embed_dims", embed_dims)
        pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.proj3_conv = conv3x3(embed_dims // 2, embed_dims)
        self.proj3_bn = nn.BatchNorm2d(embed_dims)
        self.proj3_maxpool = pool if layout == "imagenet" else nn.Identity()
        self.proj3_lif = neuron(threshold=1.0)
        self.proj4_conv = conv3x3(embed_dims, embed_dims)
        self.proj4_bn = nn.BatchNorm2d(embed_dims)
        self.proj4_maxpool = pool if layout == "cifar" else nn.Identity()
        self.proj4_lif = neuron(threshold=1.0)
        self.proj_res_conv = nn.Conv2d(embed_dims // 2, embed_dims, 1, stride=2, bias=False)
        self.proj_res_bn = nn.BatchNorm2d(embed_dims)
        self.proj_res_lif = neuron(threshold=1.0)

    def forward(self, x: Tensor) -> Tensor:
        a = self.proj3_lif(each_step(x, self.proj3_conv, self.proj3_bn, self.proj3_maxpool))
        a = self.proj4_lif(each_step(a, self.proj4_conv, self.proj4_bn, self.proj4_maxpool))
        return a + self.proj_res_lif(each_step(x, self.proj_res_conv, self.proj_res_bn))


class TokenAttention(nn.Module):
    """Q-K token attention: SN(BN(conv(m * k))), where m keeps a token of a head if any q of it fires.

    m = SN(sum over the head's channels of q): one spike a token and head, no product of matrices. A sum of 1 charges the
    neuron to its threshold.
    """

    def __init__(self, dim: int, num_heads: int, neuron: Neuron = lif) -> None:
        super().__init__()
        check_divides("num_heads", num_heads, "dim", dim)
        self.num_heads = num_heads
        self.q_conv = nn.Conv1d(dim, dim, 1, bias=False)
        self.q_bn = nn.BatchNorm1d(dim)
        self.q_lif = neuron(threshold=1.0)
        self.k_conv = nn.Conv1d(dim, dim, 1, bias=False)
        self.k_bn = nn.BatchNorm1d(dim)
        self.k_lif = neuron(threshold=1.0)
        self.attn_lif = neuron(threshold=AFTER_ATTENTION)
        self.proj_conv = nn.Conv1d(dim, dim, 1)
        self.proj_bn = nn.BatchNorm1d(dim)
        self.proj_lif = neuron(threshold=1.0)

    def forward(self, x: Tensor) -> Tensor:
        x_TBCN = x.flatten(3)
        q_TBhdN = heads_of(self.q_lif(each_step(x_TBCN, self.q_conv, self.q_bn)), self.num_heads)
        k_TBhdN = heads_of(self.k_lif(each_step(x_TBCN, self.k_conv, self.k_bn)), self.num_heads)
        m_TBh1N = self.attn_lif(q_TBhdN.sum(3, keepdim=True))
        masked_TBCN = (m_TBh1N * k_TBhdN).flatten(2, 3)
        return self.proj_lif(each_step(masked_TBCN, self.proj_conv, self.proj_bn)).view_as(x)


class InARow(SSA):
    """Self-attention as released: its last neuron runs through all T B samples as if they were time steps.

    So a neuron starts the first sample of a batch at rest and every other one with what its predecessor has left, and a
    sample's logits depend on its neighbours in the batch.
    """

    def forward(self, x: Tensor) -> Tensor:
        currents = self.currents(x)
        if not currents.numel():  # no samples, no steps
            return currents.view_as(x)
        return self.proj_lif(currents.flatten(0, 1)).view_as(x)


class SoftmaxInARow(InARow, SoftmaxAttention):
    """The same of the twin's attention."""


RELEASED: Mapping[Attention, type[SSA]] = {"ssa": InARow, "softmax": SoftmaxInARow}


class TokenBlock(nn.Module):
    """x + token attention, then + MLP."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4, neuron: Neuron = lif) -> None:
        super().__init__()
        self.tssa = TokenAttention(dim, num_heads, neuron)
        self.mlp = MLP(dim, int(dim * mlp_ratio), neuron)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tssa(x)
        return x + self.mlp(x)


class SSABlock(nn.Module):
    """x + self-attention, then + MLP."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4,
        attention: Attention = "ssa",
        protocol: Protocol = "official",
        neuron: Neuron = lif,
    ) -> None:
        super().__init__()
        check_choice("protocol", protocol, get_args(Protocol))
        check_choice("attention", attention, get_args(Attention))
        kind = (RELEASED if protocol == "official" else ATTENTIONS)[attention]
        self.attn = kind(dim, num_heads, SCALE, neuron)
        self.mlp = MLP(dim, int(dim * mlp_ratio), neuron)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.mlp(x)


class QKFormer(nn.Module):
    """Logits of images (B, C, H, W), shown `T` times, or of event frames (B, T, C, H, W).

    `depths` are the blocks of the three stages, whose widths are `embed_dims` / 4, / 2 and / 1. `layout` "cifar" is for
    small images: the first stage sees all pixels, the last one a sixteenth of them ("imagenet": 1 / 256).
    `protocol` "official" lets samples of a batch run into each other, as the released code does and the fixtures hold (see
    `SamplesInARow`); "corrected" keeps them apart, as the paper says. Weights fit both.
    The ANN twin is `neuron=relu, attention="softmax", T=1`. Any image size will do. Raises ValueError naming the argument:
    heads that do not divide `embed_dims` / 4, widths that are no multiple of 8, inputs of another shape.
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
        depths: tuple[int, int, int] = (1, 2, 7),
        mlp_ratio: float = 4,
        layout: Layout = "imagenet",
        attention: Attention = "ssa",
        protocol: Protocol = "official",
        neuron: Neuron = lif,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, T=T, mlp_ratio=mlp_ratio)
        check_choice("layout", layout, get_args(Layout))
        check_divides("8", 8, "embed_dims", embed_dims)
        check_divides("num_heads", num_heads, "embed_dims / 4", embed_dims // 4)
        if len(depths) != 3 or min(depths) < 0:
            raise ValueError(f"depths must have the number of blocks of three stages, not {depths!r}")
        self.in_channels, self.image_size, self.T = in_channels, size_of(image_size), T
        d1, d2, d3 = embed_dims // 4, embed_dims // 2, embed_dims
        self.patch_embed1 = PatchEmbedInit(in_channels, d1, layout, neuron)
        self.stage1 = nn.Sequential(*(TokenBlock(d1, num_heads, mlp_ratio, neuron) for _ in range(depths[0])))
        self.patch_embed2 = PatchEmbeddingStage(d2, layout, neuron)
        self.stage2 = nn.Sequential(*(TokenBlock(d2, num_heads, mlp_ratio, neuron) for _ in range(depths[1])))
        self.patch_embed3 = PatchEmbeddingStage(d3, layout, neuron)
        self.stage3 = nn.Sequential(
            *(SSABlock(d3, num_heads, mlp_ratio, attention, protocol, neuron) for _ in range(depths[2]))
        )
        self.head = nn.Linear(d3, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """logits_BK from the mean over time."""
        return self.head(self.features(x).mean(0))

    def steps(self, x: Tensor) -> Tensor:
        """logits_TBK of every step alone; their mean is `forward`'s."""
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """(T, B, C): mean over the tokens."""
        x_TBCHW = as_steps(x, self.T, self.in_channels, self.image_size)
        x_TBCHW = self.stage1(self.patch_embed1(x_TBCHW))
        x_TBCHW = self.stage2(self.patch_embed2(x_TBCHW))
        x_TBCHW = self.stage3(self.patch_embed3(x_TBCHW))
        return mean_of_tokens(x_TBCHW)


QKFORMER_SIZES: Mapping[str, Mapping[str, Any]] = {
    "10-384": {"embed_dims": 384, "num_heads": 6, "depths": (1, 2, 7)},
    "10-512": {"embed_dims": 512, "num_heads": 8, "depths": (1, 2, 7)},
    "10-768": {"embed_dims": 768, "num_heads": 12, "depths": (1, 2, 7)},
    "cifar-4-384": {
        "embed_dims": 384,
        "num_heads": 8,
        "depths": (1, 1, 2),
        "layout": "cifar",
        "image_size": 32,
        "num_classes": 10,
    },
}
"""Constructor arguments of the published sizes, at 224 x 224 and 1000 classes unless they say otherwise.
"""
