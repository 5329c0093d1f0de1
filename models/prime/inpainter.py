"""The autoencoder behind pixels: images in [-1, 1], a square hole in black, fillings after every step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from retable.models.prime.blocks import Draws
from retable.models.prime.topology import reading, trained_or_scored
from retable.models.prime.vae import SpikingVAE

BLACK = -1.0


class Inpainter(nn.Module):
    """A spiking VAE with the choices of its latent spikes seeded sample by sample, so that no batch changes a filling."""

    def __init__(self, network: SpikingVAE) -> None:
        super().__init__()
        self.network, self.T = network, network.config.T

    def prepare(self, pixels: Tensor) -> Tensor:
        """float32 (B, C, H, W) in [-1, 1] of uint8 images; grey ones where the network has one channel."""
        x_BCHW = pixels.float() / 127.5 - 1
        if self.network.config.in_channels == 1:
            x_BCHW = x_BCHW.mean(1, keepdim=True)
        return x_BCHW

    def forward(self, damaged_BCHW: Tensor, seeds_B: Tensor) -> Tensor:
        """Images after all T steps, (B, C, H, W)."""
        return self.network(damaged_BCHW, draws=self.draws(seeds_B)).image

    def fillings(self, damaged_BCHW: Tensor, seeds_B: Tensor, *, afresh: bool = False) -> Tensor:
        """Images after 1 ... T steps, (T, B, C, H, W), of prepared damaged ones.

        One run of T steps, read by the integrator after each. `afresh` is what the released code does: a run of its own
        for every number of steps, with its own choices, whose readout attenuates early steps.
        """
        if not afresh:
            return self.network.successive(damaged_BCHW, self.draws(seeds_B))
        steps = range(1, self.T + 1)
        return torch.stack([self.network(damaged_BCHW, n, self.draws(seeds_B + n)).image for n in steps])

    def draws(self, seeds_B: Tensor) -> Draws:
        """Choices of each sample from its own seed, in the order of the steps."""
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds_B]

        def draw(count: int, k: int) -> Tensor:
            each = count // len(generators)
            return torch.cat([torch.randint(0, k, (each,), generator=generator) for generator in generators])

        return draw

    def reading(self, noise: float) -> AbstractContextManager[None]:
        """Inside the block every read of the arrays has this relative noise, drawn from torch's own generator."""
        return reading(self.network, noise)

    def parameters_counted(self) -> Iterator[nn.Parameter]:
        """One number a synapse: the score of a masked one, whose conductance nobody chose."""
        return trained_or_scored(self.network)


def damaged(x_BCHW: Tensor, hole: tuple[int, int]) -> Tensor:
    """Images whose rows and columns `hole[0]` ... `hole[1] - 1` are black."""
    first, behind = hole
    x_BCHW = x_BCHW.clone()
    x_BCHW[..., first:behind, first:behind] = BLACK
    return x_BCHW
