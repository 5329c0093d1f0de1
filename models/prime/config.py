"""The constants of PRIME's two halves, as the released code has them (arXiv 2407.18625), without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["topology", "random", "weights"]
"""How synapses come about: random conductances with learned masks, with random masks, or trained weights without masks."""


@dataclass(frozen=True)
class Array:
    """Synapses of a memristor array: W ~ Normal(0, `sigma`) in microsiemens, of which the network sees W `scale`.

    `sparsity` is the share of synapses that the mask cuts; `read_noise` the relative deviation of every read of W.
    """

    kind: Kind = "topology"
    sigma: float = 6.352
    scale: float = 0.01
    sparsity: float = 0.5
    read_noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity <= 1:
            raise ValueError(f"`sparsity` must lie between 0 and 1, not be {self.sparsity}")
        if self.read_noise < 0:
            raise ValueError(f"`read_noise` must be at least 0, not {self.read_noise}")
        if not (self.sigma > 0 and self.scale > 0):
            raise ValueError(f"`sigma` and `scale` must be above 0, not {self.sigma} and {self.scale}")


CLASSIFICATION = Array()
INPAINTING = Array(sigma=6.91593, scale=0.003)


@dataclass(frozen=True)
class NeuronConfig:
    """u <- phi(leak u (1 - s) + x), phi LeakyReLU of `slope`; s = [u > threshold]; ds/du = [|u - centre| < 1/2]."""

    leak: float
    threshold: float
    slope: float
    centre: float


def rectified(threshold: float) -> NeuronConfig:
    """Of the classifier: a decay of 0.8 leaves 0.2; the window of the surrogate lies around the threshold."""
    return NeuronConfig(leak=0.2, threshold=threshold, slope=0.1, centre=threshold)


CONV_NEURON, HIDDEN_NEURON = rectified(0.2), rectified(0.5)
VAE_NEURON = NeuronConfig(leak=0.25, threshold=0.2, slope=1.0, centre=0.0)
"""Of the autoencoder: the window lies around 0, as FSVAE's does (arXiv 2110.00375)."""


@dataclass(frozen=True)
class Convolution:
    """A square convolution; `pooled` where 2x2 average pooling follows its neurons."""

    out_channels: int
    kernel: int = 5
    stride: int = 1
    padding: int = 0
    pooled: bool = True


NMNIST_CONV = (Convolution(12, padding=1), Convolution(64))
"""Convolutions of the N-MNIST network; its readout is the only linear layer."""
NMNIST_MLP = (250, 250)
"""Hidden widths of the N-MNIST network without convolutions."""


@dataclass(frozen=True)
class VAEConfig:
    """Sizes of the spiking autoencoder: every encoder block halves the image, `k` Bernoulli candidates a latent and step."""

    T: int = 16
    channels: tuple[int, ...] = (32, 32, 32)
    latent: int = 128
    k: int = 20
    in_channels: int = 1
    image_size: int = 32

    def __post_init__(self) -> None:
        if min(self.T, self.latent, self.k, self.in_channels, *self.channels) < 1 or not self.channels:
            raise ValueError("`T`, `latent`, `k` and all `channels` must be at least 1, and there must be channels")
        if self.image_size < 2 ** len(self.channels) or self.image_size % 2 ** len(self.channels):
            raise ValueError(
                f"images of {self.image_size} pixels cannot be halved {len(self.channels)} times, once for each of `channels`"
            )

    @property
    def side(self) -> int:
        """Pixels a side behind the encoder."""
        return self.image_size // 2 ** len(self.channels)


PRUNING_FSVAE = VAEConfig()
PRUNING_FSVAE_LARGE = VAEConfig(channels=(32, 64, 128, 256))
"""For Fashion-MNIST; trained with a read noise of 0.2."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast; `weight_decay` falls on scores as on trained weights."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"`lr` must be above 0, not {self.lr}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"`weight_decay` must be at least 0, not {self.weight_decay}")
