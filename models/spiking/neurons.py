"""Multi-step neurons as modules: x (T, ...) -> spikes (T, ...), every call from rest.

Charge, fire and reset are `models.spiking.operators.integrate_and_fire`; the classes name the field's choices of its options.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from retable.models.common.backends import Backend
from retable.models.spiking.operators import Potentials, elastic, integrate_and_fire
from retable.models.spiking.surrogates import SIGMOID, Surrogate


class Neuron(nn.Module):
    """Charge with k = 1 / tau, fire at the threshold, reset to `v_reset` or, where it is None, by subtraction."""

    def __init__(
        self,
        k: float,
        threshold: float = 1.0,
        v_reset: float | None = 0.0,
        decay_input: bool = True,
        strict: bool = False,
        levels: int = 0,
        detach_reset: bool = False,
        surrogate: Surrogate = SIGMOID,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        self.options = {
            "threshold": threshold,
            "v_reset": v_reset,
            "decay_input": decay_input,
            "strict": strict,
            "levels": levels,
            "detach_reset": detach_reset,
            "surrogate": surrogate,
            "backend": backend,
        }
        self._k = k

    @property
    def k(self) -> Tensor | float:
        """1 / tau."""
        return self._k

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (T, ...) from rest."""
        return self.run(x)[0]

    def run(self, x: Tensor, v: Tensor | None = None, potentials: Potentials = "last") -> tuple[Tensor, Tensor | None]:
        """(spikes (T, ...), potentials) from the potential `v` (...); see `integrate_and_fire`."""
        return integrate_and_fire(x, k=self.k, v=v, potentials=potentials, **self.options)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        changed = {name: value for name, value in self.options.items() if value is not None}
        return f"k={float(self.k):.4g}, " + ", ".join(f"{name}={value}" for name, value in changed.items())


class IF(Neuron):
    """h = v + x."""

    def __init__(
        self,
        threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = False,
        surrogate: Surrogate = SIGMOID,
        backend: Backend | None = None,
    ) -> None:
        super().__init__(
            0.0, threshold, v_reset, False, detach_reset=detach_reset, surrogate=surrogate, backend=backend
        )


class LIF(Neuron):
    """h = v + (x - (v - v_r)) / tau with `decay_input`, else h = v - (v - v_r) / tau + x."""

    def __init__(
        self,
        tau: float = 2.0,
        threshold: float = 1.0,
        v_reset: float | None = 0.0,
        decay_input: bool = True,
        strict: bool = False,
        detach_reset: bool = False,
        surrogate: Surrogate = SIGMOID,
        backend: Backend | None = None,
    ) -> None:
        if not tau >= 1:
            raise ValueError(f"tau must be at least 1, not {tau}")
        super().__init__(1 / tau, threshold, v_reset, decay_input, strict, 0, detach_reset, surrogate, backend)


class PLIF(LIF):
    """LIF whose 1 / tau = sigmoid(w) is learned, one w a module (arXiv 2007.05785); it starts at `tau`."""

    def __init__(
        self,
        tau: float = 2.0,
        threshold: float = 1.0,
        v_reset: float | None = 0.0,
        decay_input: bool = True,
        detach_reset: bool = False,
        surrogate: Surrogate = SIGMOID,
        backend: Backend | None = None,
    ) -> None:
        if not tau > 1:
            raise ValueError(f"tau must be above 1 where it is learned, not {tau}")
        super().__init__(tau, threshold, v_reset, decay_input, False, detach_reset, surrogate, backend)
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1)))

    @property
    def k(self) -> Tensor:
        return self.w.sigmoid()


class ILIF(Neuron):
    """Integer spikes 0 ... levels, subtracted from the potential (I-LIF, arXiv 2407.20708)."""

    def __init__(
        self,
        tau: float = 4 / 3,
        levels: int = 4,
        threshold: float = 1.0,
        decay_input: bool = False,
        detach_reset: bool = True,
        backend: Backend | None = None,
    ) -> None:
        if levels < 1:
            raise ValueError(f"levels must be at least 1, not {levels}")
        super().__init__(1 / tau, threshold, None, decay_input, False, levels, detach_reset, backend=backend)


class Integrator(Neuron):
    """A neuron that never fires: v = v + (x - v) / tau, or v + x where tau is None; returns its potentials (T, ...)."""

    def __init__(self, tau: float | None = 2.0, backend: Backend | None = None) -> None:
        super().__init__(1 / tau if tau else 0.0, math.inf, 0.0, tau is not None, backend=backend)

    def forward(self, x: Tensor) -> Tensor:
        potentials = self.run(x, potentials="all")[1]
        assert potentials is not None
        return potentials


class Elastic(nn.Module):
    """SpikeLM's neuron: spikes in {-a_t, 0, a_t}, the T amplitudes measured in the first forward pass, then kept.

    a_t = 2 mean(abs(u_t)) over that first batch, in the order of the steps (arXiv 2406.03287, released code). An amplitude of
    exactly 1, the initial value, counts as not measured. `binary` leaves the zero out.
    """

    def __init__(self, steps: int, binary: bool = False, backend: Backend | None = None) -> None:
        super().__init__()
        self.binary, self.backend = binary, backend
        self.amplitudes = nn.Parameter(torch.ones(steps), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if bool((self.amplitudes == 1).any()):
            self.measure(x.detach())
        return elastic(x, self.amplitudes, binary=self.binary, backend=self.backend)

    @torch.no_grad()
    def measure(self, x: Tensor) -> None:
        """Set the amplitudes that are still 1 from the potentials of this batch; step t sees those of the steps before."""
        for t in range(len(x)):
            if self.amplitudes[t] == 1:
                _, u_seq = elastic(x[: t + 1], self.amplitudes[: t + 1], binary=self.binary, return_u_seq=True)
                self.amplitudes[t] = 2 * u_seq[t].abs().mean()
