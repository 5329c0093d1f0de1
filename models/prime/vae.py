"""The fully spiking autoencoder whose encoder and decoder are masked random arrays (arXiv 2407.18625; FSVAE, 2110.00375).

    x_t = encoder(damaged image), the same at each of T steps
    q_t = posterior(x_<=t, z_<t)       p_t = prior(z_<t)       k spikes for each latent
    z_t = one of the k spikes of q_t, chosen uniformly
    image = tanh(sum_t 0.8^(T-1-t) decoder(z_t))

Prior and posterior are trained in the ordinary way; with `kind="weights"` so is everything, and the model is FSVAE's.
Shapes: x_BCHW in [-1, 1], z_TBC, q_TBCk and p_TBCk.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from retable.models.prime.blocks import Block, Draws, MembraneOutput, Stack, pick, post_synaptic, torch_draws
from retable.models.prime.config import INPAINTING, PRUNING_FSVAE, Array, VAEConfig
from retable.models.prime.topology import Conv2d, ConvTranspose2d, Linear
from retable.models.vision.layers import each_step

FIRST_SCHEDULED, JITTER = 5, 1e-3
"""Scheduled sampling starts at this step; noise that decides ties of its mean."""
KLD_WEIGHT, KLD_EPS = 1e-4, 1e-2


@dataclass(frozen=True)
class Filling:
    """What a forward pass gives: the image (B, C, H, W), candidates of posterior and prior, and the latent spikes."""

    image: Tensor
    q_TBCk: Tensor
    p_TBCk: Tensor
    z_TBC: Tensor


class Posterior(nn.Module):
    """q(z_t | x_<=t, z_<t) and the spikes z_t chosen from it."""

    def __init__(self, latent: int, k: int) -> None:
        super().__init__()
        self.layers = Stack((2 * latent, 2 * latent, 4 * latent, k * latent), k)
        self.register_buffer("initial_input", torch.zeros(latent))

    def forward(self, x_TBC: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """(q_TBCk, z_TBC). In training first without gradient, spike by spike, to learn z; then once with it."""
        if not self.training:
            return self.carried(x_TBC, draws)
        z_TBC, indices = self.rerun(x_TBC, draws)
        q_TBCk = self.layers(torch.cat((x_TBC, z_TBC), 2))
        return q_TBCk, torch.stack([pick(q, index) for q, index in zip(q_TBCk, indices, strict=True)])

    @torch.no_grad()
    def rerun(self, x_TBC: Tensor, draws: Draws) -> tuple[Tensor, list[Tensor]]:
        """z_{t-1} (T, B, C), 0 first, and the indices of all T choices; every step runs the whole prefix again.

        Batch statistics are those of a prefix and move the running ones each time, so in training no state can be carried.
        """
        z, indices = [self.initial(x_TBC)], []
        for t in range(len(x_TBC) - 1):
            q_TBCk = self.layers(torch.cat((x_TBC[: t + 1], torch.stack(z)), 2))
            indices.append(draws(x_TBC[0].numel(), self.layers.k))
            z.append(pick(q_TBCk[-1], indices[-1]))
        indices.append(draws(x_TBC[0].numel(), self.layers.k))
        return torch.stack(z), indices

    def carried(self, x_TBC: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """The same step by step from the neurons' potentials: exact where the normalisation does not mix time."""
        z_BC, states, q, z = self.initial(x_TBC), self.layers.rest(), [], []
        for x_BC in x_TBC:
            q_1BCk = self.layers.run(torch.cat((x_BC, z_BC), 1)[None], states)
            z_BC = pick(q_1BCk[0], draws(x_BC.numel(), self.layers.k))
            q.append(q_1BCk[0])
            z.append(z_BC)
        return torch.stack(q), torch.stack(z)

    def initial(self, x_TBC: Tensor) -> Tensor:
        return self.initial_input.expand(x_TBC.shape[1:])  # type: ignore[operator]


class Prior(nn.Module):
    """p(z_t | z_<t)."""

    def __init__(self, latent: int, k: int) -> None:
        super().__init__()
        self.layers = Stack((latent, 2 * latent, 4 * latent, k * latent), k)
        self.register_buffer("initial_input", torch.zeros(latent))

    def forward(self, z_TBC: Tensor, scheduled: float = 0.0) -> Tensor:
        """p_TBCk of the posterior's spikes, which get no gradient from it.

        In training, from the sixth step on, the prior's own answer takes the place of a spike with probability `scheduled`.
        """
        first = self.initial_input.expand(1, *z_TBC.shape[1:])  # type: ignore[operator]
        shifted = torch.cat((first, z_TBC[:-1].detach()))
        if self.training and scheduled:
            shifted = self.mixed(shifted, scheduled)
        p_TBCk: Tensor = self.layers(shifted)
        return p_TBCk

    @torch.no_grad()
    def mixed(self, z_TBC: Tensor, probability: float) -> Tensor:
        for t in range(FIRST_SCHEDULED, len(z_TBC) - 1):
            if torch.rand(()) < probability:
                mean_BC = self.layers(z_TBC[: t + 1])[-1].mean(-1)
                z_TBC[t + 1] = (mean_BC + JITTER * torch.randn_like(mean_BC) > 0.5).to(z_TBC.dtype)
        return z_TBC

    def sample(self, T: int, count: int, draws: Draws) -> Tensor:
        """Latent spikes (T, B, C) of `count` new images; a network in evaluation mode."""
        z_BC, states, z = self.initial_input.expand(count, -1), self.layers.rest(), []  # type: ignore[operator]
        for _ in range(T):
            p_1BCk = self.layers.run(z_BC[None], states)
            z_BC = pick(p_1BCk[0], draws(z_BC.numel(), self.layers.k))
            z.append(z_BC)
        return torch.stack(z)


class SpikingVAE(nn.Module):
    """Pruning_FSVAE, its large variant by `VAEConfig.channels`, and with an `Array` of trained weights FSVAE itself."""

    def __init__(self, config: VAEConfig = PRUNING_FSVAE, array: Array = INPAINTING) -> None:
        super().__init__()
        self.config = config
        inner, code = config.channels[-1], config.channels[-1] * config.side**2
        self.encoder = nn.ModuleList(
            Block(Conv2d(array, a, b, 3, stride=2, padding=1), b)
            for a, b in pairwise((config.in_channels, *config.channels))
        )
        self.before_latent_layer = Block(Linear(array, code, config.latent), config.latent)
        self.prior = Prior(config.latent, config.k)
        self.posterior = Posterior(config.latent, config.k)
        self.decoder_input = Block(Linear(array, config.latent, code), code)
        upwards = config.channels[::-1]
        self.decoder = nn.ModuleList(Block(ConvTranspose2d(array, a, b, stride=2), b) for a, b in pairwise(upwards))
        last = upwards[-1]
        self.final_layer = nn.ModuleList(
            (
                Block(ConvTranspose2d(array, last, last, stride=2), last),
                ConvTranspose2d(array, last, config.in_channels),
            )
        )
        self.membrane_output_layer = MembraneOutput(config.T)
        self.inner = inner

    def forward(
        self, x_BCHW: Tensor, T: int | None = None, draws: Draws = torch_draws, scheduled: float = 0.0
    ) -> Filling:
        """The filling of damaged images after `T` steps, at most the model's own, which it is by default."""
        q_TBCk, z_TBC = self.posterior(self.encode(x_BCHW, T), draws)
        p_TBCk = self.prior(z_TBC, scheduled)
        return Filling(torch.tanh(self.membrane_output_layer(self.decode(z_TBC))), q_TBCk, p_TBCk, z_TBC)

    def successive(self, x_BCHW: Tensor, draws: Draws = torch_draws, attenuated: bool = False) -> Tensor:
        """Images after 1 ... T steps of one and the same run, (T, B, C, H, W), in evaluation mode.

        The released code runs a prefix of every length afresh, with choices of its own, and reads it `attenuated`
        (see `MembraneOutput`). In evaluation everything is causal, so that one run holds all prefixes.
        """
        _, z_TBC = self.posterior(self.encode(x_BCHW, None), draws)
        return torch.tanh(self.membrane_output_layer.successive(self.decode(z_TBC), attenuated))

    def sample(self, count: int, draws: Draws = torch_draws) -> tuple[Tensor, Tensor]:
        """(images (B, C, H, W), their latent spikes z_TBC) from the prior, in evaluation mode."""
        z_TBC = self.prior.sample(self.config.T, count, draws)
        return torch.tanh(self.membrane_output_layer(self.decode(z_TBC))), z_TBC

    def encode(self, x_BCHW: Tensor, T: int | None) -> Tensor:
        """x_TBC of images shown at each of T steps."""
        s = x_BCHW.expand(T or self.config.T, *x_BCHW.shape)
        for block in self.encoder:
            s = block(s)
        code: Tensor = self.before_latent_layer(s.flatten(2))
        return code

    def decode(self, z_TBC: Tensor) -> Tensor:
        """Currents into the readout, (T, B, C, H, W)."""
        side = self.config.side
        s = self.decoder_input(z_TBC).unflatten(2, (self.inner, side, side))
        for block in self.decoder:
            s = block(s)
        block, synapses = self.final_layer
        return each_step(block(s), synapses)


def mmd(q_TBCk: Tensor, p_TBCk: Tensor) -> Tensor:
    """Mean squared difference of the post-synaptic potentials of q's and p's means over k."""
    return (post_synaptic(q_TBCk.mean(-1)) - post_synaptic(p_TBCk.mean(-1))).square().mean()


def kld(q_TBCk: Tensor, p_TBCk: Tensor) -> Tensor:
    """KL of Bernoulli laws with the means over k, smoothed by 0.01: summed over T and latents, mean over B."""
    q, p = q_TBCk.mean(-1), p_TBCk.mean(-1)
    ones = q * ((q + KLD_EPS) / (p + KLD_EPS)).log()
    zeros = (1 - q) * ((1 - q + KLD_EPS) / (1 - p + KLD_EPS)).log()
    return (ones + zeros).sum((0, 2)).mean()


def divergence(filling: Filling, loss: str) -> Tensor:
    """What is added to the squared error: the `mmd`, or the weighted `kld`."""
    if loss == "mmd":
        return mmd(filling.q_TBCk, filling.p_TBCk)
    return KLD_WEIGHT * kld(filling.q_TBCk, filling.p_TBCk)
