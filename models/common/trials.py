"""Trials: each kernel of the models at work on fixed inputs, on every backend of the CPU.

A processor whose kernels give other bits is known by them. Inputs are the caller's affair: `tensor(*shape, salt)` makes
numbers in [-1, 1), `with_gradients(function, *inputs)` gives a result and the gradients of the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from retable.models.common.backends import Backend
from retable.models.spiking.operators import elastic, integrate_and_fire
from retable.models.spiking.surrogates import NAMES, Surrogate
from retable.models.ssm.conv import causal_conv1d, causal_conv1d_step
from retable.models.ssm.norm import rms_norm
from retable.models.ssm.selective_scan import selective_scan
from retable.models.ssm.ssd import ssd_scan, ssd_step
from retable.models.ssm.state_update import selective_state_update

Calculation = Callable[[], Any]
Tensors = Callable[..., Tensor]
Gradients = Callable[..., list[Tensor]]
Neuron = dict[str, Any]
BACKENDS: tuple[Backend, ...] = ("numba", "reference")


def trials(
    tensor: Tensors, with_gradients: Gradients, backends: Sequence[Backend] = BACKENDS
) -> dict[str, Calculation]:
    """Calculations by name; each can be called by itself, in any order. Those that have backends are named `..., BACKEND`."""
    return _scans(tensor, with_gradients, backends) | _neurons(tensor, with_gradients, backends)


def _scans(tensor: Tensors, with_gradients: Gradients, backends: Sequence[Backend]) -> dict[str, Calculation]:
    u, delta, A = tensor(2, 40, 70), tensor(2, 40, 70, salt=1), -tensor(40, 8, salt=2).abs() - 0.125
    B, C = tensor(2, 8, 70, salt=3), tensor(2, 8, 70, salt=4)
    x, dt, A_H = tensor(2, 70, 4, 16), tensor(2, 70, 4, salt=1).abs(), -tensor(4, salt=2).abs() - 0.125
    B_, C_ = tensor(2, 70, 1, 8, salt=3), tensor(2, 70, 1, 8, salt=4)
    taps, bias = tensor(40, 4, salt=5), tensor(40, salt=6)
    step = (u[..., 0], delta[..., 0].abs(), A, B[..., 0], C[..., 0])
    heads = (x[:, 0], dt[:, 0], A_H, B_[:, 0], C_[:, 0])
    found: dict[str, Calculation] = {
        "ssd scan": lambda: with_gradients(partial(ssd_scan, chunk_size=32), x, dt, A_H, B_, C_),
        "rms norm of the mixers": lambda: with_gradients(rms_norm, u, tensor(70, salt=5)),
    }
    for backend in backends:
        scan = partial(selective_scan, delta_softplus=True, backend=backend)
        conv = partial(causal_conv1d, backend=backend)
        conv_step = partial(_conv_step, backend=backend)
        scan_step, ssd = partial(selective_state_update, backend=backend), partial(ssd_step, backend=backend)
        found |= {
            f"selective scan, {backend}": partial(with_gradients, scan, u, delta, A, B, C),
            f"causal convolution, {backend}": partial(with_gradients, conv, u.mT, taps, bias),
            f"step of the scan, {backend}": partial(_moved, scan_step, tensor(2, 40, 8, salt=6), *step),
            f"step of ssd, {backend}": partial(_moved, ssd, tensor(2, 4, 16, 8, salt=6), *heads),
            f"step of the convolution, {backend}": partial(_moved, conv_step, tensor(2, 40, 4), u[..., 0], taps, bias),
        }
    return found


def _conv_step(state: Tensor, x: Tensor, taps: Tensor, bias: Tensor, backend: Backend) -> Tensor:
    return causal_conv1d_step(x, state, taps, bias, backend=backend)


def _moved(step: Callable[..., Tensor], state: Tensor, *arguments: Tensor) -> list[Tensor]:
    """The output of a step, and the state after it."""
    after = state.clone()
    return [step(after, *arguments), after]


def _neurons(tensor: Tensors, with_gradients: Gradients, backends: Sequence[Backend]) -> dict[str, Calculation]:
    x, alpha, k = tensor(4, 16, 300) * 3, tensor(4, salt=1).abs() + 0.5, tensor(1, salt=2).abs()
    found: dict[str, Calculation] = {}
    for backend in backends:
        kinds: dict[str, Neuron] = {
            f"leaky neuron, slope {name}": {"surrogate": Surrogate(name, 2.0)} for name in NAMES
        }
        kinds["integer neuron"] = {"v_reset": None, "levels": 4}
        for name, settings in kinds.items():
            neuron = partial(_spikes, backend=backend, **settings)
            found[f"{name}, {backend}"] = partial(with_gradients, neuron, x, k)
        found[f"elastic neuron, {backend}"] = partial(with_gradients, partial(elastic, backend=backend), x, alpha)
    return found


def _spikes(x: Tensor, k: Tensor, **settings: Any) -> Tensor:
    return integrate_and_fire(x, k=k, **settings)[0]
