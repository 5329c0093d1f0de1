"""Trials: each kernel of the models at work on fixed inputs, on every backend of the CPU.

A processor whose kernels give other bits is known by them. Inputs are the caller's affair: `tensor(*shape, salt)` makes
numbers in [-1, 1), `with_gradients(function, *inputs)` gives a result and the gradients of the inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from retable.models.spiking.operators import elastic, integrate_and_fire
from retable.models.spiking.surrogates import NAMES, Surrogate
from retable.models.ssm.conv import causal_conv1d
from retable.models.ssm.norm import rms_norm
from retable.models.ssm.selective_scan import selective_scan
from retable.models.ssm.ssd import ssd_scan, ssd_step
from retable.models.ssm.state_update import selective_state_update

Calculation = Callable[[], Any]
Tensors = Callable[..., Tensor]
Gradients = Callable[..., list[Tensor]]
BACKENDS = ("numba", "reference")


def trials(tensor: Tensors, with_gradients: Gradients) -> dict[str, Calculation]:
    """Calculations by name; each can be called by itself, in any order."""
    return _scans(tensor, with_gradients) | _neurons(tensor, with_gradients)


def _scans(tensor: Tensors, with_gradients: Gradients) -> dict[str, Calculation]:
    u, delta, A = tensor(2, 40, 70), tensor(2, 40, 70, salt=1), -tensor(40, 8, salt=2).abs() - 0.1
    B, C = tensor(2, 8, 70, salt=3), tensor(2, 8, 70, salt=4)
    x, dt, A_H = tensor(2, 70, 4, 16), F.softplus(tensor(2, 70, 4, salt=1)), -tensor(4, salt=2).abs() - 0.1
    B_, C_ = tensor(2, 70, 1, 8, salt=3), tensor(2, 70, 1, 8, salt=4)
    weight, state = tensor(40, 4, salt=5), tensor(2, 40, 8, salt=6)
    heads = (x[:, 0], dt[:, 0], A_H, B_[:, 0], C_[:, 0])
    found: dict[str, Calculation] = {
        "ssd scan": lambda: with_gradients(partial(ssd_scan, chunk_size=32), x, dt, A_H, B_, C_),
        "rms norm of the mixers": lambda: with_gradients(rms_norm, u, tensor(70, salt=5)),
    }

    def moved(function: Callable[..., Tensor], state: Tensor, *arguments: Tensor, backend: Any) -> list[Tensor]:
        after = state.clone()
        return [function(after, *arguments, backend=backend), after]

    for backend in BACKENDS:
        scan = partial(selective_scan, delta_softplus=True, backend=backend)
        conv = partial(causal_conv1d, backend=backend)
        step = (u[..., 0], delta[..., 0].abs(), A, B[..., 0], C[..., 0])
        found |= {
            f"selective scan, {backend}": partial(with_gradients, scan, u, delta, A, B, C),
            f"causal convolution, {backend}": partial(with_gradients, conv, u.mT, weight),
            f"step of the scan, {backend}": partial(moved, selective_state_update, state, *step, backend=backend),
            f"step of ssd, {backend}": partial(moved, ssd_step, tensor(2, 4, 16, 8, salt=6), *heads, backend=backend),
        }
    return found


def _neurons(tensor: Tensors, with_gradients: Gradients) -> dict[str, Calculation]:
    x, alpha, k = tensor(4, 16, 300) * 3, tensor(4, salt=1).abs() + 0.5, tensor(1, salt=2).abs()
    found: dict[str, Calculation] = {}
    for backend in BACKENDS:
        kinds = {
            "leaky neuron": lambda x, k, **rest: integrate_and_fire(x, k=k, **rest)[0],
            "integer neuron": lambda x, k, **rest: integrate_and_fire(x, k=k, v_reset=None, levels=4, **rest)[0],
        }
        for name, neuron in kinds.items():
            found[f"{name}, {backend}"] = partial(with_gradients, partial(neuron, backend=backend), x, k)
        for surrogate in NAMES:
            slope = partial(kinds["leaky neuron"], surrogate=Surrogate(surrogate, 2.0), backend=backend)
            found[f"slope {surrogate}, {backend}"] = partial(with_gradients, slope, x, k)
        found[f"elastic neuron, {backend}"] = partial(with_gradients, partial(elastic, backend=backend), x, alpha)
    return found
