"""The scans' cores on compiled CPU kernels; the operators that call them say what the arguments mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from retable.models.common.threads import spread
from retable.models.ssm import numba_kernels as kernels

WORTH_THREADS = 1 << 17
"""State elements from which a second thread pays for its hand-over."""


def scan_forward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(y (B, D, L), states before every chunk or none, last state (B, D, N)) as `scan_reference.scan_forward`."""
    b, d, length = u.shape
    n, lanes, units = A.shape[1], *_units(b, d, B, C)
    y = u.new_empty(b, length, d)
    states = u.new_empty(states_shape(b, d, length, n) if keep else (b, 0, n, d))
    last = u.new_empty(b, n, d)
    arrays = (*_time_major(u, delta), *_by_state(A, B, C), y.numpy(), states.numpy(), last.numpy())
    spread(lambda a, z: kernels.scan_forward(a, z, lanes, *arrays), units, u.numel() * n >= WORTH_THREADS)
    return y.mT, states if keep else u.new_empty(0), last.mT.contiguous()


def states_shape(b: int, d: int, length: int, n: int) -> tuple[int, ...]:
    """Of what `scan_forward` keeps: x before every chunk, (B, chunks, N, D)."""
    return b, -(-length // kernels.CHUNK), n, d


def scan_backward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, states: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the five inputs in their shapes, from that of y (B, D, L)."""
    b, d, length = u.shape
    n, lanes, units = A.shape[1], *_units(b, d, B, C)
    G = max(B.shape[1], C.shape[1])
    du, ddelta = u.new_empty(b, length, d), u.new_empty(b, length, d)
    dA, (dB, dC) = u.new_empty(b, n, d), (u.new_empty(b, G, units // (b * G or 1), length, n) for _ in range(2))
    inputs = (*_time_major(u, delta), *_by_state(A, B, C), states.numpy(), *_time_major(dy))
    arrays = (*inputs, *(value.numpy() for value in (du, ddelta, dA, dB, dC)))
    spread(lambda a, z: kernels.scan_backward(a, z, lanes, *arrays), units, u.numel() * n >= WORTH_THREADS)
    grads = [_ungroup(share.sum(2).mT, value) for share, value in ((dB, B), (dC, C))]
    return du.mT, ddelta.mT, dA.sum(0).mT.contiguous(), *grads  # type: ignore[return-value]


def softplus(delta: Tensor, bias: Tensor | None) -> Tensor:
    """softplus(delta + bias) (B, D, L); torch's log1p takes ten times as long."""
    x = delta.mT.contiguous()
    y = torch.empty_like(x)
    start = x.new_zeros(x.shape[2]) if bias is None else bias
    arrays = [_array(value) for value in (x.flatten(0, 1), start, y.flatten(0, 1))]
    spread(lambda a, z: kernels.softplus_rows(a, z, *arrays), len(arrays[0]), x.numel() >= WORTH_THREADS)
    return y.mT


def state_update(state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """y (B, D) for state (B, D, N), which moves on in place."""
    y = torch.empty_like(x)
    arrays = [_array(value) for value in (state, x, dt, A, B, C, y)]
    spread(lambda a, z: kernels.state_update(a, z, *arrays), len(state), state.numel() >= WORTH_THREADS)
    return y


def ssd_step(state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """y (B, H, P) for state (B, H, P, N), which moves on in place."""
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    arrays = [_array(value) for value in (state, x, dt, A, B, C, y)]
    units = state.shape[0] * state.shape[1]
    spread(lambda a, z: kernels.ssd_step(a, z, *arrays), units, state.numel() >= WORTH_THREADS)
    return y


def conv_forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """y (B, L, C) for x (B, L, C), weight (C, W)."""
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    start = x.new_zeros(x.shape[2]) if bias is None else bias
    arrays = [_array(value) for value in (x, weight.mT, start, y)]
    spread(lambda a, z: kernels.conv_forward(a, z, *arrays), len(x), x.numel() >= WORTH_THREADS)
    return y


def conv_backward(x: Tensor, weight: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias."""
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    shares = x.new_empty(len(x), weight.shape[1] + 1, x.shape[2])
    arrays = [_array(value) for value in (x, weight.mT, dy, dx, shares)]
    spread(lambda a, z: kernels.conv_backward(a, z, *arrays), len(x), x.numel() >= WORTH_THREADS)
    total = shares.sum(0)
    return dx, total[:-1].mT.contiguous(), total[-1].clone()


def conv_step(x: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """y (B, C) for state (B, C, W), which moves on in place by x."""
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    start = x.new_zeros(x.shape[1]) if bias is None else bias
    work = state.permute(2, 0, 1).contiguous()
    kernels.conv_step(*(_array(value) for value in (x, work, weight.mT, start, y)))
    if work.data_ptr() != state.data_ptr():
        state.copy_(work.permute(1, 2, 0))
    return y


def _units(b: int, d: int, B: Tensor, C: Tensor) -> tuple[int, int]:
    """(channels side by side, units of work): at least four units where there are channels enough for them.

    They depend on the shapes alone, so that sums over units round alike on any number of threads.
    """
    groups = max(B.shape[1], C.shape[1])
    share = d // groups
    blocks = max(-(-share // kernels.LANES), min(-(-4 // max(1, b * groups)), share // 128), 1)
    lanes = max(1, -(-share // (16 * blocks)) * 16)
    return lanes, b * groups * -(-share // lanes)


def _array(value: Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = value.detach().contiguous().numpy()
    return array


def _time_major(*values: Tensor) -> list[np.ndarray[Any, Any]]:
    """(B, D, L) as (B, L, D)."""
    return [_array(value.mT) for value in values]


def _by_state(A: Tensor, B: Tensor, C: Tensor) -> list[np.ndarray[Any, Any]]:
    """A as (N, D), B and C as (B, G, L, N); the one of them with a single group is repeated if the other has more."""
    groups = max(B.shape[1], C.shape[1])
    return [_array(A.mT), *(_array(value.mT.expand(-1, groups, -1, -1)) for value in (B, C))]


def _ungroup(grad: Tensor, value: Tensor) -> Tensor:
    return grad.sum_to_size(value.shape).contiguous()
