"""The functions of `models.spiking.reference` on Triton kernels; compiled for CUDA, run in Triton's interpreter only.

No GPU has run them: the tests run them in the interpreter, and compile every launch for one. A program is `BLOCK` = 256
neurons on two warps: four neurons a thread make 16-byte loads of float32, and small programs fill a GPU from about 30
thousand neurons on. The gradients of k and of the amplitudes are sums over programs that torch adds in one order, so that
they are the same in every run.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from retable.models.spiking import triton_kernels as kernels
from retable.models.spiking.reference import LEAK, LEAST_ALPHA, Neuron

BLOCK = 256
LAUNCH = {"BLOCK": BLOCK, "num_warps": 2, "enable_fp_fusion": False}
"""Fused multiply-adds would round otherwise than the reference, and flip spikes."""


def forward(neuron: Neuron, x: Tensor, v: Tensor, k: Tensor, potentials: int) -> tuple[Tensor, Tensor]:
    spikes, v_seq = torch.empty_like(x), x.new_empty(potentials, *x.shape[1:])
    T, M = _sizes(x)
    if M:
        options = _options(neuron) | {"START": len(v) > 0, "POTENTIALS": _steps(potentials, T)}
        arguments = (x, v, k, spikes, v_seq, T, M, neuron.threshold, neuron.v_reset or 0.0)
        with torch.cuda.device_of(x):
            kernels.forward[(_programs(M),)](*arguments, **options, **LAUNCH)
    return spikes, v_seq


def backward(
    neuron: Neuron, x: Tensor, v: Tensor, k: Tensor, grad_s: Tensor, grad_v: Tensor, need_k: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dx, dv, h_seq = torch.empty_like(x), torch.empty_like(v), torch.empty_like(x)
    T, M = _sizes(x)
    shares = x.new_empty(_programs(M) if need_k else 0)
    if M:
        options = _options(neuron) | {"DETACH": neuron.detach_reset, "SURROGATE": neuron.surrogate, "START": len(v) > 0}
        options |= {"GRAD_S": len(grad_s) > 0, "GRAD_V": _steps(len(grad_v), T), "NEED_K": need_k}
        numbers = (T, M, neuron.threshold, neuron.v_reset or 0.0, neuron.alpha)
        with torch.cuda.device_of(x):
            kernels.backward[(_programs(M),)](
                x, v, k, grad_s, grad_v, h_seq, dx, dv, shares, *numbers, **options, **LAUNCH
            )
    return dx, dv, shares.sum(dtype=torch.float64).to(k.dtype)


def elastic_forward(x: Tensor, alpha: Tensor, binary: bool, whole_u: bool) -> tuple[Tensor, Tensor]:
    spikes, u_seq = torch.empty_like(x), torch.empty_like(x if whole_u else x[:0])
    T, M = _sizes(x)
    if M:
        arguments = (x, _amplitudes(alpha), spikes, u_seq, T, M, LEAK)
        with torch.cuda.device_of(x):
            kernels.elastic_forward[(_programs(M),)](*arguments, BINARY=binary, WHOLE_U=whole_u, **LAUNCH)
    return spikes, u_seq


def elastic_backward(x: Tensor, alpha: Tensor, grad: Tensor, binary: bool) -> tuple[Tensor, Tensor]:
    dx, u_seq = torch.empty_like(x), torch.empty_like(x)
    T, M = _sizes(x)
    shares = x.new_empty(_programs(M), T)
    if M:
        arguments = (x, _amplitudes(alpha), grad, u_seq, dx, shares, T, M, LEAK)
        with torch.cuda.device_of(x):
            kernels.elastic_backward[(_programs(M),)](*arguments, BINARY=binary, **LAUNCH)
    return dx, (shares.sum(0, dtype=torch.float64) / max(1, M) ** 0.5).to(alpha.dtype)


def _sizes(x: Tensor) -> tuple[int, int]:
    """(steps, neurons)."""
    return len(x), x.numel() // len(x)


def _programs(neurons: int) -> int:
    return -(-neurons // BLOCK)


def _steps(rows: int, steps: int) -> str:
    """Of which steps a tensor has rows."""
    return "none" if rows == 0 else "all" if rows == steps else "last"


def _options(neuron: Neuron) -> dict[str, Any]:
    return {
        "DECAY": neuron.decay_input,
        "HARD": neuron.v_reset is not None,
        "STRICT": neuron.strict,
        "LEVELS": neuron.levels,
    }


def _amplitudes(alpha: Tensor) -> Tensor:
    return alpha.clamp(min=LEAST_ALPHA).contiguous()
