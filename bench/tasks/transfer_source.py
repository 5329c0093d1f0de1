"""The plain network that transfer attacks come from: trained by the task itself, so that every model meets the same stranger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from retable.bench.datasets.images import ImageData

WIDTH, LARGEST = 32, 10_000
"""Channels of the first layer; at most so many training images, evenly spread."""
BATCH, RATE = 64, 2e-3


class Source(nn.Module):
    """Three convolutions with ReLU, the last two halving the sides, and a linear layer over the largest of each channel."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, 2 * WIDTH, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, 2, 1),
            nn.ReLU(),
        )
        self.head = nn.Linear(2 * WIDTH, classes)

    def prepare(self, pixels: Tensor) -> Tensor:
        return pixels.float() / 127.5 - 1

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x).amax((2, 3)))
        return logits


def fit_source(data: ImageData, *, epochs: int, seed: int, device: str) -> Source:
    """Fitted to the training images by Adam; a function of the data and the seed. In eval mode, its weights fixed."""
    import numpy as np

    chosen = np.linspace(0, len(data.train) - 1, min(len(data.train), LARGEST)).astype(np.int64)
    pixels = torch.from_numpy(data.train.images(chosen)).to(device)
    labels = torch.from_numpy(data.train.labels[chosen]).to(device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        source = Source(data.image_shape[0], data.num_classes).to(device)
        optimizer = torch.optim.Adam(source.parameters(), lr=RATE)
        for _ in range(epochs):
            for batch in torch.randperm(len(chosen)).to(device).split(BATCH):
                loss = F.cross_entropy(source(source.prepare(pixels[batch])), labels[batch])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
    return source.eval().requires_grad_(False)
