"""MS-ResNet: a shortcut between membrane potentials, so that only spikes enter convolutions (arXiv 2112.08954).

    out = BN_0(conv(SN(BN(conv(SN(x)))))) + shortcut(x)                                        (fig. 1c)

x is a real-valued current. SN charges h = 0.25 v (1 - s) + x, fires strictly above 0.5, resets to 0 without gradient, and its
surrogate is 1 within 0.5 of the threshold. BN normalises every channel over time, batch and space (tdBN): gamma starts at the
threshold, in the second of a branch (BN_0) at 0. Module names are those of the released code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from torch import Tensor, nn

from retable.models.spiking.neurons import LIF
from retable.models.spiking.surrogates import RECT
from retable.models.vision.layers import Neuron, check_choice, check_positive, check_stages
from retable.models.vision.over_time import BatchNorm, OverTime, as_steps

Stem = Literal["imagenet", "deep", "small"]
THRESHOLD = 0.5
DECAY = 0.25

MS_RESNET_SIZES: Mapping[str, Mapping[str, Any]] = {
    "18": {"layers": (2, 2, 2, 2)},
    "34": {"layers": (3, 4, 6, 3)},
    "104": {"layers": (3, 8, 32, 8), "stem": "deep", "pooled_shortcut": True, "dropout": 0.2},
}
"""Published networks, as keywords of `MSResNet`."""


def stbp(threshold: float = THRESHOLD) -> nn.Module:
    """MS-ResNet's neuron: tau = 1 / (1 - decay)."""
    return LIF(
        tau=1 / (1 - DECAY),
        threshold=threshold,
        v_reset=0.0,
        decay_input=False,
        strict=True,
        detach_reset=True,
        surrogate=RECT,
    )


class Block(nn.Module):
    """x_TBCHW -> (T, B, out_channels, H / stride, W / stride).

    Where the shape changes the shortcut is conv1x1 with the stride - BN, or with `pooled_shortcut` (the 104-layer network)
    average pool - conv1x1 - BN.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        pooled_shortcut: bool = False,
        neuron: Neuron = stbp,
    ) -> None:
        super().__init__()
        self.residual_function = OverTime(
            neuron(threshold=THRESHOLD),
            nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
            BatchNorm(out_channels, gain=THRESHOLD),
            neuron(threshold=THRESHOLD),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False),
            BatchNorm(out_channels, gain=0.0),
        )
        self.shortcut = OverTime()
        if stride != 1 or in_channels != out_channels:
            if pooled_shortcut:  # rounds up like the strided convolution; the released code takes even sizes only
                self.shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
            self.shortcut.append(nn.Conv2d(in_channels, out_channels, 1, 1 if pooled_shortcut else stride, bias=False))
            self.shortcut.append(BatchNorm(out_channels, gain=THRESHOLD))

    def forward(self, x: Tensor) -> Tensor:
        return self.residual_function(x) + self.shortcut(x)


def make_stem(stem: Stem, in_channels: int, width: int) -> OverTime:
    if stem == "deep":  # no normalisation between the three, as released
        return OverTime(
            nn.Conv2d(in_channels, width, 3, 2, 1),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.Conv2d(width, width, 3, 1, 1),
            BatchNorm(width, gain=THRESHOLD),
        )
    kernel, stride = (7, 2) if stem == "imagenet" else (3, 1)
    conv = nn.Conv2d(in_channels, width, kernel, stride, kernel // 2, bias=False)
    return OverTime(conv, BatchNorm(width, gain=THRESHOLD))


class MSResNet(nn.Module):
    """x (B, C, H, W), presented T times, or event frames (B, T, C, H, W) -> logits (B, num_classes).

    `stem` is conv7x7/2 - BN ("imagenet"), three 3x3 convolutions - BN ("deep", of the 104-layer network) or conv3x3 - BN ("small",
    for images of about 32 pixels, where the first stage keeps the size too). `neuron=relu` makes the ANN twin.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        T: int = 6,
        widths: Sequence[int] = (64, 128, 256, 512),
        layers: Sequence[int] = (2, 2, 2, 2),
        stem: Stem = "imagenet",
        pooled_shortcut: bool = False,
        dropout: float = 0.0,
        neuron: Neuron = stbp,
    ) -> None:
        super().__init__()
        check_choice("stem", stem, get_args(Stem))
        check_stages(tuple(layers), widths=tuple(widths))
        check_positive(T=T)
        self.T, self.in_channels, self.num_stages = T, in_channels, len(layers)
        self.conv1 = make_stem(stem, in_channels, widths[0])
        before = widths[0]
        for i, (width, count) in enumerate(zip(widths, layers, strict=True)):
            blocks = []
            for j in range(count):
                stride = 1 if j or (i == 0 and stem == "small") else 2
                blocks.append(Block(before, width, stride, pooled_shortcut, neuron))
                before = width
            self.add_module(f"conv{i + 2}_x", nn.Sequential(*blocks))
        self.mem_update = neuron(threshold=THRESHOLD)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(before, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """(T, B, C): the last spikes, averaged over the image."""
        y = self.conv1(as_steps(x, self.T, self.in_channels))
        for i in range(self.num_stages):
            y = self.get_submodule(f"conv{i + 2}_x")(y)
        return self.mem_update(y).mean((3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.features(x).mean(0)))

    def steps(self, x: Tensor) -> Tensor:
        """Logits of every step, (T, B, num_classes); their mean is `forward` where nothing is dropped."""
        return self.fc(self.dropout(self.features(x)))
