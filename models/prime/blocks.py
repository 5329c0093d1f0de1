"""What the spiking autoencoder is made of: synapses - tdBN - LIF over x_TB..., its readout, and its random choice of spikes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.prime.config import VAE_NEURON, Array
from retable.models.prime.neurons import Fire
from retable.models.prime.topology import Linear, Synapses
from retable.models.vision.layers import each_step

V_TH = VAE_NEURON.threshold
TAU_OUT = 0.8
"""Decay of the readout's membrane."""
TAU_SYN = 2.0
"""Time constant of the post-synaptic potential that the two distributions are compared by."""

Draws = Callable[[int, int], Tensor]
"""(count, k) -> int64 (count) in 0 ... k - 1: where random choices come from, one call a step, in the order of the steps."""


def torch_draws(count: int, k: int) -> Tensor:
    """From torch's own generator."""
    return torch.randint(0, k, (count,))


class TdBN(nn.BatchNorm1d):
    """y = alpha V_th gamma (x - mean) / sqrt(var + eps) + beta over x (N, C, ...), statistics merged over T, B and space.

    The shared `TdBN` says the same under other keys than the released checkpoints have.
    """

    def __init__(self, channels: int, alpha: float = 1.0) -> None:
        super().__init__(channels)
        self.gain = alpha * V_TH

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        assert self.momentum is not None
        mean, var, weight = self.running_mean, self.running_var, self.gain * self.weight
        return F.batch_norm(x, mean, var, weight, self.bias, self.training, self.momentum, self.eps)


class Block(nn.Module):
    """x_TB... -> spikes of the same time; `alpha` is tdBN's."""

    def __init__(self, synapses: Synapses, channels: int, alpha: float = 1.0) -> None:
        super().__init__()
        self.synapses, self.bn, self.fire = synapses, TdBN(channels, alpha), Fire(VAE_NEURON)

    def forward(self, x: Tensor) -> Tensor:
        return self.fire(each_step(x, self.synapses, self.bn))

    def run(self, x: Tensor, v: Tensor | None) -> tuple[Tensor, Tensor]:
        """(spikes, potentials after the last step), going on from the potentials `v`."""
        return self.fire.run(each_step(x, self.synapses, self.bn), v)


class Stack(nn.Module):
    """Trained linear blocks without masks: z_TBC -> k candidates for each of C latents, spikes (T, B, C, k)."""

    def __init__(self, widths: Sequence[int], k: int) -> None:
        super().__init__()
        dense = Array(kind="weights")
        self.k = k
        self.layers = nn.ModuleList(Block(Linear(dense, a, b), b, alpha=2.0) for a, b in pairwise(widths))

    def forward(self, z_TBC: Tensor) -> Tensor:
        for layer in self.layers:
            z_TBC = layer(z_TBC)
        return z_TBC.unflatten(2, (-1, self.k))

    def run(self, z_TBC: Tensor, states: list[Tensor | None]) -> Tensor:
        """The same, going on from the layers' potentials in `states`, which it moves on."""
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, Block)
            z_TBC, states[i] = layer.run(z_TBC, states[i])
        return z_TBC.unflatten(2, (-1, self.k))

    def rest(self) -> list[Tensor | None]:
        return [None] * len(self.layers)


def pick(q_BCk: Tensor, index_N: Tensor) -> Tensor:
    """One of the k candidates of each latent, (B, C), by indices (B C): Bernoulli sampling by random selection."""
    return q_BCk.flatten(0, 1).gather(1, index_N[:, None].to(q_BCk.device)).view(q_BCk.shape[:2])


class MembraneOutput(nn.Module):
    """m = sum_t coef_t x_t with coef_t = 0.8^(T-1-t): the potential of a leaky integrator after T steps.

    Fewer steps take the first coefficients, as in the released code: after n of T they are 0.8^(T-n) times the integrator's.
    """

    coef: Tensor

    def __init__(self, T: int) -> None:
        super().__init__()
        self.register_buffer("coef", TAU_OUT ** torch.arange(T - 1, -1, -1, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) of x (T' <= T, B, ...)."""
        return (self.coef[: len(x)].view(-1, *(1,) * (x.dim() - 1)) * x).sum(0)

    def successive(self, x: Tensor, attenuated: bool) -> Tensor:
        """After 1 ... T steps, (T, B, ...): as `forward` says, or, if not `attenuated`, the integrator itself."""
        m, potentials = torch.zeros_like(x[0]), []
        for x_t, attenuation in zip(x, self.coef, strict=False):
            m = TAU_OUT * m + x_t
            potentials.append(attenuation * m if attenuated else m)
        return torch.stack(potentials)


def post_synaptic(v_T: Tensor) -> Tensor:
    """syn_t = syn_{t-1} + (v_t - syn_{t-1}) / tau, (T, ...)."""
    syn, traces = torch.zeros_like(v_T[0]), []
    for v_t in v_T:
        syn = syn + (v_t - syn) / TAU_SYN
        traces.append(syn)
    return torch.stack(traces)
