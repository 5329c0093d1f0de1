"""A plugin with a spiking network of two layers, and images for it, for tests of `classify` and of the vision methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from retable.bench.datasets.images import ArraySplit, ImageData
from retable.bench.registry import register
from retable.models.vision.network import Network


@register("method", "small-snn")
@dataclass(frozen=True, kw_only=True)
class SmallSNN(Network):
    """Convolution to `width` channels at half the side, norm, LIF; linear readout of each step's spikes."""

    width: int = 8

    def network(self, **places: Any) -> Any:
        return small_network(width=self.width, **places)


def fitted(small: SmallSNN, data: ImageData, seed: int = 1) -> tuple[Any, dict[str, Any]]:
    return small.fit(data, {}, seed=seed, device="cpu")


def small_network(
    *, width: int, in_channels: int, image_size: int, num_classes: int, T: int, neuron: Any = None
) -> Any:
    from torch import Tensor, nn

    from retable.models.spiking.neurons import LIF

    class SmallNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(in_channels, width, 5, stride=4, padding=2, bias=False)
            self.norm = nn.BatchNorm2d(width)
            self.neuron = (neuron or LIF)()
            self.head = nn.Linear(width * (-(-image_size // 4)) ** 2, num_classes)

        def steps(self, x: Tensor) -> Tensor:
            x_TBCHW = x.transpose(0, 1) if x.dim() == 5 else x.expand(T, *x.shape)
            z = self.norm(self.conv(x_TBCHW.flatten(0, 1))).unflatten(0, x_TBCHW.shape[:2])
            return self.head(self.neuron(z).flatten(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.steps(x).mean(0)

    return SmallNetwork()


def image_data(count: int = 60, shape: tuple[int, ...] = (1, 16, 16), classes: int = 3) -> ImageData:
    """Noise with a bright band whose row is the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    pixels = rng.integers(0, 60, (count, *shape)).astype(np.uint8)
    for label in range(classes):
        pixels[labels == label, ..., 5 * label : 5 * label + 3, :] += 150
    split = ArraySplit(pixels=pixels, labels=labels)
    return ImageData(name="bands", train=split, held_out=split, num_classes=classes, image_shape=shape)
