"""Inference with virtual binary time steps: an integer spike s of 0 ... D is s spikes in D steps (arXiv 2407.20708).

Synapses are linear, so the sum of what the D binary steps cause equals what the integer causes; a bias acts once a time step.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from retable.models.spiking import reference
from retable.models.spiking.neurons import ILIF
from retable.models.spiking.operators import integrate_and_fire
from retable.models.vision.layers import each_step


def binary_steps(s_Tx: Tensor, D: int) -> Tensor:
    """Integers 0 ... D (T, ...) as spikes 0 and 1, (T D, ...): slot t D + d fires where d < s_t.

    An integrate-and-fire neuron does it that is charged with s_t in the first slot and loses 1 with every spike.
    """
    T = len(s_Tx)
    charge = torch.cat((s_Tx[None], s_Tx.new_zeros((D - 1, *s_Tx.shape))))
    b_DTx, _ = integrate_and_fire(charge, k=0.0, v_reset=None, decay_input=False)
    return b_DTx.transpose(0, 1).reshape(T * D, *s_Tx.shape[1:])


class VirtualSteps(nn.Module):
    """An I-LIF neuron that emits its integers as D binary steps, and knows how synapses add them up."""

    def __init__(self, neuron: ILIF) -> None:
        super().__init__()
        options: dict[str, Any] = {**neuron.options}
        surrogate, _ = options.pop("surrogate"), options.pop("backend")
        self._neuron = reference.Neuron(**options, surrogate=surrogate.name, alpha=surrogate.alpha)
        self._k, self.D = float(neuron.k), self._neuron.levels

    def forward(self, x_Tx: Tensor) -> Tensor:
        """Spikes 0 and 1, (T D, ...)."""
        return binary_steps(self.integers(x_Tx), self.D)

    def integers(self, x_Tx: Tensor) -> Tensor:
        """What the D slots of each step sum to, (T, ...)."""
        v, k, steps = torch.zeros_like(x_Tx[0]), x_Tx.new_tensor(self._k), []
        for x in x_Tx:
            h = self._neuron.charge(v, x, k)
            steps.append(self._neuron.fire(h))
            v = self._neuron.reset(h, steps[-1])
        return torch.stack(steps)

    def through(self, conv: nn.Module, x_TBCHW: Tensor) -> Tensor:
        """The convolution of each binary step, summed over the D slots of a time step, with its bias once."""
        if not isinstance(conv, nn.Conv2d):
            raise ValueError("virtual steps need merged convolutions: merge the network first")
        b = self(x_TBCHW)
        y = each_step(b, partial(conv._conv_forward, weight=conv.weight, bias=None))
        y_TBCHW = y.unflatten(0, (len(x_TBCHW), self.D)).sum(1)
        return y_TBCHW if conv.bias is None else y_TBCHW + conv.bias[:, None, None]

    def extra_repr(self) -> str:
        return f"k={self._k:.4g}, D={self.D}"


def to_virtual_steps(network: nn.Module) -> int:
    """Replace every I-LIF neuron of a merged network, in place; returns how many there were."""
    found = [
        (module, name, child)
        for module in network.modules()
        for name, child in module.named_children()
        if isinstance(child, ILIF)
    ]
    for module, name, child in found:
        setattr(module, name, VirtualSteps(child))
    return len(found)
