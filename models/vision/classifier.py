"""What stands between uint8 samples and a network: scaling of images, grouping of event frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB in [0, 1]: what published ImageNet weights were trained with."""
STATISTICS_FROM = 2000
"""At most so many training images, evenly spread, give mean and standard deviation."""


class Classifier(nn.Module):
    """A network with the preparation of its input; its logits are those of the network.

    Images (B, C, H, W) are scaled to [0, 1] and standardised a channel with the training images' mean and standard
    deviation. Event frames (B, S, 2, H, W) stay counts; S / T frames in a row are added up where the network runs for
    T < S steps.
    """

    mean_C: Tensor
    std_C: Tensor

    def __init__(self, network: nn.Module, channels: int, T: int) -> None:
        super().__init__()
        self.network, self.T = network, T
        self.register_buffer("mean_C", torch.zeros(channels))
        self.register_buffer("std_C", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits over T, (B, K), of a prepared input."""
        logits_BK: Tensor = self.network(x)
        return logits_BK

    def steps(self, x: Tensor) -> Tensor:
        """Logits of each step, (T, B, K), of a prepared input."""
        logits_TBK: Tensor = self.network.steps(x)  # type: ignore[operator]
        return logits_TBK

    def prepare(self, pixels: Tensor) -> Tensor:
        """float32 (B, C, H, W) of images, (B, T, 2, H, W) of event frames. Raises ValueError for frames T cannot group."""
        if pixels.dim() == 5:
            return grouped(pixels, self.T)
        return (pixels.float() / 255 - self.mean_C[:, None, None]) / self.std_C[:, None, None]

    @torch.no_grad()
    def standardise_as_imagenet(self) -> None:
        """Take the statistics that published weights expect, where the images are RGB."""
        if len(self.mean_C) == len(IMAGENET_MEAN):
            self.mean_C.copy_(torch.tensor(IMAGENET_MEAN))
            self.std_C.copy_(torch.tensor(IMAGENET_STD))

    @torch.no_grad()
    def standardise_by(self, split: Any) -> None:
        """Take mean and standard deviation from training images; event frames have none. A constant channel keeps std 1."""
        import numpy as np

        chosen = np.linspace(0, len(split) - 1, min(len(split), STATISTICS_FROM)).astype(np.int64)
        pixels = split.images(chosen)
        if pixels.ndim != 4:
            return
        scaled = pixels.astype(np.float64) / 255
        std = scaled.std(axis=(0, 2, 3))
        self.mean_C.copy_(torch.from_numpy(scaled.mean(axis=(0, 2, 3))))
        self.std_C.copy_(torch.from_numpy(np.where(std > 0, std, 1.0)))


def grouped(frames_BSCHW: Tensor, T: int) -> Tensor:
    """Event counts in T steps, float32 (B, T, 2, H, W): S / T frames in a row are one step's. ValueError if S / T is broken."""
    S = frames_BSCHW.shape[1]
    if S % T:
        raise ValueError(f"{S} event frames cannot be grouped into T = {T} steps: T must divide the frames")
    return frames_BSCHW.float().unflatten(1, (T, S // T)).sum(2)
