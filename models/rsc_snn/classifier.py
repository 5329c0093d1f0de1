"""A network behind a coding: pixels in [0, 1] are coded with noise first and normalised after it, inside the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from retable.models.rsc_snn.coding import Coding, Gradient, Noise
from retable.models.rsc_snn.neuron import Backward, attacked_neurons
from retable.models.vision.classifier import Classifier


class CodedClassifier(Classifier):
    """Its input is pixels in [0, 1], so that attacks and radii are in their units; spikes of the Poisson coding stay 0 and 1."""

    def __init__(self, network: nn.Module, channels: int, coding: Coding) -> None:
        super().__init__(network, channels, coding.T)
        self.coding = coding
        self._gradient: Gradient = "straight-through"

    @property
    def noise(self) -> Noise:
        """The law of the noise that every call draws."""
        return self.coding.noise

    def prepare(self, pixels: Tensor) -> Tensor:
        """float (B, C, H, W) in [0, 1] of images in [0, 255]. Raises ValueError for event frames."""
        if pixels.dim() != 4:
            raise ValueError(f"codings take images (B, C, H, W), not event frames of shape {tuple(pixels.shape)}")
        return pixels.float() / 255

    def coded(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What the network sees, (T, B, C, H, W), of pixels x (B, C, H, W)."""
        z_TBCHW = self.coding(x, generator, self._gradient)
        return z_TBCHW if self.coding.name == "poisson" else self.normalised(z_TBCHW)

    def normalised(self, z: Tensor) -> Tensor:
        """Frames (..., C, H, W) with the training images' mean and standard deviation."""
        return (z - self.mean_C[:, None, None]) / self.std_C[:, None, None]

    def steps(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Logits of each step, (T, B, K); noise from `generator`, else torch's own."""
        logits_TBK: Tensor = self.network.steps(self.coded(x, generator).transpose(0, 1))  # type: ignore[operator]
        return logits_TBK

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean logits over T, (B, K)."""
        return self.steps(x, generator).mean(0)

    @contextmanager
    def attacked_through(
        self, code: Gradient = "straight-through", neuron: Backward = "bptt", width: float | None = None
    ) -> Iterator[None]:
        """Inside the block an attacker takes these derivatives of the coding and of the neurons (`width` of their surrogate)."""
        before, self._gradient = self._gradient, code
        try:
            with attacked_neurons(self.network, neuron, width):
                yield
        finally:
            self._gradient = before
