"""The neuron of the rate-coded network (Mukhoty et al., ICLR 2024): u <- tau u + I, fires at u >= 1, then u <- 0, not detached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from retable.models.spiking.neurons import Neuron
from retable.models.spiking.operators import integrate_and_fire
from retable.models.spiking.surrogates import Surrogate

Backward = Literal["bptt", "rate"]
"""`bptt`: through time, by the surrogate. `rate`: 1 at every step of a neuron that fired at all (it then fires at u > 1 only)."""


class TriangleNeuron(Neuron):
    """x (T, ...) -> spikes (T, ...). tau 1 integrates; ds/du = max(0, 1 - abs(u - 1) / width) / width."""

    def __init__(self, tau: float = 1.0, width: float = 1.0, backward: Backward = "bptt") -> None:
        if not 0 <= tau <= 1:
            raise ValueError(f"`tau` must lie between 0 and 1, not be {tau}")
        super().__init__(1 - tau, v_reset=0.0, decay_input=False, surrogate=triangle(width))
        self.backward_through: Backward = backward

    def forward(self, x: Tensor) -> Tensor:
        if self.backward_through == "bptt":
            return super().forward(x)
        with torch.no_grad():
            fired, _ = integrate_and_fire(x, k=self.k, **{**self.options, "strict": True})  # type: ignore[arg-type]
        return fired + (x - x.detach()) * (fired.mean(0) > 0)


def triangle(width: float) -> Surrogate:
    """A triangle of area 1 and half-width `width` around the threshold."""
    if not width > 0:
        raise ValueError(f"the surrogate's `width` must be above 0, not {width}")
    return Surrogate("piecewise_quadratic", 1 / width)


@contextmanager
def attacked_neurons(network: nn.Module, backward: Backward, width: float | None) -> Iterator[None]:
    """Inside the block gradients of `network` pass its neurons in another way, and by a surrogate of another width (None: its own)."""
    neurons = [module for module in network.modules() if isinstance(module, TriangleNeuron)]
    before = [(neuron.backward_through, neuron.options["surrogate"]) for neuron in neurons]
    for neuron in neurons:
        neuron.backward_through = backward
        if width is not None:
            neuron.options["surrogate"] = triangle(width)
    try:
        yield
    finally:
        for neuron, (through, surrogate) in zip(neurons, before, strict=True):
            neuron.backward_through, neuron.options["surrogate"] = through, surrogate
