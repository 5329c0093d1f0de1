"""The functions of `models.spiking.reference` on compiled CPU kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retable.models.common.threads import spread
from retable.models.spiking import numba_kernels as kernels
from retable.models.spiking.reference import LEAK, LEAST_ALPHA, Neuron
from retable.models.spiking.surrogates import NAMES

WORTH_THREADS = 1 << 16
"""Elements from which a second thread pays for its hand-over."""
SCRATCH = 1
"""Values a neuron and step that a backward pass keeps in the cache."""


def forward(neuron: Neuron, x: Tensor, v: Tensor, k: Tensor, potentials: int) -> tuple[Tensor, Tensor]:
    spikes, v_seq = torch.empty_like(x), x.new_empty(potentials, *x.shape[1:])
    rows, start, s, out = (_rows(value) for value in (x, v, spikes, v_seq))
    plan, flags = _plan(neuron, k), _flags(neuron)
    _spread(x, 1, lambda a, b, block: kernels.forward(a, b, block, rows, start, s, out, plan, flags))
    return spikes, v_seq


def backward(
    neuron: Neuron, x: Tensor, v: Tensor, k: Tensor, grad_s: Tensor, grad_v: Tensor, need_k: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dx, dv = torch.empty_like(x), torch.empty_like(v)
    rows, start, given_s, given_v, out, first = (_rows(value) for value in (x, v, grad_s, grad_v, dx, dv))
    shares = np.zeros(_blocks(x, SCRATCH)[1] if need_k else 0)
    plan, flags, surrogate = _plan(neuron, k), _flags(neuron), NAMES.index(neuron.surrogate)
    _spread(
        x,
        SCRATCH,
        lambda a, b, block: kernels.backward(
            a, b, block, rows, start, given_s, given_v, out, first, shares, plan, flags, surrogate, neuron.alpha
        ),
    )
    return dx, dv, torch.tensor(shares.sum(), dtype=k.dtype)


def elastic_forward(x: Tensor, alpha: Tensor, binary: bool, whole_u: bool) -> tuple[Tensor, Tensor]:
    spikes, u_seq = torch.empty_like(x), torch.empty_like(x if whole_u else x[:0])
    rows, s, u, amplitudes = _rows(x), _rows(spikes), _rows(u_seq), _amplitudes(alpha)
    leak = rows.dtype.type(LEAK)
    _spread(x, 1, lambda a, b, block: kernels.elastic_forward(a, b, block, rows, amplitudes, s, u, leak, binary))
    return spikes, u_seq


def elastic_backward(x: Tensor, alpha: Tensor, grad: Tensor, binary: bool) -> tuple[Tensor, Tensor]:
    dx = torch.empty_like(x)
    rows, given, out, amplitudes = _rows(x), _rows(grad), _rows(dx), _amplitudes(alpha)
    shares, leak = np.zeros((_blocks(x, SCRATCH)[1], len(x))), rows.dtype.type(LEAK)
    _spread(
        x,
        SCRATCH,
        lambda a, b, block: kernels.elastic_backward(a, b, block, rows, amplitudes, given, out, shares, leak, binary),
    )
    scale = max(1, rows.shape[1]) ** -0.5
    return dx, torch.from_numpy(shares.sum(0) * scale).to(alpha.dtype)


def _rows(value: Tensor) -> np.ndarray[Any, Any]:
    """(T, M) over the same memory."""
    return value.detach().numpy().reshape(len(value), math.prod(value.shape[1:]))


def _amplitudes(alpha: Tensor) -> np.ndarray[Any, Any]:
    return alpha.detach().clamp(min=LEAST_ALPHA).numpy()


def _plan(neuron: Neuron, k: Tensor) -> np.ndarray[Any, Any]:
    values = (float(k), neuron.threshold, neuron.v_reset or 0.0, neuron.levels)
    return np.array(values, np.float32 if k.dtype == torch.float32 else np.float64)


def _flags(neuron: Neuron) -> int:
    return (
        kernels.DECAY * neuron.decay_input
        + kernels.HARD * (neuron.v_reset is not None)
        + kernels.STRICT * neuron.strict
        + kernels.DETACH * neuron.detach_reset
    )


def _blocks(x: Tensor, scratch: int) -> tuple[int, int]:
    """(neurons a block, blocks) with `scratch` values a neuron and step."""
    neurons = x.numel() // len(x)
    block = min(kernels.block_size(len(x), scratch), max(1, neurons))
    return block, -(-neurons // block)


def _spread(x: Tensor, scratch: int, kernel: Callable[[int, int, int], None]) -> None:
    block, blocks = _blocks(x, scratch)
    spread(lambda a, b: kernel(a, b, block), blocks, worth=x.numel() >= WORTH_THREADS)
