"""Neurons of spiking BERT: x (T, ...) -> spikes (T, ...), from rest. What equations are numbered after: arXiv 2406.03287, code.

u_1 = x_1,   u_t = 0.25 u_{t-1} (alpha_{t-1} - s_{t-1}) + x_t
s_t = alpha_t round(clip(u_t / alpha_t, -1, 1))                 ternary: direction and amplitude
alpha_t = k mean |u_t|, measured once on the first training batch, k = 2   frequency: the threshold is alpha_t / 2
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from retable.models.spiking.neurons import LIF
from retable.models.spiking.operators import elastic, integrate_and_fire
from retable.models.spiking.surrogates import ATAN, RECT

Kind = Literal["elastic", "ternary", "sign", "lif", "psn", "none"]
LEAK = 0.25
LEAK_TAU = 1 / (1 - LEAK)
NOT_MEASURED = 1.0


class Elastic(nn.Module):
    """Spikes in {-alpha_t, 0, alpha_t}; `binary` leaves the zero out. Amplitudes of exactly 1 are not measured yet.

    The T amplitudes change only within `measuring`, never by an optimizer; without `k` they are 1 and stay so.
    """

    alpha_T: Tensor

    def __init__(self, T: int, k: float | None = 2.0, binary: bool = False) -> None:
        super().__init__()
        self.k, self.binary = k, binary
        self.measuring = False
        self.fired = self.asked = 0
        self.register_buffer("alpha_T", torch.full((T,), NOT_MEASURED))

    def forward(self, x: Tensor) -> Tensor:
        if self.measuring:
            self._measure(x.detach())
        spikes: Tensor = elastic(x, self.alpha_T, binary=self.binary)
        if self.measuring:
            self.fired, self.asked = int(spikes.count_nonzero()), spikes.numel()
        return spikes

    @torch.no_grad()
    def _measure(self, x: Tensor) -> None:
        """In the order of the steps: u_t depends on the amplitudes and spikes before it."""
        if self.k is None:
            return
        alpha_T, u, s = self.alpha_T.clone(), torch.zeros_like(x[0]), torch.zeros_like(x[0])
        for t, x_t in enumerate(x):
            u = LEAK * u * (alpha_T[t - 1] - s) + x_t  # at t = 0 from rest: u is 0
            if alpha_T[t] == NOT_MEASURED:
                alpha_T[t] = self.k * u.abs().mean()
            s = elastic(u[None], alpha_T[t : t + 1], binary=self.binary)[0]
        self.alpha_T = alpha_T

    def extra_repr(self) -> str:
        return f"T={len(self.alpha_T)}, k={self.k}, binary={self.binary}"


class ParallelNeuron(nn.Module):
    """PSN (arXiv 2304.12760): s = [W x + b >= 0] with a learned W (T, T) and b (T); no recursion."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.weight_TT = nn.Parameter(torch.empty(T, T))
        self.bias_T = nn.Parameter(torch.full((T,), -1.0))
        nn.init.kaiming_uniform_(self.weight_TT, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.addmm(self.bias_T[:, None], self.weight_TT, x.flatten(1)).view_as(x)
        # One step from rest fires where h + 1 reaches the threshold 1.
        return integrate_and_fire((h + 1)[None], k=0.0, v_reset=0.0, decay_input=False, surrogate=ATAN)[0][0]


class PerStep(nn.ModuleList):
    """Neurons without memory: the t-th of them, of one step, for x_t."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([neuron(x_t) for neuron, x_t in zip(self, x.split(1), strict=True)])


@dataclass(frozen=True)
class Neurons:
    """What stands before every linear layer (`before_linear`), and on keys and values (`on_operand`, without membrane).

    elastic  measured amplitudes, k mean |u|          ternary  the same with alpha = 1 throughout
    sign     {-alpha, alpha}                          lif      {0, 1}, `threshold`, hard reset
    psn      {0, 1}, parallel                         none     the ANN twin

    With `two_bit_operands` keys and values of `sign` are those of `elastic`, as in the released code.
    """

    kind: Kind
    T: int
    k: float = 2.0
    threshold: float = 1.0
    two_bit_operands: bool = False

    def before_linear(self) -> nn.Module:
        return self._neuron(self.kind, self.T)

    def on_operand(self) -> nn.Module:
        if self.kind in ("none", "psn"):
            return self._neuron(self.kind, self.T)
        kind = "elastic" if self.kind == "sign" and self.two_bit_operands else self.kind
        return PerStep(self._neuron(kind, 1) for _ in range(self.T))

    def _neuron(self, kind: Kind, T: int) -> nn.Module:
        kinds: dict[Kind, Callable[[], nn.Module]] = {
            "elastic": lambda: Elastic(T, self.k),
            "ternary": lambda: Elastic(T, k=None),
            "sign": lambda: Elastic(T, self.k, binary=True),
            "lif": lambda: LIF(LEAK_TAU, self.threshold, decay_input=False, surrogate=RECT),
            "psn": lambda: ParallelNeuron(T),
            "none": nn.Identity,
        }
        return kinds[kind]()


@contextmanager
def measuring(model: nn.Module) -> Iterator[None]:
    """The forward pass inside measures the amplitudes that are still 1, layer after layer and step after step."""
    neurons = [module for module in model.modules() if isinstance(module, Elastic)]
    for neuron in neurons:
        neuron.measuring = True
    try:
        yield
    finally:
        for neuron in neurons:
            neuron.measuring = False


def forget_amplitudes(model: nn.Module) -> None:
    """Set all amplitudes to 1: the next forward pass within `measuring` measures them anew."""
    for module in model.modules():
        if isinstance(module, Elastic):
            module.alpha_T.fill_(NOT_MEASURED)


def measured_rate(model: nn.Module) -> float:
    """Spikes a neuron and step, over all elastic neurons, in the last pass within `measuring`; NaN without one."""
    neurons = [module for module in model.modules() if isinstance(module, Elastic)]
    asked = sum(neuron.asked for neuron in neurons)
    return sum(neuron.fired for neuron in neurons) / asked if asked else float("nan")
