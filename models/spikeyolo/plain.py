"""A plain spiking YOLO: YOLOv8 with a neuron for every activation, the straightforward conversion.

Modules hand spikes on to each other, so shortcuts and concatenations carry spikes, not membrane values, and
every block of a deep C2f sees what little its predecessor fired. Row for row Ultralytics' YOLOv8.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from retable.models.spikeyolo.head import Detect
from retable.models.spikeyolo.layers import Concat, Driven, MakeNeuron, Upsample, norm
from retable.models.spikeyolo.network import Rows, Steps
from retable.models.spikeyolo.sizes import Size
from retable.models.vision.layers import each_step


class ConvSpike(Driven):
    """Convolution, norm, neuron."""

    DRIVES = ((None, "conv", "bn"),)

    def __init__(self, cin: int, cout: int, k: int, neuron: MakeNeuron, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, k, stride, k // 2, bias=False)
        self.bn, self.act = norm(cout), neuron()

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        y: Tensor = self.act(self.drive(0, x_TBCHW))
        return y


class Readout(Driven):
    """The last convolution of the head, with bias."""

    DRIVES = ((None, "conv", None),)

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 1)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        return self.drive(0, x_TBCHW)


class Bottleneck(nn.Module):
    """Two 3x3 convolutions; with `shortcut` their spikes and the input's are added."""

    def __init__(self, C: int, neuron: MakeNeuron, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.shortcut = ConvSpike(C, C, 3, neuron), ConvSpike(C, C, 3, neuron), shortcut

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        y: Tensor = self.cv2(self.cv1(x_TBCHW))
        return x_TBCHW + y if self.shortcut else y


class C2f(nn.Module):
    """Half of the channels through n bottlenecks, every intermediate result kept."""

    def __init__(self, cin: int, cout: int, n: int, neuron: MakeNeuron, shortcut: bool) -> None:
        super().__init__()
        C = cout // 2
        self.cv1 = ConvSpike(cin, 2 * C, 1, neuron)
        self.cv2 = ConvSpike((2 + n) * C, cout, 1, neuron)
        self.m = nn.ModuleList(Bottleneck(C, neuron, shortcut) for _ in range(n))

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        parts = list(self.cv1(x_TBCHW).chunk(2, 2))
        for bottleneck in self.m:
            parts.append(bottleneck(parts[-1]))
        y: Tensor = self.cv2(torch.cat(parts, 2))
        return y


class PlainSPPF(nn.Module):
    """Three chained 5x5 poolings of spikes beside their input."""

    def __init__(self, C: int, neuron: MakeNeuron) -> None:
        super().__init__()
        self.cv1, self.cv2 = ConvSpike(C, C // 2, 1, neuron), ConvSpike(C // 2 * 4, C, 1, neuron)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        scales = [self.cv1(x_TBCHW)]
        for _ in range(3):
            scales.append(each_step(scales[-1], self.m))
        y: Tensor = self.cv2(torch.cat(scales, 2))
        return y


def plain_yolo(size: Size, num_classes: int, in_channels: int, T: int, neuron: MakeNeuron) -> Rows:
    """With torch's initial weights. ValueError for a width that leaves no channels."""
    c1, c2, c3, c4, c5 = (_eighths(min(c, size.max_channels) * size.width) for c in (64, 128, 256, 512, 1024))

    def conv(cin: int, cout: int) -> ConvSpike:
        return ConvSpike(cin, cout, 3, neuron, 2)

    def c2f(cin: int, cout: int, n: int, shortcut: bool = False) -> C2f:
        return C2f(cin, cout, size.repeats(n), neuron, shortcut)

    head = Detect(num_classes, (c3, c4, c5), lambda cin, cout, k: ConvSpike(cin, cout, k, neuron), Readout)
    rows = [
        nn.Sequential(Steps(T, in_channels), conv(in_channels, c1)),
        conv(c1, c2),
        c2f(c2, c2, 3, True),
        conv(c2, c3),
        c2f(c3, c3, 6, True),
        conv(c3, c4),
        c2f(c4, c4, 6, True),
        conv(c4, c5),
        c2f(c5, c5, 3, True),
        PlainSPPF(c5, neuron),
        Upsample(),
        Concat(),
        c2f(c5 + c4, c4, 3),
        Upsample(),
        Concat(),
        c2f(c4 + c3, c3, 3),
        conv(c3, c3),
        Concat(),
        c2f(c3 + c4, c4, 3),
        conv(c4, c4),
        Concat(),
        c2f(c4 + c5, c5, 3),
        head,
    ]
    network = Rows(rows, beside={11: 6, 14: 4, 17: 12, 20: 9}, levels=(15, 18, 21))
    network.head.start()
    return network


def _eighths(c: float) -> int:
    """The next multiple of 8."""
    if c <= 0:
        raise ValueError(f"`width` must be above 0, it leaves {c} channels")
    return -int(-c // 8) * 8
