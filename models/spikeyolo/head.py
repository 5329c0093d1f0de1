"""The anchor-free head: for each cell and side a distribution over distances (DFL, arXiv 2006.04388), and class logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from retable.models.spikeyolo.boxes import anchors, from_sides, to_centre

REG_MAX = 16
"""Distances 0 ... 15 strides of a side from the centre of its cell."""
STRIDES = (8, 16, 32)
PAPER_SIDE = 640
"""Side of the images that the initial class scores are made for."""

MakeUnit = Callable[[int, int, int], nn.Module]


class Predicted(NamedTuple):
    """What the maps say, cell by cell over all levels (A of them)."""

    sides_BA4R: Tensor
    """Logits of the distances of left, top, right and bottom."""
    logits_BAK: Tensor
    centres_A2: Tensor
    """In cells, as all of `boxes_BA4`."""
    stride_A1: Tensor
    boxes_BA4: Tensor
    """Expected x0, y0, x1, y1."""


class DFL(nn.Module):
    """The expected distance; its bins are the frozen weights that published checkpoints hold."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(REG_MAX, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data = torch.arange(REG_MAX, dtype=torch.float).view(1, REG_MAX, 1, 1)

    def forward(self, sides_BA4R: Tensor) -> Tensor:
        return (sides_BA4R.softmax(-1) * self.conv.weight.flatten()).sum(-1)


class Detect(nn.Module):
    """`cv2` boxes and `cv3` classes of each level; maps are means over T of the raw logits, (B, 4 R + K, h, w).

    `unit(cin, cout, k)` makes a hidden layer, `last(cin, cout)` the last.
    """

    def __init__(
        self,
        num_classes: int,
        channels: Sequence[int],
        unit: MakeUnit,
        last: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        c2 = max(16, channels[0] // 4, REG_MAX * 4)
        c3 = max(channels[0], min(num_classes, 100))

        def branch(cin: int, c: int, out: int) -> nn.Module:
            return nn.Sequential(unit(cin, c, 3), unit(c, c, 3), last(c, out))

        self.cv2 = nn.ModuleList(branch(c, c2, 4 * REG_MAX) for c in channels)
        self.cv3 = nn.ModuleList(branch(c, c3, num_classes) for c in channels)
        self.dfl = DFL()

    def forward(self, levels_TBCHW: Sequence[Tensor]) -> list[Tensor]:
        branches = zip(levels_TBCHW, self.cv2, self.cv3, strict=True)
        return [torch.cat((boxes(x), classes(x)), 2).mean(0) for x, boxes, classes in branches]

    def predicted(self, maps: Sequence[Tensor]) -> Predicted:
        flat_BAN = torch.cat([each.flatten(2) for each in maps], 2).mT
        sides, logits_BAK = flat_BAN.split((4 * REG_MAX, self.num_classes), -1)
        sides_BA4R = sides.unflatten(-1, (4, REG_MAX))
        centres_A2, stride_A1 = anchors([each.shape[-2:] for each in maps], STRIDES, flat_BAN)  # type: ignore[misc]
        boxes_BA4 = from_sides(self.dfl(sides_BA4R), centres_A2)
        return Predicted(sides_BA4R, logits_BAK, centres_A2, stride_A1, boxes_BA4)

    def decoded(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, 4 + K, A): centre and size in pixels of the input, class scores 0 ... 1."""
        found = self.predicted(maps)
        boxes = to_centre(found.boxes_BA4) * found.stride_A1
        return torch.cat((boxes, found.logits_BAK.sigmoid()), -1).mT

    @torch.no_grad()
    def start(self, image_side: float = PAPER_SIDE) -> None:
        """Initial biases: boxes 1; a class score of 5 objects in an image of that side, spread over cells and classes."""
        for boxes, classes, stride in zip(self.cv2, self.cv3, STRIDES, strict=True):
            boxes[-1].conv.bias.fill_(1.0)  # type: ignore[index]
            classes[-1].conv.bias.fill_(math.log(5 / self.num_classes / (image_side / stride) ** 2))  # type: ignore[index]
