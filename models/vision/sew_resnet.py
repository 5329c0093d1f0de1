"""SEW-ResNet: spikes are combined element by element after the activation (arXiv 2102.04159).

    A = SN(BN(conv(SN(BN(conv(S))))))       the residual branch, spikes
    out = g(A, S)                           S = x, or SN(BN(conv1x1(x))) where the shape changes (eq. 6)
    g:  add  A + S        and  A S        iand  (1 - A) S                                    (table 1)

SN is IF: threshold 1, hard reset to 0 without gradient, ATan surrogate of 2. The sum of `add` is an integer, not a spike.
Module names are those of the released weights, but for the container's `.module`, which is dropped when loading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from torch import Tensor, nn

from retable.models.spiking.neurons import IF
from retable.models.spiking.surrogates import ATAN
from retable.models.vision.layers import Neuron, check_choice, check_positive, check_stages, each_step
from retable.models.vision.over_time import Merged, OverTime, check_input

Connect = Literal["add", "and", "iand"]
Kind = Literal["basic", "bottleneck"]
Stem = Literal["imagenet", "small"]

SEW_RESNET_SIZES: Mapping[str, Mapping[str, Any]] = {
    "18": {"block": "basic", "layers": (2, 2, 2, 2)},
    "34": {"block": "basic", "layers": (3, 4, 6, 3)},
    "50": {"block": "bottleneck", "layers": (3, 4, 6, 3)},
    "101": {"block": "bottleneck", "layers": (3, 4, 23, 3)},
    "152": {"block": "bottleneck", "layers": (3, 8, 36, 3)},
}
"""Published networks, as keywords of `SEWResNet`."""
EXPANSION: dict[str, int] = {"basic": 1, "bottleneck": 4}


def if_neuron(threshold: float = 1.0) -> nn.Module:
    """SEW-ResNet's neuron."""
    return IF(threshold=threshold, v_reset=0.0, detach_reset=True, surrogate=ATAN)


def combine(connect: Connect, a: Tensor, s: Tensor) -> Tensor:
    """g(A, S) of table 1."""
    if connect == "add":
        return a + s
    return a * s if connect == "and" else s * (1 - a)


def conv_bn(c_in: int, c_out: int, kernel: int, stride: int = 1) -> Merged:
    return Merged(nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(c_out))


class Block(nn.Module):
    """out = g(A, S), x_TBCHW -> (T, B, EXPANSION width, H / stride, W / stride)."""

    def __init__(
        self,
        in_width: int,
        width: int,
        stride: int = 1,
        kind: Kind = "basic",
        connect: Connect = "add",
        neuron: Neuron = if_neuron,
    ) -> None:
        super().__init__()
        check_choice("connect", connect, get_args(Connect))
        check_choice("kind", kind, get_args(Kind))
        self.connect, self.kind = connect, kind
        out = width * EXPANSION[kind]
        self.conv1 = conv_bn(in_width, width, 3, stride) if kind == "basic" else conv_bn(in_width, width, 1)
        self.sn1 = neuron(threshold=1.0)
        self.conv2 = conv_bn(width, width, 3, 1 if kind == "basic" else stride)
        self.sn2 = neuron(threshold=1.0)
        if kind == "bottleneck":
            self.conv3 = conv_bn(width, out, 1)
            self.sn3 = neuron(threshold=1.0)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_width != out:
            self.downsample = nn.Sequential(conv_bn(in_width, out, 1, stride), neuron(threshold=1.0))

    @property
    def last(self) -> Merged:
        """The convolution and normalisation that A comes from."""
        return self.conv2 if self.kind == "basic" else self.conv3

    def forward(self, x: Tensor) -> Tensor:
        a = self.sn2(self.conv2(self.sn1(self.conv1(x))))
        if self.kind == "bottleneck":
            a = self.sn3(self.conv3(a))
        s = x if self.downsample is None else self.downsample(x)
        return combine(self.connect, a, s)


class SEWResNet(nn.Module):
    """x (B, C, H, W), presented T times, or event frames (B, T, C, H, W) -> logits (B, num_classes).

    `stem` "imagenet" is conv7x7/2 - BN - SN - max pool, "small" (images of about 32 pixels) conv3x3 - BN - SN. Of an image the
    stem's convolution is computed once and its current repeated. `neuron=relu` makes the ANN twin (add only: g of "and" and
    "iand" is a logic of spikes). `zero_init` starts every block as the identity of its g (section 3.3; iand and add at A = 0,
    and at A = 1).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        T: int = 4,
        widths: Sequence[int] = (64, 128, 256, 512),
        layers: Sequence[int] = (2, 2, 2, 2),
        block: Kind = "basic",
        connect: Connect = "add",
        stem: Stem = "imagenet",
        zero_init: bool = False,
        neuron: Neuron = if_neuron,
    ) -> None:
        super().__init__()
        check_choice("stem", stem, get_args(Stem))
        check_choice("block", block, get_args(Kind))
        check_stages(tuple(layers), widths=tuple(widths))
        check_positive(T=T)
        self.T, self.in_channels, self.num_stages = T, in_channels, len(layers)
        kernel, stride = (7, 2) if stem == "imagenet" else (3, 1)
        self.conv1 = nn.Conv2d(in_channels, widths[0], kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.sn1 = neuron(threshold=1.0)
        self.maxpool = OverTime(nn.MaxPool2d(3, 2, 1)) if stem == "imagenet" else nn.Identity()
        before = widths[0]
        for i, (width, count) in enumerate(zip(widths, layers, strict=True)):
            blocks = []
            for j in range(count):
                blocks.append(Block(before, width, 2 if i and not j else 1, block, connect, neuron))
                before = width * EXPANSION[block]
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(before, num_classes)
        self._init(connect, zero_init)

    def _init(self, connect: Connect, zero_init: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Block) and zero_init:
                bn = module.last[1]
                assert isinstance(bn, nn.BatchNorm2d)
                nn.init.zeros_(bn.weight)
                nn.init.constant_(bn.bias, float(connect == "and"))

    def stem(self, x: Tensor) -> Tensor:
        """The current of the first neurons, (T, B, C, H, W)."""
        check_input(x, self.in_channels)
        if x.dim() == 5:
            return each_step(x.transpose(0, 1), self.conv1, self.bn1)
        current = self.bn1(self.conv1(x))
        return current.expand(self.T, *current.shape)

    def features(self, x: Tensor) -> Tensor:
        """(T, B, C): the last spikes, averaged over the image."""
        y = self.maxpool(self.sn1(self.stem(x)))
        for i in range(self.num_stages):
            y = self.get_submodule(f"layer{i + 1}")(y)
        return y.mean((3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean(0))

    def steps(self, x: Tensor) -> Tensor:
        """Logits of every step, (T, B, num_classes); their mean is `forward`."""
        return self.fc(self.features(x))
