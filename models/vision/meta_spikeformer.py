"""Meta-SpikeFormer, SDT-v2 (arXiv 2404.03663): four stages, two of spiking convolutions, two of Transformer blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
)

SCALE = 0.125
Head = Literal["spikes", "currents"]


class DownSampling(nn.Module):
    """BN(conv(SN(u))); the first one of a network has no neuron, since it sees the image."""

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        kernel_size: int = 3,
        stride: int = 2,
        padding: int = 1,
        first_layer: bool = False,
        neuron: Neuron = lif,
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, embed_dims=embed_dims)
        self.encode_lif = nn.Identity() if first_layer else neuron(threshold=1.0)
        self.encode_conv = nn.Conv2d(in_channels, embed_dims, kernel_size, stride, padding)
        self.encode_bn = nn.BatchNorm2d(embed_dims)

    def forward(self, u: Tensor) -> Tensor:
        return each_step(self.encode_lif(u), self.encode_conv, self.encode_bn)


class SepConv(nn.Module):
    """BN(pw(dw(SN(BN(pw(SN(u)))))))."""

    def __init__(self, dim: int, expansion: int = 2, kernel_size: int = 7, neuron: Neuron = lif) -> None:
        super().__init__()
        wide = expansion * dim
        self.lif1 = neuron(threshold=1.0)
        self.pwconv1 = nn.Conv2d(dim, wide, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.lif2 = neuron(threshold=1.0)
        self.dwconv = nn.Conv2d(wide, wide, kernel_size, padding=kernel_size // 2, groups=wide, bias=False)
        self.pwconv2 = nn.Conv2d(wide, dim, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)

    def forward(self, u: Tensor) -> Tensor:
        u = each_step(self.lif1(u), self.pwconv1, self.bn1)
        return each_step(self.lif2(u), self.dwconv, self.pwconv2, self.bn2)


class ConvBlock(nn.Module):
    """u + SepConv(u), then + a channel convolution of two 3x3 convolutions."""

    def __init__(self, dim: int, mlp_ratio: int = 4, neuron: Neuron = lif) -> None:
        super().__init__()
        self.Conv = SepConv(dim, neuron=neuron)
        self.lif1 = neuron(threshold=1.0)
        self.conv1 = nn.Conv2d(dim, dim * mlp_ratio, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(dim * mlp_ratio)
        self.lif2 = neuron(threshold=1.0)
        self.conv2 = nn.Conv2d(dim * mlp_ratio, dim, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)

    def forward(self, u: Tensor) -> Tensor:
        u = u + self.Conv(u)
        y = each_step(self.lif1(u), self.conv1, self.bn1)
        return u + each_step(self.lif2(y), self.conv2, self.bn2)


class BNAndPad(nn.Module):
    """BN, then a border of one pixel of what BN gives to an input of 0.

    The border is beta - mean gamma / sqrt(var + eps) with the running statistics, in training those that this batch has just
    moved, and it carries no gradient. So the padding is 0 before BN, and the convolutions around it fuse into one.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(dim)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        bn, y = self.bn, self.bn(x_NCHW)
        assert bn.running_mean is not None
        assert bn.running_var is not None
        border_C = (bn.bias - bn.running_mean * bn.weight / (bn.running_var + bn.eps).sqrt()).detach()
        N, C, H, W = y.shape
        padded = border_C.to(y.dtype)[:, None, None].expand(N, C, H + 2, W + 2).clone()
        padded[:, :, 1:-1, 1:-1] = y
        return padded


class RepConv(nn.Module):
    """x_NCHW -> 1x1 - BN with border - depthwise 3x3 - 1x1 - BN: fuses into one 3x3 convolution for inference."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(dim, dim, 1, bias=False),
            BNAndPad(dim),
            nn.Sequential(
                nn.Conv2d(dim, dim, 3, groups=dim, bias=False), nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim)
            ),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.body(x_NCHW)


class Attention(nn.Module):
    """SDSA-3: BN(RepConv(SN(s q (k^T v)))) of spikes q, k, v; no residual and no neuron at the output."""

    def __init__(self, dim: int, num_heads: int = 8, scale: float = SCALE, neuron: Neuron = lif) -> None:
        super().__init__()
        check_divides("num_heads", num_heads, "dim", dim)
        self.num_heads, self.scale = num_heads, scale
        self.head_lif = neuron(threshold=1.0)
        self.q_conv = nn.Sequential(RepConv(dim), nn.BatchNorm2d(dim))
        self.k_conv = nn.Sequential(RepConv(dim), nn.BatchNorm2d(dim))
        self.v_conv = nn.Sequential(RepConv(dim), nn.BatchNorm2d(dim))
        self.q_lif = neuron(threshold=1.0)
        self.k_lif = neuron(threshold=1.0)
        self.v_lif = neuron(threshold=1.0)
        self.attn_lif = neuron(threshold=AFTER_ATTENTION)
        self.proj_conv = nn.Sequential(RepConv(dim), nn.BatchNorm2d(dim))

    def forward(self, u: Tensor) -> Tensor:
        s = self.head_lif(u)
        q = heads_of(self.q_lif(each_step(s, self.q_conv)), self.num_heads)
        k = heads_of(self.k_lif(each_step(s, self.k_conv)), self.num_heads)
        v = heads_of(self.v_lif(each_step(s, self.v_conv)), self.num_heads)
        a_TBCN = self.attn_lif(linear_attention(q, k, v, self.scale))
        return each_step(a_TBCN.view_as(u), self.proj_conv)


class MLP(nn.Module):
    """BN(conv(SN(BN(conv(SN(u)))))) on tokens."""

    def __init__(self, dim: int, hidden: int, neuron: Neuron = lif) -> None:
        super().__init__()
        self.fc1_lif = neuron(threshold=1.0)
        self.fc1_conv = nn.Conv1d(dim, hidden, 1)
        self.fc1_bn = nn.BatchNorm1d(hidden)
        self.fc2_lif = neuron(threshold=1.0)
        self.fc2_conv = nn.Conv1d(hidden, dim, 1)
        self.fc2_bn = nn.BatchNorm1d(dim)

    def forward(self, u: Tensor) -> Tensor:
        y_TBCN = each_step(self.fc1_lif(u.flatten(3)), self.fc1_conv, self.fc1_bn)
        return each_step(self.fc2_lif(y_TBCN), self.fc2_conv, self.fc2_bn).view_as(u)


class Block(nn.Module):
    """u + Attention(u), then + MLP."""

    def __init__(
        self, dim: int, num_heads: int = 8, mlp_ratio: int = 4, scale: float = SCALE, neuron: Neuron = lif
    ) -> None:
        super().__init__()
        self.attn = Attention(dim, num_heads, scale, neuron)
        self.mlp = MLP(dim, dim * mlp_ratio, neuron)

    def forward(self, u: Tensor) -> Tensor:
        u = u + self.attn(u)
        return u + self.mlp(u)


class MetaSpikeFormer(nn.Module):
    """Logits of images (B, C, H, W), shown `T` times, or of event frames (B, T, C, H, W).

    `depths` are the blocks of the two Transformer stages, `strides` the steps of the five down-samplings. Small images need
    small steps: with a few tokens (4 at 32 x 32) the neuron after attention may stay silent, the BN behind it then see zeros
    only, and each multiply the gradient by 1 / sqrt(eps). Strides (2, 1, 2, 1, 1) leave 64.
    With `kd` there is a second head for distillation: `forward` gives the pair of logits (head, head_kd) in training, else
    their mean. `head_sees="currents"` is a published version of the official code whose `head` skips the last neuron
    (`head_kd` does not); the fixtures have the neuron before it.
    The ANN twin is `neuron=relu, T=1`. Any image size will do. Raises ValueError naming the argument: widths that are not
    four, heads that do not divide the last two of them, inputs of another shape.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: Size = 224,
        T: int = 4,
        embed_dim: Sequence[int] = (128, 256, 512, 640),
        num_heads: int = 8,
        depths: tuple[int, int] = (6, 2),
        strides: tuple[int, int, int, int, int] = (2, 2, 2, 2, 1),
        mlp_ratio: int = 4,
        scale: float = SCALE,
        kd: bool = False,
        head_sees: Head = "spikes",
        neuron: Neuron = lif,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, T=T, mlp_ratio=mlp_ratio)
        check_choice("head_sees", head_sees, get_args(Head))
        if len(embed_dim) != 4:
            raise ValueError(f"embed_dim must have the widths of four stages, not {tuple(embed_dim)}")
        if len(strides) != 5 or min(strides) < 1:
            raise ValueError(f"strides must have the five down-samplings' steps of at least 1, not {strides!r}")
        c1, c2, c3, c4 = embed_dim
        check_divides("2", 2, "embed_dim[0]", c1)
        for stage, width in ((2, c3), (3, c4)):
            check_divides("num_heads", num_heads, f"embed_dim[{stage}]", width)
        self.in_channels, self.image_size, self.T = in_channels, size_of(image_size), T
        self.head_sees = head_sees
        self.downsample1_1 = DownSampling(in_channels, c1 // 2, 7, strides[0], 3, first_layer=True)
        self.ConvBlock1_1 = nn.ModuleList([ConvBlock(c1 // 2, mlp_ratio, neuron)])
        self.downsample1_2 = DownSampling(c1 // 2, c1, stride=strides[1], neuron=neuron)
        self.ConvBlock1_2 = nn.ModuleList([ConvBlock(c1, mlp_ratio, neuron)])
        self.downsample2 = DownSampling(c1, c2, stride=strides[2], neuron=neuron)
        self.ConvBlock2_1 = nn.ModuleList([ConvBlock(c2, mlp_ratio, neuron)])
        self.ConvBlock2_2 = nn.ModuleList([ConvBlock(c2, mlp_ratio, neuron)])
        self.downsample3 = DownSampling(c2, c3, stride=strides[3], neuron=neuron)
        self.block3 = nn.ModuleList(Block(c3, num_heads, mlp_ratio, scale, neuron) for _ in range(depths[0]))
        self.downsample4 = DownSampling(c3, c4, stride=strides[4], neuron=neuron)
        self.block4 = nn.ModuleList(Block(c4, num_heads, mlp_ratio, scale, neuron) for _ in range(depths[1]))
        self.lif = neuron(threshold=1.0)
        self.head = nn.Linear(c4, num_classes)
        self.head_kd = nn.Linear(c4, num_classes) if kd else None
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """logits_BK, the mean over time."""
        logits_TBK, kd_TBK = self.both_heads(x)
        if kd_TBK is None:
            return logits_TBK.mean(0)
        if self.training:
            return logits_TBK.mean(0), kd_TBK.mean(0)
        return (logits_TBK.mean(0) + kd_TBK.mean(0)) / 2

    def steps(self, x: Tensor) -> Tensor:
        """logits_TBK of every step, with `kd` the mean of the two heads."""
        logits_TBK, kd_TBK = self.both_heads(x)
        return logits_TBK if kd_TBK is None else (logits_TBK + kd_TBK) / 2

    def both_heads(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """(logits_TBK, those of the distillation head or None)."""
        u_TBCHW = as_steps(x, self.T, self.in_channels, self.image_size)
        for down, blocks in self.stages():
            u_TBCHW = down(u_TBCHW)
            for block in blocks:
                u_TBCHW = block(u_TBCHW)
        u_TBC = mean_of_tokens(u_TBCHW)
        s_TBC = self.lif(u_TBC)
        logits_TBK = self.head(s_TBC if self.head_sees == "spikes" else u_TBC)
        return logits_TBK, None if self.head_kd is None else self.head_kd(s_TBC)

    def stages(self) -> Iterator[tuple[nn.Module, list[nn.Module]]]:
        """(down-sampling, the blocks behind it), from the image on."""
        yield self.downsample1_1, [*self.ConvBlock1_1]
        yield self.downsample1_2, [*self.ConvBlock1_2]
        yield self.downsample2, [*self.ConvBlock2_1, *self.ConvBlock2_2]
        yield self.downsample3, [*self.block3]
        yield self.downsample4, [*self.block4]


META_SPIKEFORMER_SIZES: Mapping[str, Mapping[str, Any]] = {
    "31.3M": {"embed_dim": (96, 192, 384, 480)},
    "55.4M": {"embed_dim": (128, 256, 512, 640)},
    "124M": {"embed_dim": (192, 384, 768, 960)},
}
"""Constructor arguments of the published sizes, all with 8 heads, at 224 x 224 and 1000 classes."""
