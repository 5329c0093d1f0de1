"""PRIME's neurons: reset by the last spike, leak, integrate, rectify, fire, in this order (arXiv 2407.18625, released code).

    u_t = phi(leak u_{t-1} (1 - s_{t-1}) + x_t)      phi is LeakyReLU with `slope`, fed back with the potential
    s_t = [u_t > threshold]                          strictly
    ds/du = [|u - centre| < 1/2]                     the reset carries a gradient too

The shared `integrate_and_fire` is neither of them: it has no rectified potential, and its surrogates stand on the threshold,
while the autoencoder's stands on 0. Shapes: x (T, ...), first axis time. Backends: `reference` (any device), `numba` (CPU).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.common import backends
from retable.models.common.operators import operator
from retable.models.prime.config import NeuronConfig

WINDOW = 0.5
"""Half the width of the surrogate's window, whose height is 1."""
READOUT_SLOPE = 0.1


@operator("rectify_and_fire")
def _rectify_and_fire(
    x: Tensor, v: Tensor, leak: float, threshold: float, slope: float, centre: float, backend: str
) -> tuple[Tensor, Tensor]:
    """Spikes and potentials before the reset, (T, ...) each, from the potential before the first step, (...)."""
    u_T, spikes = torch.empty_like(x), torch.empty_like(x)
    if backend == "numba":
        from retable.models.prime import numba_kernels

        plan = torch.tensor((leak, threshold, slope, centre), dtype=x.dtype).numpy()
        numba_kernels.forward(_rows(x), _rows(v[None])[0], _rows(spikes), _rows(u_T), plan)
        return spikes, u_T
    for x_t, u, s in zip(x, u_T, spikes, strict=True):
        torch.add(v * leak, x_t, out=u)
        if slope != 1:
            F.leaky_relu_(u, slope)
        fired = u > threshold
        s.copy_(fired)
        v = u.masked_fill(fired, 0)
    return spikes, u_T


@_rectify_and_fire.register_fake
def _(x: Tensor, v: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


@operator("rectify_and_fire_backward", differentiable=False)
def _rectify_and_fire_backward(
    grad: Tensor, u_T: Tensor, leak: float, threshold: float, slope: float, centre: float, backend: str
) -> Tensor:
    """dL/dx_t = phi' dL/du_t with dL/du_t = window_t dL/ds_t + (1 - s_t - u_t window_t) leak dL/dx_{t+1}, (T, ...)."""
    if backend == "numba":
        from retable.models.prime import numba_kernels

        dx = torch.empty_like(u_T)
        plan = torch.tensor((leak, threshold, slope, centre), dtype=u_T.dtype).numpy()
        numba_kernels.backward(_rows(grad), _rows(u_T), _rows(dx), plan)
        return dx
    window = ((u_T - centre).abs() < WINDOW).to(u_T.dtype)
    dx, later = window * grad, ((u_T <= threshold).to(u_T.dtype) - u_T * window) * leak
    if slope != 1:
        rectifier = torch.where(u_T > 0, 1.0, slope)  # phi keeps the sign of its input
        dx, later = dx * rectifier, later * rectifier
    for t in reversed(range(len(dx) - 1)):
        dx[t].addcmul_(later[t], dx[t + 1])
    return dx


@_rectify_and_fire_backward.register_fake
def _(grad: Tensor, u_T: Tensor, *options: Any) -> Tensor:
    return torch.empty_like(u_T)


def _rows(value: Tensor) -> Any:
    """(T, M); over the same memory where it lies in one piece, as everything but gradients does."""
    return value.detach().contiguous().numpy().reshape(len(value), -1)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, _, *ctx.options = inputs
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])


def _differentiate(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    dx = None if grad is None else _rectify_and_fire_backward(grad, *ctx.saved_tensors, *ctx.options)
    return dx, None, None, None, None, None, None


_rectify_and_fire.register_autograd(_differentiate, setup_context=_keep)


def _refusals(x: Tensor) -> dict[str, backends.Refusal]:
    compiled = x.dtype in (torch.float32, torch.float64)
    return {"reference": lambda: None, "numba": lambda: None if compiled else f"it has no kernel for {x.dtype}"}


class Fire(nn.Module):
    """x (T, ...) -> spikes (T, ...)."""

    def __init__(self, config: NeuronConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, x: Tensor) -> Tensor:
        """From rest."""
        return self.run(x, None)[0]

    def run(self, x: Tensor, v: Tensor | None) -> tuple[Tensor, Tensor]:
        """(spikes, potential after the last reset, (...)) from the potential `v` (...); potentials carry no gradient."""
        c = self.config
        v = torch.zeros_like(x[0]) if v is None else v
        backend = backends.choose("rectify_and_fire", None, backends.device_of(x, v), _refusals(x))
        x, v = x.contiguous(), v.contiguous()
        spikes, u_T = _rectify_and_fire(x, v, c.leak, c.threshold, c.slope, c.centre, backend)
        return spikes, u_T[-1].detach() * (1 - spikes[-1].detach())

    def extra_repr(self) -> str:
        return str(self.config)


class Readout(nn.Module):
    """u_t = LeakyReLU(u_{t-1} + x_t): no leak, no reset, no spike; returns its potentials (T, ...). Not a sum."""

    def forward(self, x: Tensor) -> Tensor:
        u, potentials = torch.zeros_like(x[0]), []
        for x_t in x:
            u = F.leaky_relu(u + x_t, READOUT_SLOPE)
            potentials.append(u)
        return torch.stack(potentials)
