"""PRIME's neurons: reset by the last spike, leak, integrate, rectify, fire, in this order (arXiv 2407.18625, released code).

    u_t = phi(leak u_{t-1} (1 - s_{t-1}) + x_t)      phi is LeakyReLU with `slope`, fed back with the potential
    s_t = [u_t > threshold]                          strictly
    ds/du = [|u - centre| < 1/2]                     the reset carries a gradient too

The shared `integrate_and_fire` is neither of them: it has no rectified potential, and its surrogates stand on the threshold,
while the autoencoder's stands on 0. Shapes: x (T, ...), first axis time.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.operators import operator
from models.prime.config import NeuronConfig

WINDOW = 0.5
"""Half the width of the surrogate's window, whose height is 1."""
READOUT_SLOPE = 0.1


@operator("rectify_and_fire")
def _rectify_and_fire(
    x: Tensor, v: Tensor, leak: float, threshold: float, slope: float, centre: float
) -> tuple[Tensor, Tensor]:
    """Spikes and potentials before the reset, (T, ...) each, from the potential before the first step, (...)."""
    u_T, spikes = torch.empty_like(x), torch.empty_like(x)
    for x_t, u, s in zip(x, u_T, spikes, strict=True):
        torch.add(v * leak, x_t, out=u)
        if slope != 1:
            F.leaky_relu_(u, slope)
        fired = u > threshold
        s.copy_(fired)
        v = u.masked_fill(fired, 0)
    return spikes, u_T


@_rectify_and_fire.register_fake
def _(x: Tensor, v: Tensor, leak: float, threshold: float, slope: float, centre: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


@operator("rectify_and_fire_backward", differentiable=False)
def _rectify_and_fire_backward(
    grad: Tensor, spikes: Tensor, u_T: Tensor, leak: float, slope: float, centre: float
) -> Tensor:
    """dL/dx_t = phi' dL/du_t with dL/du_t = window_t dL/ds_t + (1 - s_t - u_t window_t) leak dL/dx_{t+1}, (T, ...)."""
    window = ((u_T - centre).abs() < WINDOW).to(u_T.dtype)
    dx, later = window * grad, (1 - spikes - u_T * window) * leak
    if slope != 1:
        rectifier = torch.where(u_T > 0, 1.0, slope)  # phi keeps the sign of its input
        dx, later = dx * rectifier, later * rectifier
    for t in reversed(range(len(dx) - 1)):
        dx[t].addcmul_(later[t], dx[t + 1])
    return dx


@_rectify_and_fire_backward.register_fake
def _(grad: Tensor, spikes: Tensor, u_T: Tensor, leak: float, slope: float, centre: float) -> Tensor:
    return torch.empty_like(grad)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, _, leak, _, slope, centre = inputs
    ctx.constants = leak, slope, centre
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*output)


def _differentiate(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    dx = None if grad is None else _rectify_and_fire_backward(grad, *ctx.saved_tensors, *ctx.constants)
    return dx, None, None, None, None, None


_rectify_and_fire.register_autograd(_differentiate, setup_context=_keep)


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
        spikes, u_T = _rectify_and_fire(x, v, c.leak, c.threshold, c.slope, c.centre)
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
