"""SpikeYOLO: four stages, a neck down and up again, a head of three levels (arXiv 2407.20708).

The rows of `model` and so the keys of a state dict are those of the released configuration.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from retable.models.spikeyolo.head import STRIDES, Detect
from retable.models.spikeyolo.layers import (
    SPPF,
    Concat,
    DownSampling,
    Driven,
    MakeNeuron,
    SNNBlock1,
    SNNBlock2,
    SpikeConv,
    SpikeConvWithoutBN,
    Upsample,
)
from retable.models.spikeyolo.sizes import Size
from retable.models.vision.over_time import as_steps


class Steps(nn.Module):
    """x_TBCHW of images (B, C, H, W), shown at each of the T steps, or of event frames (B, T', C, H, W)."""

    def __init__(self, T: int, in_channels: int) -> None:
        super().__init__()
        self.T, self.in_channels = T, in_channels

    def forward(self, x: Tensor) -> Tensor:
        H, W = x.shape[-2:]
        if H % STRIDES[-1] or W % STRIDES[-1] or not H * W:
            raise ValueError(f"x must have sides that are multiples of {STRIDES[-1]}, not {H} x {W}")
        return as_steps(x, self.T, self.in_channels)


class Rows(nn.Module):
    """Rows one after the other; some also take the output of an earlier one, and the last takes three of them."""

    def __init__(self, rows: Sequence[nn.Module], beside: dict[int, int], levels: Sequence[int]) -> None:
        super().__init__()
        self.model = nn.ModuleList(rows)
        self._beside, self._levels = beside, tuple(levels)
        self._kept = {*beside.values(), *levels}

    @property
    def head(self) -> Detect:
        head = self.model[-1]
        assert isinstance(head, Detect)
        return head

    def forward(self, x: Tensor) -> list[Tensor]:
        """Raw maps (B, 64 + K, h, w) of the strides 8, 16 and 32, of images (B, C, H, W) or frames (B, T, C, H, W)."""
        kept: dict[int, Tensor] = {}
        for i, row in enumerate(list(self.model)[:-1]):
            x = row(x, kept[self._beside[i]]) if i in self._beside else row(x)
            if i in self._kept:
                kept[i] = x
        return self.head([kept[i] for i in self._levels])

    def merge(self) -> None:
        """Fold norms and re-parameterised convolutions for inference, in place and for good."""
        self.eval()
        for module in list(self.modules()):
            if isinstance(module, Driven):
                module.merge()


def spikeyolo(size: Size, num_classes: int, in_channels: int, T: int, neuron: MakeNeuron) -> Rows:
    """With torch's initial weights, the head's biases as for images of 640 pixels. ValueError for a width that leaves none."""
    c1, c2, c3, c4 = (size.channels(c) for c in (128, 256, 512, 1024))
    n256, n512 = (size.channels(c, cut=True) for c in (256, 512))
    p = size.channels(1024, cut=True, multiple=8)
    if c1 < 2 or n256 < 1:
        raise ValueError(f"`width` must leave 2 channels of 128 at least, {size.width} leaves {c1}")

    def down(cin: int, cout: int) -> DownSampling:
        return DownSampling(cin, cout, 3, 2, 1, neuron)

    def stage(block: type[SNNBlock1 | SNNBlock2], C: int, n: int, r: int) -> nn.Module:
        blocks = [block(C, r, neuron) for _ in range(size.repeats(n))]
        return nn.Sequential(*blocks) if len(blocks) > 1 else blocks[0]

    head = Detect(
        num_classes,
        (n256, 2 * n256, 2 * n512),
        lambda cin, cout, k: SpikeConv(cin, cout, k, neuron),
        lambda cin, cout: SpikeConvWithoutBN(cin, cout, neuron),
    )
    rows = [  # number, and what it takes beside the row above or gives to the head
        Steps(T, in_channels),  # 0
        DownSampling(in_channels, c1, 7, 4, 2, neuron, first=True),  # 1
        stage(SNNBlock1, c1, 3, 4),  # 2
        down(c1, c2),  # 3
        stage(SNNBlock1, c2, 6, 4),  # 4
        down(c2, c3),  # 5
        stage(SNNBlock2, c3, 9, 3),  # 6
        down(c3, c4),  # 7
        stage(SNNBlock2, c4, 3, 2),  # 8
        SPPF(c4, p, neuron),  # 9
        SpikeConv(p, n512, 1, neuron),  # 10
        Upsample(),  # 11
        SNNBlock2(n512, 3, neuron),  # 12
        Concat(),  # 13, with row 6
        SpikeConv(n512 + c3, n256, 1, neuron),  # 14
        Upsample(),  # 15
        SNNBlock1(n256, 4, neuron),  # 16
        Concat(),  # 17, with row 4
        SpikeConv(n256 + c2, n256, 1, neuron),  # 18
        SNNBlock1(n256, 4, neuron),  # 19, level 8
        SpikeConv(n256, n256, 3, neuron, 2),  # 20
        Concat(),  # 21, with row 14
        SNNBlock2(2 * n256, 3, neuron),  # 22, level 16
        SpikeConv(2 * n256, n512, 3, neuron, 2),  # 23
        Concat(),  # 24, with row 10
        SNNBlock2(2 * n512, size.p5_ratio, neuron),  # 25, level 32
        head,  # 26
    ]
    network = Rows(rows, beside={13: 6, 17: 4, 21: 14, 24: 10}, levels=(19, 22, 25))
    network.head.start()
    return network
