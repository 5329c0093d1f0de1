"""EfficientNet-Lite0: EfficientNet-B0 (arXiv 1905.11946, Table 1) with ReLU6 and without squeeze-and-excitation.

Parameter names are those of the published PyTorch weights; padding is TensorFlow's SAME, as those weights were trained.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import pad, relu6

# (repeats, kernel, stride of the first repeat, expansion, output channels) of each stage
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv2d(nn.Conv2d):
    """Convolution without bias, ceil(input / stride) pixels out; an odd pixel of padding goes right and bottom."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels_in, channels_out, kernel, stride, groups=groups, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        height, width = (
            max((-(-size // stride) - 1) * stride + kernel - size, 0)
            for size, stride, kernel in zip(x_BCHW.shape[-2:], self.stride, self.kernel_size, strict=True)
        )
        return super().forward(pad(x_BCHW, (width // 2, width - width // 2, height // 2, height - height // 2)))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class MBConv(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1; identity added when shape is kept."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels_in * expansion
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = SameConv2d(channels_in, hidden, 1)
            self._bn0 = batch_norm(hidden)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = batch_norm(hidden)
        self._project_conv = SameConv2d(hidden, channels_out, 1)
        self._bn2 = batch_norm(channels_out)
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = relu6(self._bn0(self._expand_conv(x_BCHW))) if self.expands else x_BCHW
        y_BCHW = relu6(self._bn1(self._depthwise_conv(y_BCHW)))
        y_BCHW = self._bn2(self._project_conv(y_BCHW))
        return x_BCHW + y_BCHW if self.adds else y_BCHW


class EfficientNetLite0(nn.Module):
    """ImageNet-1k classifier; input (B, 3, H, W) is (pixel - 127) / 128, published for 224 pixels."""

    DIM: ClassVar[int] = 1280
    CLASSES: ClassVar[int] = 1000

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, stride=2)
        self._bn0 = batch_norm(32)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, channels_out in STAGES:
            for repeat in range(repeats):
                blocks.append(MBConv(channels, channels_out, kernel, 1 if repeat else stride, expansion))
                channels = channels_out
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = SameConv2d(channels, self.DIM, 1)
        self._bn1 = batch_norm(self.DIM)
        self._fc = nn.Linear(self.DIM, self.CLASSES)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Mean-pooled features (B, 1280) and logits (B, 1000)."""
        x_BCHW = relu6(self._bn0(self._conv_stem(x_BCHW)))
        x_BCHW = relu6(self._bn1(self._conv_head(self._blocks(x_BCHW))))
        features_BD = x_BCHW.mean((2, 3))
        return features_BD, self._fc(features_BD)
