"""The scans' cores on Triton kernels; written for CUDA, run in Triton's interpreter only, never on a GPU.

A program of the scan holds 32 channels times N states in registers (16 states of float32: four registers a thread of four
warps), so that a sequence of 1536 channels makes 48 programs.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from models.ssm import triton_kernels as kernels

CHUNK = 16
"""Steps between two kept states."""
CHANNELS = 32
CONV_STEPS, CONV_CHANNELS = 16, 64


def scan_forward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(y (B, D, L), states before every chunk or none, last state (B, D, N)) as `scan_reference.scan_forward`."""
    b, d, length = u.shape
    n, (groups, blocks, sizes) = A.shape[1], _sizes(u, A, B, C)
    y, last = u.new_empty(b, length, d), u.new_empty(b, d, n)
    states = u.new_empty(states_shape(b, d, length, n) if keep else (0,))
    if y.numel():
        inputs = (*_time_major(u, delta), A.contiguous(), *_by_state(groups, B, C))
        chunks = -(-length // CHUNK)
        with torch.cuda.device_of(u):
            kernels.scan_forward[(groups * blocks, b)](
                *inputs, y, states, last, d, length, n, groups, blocks, chunks, KEEP=keep, CHUNK=CHUNK, **sizes
            )
    return y.mT, states, last if length else last.zero_()


def states_shape(b: int, d: int, length: int, n: int) -> tuple[int, ...]:
    """Of what `scan_forward` keeps: x before every chunk, (B, chunks, D, N)."""
    return b, -(-length // CHUNK), d, n


def scan_backward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, states: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the five inputs in their shapes, from that of y (B, D, L)."""
    b, d, length = u.shape
    n, (groups, blocks, sizes) = A.shape[1], _sizes(u, A, B, C)
    du, ddelta, dA = u.new_empty(b, length, d), u.new_empty(b, length, d), u.new_zeros(b, d, n)
    dB, dC = (u.new_empty(b, groups, blocks, length, n) for _ in range(2))
    if du.numel():
        inputs = (*_time_major(u, delta), A.contiguous(), *_by_state(groups, B, C), states, *_time_major(dy))
        scratch = u.new_empty(b * groups * blocks, CHUNK, sizes["BD"], sizes["BN"])
        outputs = (du, ddelta, dA, dB, dC)
        chunks = -(-length // CHUNK)
        with torch.cuda.device_of(u):
            kernels.scan_backward[(groups * blocks, b)](
                *inputs, scratch, *outputs, d, length, n, groups, blocks, chunks, CHUNK=CHUNK, **sizes
            )
    by_state = [share.sum(2).mT.sum_to_size(value.shape).contiguous() for share, value in ((dB, B), (dC, C))]
    return du.mT, ddelta.mT, dA.sum(0), by_state[0], by_state[1]


def state_update(state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """y (B, D) for a contiguous state (B, D, N), which moves on in place."""
    y = x.new_empty(x.shape)
    (b, d), n, groups = x.shape, state.shape[2], B.shape[1]
    blocks = -(-(d // groups) // CHANNELS)
    if y.numel():
        inputs = (value.contiguous() for value in (x, dt, A, B, C))
        with torch.cuda.device_of(x):
            kernels.state_update[(groups * blocks, b)](
                state, *inputs, y, d, n, groups, blocks, BD=CHANNELS, BN=triton.next_power_of_2(n)
            )
    return y


def ssd_step(state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """y (B, H, P) for a contiguous state (B, H, P, N), which moves on in place."""
    y = x.new_empty(x.shape)
    b, h, p, n = state.shape
    if y.numel():
        inputs = (value.contiguous() for value in (x, dt, A, B, C))
        with torch.cuda.device_of(x):
            kernels.ssd_step[(h, b, -(-p // CHANNELS))](
                state, *inputs, y, h, p, n, B.shape[1], BP=CHANNELS, BN=triton.next_power_of_2(n)
            )
    return y


def conv_forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """y (B, L, C) for x (B, L, C), weight (C, W)."""
    return _convolve(x, weight, x.new_zeros(x.shape[2]) if bias is None else bias, 1)


def conv_backward(x: Tensor, weight: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias."""
    (b, length, c), width = x.shape, weight.shape[1]
    dx = _convolve(dy, weight, x.new_zeros(c), -1)
    shares = x.new_zeros(b, width + 1, c)
    if x.numel():
        grid = (width + 1, -(-c // CONV_CHANNELS), b)
        with torch.cuda.device_of(x):
            kernels.tap_gradients[grid](
                x.contiguous(), dy.contiguous(), shares, length, c, width, BT=CONV_STEPS, BC=CONV_CHANNELS
            )
    total = shares.sum(0)
    return dx, total[:-1].mT.contiguous(), total[-1].clone()


def conv_step(x: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """y (B, C) for state (B, C, W), which moves on in place by x."""
    y = x.new_empty(x.shape)
    (b, c), width = x.shape, weight.shape[1]
    if y.numel():
        start = x.new_zeros(c) if bias is None else bias
        with torch.cuda.device_of(x):
            kernels.conv_step[(-(-c // CONV_CHANNELS), b)](
                x.contiguous(), state, weight.mT.contiguous(), start, y, c, width, *state.stride(), BC=CONV_CHANNELS
            )
    return y


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, step: int) -> Tensor:
    (b, length, c), width = x.shape, weight.shape[1]
    y = x.new_empty(x.shape)
    if y.numel():
        grid = (-(-length // CONV_STEPS), -(-c // CONV_CHANNELS), b)
        with torch.cuda.device_of(x):
            kernels.convolve[grid](
                x.contiguous(),
                weight.mT.contiguous(),
                bias.contiguous(),
                y,
                length,
                c,
                width,
                STEP=step,
                BT=CONV_STEPS,
                BC=CONV_CHANNELS,
            )
    return y


def _sizes(u: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[int, int, dict[str, int]]:
    """(groups, blocks of channels a group, the kernels' tile)."""
    groups = max(B.shape[1], C.shape[1])
    blocks = -(-(u.shape[1] // groups) // CHANNELS)
    return groups, blocks, {"BD": CHANNELS, "BN": triton.next_power_of_2(A.shape[1])}


def _time_major(*values: Tensor) -> list[Tensor]:
    """(B, D, L) as (B, L, D)."""
    return [value.mT.contiguous() for value in values]


def _by_state(groups: int, B: Tensor, C: Tensor) -> list[Tensor]:
    """(B, G, N, L) as (B, G, L, N); the one of them with a single group is repeated if the other has more."""
    return [value.mT.expand(-1, groups, -1, -1).contiguous() for value in (B, C)]
